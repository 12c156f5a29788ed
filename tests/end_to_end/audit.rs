//! Audits: a second grader finds a reward that is too lax, says nothing where the two agree, and changes nothing else.

use std::path::Path;

use serde_json::Value;

use super::{json, lines, smoke};

/// A policy that names numbers is trained by `rubric`, and audited by the exact one. The lax rubric takes any number.
fn options(name: &str, rubric: &str, audit: &str) -> Vec<String> {
    let phase = format!(
        "phases.reasoning={{ kind = \"rl\", data = [{{ use = \"digits\" }}], steps = 4, prompts_per_step = 4, \
         rollouts_per_prompt = 8, sampling = {{ max_new_tokens = 12 }}, rubric = \"{rubric}\", algorithm = {{ kind = \"sapo\" }}, \
         optimizer = {{ lr = 1e-4 }}{audit} }}"
    );
    [
        format!("run.name={name}"),
        "run.phases=[\"careful\", \"reasoning\"]".to_owned(),
        "eval={}".to_owned(),
        "run.reward_check.rows_per_source=0".to_owned(),
        "rewards.near={ kind = \"numeric\", absolute_tolerance = 1e9 }".to_owned(),
        "rubrics.lax={ correct = \"near\" }".to_owned(),
        phase,
    ]
    .into()
}

fn run(dir: &Path, name: &str, rubric: &str, audit: &str, more: &[&str]) -> std::process::Output {
    let options = options(name, rubric, audit);
    smoke(dir, &options.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

/// The lines of metrics without what depends on the clock, and without the audit's own.
fn unaudited(run: &Path) -> Vec<Value> {
    let mut all = lines(&run.join("metrics.jsonl"));
    let aside = |key: &str| key == "secs" || ["time/", "perf/", "audit/"].iter().any(|prefix| key.starts_with(prefix));
    all.iter_mut().filter_map(Value::as_object_mut).for_each(|line| line.retain(|key, _| !aside(key)));
    all
}

/// Denominators add up, in each step and over all, and the record has a line for each drawn rollout.
fn adds_up(run: &Path, summary: &Value) {
    let facts = &summary["audits"]["reasoning"];
    let count = |of: &Value, key: &str| of[key].as_f64().unwrap_or_else(|| panic!("{key} in {of}"));
    let metrics = lines(&run.join("metrics.jsonl"));
    let steps: Vec<&Value> = metrics.iter().filter(|line| line["phase"] == "reasoning").collect();
    assert_eq!(steps.len(), 4);
    let kinds = ["agreed", "lenient", "strict", "failed"];
    for step in &steps {
        let sum: f64 = kinds.iter().map(|kind| count(step, &format!("audit/{kind}"))).sum();
        assert_eq!(sum, count(step, "audit/drawn"), "{step}");
    }
    let record = lines(&run.join("audit.jsonl"));
    assert_eq!(record.len() as f64, count(facts, "drawn"));
    for kind in kinds {
        let found = record.iter().filter(|line| line["outcome"] == kind).count();
        assert_eq!(found as f64, count(facts, kind), "{kind}");
    }
    // What the record says of the trained score is what the rollout's line says.
    for line in &record {
        let rollouts = lines(&run.join(line["file"].as_str().expect("a file")));
        let same = |rollout: &&Value| rollout["query_id"] == line["query_id"] && rollout["sample"] == line["sample"];
        let rollout = rollouts.iter().find(same).expect("its rollout");
        assert_eq!(rollout["score"]["passed"], line["trained"]["passed"], "{line}");
        assert_eq!(rollout["score"]["parts"]["correct"]["value"], line["trained"]["parts"]["correct"], "{line}");
    }
    let scored = lines(&run.join("ledger.jsonl")).into_iter().filter(|line| line["scored"] == "audit").count();
    assert_eq!(scored, record.iter().filter(|line| line["audit"].is_object()).count(), "the ledger has every score");
}

#[test]
fn a_lax_reward_raises_the_alarm_and_the_audit_changes_nothing_that_is_trained() {
    let dir = tempfile::tempdir().expect("a folder");
    let audit = ", audit = { rubric = \"reasoning\", share = 0.6 }";
    let plain = json(&run(dir.path(), "plain", "lax", "", &[]));
    assert_eq!(plain["audits"], Value::Null);
    let output = run(dir.path(), "audited", "lax", audit, &[]);
    let audited = json(&output);
    assert_eq!(plain["weights_sha256"], audited["weights_sha256"], "no weight depends on it");
    let [one, other] = ["plain", "audited"].map(|name| dir.path().join(name));
    assert_eq!(unaudited(&one), unaudited(&other), "and no number of the training");
    adds_up(&other, &audited);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("the audit raises its alarm").count(), 1, "{said}");
    let facts = &audited["audits"]["reasoning"];
    assert!(facts["alarm_step"].is_u64() && facts["e_value"].as_f64().is_some_and(|value| value >= 100.0), "{facts}");
    let report = std::fs::read_to_string(other.join("report.html")).expect("the report");
    assert!(report.contains("An audit, not an oracle") && report.contains("Alarm at step"));

    // It stops where it is told to, behind its step, and goes on when it is told to: to the same end.
    let stop = ", audit = { rubric = \"reasoning\", share = 0.6, stop = true }";
    let stopped = run(dir.path(), "stopped", "lax", stop, &[]);
    let said = String::from_utf8_lossy(&stopped.stderr);
    assert_eq!(stopped.status.code(), Some(3), "{said}");
    assert!(said.contains("the audit raised its alarm") && said.contains("--resume="), "{said}");
    let after = facts["alarm_step"].as_u64().expect("a step") + 1;
    assert!(dir.path().join(format!("stopped/checkpoints/step-{after:06}")).is_dir(), "at a checkpoint");
    let resumed = json(&run(dir.path(), "stopped", "lax", stop, &["--resume"]));
    for key in ["weights_sha256", "metrics_sha256", "audits"] {
        assert_eq!(resumed[key], audited[key], "{key}");
    }
    let record = |name: &str| std::fs::read(dir.path().join(name).join("audit.jsonl")).expect("the record");
    assert_eq!(record("stopped"), record("audited"));
}

#[test]
fn graders_that_agree_raise_none_and_one_that_fails_neither_agrees_nor_differs() {
    let dir = tempfile::tempdir().expect("a folder");
    let summary = json(&run(dir.path(), "agree", "reasoning", ", audit = { rubric = \"heldout\", share = 1.0 }", &[]));
    adds_up(&dir.path().join("agree"), &summary);
    let facts = &summary["audits"]["reasoning"];
    assert_eq!(
        (&facts["drawn"], &facts["lenient"], &facts["alarm_step"]),
        (&128.into(), &0.into(), &Value::Null),
        "{facts}"
    );
    // Numbers are no boxes: the second grader cannot read the truth.
    let more = ["rubrics.boxes={ correct = \"grounding\" }"];
    let output =
        run(dir.path(), "unable", "lax", ", audit = { rubric = \"boxes\", share = 1.0, tolerated = 0.0 }", &more);
    let summary = json(&output);
    adds_up(&dir.path().join("unable"), &summary);
    let facts = &summary["audits"]["reasoning"];
    let failed = facts["failed"].as_u64().expect("a count");
    assert!(failed > 100 && facts["lenient"] == 0 && facts["alarm_step"].is_null(), "{facts}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("could not be audited"), "{said}");
}
