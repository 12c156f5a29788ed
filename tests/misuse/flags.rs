//! Misuses of flags and commands.

use serde_json::Value;

use crate::{refused, sapo};

/// What a command that fails prints as JSON.
fn error_of(arguments: &[&str]) -> Value {
    let output = sapo(arguments);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!output.stderr.is_empty(), "the words are on stderr as well");
    let object: Value = serde_json::from_slice(&output.stdout).expect("one JSON object on stdout");
    object["error"].clone()
}

#[test]
fn a_setting_written_as_a_flag_is_told_as_a_setting() {
    refused(&["train", "configs/smoke.toml", "--seed", "3"], 2, &["'--seed'", "run.seed=3"]);
    refused(&["train", "configs/smoke.toml", "--lr=1e-4"], 2, &["phases.NAME.optimizer.lr=1e-4"]);
    refused(&["plan", "configs/smoke.toml", "--token-budget", "64"], 2, &["run.token_budget=64"]);
}

#[test]
fn errors_are_json_where_json_was_asked_for() {
    let error = error_of(&["config", "check", "configs/smoke.toml", "run.sede=2", "--json"]);
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_u64()), (Some("config"), Some(2)));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("did you mean `seed`")), "{error}");
    let error = error_of(&["report", "no/such/run", "--json"]);
    assert!(error["message"].as_str().is_some_and(|text| text.contains("no/such/run")), "{error}");
    // What clap refuses, too.
    let error = error_of(&["train", "configs/smoke.toml", "--json", "--seed", "3"]);
    assert_eq!(error["kind"], "usage");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("run.seed=3")), "{error}");
}

#[test]
fn facts_are_json_where_json_was_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let clocks = folder.path().join("clocks.jsonl").display().to_string();
    let tokenizer = folder.path().join("tokenizer.json").display().to_string();
    let object = |arguments: &[&str]| -> Value {
        let output = sapo(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    };
    assert_eq!(object(&["config", "check", "configs/smoke.toml", "--json"])["ok"], true);
    let shown = object(&["config", "show", "configs/smoke.toml", "--json"]);
    assert_eq!(shown["config"]["run"]["name"], "smoke");
    let keys = shown["keys"].as_array().expect("keys");
    assert!(keys.iter().any(|key| key["key"] == "policy.export" && key["value"].is_null() && key["doc"].is_string()));
    assert_eq!(object(&["data", "make", "clock", "--count", "3", "--out", &clocks, "--json"])["queries"], 3);
    let made = ["data", "tokenizer", "--examples", "8", "--vocabulary", "400", "--out", &tokenizer, "--json"];
    assert_eq!(object(&made)["vocabulary"], 400);
}

#[test]
fn a_shell_gets_its_completions_and_an_unknown_one_a_list() {
    for shell in ["bash", "zsh", "fish"] {
        let output = sapo(&["completions", shell]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("sapo") && text.contains("rollout"), "{shell}: {text}");
    }
    refused(&["completions", "cmd"], 2, &["bash", "zsh", "fish"]);
}

#[test]
fn a_misspelt_command_gets_the_nearest() {
    refused(&["trian", "configs/smoke.toml"], 2, &["train"]);
    refused(&["rollout", "--model", "tiny"], 2, &["--prompt"]);
}
