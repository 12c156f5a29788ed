//! Models by name: presets are embedded in the binary, everything else is a checkpoint folder.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use crate::config::{Config, TextConfig, VisionConfig};
use crate::error::{PolicyError, Result};
use crate::policy::Policy;
use crate::processor::Processor;

/// The names of the embedded presets.
pub const PRESETS: [&str; 2] = ["tiny", "judge"];

/// A policy with its processor.
#[derive(Debug)]
pub struct Model {
    /// The weights.
    pub policy: Policy,
    /// What turns messages into its input.
    pub processor: Processor,
}

impl Model {
    /// Opens a preset (`tiny` with random weights from `seed`, `judge` with its trained ones) or a checkpoint folder.
    ///
    /// # Errors
    /// When there is no such preset or folder, or its files are wrong.
    pub fn open(name: &str, seed: u64, device: &Device) -> Result<Self> {
        let folder = Path::new(name);
        if PRESETS.contains(&name) {
            return preset(name, seed, device);
        }
        if let Some(adapter) = crate::lora::adapter_folder(folder) {
            return crate::lora::open(&adapter, seed, device);
        }
        // A run's checkpoint keeps the policy beside the trainer's state.
        let inner = folder.join("policy");
        let folder = if inner.join("config.json").is_file() { inner } else { folder.to_owned() };
        if !folder.join("config.json").is_file() {
            return Err(PolicyError::input(format!(
                "there is no model `{name}`: neither a preset ({}) nor a folder with a config.json",
                PRESETS.join(", ")
            )));
        }
        let mut policy = Policy::load(&folder, device)?;
        let processor = Processor::from_dir(&folder, &policy.config)?;
        policy.banned.retain(|id| !processor.stop_ids().contains(id));
        Ok(Self { policy, processor })
    }

    /// Writes a folder that opens again: config, weights and the processor's files, aside first and then renamed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, folder: &Path, format: crate::weights::WeightFormat) -> Result<()> {
        let aside = folder.with_extension("tmp");
        let io = |source| PolicyError::io(folder, source);
        if aside.exists() {
            std::fs::remove_dir_all(&aside).map_err(io)?;
        }
        std::fs::create_dir_all(&aside).map_err(io)?;
        self.policy.save(&aside, format)?;
        self.processor.save(&aside)?;
        std::fs::rename(&aside, folder).map_err(io)
    }
}

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => {
        BTreeMap::from([$(($name.to_owned(), include_bytes!(concat!("../presets/tiny/", $name)).to_vec())),+])
    };
}

/// The weights of the preset `judge`, in bf16: what `configs/judge.toml` makes.
const JUDGE_WEIGHTS: &[u8] = include_bytes!("../presets/judge/model.safetensors");

/// A small policy: the architecture of Qwen3-VL with about 1.7 million parameters.
fn preset(name: &str, seed: u64, device: &Device) -> Result<Model> {
    let files = embedded!("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json");
    let tokenizer = crate::processor::Tokenizer::from_bytes(&files["tokenizer.json"], "tokenizer.json")?;
    let id = |token: &str| {
        tokenizer.id(token).ok_or_else(|| PolicyError::file("tokenizer.json", format!("has no `{token}`")))
    };
    let config = Config {
        text: TextConfig {
            vocab_size: tokenizer.vocabulary_size(),
            hidden_size: 128,
            intermediate_size: 256,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            mrope_section: [6, 5, 5],
            moe: None,
        },
        vision: VisionConfig {
            depth: 2,
            hidden_size: 128,
            intermediate_size: 256,
            heads: 4,
            in_channels: 3,
            patch_size: 16,
            temporal_patch_size: 2,
            spatial_merge_size: 2,
            position_embeddings: 64,
            deepstack_indexes: vec![0],
        },
        image_token_id: id("<|image_pad|>")?,
        video_token_id: id("<|video_pad|>")?,
        vision_start_token_id: id("<|vision_start|>")?,
        vision_end_token_id: id("<|vision_end|>")?,
        tied_head: true,
    };
    let processor = Processor::from_files(files, &config)?;
    let policy = match name {
        "judge" => Policy::from_bytes(config, JUDGE_WEIGHTS, "the preset `judge`", device)?,
        _ => Policy::random(config, seed, device),
    };
    Ok(Model { policy, processor })
}
