//! GSPO (arXiv 2507.18071): one ratio for a whole sequence, clipped.
//!
//! `min(s A, clip(s, 1 - low, 1 + high) A)` with `s = exp(mean over tokens of log r)`. Mean over sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::surrogate::Clip;
use super::{Aggregation, Algorithm, Fault, Objective, Sequence, bounded_ratio};
use crate::advantage::AdvantageNorm;
use crate::metrics::{Metrics, names};

/// Group Sequence Policy Optimization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gspo {
    /// The sequence's ratio is clipped at 1 minus this.
    pub clip_low: f64,
    /// The sequence's ratio is clipped at 1 plus this.
    pub clip_high: f64,
    /// What advantages are divided by: the `population` or `sample` standard deviation of the group, or `none`.
    pub advantage_norm: AdvantageNorm,
}

impl Default for Gspo {
    fn default() -> Self {
        Self { clip_low: 3e-4, clip_high: 4e-4, advantage_norm: AdvantageNorm::Population }
    }
}

impl Gspo {
    fn clip(&self) -> Clip {
        Clip { low: self.clip_low, high: self.clip_high }
    }
}

/// The mean log-ratio of a sequence; 0 of an empty one.
fn mean_log_ratio(sequence: &Sequence<'_>) -> f64 {
    sequence.log_ratios().sum::<f64>() / sequence.log_probs.len().max(1) as f64
}

impl Algorithm for Gspo {
    fn advantage_norm(&self) -> AdvantageNorm {
        self.advantage_norm
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Sequence
    }

    /// Every token has the value of its sequence, so that their mean is that value; what the sum of n of them changes by
    /// with one token's log-prob is n times a share of 1/n.
    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        let (value, derivative) = self.clip().surrogate(mean_log_ratio(sequence), sequence.advantage);
        let length = sequence.log_probs.len();
        Objective { values: vec![value; length], derivatives: vec![derivative; length] }
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        let held = self.clip().holds(bounded_ratio(mean_log_ratio(sequence)).0, sequence.advantage);
        metrics.mean(names::RATIO_CLIPPED, f64::from(u8::from(held)));
    }

    fn fault(&self) -> Option<Fault> {
        self.clip().fault()
    }
}
