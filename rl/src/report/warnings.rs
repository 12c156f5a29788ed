//! What went wrong without ending the run: rows that could not be used, pictures left out, requests without an answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::curves::{Step, phases};
use super::model::{EvalSet, Warning};
use super::read::RunFiles;
use super::saved::SavedConfig;
use super::words::stage_phrase;
use crate::guards::{self, Guards, Trouble};
use crate::metrics::names;

/// The list of rows that could not be used.
const REJECTED: &str = "data/rejected.jsonl";
/// Sources that are named with their rejected rows at most.
const SOURCES: usize = 5;

/// Warnings, from the metrics of the steps and the list of rejected rows; none where all went well.
pub(super) fn warnings(files: &mut RunFiles, steps: &[Step], saved: &SavedConfig) -> Vec<Warning> {
    let sum = |name: &str| steps.iter().filter_map(|step| step.values.get(name)).sum::<f64>();
    let mut warnings: Vec<Warning> = rejected(files, steps).into_iter().collect();
    warnings.extend(skipped(steps));
    warnings.extend(not_finite(steps));
    warnings.extend(troubles(steps, saved));
    warnings.extend(dropped(sum(names::DROPPED_PICTURES), held_out(files)));
    let failed = sum(names::FAILED_REQUESTS);
    if failed > 0.0 {
        let text = format!("Queries that the engine could not answer, and that are in no batch: {failed}.");
        warnings.push(Warning { text, file: Some("log.txt".to_owned()) });
    }
    warnings
}

/// Sets of which the last evaluation was cut by its token limit; `limit` says where that of a set is raised.
pub(super) fn cut_answers(sets: &[EvalSet], limit: impl Fn(&str) -> String) -> Vec<Warning> {
    let warning = |set: &EvalSet| {
        let stage = set.stages.last()?;
        let cut = stage.row("all")?.truncated?;
        let text = guards::cut_answers(cut, stage.max_new_tokens, &limit(&set.name))?;
        Some(Warning { text: format!("{}, {}: {text}.", set.name, stage_phrase(&stage.after)), file: None })
    };
    sets.iter().filter_map(warning).collect()
}

/// Pictures that were left out of prompts: in training, and in evaluations.
fn dropped(trained: f64, held_out: u64) -> Option<Warning> {
    let was = match (trained > 0.0, held_out > 0) {
        (true, true) => format!("The policy was trained and evaluated ({held_out} of evaluations) without them"),
        (true, false) => "The policy was trained without them".to_owned(),
        (false, true) => "The policy was evaluated without them".to_owned(),
        (false, false) => return None,
    };
    let text = format!(
        "Pictures and videos left out of prompts that were too long: {}. {was}: raise `policy.max_prompt_tokens`, or reject \
         such rows with `policy.too_long = \"refuse\"`.",
        trained + held_out as f64
    );
    Some(Warning { text, file: None })
}

/// Pictures that were left out of the prompts of evaluations.
fn held_out(files: &mut RunFiles) -> u64 {
    let results =
        files.entries("eval").into_iter().filter_map(|folder| files.json(&format!("eval/{folder}/results.json"), None));
    results.filter_map(|results| results["dropped_pictures"].as_u64()).sum()
}

/// Updates that were left out.
fn skipped(steps: &[Step]) -> Option<Warning> {
    let of = |step: &Step| step.values.get(names::SKIPPED_STEPS).copied().filter(|count| *count > 0.0);
    let first = steps.iter().find(|step| of(step).is_some())?;
    let count: f64 = steps.iter().filter_map(of).sum();
    let text = format!(
        "Updates that were skipped because a number was not finite: {count}, the first at step {} ({}). The log names the \
         token or the parameter.",
        first.step, first.phase
    );
    Some(Warning { text, file: Some("log.txt".to_owned()) })
}

/// Metrics that were not finite.
fn not_finite(steps: &[Step]) -> Option<Warning> {
    let mut found: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for step in steps {
        step.not_finite.iter().for_each(|name| found.entry(name).or_insert((0, step.step)).0 += 1);
    }
    let said = found.iter().map(|(name, (count, first))| format!("{name} ({count}, the first at step {first})"));
    let said: Vec<String> = said.collect();
    let text = format!("Steps whose metrics were not finite numbers: {}.", said.join(", "));
    (!said.is_empty()).then_some(Warning { text, file: Some("metrics.jsonl".to_owned()) })
}

/// What the run warned of, each trouble once for each phase.
fn troubles(steps: &[Step], saved: &SavedConfig) -> Vec<Warning> {
    let mut guards = Guards::new(&saved.warn());
    let mut found: Vec<(Trouble, &str, u64, String, usize)> = Vec::new();
    for step in steps {
        for alert in guards.step(step.step, &step.phase, &step.values) {
            match found.iter_mut().rev().find(|one| one.0 == alert.trouble && one.1 == step.phase) {
                Some(known) if !alert.is_first => known.4 += 1,
                _ => found.push((alert.trouble, &step.phase, alert.step, alert.text, 1)),
            }
        }
    }
    let warning = |(_, _, step, text, count): (Trouble, &str, u64, String, usize)| {
        let which = if count == 1 { String::new() } else { format!(", the first of {count}") };
        Warning { text: format!("Step {step}{which}: {text}."), file: None }
    };
    found.into_iter().map(warning).collect()
}

/// Rows that could not be used, by source. The list has every row once; the metric counts for a phase.
fn rejected(files: &mut RunFiles, steps: &[Step]) -> Option<Warning> {
    let mut sources: BTreeMap<String, (usize, String)> = BTreeMap::new();
    files.lines(REJECTED, None, |line| {
        let source = line["source"].as_str().unwrap_or("?").to_owned();
        let entry = sources.entry(source).or_insert_with(|| (0, first_reason(&line)));
        entry.0 += 1;
    });
    if sources.is_empty() {
        let counted = counted(steps);
        let text = format!("Rows left out since they cannot be used: {counted}.");
        return (counted > 0.0).then_some(Warning { text, file: None });
    }
    let count: usize = sources.values().map(|(count, _)| count).sum();
    let said = sources.iter().take(SOURCES).map(|(source, (count, first))| format!("data.{source}: {count} ({first})"));
    let said = said.collect::<Vec<_>>().join("; ");
    let more = match sources.len().saturating_sub(SOURCES) {
        0 => String::new(),
        more => format!("; and {more} more sources"),
    };
    let text = format!("Rows left out since they cannot be used: {count}. {said}{more}.");
    Some(Warning { text, file: Some(REJECTED.to_owned()) })
}

fn first_reason(line: &Value) -> String {
    let reason = line["reason"].as_str().unwrap_or("no reason given");
    let row = line["index"].as_u64().map_or(String::new(), |index| format!("row {}, ", index + 1));
    let short: String = reason.chars().take(160).collect();
    let rest = if short.len() < reason.len() { " ..." } else { "" };
    format!("the first: {row}{short}{rest}")
}

/// The metric counts rows so far in a phase, so that its last value is that of the phase.
fn counted(steps: &[Step]) -> f64 {
    let of_phase = |from: u64, to: u64| {
        let within = steps.iter().filter(|step| (from..=to).contains(&step.step));
        within.filter_map(|step| step.values.get(names::REJECTED_ROWS)).copied().fold(0.0, f64::max)
    };
    phases(steps).iter().map(|phase| of_phase(phase.from, phase.to)).sum()
}
