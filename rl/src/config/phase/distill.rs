//! `kind = "distill"`: the policy learns a teacher's whole distribution, on its own answers or on given ones.

use std::path::PathBuf;

use sapo_policies::{Divergence, Part};
use sapo_rollouts::Sampling;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work, check_batch, check_budget, check_sampling, check_steps};
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, MOST_ROWS, count, must, number};
use crate::optimizer::OptimizerConfig;

/// Distillation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// The teacher: a preset, or the folder of a checkpoint, with the policy's tokenizer; it may be larger.
    pub teacher: PathBuf,
    /// Sources of queries, and the share of each in every batch.
    pub data: Vec<SourceUse>,
    /// Optimizer steps.
    pub steps: u64,
    /// Queries in a step, of all sources together.
    pub prompts_per_step: usize,
    /// With it the policy answers, and learns what the teacher would have said at every token (on-policy); without it the
    /// answers are those of the data, which a teacher has written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_policy: Option<OnPolicyConfig>,
    /// The distance from the teacher: `forward` is KL(teacher || policy), `reverse` is KL(policy || teacher),
    /// `{ mixed = 0.5 }` this share of the forward one and the rest of the reverse one.
    #[serde(default)]
    pub divergence: Divergence,
    /// Parts that do not train in this phase, in place of `policy.freeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Vec<Part>>,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
}

/// How the policy answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnPolicyConfig {
    /// Answers to each query.
    #[serde(default = "one")]
    pub rollouts_per_prompt: usize,
    /// Sampling.
    pub sampling: Sampling,
    /// The rubric that answers are scored by; scores are recorded, and teach nothing.
    pub rubric: String,
}

fn one() -> usize {
    1
}

impl PhaseKind for DistillConfig {
    fn word(&self) -> &'static str {
        "distill"
    }

    fn trains(&self) -> bool {
        true
    }

    fn data(&self) -> &[SourceUse] {
        &self.data
    }

    fn rubric(&self) -> Option<&str> {
        self.on_policy.as_ref().map(|on_policy| on_policy.rubric.as_str())
    }

    fn imitates(&self) -> bool {
        self.on_policy.is_none()
    }

    fn freeze(&self) -> Option<&[Part]> {
        self.freeze.as_deref()
    }

    fn work(&self) -> Work {
        let on_policy = self.on_policy.as_ref();
        Work {
            steps: self.steps,
            prompts_per_step: self.prompts_per_step,
            rollouts_per_prompt: on_policy.map_or(0, |on_policy| on_policy.rollouts_per_prompt),
            max_new_tokens: on_policy.map_or(0, |on_policy| on_policy.sampling.max_new_tokens),
        }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, self.rubric())?;
        config.refuse_pools(place, &self.data)?;
        check_steps(place, self.steps)?;
        check_batch(&format!("{place}.prompts_per_step"), self.prompts_per_step, &self.data)?;
        // The share of the forward direction.
        number(format!("{place}.divergence.mixed"), self.divergence.forward_share(), 0.0..=1.0)?;
        if let Some(on_policy) = &self.on_policy {
            let place = format!("{place}.on_policy");
            count(format!("{place}.rollouts_per_prompt"), on_policy.rollouts_per_prompt, 1..=MOST_ROWS)?;
            let hot = on_policy.sampling.temperature > 0.0;
            must(
                hot,
                format!("{place}.sampling.temperature"),
                "must be above 0: the distance is between distributions",
            )?;
            check_sampling(&place, &on_policy.sampling)?;
            check_budget(&place, on_policy.sampling.max_new_tokens, config)?;
        }
        self.optimizer.check(&format!("{place}.optimizer"), self.steps)
    }
}
