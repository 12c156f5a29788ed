//! GRPO (arXiv 2402.03300): the ratio times the advantage, clipped.
//!
//! `min(r A, clip(r, 1 - low, 1 + high) A)`. Mean over each sequence, then over sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Aggregation, Algorithm, Objective, Sequence};
use crate::advantage::AdvantageNorm;
use crate::metrics::{Metrics, names};

/// Group Relative Policy Optimization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grpo {
    /// The ratio is clipped at 1 minus this.
    pub clip_low: f64,
    /// The ratio is clipped at 1 plus this.
    pub clip_high: f64,
    /// What advantages are divided by: the `population` or `sample` standard deviation of the group, or `none`.
    pub advantage_norm: AdvantageNorm,
}

impl Default for Grpo {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.2, advantage_norm: AdvantageNorm::Population }
    }
}

impl Grpo {
    /// Whether the clip holds a token back: its ratio went further in the direction that its advantage asks for.
    fn is_clipped(&self, ratio: f64, advantage: f64) -> bool {
        if advantage > 0.0 { ratio > 1.0 + self.clip_high } else { ratio < 1.0 - self.clip_low }
    }
}

impl Algorithm for Grpo {
    fn advantage_norm(&self) -> AdvantageNorm {
        self.advantage_norm
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Sequence
    }

    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        let advantage = sequence.advantage;
        let of_token = |log_ratio: f64| {
            let ratio = log_ratio.exp();
            if self.is_clipped(ratio, advantage) {
                (ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high) * advantage, 0.0)
            } else {
                (ratio * advantage, ratio * advantage)
            }
        };
        let (values, derivatives) = sequence.log_ratios().map(of_token).unzip();
        Objective { values, derivatives }
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        let clipped = sequence.log_ratios().filter(|log| self.is_clipped(log.exp(), sequence.advantage)).count();
        metrics.mean_of(names::RATIO_CLIPPED, clipped as f64, sequence.log_probs.len() as f64);
    }

    fn fault(&self) -> Option<String> {
        let Self { clip_low, clip_high, .. } = *self;
        let good = (0.0..1.0).contains(&clip_low) && clip_high >= 0.0 && clip_high.is_finite();
        (!good).then(|| {
            format!(
                "clip_low is {clip_low} and clip_high {clip_high}; the first must be in 0..1, the second not negative"
            )
        })
    }
}
