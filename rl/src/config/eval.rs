//! `[eval.NAME]`: a set of queries that the policy is evaluated on, when, and what its evaluations are compared with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data::SourceUse;
use super::eval_sampling::EvalSampling;
use super::fault::{ConfigError, MOST_STEPS, MOST_TOKENS, count, fault, must, nearest};
use super::{Config, PhaseConfig};

/// A set of held-out queries. Neither they nor the samples depend on `run.seed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EvalConfig {
    /// Names of sources, each with a row for every task in it. Generated sources without `@split` give test queries.
    pub data: Vec<String>,
    /// Those of them whose tasks get a row each, but are no part of `all`: what is judged or provoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unaveraged: Vec<String>,
    /// Queries of each source at most; without it, all that a file has, and 200 of a generated task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_source: Option<usize>,
    /// Samples of each query; one greedy answer comes on top.
    #[serde(default = "samples")]
    pub samples: usize,
    /// The temperature of the samples.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(extend("default" = 1.0))]
    pub temperature: f64,
    /// Draws samples from the likeliest tokens that together hold this mass; 1 draws from all.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(extend("default" = 1.0))]
    pub top_p: f64,
    /// Draws samples from so many of the likeliest tokens; 0 draws from all.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(extend("default" = 0))]
    pub top_k: usize,
    /// Taken off the logits of tokens that the answer has.
    #[serde(default, skip_serializing_if = "is_nothing")]
    #[schemars(extend("default" = 0.0))]
    pub presence_penalty: f64,
    /// Token limit of an answer.
    pub max_new_tokens: usize,
    /// The rubric.
    pub rubric: String,
    /// Seed of generated queries and of samples.
    #[serde(default = "seed")]
    pub seed: u64,
    /// The phases after which it takes place; without it, after every phase that changes the policy. It takes place
    /// before the first phase as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Vec<String>>,
    /// Steps between two evaluations within a phase; 0 is never.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0))]
    pub every: u64,
    /// Pairs of evaluations to compare, earlier and later, by the phase that they come after (`init` for the first); the
    /// first pair is what the report is about. Each is compared with the one before and with the first all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compare: Vec<[String; 2]>,
}

fn samples() -> usize {
    4
}

fn seed() -> u64 {
    7
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_none(value: &usize) -> bool {
    *value == 0
}

fn is_nothing(value: &f64) -> bool {
    *value == 0.0
}

fn one() -> f64 {
    1.0
}

fn is_one(value: &f64) -> bool {
    *value == 1.0
}

/// More samples of a query than anybody scores.
const MOST_SAMPLES: u64 = 1 << 16;

/// The name of the evaluation before training.
pub const INIT: &str = "init";
/// Queries of a generated source where nothing is said.
pub const GENERATED_QUERIES: usize = 200;

impl EvalConfig {
    /// The sources as they are used here.
    pub fn uses(&self) -> Vec<SourceUse> {
        self.data.iter().map(|name| SourceUse::of(name)).collect()
    }

    /// How its answers are sampled, so many rows being decoded together at most.
    pub fn sampling(&self, decode_rows: usize) -> EvalSampling {
        let Self { samples, temperature, top_p, top_k, presence_penalty, max_new_tokens, seed, .. } = *self;
        EvalSampling { samples, temperature, top_p, top_k, presence_penalty, max_new_tokens, seed, decode_rows }
    }

    /// Whether it takes place after a phase.
    pub fn is_after(&self, name: &str, phase: &PhaseConfig) -> bool {
        match &self.after {
            Some(after) => after.iter().any(|one| one == name),
            None => phase.kind().trains(),
        }
    }

    pub(super) fn check(&self, name: &str, config: &Config) -> Result<(), ConfigError> {
        let place = format!("eval.{name}");
        config.named_rubric(&format!("{place}.rubric"), &self.rubric)?;
        config.check_uses(&place, &self.uses(), Some(&self.rubric))?;
        let key = |name: &str| format!("{place}.{name}");
        count(key("samples"), self.samples, 1..=MOST_SAMPLES)?;
        if let Some((name, reason)) = self.sampling(1).fault() {
            return Err(fault(key(name), reason));
        }
        count(key("max_new_tokens"), self.max_new_tokens, 1..=MOST_TOKENS)?;
        count(key("queries_per_source"), self.queries_per_source.unwrap_or(1), 1..=MOST_STEPS)?;
        count(key("every"), self.every, 0..=MOST_STEPS)?;
        for source in &self.unaveraged {
            if !self.data.contains(source) {
                let guess = nearest(source, self.data.iter().map(String::as_str));
                return Err(fault(format!("{place}.unaveraged"), format!("`{source}` is not in `data`{guess}")));
            }
        }
        must(
            self.unaveraged.len() < self.data.len(),
            format!("{place}.unaveraged"),
            "names all sources, so that `all` would be the mean of none",
        )?;
        let known = || config.phases.keys().map(String::as_str);
        let named = self.after.iter().flatten().chain(self.compare.iter().flatten());
        for phase in named.filter(|phase| phase.as_str() != INIT) {
            if !known().any(|other| other == phase) {
                let guess = nearest(phase, known());
                return Err(fault(&place, format!("`{phase}` is not a phase{guess}")));
            }
        }
        Ok(())
    }
}
