//! Curation: every query is sampled, recorded, and dropped when the policy already passes it too often.

use sapo_datasets::{Query, Split, Task, synthetic};
use sapo_policies::Model;
use serde::{Deserialize, Serialize};

use crate::asking::{Answered, Place, ask};
use crate::config::CurateConfig;
use crate::error::Result;
use crate::ledger::Account;
use crate::scoring::{Rubrics, Scorer};

/// Fewer scored samples than three in four leave a query undecided.
const LEAST_SCORED: (usize, usize) = (3, 4);

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is trained on.
    Kept,
    /// Passed more than 90 % of the time.
    DroppedTooEasy,
    /// Never passed, and the configuration drops such queries.
    DroppedNeverSolved,
    /// Too few samples could be scored; it is kept and counted apart.
    Undecided,
}

/// The record of one query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    /// The query.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// 1 passed, 0 failed the check, `None` could not be scored.
    pub outcomes: Vec<Option<u8>>,
    /// Samples that passed.
    pub passed: usize,
    /// Samples that were scored.
    pub scored: usize,
    /// What becomes of it.
    pub decision: Decision,
}

/// The decision by integers: `10 * passed > 9 * scored` is too easy (15 and 16 of 16 go, 14 stay).
pub fn decide(passed: usize, scored: usize, samples: usize, drop_never_solved: bool) -> Decision {
    if scored * LEAST_SCORED.1 < samples * LEAST_SCORED.0 {
        Decision::Undecided
    } else if 10 * passed > 9 * scored {
        Decision::DroppedTooEasy
    } else if passed == 0 && drop_never_solved {
        Decision::DroppedNeverSolved
    } else {
        Decision::Kept
    }
}

impl Curation {
    /// Whether the query is trained on.
    pub fn is_kept(&self) -> bool {
        matches!(self.decision, Decision::Kept | Decision::Undecided)
    }
}

/// Curates fresh training queries and gives the record of all, task by task; `accounts` is given what the ledger keeps of
/// each task, `progress` is told how many rollouts have ended.
///
/// # Errors
/// When a query cannot be encoded, or `accounts` fails.
pub fn run(
    model: &Model,
    config: &CurateConfig,
    scorer: &Scorer,
    rubrics: &Rubrics,
    place: Place<'_>,
    accounts: &mut dyn FnMut(&[Account]) -> Result<()>,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Curation>> {
    let mut records = Vec::new();
    for task in &config.tasks {
        let queries = (0..config.queries_per_task).map(|at| pool_query(*task, place.seed, at)).collect();
        let before = records.len() * config.samples;
        let answered =
            ask(model, queries, &config.sampling, scorer, rubrics, place, &mut |ended| progress(before + ended))?;
        let scored = answered.iter().flat_map(|one| one.answers.iter().map(|answer| (&one.query, answer)));
        accounts(&scored.map(|(query, answer)| Account::of(query, answer, false)).collect::<Vec<_>>())?;
        records.extend(answered.iter().map(|one| record(one, config)));
    }
    Ok(records)
}

/// The queries that a recorded curation kept.
pub fn kept(config: &CurateConfig, records: &[Curation], seed: u64) -> Vec<Query> {
    let pool = config.tasks.iter().flat_map(|task| (0..config.queries_per_task).map(move |at| (*task, at)));
    let kept = pool.zip(records).filter(|(_, record)| record.is_kept());
    kept.map(|((task, at), _)| pool_query(task, seed, at)).collect()
}

/// The pool starts far behind what the cold start has seen.
fn pool_query(task: Task, seed: u64, at: usize) -> Query {
    synthetic::query(task, Split::Train, seed, POOL_START + at as u64)
}

/// Number of the first query of a task that curation and RL draw, beyond any cold start.
pub const POOL_START: u64 = 1 << 32;

fn record(one: &Answered, config: &CurateConfig) -> Curation {
    let outcomes: Vec<Option<u8>> = one.answers.iter().map(|answer| answer.score.passed.map(u8::from)).collect();
    let passed = outcomes.iter().flatten().filter(|outcome| **outcome == 1).count();
    let scored = outcomes.iter().flatten().count();
    Curation {
        query_id: one.query.id.clone(),
        task: one.query.task.clone(),
        decision: decide(passed, scored, outcomes.len(), config.drop_never_solved),
        outcomes,
        passed,
        scored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_strictly_above_nine_in_ten() {
        assert_eq!(decide(14, 16, 16, false), Decision::Kept);
        assert_eq!(decide(15, 16, 16, false), Decision::DroppedTooEasy);
        assert_eq!(decide(16, 16, 16, false), Decision::DroppedTooEasy);
        assert_eq!(decide(9, 10, 10, false), Decision::Kept);
        assert_eq!(decide(58, 64, 64, false), Decision::DroppedTooEasy);
        assert_eq!(decide(57, 64, 64, false), Decision::Kept);
        assert_eq!(decide(11, 11, 16, false), Decision::Undecided);
        assert_eq!(decide(12, 12, 16, false), Decision::DroppedTooEasy);
        assert_eq!(decide(0, 16, 16, false), Decision::Kept);
        assert_eq!(decide(0, 16, 16, true), Decision::DroppedNeverSolved);
    }
}
