//! `[phases.NAME]`: a section of a run; one file for each kind.

mod audit;
mod curate;
mod distill;
mod rl;
mod sft;

use sapo_policies::Part;
use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::audit::{AuditConfig, AuditPlan};
pub use self::curate::{AnsweredBy, CurateConfig, WithoutPictures};
pub use self::distill::{DistillConfig, OnPolicyConfig};
pub use self::rl::{CurriculumConfig, FilterConfig, RlConfig};
pub use self::sft::{SftConfig, Weighting};
use super::Config;
use super::data::SourceUse;
use crate::optimizer::OptimizerConfig;

use super::fault::{ConfigError, MOST_ROWS, MOST_STEPS, count, fault, must};

/// A section of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PhaseConfig {
    /// Supervised learning from demonstrations.
    Sft(SftConfig),
    /// Queries are filtered, asked, recorded, and dropped by rules.
    Curate(CurateConfig),
    /// Reinforcement learning.
    Rl(RlConfig),
    /// Learning a teacher's distribution.
    Distill(DistillConfig),
}

/// What the rest of a run asks of a kind of phase.
pub trait PhaseKind {
    /// Its word in `kind = "..."`.
    fn word(&self) -> &'static str;
    /// Whether it changes the policy.
    fn trains(&self) -> bool;
    /// The sources that it uses.
    fn data(&self) -> &[SourceUse];
    /// The rubric of queries for which nothing else is said; `None` where nothing is scored.
    fn rubric(&self) -> Option<&str>;
    /// Rubrics that it uses beside those of its queries.
    fn further_rubrics(&self) -> Vec<&str> {
        Vec::new()
    }
    /// The second rubric for a slice of what it samples, if it has one.
    fn audit(&self) -> Option<&AuditConfig> {
        None
    }
    /// Whether it learns from the responses of its rows.
    fn imitates(&self) -> bool {
        false
    }
    /// The parts that do not train in it, where it says so itself.
    fn freeze(&self) -> Option<&[Part]> {
        None
    }
    /// How much it does.
    fn work(&self) -> Work;
    /// What must hold of it beyond its form; `place` is its key.
    ///
    /// # Errors
    /// The first fault, with its key.
    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError>;
}

/// The numbers of `sampling` are in their ranges.
fn check_sampling(place: &str, sampling: &Sampling) -> Result<(), ConfigError> {
    match sampling.fault() {
        Some((key, reason)) => Err(fault(format!("{place}.sampling.{key}"), reason)),
        None => Ok(()),
    }
}

/// A phase takes steps; one that is to do nothing is left out.
fn check_steps(place: &str, steps: u64) -> Result<(), ConfigError> {
    let none = "is 0; it must be at least 1: leave a phase that does nothing out of run.phases";
    must(steps > 0, format!("{place}.steps"), none)?;
    count(format!("{place}.steps"), steps, 1..=MOST_STEPS)
}

/// A batch has room for every source.
fn check_batch(key: &str, rows: usize, data: &[SourceUse]) -> Result<(), ConfigError> {
    let reason = format!("is {rows}; it must be at least the number of sources, {}", data.len());
    must(rows >= data.len(), key, &reason)?;
    count(key, rows, 1..=MOST_ROWS)
}

/// A micro-batch holds an answer with the last token of its prompt, or it would keep nothing within its bound.
fn check_budget(place: &str, answer: usize, config: &Config) -> Result<(), ConfigError> {
    let budget = config.run.token_budget;
    let reason = format!(
        "is {budget}, and one answer of {place} alone may have {answer} tokens; it must be at least {}",
        answer.saturating_add(1)
    );
    must(budget > answer, "run.token_budget", &reason)
}

/// How much a phase does, for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Steps.
    pub steps: u64,
    /// Queries or demonstrations of a step.
    pub prompts_per_step: usize,
    /// Answers sampled for each query; 0 where demonstrations are given.
    pub rollouts_per_prompt: usize,
    /// Token limit of an answer; 0 where demonstrations are given.
    pub max_new_tokens: usize,
}

impl PhaseConfig {
    /// The phase as its kind.
    pub fn kind(&self) -> &dyn PhaseKind {
        match self {
            Self::Sft(phase) => phase,
            Self::Curate(phase) => phase,
            Self::Rl(phase) => phase,
            Self::Distill(phase) => phase,
        }
    }

    /// Its steps, where it is told how many.
    pub fn steps(&self) -> Option<u64> {
        self.clone().steps_mut().copied()
    }

    /// Its steps, to be changed.
    pub fn steps_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Sft(phase) => Some(&mut phase.steps),
            Self::Rl(phase) => Some(&mut phase.steps),
            Self::Distill(phase) => Some(&mut phase.steps),
            Self::Curate(_) => None,
        }
    }

    /// Its optimizer, where it trains.
    pub fn optimizer(&self) -> Option<&OptimizerConfig> {
        match self {
            Self::Sft(phase) => Some(&phase.optimizer),
            Self::Rl(phase) => Some(&phase.optimizer),
            Self::Distill(phase) => Some(&phase.optimizer),
            Self::Curate(_) => None,
        }
    }

    /// How it samples answers that it learns from, if it does.
    pub fn sampling(&self) -> Option<&Sampling> {
        match self {
            Self::Rl(phase) => Some(&phase.sampling),
            Self::Distill(phase) => phase.on_policy.as_ref().map(|on_policy| &on_policy.sampling),
            Self::Sft(_) | Self::Curate(_) => None,
        }
    }

    /// The options of reinforcement learning, if it is that.
    pub fn as_rl(&self) -> Option<&RlConfig> {
        if let Self::Rl(phase) = self { Some(phase) } else { None }
    }

    /// The options of curation, if it is that.
    pub fn as_curate(&self) -> Option<&CurateConfig> {
        if let Self::Curate(phase) = self { Some(phase) } else { None }
    }

    /// The options of supervised learning, if it is that.
    pub fn as_sft(&self) -> Option<&SftConfig> {
        if let Self::Sft(phase) = self { Some(phase) } else { None }
    }
}
