//! How the answers of an evaluation are sampled: as its configuration, its flags and its results say it.

use sapo_rollouts::Sampling;
use serde::{Deserialize, Serialize};

/// How answers are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalSampling {
    /// Samples of each query; one greedy answer comes on top.
    pub samples: usize,
    /// The temperature that they are sampled at.
    #[serde(default = "one")]
    pub temperature: f64,
    /// The mass of the likeliest tokens that they are drawn from.
    #[serde(default = "one")]
    pub top_p: f64,
    /// The likeliest tokens that they are drawn from; 0 is all.
    #[serde(default)]
    pub top_k: usize,
    /// Taken off the logits of tokens that the answer has.
    #[serde(default)]
    pub presence_penalty: f64,
    /// Token limit.
    pub max_new_tokens: usize,
    /// Seed of samples and intervals.
    pub seed: u64,
    /// Rows that are decoded together at most; results do not say it.
    #[serde(default)]
    pub decode_rows: usize,
}

impl EvalSampling {
    /// What of it makes no sense: its key, and why.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !(self.temperature > 0.0 && self.temperature <= 100.0) {
            return Some((
                "temperature",
                "must be above 0 and at most 100; a greedy answer is given beside the samples anyway",
            ));
        }
        self.drawn().fault()
    }

    /// How an answer is drawn.
    pub fn drawn(&self) -> Sampling {
        Sampling {
            top_p: self.top_p,
            top_k: self.top_k,
            presence_penalty: self.presence_penalty,
            ..Sampling::at(self.temperature, self.max_new_tokens)
        }
    }
}

fn one() -> f64 {
    1.0
}
