//! Files that were made to break things: an error or a model, never a panic, and never more memory than the files are.

use proptest::prelude::*;
use sapo_policies::{Config, Policy};
use serde_json::{Value, json};

use crate::{copy_of, device, file_of, fixture, parts_of};

/// Values that sizes must survive.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_u32..64).prop_map(|bit| json!(1_u64 << bit)),
        (0_u32..64).prop_map(|bit| json!((1_u64 << bit) - 1)),
        (0_u64..70).prop_map(Value::from),
        prop::num::f64::ANY.prop_map(Value::from),
        Just(json!(1_000_000_000_000_u64)),
        "[a-z]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// The places of all values within a JSON value.
fn places(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), all));
        }
        _ => {}
    }
}

fn json_of(name: &str, file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(name).join(file)).expect("a file")).expect("JSON")
}

/// Puts `values` at places of `into`.
fn put(into: &mut Value, values: Vec<(prop::sample::Index, Value)>) {
    for (index, value) in values {
        let mut all = Vec::new();
        places(into, "", &mut all);
        if let Some(place) = into.pointer_mut(&all[index.index(all.len())]) {
            *place = value;
        }
    }
}

fn puts() -> impl Strategy<Value = Vec<(prop::sample::Index, Value)>> {
    prop::collection::vec((any::<prop::sample::Index>(), value()), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn configs_of_any_values(sparse in any::<bool>(), values in puts()) {
        let mut config = json_of(if sparse { "tiny-moe" } else { "tiny-dense" }, "config.json");
        put(&mut config, values);
        if let Ok(config) = Config::from_json(&config.to_string(), "config.json") {
            let count = sapo_policies::sizes::parameter_count(&config);
            prop_assert!(count > 0 && count < 1 << 58);
            let text = config.to_json().to_string();
            prop_assert!(Config::from_json(&text, "config.json").is_ok_and(|again| again == config), "{}", text);
        }
    }

    #[test]
    fn configs_of_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let mut text = std::fs::read(fixture("tiny-moe").join("config.json")).expect("a file");
        let start = at.index(text.len());
        text.splice(start..(start + bytes.len() / 2).min(text.len()), bytes.iter().copied());
        let text = String::from_utf8_lossy(&text);
        if let Err(error) = Config::from_json(&text, "config.json") {
            prop_assert!(error.to_string().starts_with("config.json: "));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headers_of_any_values(values in puts()) {
        let folder = copy_of("tiny-moe");
        let path = folder.path().join("model.safetensors");
        let (mut header, data) = parts_of(&std::fs::read(&path).expect("a file"));
        let before = header.clone();
        put(&mut header, values);
        std::fs::write(&path, file_of(&header.to_string(), &data)).expect("can be written");
        let harmless = |header: &Value| {
            let mut header = header.clone();
            if let Some(map) = header.as_object_mut() { map.remove("__metadata__"); }
            header
        };
        if Policy::load(folder.path(), &device()).is_ok() {
            prop_assert_eq!(harmless(&header), harmless(&before), "only what means nothing may change");
        }
    }

    #[test]
    fn headers_of_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 1..24),
        at in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = copy_of("tiny-moe");
        let path = folder.path().join("model.safetensors");
        let mut file = std::fs::read(&path).expect("a file");
        let header = 8 + u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
        let start = at.index(header);
        for (to, from) in file[start..].iter_mut().zip(&bytes) {
            *to = *from;
        }
        // Half of the files are cut as well.
        if bytes[0].is_multiple_of(2) {
            file.truncate(cut.index(file.len()));
        }
        std::fs::write(&path, file).expect("can be written");
        if let Err(error) = Policy::load(folder.path(), &device()) {
            prop_assert!(error.to_string().contains(folder.path().to_str().expect("a path")), "{}", error);
        }
    }

    #[test]
    fn indexes_of_any_values(values in puts()) {
        let folder = copy_of("tiny-dense");
        let mut index = json_of("tiny-dense", "model.safetensors.index.json");
        let before = index["weight_map"].clone();
        put(&mut index, values);
        std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).expect("can be written");
        if Policy::load(folder.path(), &device()).is_ok() {
            prop_assert_eq!(&index["weight_map"], &before);
        }
    }
}

#[test]
fn absurd_sizes_are_refused_at_once() {
    let with = |place: &str, value: Value| {
        let mut config = json_of("tiny-moe", "config.json");
        *config.pointer_mut(place).expect("a place") = value;
        Config::from_json(&config.to_string(), "config.json").expect_err("must be refused").to_string()
    };
    let huge = json!(1_000_000_000_000_u64);
    assert!(with("/text_config/num_hidden_layers", huge.clone()).contains("num_hidden_layers"));
    assert!(with("/text_config/num_hidden_layers", json!(5000)).contains("num_hidden_layers"));
    assert!(with("/vision_config/depth", json!(5000)).contains("depth"));
    assert!(with("/text_config/vocab_size", huge.clone()).contains("vocab_size"));
    assert!(with("/text_config/num_local_experts", json!(1 << 25)).contains("num_experts"));
    assert!(with("/text_config/head_dim", json!(1 << 23)).contains("head_dim"));
    assert!(with("/text_config/mlp_only_layers", json!(vec![0; 9])).contains("mlp_only_layers"));
    assert!(with("/text_config/rope_parameters/rope_theta", json!(-1.0)).contains("rope_theta"));
    assert!(with("/vision_config/patch_size", json!(1 << 20)).contains("patch"));
    assert!(with("/vision_config/spatial_merge_size", json!(1 << 20)).contains("block of patches"));
    for (place, value) in [
        ("/text_config/hidden_act", json!("gelu")),
        ("/text_config/hidden_act", json!("nope")),
        ("/text_config/hidden_act", json!(5)),
        ("/vision_config/hidden_act", json!("relu")),
    ] {
        let reason = with(place, value.clone());
        let named = place.trim_start_matches('/').replace('/', ".");
        assert!(reason.contains(&format!("`{named}` is {value}; Qwen3-VL has")), "{reason}");
    }
    for place in ["/model_type", "/text_config/model_type", "/vision_config/model_type"] {
        let reason = with(place, json!("llava"));
        assert!(reason.contains("model_type` is") && reason.contains("llava"), "{reason}");
    }
}
