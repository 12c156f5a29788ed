//! DAPO (arXiv 2503.14476): GRPO with a wider clip upwards, and every token of the batch with the same weight.
//!
//! `min(r A, clip(r, 1 - low, 1 + high) A)`. Mean over all tokens. Its dynamic sampling is `filter.refill`, its soft penalty
//! for overlong answers the rubric's `overlong`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::surrogate::Clip;
use super::{Aggregation, Algorithm, Fault, Objective, Sequence};
use crate::advantage::AdvantageNorm;
use crate::metrics::Metrics;

/// Decoupled Clip and Dynamic sAmpling Policy Optimization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dapo {
    /// The ratio is clipped at 1 minus this.
    pub clip_low: f64,
    /// The ratio is clipped at 1 plus this.
    pub clip_high: f64,
    /// What advantages are divided by: the `population` or `sample` standard deviation of the group, or `none`.
    pub advantage_norm: AdvantageNorm,
}

impl Default for Dapo {
    fn default() -> Self {
        Self { clip_low: 0.2, clip_high: 0.28, advantage_norm: AdvantageNorm::Population }
    }
}

impl Dapo {
    fn clip(&self) -> Clip {
        Clip { low: self.clip_low, high: self.clip_high }
    }
}

impl Algorithm for Dapo {
    fn advantage_norm(&self) -> AdvantageNorm {
        self.advantage_norm
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Token
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
