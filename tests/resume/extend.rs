//! A resume that takes a run further than it began to go.

use std::path::Path;

use serde_json::Value;

use super::{arguments, errors_of, finish, lines, same, sapo};

/// A phase of supervised learning whose learning rate does not fall, so that its steps do not depend on how many there are.
const ONE_PHASE: [&str; 3] = [
    "run.phases=[\"careful\"]",
    "phases.careful.optimizer={ lr = 2e-3, warmup_steps = 2, schedule = \"constant\" }",
    "eval.heldout.queries_per_source=2",
];

fn resumed(run: &Path, more: &[&str]) -> Vec<String> {
    let mut given = ["train", "--json", "--resume"].map(str::to_owned).to_vec();
    given.push(run.display().to_string());
    given.extend(more.iter().map(|text| (*text).to_owned()));
    given
}

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&ONE_PHASE[..], more].concat()
}

#[test]
fn a_finished_run_goes_on_as_if_it_had_had_more_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let run = dir.join("short");
    finish(&arguments(dir, "short", &with(&["eval.heldout.compare=[]"])));
    let longer = ["phases.careful.steps=12", "run.keep.newest=3"];
    let output = sapo(&resumed(&run, &longer)).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let extended = super::summary(&output);
    assert!(said.contains("phases.careful.steps = 12 (before: 8)"), "{said}");
    assert!(said.contains("run.keep.newest = 3 (before: 2)"), "{said}");
    let steps = lines(&run.join("metrics.jsonl")).iter().filter(|line| line.get("phase").is_some()).count();
    assert_eq!(steps, 12);
    // The evaluation at the end that it had is one within the phase now.
    let results = std::fs::read_to_string(run.join("eval/heldout-000008/results.json")).expect("results");
    assert!(results.contains("\"careful@8\""), "{results}");
    let names: Vec<&str> =
        extended["evals"].as_array().expect("rows").iter().filter_map(|row| row["after"].as_str()).collect();
    assert!(["init", "careful@8", "careful"].iter().all(|name| names.contains(name)), "{names:?}");
    // Its own configuration says so from now on.
    let again = finish(&resumed(&run, &[]));
    same(&again, &extended);
    // With the same learning rates it is the run that had so many steps from its start.
    let whole = finish(&arguments(dir, "whole", &with(&["eval.heldout.compare=[]", "phases.careful.steps=12"])));
    assert_eq!(whole["weights_sha256"], extended["weights_sha256"]);
    // It has an evaluation more, at the end that it had before; its steps are the same.
    let losses = |name: &str| -> Vec<Value> {
        let lines = lines(&dir.join(name).join("metrics.jsonl"));
        lines.iter().filter(|line| line.get("phase").is_some()).map(|line| line["train/loss"].clone()).collect()
    };
    assert_eq!(losses("whole"), losses("short"));
    assert!(losses("whole").iter().all(Value::is_number));
    a_run_is_a_model(&run);
}

/// The folder of a run stands for its newest checkpoint.
fn a_run_is_a_model(run: &Path) {
    let run = run.display().to_string();
    let of = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let output = sapo(&arguments).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("is a run: its newest checkpoint") && said.contains("step-000012"), "{said}");
    };
    of(&["plan", "--model", &run]);
    of(&["rollout", "--model", &run, "--prompt", "What is 2 + 3?", "--max-new-tokens", "2"]);
    of(&["eval", "--model", &run, "--tasks", "digits", "--queries", "2", "--samples", "1", "--max-new-tokens", "2"]);
    let out = format!("{run}-converted");
    of(&["convert", &run, &out]);
    let name = "run.name=from-a-run";
    let dir = format!("run.dir={}", Path::new(&run).parent().expect("a parent").display());
    let more = ["phases.careful.steps=2", "run.phases=[\"careful\"]", "eval={}"];
    of(&[&["train", "configs/smoke.toml", &dir, name, &format!("policy.model={run}")], &more[..]].concat());
}

#[test]
fn what_would_change_the_past_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let run = dir.join("whole");
    finish(&arguments(dir, "whole", &["eval={}"]));
    let ended = errors_of(&resumed(&run, &["phases.careful.steps=20"]), 2);
    assert!(ended.contains("phases.careful.steps: the phase has ended") && ended.contains("--fork="), "{ended}");
    let fewer = errors_of(&resumed(&run, &["phases.reasoning.steps=2"]), 2);
    assert!(fewer.contains("phases.reasoning.steps = 2 (before: 5)") && fewer.contains("--fork="), "{fewer}");
    let other = errors_of(&resumed(&run, &["phases.reasoning.steps=9", "run.seed=5"]), 2);
    assert!(other.contains("run.seed = 5 (before: 1)"), "{other}");
    // The last phase may go on; what its learning rate does now is said.
    let output = sapo(&resumed(&run, &["phases.reasoning.steps=7"])).output().expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    super::summary(&output);
    assert!(said.contains("the learning rate falls over 7 steps now, not over 5"), "{said}");
}
