//! What a curation comes to: how many queries each reason dropped, with intervals, and what it cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Curation, Decision, Stopped};
use crate::stats::wilson;

/// A count of queries with its share of all and Wilson's 95 % interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// What became of them.
    pub decision: Decision,
    /// How many.
    pub queries: usize,
    /// The share of all queries.
    pub share: f64,
    /// Its 95 % interval.
    pub ci95: [f64; 2],
}

/// A curation in one object: `curation/NAME.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurationSummary {
    /// Version of this object.
    pub v: u32,
    /// The phase.
    pub phase: String,
    /// Who answered, as the configuration says it.
    pub by: String,
    /// Queries with a record.
    pub queries: usize,
    /// Rows that could not be used; they are no queries.
    pub bad_rows: usize,
    /// What became of the queries; the counts add up to `queries`.
    pub decisions: Vec<Share>,
    /// Decisions with the rule or filter that stands before the colon of their reasons, the most frequent first.
    pub reasons: Vec<(String, usize)>,
    /// Samples that were taken.
    pub samples: usize,
    /// Samples that all queries that were sampled would have had.
    pub samples_of_all: usize,
    /// Queries whose samples ended early since nothing could change any more.
    pub settled: usize,
    /// Queries whose samples ended early since a change was unlikely.
    pub predicted: usize,
    /// Samples without pictures.
    pub samples_without_pictures: usize,
    /// Responses that are kept, and those that were looked at.
    pub responses: (usize, usize),
    /// Queries that were sampled by number of passes: (kept or undecided, dropped). Where samples ended early, or could not be
    /// scored, the number is that of all samples at the same rate.
    pub histogram: Vec<(usize, usize)>,
}

/// Counts records, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    decisions: BTreeMap<Decision, usize>,
    reasons: BTreeMap<String, usize>,
    samples: usize,
    sampled: usize,
    settled: usize,
    predicted: usize,
    samples_without_pictures: usize,
    dropped_pictures: usize,
    responses: (usize, usize),
    /// Kept and dropped queries by (passed, scored).
    passes: BTreeMap<(usize, usize), (usize, usize)>,
}

impl Tally {
    /// Counts a record.
    pub fn add(&mut self, record: &Curation) {
        *self.decisions.entry(record.decision).or_default() += 1;
        if let Some(reason) = record.reason.as_ref().filter(|_| record.decision != Decision::Unusable) {
            let head = reason.split(':').next().unwrap_or_default();
            *self.reasons.entry(format!("{}: {head}", record.decision.words())).or_default() += 1;
        }
        self.samples += record.outcomes.len();
        self.dropped_pictures += record.dropped_pictures;
        self.settled += usize::from(record.stopped == Some(Stopped::Settled));
        self.predicted += usize::from(record.stopped == Some(Stopped::Predicted));
        self.samples_without_pictures += record.without_pictures.as_ref().map_or(0, |blind| blind.outcomes.len());
        self.responses.0 += record.responses.iter().filter(|response| response.is_kept()).count();
        self.responses.1 += record.responses.len();
        if !record.outcomes.is_empty() {
            self.sampled += 1;
            let bin = self.passes.entry((record.passed, record.scored)).or_default();
            *bin = (bin.0 + usize::from(record.is_kept()), bin.1 + usize::from(!record.is_kept()));
        }
    }

    /// How many records had this decision.
    pub fn count(&self, decision: Decision) -> usize {
        self.decisions.get(&decision).copied().unwrap_or(0)
    }

    /// Pictures and videos that were left out of prompts that were too long.
    pub fn dropped_pictures(&self) -> usize {
        self.dropped_pictures
    }

    /// How many queries were counted.
    pub fn queries(&self) -> usize {
        self.decisions.values().sum::<usize>() - self.count(Decision::Unusable)
    }

    fn histogram(&self, samples: usize) -> Vec<(usize, usize)> {
        let samples = self.passes.keys().map(|(_, scored)| *scored).max().unwrap_or(0).max(samples);
        let mut bins = vec![(0, 0); if self.passes.is_empty() { 0 } else { samples + 1 }];
        for ((passed, scored), (kept, dropped)) in &self.passes {
            // Rounded down: what is not above the limit does not come to stand above it.
            let bin = &mut bins[passed * samples / (*scored).max(1)];
            *bin = (bin.0 + kept, bin.1 + dropped);
        }
        bins
    }

    /// The summary of a phase with `samples` for each query; `by` says who answered.
    pub fn summary(&self, phase: &str, by: &str, samples: usize) -> CurationSummary {
        let queries = self.queries();
        let share = |decision: Decision| {
            let count = self.count(decision);
            let ci95 = wilson(count, queries).unwrap_or([0.0, 1.0]);
            Share { decision, queries: count, share: count as f64 / queries.max(1) as f64, ci95 }
        };
        let shown = |decision: &Decision| {
            *decision != Decision::Unusable && (self.count(*decision) > 0 || *decision == Decision::Kept)
        };
        let mut reasons: Vec<(String, usize)> = self.reasons.clone().into_iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        CurationSummary {
            v: 1,
            phase: phase.to_owned(),
            by: by.to_owned(),
            queries,
            bad_rows: self.count(Decision::Unusable),
            decisions: Decision::ALL.into_iter().filter(shown).map(share).collect(),
            reasons,
            samples: self.samples,
            samples_of_all: self.sampled * samples,
            settled: self.settled,
            predicted: self.predicted,
            samples_without_pictures: self.samples_without_pictures,
            responses: self.responses,
            histogram: self.histogram(samples),
        }
    }
}
