//! The loss of reinforcement learning on one sequence: the algorithm's objective, and what may stand beside it.
//!
//! `loss = -sum_t weight_t (w_t objective_t - kl_coef KL_t + entropy_coef H_t)`: the aggregation's weights, the importance
//! weights of another engine's tokens (1 without), KL from the reference and the entropy of the policy.

use sapo_policies::Slopes;

use crate::algorithm::{Algorithm, Sequence};
use crate::batch::TrainedSequence;
use crate::kl::{Estimator, of_rollout};
use crate::metrics::{Metrics, names};

/// A mini-batch as sums see it, over all processes.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Sequences.
    pub sequences: usize,
    /// Their sampled tokens.
    pub tokens: usize,
}

/// What the loss is made of.
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a> {
    /// The objective.
    pub algorithm: &'a dyn Algorithm,
    /// Weight and estimator of the KL, if there is a reference; the weight is 0 where it stands in the reward.
    pub kl: Option<(f64, Estimator)>,
    /// Weight of the entropy.
    pub entropy_coef: f64,
    /// What sums are divided by.
    pub counts: Counts,
}

impl Loss<'_> {
    /// Adds the derivatives of a sequence with these log-probs now, and its part in the metrics.
    pub fn add(&self, known: &TrainedSequence, log_probs: &[f32], slopes: &mut Slopes, metrics: &mut Metrics) {
        let sequence = Sequence { log_probs, old_log_probs: &known.old_log_probs, advantage: known.advantage };
        let Counts { sequences, tokens } = self.counts;
        // The objective is maximised and the loss minimised: hence the sign.
        let weight = -self.algorithm.aggregation().weight(log_probs.len(), sequences, tokens);
        let objective = self.algorithm.objective(&sequence);
        for (at, (derivative, now)) in objective.derivatives.iter().zip(log_probs).enumerate() {
            let mut slope = derivative * known.importance.get(at).copied().unwrap_or(1.0);
            if let (Some((coef, estimator)), Some(reference)) = (self.kl, known.reference.get(at)) {
                slope -= coef * estimator.derivative(*now, *reference);
            }
            slopes.log_probs.push((weight * slope) as f32);
        }
        if let Some((_, estimator)) = self.kl {
            metrics.mean_of(names::KL, of_rollout(estimator, log_probs, &known.reference), log_probs.len() as f64);
        }
        if self.entropy_coef != 0.0 {
            let slope = (weight * self.entropy_coef) as f32;
            slopes.entropies.extend(std::iter::repeat_n(slope, log_probs.len()));
        }
        self.algorithm.record(&sequence, metrics);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{Grpo, Sapo};

    const NOW: [f32; 3] = [-0.7, -1.4, -0.2];

    fn known(importance: Vec<f64>) -> TrainedSequence {
        TrainedSequence {
            old_log_probs: vec![-0.8, -1.1, -0.2],
            reference: vec![-0.5, -2.0, -0.3],
            importance,
            advantage: 0.7,
        }
    }

    fn slopes(loss: &Loss<'_>, importance: Vec<f64>, now: &[f32]) -> Slopes {
        let mut slopes = Slopes::default();
        loss.add(&known(importance), now, &mut slopes, &mut Metrics::default());
        slopes
    }

    /// The loss by its formula.
    fn value(loss: &Loss<'_>, importance: &[f64], now: &[f32]) -> f64 {
        let known = known(Vec::new());
        let sequence = Sequence { log_probs: now, old_log_probs: &known.old_log_probs, advantage: known.advantage };
        let weight = loss.algorithm.aggregation().weight(now.len(), loss.counts.sequences, loss.counts.tokens);
        let values = loss.algorithm.objective(&sequence).values;
        let (coef, estimator) = loss.kl.unwrap_or_default();
        let of = |at: usize| importance[at] * values[at] - coef * estimator.value(now[at], known.reference[at]);
        -weight * (0..now.len()).map(of).sum::<f64>()
    }

    #[test]
    fn derivatives_are_those_of_the_formula() {
        let importance = [0.5, 2.0, 1.0];
        let counts = Counts { sequences: 4, tokens: 30 };
        for algorithm in [&Sapo::default() as &dyn Algorithm, &Grpo::default()] {
            for estimator in [Estimator::K1, Estimator::K2, Estimator::K3] {
                let loss = Loss { algorithm, kl: Some((0.3, estimator)), entropy_coef: 0.0, counts };
                let found = slopes(&loss, importance.to_vec(), &NOW).log_probs;
                for at in 0..NOW.len() {
                    let moved = |by: f32| {
                        let mut now = NOW;
                        now[at] += by;
                        value(&loss, &importance, &now)
                    };
                    let wanted = (moved(1e-3) - moved(-1e-3)) / 2e-3;
                    assert!((f64::from(found[at]) - wanted).abs() < 1e-4, "{estimator:?} {at} {} {wanted}", found[at]);
                }
            }
        }
    }

    #[test]
    fn what_is_not_asked_for_changes_nothing() {
        let counts = Counts { sequences: 2, tokens: 9 };
        let algorithm = Sapo::default();
        let plain = Loss { algorithm: &algorithm, kl: None, entropy_coef: 0.0, counts };
        let of_plain = slopes(&plain, Vec::new(), &NOW);
        assert_eq!(of_plain, slopes(&plain, vec![1.0; 3], &NOW));
        assert!(of_plain.entropies.is_empty());
        assert_eq!(of_plain, slopes(&Loss { kl: Some((0.0, Estimator::K3)), ..plain }, Vec::new(), &NOW));
        let bonus = slopes(&Loss { entropy_coef: 0.01, ..plain }, Vec::new(), &NOW);
        assert_eq!(bonus.log_probs, of_plain.log_probs);
        // The mean over the sequence, then over two: entropy is to grow, so the loss falls with it.
        assert!(bonus.entropies.iter().all(|slope| (slope + 0.01 / 6.0).abs() < 1e-8), "{:?}", bonus.entropies);
    }
}
