//! Sizes of sparse layers, and how files store their weights.

use serde::Deserialize;
use serde_json::{Value, json};

/// More experts than any model has, and a larger width.
const MAX_SIZE: usize = 1 << 24;

/// How files store the fused weights of experts. The two generations of checkpoints differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpertLayout {
    /// `gate_up_proj [e, d, o]` and `down_proj [e, i, d]`: published checkpoints, with `rope_scaling` in the config.
    InOut,
    /// `gate_up_proj [e, o, d]` and `down_proj [e, d, i]`: what transformers 5 writes, with `rope_parameters`.
    OutIn,
}

impl ExpertLayout {
    /// The shape in files of `experts` maps of `inputs` numbers to `outputs`.
    pub fn shape(self, experts: usize, outputs: usize, inputs: usize) -> [usize; 3] {
        match self {
            Self::InOut => [experts, inputs, outputs],
            Self::OutIn => [experts, outputs, inputs],
        }
    }
}

/// Sizes of sparse layers.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeConfig {
    /// Experts of a layer.
    pub experts: usize,
    /// Experts that each row goes through.
    pub top_k: usize,
    /// Width of an expert.
    pub intermediate_size: usize,
    /// Every so many layers one is sparse: the last of them.
    pub sparse_step: usize,
    /// Layers, counted from 0, that are dense all the same.
    pub dense_layers: Vec<usize>,
    /// Weight of [`crate::text::balance_loss`] beside the loss of supervised training.
    pub balance_coef: f64,
    /// How the files store expert weights.
    pub layout: ExpertLayout,
}

/// The keys of `text_config` that speak of experts.
#[derive(Deserialize)]
pub(crate) struct RawMoe {
    num_experts: Option<usize>,
    num_local_experts: Option<usize>,
    num_experts_per_tok: Option<usize>,
    moe_intermediate_size: Option<usize>,
    norm_topk_prob: Option<bool>,
    decoder_sparse_step: Option<usize>,
    mlp_only_layers: Option<Vec<usize>>,
    router_aux_loss_coef: Option<f64>,
}

impl RawMoe {
    /// The checked sizes, or none for a dense model; `layout` is that of the config's generation.
    pub(crate) fn read(self, layout: ExpertLayout) -> Result<Option<MoeConfig>, String> {
        let experts = match (self.num_experts, self.num_local_experts) {
            (Some(one), Some(other)) if one != other => {
                return Err(format!("`num_experts` is {one}, but `num_local_experts` {other}; leave one out"));
            }
            (one, other) => one.or(other).unwrap_or(0),
        };
        if experts == 0 {
            return Ok(None);
        }
        let missing = |key: &str| format!("`{key}` is missing from `text_config`, which has {experts} experts; add it");
        let top_k = self.num_experts_per_tok.ok_or_else(|| missing("num_experts_per_tok"))?;
        if top_k == 0 || top_k > experts {
            return Err(format!("`num_experts_per_tok` is {top_k}; it must be 1 to {experts}, the number of experts"));
        }
        if self.norm_topk_prob == Some(false) {
            let reason = "the weights of a token's experts are always divided by their sum, as the reference does";
            return Err(format!("`norm_topk_prob` is false, but {reason}; a model that wants it so cannot be run"));
        }
        let sparse_step = self.decoder_sparse_step.unwrap_or(1);
        if sparse_step == 0 {
            return Err("`decoder_sparse_step` is 0; 1 makes every layer sparse".to_owned());
        }
        let balance_coef = self.router_aux_loss_coef.unwrap_or(0.001);
        if !balance_coef.is_finite() || balance_coef < 0.0 {
            return Err(format!("`router_aux_loss_coef` is {balance_coef}; it must be a number from 0 up"));
        }
        let intermediate_size = self.moe_intermediate_size.ok_or_else(|| missing("moe_intermediate_size"))?;
        for (name, size) in [("num_experts", experts), ("moe_intermediate_size", intermediate_size)] {
            if size == 0 || size > MAX_SIZE {
                return Err(format!("`{name}` is {size}; it must be at least 1, and {MAX_SIZE} at most"));
            }
        }
        Ok(Some(MoeConfig {
            experts,
            top_k,
            intermediate_size,
            sparse_step,
            dense_layers: self.mlp_only_layers.unwrap_or_default(),
            balance_coef,
            layout,
        }))
    }
}

impl MoeConfig {
    /// Whether layer `index`, counted from 0, is sparse.
    pub fn is_sparse(&self, index: usize) -> bool {
        !self.dense_layers.contains(&index) && (index + 1).is_multiple_of(self.sparse_step)
    }

    /// Turns the `config.json` of the dense model into that of this one.
    pub(crate) fn describe(&self, config: &mut Value) {
        config["architectures"] = json!(["Qwen3VLMoeForConditionalGeneration"]);
        config["model_type"] = json!("qwen3_vl_moe");
        config["vision_config"]["model_type"] = json!("qwen3_vl_moe");
        let text = &mut config["text_config"];
        text["model_type"] = json!("qwen3_vl_moe_text");
        text["num_experts"] = json!(self.experts);
        text["num_experts_per_tok"] = json!(self.top_k);
        text["moe_intermediate_size"] = json!(self.intermediate_size);
        text["norm_topk_prob"] = json!(true);
        text["decoder_sparse_step"] = json!(self.sparse_step);
        text["mlp_only_layers"] = json!(self.dense_layers);
        text["router_aux_loss_coef"] = json!(self.balance_coef);
        if self.layout == ExpertLayout::OutIn {
            // The layout of the weights goes with the generation of the config.
            let mut rope = text["rope_scaling"].take();
            rope["rope_theta"] = text["rope_theta"].take();
            text["rope_parameters"] = rope;
            if let Some(text) = text.as_object_mut() {
                text.retain(|key, _| key != "rope_scaling" && key != "rope_theta");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<MoeConfig>, String> {
        serde_json::from_str::<RawMoe>(text).expect("JSON").read(ExpertLayout::InOut)
    }

    #[test]
    fn impossible_experts_are_refused_with_the_key() {
        let rest = r#""moe_intermediate_size": 8, "num_experts": 4"#;
        for (text, key) in [
            (r#"{"num_experts": 4, "num_experts_per_tok": 2}"#.to_owned(), "moe_intermediate_size"),
            (format!("{{{rest}}}"), "num_experts_per_tok"),
            (format!(r#"{{{rest}, "num_experts_per_tok": 5}}"#), "num_experts_per_tok"),
            (format!(r#"{{{rest}, "num_experts_per_tok": 0}}"#), "num_experts_per_tok"),
            (format!(r#"{{{rest}, "num_experts_per_tok": 2, "decoder_sparse_step": 0}}"#), "decoder_sparse_step"),
            (format!(r#"{{{rest}, "num_experts_per_tok": 2, "norm_topk_prob": false}}"#), "norm_topk_prob"),
            (format!(r#"{{{rest}, "num_experts_per_tok": 2, "num_local_experts": 3}}"#), "num_local_experts"),
        ] {
            let error = read(&text).expect_err(&text);
            assert!(error.contains(key), "{error}");
        }
        assert_eq!(read(r#"{"num_experts": 0}"#), Ok(None));
        assert_eq!(read("{}"), Ok(None));
    }

    #[test]
    fn layers_are_sparse_by_step_and_list() {
        let text = r#"{"num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
            "decoder_sparse_step": 2, "mlp_only_layers": [3]}"#;
        let config = read(text).expect("good").expect("sparse");
        assert_eq!(
            (0..6).map(|index| config.is_sparse(index)).collect::<Vec<_>>(),
            [false, true, false, false, false, true]
        );
    }
}
