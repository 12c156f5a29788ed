//! Curation: the record of a query, the rules that decide what becomes of it, and what they come to. Nothing here samples.

mod query_rules;
mod responses;
mod rule;
mod sequential;
mod summary;
#[cfg(test)]
mod tests;
mod without_pictures;

use serde::{Deserialize, Serialize};

pub use self::query_rules::QueryRule;
pub use self::responses::{PartLimit, Response, guessed};
pub use self::rule::{DropRule, LEAST_SCORED, decide};
pub use self::sequential::{Sequential, Stopped};
pub use self::summary::{CurationSummary, Share, Tally};
pub use self::without_pictures::{Blind, blind_samples, choices_of, least_solved, without_pictures};

/// What becomes of a query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is trained on.
    #[default]
    Kept,
    /// Passed more often than the limit, 90 % where nothing else is said.
    DroppedTooEasy,
    /// Never passed, by this policy or by a stronger one, and the configuration drops such queries.
    DroppedNeverSolved,
    /// A rule or a filter on the query itself dropped it.
    DroppedByFilter,
    /// It was solved without its pictures.
    DroppedWithoutPictures,
    /// No response of it is fit to be imitated.
    DroppedResponses,
    /// Too little could be scored; it is kept and counted apart.
    Undecided,
    /// The row could not be used at all; it is no query, and counted apart.
    Unusable,
}

impl Decision {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 8] = [
        Self::Kept,
        Self::DroppedTooEasy,
        Self::DroppedNeverSolved,
        Self::DroppedByFilter,
        Self::DroppedWithoutPictures,
        Self::DroppedResponses,
        Self::Undecided,
        Self::Unusable,
    ];

    /// What people read.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::DroppedTooEasy => "dropped: too easy",
            Self::DroppedNeverSolved => "dropped: never solved",
            Self::DroppedByFilter => "dropped: by a filter",
            Self::DroppedWithoutPictures => "dropped: solved without pictures",
            Self::DroppedResponses => "dropped: no fit response",
            Self::Undecided => "undecided",
            Self::Unusable => "unusable rows",
        }
    }
}

/// What a filter said of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filtered {
    /// The rubric.
    pub rubric: String,
    /// The value of its `correct` part; `None` where it could not tell.
    pub value: Option<f64>,
    /// The least value that keeps a query.
    pub at_least: f64,
}

/// The record of one row: one line of `curation/NAME.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curation {
    /// The query; empty where the row could not be read.
    pub query_id: String,
    /// Its task.
    pub task: String,
    /// The source that it came from.
    #[serde(default)]
    pub source: String,
    /// Its number in that source, as the phase used it.
    #[serde(default)]
    pub index: u64,
    /// 1 passed, 0 failed the check, `None` could not be scored; in the order of the samples.
    pub outcomes: Vec<Option<u8>>,
    /// Samples that passed.
    pub passed: usize,
    /// Samples that were scored.
    pub scored: usize,
    /// Wilson's 95 % interval of the pass rate; absent without scored samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ci95: Option<[f64; 2]>,
    /// Why sampling ended early, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The answers without pictures, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_pictures: Option<Blind>,
    /// What filters said of the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filtered>,
    /// What became of its responses, where responses are looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<Response>,
    /// What becomes of it.
    pub decision: Decision,
    /// Why, in words, where the decision alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Lines of the run's ledger that it wrote.
    #[serde(default)]
    pub ledger_lines: usize,
    /// Pictures and videos that were left out of its prompt, which was too long (`policy.too_long`).
    #[serde(default, skip_serializing_if = "is_none_left_out")]
    pub dropped_pictures: usize,
}

fn is_none_left_out(count: &usize) -> bool {
    *count == 0
}

impl Curation {
    /// Whether the query is trained on.
    pub fn is_kept(&self) -> bool {
        matches!(self.decision, Decision::Kept | Decision::Undecided)
    }

    /// Whether something was already said against the query, so that nothing more is asked about it.
    pub fn is_settled(&self) -> bool {
        self.decision != Decision::Kept
    }

    /// Settles what becomes of it.
    pub fn settle(&mut self, decision: Decision, reason: impl Into<String>) {
        self.decision = decision;
        self.reason = Some(reason.into());
    }

    /// Takes over the outcomes of samples.
    pub fn set_outcomes(&mut self, outcomes: Vec<Option<u8>>) {
        (self.passed, self.scored) = tally(&outcomes);
        self.ci95 = crate::stats::wilson(self.passed, self.scored);
        self.outcomes = outcomes;
    }
}

/// How many of some outcomes passed, and how many were scored.
pub fn tally(outcomes: &[Option<u8>]) -> (usize, usize) {
    let passed = outcomes.iter().filter(|outcome| **outcome == Some(1)).count();
    (passed, outcomes.iter().flatten().count())
}
