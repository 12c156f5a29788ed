//! What an RL algorithm is: options, advantages, an objective over a whole sequence, how sequences are put together, and
//! metrics of its own; one file each. The trainer does not know which one runs.

mod cispo;
mod dapo;
mod dr_grpo;
mod grpo;
mod gspo;
#[cfg(test)]
mod laws;
mod rloo;
mod sapo;
mod surrogate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::cispo::Cispo;
pub use self::dapo::Dapo;
pub use self::dr_grpo::DrGrpo;
pub use self::grpo::Grpo;
pub use self::gspo::Gspo;
pub use self::rloo::Rloo;
pub use self::sapo::Sapo;
use crate::advantage::AdvantageNorm;
use crate::metrics::Metrics;

/// The largest log-ratio that is exponentiated: beyond it weights times ratios would be 0 times infinity.
const MAX_LOG_RATIO: f64 = 20.0;

/// The ratio with a bound on its logarithm, and whether it is within; beyond the bound it is constant, its derivative 0.
fn bounded_ratio(log_ratio: f64) -> (f64, bool) {
    (log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp(), log_ratio.abs() <= MAX_LOG_RATIO)
}

/// A sequence: the tokens that the policy sampled in one rollout.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Log-prob of each token now.
    pub log_probs: &'a [f32],
    /// Log-prob of each token when it was sampled.
    pub old_log_probs: &'a [f32],
    /// Advantage of the rollout.
    pub advantage: f64,
}

impl Sequence<'_> {
    /// Log-ratios of the policy to that which sampled.
    pub fn log_ratios(&self) -> impl Iterator<Item = f64> + '_ {
        self.log_probs.iter().zip(self.old_log_probs).map(|(now, old)| f64::from(*now) - f64::from(*old))
    }
}

/// The objective of a sequence, to be maximised.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objective {
    /// Of each token.
    pub values: Vec<f64>,
    /// What their sum changes by with the log-prob of each token.
    pub derivatives: Vec<f64>,
}

/// How the objectives of tokens become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregation {
    /// The mean over each sequence, then over sequences.
    Sequence,
    /// The mean over all tokens.
    Token,
    /// The sum over each sequence divided by so many tokens, then the mean over sequences.
    Fixed(usize),
}

impl Aggregation {
    /// The weight of a token of a sequence with `length` tokens, in a batch of so many sequences and tokens.
    pub fn weight(self, length: usize, sequences: usize, tokens: usize) -> f64 {
        match self {
            Self::Sequence => 1.0 / (length as f64 * sequences as f64),
            Self::Token => 1.0 / tokens as f64,
            Self::Fixed(divisor) => 1.0 / (divisor as f64 * sequences as f64),
        }
    }
}

/// An option of an algorithm that is wrong, by its key, and what must hold of it.
pub type Fault = (&'static str, String);

/// The largest temperature of a gate, and the largest bound of a ratio.
const LARGEST: f64 = 1e6;

/// A policy-gradient algorithm.
pub trait Algorithm: std::fmt::Debug {
    /// What the advantages of a group are divided by.
    fn advantage_norm(&self) -> AdvantageNorm;

    /// How the objectives of tokens become one number.
    fn aggregation(&self) -> Aggregation;

    /// The objective of one sequence.
    fn objective(&self, sequence: &Sequence<'_>) -> Objective;

    /// How much of the plain policy gradient is left of each token, where the algorithm has a soft gate.
    fn gates(&self, _sequence: &Sequence<'_>) -> Option<Vec<f64>> {
        None
    }

    /// Adds the algorithm's own metrics of one sequence.
    fn record(&self, sequence: &Sequence<'_>, metrics: &mut Metrics);

    /// The option that is wrong and what must hold of it, if there is one.
    fn fault(&self) -> Option<Fault>;

    /// What is to be said of so many updates on each batch of rollouts, if anything.
    fn advice(&self, _updates: usize) -> Option<String> {
        None
    }
}

/// Which algorithm, with its options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AlgorithmConfig {
    /// Soft Adaptive Policy Optimization.
    Sapo(Sapo),
    /// Group Relative Policy Optimization with a hard clip.
    Grpo(Grpo),
    /// GRPO with a wider clip upwards and the mean over all tokens.
    Dapo(Dapo),
    /// GRPO without the division by a group's spread and an answer's length.
    DrGrpo(DrGrpo),
    /// One clipped ratio for a whole sequence.
    Gspo(Gspo),
    /// Clipped importance weights, from which every token learns.
    Cispo(Cispo),
    /// REINFORCE with the mean of the other rollouts as baseline.
    Rloo(Rloo),
}

impl Default for AlgorithmConfig {
    fn default() -> Self {
        Self::Sapo(Sapo::default())
    }
}

impl std::ops::Deref for AlgorithmConfig {
    type Target = dyn Algorithm;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Sapo(algorithm) => algorithm,
            Self::Grpo(algorithm) => algorithm,
            Self::Dapo(algorithm) => algorithm,
            Self::DrGrpo(algorithm) => algorithm,
            Self::Gspo(algorithm) => algorithm,
            Self::Cispo(algorithm) => algorithm,
            Self::Rloo(algorithm) => algorithm,
        }
    }
}
