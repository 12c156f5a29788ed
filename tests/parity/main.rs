//! The real binary against golden cases: `sapo parity` and its exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

fn parity(model: &str, cases: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.arg("parity").args([fixtures().join(model), fixtures().join(cases)]).args(more);
    command.output().expect("the binary starts")
}

fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object alone on stdout")
}

fn refused(output: &Output, says: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    for says in says {
        assert!(errors.contains(says), "`{says}` is not in: {errors}");
    }
}

#[test]
fn every_tensor_of_every_case_is_compared() {
    for (model, cases) in [("tiny-dense", "cases-dense"), ("tiny-moe", "cases-moe")] {
        let output = parity(model, cases, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let object = object(&output);
        assert_eq!((&object["cases"], &object["out"]), (&Value::from(6), &Value::from(0)));
        assert!(object["tensors"].as_u64() > Some(100), "{object}");
        assert!(object["worst"]["abs"].is_number() && object["worst"]["case"].is_string(), "{object}");
    }
}

#[test]
fn every_tensor_has_a_line() {
    let output = parity("tiny-moe", "cases-moe", &[]);
    assert!(output.status.success());
    let text = String::from_utf8_lossy(&output.stdout);
    let line = |parts: [&str; 3]| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(line(["padded", "grad.model.language_model.layers.0.mlp.experts.down_proj", "rel 1e-3"]), "{text}");
    assert!(line(["greedy", "image.greedy_ids", "exact"]), "{text}");
    assert!(line(["6 cases", "tensors", "0 out of tolerance"]), "{text}");
}

#[test]
fn what_cannot_be_compared_is_refused_by_name() {
    // Gradients of experts, of which a dense model knows nothing; the rest of the object is there.
    let output = parity("tiny-dense", "cases-moe", &["--json"]);
    refused(&output, &["text grad.model.language_model.layers.0.mlp.experts.down_proj"]);
    assert!(object(&output)["out"].as_u64() > Some(0));
    refused(&parity("tiny-dense", "chat", &[]), &["holds no golden case"]);
    refused(&parity("tiny-dense", "image_processor", &[]), &["expected.safetensors", "input_ids"]);
    refused(&parity("no-such-model", "cases-dense", &[]), &["config.json"]);
    refused(&parity("tiny-dense", "no-such-folder", &[]), &["no-such-folder"]);
}

#[test]
fn a_changed_weight_ends_with_one() {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        let mut bytes = std::fs::read(fixtures().join("tiny-moe").join(file)).expect("the fixture");
        if file == "model.safetensors" {
            // The exponent of the last number: a weight of the position table, which every picture sees.
            let last = bytes.len() - 1;
            bytes[last] ^= 0x01;
        }
        std::fs::write(folder.path().join(file), bytes).expect("written");
    }
    let model = folder.path().display().to_string();
    let output = parity(&model, "cases-moe", &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(object(&output)["out"].as_u64() > Some(0));
}
