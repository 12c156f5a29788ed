//! Low-rank adapters: their mathematics, merging, and PEFT folders in and out, good and bad.

use std::collections::BTreeMap;
use std::path::Path;

use crate::prompt::{folder, gradients, logits, numbers, tiny, worst};
use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sapo_policies::adapt::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use sapo_policies::lora::Targets;
use sapo_policies::to_vec;
use sapo_policies::{LoraConfig, Model, Part, Policy};
use serde_json::{Value, json};

fn names(all: &[&str]) -> Targets {
    Targets::Names(all.iter().map(|name| (*name).to_owned()).collect())
}

fn config(rank: usize, alpha: f64, targets: Targets) -> LoraConfig {
    LoraConfig { rank, alpha, targets, exclude: None, rslora: false }
}

/// Text and vision, all kinds of maps.
fn everywhere() -> Targets {
    names(&["q_proj", "v_proj", "o_proj", "qkv", "attn.proj", "linear_fc1", "linear_fc2"])
}

/// An adapter that does something.
fn adapted(kind: &str, lora: &LoraConfig) -> Policy {
    let mut policy = tiny(kind);
    policy.add_lora(lora, &[], 3).expect("an adapter");
    for param in policy.trained_mut() {
        if param.name.ends_with("lora_B.weight") {
            param.value = numbers(param.value.dims(), 0.05);
        }
    }
    policy
}

fn bits(policy: &Policy) -> BTreeMap<String, Vec<u32>> {
    let of = |value: &Tensor<2>| to_vec(value.clone()).into_iter().map(f32::to_bits).collect();
    policy.parameters().iter().map(|param| (param.name.clone(), of(&param.value))).collect()
}

#[test]
fn an_adapted_map_is_what_a_hand_computes() {
    // One input row (1, 2), W = [[1, 0], [3, 1]], A = (1, -1), B = (2, 0.5), alpha 3, rank 1:
    // xW = (1, 5), xA = -1, (xA)B = (-2, -0.5), times 3: (-6, -1.5).
    let mut policy = adapted("dense", &config(2, 3.0, names(&["k_proj"])));
    let device = Device::flex();
    let matrix =
        |values: &[f32], shape: [usize; 2]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &device);
    let linear = &mut policy.text.layers[0].k;
    linear.weight.value = matrix(&[1.0, 0.0, 3.0, 1.0], [2, 2]);
    let lora = linear.lora.as_mut().expect("an adapter");
    assert_eq!(lora.scale, 1.5, "alpha by rank");
    lora.scale = 3.0;
    lora.a.value = matrix(&[1.0, -1.0], [1, 2]);
    lora.b.value = matrix(&[2.0, 0.5], [2, 1]);
    assert_eq!(to_vec(linear.forward(matrix(&[1.0, 2.0], [1, 2]))), [1.0 - 6.0, 5.0 - 1.5]);
    let scale = |rslora| {
        let policy = adapted("dense", &LoraConfig { rslora, ..config(4, 6.0, names(&["k_proj"])) });
        policy.text.layers[0].k.lora.as_ref().expect("an adapter").scale
    };
    assert_eq!([scale(false), scale(true)], [1.5, 3.0], "by the rank, or by its root");
}

#[test]
fn a_new_adapter_changes_nothing_and_is_all_that_trains() {
    for kind in ["dense", "moe"] {
        let bare = tiny(kind);
        let mut policy = bare.clone();
        policy.add_lora(&config(4, 8.0, everywhere()), &[], 3).expect("an adapter");
        assert_eq!(logits(&policy), logits(&bare));
        assert_eq!(policy.parameters().len(), bare.parameters().len(), "an adapter is beside the model");
        assert!(policy.trained().iter().all(|param| param.is_adapter()));
        assert_eq!(policy.trained().len(), 2 * (3 * 4 + 4 * 4 + 2 * 4), "A and B of every map");
        let gradients = gradients(&policy);
        for (param, gradient) in policy.trained().iter().zip(gradients) {
            let size = to_vec(gradient.expect("a gradient")).iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            // While B is 0, A has a gradient of 0.
            assert_eq!(size > 0.0, param.name.ends_with("lora_B.weight"), "{}", param.name);
            let bound = (param.value.dims()[1] as f32).powf(-0.5);
            let values = to_vec(param.value.clone());
            let most = values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(if param.name.ends_with("lora_A.weight") {
                most > 0.8 * bound && most <= bound
            } else {
                most == 0.0
            });
        }
        // What one map begins with does not depend on the others.
        let mut alone = bare.clone();
        alone.add_lora(&config(4, 8.0, names(&["q_proj"])), &[], 3).expect("an adapter");
        let a = |policy: &Policy| to_vec(policy.text.layers[1].q.lora.as_ref().expect("an adapter").a.value.clone());
        assert_eq!(a(&alone), a(&policy));
    }
}

#[test]
fn merged_is_the_same_function_and_unmerged_the_same_bits() {
    for kind in ["dense", "moe"] {
        let mut policy = adapted(kind, &config(4, 8.0, everywhere()));
        let (bare, before, beside) = (logits(&tiny(kind)), bits(&policy), logits(&policy));
        assert!(worst(&bare, &beside) > 1e-2, "the adapter does something");
        policy.merge_adapter();
        policy.merge_adapter();
        let gap = worst(&logits(&policy), &beside);
        assert!(gap < 2e-5, "{kind}: {gap}");
        assert_ne!(bits(&policy), before);
        policy.unmerge_adapter();
        policy.unmerge_adapter();
        assert_eq!(bits(&policy), before);
        assert_eq!(logits(&policy), beside);
        policy.absorb_adapter();
        assert!(policy.adapter.is_none() && policy.adapter_parameters().is_empty());
        assert!(worst(&logits(&policy), &beside) < 2e-5);
        assert_eq!(policy.trained().len(), policy.parameters().len());
    }
}

/// With W' = W + s B A, the gradients are dA = s B' dW' and dB = s dW' A'.
#[test]
fn gradients_are_those_of_the_merged_weights() {
    for kind in ["dense", "moe"] {
        let policy = adapted(kind, &config(3, 4.5, everywhere()));
        let ours = gradients(&policy);
        let mut merged = policy.clone();
        merged.absorb_adapter();
        let names: Vec<String> = merged.trained().iter().map(|param| param.name.clone()).collect();
        let full = gradients(&merged);
        let of = |name: &str| {
            let at = names.iter().position(|other| other == name).expect("the weight");
            full[at].clone().expect("a gradient")
        };
        let params = policy.trained();
        let value = |name: &str| params.iter().find(|param| param.name == name).expect("a parameter").value.clone();
        for (param, gradient) in params.iter().zip(ours) {
            let map = param.name.strip_prefix("base_model.model.").expect("a prefix");
            let (map, part) = map.split_once(".lora_").expect("a map");
            let (a, b) =
                (value(&param.name.replace("lora_B", "lora_A")), value(&param.name.replace("lora_A", "lora_B")));
            let whole = of(&format!("{map}.weight"));
            let golden = if part.starts_with('A') { b.transpose().matmul(whole) } else { whole.matmul(a.transpose()) };
            let golden = to_vec(golden.mul_scalar(1.5));
            let most = golden.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let gap = worst(&to_vec(gradient.expect("a gradient")), &golden) / most;
            assert!(most > 0.0 && gap < 1e-3, "{kind} {}: {gap}", param.name);
        }
    }
}

#[test]
fn frozen_parts_get_no_adapter() {
    let mut policy = tiny("dense");
    policy
        .add_lora(&config(4, 8.0, Targets::Pattern("all-linear".to_owned())), &[Part::Vision, Part::Deepstack], 3)
        .expect("an adapter");
    let parts: std::collections::BTreeSet<Part> = policy.trained().iter().map(|param| Part::of(&param.name)).collect();
    assert_eq!(parts.into_iter().collect::<Vec<_>>(), [Part::Merger, Part::Text]);
    let error =
        tiny("dense").add_lora(&config(4, 8.0, names(&["q_proj"])), &[Part::Text], 3).expect_err("nothing left");
    assert!(error.to_string().contains("excluded or frozen"), "{error}");
}

#[test]
fn what_cannot_be_adapted_is_refused() {
    let error = |kind: &str, lora: LoraConfig| tiny(kind).add_lora(&lora, &[], 3).expect_err("refused").to_string();
    let one = |kind: &str, name: &str| error(kind, config(4, 8.0, names(&[name])));
    assert!(one("dense", "q_prj").contains("did you mean `q_proj`"), "{}", one("dense", "q_prj"));
    assert!(one("dense", "lm_head").contains("not a linear map"), "{}", one("dense", "lm_head"));
    assert!(one("dense", "embed_tokens").contains("not a linear map"));
    assert!(one("dense", "input_layernorm").contains("not a linear map"));
    assert!(one("moe", "gate").contains("routers and fused experts"), "{}", one("moe", "gate"));
    assert!(one("moe", "experts").contains("routers and fused experts"), "{}", one("moe", "experts"));
    assert!(one("moe", "down_proj").contains("fused experts take no adapter"), "{}", one("moe", "down_proj"));
    assert!(error("dense", config(0, 8.0, everywhere())).contains("`rank` is 0"));
    assert!(error("dense", config(65, 8.0, names(&["q_proj"]))).contains("rank above 64"));
    assert!(error("dense", config(usize::MAX, 8.0, everywhere())).contains("`rank` is"));
    assert!(error("dense", config(4, f64::NAN, everywhere())).contains("`alpha` is NaN"));
    let mut twice = adapted("dense", &config(4, 8.0, everywhere()));
    assert!(
        twice.add_lora(&config(4, 8.0, everywhere()), &[], 3).expect_err("refused").to_string().contains("already")
    );
}

fn read_config(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(ADAPTER_CONFIG)).expect("written")).expect("JSON")
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn read_weights(folder: &Path) -> Tensors {
    let bytes = std::fs::read(folder.join(ADAPTER_WEIGHTS)).expect("written");
    let parsed = SafeTensors::deserialize(&bytes).expect("safetensors");
    parsed.iter().map(|(key, view)| (key.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn write_weights(folder: &Path, all: &Tensors) {
    let views = all.iter().map(|(key, (shape, bytes))| {
        (key.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of this shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("can be written");
    std::fs::write(folder.join(ADAPTER_WEIGHTS), bytes).expect("written");
}

#[test]
fn an_adapter_comes_back_from_its_files() {
    let dir = tempfile::tempdir().expect("a folder");
    for kind in ["dense", "moe"] {
        let mut targets = vec!["q_proj", "attn.proj", "patch_embed.proj"];
        targets.extend((kind == "dense").then_some("down_proj"));
        let mut policy = adapted(kind, &LoraConfig { rslora: true, ..config(4, 8.0, names(&targets)) });
        let base = std::path::absolute(folder(kind)).expect("a path").display().to_string();
        policy.adapter.as_mut().expect("an adapter").base_model = Some(base.clone());
        let place = dir.path().join(kind);
        for _ in 0..2 {
            policy.save_adapter(&place).expect("saves, also over what is there");
        }
        let said = read_config(&place);
        assert_eq!(said["peft_type"], "LORA");
        assert_eq!((&said["r"], &said["lora_alpha"], &said["use_rslora"]), (&json!(4), &json!(8), &json!(true)));
        assert_eq!((&said["target_modules"], &said["base_model_name_or_path"]), (&json!(targets), &json!(base)));
        let stored = read_weights(&place);
        let shape = |key: &str| stored[&format!("base_model.model.model.{key}.weight")].0.clone();
        assert_eq!(shape("language_model.layers.3.self_attn.q_proj.lora_A"), [4, 64]);
        assert_eq!(shape("language_model.layers.3.self_attn.q_proj.lora_B"), [64, 4]);
        assert_eq!(shape("visual.patch_embed.proj.lora_A"), [4, 3, 2, 16, 16], "a convolution keeps its kernel");
        assert_eq!(shape("visual.patch_embed.proj.lora_B"), [32, 4, 1, 1, 1]);
        assert_eq!(stored.len(), policy.trained().len());

        let mut again = tiny(kind);
        again.load_adapter(&place).expect("loads");
        assert_eq!(logits(&again), logits(&policy));
        assert_eq!(again.weights_sha256(), policy.weights_sha256());
        assert_ne!(again.weights_sha256(), tiny(kind).weights_sha256());
        assert_eq!(again.adapter, policy.adapter);
        assert!(again.trained().iter().all(|param| param.is_adapter()));
        let opened = Model::open(&place.display().to_string(), 0, &Device::flex()).expect("opens with its model");
        assert_eq!(opened.policy.weights_sha256(), policy.weights_sha256());
    }
}

#[test]
fn ranks_and_alphas_of_their_own_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let policy = adapted("dense", &config(2, 4.0, names(&["q_proj", "k_proj"])));
    policy.save_adapter(dir.path()).expect("saves");
    let mut said = read_config(dir.path());
    said["r"] = json!(7);
    said["rank_pattern"] = json!({"q_proj": 2, "layers.[0-9]+.self_attn.k_proj": 2});
    said["alpha_pattern"] = json!({"1.self_attn.k_proj": 9});
    said["target_modules"] = json!("^(?!.*visual).*[qk]_proj");
    // What other versions of PEFT write besides.
    for (key, value) in [("peft_version", json!("0.18.0")), ("eva_config", Value::Null), ("lora_bias", json!(false))] {
        said[key] = value;
    }
    std::fs::write(dir.path().join(ADAPTER_CONFIG), said.to_string()).expect("written");
    let mut again = tiny("dense");
    again.load_adapter(dir.path()).expect("loads");
    let scale = |layer: usize| again.text.layers[layer].k.lora.as_ref().expect("an adapter").scale;
    assert_eq!([scale(0), scale(1)], [2.0, 4.5]);
    again.save_adapter(dir.path()).expect("saves");
    assert_eq!(read_config(dir.path())["alpha_pattern"], said["alpha_pattern"]);
    assert_eq!(read_config(dir.path())["target_modules"], said["target_modules"]);
}

/// What loading says after `change`.
fn refusal(change: &dyn Fn(&mut Value, &mut Tensors)) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    adapted("dense", &config(4, 8.0, names(&["q_proj"]))).save_adapter(dir.path()).expect("saves");
    let (mut said, mut all) = (read_config(dir.path()), read_weights(dir.path()));
    change(&mut said, &mut all);
    std::fs::write(dir.path().join(ADAPTER_CONFIG), said.to_string()).expect("written");
    write_weights(dir.path(), &all);
    let mut policy = tiny("dense");
    let before = bits(&policy);
    let error = policy.load_adapter(dir.path()).expect_err("does not fit").to_string();
    assert!(policy.adapter.is_none() && policy.adapter_parameters().is_empty() && bits(&policy) == before, "{error}");
    error
}

#[test]
fn adapter_files_that_do_not_fit_are_refused_by_name() {
    let key =
        |part: &str| format!("base_model.model.model.language_model.layers.2.self_attn.q_proj.lora_{part}.weight");
    let weights = |change: &dyn Fn(&mut Tensors), parts: &[&str]| {
        let error = refusal(&|_, all| change(all));
        assert!(error.contains(ADAPTER_WEIGHTS) && parts.iter().all(|part| error.contains(part)), "{error}");
    };
    weights(&|all| drop(all.remove(&key("A"))), &[&key("A"), "is missing"]);
    weights(&|all| drop(all.remove(&key("B"))), &[&key("B"), "is missing"]);
    let put = |all: &mut Tensors, name: String, shape: Vec<usize>| {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        all.insert(name, (shape, bytes));
    };
    weights(&|all| put(all, key("A"), vec![3, 64]), &[&key("A"), "[3, 64]", "[4, 64]"]);
    weights(&|all| put(all, key("B"), vec![4, 64]), &[&key("B"), "[4, 64]", "[64, 4]"]);
    for (name, why) in [
        (key("A").replace("q_proj", "v_proj"), "target_modules"),
        (key("A").replace("lora_A", "lora_magnitude_vector"), "unexpected"),
        (key("A").replace("layers.2", "layers.9"), "the model has no such map"),
        (key("A").replace("base_model.model.", ""), "keys begin with"),
        ("base_model.model.lm_head.lora_A.weight".to_owned(), "unexpected"),
    ] {
        weights(&|all| put(all, name.clone(), vec![4, 64]), &[&name, why]);
    }
    let said = |key: &str, value: Value, why: &str| {
        let error = refusal(&|said, _| said[key] = value.clone());
        assert!(error.contains(ADAPTER_CONFIG) && error.contains(key) && error.contains(why), "{error}");
    };
    said("peft_type", json!("IA3"), "LORA");
    said("r", json!(0), "from 1");
    said("r", json!(-3), "from 1");
    said("r", json!(1e300), "from 1");
    said("lora_alpha", json!("8"), "lora_alpha");
    said("lora_alpha", json!(0), "above 0");
    said("lora_alpha", json!(1e308), "`lora_alpha` is");
    said("alpha_pattern", json!({"q_proj": 1e308}), "alpha_pattern.q_proj");
    said("use_rslora", json!("x"), "`use_rslora` is \"x\"; it must be true or false");
    said("use_rslora", json!(1), "must be true or false");
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let broken = |all: &mut Tensors| {
            let (_, bytes) = all.get_mut(&key("B")).expect("a matrix");
            bytes[8..12].copy_from_slice(&number.to_le_bytes());
        };
        weights(&broken, &[&key("B"), "holds NaN or infinite numbers"]);
    }
    said("target_modules", json!([]), "missing");
    said("target_modules", json!(["qq_proj"]), "not a linear map");
    said("target_modules", json!("("), "not a regular expression");
    said("target_modules", json!([1]), "list of names");
    said("rank_pattern", json!({"q_proj": 0}), "rank_pattern.q_proj");
    said("use_dora", json!(true), "not supported");
    said("bias", json!("all"), "not supported");
    said("modules_to_save", json!(["lm_head"]), "not supported");
    said("target_parameters", json!(["mlp.experts.down_proj"]), "not supported");
    said("layers_to_transform", json!([1]), "not supported");
    said("init_lora_weights", json!("pissa"), "not supported");
    said("use_tomorrows_trick", json!(true), "not supported");
    let error = refusal(&|said, _| said["r"] = json!(5));
    assert!(error.contains("[4, 64]") && error.contains("[5, 64]"), "{error}");
}

#[test]
fn an_adapter_without_its_model_says_where_to_put_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut policy = adapted("dense", &config(4, 8.0, names(&["q_proj"])));
    let open = || Model::open(&dir.path().display().to_string(), 0, &Device::flex()).expect_err("refused").to_string();
    policy.save_adapter(dir.path()).expect("saves");
    assert!(open().contains("`base_model_name_or_path` is missing"), "{}", open());
    for base in ["Qwen/no-such-model".to_owned(), dir.path().display().to_string()] {
        policy.adapter.as_mut().expect("an adapter").base_model = Some(base.clone());
        policy.save_adapter(dir.path()).expect("saves");
        assert!(open().contains(&base) && open().contains("not a folder with a model"), "{}", open());
    }
}

/// A small adapter's two files.
fn files() -> [Vec<u8>; 2] {
    let dir = tempfile::tempdir().expect("a folder");
    adapted("dense", &config(1, 2.0, names(&["0.self_attn.q_proj"]))).save_adapter(dir.path()).expect("saves");
    [ADAPTER_CONFIG, ADAPTER_WEIGHTS].map(|name| std::fs::read(dir.path().join(name)).expect("written"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Bytes that are cut or changed give an error or an adapter of the same shapes; nothing panics.
    #[test]
    fn broken_adapter_files_are_errors(which in 0_usize..2, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        static FILES: std::sync::OnceLock<[Vec<u8>; 2]> = std::sync::OnceLock::new();
        static BARE: std::sync::OnceLock<Policy> = std::sync::OnceLock::new();
        let mut files = FILES.get_or_init(files).clone();
        let at = at.index(files[which].len());
        if cut { files[which].truncate(at) } else { files[which][at] = byte }
        let dir = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [ADAPTER_CONFIG, ADAPTER_WEIGHTS].into_iter().zip(&files) {
            std::fs::write(dir.path().join(name), bytes).expect("written");
        }
        let mut policy = BARE.get_or_init(|| tiny("dense")).clone();
        match policy.load_adapter(dir.path()) {
            Ok(()) => prop_assert_eq!(policy.trained_count() % (64 + 64), 0),
            Err(error) => prop_assert!(error.to_string().contains("adapter_"), "{}", error),
        }
        // Only the line feed at the end of the JSON file can go without harm.
        prop_assert!(!cut || policy.adapter.is_none() || (which == 0 && files[0].ends_with(b"}")), "a cut file was read");
    }

    /// Whatever the rank and targets are, a new adapter is refused or changes nothing.
    #[test]
    fn any_configuration_is_refused_or_harmless(rank in 0_usize..80, alpha in any::<f64>(), target in "[a-z_.*()\\[?]{0,12}", pattern in any::<bool>()) {
        static BARE: std::sync::OnceLock<Policy> = std::sync::OnceLock::new();
        let bare = BARE.get_or_init(|| tiny("dense"));
        let targets = if pattern { Targets::Pattern(target) } else { Targets::Names(vec![target]) };
        let mut policy = bare.clone();
        if policy.add_lora(&config(rank, alpha, targets), &[], 1).is_ok() {
            prop_assert!(!policy.trained().is_empty());
            prop_assert!(policy.trained().iter().all(|param| param.is_adapter()));
        } else {
            prop_assert!(policy.adapter.is_none());
        }
    }
}
