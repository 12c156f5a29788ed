//! A plugin that fails at chosen items, in runs of the real binary.

use super::{Command, Path, Value, folder, lines, run, said, short};

const FAILS: &str =
    "def score(item):\n    if item['task'] == 'count':\n        raise ValueError('cannot count')\n    return 1.0\n";
const MENDED: &str = "def score(item):\n    return 1.0\n";

fn plugin(dir: &Path, text: &str) -> String {
    let path = dir.join("mine.py");
    std::fs::write(&path, text).expect("written");
    format!("rewards.mine={{ kind = \"process\", python = \"{}:score\" }}", path.display())
}

/// Half of the rewards of every step fail: those of the task `count`.
fn arguments(dir: &Path, text: &str, more: &[&str]) -> Vec<String> {
    let mine = plugin(dir, text);
    let own = [
        mine.as_str(),
        // Not `correct`, since nobody is asked about an answer that is cut.
        "rubrics.reasoning.parts=[{ reward = \"mine\" }]",
        "run.reward_check.rows_per_source=0",
        "phases.reasoning.steps=6",
        "phases.reasoning.failure_window_steps=4",
        // 16 rollouts a step: 24 failures are more than 0.3 of a window of 64.
        "phases.reasoning.max_failed_share=0.3",
    ];
    short(dir, &[&own[..], more].concat())
}

fn steps(dir: &Path) -> usize {
    lines(&dir.join("smoke/metrics.jsonl")).iter().filter(|line| line["phase"] == "reasoning").count()
}

#[test]
fn failures_over_a_window_stop_the_run_and_a_resume_remembers_them() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return;
    }
    let place = folder();
    let dir = place.path();
    let errors = said(&run(&arguments(dir, FAILS, &[])), 3);
    for part in ["24 of the last 48 rewards failed", "max_failed_share = 0.3", "cannot count", "--resume="] {
        assert!(errors.contains(part), "`{part}` is not in: {errors}");
    }
    assert_eq!(steps(dir), 2, "the third step is not learned from");
    assert!(dir.join("smoke/checkpoints/step-000022").is_dir());
    let first = lines(&dir.join("smoke/metrics.jsonl")).into_iter().find(|line| line["phase"] == "reasoning");
    let first = first.expect("a step");
    assert_eq!(
        (first["train/reward/failed"].as_f64(), first["train/reward/mine/mean"].as_f64()),
        (Some(8.0), Some(1.0))
    );
    let kinds: Vec<&String> =
        first.as_object().expect("metrics").keys().filter(|key| key.starts_with("train/reward/mine/failed/")).collect();
    assert_eq!(kinds.len(), 1, "{first}");
    // What failed is masked, the others keep their scores.
    for rollout in lines(&dir.join("smoke/rollouts/reasoning-000020.jsonl")) {
        let failed = rollout["task"] == "count";
        assert_eq!(rollout["score"]["total"].is_null(), failed, "{rollout}");
        assert!(!failed || rollout["in_loss"] == false);
    }
    let failed_of = |step: u64| {
        let ledger = lines(&dir.join("smoke/ledger.jsonl"));
        let of_step =
            ledger.into_iter().filter(|line| line["step"] == step && line["file"].to_string().contains("rollouts"));
        of_step.map(|line| line["parts"]["mine"]["failed"].is_string()).collect::<Vec<_>>()
    };
    for step in [20, 21, 22] {
        assert_eq!(failed_of(step).iter().filter(|failed| **failed).count(), 8, "step {step}");
    }

    // The window is part of the checkpoint: with the same fault the same step is refused again.
    let again = said(&run(&arguments(dir, FAILS, &["--resume"])), 3);
    assert!(again.contains("24 of the last 48 rewards failed"), "{again}");
    assert_eq!((steps(dir), failed_of(22).len()), (2, 16), "the refused step was rolled back and done again");

    let mended = run(&arguments(dir, MENDED, &["--resume"]));
    assert_eq!(mended.status.code(), Some(0), "{}", String::from_utf8_lossy(&mended.stderr));
    assert_eq!((steps(dir), failed_of(22)), (6, vec![false; 16]));
    let versions: Vec<Value> =
        lines(&dir.join("smoke/ledger.jsonl")).into_iter().filter(|line| line["name"] == "mine").collect();
    assert_eq!(versions.len(), 2, "a changed plugin is another reward");
    assert_ne!(versions[0]["content"], versions[1]["content"]);
}

#[test]
fn one_failure_stops_a_run_that_says_so_and_failures_below_the_limit_do_not() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "python3 is needed in CI");
        return;
    }
    let place = folder();
    let dir = place.path();
    let stop = "rubrics.reasoning.on_failure=stop";
    let errors = said(&run(&arguments(dir, FAILS, &[stop, "run.name=stop"])), 3);
    assert!(errors.contains("on_failure = \"stop\"") && errors.contains("cannot count"), "{errors}");
    let steps_of = lines(&dir.join("stop/metrics.jsonl")).iter().filter(|line| line["phase"].is_string()).count();
    assert_eq!(steps_of, 20);
    assert!(dir.join("stop/checkpoints/step-000020").is_dir());

    let enough = "phases.reasoning.max_failed_share=0.5";
    let goes_on = run(&arguments(dir, FAILS, &[enough, "phases.reasoning.steps=3"]));
    assert_eq!(goes_on.status.code(), Some(0), "{}", String::from_utf8_lossy(&goes_on.stderr));
    assert_eq!(steps(dir), 3);
    for line in lines(&dir.join("smoke/metrics.jsonl")).iter().filter(|line| line["phase"] == "reasoning") {
        // The groups of the task whose rewards fail have fewer than two scores, and are dropped.
        assert!(line["train/groups/no_signal"].as_f64() >= Some(2.0), "{line}");
    }
}
