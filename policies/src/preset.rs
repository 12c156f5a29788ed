//! Models by name: presets are embedded in the binary, everything else is a checkpoint folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::Value;

use crate::adapt::{adapter_folder, base_model};
use crate::config::published::published;
use crate::config::{Config, TextConfig, VisionConfig};
use crate::error::{PolicyError, Result};
use crate::file::{write_folder, write_synced};
use crate::format::WeightFormat;
use crate::hub;
use crate::policy::Policy;
use crate::processor::{Processor, PromptLimit, Tokenizer};
use crate::sizes::hollow;
use crate::weights::{Loading, SHARD_BYTES};

/// The names of the embedded presets.
pub const PRESETS: [&str; 2] = ["tiny", "judge"];

/// The context of a model whose `config.json` does not say, as the reference has it.
const MOST_CONTEXT: usize = 128_000;

/// A policy with its processor.
#[derive(Debug)]
pub struct Model {
    /// The weights.
    pub policy: Policy,
    /// What turns messages into its input.
    pub processor: Arc<Processor>,
    /// The `config.json` that it was opened with.
    source_config: Option<String>,
}

/// Where the checkpoint called `name` lies: the folder itself, the policy of a run's checkpoint, or, of a hub id
/// (`Qwen/Qwen3-VL-2B-Instruct`), its folder in the local Hugging Face cache.
///
/// # Errors
/// When there is no such folder, or no `config.json` in it.
pub fn checkpoint_folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new(name);
    // A run's checkpoint keeps the policy beside the trainer's state.
    let inner = folder.join("policy");
    let folder = if inner.join("config.json").is_file() { inner } else { folder.to_owned() };
    if folder.join("config.json").is_file() {
        return Ok(folder);
    }
    if folder.is_file() {
        return Err(PolicyError::input(format!(
            "`{name}` is a file; a model is a folder with a config.json and its weights as safetensors"
        )));
    }
    if let Some(snapshot) = hub::snapshot(name) {
        return snapshot;
    }
    let mut reason = format!(
        "there is no model `{name}`: neither a preset ({}) nor a folder with a config.json",
        PRESETS.join(", ")
    );
    if published(name).is_some() {
        reason.push_str(&format!(
            "; the published sizes have no weights here: give the folder of a checkpoint, or make a random one with \
             `sapo bench init --model {name} --out FOLDER`"
        ));
    }
    Err(PolicyError::input(reason))
}

/// The sizes of a preset, of a published model, of a checkpoint folder, or of the model of an adapter's folder.
///
/// # Errors
/// When there is none of that name, or its `config.json` is wrong.
pub fn config_of(name: &str) -> Result<Config> {
    if PRESETS.contains(&name) {
        return tiny_config(&Tokenizer::from_bytes(TOKENIZER, "tokenizer.json")?);
    }
    if let Some(adapter) = adapter_folder(Path::new(name)) {
        return config_of(&base_model(&adapter)?.display().to_string());
    }
    match (published(name), checkpoint_folder(name)) {
        (_, Ok(folder)) => Config::read(&folder),
        (Some(config), Err(_)) if !Path::new(name).exists() => Ok(config),
        (_, Err(error)) => Err(error),
    }
}

/// The processor of a preset, a checkpoint folder or an adapter's folder with its model; no weights are read.
///
/// # Errors
/// As [`Model::open`], less those of weights.
pub fn processor_of(name: &str) -> Result<Processor> {
    if PRESETS.contains(&name) {
        return Processor::from_files(embedded_files(), &config_of(name)?);
    }
    if let Some(adapter) = adapter_folder(Path::new(name)) {
        return processor_of(&base_model(&adapter)?.display().to_string());
    }
    let folder = checkpoint_folder(name)?;
    let config = Config::read(&folder)?;
    let processor = Processor::from_dir(&folder, &config)?;
    check_vocabulary(&config, processor.tokenizer())?;
    Ok(processor)
}

impl Model {
    /// Opens a preset (`tiny` with random weights from `seed`, `judge` with its trained ones) or a checkpoint folder.
    ///
    /// # Errors
    /// When there is no such preset or folder, or its files are wrong.
    pub fn open(name: &str, seed: u64, device: &Device) -> Result<Self> {
        Self::open_as(name, seed, Loading::default(), device)
    }

    /// Opens a preset, a checkpoint folder, or an adapter's folder with its model; `loading` says how weights are loaded
    /// and kept.
    ///
    /// # Errors
    /// As [`Model::open`], and when the device does not compute in the format that weights are to be kept in.
    pub fn open_as(name: &str, seed: u64, loading: Loading<'_>, device: &Device) -> Result<Self> {
        loading.check(device)?;
        if PRESETS.contains(&name) {
            let mut model = preset(name, seed, device)?;
            model.policy.keep_in(&loading);
            return Ok(model);
        }
        if let Some(adapter) = adapter_folder(Path::new(name)) {
            let mut model = Self::open_as(&base_model(&adapter)?.display().to_string(), seed, loading, device)?;
            model.policy.load_adapter(&adapter)?;
            return Ok(model);
        }
        let folder = checkpoint_folder(name)?;
        let mut policy = Policy::load_as(&folder, loading, device)?;
        let processor = Processor::from_dir(&folder, &policy.config)?;
        check_vocabulary(&policy.config, processor.tokenizer())?;
        policy.banned.retain(|id| !processor.stop_ids().contains(id));
        let path = folder.join("config.json");
        let source_config = std::fs::read_to_string(&path).map_err(|source| PolicyError::io(path, source))?;
        Ok(Self { policy, processor: Arc::new(processor), source_config: Some(source_config) })
    }

    /// A model for servers that answer in its place: its processor and its sizes are read, its weights are not.
    ///
    /// # Errors
    /// When there is no such preset or folder, or its files are wrong.
    pub fn open_without_weights(name: &str, device: &Device) -> Result<Self> {
        let (config, processor) = (config_of(name)?, processor_of(name)?);
        let mut policy = hollow(&config, device)?;
        policy.banned.retain(|id| !processor.stop_ids().contains(id));
        Ok(Self { policy, processor: Arc::new(processor), source_config: None })
    }

    /// Tokens of a prompt and its answer together at most: `max_position_embeddings` of the `config.json`.
    pub fn context(&self) -> usize {
        let said = match &self.source_config {
            Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            None => self.policy.config.to_json(),
        };
        let context = said["text_config"]["max_position_embeddings"].as_u64();
        context.and_then(|context| usize::try_from(context).ok()).filter(|context| *context > 1).unwrap_or(MOST_CONTEXT)
    }

    /// Bounds the prompts that the processor makes from now on.
    pub fn limit_prompts(&mut self, limit: Option<PromptLimit>) {
        Arc::make_mut(&mut self.processor).limit_prompts(limit);
    }

    /// Writes a folder that opens again: config, weights and the processor's files, aside first and then renamed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, folder: &Path, format: WeightFormat) -> Result<()> {
        self.save_sharded(folder, format, SHARD_BYTES)
    }

    /// Writes a folder as [`Model::save`] does, with shards of so many bytes at most.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_sharded(&self, folder: &Path, format: WeightFormat, shard_bytes: u64) -> Result<()> {
        write_folder(folder, |aside| {
            let config = self.policy.config.text(self.source_config.as_deref(), format);
            write_synced(&aside.join("config.json"), &config)?;
            self.policy.save_weights(aside, format, shard_bytes)?;
            self.processor.save(aside)
        })
    }
}

macro_rules! embedded {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        BTreeMap::from([$((
            $name.to_owned(),
            include_bytes!(concat!("../presets/", $folder, "/", $name)).to_vec()
        )),+])
    };
}

/// The weights of the preset `judge`, in bf16: what `configs/judge.toml` makes.
const JUDGE_WEIGHTS: &[u8] = include_bytes!("../presets/judge/model.safetensors");

const TOKENIZER: &[u8] = include_bytes!("../presets/tiny/tokenizer.json");

/// The processor's files of the presets, by name.
pub(crate) fn embedded_files() -> BTreeMap<String, Vec<u8>> {
    embedded!("tiny": "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json")
}

/// What the published models say of pictures and videos, by file: all sizes alike.
pub(crate) fn published_picture_files() -> BTreeMap<String, Vec<u8>> {
    embedded!("published": "preprocessor_config.json", "video_preprocessor_config.json")
}

/// A small policy: the architecture of Qwen3-VL with about 1.7 million parameters.
fn preset(name: &str, seed: u64, device: &Device) -> Result<Model> {
    let config = tiny_config(&Tokenizer::from_bytes(TOKENIZER, "tokenizer.json")?)?;
    let processor = Processor::from_files(embedded_files(), &config)?;
    let policy = match name {
        "judge" => Policy::from_bytes(config, JUDGE_WEIGHTS, "the preset `judge`", device)?,
        _ => Policy::random(config, seed, device),
    };
    Ok(Model { policy, processor: Arc::new(processor), source_config: None })
}

/// The sizes of the presets.
fn tiny_config(tokenizer: &Tokenizer) -> Result<Config> {
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
        image_token_id: 0,
        video_token_id: 0,
        vision_start_token_id: 0,
        vision_end_token_id: 0,
        tied_head: true,
    };
    with_vision_tokens(config, tokenizer)
}

/// The sizes with the ids that `tokenizer` gives to the tokens around pictures.
///
/// # Errors
/// When it has no such token.
pub(crate) fn with_vision_tokens(config: Config, tokenizer: &Tokenizer) -> Result<Config> {
    let id = |token: &str| {
        tokenizer.id(token).ok_or_else(|| PolicyError::file("tokenizer.json", format!("has no `{token}`")))
    };
    Ok(Config {
        image_token_id: id("<|image_pad|>")?,
        video_token_id: id("<|video_pad|>")?,
        vision_start_token_id: id("<|vision_start|>")?,
        vision_end_token_id: id("<|vision_end|>")?,
        ..config
    })
}

/// Every id of the tokenizer must have a row in the embedding table.
///
/// # Errors
/// When one has none.
pub(crate) fn check_vocabulary(config: &Config, tokenizer: &Tokenizer) -> Result<()> {
    let (rows, largest) = (config.text.vocab_size, tokenizer.largest_id());
    if (largest as usize) < rows {
        return Ok(());
    }
    let reason = format!("has ids up to {largest}, but `vocab_size` is {rows}: it is not the tokenizer of this model");
    Err(PolicyError::file("tokenizer.json", reason))
}
