//! Truncated importance correction: what another engine sampled is weighted by how likely the trainer finds it.
//!
//! A sampler with other kernels or another number format gives tokens other log-probs than the trainer. Every token's
//! objective is multiplied by `min(pi_trainer / pi_sampler, cap)`, both before the update (Yao et al., "Your efficient RL
//! framework secretly brings you off-policy RL training"); ratios of the algorithm are then between trainer and trainer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metrics, names};

/// The correction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportanceConfig {
    /// The largest weight of a token.
    #[serde(default = "two")]
    pub cap: f64,
}

fn two() -> f64 {
    2.0
}

impl ImportanceConfig {
    /// The weights of a rollout's tokens.
    pub fn weights(self, trainer: &[f32], sampler: &[f32]) -> Vec<f64> {
        let ratio = |(trainer, sampler): (&f32, &f32)| (f64::from(*trainer) - f64::from(*sampler)).exp().min(self.cap);
        trainer.iter().zip(sampler).map(ratio).collect()
    }

    /// Adds the weights of a rollout to the metrics.
    pub fn record(self, weights: &[f64], metrics: &mut Metrics) {
        let count = weights.len() as f64;
        metrics.mean_of(names::IMPORTANCE, weights.iter().sum(), count);
        let capped = weights.iter().filter(|weight| **weight >= self.cap).count();
        metrics.mean_of(names::IMPORTANCE_CAPPED, capped as f64, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_ratios_up_to_the_cap() {
        let correction = ImportanceConfig { cap: 2.0 };
        let weights = correction.weights(&[-1.0, -1.0, -1.0, -5.0], &[-1.0, -1.5, -9.0, -1.0]);
        let wanted = [1.0, 0.5_f64.exp(), 2.0, (-4.0_f64).exp()];
        assert!(weights.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{weights:?}");
        let mut metrics = Metrics::default();
        correction.record(&weights, &mut metrics);
        assert_eq!(metrics.get(names::IMPORTANCE_CAPPED), Some(0.25));
    }
}
