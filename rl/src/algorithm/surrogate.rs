//! The clipped surrogate that several algorithms share: `min(r A, clip(r, 1 - low, 1 + high) A)`.

use super::{Fault, LARGEST, Objective, Sequence, bounded_ratio};
use crate::metrics::{Metrics, names};

/// Bounds of a ratio around 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clip {
    /// The ratio is clipped at 1 minus this.
    pub(super) low: f64,
    /// The ratio is clipped at 1 plus this.
    pub(super) high: f64,
}

impl Clip {
    /// Whether the clip holds a ratio back: it went further in the direction that its advantage asks for.
    pub(super) fn holds(self, ratio: f64, advantage: f64) -> bool {
        if advantage > 0.0 { ratio > 1.0 + self.high } else { ratio < 1.0 - self.low }
    }

    /// The surrogate of a ratio, and its derivative with the logarithm of the ratio.
    pub(super) fn surrogate(self, log_ratio: f64, advantage: f64) -> (f64, f64) {
        let (ratio, within) = bounded_ratio(log_ratio);
        if self.holds(ratio, advantage) {
            (ratio.clamp(1.0 - self.low, 1.0 + self.high) * advantage, 0.0)
        } else {
            (ratio * advantage, if within { ratio * advantage } else { 0.0 })
        }
    }

    /// The surrogate token by token.
    pub(super) fn objective(self, sequence: &Sequence<'_>) -> Objective {
        let of_token = |log_ratio| self.surrogate(log_ratio, sequence.advantage);
        let (values, derivatives) = sequence.log_ratios().map(of_token).unzip();
        Objective { values, derivatives }
    }

    /// Adds the share of tokens that the clip holds back.
    pub(super) fn record(self, sequence: &Sequence<'_>, metrics: &mut Metrics) {
        let held = sequence.log_ratios().filter(|log| self.holds(bounded_ratio(*log).0, sequence.advantage)).count();
        metrics.mean_of(names::RATIO_CLIPPED, held as f64, sequence.log_probs.len() as f64);
    }

    /// The bound that is wrong, by its key, if one is.
    pub(super) fn fault(self) -> Option<Fault> {
        let Self { low, high } = self;
        if !(0.0..1.0).contains(&low) {
            return Some(("clip_low", format!("is {low}; it must be from 0 up and below 1")));
        }
        (!(0.0..=LARGEST).contains(&high)).then(|| ("clip_high", format!("is {high}; it must be from 0 to {LARGEST}")))
    }
}
