//! Going on from an old step: in the same run, or in a new one; and which checkpoints are there to go on from.

use std::path::Path;

use super::{arguments, errors_of, finish, lines, same, same_record, signal, until};

fn steps(run: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).expect("checkpoints");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn from(dir: &Path, flag: &str, checkpoint: &str, more: &[&str]) -> Vec<String> {
    let path = dir.join("whole").join(checkpoint);
    let mut given = vec!["train".to_owned(), "--json".to_owned(), format!("--{flag}={}", path.display())];
    given.extend(more.iter().map(|text| (*text).to_owned()));
    given
}

#[test]
fn a_run_goes_on_from_an_old_step_and_a_fork_ends_where_the_run_did() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let best = ["run.keep.best=heldout/all/greedy", "eval.heldout.every=4", "run.keep.newest=1"];
    let whole = finish(&arguments(dir, "whole", &best));
    let run = dir.join("whole");
    // The ends of the three phases that train, and the best; the link names it.
    let kept = steps(&run);
    for name in ["best", "step-000008", "step-000012", "step-000017"] {
        assert!(kept.iter().any(|kept| kept == name), "{kept:?}");
    }
    let rows = whole["evals"].as_array().expect("evaluations").iter().filter(|row| row["task"] == "all");
    let highest = rows.filter_map(|row| row["greedy"].as_f64()).fold(0.0, f64::max);
    let named = std::fs::read_link(run.join("checkpoints/best")).expect("a link");
    let step = named.display().to_string().replace("step-", "");
    let results = std::fs::read_to_string(run.join(format!("eval/heldout-{step}/results.json"))).expect("results");
    let results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
    let all = results["tasks"].as_array().expect("rows").iter().find(|row| row["task"] == "all").expect("all");
    assert_eq!(all["greedy"].as_f64(), Some(highest));

    // A fork in which nothing differs is the same run, and its record is whole.
    let forked = finish(&from(dir, "fork", "checkpoints/step-000012", &["run.name=forked"]));
    same(&whole, &forked);
    same_record(&run, &dir.join("forked"));
    let report = std::fs::read_to_string(dir.join("forked/report.html")).expect("a report");
    assert!(report.contains("forked from") && report.contains("step-000012"));

    // One in which something differs says what.
    let other = from(dir, "fork", "checkpoints/step-000012", &["run.name=other", "phases.reasoning.optimizer.lr=1e-3"]);
    let other = finish(&other);
    assert_ne!(other["weights_sha256"], whole["weights_sha256"]);
    let said = std::fs::read_to_string(dir.join("other/fork.json")).expect("fork.json");
    assert!(said.contains("phases.reasoning.optimizer.lr = 0.001 (before: 0.00015)"), "{said}");
    let (ours, theirs) = (lines(&dir.join("other/metrics.jsonl")), lines(&run.join("metrics.jsonl")));
    assert_eq!(ours[..12], theirs[..12]);

    refused(dir);

    // In the same run: what came after goes aside, the end that it had too.
    let resumed = finish(&from(dir, "resume", "checkpoints/step-000008", &[]));
    same(&whole, &resumed);
    let aside = run.join("aside/before-resume-0");
    for name in ["summary.json", "metrics.jsonl", "checkpoints/step-000017"] {
        assert!(aside.join(name).exists(), "{name}");
    }
}

/// What cannot be changed in a fork, and what is no place to go on from.
fn refused(dir: &Path) {
    let fork = |more: &[&str]| from(dir, "fork", "checkpoints/step-000008", &[&["run.name=no"][..], more].concat());
    let cases = [
        (fork(&["policy.freeze=[\"vision\"]"]), "policy.freeze = [\"vision\"] (before: not set)"),
        (fork(&["run.phases=[\"cold_start\", \"curate\", \"reasoning\"]"]), "must begin with them"),
        (fork(&["run.name=whole"]), "exists already"),
        (from(dir, "fork", "checkpoints/step-000003", &["run.name=no"]), "steps with one: "),
        (from(dir, "resume", "images", &[]), "nor a checkpoint of one"),
        (from(dir, "resume", "checkpoints/step-000003", &[]), "steps with one: "),
    ];
    for (arguments, wanted) in cases {
        let errors = errors_of(&arguments, 2);
        assert!(errors.contains(wanted), "`{wanted}` is not in: {errors}");
    }
    assert!(!dir.join("no").exists());
}

#[test]
fn a_run_that_goes_on_is_not_resumed_a_second_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut child = until(&arguments(dir.path(), "run", &["phases.careful.steps=4000"]), "careful: 4000 to do");
    let second = arguments(dir.path(), "run", &["phases.careful.steps=4000", "--resume"]);
    let errors = errors_of(&second, 2);
    assert!(errors.contains("is in use by another process"), "{errors}");
    signal(&child, "-KILL");
    child.wait().expect("it ends");
    // Whoever holds the lock and is killed holds it no longer.
    let mut third = until(&second, "going on from");
    signal(&third, "-KILL");
    third.wait().expect("it ends");
}
