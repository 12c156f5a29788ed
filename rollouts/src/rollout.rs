//! The token record of one sample, and the group of samples of one query.

use sapo_datasets::StopReason;

/// One sampled answer. The ids are the record: they are never tokenised again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Number of the sample within its group.
    pub sample: usize,
    /// The seed that it was drawn with.
    pub seed: u64,
    /// Sampled token ids, the stop token included.
    pub tokens: Vec<u32>,
    /// Log-prob of each token when it was sampled, at the sampling temperature, before any truncation.
    pub log_probs: Vec<f32>,
    /// Mean entropy (nats) of the distributions that the tokens were drawn from, before truncation.
    pub entropy: f32,
    /// Mean probability mass that top-k and top-p removed.
    pub removed_mass: f32,
    /// Why it ended.
    pub stop: StopReason,
}

/// The rollouts of one query under one policy version.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// The query.
    pub query_id: String,
    /// One rollout per requested seed, in that order.
    pub rollouts: Vec<Rollout>,
}
