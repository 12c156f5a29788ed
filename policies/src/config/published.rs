//! The sizes of the published Qwen3-VL models, by name.

use serde_json::{Value, json};

use super::moe::{ExpertLayout, MoeConfig};
use super::{Config, TextConfig, VisionConfig};

/// The names of the published sizes.
pub const PUBLISHED: [&str; 6] = ["2b", "4b", "8b", "32b", "30b-a3b", "235b-a22b"];

/// Positions that a published model was made for.
const MAX_POSITIONS: usize = 262_144;

/// What differs between the text decoders.
struct TextSizes {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    /// Width of an expert, where there are 128, 8 of them for a row.
    expert: Option<usize>,
    tied_head: bool,
}

const fn dense(hidden: usize, intermediate: usize, layers: usize, heads: usize, tied_head: bool) -> TextSizes {
    TextSizes { hidden, intermediate, layers, heads, kv_heads: 8, expert: None, tied_head }
}

const fn sparse(hidden: usize, intermediate: usize, layers: usize, heads: usize, expert: usize) -> TextSizes {
    TextSizes { hidden, intermediate, layers, heads, kv_heads: 4, expert: Some(expert), tied_head: false }
}

/// The published sizes called `name`: `8b`, `30B-A3B`, or `Qwen3-VL-8B-Instruct` in full.
pub fn published(name: &str) -> Option<Config> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix("qwen/").unwrap_or(&name);
    let name = name.strip_prefix("qwen3-vl-").unwrap_or(name);
    let name = ["-instruct", "-thinking"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    Some(match name {
        "2b" => config(&dense(2048, 6144, 28, 16, true), small_tower()),
        "4b" => config(&dense(2560, 9728, 36, 32, true), small_tower()),
        "8b" => config(&dense(4096, 12_288, 36, 32, false), large_tower()),
        "32b" => config(&dense(5120, 25_600, 64, 64, false), large_tower()),
        "30b-a3b" => config(&sparse(2048, 6144, 48, 32, 768), large_tower()),
        "235b-a22b" => config(&sparse(4096, 12_288, 94, 64, 1536), large_tower()),
        _ => return None,
    })
}

/// Whether these are the sizes of a published model.
pub(crate) fn is_published(config: &Config) -> bool {
    PUBLISHED.iter().filter_map(|name| published(name)).any(|known| known == *config)
}

/// The `config.json` of a published model, as complete as the published one.
pub fn published_json(config: &Config) -> Value {
    let mut value = config.to_json();
    value["text_config"]["max_position_embeddings"] = json!(MAX_POSITIONS);
    value["text_config"]["initializer_range"] = json!(0.02);
    value["vision_config"]["initializer_range"] = json!(0.02);
    value
}

fn config(text: &TextSizes, vision: VisionConfig) -> Config {
    Config {
        text: TextConfig {
            vocab_size: 151_936,
            hidden_size: text.hidden,
            intermediate_size: text.intermediate,
            layers: text.layers,
            heads: text.heads,
            kv_heads: text.kv_heads,
            head_dim: 128,
            rms_norm_eps: 1e-6,
            rope_theta: 5_000_000.0,
            mrope_section: [24, 20, 20],
            moe: text.expert.map(|intermediate_size| MoeConfig {
                experts: 128,
                top_k: 8,
                intermediate_size,
                sparse_step: 1,
                dense_layers: Vec::new(),
                balance_coef: 0.001,
                layout: ExpertLayout::InOut,
            }),
        },
        vision,
        image_token_id: 151_655,
        video_token_id: 151_656,
        vision_start_token_id: 151_652,
        vision_end_token_id: 151_653,
        tied_head: text.tied_head,
    }
}

fn small_tower() -> VisionConfig {
    tower(24, 1024, 4096, [5, 11, 17])
}

fn large_tower() -> VisionConfig {
    tower(27, 1152, 4304, [8, 16, 24])
}

fn tower(depth: usize, hidden_size: usize, intermediate_size: usize, taps: [usize; 3]) -> VisionConfig {
    VisionConfig {
        depth,
        hidden_size,
        intermediate_size,
        heads: 16,
        in_channels: 3,
        patch_size: 16,
        temporal_patch_size: 2,
        spatial_merge_size: 2,
        position_embeddings: 2304,
        deepstack_indexes: taps.to_vec(),
    }
}
