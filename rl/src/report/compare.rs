//! Evaluations of a set side by side: gains, how often answers stray, and answers before and after.

use serde_json::Value;

use super::answers::{choose, of_tasks, outcomes, passed, reasoned};
use super::evaluations::EvaluationRecord;
use super::model::{AnswerView, ConductRow, EvalSet, GainRow, ShareChange, TaskRow, TaskSamples};
use crate::pairs::pairs;
use crate::stats::{Estimate, PairedGain, mean_interval, paired_gain};

/// What is counted, and whether an answer is so.
type Kind = (&'static str, fn(&AnswerView) -> Option<bool>);
/// How the record calls an answer that the token limit has cut.
const CUT: &str = "length";

/// A set of queries as the report shows it; `written` holds the gains that the run's summary has.
pub(super) fn compared(
    name: &str,
    evaluations: Vec<EvaluationRecord>,
    compare: &[[String; 2]],
    written: &[GainRow],
) -> EvalSet {
    let labels: Vec<&str> = evaluations.iter().map(|evaluation| evaluation.stage.after.as_str()).collect();
    let pairs = pairs(&labels, compare);
    let written: Vec<&GainRow> = written.iter().filter(|gain| gain.set.is_empty() || gain.set == name).collect();
    let mut gains: Vec<GainRow> = Vec::new();
    for (from, to) in &pairs {
        gains.extend(gains_between(name, &evaluations[*from], &evaluations[*to], &written));
    }
    if gains.is_empty() {
        gains.extend(written.into_iter().cloned());
    }
    let sides = sides(&evaluations, pairs.first());
    let reasons = evaluations.iter().flat_map(|one| &one.stage.rows).any(|row| row.with_working > Some(0.0));
    let (conduct, samples) = (conduct(&evaluations), samples(sides));
    EvalSet {
        name: name.to_owned(),
        reasons: reasons || evaluations.iter().any(any_reasoning),
        gains,
        conduct,
        samples,
        stages: evaluations.into_iter().map(|evaluation| evaluation.stage).collect(),
    }
}

fn any_reasoning(evaluation: &EvaluationRecord) -> bool {
    evaluation.answers.values().flat_map(|queries| queries.values()).flatten().any(AnswerView::reasons)
}

/// The run's own gains where it has summed up, else the same from the answers.
fn gains_between(set: &str, from: &EvaluationRecord, to: &EvaluationRecord, written: &[&GainRow]) -> Vec<GainRow> {
    let paired = |task: &str, greedy: bool, so: fn(&AnswerView) -> Option<bool>| -> Option<PairedGain> {
        let list = |record: &EvaluationRecord| outcomes(&of_tasks(&record.answers, task, &to.stage), greedy, so);
        paired_gain(&list(from), &list(to))
    };
    let measured = |task: &str| {
        let Estimate { value, interval } = paired(task, false, passed)?.estimate;
        let greedy = paired(task, true, passed).map(|gain| gain.estimate);
        let (greedy_gain, greedy_ci95) = (greedy.map(|gain| gain.value), greedy.map(|gain| gain.interval));
        Some(GainRow { gain: value, ci95: interval, greedy_gain, greedy_ci95, ..GainRow::default() })
    };
    let gain = |row: &TaskRow| {
        let (from, to) = (&from.stage.after, &to.stage.after);
        let is_it = |gain: &&&GainRow| (&gain.from, &gain.to, &gain.task) == (from, to, &row.task);
        let told = written.iter().find(is_it).map(|gain| (*gain).clone());
        // Earlier versions wrote a point where no query changed.
        let whole = told.clone().filter(|gain| gain.ci95[0] < gain.ci95[1]);
        let gain = whole.or_else(|| measured(&row.task)).or(told)?;
        Some(GainRow { set: set.to_owned(), from: from.clone(), to: to.clone(), task: row.task.clone(), ..gain })
    };
    let shares = || Some((from.stage.row("all")?.with_working?, to.stage.row("all")?.with_working?));
    let change = shares().filter(|(before, after)| *before > 0.0 || *after > 0.0).and_then(|(before, after)| {
        let ci95 = paired("all", false, reasoned)?.estimate.interval;
        Some(ShareChange { before, after, ci95 })
    });
    let with_change = |gain: GainRow| GainRow { reasoning: change.filter(|_| gain.task == "all"), ..gain };
    to.stage.rows.iter().filter_map(gain).map(with_change).collect()
}

/// Puts into the set of an evaluation alone what it gained over its baseline; `compared` is its `comparison.json`.
pub(super) fn with_baseline(set: &mut EvalSet, compared: &Value) {
    let Some(stage) = set.stages.last() else { return };
    let of_set = |one: &&Value| one["set"] == set.name.as_str();
    let Some(one) = compared["comparisons"].as_array().into_iter().flatten().find(of_set) else { return };
    let row = |row: &Value| {
        let interval = |key: &str| serde_json::from_value::<[f64; 2]>(row[key].clone()).ok();
        Some(GainRow {
            set: set.name.clone(),
            from: one["a"]["place"].as_str()?.to_owned(),
            to: stage.after.clone(),
            task: row["task"].as_str()?.to_owned(),
            gain: row["difference"].as_f64()?,
            ci95: interval("ci95")?,
            greedy_gain: row["greedy_difference"].as_f64(),
            greedy_ci95: interval("greedy_ci95"),
            reasoning: None,
        })
    };
    let gains = one["rows"].as_array().into_iter().flatten().filter_map(row).collect();
    set.gains = gains;
}

/// The two evaluations whose answers stand side by side: those of the first pair, else the last alone.
type Sides<'a> = Option<(Option<&'a EvaluationRecord>, &'a EvaluationRecord)>;

fn sides<'a>(evaluations: &'a [EvaluationRecord], pair: Option<&(usize, usize)>) -> Sides<'a> {
    match pair {
        Some((from, to)) => Some((evaluations.get(*from), evaluations.get(*to)?)),
        None => evaluations.last().map(|last| (None, last)),
    }
}

/// Held-out queries with answers before and after.
fn samples(sides: Sides<'_>) -> Vec<TaskSamples> {
    let Some((before, after)) = sides else { return Vec::new() };
    let order: Vec<&str> = after.stage.rows.iter().map(|row| row.task.as_str()).collect();
    let before = before.map(|record| (record.stage.after.as_str(), &record.answers));
    choose(before, (after.stage.after.as_str(), &after.answers), &order)
}

/// Language mixing, repetition and cut answers at every evaluation: of all tasks, and of each that is no part of that.
fn conduct(evaluations: &[EvaluationRecord]) -> Vec<ConductRow> {
    let kinds: [Kind; 3] = [
        ("language mixing", |answer| answer.strays("language")),
        ("repetition", |answer| answer.strays("repetition")),
        ("cut by the token limit", |answer| Some(answer.stop == CUT)),
    ];
    let Some(last) = evaluations.last() else { return Vec::new() };
    let mut rows = Vec::new();
    for task in std::iter::once("all").chain(last.stage.unaveraged.iter().map(String::as_str)) {
        for (what, is_so) in kinds {
            let share = |record: &EvaluationRecord| {
                let said = outcomes(&of_tasks(&record.answers, task, &record.stage), false, is_so);
                mean_interval(&said).map(|share| (share.value, share.interval))
            };
            let shares: Vec<_> = evaluations.iter().map(share).collect();
            if shares.iter().any(Option::is_some) {
                rows.push(ConductRow { task: task.to_owned(), what: what.to_owned(), shares });
            }
        }
    }
    rows
}
