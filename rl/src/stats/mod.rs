//! What evaluations are judged by: rates with intervals, paired differences, tests, and what can be told apart at all.
//!
//! Queries are what is drawn; samples of one query are alike, so that intervals go by query. Tasks weigh the same however many
//! queries they have. `simulation` holds each interval and each test against 10,000 simulated evaluations.

mod at_k;
mod e_process;
mod interval;
mod paired;
mod power;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::at_k::{majority_at_k, mean_pass_at_k, pass_at_k};
pub use self::e_process::EProcess;
pub use self::interval::{Estimate, binomial_tail, mean_interval, wilson};
pub use self::paired::{Bootstrap, PairedGain, bootstrap, holm, mcnemar, paired_gain};
pub use self::power::{detectable, detectable_by};

/// What became of the samples of one query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryOutcomes {
    /// The query.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// One verdict a sample; `None` where the score failed, which is not a wrong answer.
    pub passes: Vec<Option<bool>>,
}

/// Denominators that add up: `samples = scored + failed`, `queries = rated + unrated`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All queries.
    pub queries: usize,
    /// Queries with at least one scored sample: those that a rate is a mean over.
    pub rated: usize,
    /// Queries without any scored sample.
    pub unrated: usize,
    /// All samples.
    pub samples: usize,
    /// Samples with a verdict.
    pub scored: usize,
    /// Samples whose score failed.
    pub failed: usize,
    /// Samples that pass.
    pub passed: usize,
}

/// The rated queries of each task, tasks in order of name.
fn by_task(queries: &[QueryOutcomes]) -> Vec<Vec<&QueryOutcomes>> {
    let mut tasks: BTreeMap<&str, Vec<&QueryOutcomes>> = BTreeMap::new();
    for query in queries.iter().filter(|query| query.rate().is_some()) {
        tasks.entry(&query.task).or_default().push(query);
    }
    tasks.into_values().collect()
}

impl QueryOutcomes {
    /// Share of the scored samples that pass; `None` when none is scored.
    pub fn rate(&self) -> Option<f64> {
        let counts = self.counts();
        (counts.scored > 0).then(|| counts.passed as f64 / counts.scored as f64)
    }

    /// The counts of this query.
    pub fn counts(&self) -> Counts {
        Counts::of(std::slice::from_ref(self))
    }
}

impl Counts {
    /// Counts queries and samples.
    pub fn of(queries: &[QueryOutcomes]) -> Self {
        let mut counts = Self::default();
        for query in queries {
            let scored = query.passes.iter().flatten().count();
            counts.queries += 1;
            counts.rated += usize::from(scored > 0);
            counts.unrated += usize::from(scored == 0);
            counts.samples += query.passes.len();
            counts.scored += scored;
            counts.failed += query.passes.len() - scored;
            counts.passed += query.passes.iter().filter(|pass| **pass == Some(true)).count();
        }
        counts
    }
}

#[cfg(test)]
mod tests;
