//! `[phases.NAME]`: a section of a run; one file for each kind.

mod curate;
mod distill;
mod rl;
mod sft;

use sapo_policies::Part;
use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::curate::{AnsweredBy, CurateConfig, WithoutPictures};
pub use self::distill::{DistillConfig, OnPolicyConfig};
pub use self::rl::{CurriculumConfig, FilterConfig, RlConfig};
pub use self::sft::{SftConfig, Weighting};
use super::Config;
use super::data::SourceUse;
use super::fault::{ConfigError, fault};

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
