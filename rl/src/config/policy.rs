//! `[policy]`: the model that is trained, and what of it trains.

use std::path::PathBuf;

use sapo_policies::WeightFormat;
use sapo_policies::processor::{PromptLimit, TooLong};
use sapo_policies::{LoraConfig, Part};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::{ConfigError, MOST_TOKENS, count, fault, must};

/// The policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// A preset, the folder of a checkpoint or of a run (its newest checkpoint), or a name of the Hugging Face hub that is in the
    /// local cache.
    pub model: String,
    /// At the end of the run the policy is written into `export/` as well, in this number format (`f32` or `bf16`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<WeightFormat>,
    /// Parts that do not train: `vision`, `merger`, `deepstack`, `text`, `embeddings` (an untied head
    /// with them), `experts`, `router`, `head`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freeze: Vec<Part>,
    /// A new low-rank adapter, which is then all that trains; maps of frozen parts get none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The folder of an adapter (PEFT) to go on training, in place of `lora`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// Whether picture features are added to the first text layers; `false` is an ablation.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    #[schemars(extend("default" = true))]
    pub deepstack: bool,
    /// Tokens of a prompt at most, placeholders of pictures counted; without it, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
    /// What is done with a longer prompt: `refuse` rejects its row, `drop_pictures` leaves out whole pictures and videos,
    /// the earliest first, until the rest fits; how many were left out is counted in `rollout/dropped_pictures`.
    #[serde(default, skip_serializing_if = "is_refused")]
    #[schemars(extend("default" = "refuse"))]
    pub too_long: TooLong,
}

impl PolicyConfig {
    /// How long a prompt may be, if there is a limit.
    pub fn prompt_limit(&self) -> Option<PromptLimit> {
        self.max_prompt_tokens.map(|tokens| PromptLimit { tokens, too_long: self.too_long })
    }

    pub(super) fn check(&self, dtype: WeightFormat) -> Result<(), ConfigError> {
        if let Some((key, reason)) = self.lora.as_ref().and_then(LoraConfig::fault) {
            return Err(fault(format!("policy.lora.{key}"), reason));
        }
        if let Some(tokens) = self.max_prompt_tokens {
            count("policy.max_prompt_tokens", tokens, 1..=MOST_TOKENS)?;
        }
        let one = self.lora.is_none() || self.adapter.is_none();
        must(one, "policy.adapter", "goes on with an adapter, and `policy.lora` makes a new one; name one")?;
        let all_trains = self.freeze.is_empty() && self.lora.is_none() && self.adapter.is_none();
        must(
            dtype == WeightFormat::F32 || !all_trains,
            "run.dtype",
            "is `bf16`, but what trains is kept in f32, and here everything does: add policy.lora or policy.freeze",
        )
    }
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_refused(rule: &TooLong) -> bool {
    *rule == TooLong::Refuse
}
