//! `kind = "sft"`: supervised learning from demonstrations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work};
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, must};
use crate::optimizer::OptimizerConfig;

/// Supervised learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// Sources of demonstrations, and the share of each in every batch. The response is the column `response`, the last
    /// message of the assistant, or the column that the source names.
    pub data: Vec<SourceUse>,
    /// Optimizer steps.
    pub steps: u64,
    /// Demonstrations in a step.
    pub batch_size: usize,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Weight of the loss that spreads rows over experts; that of the model's own config without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_aux_loss_coef: Option<f64>,
}

impl PhaseKind for SftConfig {
    fn word(&self) -> &'static str {
        "sft"
    }

    fn trains(&self) -> bool {
        true
    }

    fn data(&self) -> &[SourceUse] {
        &self.data
    }

    fn rubric(&self) -> Option<&str> {
        None
    }

    fn work(&self) -> Work {
        Work { steps: self.steps, prompts_per_step: self.batch_size, rollouts_per_prompt: 0, max_new_tokens: 0 }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, None)?;
        config.refuse_pools(place, &self.data)?;
        let room = self.batch_size >= self.data.len();
        must(room, format!("{place}.batch_size"), "must be at least the number of sources")?;
        must(
            self.router_aux_loss_coef.is_none_or(|coef| coef.is_finite() && coef >= 0.0),
            format!("{place}.router_aux_loss_coef"),
            "must be a number from 0 up",
        )?;
        self.optimizer.check(&format!("{place}.optimizer"), self.steps)
    }
}
