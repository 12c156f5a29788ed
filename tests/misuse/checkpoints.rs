//! Misuses of checkpoints and models: folders, hub ids, other architectures, resumes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::refused;

/// A model's folder that holds nothing but this `config.json`.
fn folder_with(config: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config.json"), config).expect("a file");
    let path = folder.path().display().to_string();
    (folder, path)
}

/// Asks a model one thing, with a Hugging Face cache of its own.
fn asked(model: &str, home: &Path) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Command::new(env!("CARGO_BIN_EXE_sapo"))
        .args(["rollout", "--model", model, "--prompt", "What is 2 + 3?", "--max-new-tokens", "2"])
        .current_dir(root)
        .env("HF_HOME", home)
        .env_remove("HF_HUB_CACHE")
        .output()
        .expect("the binary starts")
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name)
}

#[test]
fn other_architectures_are_named() {
    for (kind, architecture, name) in [
        ("qwen2_5_vl", "Qwen2_5_VLForConditionalGeneration", "Qwen2.5-VL"),
        ("qwen3", "Qwen3ForCausalLM", "Qwen3, a text-only model"),
        ("llama", "LlamaForCausalLM", "Llama"),
    ] {
        let (_kept, path) =
            folder_with(&format!("{{\"model_type\": \"{kind}\", \"architectures\": [\"{architecture}\"]}}"));
        let words = [name, "qwen3_vl", "Qwen/Qwen3-VL-2B-Instruct"];
        refused(&["rollout", "--model", &path, "--prompt", "x"], 2, &words);
        refused(&["plan", "--model", &path], 2, &words);
        refused(&["train", "configs/smoke.toml", "run.name=foreign", &format!("policy.model={path}")], 2, &words);
    }
}

#[test]
fn a_file_is_no_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, "GGUF").expect("a file");
    let file = file.display().to_string();
    refused(&["rollout", "--model", &file, "--prompt", "x"], 2, &["is a file", "safetensors"]);
}

#[test]
fn a_hub_id_is_looked_up_in_the_local_cache() {
    let home = tempfile::tempdir().expect("a folder");
    let id = "Qwen/Qwen3-VL-2B-Instruct";
    let output = asked(id, home.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("Hugging Face cache") && said.contains(&format!("hf download {id}")), "{said}");
    let model = home.path().join("hub/models--Qwen--Qwen3-VL-2B-Instruct");
    copy_folder(&fixture("tiny-dense"), &model.join("snapshots/0123abc"));
    std::fs::create_dir_all(model.join("refs")).expect("a folder");
    std::fs::write(model.join("refs/main"), "0123abc").expect("a file");
    let output = asked(id, home.path());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("snapshots/0123abc"), "what was chosen is said: {said}");
}

#[test]
fn a_run_without_a_checkpoint_is_no_model() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/smoke.toml"),
        folder.path().join("config.toml"),
    )
    .expect("a copy");
    let path = folder.path().display().to_string();
    refused(&["eval", "--model", &path], 2, &["is a run without a whole checkpoint"]);
    refused(
        &["train", "configs/smoke.toml", "run.name=other", &format!("policy.model={path}")],
        2,
        &["without a whole"],
    );
    let step = folder.path().join("checkpoints/step-000008");
    std::fs::create_dir_all(&step).expect("a folder");
    std::fs::write(step.join("manifest.json"), "{").expect("a file");
    refused(&["convert", &path, "out"], 2, &["torn", "step-000008"]);
}

#[test]
fn what_is_no_run_cannot_be_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("notes.txt"), "mine").expect("a file");
    let flag = format!("--resume={}", folder.path().display());
    refused(&["train", &flag], 2, &["holds no config.toml", "not a run directory"]);
}

/// A copy of a fixture with the last four bytes of its weights, a number, as they are given.
fn with_last_number(number: f32) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    copy_folder(&fixture("tiny-moe"), folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).expect("weights");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&number.to_le_bytes());
    std::fs::write(&weights, bytes).expect("written");
    let path = folder.path().display().to_string();
    (folder, path)
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name_everywhere() {
    for number in [f32::NAN, f32::INFINITY] {
        let (folder, path) = with_last_number(number);
        let words = ["model.safetensors: tensor `", "holds NaN or infinite numbers"];
        let out = folder.path().join("out").display().to_string();
        refused(&["rollout", "--model", &path, "--prompt", "x"], 2, &words);
        refused(&["eval", "--model", &path, "--tasks", "digits", "--queries", "1"], 2, &words);
        refused(&["convert", &path, &out], 2, &words);
        assert!(!Path::new(&out).exists());
    }
}

#[test]
fn what_a_tokenizer_would_do_to_prompts_is_switched_off_with_a_word_or_refused() {
    let changed = |change: &dyn Fn(&mut serde_json::Value)| {
        let folder = tempfile::tempdir().expect("a folder");
        copy_folder(&fixture("tiny-dense"), folder.path());
        let path = folder.path().join("tokenizer.json");
        let mut json = serde_json::from_slice(&std::fs::read(&path).expect("a tokenizer")).expect("JSON");
        change(&mut json);
        std::fs::write(&path, json.to_string()).expect("written");
        folder
    };
    let home = tempfile::tempdir().expect("a folder");
    let cut = changed(&|json| {
        json["truncation"] =
            serde_json::json!({"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
        json["padding"] = serde_json::json!({"strategy": {"Fixed": 1_000_000_000}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "x"});
        json["model"]["dropout"] = serde_json::json!(0.5);
    });
    let plain = asked(fixture("tiny-dense").to_str().expect("a path"), home.path());
    let switched_off = asked(cut.path().to_str().expect("a path"), home.path());
    let said = String::from_utf8_lossy(&switched_off.stderr);
    assert!(switched_off.status.success(), "{said}");
    for word in ["`truncation` would cut prompts", "`padding` would fill prompts up", "`model.dropout` would"] {
        assert!(said.contains(word), "nothing says {word:?} in\n{said}");
    }
    assert_eq!(switched_off.stdout, plain.stdout, "the answer is that of the same prompt");
    let doubling = changed(&|json| {
        let double = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        json["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": vec![double; 40]});
    });
    let path = doubling.path().display().to_string();
    refused(&["rollout", "--model", &path, "--prompt", "a"], 2, &["tokenizer.json", "`normalizer` would make a text"]);
}
