//! What an RL algorithm is: a file that turns log-probs and advantages into a per-token objective.

mod grpo;
mod sapo;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use self::grpo::Grpo;
pub use self::sapo::Sapo;
use crate::metrics::Metrics;

/// The tokens of one chunk, all `[m]`.
pub struct Tokens {
    /// Log-probs now, recording gradients.
    pub log_probs: Tensor<1>,
    /// Log-probs when the tokens were sampled.
    pub old_log_probs: Vec<f32>,
    /// Advantage of each token's rollout.
    pub advantages: Vec<f32>,
}

/// A policy-gradient algorithm. The trainer does not know which one runs.
pub trait Algorithm: std::fmt::Debug {
    /// The objective of each token, to be maximised, `[m]`: the trainer averages it over each sequence, then over
    /// sequences.
    fn objective(&self, tokens: Tokens) -> Tensor<1>;

    /// The algorithm's own metrics, from log-ratios and advantages of a whole batch.
    fn record(&self, log_ratios: &[f32], advantages: &[f32], metrics: &mut Metrics);
}

/// Which algorithm, with its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlgorithmConfig {
    /// Soft Adaptive Policy Optimization.
    Sapo {
        /// Temperature of the gate where the advantage is positive.
        #[serde(default = "tau_pos")]
        tau_pos: f64,
        /// Temperature of the gate elsewhere.
        #[serde(default = "tau_neg")]
        tau_neg: f64,
    },
    /// Group Relative Policy Optimization with a hard clip.
    Grpo {
        /// The ratio is clipped at 1 minus this.
        #[serde(default = "clip")]
        clip_low: f64,
        /// The ratio is clipped at 1 plus this.
        #[serde(default = "clip")]
        clip_high: f64,
    },
}

fn tau_pos() -> f64 {
    1.0
}

fn tau_neg() -> f64 {
    1.05
}

fn clip() -> f64 {
    0.2
}

impl AlgorithmConfig {
    /// The algorithm.
    pub fn build(&self) -> Box<dyn Algorithm> {
        match *self {
            Self::Sapo { tau_pos, tau_neg } => Box::new(Sapo { tau_pos, tau_neg }),
            Self::Grpo { clip_low, clip_high } => Box::new(Grpo { clip_low, clip_high }),
        }
    }

    /// What is wrong with the options, if anything.
    pub fn fault(&self) -> Option<String> {
        match *self {
            Self::Sapo { tau_pos, tau_neg } if !(tau_pos > 0.0 && tau_neg >= tau_pos && tau_neg.is_finite()) => {
                Some(format!(
                    "tau_pos is {tau_pos} and tau_neg {tau_neg}; both must be above 0, and tau_neg not below tau_pos, where training becomes unstable"
                ))
            }
            Self::Grpo { clip_low, clip_high }
                if !((0.0..1.0).contains(&clip_low) && clip_high >= 0.0 && clip_high.is_finite()) =>
            {
                Some(format!(
                    "clip_low is {clip_low} and clip_high {clip_high}; the first must be in 0..1, the second not negative"
                ))
            }
            _ => None,
        }
    }
}
