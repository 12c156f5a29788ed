//! A made-up run directory, rendered: the words follow the numbers, and nothing in it can break the page.

use std::fs;
use std::path::Path;

use sapo_datasets::{Picture, Query, Split, Task, synthetic};
use serde_json::{Value, json};

use super::model::Tone;
use super::*;

const TASKS: [Task; 7] =
    [Task::Arith, Task::Count, Task::Clock, Task::Digits, Task::Locate, Task::Logic, Task::Describe];
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>";

/// One stage: its name, step, pass rate and share with working.
type Stage = (&'static str, usize, f64, f64);

const IMPROVING: [Stage; 5] = [
    ("init", 0, 0.0, 0.9),
    ("careful", 40, 0.5, 1.0),
    ("cold_start", 50, 0.3, 0.45),
    ("reasoning", 110, 0.6, 1.0),
    ("general", 120, 0.6, 1.0),
];

fn queries() -> Vec<Query> {
    let of_task = |task: Task| (0..24).map(move |at| synthetic::query(task, Split::Test, 7, at));
    TASKS.into_iter().flat_map(of_task).collect()
}

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn put_lines(dir: &Path, name: &str, lines: &[Value]) {
    put(dir, name, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
}

/// A number in 0..1 that looks random and is always the same.
fn noise(seed: usize) -> f64 {
    (seed as u64)
        .wrapping_add(1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9) as f64
        / u64::MAX as f64
}

fn answer(query: &Query, index: usize, sample: usize, stage: Stage) -> Value {
    let (_, step, rate, working) = stage;
    let passed = 0.7 * noise(index * 7) + 0.3 * noise(index * 311 + sample * 37 + step) < rate;
    let truth = match &query.ground_truth {
        Some(Value::String(text)) => text.clone(),
        other => other.as_ref().map(Value::to_string).unwrap_or_default(),
    };
    let said = if passed { truth.clone() } else { format!("{} {HOSTILE}", index % 10) };
    let working = if noise(index * 53 + sample) < working { "7+1=8,4+1+0=5" } else { "" };
    let stray = noise(index) < 0.1 && step < 60;
    let evidence = format!("{said} {} {truth}", if passed { "=" } else { "is not" });
    json!({
        "query_id": query.id, "task": query.task, "sample": sample, "greedy": false, "stop": "eos", "tokens": 12,
        "text": format!("{working}</think>{said}"),
        "score": {"total": f64::from(u8::from(passed)), "passed": passed, "parts": [
            {"name": "correct", "value": f64::from(u8::from(passed)), "weight": 1.0, "evidence": evidence},
            {"name": "language", "value": f64::from(u8::from(stray)), "weight": -0.5},
        ]},
    })
}

fn put_evaluation(dir: &Path, stage: Stage) {
    let (after, step, rate, working) = stage;
    let mut samples = Vec::new();
    for (index, query) in queries().iter().enumerate() {
        samples.extend((0..4).map(|sample| answer(query, index, sample, stage)));
        let mut greedy = answer(query, index, 9, stage);
        greedy["greedy"] = Value::from(true);
        samples.push(greedy);
    }
    let row = |task: &str, shift: f64| {
        let rate = if rate == 0.0 { 0.0 } else { (rate + shift).clamp(0.0, 1.0) };
        json!({"task": task, "queries": 24, "samples": 96, "scored": 96, "failed": 0, "pass_at_1": rate,
            "ci95": [(rate - 0.04).max(0.0), (rate + 0.04).min(1.0)], "greedy": (rate + 0.07).min(1.0),
            "with_working": working, "truncated": 0.01, "mean_tokens": 12.5})
    };
    let mut rows = vec![row("all", 0.0)];
    rows.extend(TASKS.iter().enumerate().map(|(at, task)| row(task.name(), (at as f64 - 3.0) * 0.08)));
    let folder = format!("eval/heldout-{step:06}");
    put_lines(dir, &format!("{folder}/samples.jsonl"), &samples);
    let results =
        json!({"v": 1, "name": "heldout", "after": after, "step": step, "samples": 4, "seed": 7, "tasks": rows});
    put(dir, &format!("{folder}/results.json"), &results.to_string());
}

fn metrics_line(step: usize) -> Value {
    let phase = match step {
        0..40 => "careful",
        40..50 => "mixed",
        50..110 => "reasoning",
        _ => "general",
    };
    let shake = 0.1 * noise(step);
    let mut line = json!({"step": step, "phase": phase, "secs": 1.0 + shake,
        "optim/grad_norm": 20.0 / (step as f64 + 1.0) + shake, "optim/lr": 1e-3 * (1.0 - step as f64 / 150.0)});
    if step < 50 {
        line["train/loss"] = json!(7.0 / (1.0 + step as f64 * 0.3) + shake);
        return line;
    }
    let (gone, gate) = ((step - 50) as f64 / 70.0, 1.0 - 2e-5 * (1.0 + shake));
    let values = [
        ("train/reward/mean", 0.3 + 0.4 * gone + shake),
        ("train/reward/passed", 0.32 + 0.4 * gone + shake),
        ("train/reward/passed/arith", 0.1 + 0.3 * gone + shake),
        ("train/reward/passed/clock", 0.6 + 0.3 * gone),
        ("rollout/with_working", (0.45 + 2.0 * gone).min(1.0)),
        ("rollout/truncated", 0.01),
        ("rollout/length/mean", 8.0 + 6.0 * gone + shake),
        ("policy/entropy/mean", 0.5 - 0.2 * gone + shake),
        ("policy/mismatch_kl", -1e-8 * shake),
        ("policy/logprob_gap_max", 7e-6 * (1.0 + shake)),
        ("policy/ratio/off_mean", 0.0015 + shake * 0.001),
        ("sapo/effective_samples", 0.9999),
        ("sapo/gate/pos/mean", gate),
        ("sapo/gate/neg/mean", gate),
        ("sapo/gate/pos/q05", gate),
        ("sapo/gate/neg/q05", gate),
        ("sapo/gate/pos/min", gate - 0.003),
        ("sapo/gate/neg/min", gate - 0.004),
        ("train/groups/trained", 28.0 + (10.0 * shake).round()),
        ("train/groups/no_signal", 3.0),
        ("train/groups/too_easy", 5.0),
        ("time/rollout_secs", 0.3),
        ("time/reward_secs", 0.02),
        ("time/update_secs", 0.6),
    ];
    values.into_iter().for_each(|(name, value)| line[name] = json!(value));
    line
}

fn put_queries(dir: &Path) {
    fs::create_dir_all(dir.join("images")).unwrap();
    let record = |query: &Query| {
        for picture in &query.images {
            let name = format!("{}.{}", picture.sha256(), picture.extension());
            fs::write(dir.join("images").join(name), picture.bytes()).unwrap();
        }
        let hashes: Vec<&str> = query.images.iter().map(Picture::sha256).collect();
        json!({"id": query.id, "task": query.task, "messages": query.messages, "images": hashes,
            "ground_truth": query.ground_truth, "columns": query.columns, "rubric": null})
    };
    put_lines(dir, "queries.jsonl", &queries().iter().map(record).collect::<Vec<_>>());
}

/// Writes a whole run with the given evaluations.
fn put_run(dir: &Path, stages: &[Stage]) {
    let run = json!({"v": 1, "name": "made-up", "status": "finished", "version": "0.1.0", "seed": 1, "threads": 2,
        "device": "cpu", "command_line": ["sapo", "train", "configs/quickstart.toml"]});
    put(dir, "run.json", &run.to_string());
    put(
        dir,
        "config.toml",
        "[run]\nname = \"made-up\"\n\n[phases.reasoning]\nkind = \"rl\"\nshuffle_rewards = false\n",
    );
    put_lines(dir, "metrics.jsonl", &(0..120).map(metrics_line).collect::<Vec<_>>());
    stages.iter().for_each(|stage| put_evaluation(dir, *stage));
    put_queries(dir);
    let curated = |at: usize| {
        let passed = (noise(at) * 17.0) as usize;
        let decision = if 10 * passed > 144 { "dropped_too_easy" } else { "kept" };
        let outcomes: Vec<u8> = (0..16).map(|sample| u8::from(sample < passed)).collect();
        json!({"query_id": format!("q{at}"), "task": TASKS[at % 6].name(), "outcomes": outcomes, "passed": passed,
            "scored": 16, "decision": decision})
    };
    put_lines(dir, "curation/curate.jsonl", &(0..300).map(curated).collect::<Vec<_>>());
    let judge = json!({"items": 400, "yes_items": 200, "no_items": 200, "agreement": 0.93, "false_yes": 0.06,
        "false_no": 0.08, "balanced_accuracy": 0.93, "min_balanced_accuracy": 0.9, "precision_before": 0.91,
        "precision_after": 0.84});
    put(dir, "judge.json", &judge.to_string());
    let rollout = |sample: usize| {
        let mut line = answer(&queries()[50], 50, sample, ("", 50, 0.5, 0.6));
        line["turns"] = json!([{"role": "assistant", "text": line["text"]}]);
        line["advantage"] = json!(noise(sample) - 0.5);
        line
    };
    for step in [50, 109] {
        put_lines(dir, &format!("rollouts/reasoning-{step:06}.jsonl"), &(0..8).map(rollout).collect::<Vec<_>>());
    }
}

fn made(stages: &[Stage]) -> (tempfile::TempDir, Report) {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), stages);
    let report = build(dir.path()).unwrap();
    (dir, report)
}

#[test]
fn a_whole_run_is_read_and_lacks_nothing() {
    let (_dir, report) = made(&IMPROVING);
    assert_eq!(report.missing, Vec::<String>::new());
    assert_eq!(report.stages.len(), 5);
    assert_eq!(report.samples.len(), TASKS.len());
    assert!(report.samples.iter().all(|task| task.before == "cold_start" && task.after == "general"));
    let mut shown = report.samples.iter().flat_map(|task| &task.queries);
    assert!(shown.all(|query| query.prompt.is_some() && query.before[0].greedy && query.after.len() == 5));
    assert!(!report.pictures.is_empty());
    assert_eq!(report.groups.len(), 2);
    let all = &report.curation[0].tasks[0];
    assert_eq!((all.task.as_str(), all.queries), ("all", 300));
    assert_eq!(all.queries, all.kept + all.dropped_too_easy + all.dropped_never_solved);
    assert_eq!(report.curation[0].histogram.iter().map(|bin| bin.0 + bin.1).sum::<usize>(), all.queries);
    let gate = &report.gates[0].statement.text;
    assert!(gate.contains("next to nothing"), "{gate}");
}

#[test]
fn the_page_and_its_twin_say_the_same_each_time() {
    let (dir, report) = made(&IMPROVING);
    let page = fs::read_to_string(write(dir.path()).unwrap()).unwrap();
    assert!(page.contains("RL learned to work before it answers."));
    assert_eq!(page, render(&report).unwrap());
    let twin: Value = serde_json::from_slice(&fs::read(dir.path().join("report.json")).unwrap()).unwrap();
    let (_, rest) = page.split_once("id=\"report\">").unwrap();
    let (embedded, _) = rest.split_once("</script>").unwrap();
    assert_eq!(serde_json::from_str::<Value>(embedded).unwrap(), twin);
}

#[test]
fn the_page_needs_no_network_and_no_model_can_write_markup() {
    let (_dir, report) = made(&IMPROVING);
    let page = render(&report).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("url(//"));
    assert!(!page.contains("<img src=x"), "a model's text became markup");
    assert!(page.contains("&lt;img src=x"));
    assert_eq!(page.matches("</script>").count(), 2);
}

#[test]
fn worse_numbers_are_told_as_worse() {
    let stages = [("careful", 40, 0.5, 1.0), ("cold_start", 50, 0.6, 0.9), ("reasoning", 110, 0.2, 0.1)];
    let (_dir, report) = made(&stages);
    assert_eq!(report.verdict.headline.tone, Tone::Worse);
    assert!(report.verdict.headline.text.contains("unlearned"), "{}", report.verdict.headline.text);
    let words: Vec<&str> = report.verdict.sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    assert!(words.iter().any(|text| text.contains("skip the working")), "{words:?}");
    assert!(words.iter().any(|text| text.contains("still behind")), "{words:?}");
}

#[test]
fn equal_numbers_are_told_as_no_change() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), &[("cold_start", 50, 0.4, 0.9)]);
    let folder = dir.path().join("eval/heldout-000050");
    let again = dir.path().join("eval/heldout-000110");
    fs::create_dir_all(&again).unwrap();
    fs::copy(folder.join("samples.jsonl"), again.join("samples.jsonl")).unwrap();
    let results = fs::read_to_string(folder.join("results.json")).unwrap();
    let results = results.replace("cold_start", "reasoning").replace("\"step\":50", "\"step\":110");
    put(dir.path(), "eval/heldout-000110/results.json", &results);
    let report = build(dir.path()).unwrap();
    assert_eq!(report.verdict.headline.tone, Tone::Same);
    assert!(report.verdict.sentences[0].text.contains("may be chance"), "{:?}", report.verdict.sentences[0]);
}

#[test]
fn a_control_run_says_so_first() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), &[("cold_start", 50, 0.4, 0.9), ("reasoning", 110, 0.1, 0.9)]);
    put(dir.path(), "config.toml", "[phases.reasoning]\nkind = \"rl\"\nshuffle_rewards = true\n");
    let report = build(dir.path()).unwrap();
    assert!(report.verdict.headline.text.starts_with("Control run with permuted rewards."));
    assert!(report.verdict.sentences[0].text.contains("as it should be"));
}

#[test]
fn the_runs_own_gains_are_told() {
    let dir = tempfile::tempdir().unwrap();
    put_run(dir.path(), &IMPROVING);
    let gain = json!({"from": "cold_start", "to": "reasoning", "task": "all", "gain": 0.291, "ci95": [0.264, 0.314]});
    put(dir.path(), "summary.json", &json!({"wall_secs": 348.2, "gains": [gain]}).to_string());
    let report = build(dir.path()).unwrap();
    assert!(report.verdict.sentences[0].text.contains("+29.1 points [26.4, 31.4]"));
}

#[test]
fn an_unfinished_run_is_shown_with_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "run.json", r#"{"name": "young", "status": "running"}"#);
    let line = r#"{"step":0,"phase":"careful","secs":1.0,"train/loss":6.8}"#;
    put(dir.path(), "metrics.jsonl", &format!("{line}\n{{\"step\":1,\"pha"));
    let report = build(dir.path()).unwrap();
    assert_eq!(report.verdict.headline.text, "No evaluation is recorded yet: this run is running.");
    assert_eq!(report.curves.len(), 1);
    assert!(report.missing.iter().any(|note| note.starts_with("eval/ is empty")));
    assert!(!report.missing.iter().any(|note| note.starts_with("metrics.jsonl")));
    let page = render(&report).unwrap();
    assert!(page.contains("What this report lacks") && page.contains("young"));
}

#[test]
fn damaged_files_are_noted_and_never_fatal() {
    let (dir, _) = made(&IMPROVING);
    put(dir.path(), "metrics.jsonl", "not json\n{\"step\":1,\"phase\":\"careful\",\"train/loss\":1.0}\n");
    put(dir.path(), "eval/heldout-000110/results.json", "{");
    put(dir.path(), "judge.json", "[]");
    let report = build(dir.path()).unwrap();
    assert_eq!(report.stages.len(), 4);
    assert!(
        report.missing.iter().any(|note| note.contains("metrics.jsonl: 1 line is no JSON")),
        "{:?}",
        report.missing
    );
    assert!(report.missing.iter().any(|note| note.contains("heldout-000110/results.json is no JSON")));
    render(&report).unwrap();
}

#[test]
fn a_record_cannot_make_the_page_carry_another_file() {
    let (dir, _) = made(&IMPROVING);
    put(dir.path(), "secret.png", "secret");
    put(dir.path(), &format!("images/{}.png", "0".repeat(64)), "not what its name says");
    let record = |query: &Query| json!({"id": query.id, "images": ["../secret", "0".repeat(64)]});
    put_lines(dir.path(), "queries.jsonl", &queries().iter().map(record).collect::<Vec<_>>());
    let report = build(dir.path()).unwrap();
    assert!(report.pictures.is_empty());
    assert!(report.missing.iter().any(|note| note.contains("2 pictures are not there")), "{:?}", report.missing);
}

#[test]
fn a_folder_that_is_no_run_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let error = build(dir.path()).unwrap_err().to_string();
    assert!(error.contains("is no run directory") && error.contains("runs/quickstart"), "{error}");
}
