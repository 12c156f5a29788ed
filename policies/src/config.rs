//! The sizes of a Qwen3-VL model, read from `config.json` of either generation.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{PolicyError, Result};
use crate::file::read_text;
use crate::moe::{ExpertLayout, MoeConfig, RawMoe};
use crate::weights::{WeightFormat, pretty};

/// The longest `config.json` that is read.
const MAX_BYTES: u64 = 16 << 20;
/// The largest width of anything, and the largest number of parameters of one tensor.
const MAX_WIDTH: usize = 1 << 24;
const MAX_NUMBERS: usize = 1 << 40;
/// More layers than any model has.
const MAX_LAYERS: usize = 4096;

/// Sizes of a whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The text decoder.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Placeholder token of still pictures.
    pub image_token_id: u32,
    /// Placeholder token of videos.
    pub video_token_id: u32,
    /// Opens a picture.
    pub vision_start_token_id: u32,
    /// Closes a picture.
    pub vision_end_token_id: u32,
    /// Whether the head is the embedding table.
    pub tied_head: bool,
}

/// Sizes of the text decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head; heads times this may differ from the hidden width.
    pub head_dim: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Frequencies per axis (time, height, width), interleaved.
    pub mrope_section: [usize; 3],
    /// Sizes of sparse layers, if the model has some.
    pub moe: Option<MoeConfig>,
}

/// Sizes of the vision tower.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Width of the block MLP.
    pub intermediate_size: usize,
    /// Attention heads.
    pub heads: usize,
    /// Colour channels.
    pub in_channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames in one temporal patch.
    pub temporal_patch_size: usize,
    /// Side of the block of patches that becomes one token.
    pub spatial_merge_size: usize,
    /// Rows of the learned position table, a square number.
    pub position_embeddings: usize,
    /// Blocks (counted from 0) whose output feeds DeepStack.
    pub deepstack_indexes: Vec<usize>,
}

impl VisionConfig {
    /// Inputs of one flattened patch.
    pub fn patch_inputs(&self) -> usize {
        self.in_channels * self.temporal_patch_size * self.patch_size * self.patch_size
    }

    /// Patches that become one token.
    pub fn merge_area(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }

    /// Side of the square position table.
    pub fn table_side(&self) -> usize {
        self.position_embeddings.isqrt()
    }
}

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
        Self::from_json(&read_text(&path, MAX_BYTES)?, &path.display().to_string())
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
    /// When it is no JSON, a size is missing, or sizes contradict each other.
    pub fn from_json(text: &str, file: &str) -> Result<Self> {
        let raw: RawConfig = serde_json::from_str(text).map_err(|error| PolicyError::file(file, error.to_string()))?;
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

    fn check(&self) -> std::result::Result<(), String> {
        let (text, vision) = (&self.text, &self.vision);
        let sizes = [
            ("vocab_size", text.vocab_size),
            ("hidden_size", text.hidden_size),
            ("intermediate_size", text.intermediate_size),
            ("num_hidden_layers", text.layers),
            ("num_attention_heads", text.heads),
            ("num_key_value_heads", text.kv_heads),
            ("head_dim", text.head_dim),
            ("vision depth", vision.depth),
            ("vision hidden_size", vision.hidden_size),
            ("vision intermediate_size", vision.intermediate_size),
            ("vision num_heads", vision.heads),
            ("in_channels", vision.in_channels),
            ("patch_size", vision.patch_size),
            ("temporal_patch_size", vision.temporal_patch_size),
            ("spatial_merge_size", vision.spatial_merge_size),
            ("num_position_embeddings", vision.position_embeddings),
        ];
        for (name, size) in sizes {
            if size == 0 || size > MAX_WIDTH {
                return Err(format!("`{name}` is {size}, which no model has"));
            }
        }
        for (name, layers) in [("num_hidden_layers", text.layers), ("vision depth", vision.depth)] {
            if layers > MAX_LAYERS {
                return Err(format!("`{name}` is {layers}, which no model has"));
            }
        }
        self.check_products()?;
        let must = |holds: bool, reason: &str| if holds { Ok(()) } else { Err(reason.to_owned()) };
        must(
            text.heads.is_multiple_of(text.kv_heads),
            "`num_attention_heads` is not a multiple of `num_key_value_heads`",
        )?;
        must(text.head_dim.is_multiple_of(2), "`head_dim` is odd")?;
        must(
            text.mrope_section.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part)) == Some(text.head_dim / 2),
            "`mrope_section` does not add up to half of `head_dim`",
        )?;
        must(vision.hidden_size.is_multiple_of(vision.heads), "the tower's width is not a multiple of its heads")?;
        must((vision.hidden_size / vision.heads).is_multiple_of(4), "the tower's head width is not a multiple of 4")?;
        must(vision.table_side().pow(2) == vision.position_embeddings, "`num_position_embeddings` is not a square")?;
        must(
            vision.deepstack_indexes.iter().all(|index| *index < vision.depth),
            "a DeepStack index is beyond the tower's depth",
        )?;
        must(vision.deepstack_indexes.windows(2).all(|pair| pair[0] < pair[1]), "the DeepStack indexes do not rise")?;
        must(vision.deepstack_indexes.len() <= text.layers, "there are more DeepStack taps than text layers")
    }

    /// Products of sizes are sizes too.
    fn check_products(&self) -> std::result::Result<(), String> {
        let (text, vision) = (&self.text, &self.vision);
        let [experts, expert] = text.moe.as_ref().map_or([1, 1], |moe| [moe.experts, 2 * moe.intermediate_size]);
        let merge = vision.spatial_merge_size;
        let patch = [vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size];
        let widths: [(&str, &[usize]); 4] = [
            ("`num_attention_heads` times `head_dim`", &[text.heads, text.head_dim]),
            ("`num_key_value_heads` times `head_dim`", &[text.kv_heads, text.head_dim]),
            ("a patch of the tower", &patch),
            ("a block of patches", &[vision.hidden_size, merge, merge]),
        ];
        let block = vision.hidden_size.saturating_mul(merge).saturating_mul(merge);
        let tensors: [(&str, &[usize]); 9] = [
            ("the embedding table", &[text.vocab_size, text.hidden_size]),
            ("a layer's attention", &[text.heads, text.head_dim, text.hidden_size]),
            ("a layer's MLP", &[text.intermediate_size, text.hidden_size]),
            ("a layer's experts", &[experts, expert, text.hidden_size]),
            ("a block of the tower", &[3, vision.hidden_size, vision.hidden_size]),
            ("a block's MLP", &[vision.intermediate_size, vision.hidden_size]),
            ("the tower's positions", &[vision.position_embeddings, vision.hidden_size]),
            ("a merger", &[block, block.max(text.hidden_size)]),
            ("the patch embedding", &[vision.hidden_size, patch.iter().fold(1, |all, one| all.saturating_mul(*one))]),
        ];
        let limited = |(name, factors): (&str, &[usize]), most: usize| {
            let product = factors.iter().try_fold(1_usize, |product, factor| product.checked_mul(*factor));
            match product.filter(|product| *product <= most) {
                Some(_) => Ok(()),
                None => Err(format!("{name} would have more than {most} numbers, which no model has")),
            }
        };
        widths.into_iter().try_for_each(|width| limited(width, MAX_WIDTH))?;
        tensors.into_iter().try_for_each(|tensor| limited(tensor, MAX_NUMBERS))?;
        if text.moe.as_ref().is_some_and(|moe| moe.dense_layers.len() > text.layers) {
            return Err("`mlp_only_layers` names more layers than there are".to_owned());
        }
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if !positive(text.rope_theta) || !text.rms_norm_eps.is_finite() || text.rms_norm_eps < 0.0 {
            return Err("`rope_theta` must be above 0, and `rms_norm_eps` not below".to_owned());
        }
        Ok(())
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
