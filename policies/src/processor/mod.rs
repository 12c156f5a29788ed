//! Everything between messages and tensors: chat template, tokenizer, pictures.

pub(crate) mod carried;
mod chat;
mod image;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use self::chat::{ChatMessage, ChatOptions, ChatTemplate};
pub use self::image::{ImageProcessor, opaque, smart_resize};
pub use self::tokenizer::{Tokenizer, train_tokenizer};
use crate::config::Config;
use crate::error::{PolicyError, Result};
use crate::input::{ImageSpan, PolicyInput};

/// A checkpoint's processor.
#[derive(Debug)]
pub struct Processor {
    tokenizer: Tokenizer,
    template: ChatTemplate,
    images: ImageProcessor,
    image_token_id: u32,
    video_token_id: u32,
    special_tokens: Vec<String>,
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

    /// The same from files in memory, by name.
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
        let vision = &config.vision;
        if (images.patch_size, images.merge_size, images.temporal_patch_size)
            != (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        {
            return Err(PolicyError::file(image_file, "patch sizes are not those of `config.json`"));
        }
        let (source, file) = template_source(&files, &tokenizer_config)?;
        let template = ChatTemplate::new(&source, &file)?;
        let stop_ids = stop_ids(json("generation_config.json")?.as_ref(), &tokenizer_config, &tokenizer);
        let mut processor = Self {
            special_tokens: tokenizer.special_tokens(),
            tokenizer,
            template,
            images,
            image_token_id: config.image_token_id,
            video_token_id: config.video_token_id,
            stop_ids,
            thinking_open: false,
            files,
        };
        let probe = ChatMessage { role: "user".to_owned(), content: Value::from("."), tool_calls: None };
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        processor.thinking_open = processor.template.render(&[probe], &options)?.trim_end().ends_with("<think>");
        Ok(processor)
    }

    /// A conversation with its pictures, in order, as the policy's input.
    ///
    /// # Errors
    /// When pictures and placeholders differ in number, text contains special tokens, or a picture cannot be used.
    pub fn encode(
        &self,
        messages: &[ChatMessage],
        pictures: &[::image::RgbImage],
        options: &ChatOptions,
    ) -> Result<PolicyInput> {
        self.refuse_special_tokens(messages)?;
        let ids = self.tokenizer.encode(&self.template.render(messages, options)?)?;
        let placeholders = ids.iter().filter(|id| **id == self.image_token_id).count();
        if ids.contains(&self.video_token_id) {
            return Err(PolicyError::input("videos are not supported yet; give their frames as pictures"));
        }
        if placeholders != pictures.len() {
            return Err(PolicyError::input(format!(
                "the messages name {placeholders} pictures, but {} are given",
                pictures.len()
            )));
        }
        let mut input = PolicyInput { ids: Vec::with_capacity(ids.len()), spans: Vec::new(), pictures: Vec::new() };
        for id in ids {
            if id != self.image_token_id {
                input.ids.push(id);
                continue;
            }
            let picture = self.images.process(&pictures[input.pictures.len()])?;
            let len = picture.tokens(self.images.merge_size);
            input.spans.push(ImageSpan { start: input.ids.len(), len, picture: input.pictures.len(), slot: 0 });
            input.ids.extend(std::iter::repeat_n(id, len));
            input.pictures.push(picture);
        }
        Ok(input)
    }

    fn refuse_special_tokens(&self, messages: &[ChatMessage]) -> Result<()> {
        for message in messages {
            let text = message.content.to_string();
            if let Some(token) = self.special_tokens.iter().find(|token| text.contains(token.as_str())) {
                return Err(PolicyError::input(format!(
                    "a {} message contains the special token `{token}`, which would be read as a part of the conversation's frame; take it out",
                    message.role
                )));
            }
        }
        Ok(())
    }

    /// The text of token ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.tokenizer.decode(ids, skip_special)
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
