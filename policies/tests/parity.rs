//! The model against the golden tensors of the reference implementation: text, one picture, several pictures of
//! different sizes, left- and right-padded rows, video; forward, log-probs, gradients and greedy tokens.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sapo_policies::golden::{ACTIVATION_ABS, Case, GRADIENT_REL, Parity, Tolerance, case_files, check};
use sapo_policies::{Policy, PolicyError};

const KINDS: [&str; 2] = ["dense", "moe"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

fn tiny(kind: &str) -> Policy {
    Policy::load(&fixtures().join(format!("tiny-{kind}")), &Device::flex()).expect("the fixture loads")
}

fn case(kind: &str, name: &str) -> Case {
    Case::open(&fixtures().join(format!("cases-{kind}/{name}.safetensors"))).expect("the golden case")
}

/// Compares a case of both models; `gradients` is how many it holds at least.
fn check_case(name: &str, gradients: usize) {
    for kind in KINDS {
        let case = case(kind, name);
        assert_eq!((case.activation_abs, case.gradient_rel), (ACTIVATION_ABS, GRADIENT_REL));
        let parity = check(&tiny(kind), &case).expect("runs");
        assert!(parity.left.is_empty(), "{kind} {name}: nothing was compared with {:?}", parity.left);
        for difference in &parity.differences {
            assert!(!difference.is_out(), "{kind} {name}: {difference:?}");
        }
        let compared = |part: &str| parity.differences.iter().filter(|one| one.tensor.starts_with(part)).count();
        assert!(compared("grad") >= gradients, "{kind} {name}: too few gradients");
        assert_eq!(compared("layer_"), 4, "{kind} {name}");
        assert_eq!(compared("logits") + compared("response_log_probs") + compared("rope_position_ids"), 3);
    }
}

#[test]
fn text_alone() {
    check_case("text", 5);
}

#[test]
fn one_picture() {
    check_case("image", 10);
}

#[test]
fn pictures_of_two_sizes() {
    check_case("images", 10);
}

#[test]
fn rows_padded_left_and_right() {
    check_case("padded", 10);
}

#[test]
fn a_video() {
    check_case("video", 10);
}

#[test]
fn greedy_tokens() {
    for kind in KINDS {
        let parity = check(&tiny(kind), &case(kind, "greedy")).expect("runs");
        assert!(parity.left.is_empty(), "{:?}", parity.left);
        let names: Vec<&str> = parity.differences.iter().map(|one| one.tensor.as_str()).collect();
        assert!(names.contains(&"text.greedy_ids") && names.contains(&"image.greedy_ids"), "{names:?}");
        assert!(parity.differences.iter().all(|one| !one.is_out()), "{kind}: {:?}", parity.differences);
    }
}

#[test]
fn another_model_is_told_apart() {
    let out = |parity: &Parity, name: &str| parity.differences.iter().any(|one| one.tensor == name && one.is_out());
    // A change of one weight is out everywhere after it, and nowhere before.
    let mut policy = tiny("dense");
    for param in policy.parameters_mut() {
        if param.name == "model.language_model.layers.2.mlp.down_proj.weight" {
            param.value = param.value.clone().mul_scalar(1.01);
        }
    }
    let parity = check(&policy, &case("dense", "image")).expect("runs");
    assert!(out(&parity, "layer_2") && out(&parity, "logits") && out(&parity, "response_log_probs"));
    assert!(!out(&parity, "layer_1") && !out(&parity, "vision_merged_0") && !out(&parity, "rope_position_ids"));
    for param in policy.parameters_mut() {
        param.value = param.value.clone().mul_scalar(f32::NAN);
    }
    let parity = check(&policy, &case("dense", "text")).expect("runs");
    assert!(
        out(&parity, "logits") && out(&parity, "grad.model.language_model.norm.weight"),
        "NaN is far from anything"
    );
    assert_eq!(parity.differences.iter().find(|one| one.tensor == "logits").expect("compared").abs, f32::MAX);
}

#[test]
fn what_nothing_is_compared_with_is_named() {
    // The gradients of experts have no counterpart in a dense model.
    let parity = check(&tiny("dense"), &case("moe", "text")).expect("runs");
    let left =
        ["experts.down_proj", "gate.weight"].map(|part| format!("grad.model.language_model.layers.0.mlp.{part}"));
    assert_eq!(parity.left, left);
    let exact = parity.differences.iter().find(|one| one.tensor == "rope_position_ids").expect("compared");
    assert_eq!((exact.tolerance, exact.is_out()), (Tolerance::Exact, false));
}

#[test]
fn files_that_are_no_cases_are_refused_by_name() {
    let files = case_files(&fixtures().join("image_processor")).expect("a folder");
    assert!(files.model.is_empty() && files.processor.len() == 2, "{files:?}");
    let case = Case::open(&files.processor[0]).expect("safetensors");
    let error = check(&tiny("dense"), &case).expect_err("no case").to_string();
    assert!(error.contains("expected.safetensors") && error.contains("input_ids"), "{error}");
    assert!(matches!(Case::open(&fixtures().join("versions.json")), Err(PolicyError::File { .. })));
}
