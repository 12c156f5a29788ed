//! The sections of a report, each from the records it rests on.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::answers::{Answers, add, choose, of_rollout, outcomes, place_of};
use super::curves::{Step, phases};
use super::model::{
    AnswerView, ConductRow, CurationFacts, CurationRow, GainRow, JudgeReport, RunFacts, Stage, TaskRow, TaskSamples,
    TrainingGroup,
};
use super::read::{RunFiles, numbers};
use crate::judging::JudgeRecord;
use crate::stats::{Estimate, QueryOutcomes, mean_interval, paired_gain};

/// The evaluations that the run compares, when they exist.
const COMPARED: [(&str, &str); 4] =
    [("careful", "reasoning"), ("cold_start", "reasoning"), ("reasoning", "general"), ("init", "general")];
/// Tasks that are judged or provoked, and no part of `all`.
pub(super) const APART: [&str; 2] = ["describe", "provoke"];

/// What is counted, and where a row says it.
type Kind = (&'static str, fn(&TaskRow) -> Option<f64>);

/// One evaluation with its answers.
#[derive(Debug, Default)]
pub(super) struct EvaluationRecord {
    pub(super) stage: Stage,
    answers: Answers,
    seed: u64,
}

/// The recorded steps in order; of a step recorded twice the last line counts.
pub(super) fn steps(files: &mut RunFiles) -> Vec<Step> {
    let mut steps: BTreeMap<u64, Step> = BTreeMap::new();
    files.lines("metrics.jsonl", Some("there are no curves"), |line| {
        let Some(step) = line["step"].as_u64() else { return };
        let phase = line["phase"].as_str().unwrap_or("?").to_owned();
        steps.insert(step, Step { step, phase, values: numbers(&line) });
    });
    steps.into_values().collect()
}

/// The evaluations of the held-out queries, in the order of the run.
pub(super) fn evaluations(files: &mut RunFiles) -> Vec<EvaluationRecord> {
    let mut folders = files.entries("eval");
    let name_of = |folder: &str| folder.rsplit_once('-').map_or(folder, |(name, _)| name).to_owned();
    let mut names: Vec<String> = folders.iter().map(|folder| name_of(folder)).collect();
    names.dedup();
    if names.len() > 1 {
        let main = names.iter().find(|name| *name == "heldout").unwrap_or(&names[0]).clone();
        let others: Vec<&str> = names.iter().filter(|name| **name != main).map(String::as_str).collect();
        files.missing.push(format!("Evaluations besides {main} are not shown: {}.", others.join(", ")));
        folders.retain(|folder| name_of(folder) == main);
    }
    if folders.is_empty() {
        files.missing.push("eval/ is empty (yet): there is no table of held-out pass@1.".to_owned());
    }
    let mut evaluations: Vec<_> = folders.iter().filter_map(|folder| evaluation(files, folder)).collect();
    evaluations.sort_by_key(|evaluation| evaluation.stage.step);
    evaluations
}

fn evaluation(files: &mut RunFiles, folder: &str) -> Option<EvaluationRecord> {
    let results = files.json(&format!("eval/{folder}/results.json"), Some("this evaluation is not shown"))?;
    let mut answers = Answers::new();
    let samples = format!("eval/{folder}/samples.jsonl");
    files.lines(&samples, Some("its answers cannot be shown"), |line| add(&mut answers, &line));
    let mut rows = Vec::new();
    for row in results["tasks"].as_array().into_iter().flatten() {
        match serde_json::from_value::<TaskRow>(row.clone()) {
            Ok(row) => rows.push(row),
            Err(error) => files.missing.push(format!("eval/{folder}/results.json: a row cannot be read: {error}.")),
        }
    }
    let seed = results["seed"].as_u64().unwrap_or(0);
    rows.iter_mut().for_each(|row| complete(row, &answers, seed));
    rows.sort_by_key(|row| (place_of(&row.task), row.task.clone()));
    let stage = Stage {
        name: results["name"]
            .as_str()
            .unwrap_or_else(|| folder.rsplit_once('-').map_or(folder, |(name, _)| name))
            .to_owned(),
        after: results["after"].as_str().unwrap_or(folder).to_owned(),
        step: results["step"].as_u64().unwrap_or(0),
        samples: results["samples"].as_u64().map(|samples| samples as usize),
        rows,
    };
    Some(EvaluationRecord { stage, answers, seed })
}

/// Fills in from the answers what the row does not say.
fn complete(row: &mut TaskRow, answers: &Answers, seed: u64) {
    let of_task = |task: &str| task == row.task || (row.task == "all" && !APART.contains(&task));
    let tasks: Answers = answers
        .iter()
        .filter(|(task, _)| of_task(task))
        .map(|(task, queries)| (task.clone(), queries.clone()))
        .collect();
    row.greedy_ci95 =
        row.greedy_ci95.or_else(|| mean_interval(&outcomes(&tasks, true), seed).map(|found| found.interval));
    let share = |strays: &dyn Fn(&AnswerView) -> Option<bool>| {
        let of_queries = |queries: &BTreeMap<String, Vec<AnswerView>>| {
            let verdicts = queries.values().flatten().filter(|answer| !answer.greedy).filter_map(strays);
            let verdicts: Vec<f64> = verdicts.map(|strays| f64::from(u8::from(strays))).collect();
            (!verdicts.is_empty()).then(|| verdicts.iter().sum::<f64>() / verdicts.len() as f64)
        };
        let shares: Vec<f64> = tasks.values().filter_map(of_queries).collect();
        (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
    };
    row.language_mixed = row.language_mixed.or_else(|| share(&|answer| answer.strays("language")));
    row.repetitive = row.repetitive.or_else(|| share(&|answer| answer.strays("repetition")));
}

/// The run's own gains; where it has not summed up yet, the same from the answers.
pub(super) fn gains(evaluations: &[EvaluationRecord], summary: Option<&Value>) -> Vec<GainRow> {
    let written = summary.and_then(|summary| serde_json::from_value::<Vec<GainRow>>(summary["gains"].clone()).ok());
    if let Some(written) = written.filter(|gains| !gains.is_empty()) {
        return written;
    }
    let find = |after: &str| evaluations.iter().rev().find(|evaluation| evaluation.stage.after == after);
    let mut pairs: Vec<_> = COMPARED.iter().filter_map(|(from, to)| find(from).zip(find(to))).collect();
    if let (true, [first, .., last]) = (pairs.is_empty(), evaluations) {
        pairs.push((first, last));
    }
    pairs.into_iter().flat_map(|(from, to)| gains_between(from, to)).collect()
}

fn gains_between(from: &EvaluationRecord, to: &EvaluationRecord) -> Vec<GainRow> {
    let list = |record: &EvaluationRecord, task: &str, greedy: bool| -> Vec<QueryOutcomes> {
        let fits = |one: &QueryOutcomes| one.task == task || (task == "all" && !APART.contains(&one.task.as_str()));
        outcomes(&record.answers, greedy).into_iter().filter(fits).collect()
    };
    let gain = |task: &str| {
        let paired = |greedy| paired_gain(&list(from, task, greedy), &list(to, task, greedy), to.seed);
        let Estimate { value, interval } = paired(false)?.estimate;
        Some(GainRow {
            from: from.stage.after.clone(),
            to: to.stage.after.clone(),
            task: task.to_owned(),
            gain: value,
            ci95: interval,
            greedy_gain: paired(true).map(|gain| gain.estimate.value),
        })
    };
    to.stage.rows.iter().filter_map(|row| gain(&row.task)).collect()
}

/// The two stages whose answers stand side by side: what RL started from, and the end.
fn sides(evaluations: &[EvaluationRecord]) -> Option<(Option<&EvaluationRecord>, &EvaluationRecord)> {
    let (after, earlier) = evaluations.split_last()?;
    let start = ["cold_start", "careful", "init"];
    let before = start.iter().find_map(|name| earlier.iter().rev().find(|one| one.stage.after == *name));
    Some((before.or_else(|| earlier.first()), after))
}

/// Held-out queries with answers before and after.
pub(super) fn samples<'a>(evaluations: &'a [EvaluationRecord]) -> Vec<TaskSamples> {
    let Some((before, after)) = sides(evaluations) else { return Vec::new() };
    let side = |record: &'a EvaluationRecord| (record.stage.after.as_str(), &record.answers);
    choose(before.map(side), side(after))
}

/// Language mixing, repetition and cut answers, before and after.
pub(super) fn conduct(evaluations: &[EvaluationRecord]) -> Vec<ConductRow> {
    let Some((Some(before), after)) = sides(evaluations) else { return Vec::new() };
    let kinds: [Kind; 3] = [
        ("language mixing", |row| row.language_mixed),
        ("repetition", |row| row.repetitive),
        ("cut by the token limit", |row| row.truncated),
    ];
    let mut rows = Vec::new();
    for task in ["all", "provoke", "describe"] {
        for (what, share) in kinds {
            let of = |record: &EvaluationRecord| record.stage.row(task).and_then(share);
            if let Some((then, now)) = of(before).zip(of(after)) {
                rows.push(ConductRow {
                    task: task.to_owned(),
                    what: what.to_owned(),
                    before: (before.stage.after.clone(), then),
                    after: (after.stage.after.clone(), now),
                });
            }
        }
    }
    rows
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
            for task in [task, "all"] {
                let row = rows.entry(task.to_owned()).or_default();
                row.queries += 1;
                match decision {
                    "dropped_too_easy" => row.dropped_too_easy += 1,
                    "dropped_never_solved" => row.dropped_never_solved += 1,
                    _ => row.kept += 1,
                }
                row.undecided += usize::from(decision == "undecided");
            }
            let samples = line["outcomes"].as_array().map_or(0, Vec::len);
            let passed = line["passed"].as_u64().unwrap_or(0) as usize;
            if histogram.len() <= samples.max(passed) {
                histogram.resize(samples.max(passed) + 1, (0, 0));
            }
            let dropped = decision.starts_with("dropped");
            let bin = &mut histogram[passed];
            *bin = (bin.0 + usize::from(!dropped), bin.1 + usize::from(dropped));
        });
        let mut tasks: Vec<CurationRow> = rows.into_iter().map(|(task, row)| CurationRow { task, ..row }).collect();
        tasks.sort_by_key(|row| (place_of(&row.task), row.task.clone()));
        if !tasks.is_empty() {
            all.push(CurationFacts { phase: phase.to_owned(), tasks, histogram });
        }
    }
    all
}

/// What is known about the judge; nothing when the run has none.
pub(super) fn judge(files: &mut RunFiles, stages: &[Stage], summary: Option<&Value>) -> Option<JudgeReport> {
    let measured = files.json("judge.json", None);
    let in_summary = summary.map(|summary| &summary["judge"]).filter(|judge| judge.is_object());
    if measured.is_none() && in_summary.is_none() {
        return None;
    }
    let mut measured: JudgeRecord = measured.and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
    if let Some(end) = in_summary {
        measured.calls = end["calls"].as_u64().unwrap_or(measured.calls);
        measured.failed = end["failed"].as_u64().unwrap_or(measured.failed);
        measured.agreement = measured.agreement.or_else(|| end["agreement_with_rule"].as_f64());
        measured.precision_after = measured.precision_after.or_else(|| end["precision"].as_f64());
    }
    let descriptions = stages.iter().filter_map(|stage| stage.row("describe").map(|row| (stage, row)));
    let descriptions = descriptions.map(|(stage, row)| (stage.after.clone(), row.pass_at_1, row.ci95)).collect();
    Some(JudgeReport { measured, descriptions })
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
    config: Option<&str>,
    steps: usize,
) -> RunFacts {
    let record = files.json("run.json", Some("the run's facts cannot be shown")).unwrap_or_default();
    let folder = run_dir.canonicalize().unwrap_or_else(|_| run_dir.to_owned());
    let folder = folder.file_name().and_then(|name| name.to_str()).unwrap_or("run").to_owned();
    let shuffled = config.and_then(|text| toml::from_str::<toml::Table>(text).ok()).is_some_and(|config| {
        let phases = config.get("phases").and_then(toml::Value::as_table).into_iter().flatten();
        phases.into_iter().any(|(_, phase)| phase.get("shuffle_rewards").and_then(toml::Value::as_bool) == Some(true))
    });
    let mut facts = Vec::new();
    let labels = [
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
    for label in labels {
        let value = match (label, record[label].as_u64()) {
            ("parameters", Some(count)) => Some(format!("{:.2} million", count as f64 / 1e6)),
            _ => said(&record[label]),
        };
        facts.extend(value.map(|value| (label.replace('_', " "), value)));
    }
    for label in ["peak_rss_bytes", "logprob_gap_max", "weights_sha256", "metrics_sha256"] {
        let value = summary.map(|summary| &summary[label]).and_then(|value| match (label, value.as_u64()) {
            ("peak_rss_bytes", Some(bytes)) => Some(format!("{} MiB", bytes >> 20)),
            _ => said(value),
        });
        facts.extend(value.map(|value| (label.trim_end_matches("_bytes").replace('_', " "), value)));
    }
    RunFacts {
        name: record["name"].as_str().map_or(folder, str::to_owned),
        status: record["status"].as_str().unwrap_or("unknown").to_owned(),
        facts,
        wall_secs: summary.and_then(|summary| summary["wall_secs"].as_f64()),
        steps,
        shuffled,
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
