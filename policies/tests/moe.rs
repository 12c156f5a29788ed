//! Checkpoints with experts: both layouts of expert weights in and out, and errors for what does not fit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use sapo_policies::WeightFormat;
use sapo_policies::config::ExpertLayout;
use sapo_policies::text::FeedForward;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Config, Policy, PolicyInput, Trace};
use serde_json::{Value, json};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl/tiny-moe")
}

fn config_json() -> Value {
    let text = std::fs::read_to_string(tiny().join("config.json")).expect("the fixture's config");
    serde_json::from_str(&text).expect("JSON")
}

/// The same sizes as a published checkpoint says them.
fn published_json() -> Value {
    let mut config = config_json();
    let text = config["text_config"].as_object_mut().expect("an object");
    let mut rope = text.remove("rope_parameters").expect("rope parameters");
    text.insert("rope_theta".to_owned(), rope["rope_theta"].take());
    text.insert("rope_scaling".to_owned(), rope);
    let experts = text.remove("num_local_experts").expect("experts");
    text.insert("num_experts".to_owned(), experts);
    config
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

fn tensors(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).expect("weights");
    let parsed = SafeTensors::deserialize(&bytes).expect("safetensors");
    parsed.iter().map(|(key, view)| (key.to_owned(), (view.shape().to_vec(), view.data().to_vec()))).collect()
}

/// Expert weights with their last two axes exchanged.
fn exchanged(mut all: Tensors) -> Tensors {
    for (_, (shape, bytes)) in all.iter_mut().filter(|(key, _)| key.contains("mlp.experts")) {
        let [experts, rows, columns] = shape[..] else { panic!("three axes") };
        let mut turned = Vec::with_capacity(bytes.len());
        for expert in 0..experts {
            for column in 0..columns {
                for row in 0..rows {
                    let at = ((expert * rows + row) * columns + column) * 4;
                    turned.extend_from_slice(&bytes[at..at + 4]);
                }
            }
        }
        (*shape, *bytes) = (vec![experts, columns, rows], turned);
    }
    all
}

fn load(config: &Value, all: &Tensors) -> sapo_policies::Result<Policy> {
    let views = all.iter().map(|(key, (shape, bytes))| {
        (key.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("bytes of this shape"))
    });
    let bytes = safetensors::serialize(views, None).expect("can be written");
    let config = Config::from_json(&config.to_string(), "config.json")?;
    Policy::from_bytes(config, &bytes, "model.safetensors", &Device::flex())
}

fn weights() -> Tensors {
    tensors(&tiny().join("model.safetensors"))
}

fn logits(policy: &Policy) -> Vec<f32> {
    let input = PolicyInput::of_text((0..40).map(|id| id * 7 % 300).collect());
    to_vec(policy.logits(policy.forward(&Batch::prompts(&[&input], 2), &mut Trace::off())))
}

fn layout(policy: &Policy) -> ExpertLayout {
    policy.config.text.moe.as_ref().expect("experts").layout
}

#[test]
fn both_layouts_are_the_same_model() {
    let ours = load(&config_json(), &weights()).expect("loads");
    let published = load(&published_json(), &exchanged(weights())).expect("loads");
    assert_eq!((layout(&ours), layout(&published)), (ExpertLayout::OutIn, ExpertLayout::InOut));
    let worst =
        logits(&ours).into_iter().zip(logits(&published)).filter(|(a, _)| a.is_finite()).map(|(a, b)| (a - b).abs());
    assert!(worst.fold(0.0, f32::max) < 1e-4);
}

#[test]
fn the_shapes_overrule_the_generation_of_the_config() {
    let policy = load(&config_json(), &exchanged(weights())).expect("loads");
    assert_eq!(layout(&policy), ExpertLayout::InOut);
    let policy = load(&published_json(), &weights()).expect("loads");
    assert_eq!(layout(&policy), ExpertLayout::OutIn);
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let folder = std::env::temp_dir().join(format!("sapo-moe-{}", std::process::id()));
    for (index, (config, all)) in
        [(config_json(), weights()), (published_json(), exchanged(weights()))].into_iter().enumerate()
    {
        let policy = load(&config, &all).expect("loads");
        let folder = folder.join(index.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        policy.save(&folder, WeightFormat::F32).expect("saves");
        assert!(tensors(&folder.join("model.safetensors")) == all, "names, shapes and bytes");
        let again = Policy::load(&folder, &Device::flex()).expect("loads again");
        assert_eq!(again.config, policy.config);
        assert_eq!(again.weights_sha256(), policy.weights_sha256());
        let saved: Value =
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).expect("written")).expect("JSON");
        assert_eq!(saved["model_type"], "qwen3_vl_moe");
        assert_eq!(saved["text_config"]["rope_parameters"].is_object(), index == 0);
        assert_eq!(saved["text_config"]["rope_scaling"].is_object(), index == 1);
    }
    std::fs::remove_dir_all(folder).expect("removed");
}

#[test]
fn layers_can_be_dense_by_config() {
    let mut config = config_json();
    config["text_config"]["mlp_only_layers"] = json!([1]);
    let config = Config::from_json(&config.to_string(), "config.json").expect("reads");
    let policy = Policy::random(config, 3, &Device::flex());
    let sparse = |index: usize| matches!(policy.text.layers[index].feed_forward, FeedForward::Sparse(_));
    assert_eq!([sparse(0), sparse(1), sparse(2), sparse(3)], [true, false, true, true]);
    assert!(logits(&policy).iter().all(|logit| !logit.is_nan()));
    assert_eq!(Config::from_json(&policy.config.to_json().to_string(), "config.json").expect("reads"), policy.config);
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Value, &mut Tensors), parts: &[&str]| {
        let (mut config, mut all) = (config_json(), weights());
        change(&mut config, &mut all);
        let error = load(&config, &all).expect_err("does not fit").to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let key = "model.language_model.layers.2.mlp.experts.down_proj";
    refused(&|_, all| drop(all.remove(key)), &["model.safetensors", key, "missing"]);
    refused(&|config, _| config["text_config"]["num_local_experts"] = json!(5), &["mlp.gate.weight", "[6, 64]"]);
    refused(&|config, _| config["text_config"]["num_experts_per_tok"] = json!(7), &["config.json", "1 to 6"]);
    refused(&|config, _| config["text_config"]["num_local_experts"] = json!(null), &["config.json", "num_experts"]);
    refused(&|config, _| config["text_config"]["num_local_experts"] = json!(-1), &["config.json"]);
    refused(&|config, _| config["text_config"]["moe_intermediate_size"] = json!(41), &["gate_up_proj", "[6, 80, 64]"]);
    // One layer turned, the others not.
    let turned = |_: &mut Value, all: &mut Tensors| {
        let other = exchanged(all.clone());
        all.insert(key.to_owned(), other[key].clone());
    };
    refused(&turned, &[key, "[6, 40, 64]", "[6, 64, 40]"]);
}
