//! What is asked of an engine: a prompt, how many samples, their seeds, and how to sample.

use std::fmt;
use std::sync::Arc;

use sapo_datasets::Role;
use sapo_policies::PolicyInput;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::rollout::Turn;

/// How tokens are drawn. Penalties and bias change the logits first; then come the temperature, top-k, top-p of what is left,
/// and min-p. Recorded log-probs know nothing of them but the temperature.
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
    /// Keeps tokens that are at least this share as likely as the likeliest; 0 keeps all.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0))]
    pub min_p: f64,
    /// Divides positive logits of tokens that the prompt or the answer has, and multiplies negative ones; 1 changes nothing.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(extend("default" = 1.0))]
    pub repetition_penalty: f64,
    /// Taken off the logits of tokens that the answer has.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0))]
    pub presence_penalty: f64,
    /// Taken off the logits of tokens as often as the answer has them.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0.0))]
    pub frequency_penalty: f64,
    /// Added to the logits of tokens, by id: `[[151643, -100.0]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logit_bias: Vec<(u32, f32)>,
    /// Further ids that end an answer; they are part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_ids: Vec<u32>,
    /// Texts that end an answer wherever they stand in it, also across tokens; the answer's text ends before them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Further ids that are never drawn; recorded log-probs know nothing of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub banned_ids: Vec<u32>,
    /// Whether the log-prob of every token at temperature 1 is recorded as well.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false))]
    pub untempered: bool,
    /// How many of the likeliest tokens are told with their log-probs at every place; those at temperature 1 when
    /// `untempered` is set.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(extend("default" = 0))]
    pub top_log_probs: usize,
    /// The answer is cut after this many tokens.
    pub max_new_tokens: usize,
}

fn one() -> f64 {
    1.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_none(value: &usize) -> bool {
    *value == 0
}

/// More tokens than any model draws from, or writes in an answer.
const MOST_TOKENS: usize = 1 << 24;
/// The largest penalty on a logit.
const LARGEST_PENALTY: f64 = 1000.0;

impl Sampling {
    /// Tokens that can be told at every place at most.
    pub const MOST_TOP_LOG_PROBS: usize = 20;

    /// The whole distribution at a temperature.
    pub fn at(temperature: f64, max_new_tokens: usize) -> Self {
        Self {
            temperature,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            stop_ids: Vec::new(),
            stop: Vec::new(),
            banned_ids: Vec::new(),
            untempered: false,
            top_log_probs: 0,
            max_new_tokens,
        }
    }

    /// The likeliest token at every step.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self::at(0.0, max_new_tokens)
    }

    /// The temperature of recorded log-probs: that of sampling, or 1 when sampling is greedy.
    pub fn logprob_temperature(&self) -> f64 {
        if self.temperature > 0.0 { self.temperature } else { 1.0 }
    }

    /// Whether penalties, bias or bans change the logits.
    pub fn changes_logits(&self) -> bool {
        self.weighs_tokens() || !self.banned_ids.is_empty()
    }

    /// Whether penalties or bias do.
    fn weighs_tokens(&self) -> bool {
        let penalties = [self.presence_penalty, self.frequency_penalty];
        self.repetition_penalty != 1.0 || penalties.iter().any(|one| *one != 0.0) || !self.logit_bias.is_empty()
    }

    /// Whether tokens are drawn from the whole distribution but for those that are banned, or greedily, and nothing is recorded
    /// but what a drawn token says.
    pub fn is_plain(&self) -> bool {
        let untempered = self.untempered && self.logprob_temperature() != 1.0;
        !(self.weighs_tokens() || self.truncates() || untempered || self.top_log_probs > 0)
    }

    /// Whether some of the likeliest tokens alone can be drawn.
    pub fn truncates(&self) -> bool {
        self.top_k > 0 || self.top_p < 1.0 || self.min_p > 0.0
    }

    /// The key that is out of range and what must hold of it, if there is one.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let penalty = |value: f64| (-LARGEST_PENALTY..=LARGEST_PENALTY).contains(&value);
        let checks = [
            ((0.0..=100.0).contains(&self.temperature), "temperature", "must be a number from 0 to 100"),
            (self.top_k <= MOST_TOKENS, "top_k", "must be at most 16777216"),
            (self.top_p > 0.0 && self.top_p <= 1.0, "top_p", "must be above 0 and at most 1"),
            ((0.0..=1.0).contains(&self.min_p), "min_p", "must be between 0 and 1"),
            (
                self.repetition_penalty > 0.0 && penalty(self.repetition_penalty),
                "repetition_penalty",
                "must be above 0 and at most 1000",
            ),
            (penalty(self.presence_penalty), "presence_penalty", "must be a number from -1000 to 1000"),
            (penalty(self.frequency_penalty), "frequency_penalty", "must be a number from -1000 to 1000"),
            (
                self.logit_bias.iter().all(|(_, bias)| bias.is_finite()),
                "logit_bias",
                "must be pairs of an id and a number",
            ),
            (self.stop.iter().all(|text| !text.is_empty()), "stop", "must be texts of at least one character"),
            (self.top_log_probs <= Self::MOST_TOP_LOG_PROBS, "top_log_probs", "must be at most 20"),
            (
                (1..=MOST_TOKENS).contains(&self.max_new_tokens),
                "max_new_tokens",
                "must be at least 1 and at most 16777216",
            ),
        ];
        checks.into_iter().find(|(good, ..)| !good).map(|(_, key, reason)| (key, reason))
    }
}

/// What happens when a turn of the policy has ended: nothing more, or another turn that it answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The rollout is whole.
    End,
    /// This is put behind it, and the policy goes on.
    Turn {
        /// Who speaks.
        role: Role,
        /// The template's text for this turn alone, up to where the policy goes on, perhaps with pictures.
        input: PolicyInput,
    },
    /// The rollout cannot go on, and why; it ends with [`sapo_datasets::StopReason::Error`].
    Fail(String),
}

/// Whoever answers the policy between its turns, such as a tool. It may be slow: other rollouts go on meanwhile.
pub trait Follow: Send + Sync {
    /// What follows `turns`, the last of which the policy has just ended.
    fn follow(&self, sample: usize, turns: &[Turn]) -> Next;
}

/// A prompt to be answered once per seed.
#[derive(Clone)]
pub struct Request {
    /// The query that it belongs to.
    pub query_id: String,
    /// The prompt.
    pub prompt: PolicyInput,
    /// One seed per sample.
    pub seeds: Vec<u64>,
    /// How its tokens are drawn.
    pub sampling: Sampling,
    /// Who answers the policy between its turns; without it a rollout has one turn.
    pub follow: Option<Arc<dyn Follow>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query_id, prompt, seeds, sampling, follow } = self;
        let mut debug = f.debug_struct("Request");
        debug.field("query_id", query_id).field("prompt", prompt).field("seeds", seeds).field("sampling", sampling);
        debug.field("follow", &follow.is_some()).finish()
    }
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
