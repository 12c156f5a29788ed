//! What is asked of an engine: a prompt, how many samples, their seeds, and how to sample.

use sapo_policies::PolicyInput;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How tokens are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Keeps the likeliest tokens that together hold this mass; 1 keeps all.
    #[serde(default = "one")]
    pub top_p: f64,
    /// Keeps this many of the likeliest tokens; 0 keeps all.
    #[serde(default)]
    pub top_k: usize,
    /// The answer is cut after this many tokens.
    pub max_new_tokens: usize,
}

fn one() -> f64 {
    1.0
}

impl Sampling {
    /// The likeliest token at every step.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, max_new_tokens }
    }

    /// The temperature of recorded log-probs: that of sampling, or 1 when sampling is greedy.
    pub fn logprob_temperature(&self) -> f64 {
        if self.temperature > 0.0 { self.temperature } else { 1.0 }
    }
}

/// A prompt to be answered once per seed.
#[derive(Clone, Debug)]
pub struct Request {
    /// The query that it belongs to.
    pub query_id: String,
    /// The prompt.
    pub prompt: PolicyInput,
    /// One seed per sample.
    pub seeds: Vec<u64>,
    /// How its tokens are drawn.
    pub sampling: Sampling,
}

/// The seed of one sample: it depends on the run's seed, a label for the place (a phase's step, an evaluation), the
/// query and the sample's number, and on nothing else.
pub fn seed_of(run_seed: u64, place: &str, query_id: &str, sample: usize) -> u64 {
    let mut hash = Sha256::new();
    hash.update(run_seed.to_le_bytes());
    for text in [place, query_id] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.update((sample as u64).to_le_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(std::array::from_fn(|index| digest[index]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_seed_matters() {
        let seed = seed_of(1, "reasoning:3", "q", 0);
        assert_eq!(seed, seed_of(1, "reasoning:3", "q", 0));
        for other in [
            seed_of(2, "reasoning:3", "q", 0),
            seed_of(1, "reasoning:4", "q", 0),
            seed_of(1, "reasoning:3", "r", 0),
            seed_of(1, "reasoning:3", "q", 1),
        ] {
            assert_ne!(seed, other);
        }
    }
}
