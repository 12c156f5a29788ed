//! `kind = "curate"`: sampling of queries to drop those that the policy already passes.

use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work};
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, must};

/// Curation by pass rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurateConfig {
    /// Sources of queries; shares mean nothing here.
    pub data: Vec<SourceUse>,
    /// Queries of each source at most; without it all that a file has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queries_per_source: Option<usize>,
    /// Samples of each query.
    pub samples: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric that decides what passes.
    pub rubric: String,
    /// Whether queries that never passed are dropped too.
    #[serde(default)]
    pub drop_never_solved: bool,
}

impl PhaseKind for CurateConfig {
    fn word(&self) -> &'static str {
        "curate"
    }

    fn trains(&self) -> bool {
        false
    }

    fn data(&self) -> &[SourceUse] {
        &self.data
    }

    fn rubric(&self) -> Option<&str> {
        Some(&self.rubric)
    }

    fn work(&self) -> Work {
        Work {
            steps: 1,
            prompts_per_step: self.data.len() * self.queries_per_source.unwrap_or(0),
            rollouts_per_prompt: self.samples,
            max_new_tokens: self.sampling.max_new_tokens,
        }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, Some(&self.rubric))?;
        config.refuse_pools(place, &self.data)?;
        must(self.queries_per_source != Some(0), format!("{place}.queries_per_source"), "must be at least 1")?;
        for used in self.data.iter().filter(|_| self.queries_per_source.is_none()) {
            let generated = config.source(used, place)?.source.starts_with("synthetic:");
            must(!generated, format!("{place}.queries_per_source"), "is needed: a generated source has no end")?;
        }
        let sampled = self.samples > 0 && self.sampling.max_new_tokens > 0;
        must(sampled, place, "`samples` and `sampling.max_new_tokens` must be at least 1")
    }
}
