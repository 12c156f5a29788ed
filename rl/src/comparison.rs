//! Two recorded evaluations of the same queries, side by side: differences paired by query, with intervals.

mod read;
mod same;
mod verdicts;

use std::path::Path;

use serde::Serialize;

pub use self::read::Recorded;
use self::same::Shared;
use crate::error::{Result, RunError};
use crate::eval::ALL;
use crate::stats::{PairedGain, QueryOutcomes, bootstrap, holm, mcnemar, mean_interval, paired_gain};

/// Two evaluations, A and B, compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The set of queries, as B calls it.
    pub set: String,
    /// The first evaluation.
    pub a: Side,
    /// The second one.
    pub b: Side,
    /// Queries that both have.
    pub shared: usize,
    /// Queries that only one of them has; they are left out.
    pub left_out: usize,
    /// A row for each task, then `all`.
    pub rows: Vec<Difference>,
    /// What else differs between the two, and may be why.
    pub differs: Vec<String>,
}

/// Which evaluation stands on a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its folder.
    pub place: String,
    /// What it came after: a phase, or the model that was named.
    pub after: String,
    /// The step of the run.
    pub step: u64,
}

/// What B has more than A, over the queries of a task that both have scored. Rates and differences are shares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The task, or `all`.
    pub task: String,
    /// Queries that are compared.
    pub queries: usize,
    /// Pass@1 of A.
    pub a: f64,
    /// Pass@1 of B.
    pub b: f64,
    /// B less A.
    pub difference: f64,
    /// Its 95 % interval, paired by query.
    pub ci95: [f64; 2],
    /// The same by a seeded bootstrap, as other tools have it; too narrow with few queries.
    pub bootstrap_ci95: [f64; 2],
    /// The chance of a difference as large where there is none (Student's test, paired by query).
    pub p_value: f64,
    /// The same for a task among all tasks (Holm); absent for `all`.
    pub p_corrected: Option<f64>,
    /// B less A for one greedy answer a query.
    pub greedy_difference: Option<f64>,
    /// Its 95 % interval.
    pub greedy_ci95: Option<[f64; 2]>,
    /// Queries that only A, and that only B answers rightly with the one answer that each gives: the greedy one, or the only one
    /// that was sampled.
    pub only: Option<[usize; 2]>,
    /// The chance of that where neither is better (McNemar's exact test).
    pub exact_p_value: Option<f64>,
}

/// The evaluations of a place: a JSONL file of verdicts, or what [`read::open`] finds in a folder.
///
/// # Errors
/// When nothing lies there, or what lies there is no evaluation.
pub fn open(place: &Path) -> Result<Vec<Recorded>> {
    if place.is_file() { Ok(vec![verdicts::read(place)?]) } else { read::open(place) }
}

/// Compares two evaluations; with `only_shared`, over the queries that both have.
///
/// # Errors
/// When their queries are not the same; the message says which differ, and how many are shared.
pub fn compare(a: &Recorded, b: &Recorded, only_shared: bool) -> Result<Comparison> {
    let shared = Shared::of(a, b);
    if shared.ids.is_empty() || !(only_shared || shared.is_all()) {
        return Err(RunError::User(shared.refusal(a, b)));
    }
    let mut rows: Vec<Difference> =
        b.tasks().into_iter().chain([ALL]).filter_map(|task| row(a, b, &shared, task)).collect();
    correct(&mut rows);
    if rows.is_empty() {
        return Err(RunError::User(format!(
            "no query has a score in both {} and {}, so that nothing can be compared",
            a.place, b.place
        )));
    }
    let side = |one: &Recorded| Side { place: one.place.clone(), after: one.after.clone(), step: one.step };
    Ok(Comparison {
        set: b.set.clone(),
        a: side(a),
        b: side(b),
        shared: shared.ids.len(),
        left_out: shared.left_out(),
        rows,
        differs: shared.differs(a, b),
    })
}

/// Compares the evaluations of two places: those of sets that both have, or one with one whatever they are called.
///
/// # Errors
/// When no set is in both, or as [`compare`].
pub fn compare_all(a: &[Recorded], b: &[Recorded], only_shared: bool) -> Result<Vec<Comparison>> {
    if let ([a], [b]) = (a, b) {
        return Ok(vec![compare(a, b, only_shared)?]);
    }
    let other = |one: &Recorded| a.iter().find(|other| other.set == one.set);
    let pairs: Vec<(&Recorded, &Recorded)> = b.iter().filter_map(|one| Some((other(one)?, one))).collect();
    if pairs.is_empty() {
        let named = |all: &[Recorded]| all.iter().map(|one| one.set.as_str()).collect::<Vec<_>>().join(", ");
        return Err(RunError::User(format!(
            "no set of queries is in both: A has {}, B has {}; name one evaluation of each, such as RUN/eval/NAME-000100",
            named(a),
            named(b)
        )));
    }
    pairs.into_iter().map(|(a, b)| compare(a, b, only_shared)).collect()
}

fn row(a: &Recorded, b: &Recorded, shared: &Shared<'_>, task: &str) -> Option<Difference> {
    let fits = |of: &str| if task == ALL { !b.unaveraged.iter().any(|name| name == of) } else { of == task };
    // B's tasks count on both sides, so that pairs are found whatever A called them.
    let lists = |greedy: bool| -> [Vec<QueryOutcomes>; 2] {
        let of = |one: &Recorded, id: &str| QueryOutcomes {
            query_id: id.to_owned(),
            task: b.queries[id].task.clone(),
            passes: one.queries[id].passes(greedy).to_vec(),
        };
        let ids = || shared.ids.iter().filter(|id| fits(&b.queries[**id].task));
        let both: (Vec<_>, Vec<_>) =
            ids().map(|id| (of(a, id), of(b, id))).filter(|(a, b)| a.rate().is_some() && b.rate().is_some()).unzip();
        [both.0, both.1]
    };
    let (sampled, of_greedy) = (lists(false), lists(true));
    let PairedGain { estimate, p_value, paired, .. } = paired_gain(&sampled[0], &sampled[1])?;
    let greedy = paired_gain(&of_greedy[0], &of_greedy[1]).map(|gain| gain.estimate);
    let is_one = |side: &Vec<QueryOutcomes>| !side.is_empty() && side.iter().all(|query| query.passes.len() == 1);
    let one_answer = [&of_greedy, &sampled].into_iter().find(|[a, b]| is_one(a) && is_one(b));
    let only = one_answer.map(|[a, b]| [only(a, b), only(b, a)]);
    let rate = |of: &[QueryOutcomes]| mean_interval(of).map(|estimate| estimate.value);
    Some(Difference {
        task: task.to_owned(),
        queries: paired,
        a: rate(&sampled[0])?,
        b: rate(&sampled[1])?,
        difference: estimate.value,
        ci95: estimate.interval,
        bootstrap_ci95: bootstrap(&sampled[0], &sampled[1], b.seed)?.interval,
        p_value,
        p_corrected: None,
        greedy_difference: greedy.map(|estimate| estimate.value),
        greedy_ci95: greedy.map(|estimate| estimate.interval),
        only,
        exact_p_value: only.map(|[a, b]| mcnemar(a, b)),
    })
}

/// Queries that one answers better than the other; both lists are of the same queries.
fn only(one: &[QueryOutcomes], other: &[QueryOutcomes]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one.rate() > other.rate()).count()
}

/// Corrects the p-values of tasks for how many they are.
fn correct(rows: &mut [Difference]) {
    let mut tasks: Vec<&mut Difference> = rows.iter_mut().filter(|row| row.task != ALL).collect();
    let p_values: Vec<f64> = tasks.iter().map(|row| row.p_value).collect();
    for (row, corrected) in tasks.iter_mut().zip(holm(&p_values)) {
        row.p_corrected = Some(corrected);
    }
}

#[cfg(test)]
mod tests;
