//! `sapo replay` on a real run: what was recorded comes again, and what was not is noticed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::trained;

fn replay(run: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sapo"));
    command.arg("replay").arg(run).args(more).arg("--json");
    command.output().expect("the binary starts")
}

#[test]
fn rollouts_and_samples_come_again_token_for_token_and_a_change_is_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let run = trained(dir.path(), "again", 3);
    let mut files: Vec<_> = std::fs::read_dir(run.join("rollouts"))
        .expect("rollouts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let text = std::fs::read_to_string(&files[0]).expect("a file");
    let first: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
    let id = first["query_id"].as_str().expect("an id");
    let count = text.lines().filter(|line| line.contains(&format!("\"query_id\":\"{id}\""))).count();
    let step = files[0]
        .file_stem()
        .and_then(|stem| stem.to_str()?.rsplit_once('-'))
        .expect("a step")
        .1
        .parse::<u64>()
        .expect("a number");
    let output = replay(&run, &[id, "--step", &step.to_string()]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{told}");
    let samples = told["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), count);
    for sample in samples {
        assert!(
            sample["parts"].is_null() && sample["log_prob_apart"].as_f64().is_some_and(|apart| apart < 1e-6),
            "{sample}"
        );
        assert!(sample["tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{sample}");
    }

    // The last evaluation records texts alone: the samples and the greedy answer of a query with a picture.
    let output = replay(&run, &["count-test-7-0"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(output.status.success(), "{told}");
    assert!(told["samples"].as_array().is_some_and(|samples| samples.iter().any(|sample| sample["greedy"] == true)));
    assert_eq!(told["pictures"].as_array().map(Vec::len), Some(1));

    // A token that was not sampled.
    let token = first["tokens"][0].as_u64().expect("a token");
    std::fs::write(&files[0], text.replacen(&format!("\"tokens\":[{token}"), &format!("\"tokens\":[{}", token + 1), 1))
        .expect("a file");
    let output = replay(&run, &[id, "--step", &step.to_string(), "--sample", "0"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["samples"][0]["parts"]["at"]), (Some(1), &Value::from(0)));

    let output = replay(&run, &["no-such-query"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no rollout of query")
            || String::from_utf8_lossy(&output.stdout).contains("no rollout of query")
    );
}
