//! Dr. GRPO (arXiv 2503.20783): GRPO without its two biases, the division by a group's spread and by an answer's length.
//!
//! `min(r A, clip(r, 1 - low, 1 + high) A)` with `A = R - mean`. The sum over each sequence divided by the same number of
//! tokens for all, then the mean over sequences.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::surrogate::Clip;
use super::{Aggregation, Algorithm, Fault, Objective, Sequence};
use crate::advantage::AdvantageNorm;
use crate::metrics::Metrics;

/// GRPO done right.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrGrpo {
    /// The tokens that every sequence's sum is divided by: the limit of an answer, `sampling.max_new_tokens`.
    pub divisor_tokens: usize,
    /// The ratio is clipped at 1 minus this.
    #[serde(default = "clip")]
    pub clip_low: f64,
    /// The ratio is clipped at 1 plus this.
    #[serde(default = "clip")]
    pub clip_high: f64,
}

fn clip() -> f64 {
    0.2
}

impl DrGrpo {
    fn clip(&self) -> Clip {
        Clip { low: self.clip_low, high: self.clip_high }
    }
}

impl Algorithm for DrGrpo {
    fn advantage_norm(&self) -> AdvantageNorm {
        AdvantageNorm::None
    }

    fn aggregation(&self) -> Aggregation {
        Aggregation::Fixed(self.divisor_tokens)
    }

    fn objective(&self, sequence: &Sequence<'_>) -> Objective {
        self.clip().objective(sequence)
    }

    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        self.clip().record(sequence, metrics);
    }

    fn fault(&self) -> Option<Fault> {
        let good = (1..=1 << 24).contains(&self.divisor_tokens);
        let nothing = || {
            let reason = "it must be at least 1 and at most 16777216: the token limit of an answer";
            ("divisor_tokens", format!("is {}; {reason}", self.divisor_tokens))
        };
        self.clip().fault().or_else(|| (!good).then(nothing))
    }
}
