//! Runs that break: a step that is not finite, and a disk without room.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{arguments, errors_of, finish, lines, same, sapo};

/// A first moment divided by next to nothing: the weights become so large that nothing computed with them is finite.
const BREAKING: [&str; 5] = [
    "run.phases=[\"careful\"]",
    "phases.careful.optimizer.lr=0.9",
    "phases.careful.optimizer.betas=[0.9, 0.0]",
    "phases.careful.optimizer.eps=1e-30",
    "run.max_skipped_steps=1",
];

/// Whether every number of a file of f32 tensors is finite.
fn is_finite(file: &Path) -> bool {
    let bytes = std::fs::read(file).expect("weights");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    tensors.iter().all(|(_, view)| {
        view.data().chunks_exact(4).all(|b| f32::from_le_bytes(b.try_into().expect("four bytes")).is_finite())
    })
}

#[test]
fn a_run_that_breaks_stops_at_its_last_good_checkpoint_and_says_where() {
    let dir = tempfile::tempdir().expect("a folder");
    let errors = errors_of(&arguments(dir.path(), "broken", &BREAKING), 3);
    let said = [
        "is skipped, the weights stay as they are",
        "not a finite number at step",
        "2 updates in a row were skipped, more than run.max_skipped_steps = 1; at the first of them, at step ",
        " of an answer to the query `",
        "The last good checkpoint is ",
        "--fork=",
    ];
    for part in said {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    let run = dir.path().join("broken");
    let state = std::fs::read_to_string(run.join("run.json")).expect("run.json");
    assert!(state.contains("\"failed\""), "{state}");
    // The step that was skipped is recorded, with every key that the others have.
    let mut metrics = lines(&run.join("metrics.jsonl"));
    metrics.retain(|line| line["phase"].is_string());
    let skipped: Vec<&Value> = metrics.iter().filter(|line| line["optim/skipped_steps"] == 1.0).collect();
    assert_eq!(skipped.len(), 1, "the second in a row ended the run");
    let keys = |line: &Value| line.as_object().expect("metrics").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(skipped[0]), keys(&metrics[0]));
    assert!(skipped[0]["train/loss"].is_null() && skipped[0]["optim/grad_norm"].is_null(), "{}", skipped[0]);
    for checkpoint in std::fs::read_dir(run.join("checkpoints")).expect("checkpoints") {
        let path = checkpoint.expect("an entry").path();
        assert!(is_finite(&path.join("policy/model.safetensors")), "{}", path.display());
        assert!(is_finite(&path.join("trainer/optimizer.safetensors")), "{}", path.display());
    }
    // The remedy that is named.
    let from = errors.split("--fork=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a checkpoint");
    let mended = ["train", "--json", "--fork", from, "run.name=mended"].map(str::to_owned);
    let usual = ["lr=1e-3", "betas=[0.9, 0.98]", "eps=1e-8"].map(|key| format!("phases.careful.optimizer.{key}"));
    assert!(from.ends_with("step-000000"), "no update was done from a later one: {from}");
    finish(&[&mended[..], &usual[..]].concat());
    let mut metrics = lines(&dir.path().join("mended/metrics.jsonl"));
    metrics.retain(|line| line["phase"].is_string());
    assert!(metrics.last().is_some_and(|line| line["train/loss"].is_f64()), "{metrics:?}");
}

/// A policy that has learned nothing is cut by the limit each time, and has no signal.
#[test]
fn a_run_warns_of_what_its_numbers_mean_and_so_does_its_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let more = [
        "run.phases=[\"curate\", \"reasoning\"]",
        "phases.reasoning.steps=12",
        "run.warn.cut_share=0.8",
        "run.warn.no_signal_share=0.6",
    ];
    finish(&arguments(dir.path(), "warned", &more));
    let run = dir.path().join("warned");
    let log = std::fs::read_to_string(run.join("log.txt")).expect("a log");
    let report = std::fs::read_to_string(run.join("report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let warnings = report["warnings"].as_array().expect("warnings");
    for part in
        ["are cut by the token limit (run.warn.cut_share)", "of the groups have no signal (run.warn.no_signal_share)"]
    {
        let said = log.lines().filter(|line| line.contains("warning: step 9: reasoning: ") && line.contains(part));
        assert_eq!(said.count(), 1, "`{part}` is said once: {log}");
        let in_report = |warning: &&Value| {
            let text = warning["text"].as_str().unwrap_or_default();
            text.contains(part) && text.starts_with("Step 9, the first of 3: reasoning: ")
        };
        assert_eq!(warnings.iter().filter(in_report).count(), 1, "`{part}`: {warnings:?}");
    }
}

/// A limit on the size of files stands for a disk that is full for the optimizer's moments, and not for what is smaller.
#[test]
fn a_full_disk_is_waited_for_and_the_run_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a folder");
    let more = ["run.phases=[\"careful\"]", "run.disk_wait_secs=1"];
    let undisturbed = finish(&arguments(dir.path(), "undisturbed", &more));
    let command = sapo(&arguments(dir.path(), "full", &more));
    let limited = "trap '' XFSZ; ulimit -f 9000; exec \"$@\"";
    let output = Command::new("bash")
        .args(["-c", limited, "bash"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().expect("the project"))
        .output()
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    for part in ["the disk is full", "waiting up to 1 s", "stayed full for 1 s (run.disk_wait_secs)", "--resume="] {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    let checkpoints: Vec<_> = std::fs::read_dir(dir.path().join("full/checkpoints"))
        .expect("checkpoints")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(
        checkpoints,
        ["step-000000"],
        "the last good one, and no half of the next, which would keep the disk full"
    );
    same(&undisturbed, &finish(&arguments(dir.path(), "full", &[&more[..], &["--resume"]].concat())));
}
