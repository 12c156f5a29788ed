//! The rule by pass rate: which queries are too easy, and which were never solved.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decision;

/// Fewer scored samples than three in four leave a query undecided.
pub const LEAST_SCORED: (usize, usize) = (3, 4);
/// Fewer scored samples than this of a stronger policy say nothing of a query.
const LEAST_OF_STRONGER: usize = 12;
/// What a limit such as 0.9 differs from its decimal by, and more: a rate at the limit is not above it.
const ROUNDING: f64 = 1e-9;

/// Which queries are dropped by their pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DropRule {
    /// Queries that pass more often than this share of their scored samples are too easy; 1 drops none.
    pub above: f64,
    /// Whether queries that never passed are dropped too.
    pub never_solved: bool,
    /// The record of a stronger policy (`curation/NAME.jsonl` of its run): what it never passed, in at least 12 scored
    /// samples, is dropped without being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stronger: Option<PathBuf>,
}

impl Default for DropRule {
    fn default() -> Self {
        Self { above: 0.9, never_solved: false, stronger: None }
    }
}

impl DropRule {
    /// Whether so many passes are more than the limit allows: with 16 samples and 0.9, 15 and 16 are, 14 are not.
    pub fn is_too_easy(&self, passed: usize, scored: usize) -> bool {
        passed as f64 > (self.above + ROUNDING) * scored as f64
    }

    /// Whether a stronger policy has tried enough, and never passed.
    pub fn is_hopeless(passed: usize, scored: usize) -> bool {
        passed == 0 && scored >= LEAST_OF_STRONGER
    }
}

/// What becomes of a query by its outcomes: `passed` of `scored`, of `samples` that were asked for.
pub fn decide(passed: usize, scored: usize, samples: usize, rule: &DropRule) -> Decision {
    if scored * LEAST_SCORED.1 < samples * LEAST_SCORED.0 {
        Decision::Undecided
    } else if rule.is_too_easy(passed, scored) {
        Decision::DroppedTooEasy
    } else if passed == 0 && rule.never_solved {
        Decision::DroppedNeverSolved
    } else {
        Decision::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_strictly_above_nine_in_ten() {
        let rule = DropRule::default();
        let decide = |passed, scored, samples| super::decide(passed, scored, samples, &rule);
        assert_eq!(decide(14, 16, 16), Decision::Kept);
        assert_eq!(decide(15, 16, 16), Decision::DroppedTooEasy);
        assert_eq!(decide(16, 16, 16), Decision::DroppedTooEasy);
        assert_eq!(decide(9, 10, 10), Decision::Kept);
        assert_eq!(decide(58, 64, 64), Decision::DroppedTooEasy);
        assert_eq!(decide(57, 64, 64), Decision::Kept);
        assert_eq!(decide(11, 11, 16), Decision::Undecided);
        assert_eq!(decide(12, 12, 16), Decision::DroppedTooEasy);
        assert_eq!(decide(0, 16, 16), Decision::Kept);
        let never = DropRule { never_solved: true, ..rule };
        assert_eq!(super::decide(0, 16, 16, &never), Decision::DroppedNeverSolved);
    }

    #[test]
    fn any_limit_is_strict_and_one_drops_nothing() {
        for (tenths, scored) in (1..10_usize).flat_map(|tenths| (1..60).map(move |scored| (tenths, scored))) {
            let rule = DropRule { above: tenths as f64 / 10.0, ..DropRule::default() };
            for passed in 0..=scored {
                assert_eq!(rule.is_too_easy(passed, scored), 10 * passed > tenths * scored, "{passed} of {scored}");
            }
        }
        let none = DropRule { above: 1.0, ..DropRule::default() };
        assert!(!none.is_too_easy(16, 16));
        assert!(DropRule::is_hopeless(0, 12) && !DropRule::is_hopeless(0, 11) && !DropRule::is_hopeless(1, 16));
    }
}
