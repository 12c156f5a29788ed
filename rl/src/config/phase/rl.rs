//! `kind = "rl"`: reinforcement learning.

use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work};
use crate::algorithm::AlgorithmConfig;
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, fault, must};
use crate::optimizer::OptimizerConfig;

/// Reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// The curate phase whose kept queries are trained on, of the sources that both use; all queries without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Sources of queries, and the share of each: fixed counts in every batch, by largest remainder.
    pub data: Vec<SourceUse>,
    /// Steps; each samples one batch and updates `mini_batches` times.
    pub steps: u64,
    /// Queries in a step, of all sources together.
    pub prompts_per_step: usize,
    /// Rollouts of each query.
    pub rollouts_per_prompt: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric of sources that name none.
    pub rubric: String,
    /// More failed rewards than this share of a window's rollouts stop the run at a checkpoint.
    #[serde(default = "max_failed_share")]
    pub max_failed_share: f64,
    /// The steps of that window.
    #[serde(default = "failure_window_steps")]
    pub failure_window_steps: usize,
    /// Algorithm.
    pub algorithm: AlgorithmConfig,
    /// Optimizer steps per batch.
    #[serde(default = "two")]
    pub mini_batches: usize,
    /// Which groups are not trained on.
    #[serde(default)]
    pub filter: FilterConfig,
    /// The control: rewards are permuted within each group, so that nothing true can be learned.
    #[serde(default)]
    pub shuffle_rewards: bool,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
}

/// Which groups are not trained on, beside those without signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Drops groups that pass more than 90 % of the time.
    pub live: bool,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self { live: true }
    }
}

fn max_failed_share() -> f64 {
    0.05
}

fn failure_window_steps() -> usize {
    20
}

fn two() -> usize {
    2
}

impl RlConfig {
    /// Steps of the failure window; a phase that is shorter has a shorter one.
    pub fn failure_window(&self) -> usize {
        self.failure_window_steps.min(usize::try_from(self.steps).unwrap_or(usize::MAX)).max(1)
    }

    fn check_counts(&self, place: &str) -> Result<(), ConfigError> {
        let share = (0.0..=1.0).contains(&self.max_failed_share);
        must(share, format!("{place}.max_failed_share"), "must be between 0 and 1")?;
        let window = self.failure_window_steps > 0;
        must(window, format!("{place}.failure_window_steps"), "must be at least 1")?;
        let hot = self.sampling.temperature > 0.0;
        must(hot, format!("{place}.sampling.temperature"), "must be above 0: equal rollouts teach nothing")?;
        let long = self.sampling.max_new_tokens > 0;
        must(long, format!("{place}.sampling.max_new_tokens"), "must be at least 1")?;
        must(
            self.rollouts_per_prompt >= 2,
            format!("{place}.rollouts_per_prompt"),
            "must be 2 or more: advantages compare rollouts of a group",
        )?;
        let room = self.prompts_per_step >= self.data.len();
        must(room, format!("{place}.prompts_per_step"), "must be at least the number of sources")?;
        must(
            (1..=self.prompts_per_step).contains(&self.mini_batches),
            format!("{place}.mini_batches"),
            "must be between 1 and the queries of a step",
        )
    }

    fn check_pool(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        let Some(pool) = &self.pool else { return Ok(()) };
        let own = |name: &String| config.phases.get(name).is_some_and(|phase| phase.as_rl() == Some(self));
        let before = config.run.phases.iter().take_while(|name| !own(name));
        let named = before.into_iter().any(|name| name == pool);
        let curation = config.phases.get(pool).and_then(|phase| phase.as_curate()).filter(|_| named);
        let key = format!("{place}.pool");
        let Some(curation) = curation else {
            return Err(fault(key, "must name a curate phase that runs before this one"));
        };
        let lost = self.data.iter().find(|used| curation.data.iter().all(|other| other.name != used.name));
        match lost {
            Some(used) => Err(fault(key, format!("`{pool}` does not curate the source `{}`; add it there", used.name))),
            None => Ok(()),
        }
    }
}

impl PhaseKind for RlConfig {
    fn word(&self) -> &'static str {
        "rl"
    }

    fn trains(&self) -> bool {
        true
    }

    fn data(&self) -> &[SourceUse] {
        &self.data
    }

    fn rubric(&self) -> Option<&str> {
        Some(&self.rubric)
    }

    fn work(&self) -> Work {
        Work {
            steps: self.steps,
            prompts_per_step: self.prompts_per_step,
            rollouts_per_prompt: self.rollouts_per_prompt,
            max_new_tokens: self.sampling.max_new_tokens,
        }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, Some(&self.rubric))?;
        self.check_counts(place)?;
        self.algorithm.fault().map_or(Ok(()), |reason| Err(fault(format!("{place}.algorithm"), reason)))?;
        self.check_pool(place, config)?;
        self.optimizer.check(&format!("{place}.optimizer"), self.steps)
    }
}
