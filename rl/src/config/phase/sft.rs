//! `kind = "sft"`: supervised learning from demonstrations.

use sapo_policies::Part;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PhaseKind, Work, check_batch, check_steps};
use crate::config::Config;
use crate::config::data::SourceUse;
use crate::config::fault::{ConfigError, MOST_TOKENS, count, number};
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
    /// What a token counts: every `token` of the batch alike, every `sequence` alike, or each sequence by the `square_root` of
    /// its length.
    #[serde(default)]
    pub weighting: Weighting,
    /// Tokens of prompt and response at most; a longer row is left out, and listed in `data/rejected.jsonl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Parts that do not train in this phase, in place of `policy.freeze`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Vec<Part>>,
    /// Weight of the loss that spreads rows over experts; that of the model's own config without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_aux_loss_coef: Option<f64>,
}

/// What a token of a response counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// All tokens of a batch alike: long responses count more.
    Token,
    /// All responses alike: their tokens count less the longer they are.
    Sequence,
    /// In between (InternVL 2.5, arXiv 2412.05271; the Qwen3-VL report).
    #[default]
    SquareRoot,
}

impl Weighting {
    /// The weight of each token of responses with these lengths; over the batch they add up to 1. A response of `n` tokens
    /// counts by `n`, 1 or `sqrt(n)`.
    pub fn of_tokens(self, lengths: &[usize]) -> Vec<f64> {
        let counts = |length: usize| match self {
            Self::Token => length as f64,
            Self::Sequence => 1.0,
            Self::SquareRoot => (length as f64).sqrt(),
        };
        let total: f64 = lengths.iter().map(|length| counts(*length)).sum();
        lengths.iter().map(|length| counts(*length) / *length as f64 / total).collect()
    }
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

    fn imitates(&self) -> bool {
        true
    }

    fn freeze(&self) -> Option<&[Part]> {
        self.freeze.as_deref()
    }

    fn work(&self) -> Work {
        Work { steps: self.steps, prompts_per_step: self.batch_size, rollouts_per_prompt: 0, max_new_tokens: 0 }
    }

    fn check(&self, place: &str, config: &Config) -> Result<(), ConfigError> {
        config.check_uses(place, &self.data, None)?;
        config.refuse_pools(place, &self.data)?;
        check_steps(place, self.steps)?;
        check_batch(&format!("{place}.batch_size"), self.batch_size, &self.data)?;
        count(format!("{place}.max_tokens"), self.max_tokens.unwrap_or(2), 2..=MOST_TOKENS)?;
        number(format!("{place}.router_aux_loss_coef"), self.router_aux_loss_coef.unwrap_or(0.0), 0.0..=1000.0)?;
        self.optimizer.check(&format!("{place}.optimizer"), self.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_add_up_and_follow_their_rule() {
        let lengths = [1, 4, 16];
        for (weighting, ratios) in
            [(Weighting::Token, [1.0, 1.0]), (Weighting::Sequence, [4.0, 16.0]), (Weighting::SquareRoot, [2.0, 4.0])]
        {
            let weights = weighting.of_tokens(&lengths);
            let sum: f64 = weights.iter().zip(lengths).map(|(weight, length)| weight * length as f64).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{weighting:?}");
            let found = [weights[0] / weights[1], weights[0] / weights[2]];
            assert!(found.iter().zip(ratios).all(|(found, wanted)| (found - wanted).abs() < 1e-9), "{weighting:?}");
        }
    }
}
