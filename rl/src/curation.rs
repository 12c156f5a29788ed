//! Curation by pass rate: the record of a query, and what becomes of it.

use serde::{Deserialize, Serialize};

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
    /// The source that it came from.
    #[serde(default)]
    pub source: String,
    /// Its number in that source, as the phase used it.
    #[serde(default)]
    pub index: u64,
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
