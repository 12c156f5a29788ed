//! The sandbox from the command line: what the self-test prints, and code rewards in a configuration.

use std::process::{Command, Output};

use serde_json::Value;

fn sapo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sapo")).args(arguments).output().expect("sapo runs")
}

#[test]
fn every_level_is_tried_and_the_strictest_that_holds_is_chosen() {
    let output = sapo(&["reward", "sandbox", "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let levels = told["levels"].as_array().expect("levels");
    assert_eq!(levels.iter().map(|level| &level["level"]).collect::<Vec<_>>(), ["strict", "standard", "none"]);
    let walls = &levels[..2];
    let first =
        walls.iter().find(|level| level["reason"].is_null()).map_or(Value::Null, |level| level["level"].clone());
    assert_eq!(told["chosen"], first);
    assert_eq!(output.status.code(), Some(if first.is_null() { 1 } else { 0 }));
    for level in walls.iter().filter(|level| level["reason"].is_null()) {
        let probes = level["probes"].as_array().expect("probes");
        assert!(probes.len() == 12 && probes.iter().all(|probe| probe["held"] == true), "{level}");
        let enforced = level["enforced"].as_array().expect("what limits programs");
        assert!(enforced.iter().any(|line| line.as_str().is_some_and(|line| line.starts_with("chmod"))), "{level}");
    }
    let page = sapo(&["reward", "sandbox"]);
    let page = String::from_utf8(page.stdout).expect("text");
    for word in ["strict:", "standard:", "none:"] {
        assert!(page.contains(word), "{page}");
    }
}

#[test]
fn an_interpreter_that_is_missing_is_told_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("code.toml");
    let code = "[rewards.code]\nkind = \"code\"\ncommand = [\"sapo-no-such-interpreter\"]\n";
    std::fs::write(&file, code).expect("a file");
    let smoke = concat!(env!("CARGO_MANIFEST_DIR"), "/../configs/smoke.toml");
    let output = sapo(&["config", "check", smoke, file.to_str().expect("a path")]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("rewards.code") && told.contains("sapo-no-such-interpreter"), "{told}");
}

#[test]
fn a_launcher_without_work_ends() {
    for stage in ["supervise", "confine", "probe", "else"] {
        let output = Command::new(env!("CARGO_BIN_EXE_sapo"))
            .args(["__sapo-sandbox", stage])
            .stdin(std::process::Stdio::null())
            .output()
            .expect("sapo runs");
        assert!(output.status.code().is_some(), "{stage}: {output:?}");
    }
}
