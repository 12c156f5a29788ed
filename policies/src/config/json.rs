//! `config.json` of either generation: read, and written as the published checkpoints have it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::moe::{ExpertLayout, RawMoe};
use super::{Config, MAX_CONFIG_BYTES, TextConfig, VisionConfig};
use crate::error::{PolicyError, Result};
use crate::file::{pretty, read_text};
use crate::format::WeightFormat;

#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    text_config: RawText,
    vision_config: RawVision,
    image_token_id: u32,
    video_token_id: u32,
    vision_start_token_id: u32,
    vision_end_token_id: u32,
    tie_word_embeddings: Option<bool>,
}

#[derive(Deserialize)]
struct RawText {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: usize,
    head_dim: Option<usize>,
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    rope_scaling: Option<RawRope>,
    rope_parameters: Option<RawRope>,
    tie_word_embeddings: Option<bool>,
    #[serde(default)]
    attention_bias: bool,
    hidden_act: Option<Value>,
    #[serde(flatten)]
    moe: RawMoe,
}

#[derive(Deserialize)]
struct RawRope {
    mrope_section: Option<[usize; 3]>,
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct RawVision {
    depth: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_heads: usize,
    #[serde(default = "three")]
    in_channels: usize,
    patch_size: usize,
    temporal_patch_size: usize,
    spatial_merge_size: usize,
    num_position_embeddings: usize,
    deepstack_visual_indexes: Vec<usize>,
    hidden_act: Option<Value>,
}

/// The activations that are computed, by the names that the reference library has for them: the decoder's, and the tower's.
const ACTIVATIONS: [(&str, &[&str]); 2] =
    [("text_config", &["silu", "swish"]), ("vision_config", &["gelu_pytorch_tanh"])];

/// Refuses other activations than those that Qwen3-VL has.
fn check_activations(given: [Option<&Value>; 2]) -> std::result::Result<(), String> {
    for ((part, known), given) in ACTIVATIONS.into_iter().zip(given) {
        if let Some(given) = given.filter(|given| !given.as_str().is_some_and(|given| known.contains(&given))) {
            let own = known[0];
            return Err(format!(
                "`{part}.hidden_act` is {given}; Qwen3-VL has \"{own}\", and nothing else is computed"
            ));
        }
    }
    Ok(())
}

fn three() -> usize {
    3
}

impl Config {
    /// Reads the `config.json` of a folder.
    ///
    /// # Errors
    /// As [`Config::from_json`], and when there is none.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        Self::from_json(&read_text(&path, MAX_CONFIG_BYTES)?, &path.display().to_string())
    }

    /// The text of the `config.json` of this model in `format`. A `source` that says these sizes is kept as it is but
    /// for the number format: it may hold more than is known here.
    pub fn text(&self, source: Option<&str>, format: WeightFormat) -> Vec<u8> {
        let kept = source.filter(|text| self.is_said_by(text));
        let mut value = match (kept, source) {
            (Some(text), _) => serde_json::from_str(text).unwrap_or_else(|_| self.to_json()),
            (None, Some(text)) => self.without_deepstack(text).unwrap_or_else(|| self.to_json()),
            (None, None) => self.to_json(),
        };
        match (name_format(&mut value, format.config_name()), kept) {
            (false, Some(text)) => text.as_bytes().to_vec(),
            _ => pretty(&value),
        }
    }

    fn is_said_by(&self, text: &str) -> bool {
        Self::from_json(text, "").is_ok_and(|other| self.same_sizes(other))
    }

    /// A `config.json` with the DeepStack taps of this one, if that is all that differs.
    fn without_deepstack(&self, text: &str) -> Option<Value> {
        let mut value: Value = serde_json::from_str(text).ok()?;
        *value.get_mut("vision_config")?.get_mut("deepstack_visual_indexes")? = json!(self.vision.deepstack_indexes);
        self.is_said_by(&value.to_string()).then_some(value)
    }

    /// Whether `other` says the same, but perhaps for how the files store experts: that is told by their shapes.
    fn same_sizes(&self, mut other: Self) -> bool {
        if let (Some(moe), Some(own)) = (&mut other.text.moe, &self.text.moe) {
            moe.layout = own.layout;
        }
        *self == other
    }

    /// Reads a `config.json`; `file` names it in errors.
    ///
    /// # Errors
    /// When it is not JSON, a size is missing, or sizes contradict each other.
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let wrong = |error: serde_json::Error| PolicyError::file(file, error.to_string());
        // What a model is comes before what its sizes lack.
        if let Some(reason) = super::foreign::fault(&serde_json::from_str(text).map_err(wrong)?) {
            return Err(PolicyError::file(file, reason));
        }
        let raw: RawConfig = serde_json::from_str(text).map_err(wrong)?;
        let config = Self::from_raw(raw).map_err(|reason| PolicyError::file(file, reason))?;
        config.check().map_err(|reason| PolicyError::file(file, reason))?;
        Ok(config)
    }

    fn from_raw(raw: RawConfig) -> std::result::Result<Self, String> {
        let text = raw.text_config;
        let layout = match text.rope_parameters {
            Some(_) => ExpertLayout::OutIn,
            None => ExpertLayout::InOut,
        };
        let moe = text.moe.read(layout)?;
        if moe.is_none() && raw.model_type.as_deref() == Some("qwen3_vl_moe") {
            return Err("`model_type` is `qwen3_vl_moe`, but `text_config` has no `num_experts`; add it".to_owned());
        }
        check_activations([text.hidden_act.as_ref(), raw.vision_config.hidden_act.as_ref()])?;
        if text.attention_bias {
            return Err("`attention_bias` is true; Qwen3-VL has no attention bias".to_owned());
        }
        let rope = text.rope_parameters.or(text.rope_scaling);
        if let Some(kind) = rope.as_ref().and_then(|rope| rope.rope_type.as_deref()).filter(|kind| *kind != "default") {
            return Err(format!("`rope_type` is `{kind}`; only `default` is supported"));
        }
        let rope_theta = text
            .rope_theta
            .or_else(|| rope.as_ref().and_then(|rope| rope.rope_theta))
            .ok_or("`rope_theta` is missing")?;
        let vision = raw.vision_config;
        Ok(Self {
            tied_head: raw.tie_word_embeddings.or(text.tie_word_embeddings).unwrap_or(false),
            image_token_id: raw.image_token_id,
            video_token_id: raw.video_token_id,
            vision_start_token_id: raw.vision_start_token_id,
            vision_end_token_id: raw.vision_end_token_id,
            text: TextConfig {
                vocab_size: text.vocab_size,
                hidden_size: text.hidden_size,
                intermediate_size: text.intermediate_size,
                layers: text.num_hidden_layers,
                heads: text.num_attention_heads,
                kv_heads: text.num_key_value_heads,
                head_dim: text.head_dim.unwrap_or(text.hidden_size / text.num_attention_heads.max(1)),
                rms_norm_eps: text.rms_norm_eps,
                rope_theta,
                mrope_section: rope.and_then(|rope| rope.mrope_section).unwrap_or([24, 20, 20]),
                moe,
            },
            vision: VisionConfig {
                depth: vision.depth,
                hidden_size: vision.hidden_size,
                intermediate_size: vision.intermediate_size,
                heads: vision.num_heads,
                in_channels: vision.in_channels,
                patch_size: vision.patch_size,
                temporal_patch_size: vision.temporal_patch_size,
                spatial_merge_size: vision.spatial_merge_size,
                position_embeddings: vision.num_position_embeddings,
                deepstack_indexes: vision.deepstack_visual_indexes,
            },
        })
    }

    /// The `config.json` of this model in the layout of the published checkpoints.
    pub fn to_json(&self) -> Value {
        let (text, vision) = (&self.text, &self.vision);
        let mut config = json!({
            "architectures": ["Qwen3VLForConditionalGeneration"],
            "model_type": "qwen3_vl",
            "dtype": "float32",
            "image_token_id": self.image_token_id,
            "video_token_id": self.video_token_id,
            "vision_start_token_id": self.vision_start_token_id,
            "vision_end_token_id": self.vision_end_token_id,
            "tie_word_embeddings": self.tied_head,
            "text_config": {
                "model_type": "qwen3_vl_text",
                "attention_bias": false,
                "attention_dropout": 0.0,
                "hidden_act": "silu",
                "vocab_size": text.vocab_size,
                "hidden_size": text.hidden_size,
                "intermediate_size": text.intermediate_size,
                "num_hidden_layers": text.layers,
                "num_attention_heads": text.heads,
                "num_key_value_heads": text.kv_heads,
                "head_dim": text.head_dim,
                "rms_norm_eps": text.rms_norm_eps,
                "rope_theta": text.rope_theta,
                "rope_scaling": {"mrope_interleaved": true, "mrope_section": text.mrope_section, "rope_type": "default"},
                "max_position_embeddings": 4096,
                "tie_word_embeddings": self.tied_head,
                "use_cache": true,
            },
            "vision_config": {
                "model_type": "qwen3_vl",
                "depth": vision.depth,
                "hidden_size": vision.hidden_size,
                "intermediate_size": vision.intermediate_size,
                "num_heads": vision.heads,
                "in_channels": vision.in_channels,
                "patch_size": vision.patch_size,
                "temporal_patch_size": vision.temporal_patch_size,
                "spatial_merge_size": vision.spatial_merge_size,
                "num_position_embeddings": vision.position_embeddings,
                "deepstack_visual_indexes": vision.deepstack_indexes,
                "out_hidden_size": text.hidden_size,
                "hidden_act": "gelu_pytorch_tanh",
            },
        });
        if let Some(moe) = &text.moe {
            moe.describe(&mut config);
        }
        config
    }
}

/// Names the number format wherever a `config.json` does, or on top where it does nowhere; whether that changed it.
fn name_format(config: &mut Value, name: &str) -> bool {
    let mut changed = false;
    let mut named = false;
    for part in ["", "text_config", "vision_config"] {
        let part = if part.is_empty() { Some(&mut *config) } else { config.get_mut(part) };
        for (key, value) in part.and_then(Value::as_object_mut).into_iter().flatten() {
            if (key == "dtype" || key == "torch_dtype") && !value.is_null() {
                named = true;
                changed |= value != name;
                *value = Value::from(name);
            }
        }
    }
    if !named {
        config["dtype"] = Value::from(name);
    }
    changed || !named
}
