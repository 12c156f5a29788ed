//! The sizes of a Qwen3-VL model, and whether they can be.

mod foreign;
mod json;
mod moe;
pub mod published;

pub use self::moe::{ExpertLayout, MoeConfig};

/// The longest `config.json` that is read.
pub(crate) const MAX_CONFIG_BYTES: u64 = 16 << 20;
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

impl Config {
    /// What is wrong with the sizes, by the names that files give them.
    fn check(&self) -> Result<(), String> {
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
                return Err(format!("`{name}` is {size}; it must be at least 1, and {MAX_WIDTH} at most"));
            }
        }
        for (name, layers) in [("num_hidden_layers", text.layers), ("vision depth", vision.depth)] {
            if layers > MAX_LAYERS {
                return Err(format!("`{name}` is {layers}; it must be {MAX_LAYERS} at most"));
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
    fn check_products(&self) -> Result<(), String> {
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
                None => Err(format!("{name} would have more than {most} numbers, which cannot be computed with")),
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
}
