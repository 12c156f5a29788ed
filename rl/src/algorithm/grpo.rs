//! GRPO (arXiv 2402.03300): the ratio times the advantage, clipped.
//!
//! `min(r A, clip(r, 1 - low, 1 + high) A)`. Mean over each sequence, then over sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::surrogate::Clip;
use super::{Aggregation, Algorithm, Fault, Objective, Sequence};
use crate::advantage::AdvantageNorm;
use crate::metrics::Metrics;

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
    fn clip(&self) -> Clip {
        Clip { low: self.clip_low, high: self.clip_high }
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
        self.clip().objective(sequence)
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        self.clip().record(sequence, metrics);
    }

    fn fault(&self) -> Option<Fault> {
        self.clip().fault()
    }
}
