//! Sequential stopping: a query is sampled no further when its decision cannot change, or is all but sure not to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Decision, DropRule, decide};

/// Stops sampling a query early.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sequential {
    /// The chance, for pass rates that are spread as Beta(1/2, 1/2), that all samples would have decided otherwise. With
    /// 0 a query is stopped only when nothing can change any more.
    pub error: f64,
    /// Samples between two looks. Each round reads the prompt again.
    #[serde(default = "four")]
    pub round: usize,
}

fn four() -> usize {
    4
}

/// Why sampling ended before all samples were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Whatever the samples that were left had said, the decision would have been the same.
    Settled,
    /// The samples that were left would have changed the decision with at most the chance that is allowed.
    Predicted,
}

impl Sequential {
    /// The decision and why it stands, when no further sample is needed: `passed` of `scored` so far, `left` to come. The
    /// samples to come are taken as ones that will be scored.
    pub fn stop(&self, passed: usize, scored: usize, left: usize, rule: &DropRule) -> Option<(Decision, Stopped)> {
        let all = scored + left;
        let chances = passes_to_come(passed, scored, left);
        let mut by_decision: Vec<(Decision, f64)> = Vec::new();
        for (more, chance) in chances.iter().enumerate() {
            let decision = decide(passed + more, all, all, rule);
            match by_decision.iter_mut().find(|(known, _)| *known == decision) {
                Some((_, sum)) => *sum += chance,
                None => by_decision.push((decision, *chance)),
            }
        }
        if let [(decision, _)] = by_decision[..] {
            return Some((decision, Stopped::Settled));
        }
        let (decision, chance) = by_decision.into_iter().max_by(|one, other| one.1.total_cmp(&other.1))?;
        (1.0 - chance <= self.error).then_some((decision, Stopped::Predicted))
    }
}

/// The chance of each number of passes among `left` further samples, after `passed` of `scored`: the beta-binomial
/// distribution over the posterior of Beta(1/2, 1/2).
fn passes_to_come(passed: usize, scored: usize, left: usize) -> Vec<f64> {
    let (a, b, n) = (passed as f64 + 0.5, (scored - passed.min(scored)) as f64 + 0.5, left as f64);
    // p(0) = product of (b + i) / (a + b + i); each next one by the ratio of neighbours.
    let mut chance: f64 = (0..left).map(|at| (b + at as f64) / (a + b + at as f64)).product();
    let mut chances = Vec::with_capacity(left + 1);
    for more in 0..=left {
        chances.push(chance);
        let k = more as f64;
        chance *= (n - k) / (k + 1.0) * (a + k) / (b + n - k - 1.0);
    }
    chances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chances_of_what_may_come_add_up_to_one_with_the_posterior_mean() {
        for (passed, scored, left) in [(0, 0, 16), (4, 4, 12), (0, 12, 4), (7, 9, 7), (16, 16, 0)] {
            let chances = passes_to_come(passed, scored, left);
            let sum: f64 = chances.iter().sum();
            let mean: f64 = chances.iter().enumerate().map(|(more, chance)| more as f64 * chance).sum();
            let wanted = left as f64 * (passed as f64 + 0.5) / (scored as f64 + 1.0);
            assert!(
                (sum - 1.0).abs() < 1e-12 && (mean - wanted).abs() < 1e-9,
                "{passed} {scored} {left}: {sum} {mean}"
            );
        }
    }

    #[test]
    fn what_cannot_change_is_settled_and_nothing_else() {
        let (strict, rule) = (Sequential { error: 0.0, round: 1 }, DropRule::default());
        for passed in 0..=16_usize {
            for scored in passed..=16 {
                let found = strict.stop(passed, scored, 16 - scored, &rule);
                let failed = scored - passed;
                let wanted = if failed >= 2 {
                    Some((Decision::Kept, Stopped::Settled))
                } else if passed >= 15 {
                    Some((Decision::DroppedTooEasy, Stopped::Settled))
                } else {
                    None
                };
                assert_eq!(found, wanted, "{passed} of {scored}");
            }
        }
        let never = DropRule { never_solved: true, ..rule };
        assert_eq!(strict.stop(0, 4, 12, &never), None, "it may still be solved");
        assert_eq!(strict.stop(1, 4, 12, &never), Some((Decision::Kept, Stopped::Settled)));
        let loose = Sequential { error: 0.2, round: 1 };
        assert_eq!(loose.stop(8, 8, 8, &never), Some((Decision::DroppedTooEasy, Stopped::Predicted)));
    }
}
