//! `kind = "rl"`: reinforcement learning.

use sapo_policies::Part;
use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::audit::AuditConfig;
use super::{PhaseKind, Work, check_batch, check_budget, check_sampling, check_steps};
use crate::algorithm::AlgorithmConfig;
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, MOST_ROWS, MOST_STEPS, count, fault, must, number};
use crate::importance::ImportanceConfig;
use crate::kl::{KlConfig, Reference};
use crate::optimizer::OptimizerConfig;

/// Reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// The curate phase whose kept queries are trained on; a source may name another. All queries without it.
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
    /// Queries that a step asks beyond `prompts_per_step`, drawn by the same shares. As soon as `prompts_per_step` groups are
    /// whole the others are broken off: a step does not wait for its longest answers, and trains on short ones more often.
    /// What was broken off is counted in `rollout/stopped_groups`.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(extend("default" = 0))]
    pub oversample_prompts: usize,
    /// Sampling; at temperature 1 and with at most 1,024 tokens where nothing is said.
    #[serde(default = "sampling")]
    pub sampling: Sampling,
    /// The rubric of sources that name none.
    pub rubric: String,
    /// More failed rewards than this share of a window's rollouts stop the run at a checkpoint.
    #[serde(default = "max_failed_share")]
    pub max_failed_share: f64,
    /// The steps of that window.
    #[serde(default = "failure_window_steps")]
    pub failure_window_steps: usize,
    /// Algorithm; SAPO where nothing is said.
    #[serde(default)]
    pub algorithm: AlgorithmConfig,
    /// Parts that do not train in this phase, in place of `policy.freeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Vec<Part>>,
    /// KL from a frozen policy, in the loss or the reward. None without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<KlConfig>,
    /// Weight of the policy's mean entropy, which is then to grow.
    #[serde(default, skip_serializing_if = "is_none")]
    #[schemars(extend("default" = 0.0))]
    pub entropy_coef: f64,
    /// Weights tokens that another engine sampled by how likely the trainer finds them, up to a cap; the trainer reads
    /// every rollout once more for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importance: Option<ImportanceConfig>,
    /// Optimizer steps per batch.
    #[serde(default = "two")]
    pub mini_batches: usize,
    /// Which groups are not trained on.
    #[serde(default)]
    pub filter: FilterConfig,
    /// Scores a random slice of the rollouts again, by a second rubric, to find a policy that pleases its reward. None
    /// without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditConfig>,
    /// The control: rewards are permuted within each group, so that nothing true can be learned.
    #[serde(default)]
    pub shuffle_rewards: bool,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
}

/// Which groups are not trained on, beside those without signal; what takes their place; which queries are not drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// Drops groups that pass more than 90 % of the time.
    pub live: bool,
    /// How often, in one step, groups that were dropped are replaced by as many of the same source. Each time asks at most
    /// one further batch; what is still missing then is left out. 0 leaves them out at once.
    pub refill: usize,
    /// A query whose last group passed more than 90 % of the time is not drawn again for so many steps. Without it, it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revisit_steps: Option<u64>,
    /// Easy queries first. It needs pass rates, so it works on a `pool`, and on queries that come again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curriculum: Option<CurriculumConfig>,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self { live: true, refill: 0, revisit_steps: None, curriculum: None }
    }
}

/// Easy queries first: those below a pass rate are not drawn, and that pass rate sinks to 0 in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CurriculumConfig {
    /// The least pass rate in the first step.
    pub least_pass_rate: f64,
    /// The steps after which all queries are drawn.
    pub steps: u64,
}

impl CurriculumConfig {
    /// The least pass rate in a step of the phase.
    pub fn least_at(&self, step: u64) -> f64 {
        let rest = self.steps.saturating_sub(step) as f64;
        if self.steps == 0 { 0.0 } else { self.least_pass_rate * rest / self.steps as f64 }
    }
}

/// How often a step may be refilled at most.
const MOST_REFILLS: usize = 16;

fn max_failed_share() -> f64 {
    0.05
}

fn sampling() -> Sampling {
    Sampling::at(1.0, 1024)
}

fn failure_window_steps() -> usize {
    20
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_none(coef: &f64) -> bool {
    *coef == 0.0
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
        check_steps(place, self.steps)?;
        number(format!("{place}.max_failed_share"), self.max_failed_share, 0.0..=1.0)?;
        count(format!("{place}.failure_window_steps"), self.failure_window_steps, 1..=MOST_STEPS)?;
        let hot = self.sampling.temperature > 0.0;
        must(hot, format!("{place}.sampling.temperature"), "must be above 0: equal rollouts teach nothing")?;
        check_sampling(place, &self.sampling)?;
        must(
            self.rollouts_per_prompt >= 2,
            format!("{place}.rollouts_per_prompt"),
            "must be 2 or more: advantages compare rollouts of a group",
        )?;
        count(format!("{place}.rollouts_per_prompt"), self.rollouts_per_prompt, 2..=MOST_ROWS)?;
        check_batch(&format!("{place}.prompts_per_step"), self.prompts_per_step, &self.data)?;
        count(format!("{place}.oversample_prompts"), self.oversample_prompts, 0..=MOST_ROWS)?;
        must(
            (1..=self.prompts_per_step).contains(&self.mini_batches),
            format!("{place}.mini_batches"),
            "must be between 1 and the queries of a step",
        )
    }

    /// The curate phase whose kept queries of a source are trained on.
    pub fn pool_of<'a>(&'a self, used: &'a SourceUse) -> Option<&'a str> {
        used.pool.as_deref().or(self.pool.as_deref())
    }

    fn check_pools(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        let own = |name: &String| config.phases.get(name).is_some_and(|phase| phase.as_rl() == Some(self));
        let before: Vec<&String> = config.run.phases.iter().take_while(|name| !own(name)).collect();
        for used in &self.data {
            let Some(pool) = self.pool_of(used) else { continue };
            let key = if used.pool.is_some() { format!("{place}.data") } else { format!("{place}.pool") };
            let curation = config.phases.get(pool).and_then(|phase| phase.as_curate());
            let Some(curation) = curation.filter(|_| before.iter().any(|name| *name == pool)) else {
                return Err(fault(key, format!("`{pool}` is not a curate phase that runs before this one")));
            };
            if curation.data.iter().all(|other| other.name != used.name) {
                let reason = format!("`{pool}` does not curate the source `{}`; add it there", used.name);
                return Err(fault(key, reason));
            }
        }
        Ok(())
    }

    fn check_loss(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        check_budget(place, self.sampling.max_new_tokens, config)?;
        let sane = (-1.0..=1.0).contains(&self.entropy_coef);
        must(sane, format!("{place}.entropy_coef"), "must be between -1 and 1; 0.001 to 0.01 is usual")?;
        if let Some(importance) = self.importance {
            number(format!("{place}.importance.cap"), importance.cap, 1.0..=1e6)?;
        }
        let Some(kl) = &self.kl else { return Ok(()) };
        let coef = kl.coef > 0.0 && kl.coef <= 10.0;
        must(coef, format!("{place}.kl.coef"), "must be above 0 and at most 10; leave `kl` out to have none")?;
        let adapted = config.policy.lora.is_some() || config.policy.adapter.is_some();
        must(
            kl.from != Reference::Base || adapted,
            format!("{place}.kl.from"),
            "is `base`, and there is no adapter to switch off: use `start`, or add policy.lora",
        )
    }

    fn check_filter(&self, place: &str) -> Result<(), ConfigError> {
        must(
            self.filter.refill == 0 || self.oversample_prompts == 0,
            format!("{place}.oversample_prompts"),
            "does not go with filter.refill: both ask for more queries than a step trains on; set one of them to 0",
        )?;
        must(self.filter.refill <= MOST_REFILLS, format!("{place}.filter.refill"), "must be between 0 and 16")?;
        // Left out, nothing is retired.
        count(format!("{place}.filter.revisit_steps"), self.filter.revisit_steps.unwrap_or(1), 1..=MOST_STEPS)?;
        let Some(curriculum) = self.filter.curriculum else { return Ok(()) };
        let place = format!("{place}.filter.curriculum");
        number(format!("{place}.least_pass_rate"), curriculum.least_pass_rate, 0.0..=1.0)?;
        count(format!("{place}.steps"), curriculum.steps, 1..=MOST_STEPS)
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

    fn further_rubrics(&self) -> Vec<&str> {
        self.audit.iter().map(|audit| audit.rubric.as_str()).collect()
    }

    fn audit(&self) -> Option<&AuditConfig> {
        self.audit.as_ref()
    }

    fn freeze(&self) -> Option<&[Part]> {
        self.freeze.as_deref()
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
        if let Some((key, reason)) = self.algorithm.fault() {
            return Err(fault(format!("{place}.algorithm.{key}"), reason));
        }
        self.check_pools(place, config)?;
        self.check_filter(place)?;
        self.check_loss(place, config)?;
        self.audit.as_ref().map_or(Ok(()), |audit| audit.check(place, config, &self.data, &self.rubric))?;
        self.optimizer.check(&format!("{place}.optimizer"), self.steps)
    }
}
