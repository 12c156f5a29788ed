//! The sections of a report, each from the records it rests on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::answers::of_rollout;
use super::curves::{Step, phases};
use super::model::{CurationFacts, CurationRow, PhaseTime, RunFacts, TrainingGroup};
use super::read::RunFiles;
use crate::metrics::{names, numbers};
use crate::score::judge::JudgeRecord;

/// What earlier versions called the share of rollouts with reasoning before the answer.
const REASONED_BEFORE: &str = "rollout/with_working";
/// What run.json says, in the order in which it is shown.
const FACTS: [&str; 11] = [
    "version",
    "device",
    "seed",
    "parameters",
    "threads",
    "cpu_features",
    "started",
    "finished",
    "at",
    "command_line",
    "config_sha256",
];

/// What results.json of an evaluation says, in the order in which it is shown.
const EVALUATION_FACTS: [&str; 6] = ["after", "samples", "temperature", "top_p", "max_new_tokens", "seed"];

/// The recorded steps in order; of a step recorded twice the last line counts.
pub(super) fn steps(files: &mut RunFiles) -> Vec<Step> {
    let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
    files.lines("metrics.jsonl", Some("there are no curves"), |line| {
        // The line of an evaluation is no step.
        let Some(step) = line["step"].as_u64().filter(|_| line["evaluation"].is_null()) else { return };
        let phase = line["phase"].as_str().unwrap_or("?").to_owned();
        let mut values = numbers(&line);
        if let Some(share) = values.remove(REASONED_BEFORE) {
            values.entry(names::REASONED.to_owned()).or_insert(share);
        }
        let nulls = line.as_object().into_iter().flatten().filter(|(_, value)| value.is_null());
        let not_finite = nulls.map(|(name, _)| name.clone()).collect();
        steps.insert(step, Step { step, phase, values, not_finite });
    });
    steps.into_values().collect()
}

/// Where the time of all evaluations went; nothing where none is recorded.
pub(super) fn evaluation_time(files: &mut RunFiles) -> Option<PhaseTime> {
    let mut time = PhaseTime { phase: "evaluations".to_owned(), ..PhaseTime::default() };
    files.lines("metrics.jsonl", None, |line| {
        let secs = |name: &str| line[name].as_f64().unwrap_or(0.0);
        if !line["evaluation"].is_null() {
            time.steps += 1;
            time.total_secs += secs(names::EVAL_SECS);
            time.rollout_secs += secs(names::EVAL_ANSWER_SECS);
            time.reward_secs += secs(names::EVAL_REWARD_SECS);
        }
    });
    (time.total_secs > 0.0).then_some(time)
}

/// What each curation dropped and kept.
pub(super) fn curation(files: &mut RunFiles) -> Vec<CurationFacts> {
    let mut all = Vec::new();
    for entry in files.entries("curation") {
        let Some(phase) = entry.strip_suffix(".jsonl") else { continue };
        let (mut rows, mut histogram): (BTreeMap<String, CurationRow>, Vec<(usize, usize)>) = Default::default();
        files.lines(&format!("curation/{entry}"), None, |line| {
            let task = line["task"].as_str().unwrap_or("?");
            let decision = line["decision"].as_str().unwrap_or_default();
            if decision == "unusable" {
                return;
            }
            for task in [task, "all"] {
                let row = rows.entry(task.to_owned()).or_default();
                row.queries += 1;
                match decision {
                    "dropped_too_easy" => row.dropped_too_easy += 1,
                    "dropped_never_solved" => row.dropped_never_solved += 1,
                    other if other.starts_with("dropped") => row.dropped_otherwise += 1,
                    _ => row.kept += 1,
                }
                row.undecided += usize::from(decision == "undecided");
            }
            let samples = line["outcomes"].as_array().map_or(0, Vec::len);
            if samples == 0 {
                return;
            }
            let passed = line["passed"].as_u64().unwrap_or(0) as usize;
            if histogram.len() <= samples.max(passed) {
                histogram.resize(samples.max(passed) + 1, (0, 0));
            }
            let dropped = decision.starts_with("dropped");
            let bin = &mut histogram[passed];
            *bin = (bin.0 + usize::from(!dropped), bin.1 + usize::from(dropped));
        });
        let mut tasks: Vec<CurationRow> = rows.into_iter().map(|(task, row)| CurationRow { task, ..row }).collect();
        tasks.sort_by_key(|row| row.task != "all");
        // Where samples ended early, the summary has them in the right place.
        let summary = files.json(&format!("curation/{phase}.json"), None).unwrap_or_default();
        let histogram = serde_json::from_value(summary["histogram"].clone()).unwrap_or(histogram);
        if !tasks.is_empty() {
            all.push(CurationFacts { phase: phase.to_owned(), tasks, histogram });
        }
    }
    all
}

/// What is known about the run's judges: judge.json holds the record of one, or those of several by name.
pub(super) fn judges(files: &mut RunFiles, summary: Option<&Value>) -> Vec<JudgeRecord> {
    let written = files.json("judge.json", None).unwrap_or_default();
    let records: Vec<(Option<String>, &Value)> = match (&written, &written["judges"]) {
        (_, Value::Object(named)) => named.iter().map(|(name, record)| (Some(name.clone()), record)).collect(),
        (Value::Object(_), _) => vec![(None, &written)],
        _ => Vec::new(),
    };
    let mut judges: Vec<JudgeRecord> = Vec::new();
    for (name, record) in records {
        match serde_json::from_value::<JudgeRecord>(record.clone()) {
            Ok(record) => judges.push(JudgeRecord { name: name.unwrap_or_else(|| record.name.clone()), ..record }),
            Err(error) => files.missing.push(format!("judge.json: a record cannot be read: {error}.")),
        }
    }
    let in_summary = summary.map(|summary| &summary["judge"]).filter(|judge| judge.is_object());
    if let Some(end) = in_summary.filter(|_| judges.len() < 2) {
        // The end of the run knows what came after the file was written.
        let mut measured = judges.pop().unwrap_or_default();
        measured.calls = end["calls"].as_u64().unwrap_or(measured.calls);
        measured.failed = end["failed"].as_u64().unwrap_or(measured.failed);
        measured.agreement = measured.agreement.or_else(|| end["agreement_with_rule"].as_f64());
        measured.precision_after = measured.precision_after.or_else(|| end["precision"].as_f64());
        judges.push(measured);
    }
    judges
}

/// A group of the first and the last step of each phase that samples: one that was trained on, with mixed verdicts.
pub(super) fn groups(files: &mut RunFiles, steps: &[Step]) -> Vec<TrainingGroup> {
    let mut shown = Vec::new();
    for phase in phases(steps) {
        let at = |step: u64| format!("{}-{step:06}.jsonl", phase.name);
        let entries = files.entries("rollouts");
        let within: Vec<u64> =
            (phase.from..=phase.to).filter(|step| entries.binary_search(&at(*step)).is_ok()).collect();
        let ends = [within.first(), within.last().filter(|last| Some(*last) != within.first())];
        for step in ends.into_iter().flatten() {
            let mut groups: BTreeMap<String, TrainingGroup> = BTreeMap::new();
            files.lines(&format!("rollouts/{}", at(*step)), None, |line| {
                let id = line["query_id"].as_str().unwrap_or_default();
                let group = groups.entry(id.to_owned()).or_insert_with(|| TrainingGroup {
                    phase: phase.name.clone(),
                    step: *step,
                    query_id: id.to_owned(),
                    task: line["task"].as_str().unwrap_or_default().to_owned(),
                    policy_version: line["policy_version"].as_u64(),
                    ..TrainingGroup::default()
                });
                group.answers.push(of_rollout(&line));
            });
            // The group nearest to half passed has the most to say.
            let uneven = |group: &&TrainingGroup| {
                let passed = group.answers.iter().filter(|answer| answer.passed == Some(true)).count();
                (2 * passed).abs_diff(group.answers.len())
            };
            shown.extend(groups.values().min_by_key(uneven).cloned());
        }
    }
    shown
}

/// What ran, where and how long.
pub(super) fn run_facts(
    files: &mut RunFiles,
    run_dir: &Path,
    summary: Option<&Value>,
    shuffled: bool,
    steps: usize,
) -> RunFacts {
    let record = files.json("run.json", Some("the run's facts cannot be shown")).unwrap_or_default();
    let mut facts = Vec::new();
    for label in FACTS {
        facts.extend(told(label, &record[label]));
    }
    if let Some(fork) = files.json("fork.json", None) {
        let of = |name: &str| fork[name].as_str().unwrap_or("?").to_owned();
        facts.push(("forked from".to_owned(), Value::from(format!("{}, {}", of("run"), of("checkpoint")))));
        let differs: Vec<&str> = fork["differs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let differs = if differs.is_empty() { "in nothing".to_owned() } else { differs.join("; ") };
        facts.push(("differs from it".to_owned(), Value::from(differs)));
    }
    for label in ["peak_rss_bytes", "logprob_gap_max", "weights_sha256", "metrics_sha256"] {
        facts.extend(summary.and_then(|summary| told(label, &summary[label])));
    }
    RunFacts {
        name: record["name"].as_str().map_or_else(|| name_of(run_dir), str::to_owned),
        status: record["status"].as_str().unwrap_or("unknown").to_owned(),
        facts,
        is_evaluation: false,
        wall_secs: summary.and_then(|summary| summary["wall_secs"].as_f64()),
        steps,
        shuffled,
    }
}

/// What an evaluation alone says of itself: how its answers were sampled.
pub(super) fn evaluation_facts(files: &mut RunFiles, dir: &Path) -> RunFacts {
    let mut facts = Vec::new();
    if let Some(folder) = files.evaluations().first() {
        let results = files.json(&format!("{folder}/results.json"), None).unwrap_or_default();
        facts.extend(EVALUATION_FACTS.into_iter().filter_map(|label| told(label, &results[label])));
    }
    RunFacts { name: name_of(dir), status: "evaluation".to_owned(), is_evaluation: true, facts, ..RunFacts::default() }
}

fn name_of(dir: &Path) -> String {
    let folder = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    folder.file_name().and_then(|name| name.to_str()).unwrap_or("run").to_owned()
}

/// A fact with its label; none where the record does not have it.
fn told(label: &str, value: &Value) -> Option<(String, Value)> {
    (!value.is_null()).then(|| (label.replace('_', " "), value.clone()))
}

/// A fact as the page says it.
pub(super) fn in_words(label: &str, value: &Value) -> String {
    match (label, value.as_u64()) {
        ("parameters", Some(count)) => format!("{:.2} million", count as f64 / 1e6),
        ("peak rss bytes", Some(bytes)) => format!("{} MiB", bytes >> 20),
        _ => said(value).unwrap_or_default(),
    }
}

fn said(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(said).collect::<Vec<_>>().join(" ")),
        other => Some(other.to_string()),
    }
}
