//! A made-up audit, read and rendered: the words and figures follow the record, and nothing in it can break the page.

use std::path::Path;

use sapo_rewards::{PartScore, Score, WeightedPart};
use serde_json::{Value, json};

use super::*;
use crate::audit::Trained;
use crate::report::{build, render};

const HOSTILE: &str = "</script><img src=x onerror=alert(1)>";

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn put_lines(dir: &Path, name: &str, lines: &[Value]) {
    put(dir, name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// An answer of a step; of every ten the second grader fails so many that the trained rubric passes, and the tenth fails.
fn audited(step: u64, sample: usize, lenient: usize) -> AuditLine {
    let trained = (sample != 8).then_some(sample < 7);
    let second = (sample != 9).then_some(sample >= lenient && sample != 7);
    let part = PartScore::verdict(second == Some(true), format!("no 12 {HOSTILE}"));
    let whole = |name: &str| WeightedPart { name: name.to_owned(), weight: 1.0, score: part.clone() };
    let score = Score::of(vec![whole("correct"), whole("whole")]);
    let value = f64::from(u8::from(trained == Some(true)));
    AuditLine {
        v: 1,
        phase: "rl".to_owned(),
        step,
        file: format!("rollouts/rl-{step:06}.jsonl"),
        query_id: format!("q{sample}"),
        task: if sample.is_multiple_of(2) { "geo" } else { HOSTILE }.to_owned(),
        sample,
        tokens: 1 + 4 * sample,
        truncated: false,
        outcome: Found::of(trained, second),
        trained: Trained {
            passed: trained,
            total: trained.map(|_| value),
            parts: [("correct".to_owned(), value)].into(),
        },
        rubric: "strict".to_owned(),
        audit: trained.map(|_| Score { passed: second, ..score }),
    }
}

/// A run of 30 steps whose audits find so many of seven answers passed in error.
fn put_run(dir: &Path, lenient: usize, alarm_from: u64) {
    put(dir, "run.json", "{\"v\": 1, \"name\": \"made-up\", \"status\": \"finished\"}");
    put(
        dir,
        "config.toml",
        "[phases.rl]\nkind = \"rl\"\naudit = { rubric = \"strict\", tolerated = 0.1, false_alarm = 0.05 }\n",
    );
    let (mut metrics, mut all) = (Vec::new(), Vec::new());
    for step in 0..30 {
        let lines: Vec<AuditLine> = (0..10).map(|sample| audited(step, sample, lenient)).collect();
        metrics.push(json!({"step": step, "phase": "rl", "secs": 1.0, "audit/drawn": 10, "audit/failed": 2,
            "audit/lenient_share": lenient as f64 / 7.0, "audit/strict_share": 0.0, "audit/e_value": 1.5_f64.powi(step as i32),
            "audit/alarm": u8::from(step >= alarm_from)}));
        let rollout = |line: &AuditLine| {
            json!({"query_id": line.query_id, "task": line.task, "sample": line.sample, "stop": "eos",
            "thinking_open": true, "turns": [{"role": "assistant", "sampled": true, "text": format!("so</think>{step} or 12 {HOSTILE}")}],
            "score": {"total": 1.0, "passed": true, "parts": {"correct": {"value": 1.0, "weight": 1.0, "evidence": "near 12"}}}})
        };
        put_lines(dir, &lines[0].file, &lines.iter().map(rollout).collect::<Vec<_>>());
        all.extend(lines.iter().map(|line| serde_json::to_value(line).unwrap()));
    }
    // A step that is still to come, and a file that is none of the run's.
    all.push(serde_json::to_value(AuditLine { step: 30, ..audited(0, 0, 1) }).unwrap());
    let astray = AuditLine { file: "rollouts/../../other.jsonl".to_owned(), ..audited(29, 0, 7) };
    all.push(serde_json::to_value(astray).unwrap());
    put_lines(dir, "metrics.jsonl", &metrics);
    put_lines(dir, "audit.jsonl", &all);
    let query = |sample: usize| {
        json!({"id": format!("q{sample}"), "messages": [{"role": "user", "content": "How many?"}],
        "ground_truth": "12", "images": []})
    };
    put_lines(dir, "queries.jsonl", &(0..10).map(query).collect::<Vec<_>>());
}

#[test]
fn the_section_says_what_the_record_says() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), 2, 12);
    let report = build(dir.path()).unwrap();
    assert_eq!(report.missing.iter().filter(|note| note.contains("audit")).count(), 0, "{:?}", report.missing);
    let section = &report.audits[0];
    let counts = section.counts;
    assert_eq!(counts.drawn, counts.agreed + counts.lenient + counts.strict + counts.failed);
    assert_eq!((counts.drawn, counts.lenient, counts.strict, counts.failed), (301, 61, 0, 60));
    let lenient = section.lenient.unwrap();
    assert_eq!((lenient.answers, lenient.differ, section.alarm_step), (211, 61, Some(12)));
    assert!((lenient.share - 2.0 / 7.0).abs() < 0.01 && lenient.ci95[0] > 0.1, "{lenient:?}");
    assert!(section.headline.contains("Alarm at step 12"), "{}", section.headline);
    let said = section.sentences.join("\n");
    for words in
        ["of the 211 audited", "fails 61: ", "10.0 % are tolerated", "in at most 5.0 % of runs", "20 raises the alarm"]
    {
        assert!(said.to_lowercase().contains(words), "{words}: {said}");
    }
    let groups: Vec<&str> = section.breakdowns.iter().map(|groups| groups.by.as_str()).collect();
    assert_eq!(groups, ["Task", "Part of the trained rubric", "Part of the second rubric", "Tokens of the answer"]);
    for groups in section.breakdowns.iter().filter(|groups| groups.by != "Part of the second rubric") {
        let answers = groups.rows.iter().filter_map(|row| row.lenient).map(|share| share.answers).sum::<usize>();
        assert_eq!(answers, lenient.answers, "{}: no answer is lost and none counts twice", groups.by);
    }
    let lengths: Vec<&str> = section.breakdowns[3].rows.iter().map(|row| row.label.as_str()).collect();
    assert_eq!(lengths, ["1", "4 to 7", "8 to 15", "16 to 31"]);
    let paid = section.breakdowns[1].rows.iter().find(|row| row.label == "correct \u{2265} 0.5").unwrap();
    assert!(paid.lenient.is_some() && paid.strict.is_none(), "{paid:?}");
    assert_eq!(section.failures.iter().map(|failure| failure.1).sum::<usize>(), counts.failed);
    assert_eq!(section.examples.len(), 2, "the last answers of two queries");
    let shown = section.examples.iter().find(|example| example.query_id == "q1").unwrap();
    assert!(
        shown.answer.as_ref().unwrap().starts_with("29 or 12") && shown.trained[0].contains("near 12"),
        "{shown:?}"
    );
    assert_eq!((shown.prompt.as_deref(), shown.ground_truth.as_deref()), (Some("How many?"), Some("12")));
    let astray = section.examples.iter().find(|example| example.query_id == "q0").unwrap();
    assert_eq!(astray.answer, None, "a file outside of the run is not read");
    assert!(
        report.warnings.iter().any(|warning| warning.text.contains("the audit raises its alarm")),
        "{:?}",
        report.warnings
    );
}

#[test]
fn an_audit_without_alarm_does_not_claim_that_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), 0, 99);
    let report = build(dir.path()).unwrap();
    let section = &report.audits[0];
    assert_eq!((section.headline.as_str(), section.alarm_step), ("No alarm in 30 steps.", None));
    assert!(section.sentences.iter().any(|said| said.contains("does not show that nothing is wrong")));
}

#[test]
fn the_page_shows_it_as_an_audit_and_nothing_breaks_it() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), 2, 12);
    let page = render(&build(dir.path()).unwrap()).unwrap();
    assert!(page.contains("An audit, not an oracle") && page.contains("Neither grader is the truth"));
    assert!(page.contains("href=\"#audit\"") && page.contains("id=\"audit\""));
    assert!(!page.contains("<img src=x"), "a text became markup");
    let (_, section) = page.split_once("id=\"audit\"").unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    assert_eq!(section.matches("<svg class=\"chart\"").count(), 2 + 4);
    assert!(!section.contains("data-curve"), "the page's script has no numbers for these");
    // A run without an audit has no such section, and a record that is damaged is told.
    std::fs::write(dir.path().join("audit.jsonl"), "{\"v\": 1}\n{}\n").unwrap();
    let report = build(dir.path()).unwrap();
    assert!(report.missing.iter().any(|note| note.contains("audit.jsonl: 2 lines")), "{:?}", report.missing);
    put(dir.path(), "metrics.jsonl", "{\"step\": 0, \"phase\": \"rl\", \"secs\": 1.0}\n");
    assert!(!render(&build(dir.path()).unwrap()).unwrap().contains("id=\"audit\""));
}
