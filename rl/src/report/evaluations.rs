//! The evaluations of a run, read from eval/: each with its answers, by set of queries, in the order of the run.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answers::{Answers, add, of_tasks, outcomes, passed};
use super::heat_map;
use super::model::{Stage, TaskRow};
use super::read::RunFiles;
use super::saved::SavedConfig;
use crate::stats::mean_interval;

/// The set of queries of runs that had one without a name.
const UNNAMED: &str = "heldout";

/// One evaluation with its answers.
#[derive(Debug, Default)]
pub(super) struct EvaluationRecord {
    pub(super) stage: Stage,
    pub(super) answers: Answers,
}

/// All evaluations by set; the sets in the order of their names.
pub(super) fn read(files: &mut RunFiles, config: &SavedConfig) -> Vec<(String, Vec<EvaluationRecord>)> {
    let folders = files.evaluations();
    if folders.is_empty() {
        files.missing.push("eval/ is empty (yet): there is no table of held-out pass@1.".to_owned());
    }
    let mut sets: BTreeMap<String, Vec<EvaluationRecord>> = BTreeMap::new();
    for folder in folders {
        if let Some((set, evaluation)) = evaluation(files, config, &folder) {
            sets.entry(set).or_default().push(evaluation);
        }
    }
    sets.values_mut().for_each(|evaluations| evaluations.sort_by_key(|evaluation| evaluation.stage.step));
    sets.into_iter().collect()
}

fn evaluation(files: &mut RunFiles, config: &SavedConfig, folder: &str) -> Option<(String, EvaluationRecord)> {
    let results = files.json(&format!("{folder}/results.json"), Some("this evaluation is not shown"))?;
    let set = set_of(&results, folder);
    let mut answers = Answers::new();
    let samples = format!("{folder}/samples.jsonl");
    files.lines(&samples, Some("its answers cannot be shown"), |line| add(&mut answers, &line));
    let mut rows = Vec::new();
    for row in results["tasks"].as_array().into_iter().flatten() {
        match serde_json::from_value::<TaskRow>(row.clone()) {
            Ok(row) => rows.push(row),
            Err(error) => files.missing.push(format!("{folder}/results.json: a row cannot be read: {error}.")),
        }
    }
    // Rows keep the order of the sources, behind that of all.
    rows.sort_by_key(|row| row.task != "all");
    let unaveraged = match results["unaveraged"].as_array() {
        Some(named) => named.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        None => config.unaveraged(&set),
    };
    let mut stage = Stage {
        after: results["after"].as_str().unwrap_or(folder).to_owned(),
        step: results["step"].as_u64().unwrap_or(0),
        samples: results["samples"].as_u64().map(|samples| samples as usize),
        temperature: results["temperature"].as_f64(),
        max_new_tokens: results["max_new_tokens"].as_u64().map(|tokens| tokens as usize),
        unaveraged: unaveraged.into_iter().filter(|name| rows.iter().any(|row| row.task == *name)).collect(),
        rows: Vec::new(),
        heat_maps: heat_map::read(&results).unwrap_or_else(|error| {
            files.missing.push(format!("{folder}/results.json: a heat map cannot be read: {error}."));
            Vec::new()
        }),
    };
    rows.iter_mut().for_each(|row| complete(row, &stage, &answers));
    stage.rows = rows;
    Some((set, EvaluationRecord { stage, answers }))
}

/// The set that an evaluation belongs to: earlier versions called it `name`.
fn set_of(results: &Value, folder: &str) -> String {
    let said = [&results["set"], &results["name"]].into_iter().filter_map(Value::as_str).find(|name| !name.is_empty());
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let folder = folder.rsplit_once('-').map(|(name, _)| name).filter(|name| !name.is_empty());
    said.or(folder).unwrap_or(UNNAMED).to_owned()
}

/// Fills in from the answers what a row does not say.
fn complete(row: &mut TaskRow, stage: &Stage, answers: &Answers) {
    let tasks = of_tasks(answers, &row.task, stage);
    let interval = |greedy| mean_interval(&outcomes(&tasks, greedy, passed)).map(|found| found.interval);
    row.greedy_ci95 = row.greedy_ci95.or_else(|| interval(true));
    // Earlier versions wrote a point where none passed, or all.
    if row.ci95[0] >= row.ci95[1] {
        row.ci95 = interval(false).unwrap_or(row.ci95);
    }
}
