//! The section on audits: read from `audit.jsonl` and the metrics, put into words and figures.

mod groups;
mod page;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

pub(super) use self::page::html;
use super::answers::of_rollout;
use super::audited::{AuditSection, AuditStep, Example, Share};
use super::curves::Step;
use super::figures::{interval, percent};
use super::model::AnswerView;
use super::read::RunFiles;
use super::saved::SavedConfig;
use crate::audit::{AuditLine, Counts, FILE, Found};
use crate::metrics::names;
use crate::stats::EProcess;

/// Answers of each kind that are shown at most.
const LENIENT: usize = 6;
const STRICT: usize = 3;
/// Steps of a line that a page carries at most.
const POINTS: usize = 400;

/// The audits of a run, in the order of its phases.
pub(in crate::report) fn sections(files: &mut RunFiles, steps: &[Step], saved: &SavedConfig) -> Vec<AuditSection> {
    let (mut lines, mut bad): (Vec<AuditLine>, usize) = Default::default();
    files.lines(FILE, None, |line| match AuditLine::read(line) {
        Ok(line) => lines.push(line),
        Err(_) => bad += 1,
    });
    if bad > 0 {
        files.missing.push(format!("{FILE}: {bad} lines are not those of an audit, and left out."));
    }
    let mut phases: Vec<&str> = Vec::new();
    for step in steps.iter().filter(|step| step.values.contains_key(names::AUDIT_DRAWN)) {
        if !phases.contains(&step.phase.as_str()) {
            phases.push(&step.phase);
        }
    }
    phases.into_iter().map(|phase| section(phase, &lines, files, steps, saved)).collect()
}

fn section(
    phase: &str,
    lines: &[AuditLine],
    files: &mut RunFiles,
    steps: &[Step],
    saved: &SavedConfig,
) -> AuditSection {
    let steps: Vec<&Step> = steps.iter().filter(|step| step.phase == phase).collect();
    let last = steps.last().map_or(0, |step| step.step);
    // A run that goes on may have written an audit whose step is still to come.
    let lines: Vec<&AuditLine> = lines.iter().filter(|line| line.phase == phase && line.step <= last).collect();
    let config = saved.audit(phase);
    let get = |step: &Step, name: &str| step.values.get(name).copied();
    let alarm = steps.iter().find(|step| get(step, names::AUDIT_ALARM) == Some(1.0));
    let running = |step: &&&Step| AuditStep {
        step: step.step,
        lenient_share: get(step, names::AUDIT_LENIENT_SHARE),
        strict_share: get(step, names::AUDIT_STRICT_SHARE),
        e_value: get(step, names::AUDIT_E_VALUE),
    };
    let mut section = AuditSection {
        phase: phase.to_owned(),
        rubric: lines
            .last()
            .map(|line| line.rubric.clone())
            .or(config.as_ref().map(|one| one.rubric.clone()))
            .unwrap_or_default(),
        tolerated: config.as_ref().map(|config| config.tolerated),
        false_alarm: config.as_ref().map(|config| config.false_alarm),
        counts: Counts::of(lines.iter().copied()),
        lenient: groups::share(&lines, true),
        strict: groups::share(&lines, false),
        e_value: steps.iter().rev().find_map(|step| get(step, names::AUDIT_E_VALUE)),
        alarm_step: alarm.map(|step| step.step),
        steps: thinned(&steps).iter().map(running).collect(),
        breakdowns: groups::breakdowns(&lines),
        failures: failures(&lines),
        examples: examples(&lines, files),
        ..AuditSection::default()
    };
    section.headline = match section.alarm_step {
        Some(step) => format!("Alarm at step {step}: the trained rubric passes more than the second grader does."),
        None => format!("No alarm in {} steps.", steps.len()),
    };
    section.sentences = sentences(&section);
    section
}

/// As many steps as a page should carry, the last among them.
fn thinned<'s>(steps: &'s [&'s Step]) -> Vec<&'s &'s Step> {
    let every = steps.len().div_ceil(POINTS).max(1);
    steps
        .iter()
        .enumerate()
        .filter(|(at, _)| (steps.len() - 1 - at).is_multiple_of(every))
        .map(|(_, step)| step)
        .collect()
}

/// What the numbers say.
fn sentences(of: &AuditSection) -> Vec<String> {
    let Counts { drawn, agreed, lenient, strict, failed, .. } = of.counts;
    let mut said = Vec::new();
    let share = |share: &Share| format!("{} % {}", percent(share.share), interval(share.ci95));
    let tolerated = of.tolerated.map_or(String::new(), |tolerated| format!("; {} % are tolerated", percent(tolerated)));
    if let Some(passed) = &of.lenient {
        said.push(format!(
            "Of the {} audited answers that the trained rubric passes, the second grader ({}) fails {}: {}, each query \
             alike, with its 95 % interval{tolerated}.",
            passed.answers,
            of.rubric,
            passed.differ,
            share(passed)
        ));
    }
    if let Some(failing) = &of.strict {
        said.push(format!(
            "Of the {} that it fails, the second passes {}: {}. The alarm does not look at these.",
            failing.answers,
            failing.differ,
            share(failing)
        ));
    }
    if let (Some(e_value), Some(false_alarm), Some(tolerated)) = (of.e_value, of.false_alarm, of.tolerated) {
        said.push(format!(
            "The evidence is {}, and {} raises the alarm. As long as no more than {} % differ so, it ever does in at most {} % \
             of runs, however long they go and however often one looks.",
            number(e_value), number(1.0 / false_alarm), percent(tolerated), percent(false_alarm)
        ));
    }
    if of.alarm_step.is_none() {
        said.push("That there is no alarm does not show that nothing is wrong: a fault that both graders share, or one that is \
                   rare, is not found.".to_owned());
    }
    said.push(format!(
        "Drawn: {drawn}, which are {agreed} of the same verdict, {lenient} that only the trained rubric passes, {strict} that \
         only the second passes, and {failed} without a verdict of one of the two, which count as neither."
    ));
    said
}

/// A number of any size.
fn number(value: f64) -> String {
    match value {
        value if value >= EProcess::MOST => format!("{value:.0e} or more"),
        value if (0.01..10_000.0).contains(&value) => {
            format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        value => format!("{value:.1e}"),
    }
}

/// Why answers could not be audited, the most frequent reason first.
fn failures(lines: &[&AuditLine]) -> Vec<(String, usize)> {
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.outcome == Found::Failed) {
        let reason = match &line.audit {
            None => "the trained rubric failed".to_owned(),
            Some(score) => score.failure().map_or("no verdict".to_owned(), |(part, _, why)| format!("{part}: {why}")),
        };
        *reasons.entry(reason.chars().take(200).collect()).or_default() += 1;
    }
    let mut reasons: Vec<(String, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    reasons.truncate(LENIENT);
    reasons
}

/// The last answers of either kind on which the graders differ, of different queries.
fn examples(lines: &[&AuditLine], files: &mut RunFiles) -> Vec<Example> {
    let mut chosen: Vec<&AuditLine> = Vec::new();
    for (outcome, most) in [(Found::Lenient, LENIENT), (Found::Strict, STRICT)] {
        let mut seen = BTreeSet::new();
        let differing = lines.iter().rev().filter(|line| line.outcome == outcome && seen.insert(&line.query_id));
        chosen.extend(differing.take(most));
    }
    let queries = files.queries(&chosen.iter().map(|line| line.query_id.clone()).collect());
    let mut said: BTreeMap<(String, usize, u64), AnswerView> = BTreeMap::new();
    for name in chosen.iter().map(|line| line.file.as_str()).collect::<BTreeSet<_>>() {
        // The record names a file of its run, and none elsewhere.
        if !name.starts_with("rollouts/") || name.contains("..") {
            continue;
        }
        files.lines(name, None, |line| {
            let is_it = |one: &&&AuditLine| {
                one.file == name && line["query_id"] == one.query_id.as_str() && line["sample"] == one.sample
            };
            if let Some(one) = chosen.iter().find(is_it) {
                said.insert((one.query_id.clone(), one.sample, one.step), of_rollout(&line));
            }
        });
    }
    let example = |line: &&AuditLine| {
        let query = queries.get(&line.query_id);
        let answer = said.remove(&(line.query_id.clone(), line.sample, line.step)).unwrap_or_default();
        Example {
            outcome: line.outcome,
            step: line.step,
            task: line.task.clone(),
            query_id: line.query_id.clone(),
            sample: line.sample,
            prompt: query.map(|query| query.prompt.clone()),
            ground_truth: query.and_then(|query| query.ground_truth.clone()),
            trained: parts(&answer),
            second: parts(&of_rollout(&json!({"score": line.audit}))),
            reasoning: answer.reasoning,
            answer: answer.answer,
        }
    };
    chosen.iter().map(example).collect()
}

/// What each part of a score says.
fn parts(answer: &AnswerView) -> Vec<String> {
    let part = |part: &super::model::PartView| {
        let value = part.value.map_or(String::new(), |value| format!(" {value:.2}"));
        let note = if part.note.is_empty() { String::new() } else { format!(": {}", part.note) };
        format!("{}{value}{note}", part.name)
    };
    answer.parts.iter().map(part).collect()
}

#[cfg(test)]
mod tests;
