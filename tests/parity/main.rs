//! The real binary against golden cases: `sapo parity` and its exit codes.

mod kit;

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
    assert!(line(["padded", "input_ids", "exact"]) && line(["video", "text", "exact"]), "{text}");
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
    refused(&parity("tiny-dense", "pictures", &[]), &["holds no golden case"]);
    // What others than models and processors are measured by.
    refused(&parity("tiny-dense", ".", &[]), &["versions.json", "is not a golden case"]);
    refused(&parity("no-such-model", "cases-dense", &[]), &["config.json"]);
    refused(&parity("tiny-dense", "no-such-folder", &[]), &["no-such-folder"]);
}

#[test]
fn everything_of_a_processor_is_compared() {
    for model in ["tiny-dense", "tiny-moe"] {
        for (cases, count, tensors) in [("chat", 19, 29), ("image_processor", 6, 17), ("video_processor", 2, 66)] {
            let output = parity(model, cases, &["--json"]);
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            let object = object(&output);
            let counts = ["cases", "tensors", "out"].map(|name| object[name].as_u64());
            assert_eq!(counts, [Some(count), Some(tensors), Some(0)], "{model} {cases}");
        }
    }
}

/// A copy of golden cases with one file changed.
fn changed(cases: &str, file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(fixtures().join(cases)).expect("the fixture") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let text = std::fs::read_to_string(folder.path().join(file)).expect("the case");
    assert!(text.contains(from), "{file} has no {from}");
    std::fs::write(folder.path().join(file), text.replacen(from, to, 1)).expect("written");
    folder
}

#[test]
fn a_processor_that_differs_ends_with_one() {
    for (cases, file, from, to, says) in [
        ("chat", "expected.json", "hello<|im_end|>", "hello <|im_end|>", "system"),
        ("chat", "expected.json", "\"ids\": [\n", "\"ids\": [\n    7,\n", "tokenized"),
        ("image_processor", "smart_resize.json", "\"result\": [", "\"result\": [9", "smart_resize"),
        ("video_processor", "expected.json", "<0.2 seconds>", "<0.3 seconds>", "timestamps"),
        (
            "video_processor",
            "expected.json",
            "\"sampled_indices\": [0, 2",
            "\"sampled_indices\": [0, 3",
            "sampled_indices",
        ),
    ] {
        let folder = changed(cases, file, from, to);
        let place = folder.path().display().to_string();
        let output = parity("tiny-dense", &place, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(object(&output)["out"], 1, "{cases}: {from}");
        let lines = String::from_utf8_lossy(&parity("tiny-dense", &place, &[]).stdout).into_owned();
        let out: Vec<&str> = lines.lines().filter(|line| line.contains(" OUT")).collect();
        assert!(out.len() == 1 && out[0].contains(says) && out[0].contains("and not"), "{out:?}");
    }
}

#[test]
fn what_a_processor_is_not_compared_with_is_refused_by_name() {
    for (cases, file, from, to, says) in [
        ("chat", "expected.json", "\"rendered\":", "\"parsed\": [], \"rendered\":", "expected parsed"),
        ("chat", "expected.json", "\"name\": \"user\",", "\"name\": \"user\", \"loss_mask\": [],", "user loss_mask"),
        ("video_processor", "expected.json", "\"frames\":", "\"codec\": \"gif\", \"frames\":", "expected codec"),
        (
            "image_processor",
            "smart_resize.json",
            "\"factor\":",
            "\"even\": true, \"factor\":",
            "smart_resize image.even",
        ),
    ] {
        let folder = changed(cases, file, from, to);
        refused(&parity("tiny-dense", &folder.path().display().to_string(), &["--json"]), &[says]);
    }
    let folder = changed("image_processor", "smart_resize.json", "{", "{");
    std::fs::remove_file(folder.path().join("gray.png")).expect("removed");
    refused(&parity("tiny-dense", &folder.path().display().to_string(), &[]), &["gray", "there is no picture"]);
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
