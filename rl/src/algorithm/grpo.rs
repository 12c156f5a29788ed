//! GRPO (arXiv 2402.03300): the token ratio, clipped where a step has already gone far enough.

use burn::tensor::{Tensor, TensorData};

use super::{Algorithm, Tokens};
use crate::metrics::{Metrics, names};

/// The clip's limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grpo {
    /// Below 1.
    pub clip_low: f64,
    /// Above 1.
    pub clip_high: f64,
}

impl Algorithm for Grpo {
    fn objective(&self, tokens: Tokens) -> Tensor<1> {
        let device = tokens.log_probs.device();
        let count = tokens.advantages.len();
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [count]), &device);
        let advantages = tensor(tokens.advantages);
        let ratio = (tokens.log_probs - tensor(tokens.old_log_probs)).exp();
        let clipped = ratio.clone().clamp(1.0 - self.clip_low, 1.0 + self.clip_high) * advantages.clone();
        (ratio * advantages).min_pair(clipped)
    }

    fn record(&self, log_ratios: &[f32], advantages: &[f32], metrics: &mut Metrics) {
        let outside = log_ratios.iter().zip(advantages).filter(|(log_ratio, advantage)| {
            let ratio = f64::from(**log_ratio).exp();
            if **advantage > 0.0 { ratio > 1.0 + self.clip_high } else { ratio < 1.0 - self.clip_low }
        });
        metrics.set(names::RATIO_CLIPPED, outside.count() as f64 / log_ratios.len().max(1) as f64);
    }
}
