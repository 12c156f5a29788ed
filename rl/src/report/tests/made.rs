//! Made-up run directories, as this version writes them and as the one before did.

use std::fs;
use std::path::Path;

use sapo_datasets::Picture;
use serde_json::{Value, json};

/// Tasks of every evaluation; the last is no part of `all`.
pub(super) const TASKS: [&str; 3] = ["geo", "counting", "shapes"];
/// Queries of each task.
pub(super) const QUERIES: usize = 24;
/// What a model says where it wants to break the page.
pub(super) const HOSTILE: &str = "</script><img src=x onerror=alert(1)>";
/// The smallest picture.
const PICTURE: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8,
    0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0x60, 0, 0, 0, 2, 0,
    1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
];

/// Which version of Sapo wrote a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// One evaluation without a name, labels of its own, rollouts of one turn.
    Before,
    /// Named evaluations, labels by phase, rollouts of turns.
    Now,
}

/// An evaluation: its label, step, pass rate and share with reasoning.
pub(super) type Stage = (&'static str, usize, f64, f64);

/// A run that gets better with its last two phases.
pub(super) const IMPROVING: [Stage; 5] = [
    ("init", 0, 0.0, 0.9),
    ("warm", 40, 0.5, 1.0),
    ("cold", 50, 0.3, 0.45),
    ("rl", 110, 0.6, 1.0),
    ("last", 120, 0.6, 1.0),
];

const CONFIG_BEFORE: &str = "[run]\nname = \"made-up\"\n[eval]\ntasks = [\"geo\", \"counting\"]\napart = [\"shapes\"]\n\
                             [phases.learn]\nkind = \"rl\"\nshuffle_rewards = false\neval_after = \"rl\"\n";
const CONFIG_NOW: &str = "[run]\nname = \"made-up\"\n[data.shapes]\nsource = \"shapes.parquet\"\n\
                          [eval.maps]\ndata = [\"geo\", \"counting\", \"shapes\"]\nunaveraged = [\"shapes\"]\n\
                          compare = [[\"cold\", \"rl\"], [\"init\", \"last\"]]\n[eval.numbers]\n\
                          data = [\"geo\", \"counting\", \"shapes\"]\nunaveraged = [\"shapes\"]\n\
                          [phases.rl]\nkind = \"rl\"\nshuffle_rewards = false\n";

pub(super) fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(super) fn put_lines(dir: &Path, name: &str, lines: &[Value]) {
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

pub(super) fn query_id(task: &str, index: usize) -> String {
    format!("{task}-{index}")
}

/// A sampled answer to query `index` of a task.
pub(super) fn answer(task: &str, index: usize, sample: usize, stage: Stage) -> Value {
    let (_, step, rate, reasoning) = stage;
    let seed = index + 1000 * task.len();
    let passed = 0.7 * noise(seed * 7) + 0.3 * noise(seed * 311 + sample * 37 + step) < rate;
    let said = if passed { index.to_string() } else { format!("{} {HOSTILE}", index % 10) };
    let thought = if noise(seed * 53 + sample) < reasoning { "7+1=8,4+1+0=5" } else { "" };
    let stray = noise(seed) < 0.1 && step < 60;
    let evidence = format!("{said} {} {index}", if passed { "=" } else { "is not" });
    json!({
        "query_id": query_id(task, index), "task": task, "sample": sample, "greedy": false, "stop": "eos", "tokens": 12,
        "thinking_open": true, "text": format!("{thought}</think>{said}"),
        "score": {"total": f64::from(u8::from(passed)), "passed": passed, "parts": [
            {"name": "correct", "value": f64::from(u8::from(passed)), "weight": 1.0, "evidence": evidence},
            {"name": "language", "value": f64::from(u8::from(stray)), "weight": -0.5},
        ]},
    })
}

/// Writes an evaluation; `set` is its name, of which the version before knew only one.
pub(super) fn put_evaluation(dir: &Path, version: Version, set: &str, stage: Stage) {
    let (after, step, rate, reasoning) = stage;
    let mut samples = Vec::new();
    for (task, index) in TASKS.iter().flat_map(|task| (0..QUERIES).map(move |index| (*task, index))) {
        samples.extend((0..4).map(|sample| answer(task, index, sample, stage)));
        let mut greedy = answer(task, index, 9, stage);
        greedy["greedy"] = Value::from(true);
        samples.push(greedy);
    }
    let row = |task: &str, shift: f64, queries: usize| {
        let rate = if rate == 0.0 { 0.0 } else { (rate + shift).clamp(0.0, 1.0) };
        let half = if rate == 0.0 { 0.0 } else { 0.04 };
        let mut row = json!({"after": after, "task": task, "queries": queries, "scored": 4 * queries, "failed": 0,
            "pass_at_1": rate, "ci95": [(rate - half).max(0.0), (rate + half).min(1.0)],
            "greedy": (rate + 0.07).min(1.0), "with_working": reasoning, "truncated": 0.01, "mean_tokens": 12.5});
        if version == Version::Now {
            row["set"] = json!(set);
        }
        row
    };
    let mut rows: Vec<Value> =
        TASKS.iter().zip([0.05, -0.05, 0.1]).map(|(task, shift)| row(task, shift, QUERIES)).collect();
    rows.push(row("all", 0.0, 2 * QUERIES));
    let folder = format!("eval/{set}-{step:06}");
    put_lines(dir, &format!("{folder}/samples.jsonl"), &samples);
    let name = if version == Version::Now { "set" } else { "name" };
    let results = json!({"v": 1, name: set, "after": after, "step": step, "samples": 4, "seed": 7, "tasks": rows});
    put(dir, &format!("{folder}/results.json"), &results.to_string());
}

fn metrics_line(version: Version, step: usize) -> Value {
    let phase = match step {
        0..40 => "warm",
        40..50 => "cold",
        50..110 => "rl",
        _ => "last",
    };
    let shake = 0.1 * noise(step);
    let mut line = json!({"step": step, "phase": phase, "secs": 1.0 + shake,
        "optim/grad_norm": 20.0 / (step as f64 + 1.0) + shake, "optim/lr": 1e-3 * (1.0 - step as f64 / 150.0)});
    if step < 50 {
        line["train/loss"] = json!(7.0 / (1.0 + step as f64 * 0.3) + shake);
        return line;
    }
    let (gone, gate) = ((step - 50) as f64 / 70.0, 1.0 - 2e-5 * (1.0 + shake));
    let reasoned = if version == Version::Now { "rollout/reasoned" } else { "rollout/with_working" };
    let values = [
        ("train/reward/mean", 0.3 + 0.4 * gone + shake),
        ("train/reward/passed", 0.32 + 0.4 * gone + shake),
        ("train/reward/passed/geo", 0.1 + 0.3 * gone + shake),
        ("train/reward/passed/counting", 0.6 + 0.3 * gone),
        (reasoned, (0.45 + 2.0 * gone).min(1.0)),
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
    let picture = Picture::from_bytes(PICTURE.to_vec(), "made up").unwrap();
    fs::create_dir_all(dir.join("images")).unwrap();
    fs::write(dir.join("images").join(format!("{}.{}", picture.sha256(), picture.extension())), picture.bytes())
        .unwrap();
    let record = |(task, index): (&str, usize)| {
        json!({"id": query_id(task, index), "task": task, "images": [picture.sha256()], "ground_truth": index.to_string(),
            "messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": format!("How many {task}?")}]}]})
    };
    let all = TASKS.iter().flat_map(|task| (0..QUERIES).map(move |index| (*task, index)));
    put_lines(dir, "queries.jsonl", &all.map(record).collect::<Vec<_>>());
}

/// The line of a rollout: of one turn before, of turns with a tool's result now.
fn rollout(version: Version, sample: usize) -> Value {
    let mut line = answer("geo", 5, sample, ("", 50, 0.5, 0.6));
    let last = json!({"role": "assistant", "text": line["text"]});
    line["advantage"] = json!(noise(sample) - 0.5);
    line["log_probs"] = json!([-0.1, -0.2, -0.3]);
    if version == Version::Before {
        line["v"] = json!(1);
        line["turns"] = json!([last]);
        line["tokens"] = json!([1, 2, 3]);
        return line;
    }
    line["v"] = json!(2);
    line["policy_version"] = json!(17);
    line["tokens"] = json!([1, 2, 3, 4, 5]);
    line["turns"] = json!([
        {"role": "assistant", "text": "look(map)", "sampled": true, "tokens": 1},
        {"role": "tool", "text": format!("a map {HOSTILE}"), "sampled": false, "tokens": 2},
        {"role": "assistant", "text": line["text"], "sampled": true, "tokens": 2},
    ]);
    line
}

/// Writes a whole run with the given evaluations, under each of the version's sets.
pub(super) fn put_run(dir: &Path, version: Version, stages: &[Stage]) {
    let run = json!({"v": 1, "name": "made-up", "status": "finished", "version": "0.1.0", "seed": 1, "threads": 2,
        "device": "cpu", "command_line": ["sapo", "train", "configs/made-up.toml"]});
    put(dir, "run.json", &run.to_string());
    put(dir, "config.toml", if version == Version::Now { CONFIG_NOW } else { CONFIG_BEFORE });
    put_lines(dir, "metrics.jsonl", &(0..120).map(|step| metrics_line(version, step)).collect::<Vec<_>>());
    let sets: &[&str] = if version == Version::Now { &["maps", "numbers"] } else { &["heldout"] };
    for set in sets {
        stages.iter().for_each(|stage| put_evaluation(dir, version, set, *stage));
    }
    put_queries(dir);
    let curated = |at: usize| {
        let passed = (noise(at) * 17.0) as usize;
        let decision = if 10 * passed > 144 { "dropped_too_easy" } else { "kept" };
        let outcomes: Vec<u8> = (0..16).map(|sample| u8::from(sample < passed)).collect();
        json!({"query_id": format!("q{at}"), "task": TASKS[at % 2], "outcomes": outcomes, "passed": passed,
            "scored": 16, "decision": decision})
    };
    put_lines(dir, "curation/curate.jsonl", &(0..300).map(curated).collect::<Vec<_>>());
    let judge = json!({"v": 1, "name": "same", "items": 400, "yes_items": 200, "no_items": 200, "agreement": 0.93,
        "false_yes": 0.06, "false_no": 0.08, "balanced_accuracy": 0.93, "min_balanced_accuracy": 0.9,
        "precision_before": 0.91, "precision_after": 0.84});
    put(dir, "judge.json", &judge.to_string());
    for step in [50, 109] {
        let lines: Vec<Value> = (0..8).map(|sample| rollout(version, sample)).collect();
        put_lines(dir, &format!("rollouts/rl-{step:06}.jsonl"), &lines);
    }
}
