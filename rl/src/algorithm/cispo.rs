//! CISPO (MiniMax-M1, arXiv 2506.13585): every token learns, with the importance weight clipped in place of the update.
//!
//! `min(r, 1 + high) A log p`, where the clipped ratio is held constant. Mean over all tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aggregation, Algorithm, Fault, LARGEST, Objective, Sequence, bounded_ratio};
use crate::advantage::AdvantageNorm;
use crate::metrics::{Metrics, names};

/// Clipped Importance Sampling weight Policy Optimization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cispo {
    /// The weight is clipped at 1 plus this.
    pub clip_high: f64,
    /// What advantages are divided by: the `population` or `sample` standard deviation of the group, or `none`.
    pub advantage_norm: AdvantageNorm,
}

impl Default for Cispo {
    fn default() -> Self {
        Self { clip_high: 0.2, advantage_norm: AdvantageNorm::Population }
    }
}

impl Algorithm for Cispo {
    fn advantage_norm(&self) -> AdvantageNorm {
        self.advantage_norm
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Token
    }

    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        let of_token = |(log_ratio, log_prob): (f64, &f32)| {
            let weight = bounded_ratio(log_ratio).0.min(1.0 + self.clip_high) * sequence.advantage;
            (weight * f64::from(*log_prob), weight)
        };
        let (values, derivatives) = sequence.log_ratios().zip(sequence.log_probs).map(of_token).unzip();
        Objective { values, derivatives }
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        let clipped = sequence.log_ratios().filter(|log| bounded_ratio(*log).0 > 1.0 + self.clip_high).count();
        metrics.mean_of(names::RATIO_CLIPPED, clipped as f64, sequence.log_probs.len() as f64);
    }

    fn fault(&self) -> Option<Fault> {
        let good = (0.0..=LARGEST).contains(&self.clip_high);
        (!good).then(|| ("clip_high", format!("is {}; it must be from 0 to {LARGEST}", self.clip_high)))
    }
}
