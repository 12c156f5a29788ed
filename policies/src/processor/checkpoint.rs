//! A checkpoint's processor, from its files and back.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::carried;
use super::chat::{ChatMessage, ChatOptions, ChatTemplate};
use super::image::ImageProcessor;
use super::limit::PromptLimit;
use super::marks::Marks;
use super::tokenizer::Tokenizer;
use super::video::VideoProcessor;
use crate::config::Config;
use crate::error::{PolicyError, Result};

/// A checkpoint's processor.
#[derive(Clone, Debug)]
pub struct Processor {
    pub(super) tokenizer: Tokenizer,
    pub(super) template: ChatTemplate,
    pub(super) images: ImageProcessor,
    pub(super) videos: VideoProcessor,
    pub(super) marks: Marks,
    pub(super) limit: Option<PromptLimit>,
    pub(super) special_tokens: Vec<String>,
    stop_ids: Vec<u32>,
    thinking_open: bool,
    files: BTreeMap<String, Vec<u8>>,
}

impl Processor {
    /// Reads the processor's files of a checkpoint folder.
    ///
    /// # Errors
    /// When a file is missing or does not say what it must.
    pub fn from_dir(folder: &Path, config: &Config) -> Result<Self> {
        Self::from_files(carried::read(folder)?, config)
    }

    /// Takes the processor's files of a checkpoint from memory, by name.
    ///
    /// # Errors
    /// As [`Processor::from_dir`].
    pub fn from_files(files: BTreeMap<String, Vec<u8>>, config: &Config) -> Result<Self> {
        let json = |name: &str| files.get(name).map(|bytes| parse(bytes, name)).transpose();
        let tokenizer_bytes =
            files.get("tokenizer.json").ok_or_else(|| PolicyError::file("tokenizer.json", "is missing"))?;
        let tokenizer = Tokenizer::from_bytes(tokenizer_bytes, "tokenizer.json")?;
        let tokenizer_config = json("tokenizer_config.json")?.unwrap_or(Value::Null);
        let (image_config, image_file) = match json("preprocessor_config.json")? {
            Some(value) => (value, "preprocessor_config.json"),
            None => (json("processor_config.json")?.unwrap_or(Value::Null), "processor_config.json"),
        };
        let images = ImageProcessor::from_json(&image_config, image_file)?;
        // Without a section for videos their frames follow the settings of pictures.
        let (video_config, video_file) = match json("video_preprocessor_config.json")? {
            Some(value) => (value, "video_preprocessor_config.json"),
            None => match json("processor_config.json")?.filter(|config| config.get("video_processor").is_some()) {
                Some(value) => (value, "processor_config.json"),
                None => (image_config.get("image_processor").cloned().unwrap_or(image_config), image_file),
            },
        };
        let videos = VideoProcessor::from_json(&video_config, video_file)?;
        let vision = &config.vision;
        for (settings, file) in [(&images, image_file), (&videos.frames, video_file)] {
            if (settings.patch_size, settings.merge_size, settings.temporal_patch_size)
                != (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
            {
                return Err(PolicyError::file(file, "patch sizes are not those of `config.json`"));
            }
        }
        let (source, file) = template_source(&files, &tokenizer_config)?;
        let mut template = ChatTemplate::new(&source, &file)?;
        template.define(named_tokens(&tokenizer_config));
        let stop_ids = stop_ids(json("generation_config.json")?.as_ref(), &tokenizer_config, &tokenizer);
        let mut processor = Self {
            special_tokens: tokenizer.special_tokens(),
            marks: Marks::of(config, &tokenizer)?,
            limit: None,
            tokenizer,
            template,
            images,
            videos,
            stop_ids,
            thinking_open: false,
            files,
        };
        let probe = ChatMessage { role: "user".to_owned(), content: Value::from("."), tool_calls: None };
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        processor.thinking_open = processor.template.render(&[probe], &options)?.trim_end().ends_with("<think>");
        Ok(processor)
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.tokenizer.decode(ids, skip_special)
    }

    /// What a token adds to a text, in bytes: none for a special one. The text of tokens is that of their bytes in a row.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokenizer.bytes().get(id)
    }

    /// Token ids that end an answer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Whether the generation prompt already opens a `<think>` block.
    pub fn thinking_open(&self) -> bool {
        self.thinking_open
    }

    /// The tokenizer alone.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template alone.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The image processor alone.
    pub fn images(&self) -> &ImageProcessor {
        &self.images
    }

    /// The video processor alone.
    pub fn videos(&self) -> &VideoProcessor {
        &self.videos
    }

    /// Writes the files that were read, unchanged: also those that nothing here needs.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        carried::write(folder, &self.files)
    }
}

fn parse(bytes: &[u8], name: &str) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| PolicyError::file(name, error.to_string()))
}

fn template_source(files: &BTreeMap<String, Vec<u8>>, tokenizer_config: &Value) -> Result<(String, String)> {
    if let Some(bytes) = files.get("chat_template.jinja") {
        let text = String::from_utf8(bytes.clone())
            .map_err(|error| PolicyError::file("chat_template.jinja", error.to_string()))?;
        return Ok((text, "chat_template.jinja".to_owned()));
    }
    let packed = match files.get("chat_template.json") {
        Some(bytes) => (parse(bytes, "chat_template.json")?, "chat_template.json"),
        None => (tokenizer_config.clone(), "tokenizer_config.json"),
    };
    let text =
        packed.0["chat_template"].as_str().ok_or_else(|| PolicyError::file(packed.1, "holds no `chat_template`"))?;
    Ok((text.to_owned(), packed.1.to_owned()))
}

/// Tokens that templates know by name, such as `eos_token`.
fn named_tokens(tokenizer_config: &Value) -> Vec<(String, String)> {
    let named = tokenizer_config.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token"));
    let text = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    named.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn stop_ids(generation: Option<&Value>, tokenizer_config: &Value, tokenizer: &Tokenizer) -> Vec<u32> {
    let mut ids: Vec<u32> = Vec::new();
    let named = generation.map_or(&Value::Null, |generation| &generation["eos_token_id"]);
    let listed = named.as_array().cloned().unwrap_or_else(|| vec![named.clone()]);
    ids.extend(listed.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()));
    let eos = &tokenizer_config["eos_token"];
    let eos = eos.as_str().or_else(|| eos["content"].as_str());
    ids.extend(eos.into_iter().chain(["<|im_end|>"]).filter_map(|token| tokenizer.id(token)));
    ids.sort_unstable();
    ids.dedup();
    ids
}
