//! A conversation with its pictures and videos as the policy's input: placeholders become spans that fit their features.

use image::RgbImage;
use serde_json::Value;

use super::chat::{ChatMessage, ChatOptions};
use super::checkpoint::Processor;
use super::clip::Clip;
use super::limit::{PromptLimit, TooLong};
use super::marks::Kind;
use super::video::VideoInput;
use crate::error::{PolicyError, Result};
use crate::input::{ImageSpan, PictureInput, PolicyInput};

/// The pictures and videos of a conversation, each in the order in which the messages name them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visuals<'a> {
    /// Decoded pictures.
    pub pictures: &'a [RgbImage],
    /// Opened videos.
    pub videos: &'a [Clip],
}

/// Pictures by their sizes `[height, width]` in pixels, and videos, each in the order in which the messages name them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes<'a> {
    /// Sizes of pictures.
    pub pictures: &'a [[usize; 2]],
    /// Opened videos.
    pub videos: &'a [Clip],
}

/// How long a prompt is, and what is left out of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Tokens, placeholders of pictures and videos counted.
    pub tokens: usize,
    /// Pictures that were left out, counted from 0.
    pub dropped_pictures: Vec<usize>,
    /// Videos that were left out, counted from 0.
    pub dropped_videos: Vec<usize>,
}

/// A prompt, and what was left out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// The policy's input.
    pub input: PolicyInput,
    /// Pictures that were left out, counted from 0.
    pub dropped_pictures: Vec<usize>,
    /// Videos that were left out, counted from 0.
    pub dropped_videos: Vec<usize>,
}

impl Processor {
    /// A conversation with its pictures, in order, as the policy's input.
    ///
    /// # Errors
    /// When pictures and placeholders differ in number, text contains special tokens, or a picture cannot be used.
    pub fn encode(
        &self,
        messages: &[ChatMessage],
        pictures: &[RgbImage],
        options: &ChatOptions,
    ) -> Result<PolicyInput> {
        self.encode_with(messages, Visuals { pictures, videos: &[] }, options)
    }

    /// Sets how long a prompt may be; without it, as long as it is.
    pub fn limit_prompts(&mut self, limit: Option<PromptLimit>) {
        self.limit = limit;
    }

    /// A conversation with its pictures and videos as the policy's input, within the limit that was set. What that
    /// limit left out is counted in [`PolicyInput::dropped_pictures`].
    ///
    /// # Errors
    /// As [`Processor::encode`], and when a video cannot be used or the prompt is too long.
    pub fn encode_with(
        &self,
        messages: &[ChatMessage],
        visuals: Visuals<'_>,
        options: &ChatOptions,
    ) -> Result<PolicyInput> {
        self.encode_within(messages, visuals, options, self.limit).map(|encoded| encoded.input)
    }

    /// A conversation with its pictures and videos as the policy's input, no longer than `limit`: a longer prompt is
    /// refused, or loses whole pictures, never a part of one.
    ///
    /// # Errors
    /// As [`Processor::encode_with`], and when the prompt is too long.
    pub fn encode_within(
        &self,
        messages: &[ChatMessage],
        visuals: Visuals<'_>,
        options: &ChatOptions,
        limit: Option<PromptLimit>,
    ) -> Result<Encoded> {
        let size = |picture: &RgbImage| [picture.height() as usize, picture.width() as usize];
        let sizes: Vec<[usize; 2]> = visuals.pictures.iter().map(size).collect();
        let sizes = Sizes { pictures: &sizes, videos: visuals.videos };
        let (text, shown) = self.fitted(messages, sizes, options, limit)?;
        let mut input = self.input(&text, &shown, visuals.pictures)?;
        let (dropped_pictures, dropped_videos) = shown.left_out();
        input.dropped_pictures = dropped_pictures.len() + dropped_videos.len();
        Ok(Encoded { input, dropped_pictures, dropped_videos })
    }

    /// How long the prompt is that [`Processor::encode_within`] makes of pictures of these sizes. It is found by the very
    /// same steps, but no pixel is looked at.
    ///
    /// # Errors
    /// As [`Processor::encode_within`], less those of pixels and frames that cannot be read.
    pub fn measure(
        &self,
        messages: &[ChatMessage],
        sizes: Sizes<'_>,
        options: &ChatOptions,
        limit: Option<PromptLimit>,
    ) -> Result<Measured> {
        let (text, shown) = self.fitted(messages, sizes, options, limit)?;
        let (ids, _) = self.placed(&text, &shown)?;
        let (dropped_pictures, dropped_videos) = shown.left_out();
        Ok(Measured { tokens: self.length(&ids, &shown), dropped_pictures, dropped_videos })
    }

    /// A text with its placeholders as the policy's input.
    pub(super) fn input_of(&self, text: &str, sizes: &[[usize; 2]], visuals: Visuals<'_>) -> Result<PolicyInput> {
        let shown = Shown::of(self, Sizes { pictures: sizes, videos: visuals.videos })?;
        self.input(text, &shown, visuals.pictures)
    }

    /// The limit that was set by [`Processor::limit_prompts`].
    pub fn prompt_limit(&self) -> Option<PromptLimit> {
        self.limit
    }

    /// The text of a conversation and what is shown in it, within the limit.
    fn fitted<'a>(
        &self,
        messages: &[ChatMessage],
        sizes: Sizes<'a>,
        options: &ChatOptions,
        limit: Option<PromptLimit>,
    ) -> Result<(String, Shown<'a>)> {
        self.refuse_special_tokens(messages, options)?;
        let mut shown = Shown::of(self, sizes)?;
        let Some(limit) = limit else {
            return Ok((self.template.render(messages, options)?, shown));
        };
        let mut messages = messages.to_vec();
        loop {
            let text = self.template.render(&messages, options)?;
            let (ids, _) = self.placed(&text, &shown)?;
            let tokens = self.length(&ids, &shown);
            if tokens <= limit.tokens {
                return Ok((text, shown));
            }
            let too_long = |remedy: &str| {
                let most = limit.tokens;
                PolicyError::input(format!("the prompt has {tokens} tokens, and at most {most} are taken; {remedy}"))
            };
            if limit.too_long == TooLong::Refuse {
                return Err(too_long("shorten it, give fewer or smaller pictures, or raise the limit"));
            }
            let mut over = tokens - limit.tokens;
            let mut dropped = false;
            while over > 0 {
                let Some(saved) = shown.drop_earliest(&mut messages) else { break };
                over = over.saturating_sub(saved);
                dropped = true;
            }
            if !dropped {
                return Err(too_long("no picture is left that could be left out; shorten its text"));
            }
        }
    }

    /// Token ids with one placeholder for each slot, and the order of pictures and videos.
    fn placed(&self, text: &str, shown: &Shown<'_>) -> Result<(Vec<u32>, Vec<Kind>)> {
        let (text, order) = self.marks.expand(text, &shown.stamps);
        let named = |kind: Kind| order.iter().filter(|one| **one == kind).count();
        for (kind, what, given) in
            [(Kind::Picture, "pictures", shown.pictures.len()), (Kind::Video, "videos", shown.videos.len())]
        {
            if named(kind) != given {
                let named = named(kind);
                return Err(PolicyError::input(format!("the messages name {named} {what}, but {given} are given")));
            }
        }
        let ids = self.tokenizer.encode(&text)?;
        let slots: usize = shown.stamps.iter().map(Vec::len).sum();
        let count = |id: u32| ids.iter().filter(|one| **one == id).count();
        if (count(self.marks.image_id), count(self.marks.video_id)) != (shown.pictures.len(), slots) {
            return Err(PolicyError::input(
                "the tokenizer does not keep the placeholders of pictures and videos apart",
            ));
        }
        Ok((ids, order))
    }

    /// Tokens of a prompt with its placeholders expanded.
    fn length(&self, ids: &[u32], shown: &Shown<'_>) -> usize {
        let placeholders = shown.pictures.len() + shown.stamps.iter().map(Vec::len).sum::<usize>();
        let expanded: usize = shown.picture_tokens.iter().chain(&shown.video_tokens).sum();
        ids.len() - placeholders + expanded
    }

    fn input(&self, text: &str, shown: &Shown<'_>, pixels: &[RgbImage]) -> Result<PolicyInput> {
        let (ids, order) = self.placed(text, shown)?;
        let mut pictures = shown.pictures.iter().map(|index| self.images.process(&pixels[*index]));
        let mut videos = shown.videos.iter().map(|index| self.videos.process(&shown.sizes.videos[*index]));
        let mut order = order.into_iter();
        let merge = self.images.merge_size;
        let mut input = PolicyInput::of_text(Vec::with_capacity(self.length(&ids, shown)));
        // Slots of the video that is being placed.
        let (mut slot, mut slots) = (0, 0);
        for id in ids {
            if id != self.marks.image_id && id != self.marks.video_id {
                input.ids.push(id);
                continue;
            }
            if slot == slots {
                let visual: Option<Result<PictureInput>> = match order.next() {
                    Some(Kind::Picture) => pictures.next(),
                    Some(Kind::Video) => videos.next().map(|video| video.map(|VideoInput { input, .. }| input)),
                    None => None,
                };
                let visual = visual.ok_or_else(|| PolicyError::input("a placeholder without a picture"))??;
                (slot, slots) = (0, visual.grid[0]);
                input.pictures.push(visual);
            }
            let picture = input.pictures.len() - 1;
            let len = input.pictures[picture].tokens(merge) / slots;
            input.spans.push(ImageSpan { start: input.ids.len(), len, picture, slot });
            input.ids.extend(std::iter::repeat_n(id, len));
            slot += 1;
        }
        Ok(input)
    }

    /// Texts from outside must not be read as a part of the conversation's frame: neither in one piece, nor in pieces
    /// that the template puts together.
    pub(super) fn refuse_special_tokens(&self, messages: &[ChatMessage], options: &ChatOptions) -> Result<()> {
        let refuse = |what: &str, text: &str| match self
            .special_tokens
            .iter()
            .find(|token| text.contains(token.as_str()))
        {
            Some(token) => Err(PolicyError::input(format!(
                "{what} contains the special token `{token}`, which would be read as a part of the conversation's frame; take it out"
            ))),
            None => Ok(()),
        };
        for message in messages {
            let what = format!("a {} message", message.role);
            refuse(&what, &joined(&message.content))?;
            refuse(&what, &message.content.to_string())?;
            refuse(&what, &message.role)?;
            if let Some(calls) = &message.tool_calls {
                let what = format!("a tool call of {what}");
                refuse(&what, &joined(calls))?;
                refuse(&what, &calls.to_string())?;
            }
        }
        for tool in &options.tools {
            refuse("the signature of a tool", &joined(tool))?;
            refuse("the signature of a tool", &tool.to_string())?;
        }
        Ok(())
    }
}

/// All texts within a value, one after the other, as a template may put them together; names of types are none.
fn joined(value: &Value) -> String {
    fn collect(value: &Value, out: &mut String) {
        match value {
            Value::String(text) => out.push_str(text),
            Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            Value::Object(fields) => {
                fields.iter().filter(|(key, _)| *key != "type").for_each(|(_, value)| collect(value, out));
            }
            _ => {}
        }
    }
    let mut out = String::new();
    collect(value, &mut out);
    out
}

/// Pictures and videos that are in the prompt, with what they take of it.
struct Shown<'a> {
    sizes: Sizes<'a>,
    /// Indices of the pictures and the videos that are kept, in order.
    pictures: Vec<usize>,
    videos: Vec<usize>,
    /// Tokens of each kept one.
    picture_tokens: Vec<usize>,
    video_tokens: Vec<usize>,
    /// Timestamps of each kept video, one for each slot.
    stamps: Vec<Vec<String>>,
}

impl<'a> Shown<'a> {
    fn of(processor: &Processor, sizes: Sizes<'a>) -> Result<Self> {
        let videos = &processor.videos;
        let numbered = |what: &str, index: usize, error: PolicyError| match error {
            PolicyError::Input(reason) => PolicyError::input(format!("{what} {}: {reason}", index + 1)),
            other => other,
        };
        let picture_tokens = sizes
            .pictures
            .iter()
            .enumerate()
            .map(|(index, size)| processor.images.tokens(*size).map_err(|error| numbered("picture", index, error)));
        let video_tokens = sizes
            .videos
            .iter()
            .enumerate()
            .map(|(index, clip)| videos.tokens(clip).map_err(|error| numbered("video", index, error)));
        let stamps = |clip: &Clip| {
            let fps = videos.source_fps(clip);
            videos.timestamps(&videos.sample(clip.len(), fps), fps)
        };
        Ok(Self {
            sizes,
            pictures: (0..sizes.pictures.len()).collect(),
            videos: (0..sizes.videos.len()).collect(),
            picture_tokens: picture_tokens.collect::<Result<_>>()?,
            video_tokens: video_tokens.collect::<Result<_>>()?,
            stamps: sizes.videos.iter().map(stamps).collect(),
        })
    }

    /// The pictures and the videos that were left out, counted from 0.
    fn left_out(&self) -> (Vec<usize>, Vec<usize>) {
        let but = |all: usize, kept: &[usize]| (0..all).filter(|index| !kept.contains(index)).collect();
        (but(self.sizes.pictures.len(), &self.pictures), but(self.sizes.videos.len(), &self.videos))
    }

    /// Takes the first part that shows something out of the messages; gives the tokens of its placeholders.
    fn drop_earliest(&mut self, messages: &mut [ChatMessage]) -> Option<usize> {
        for message in messages {
            let Some(parts) = message.content.as_array_mut() else { continue };
            let Some((at, kind)) = parts.iter().enumerate().find_map(|(at, part)| Some((at, Kind::of(part)?))) else {
                continue;
            };
            parts.remove(at);
            let (kept, tokens) = match kind {
                Kind::Picture => (&mut self.pictures, &mut self.picture_tokens),
                Kind::Video => (&mut self.videos, &mut self.video_tokens),
            };
            if kept.is_empty() {
                return Some(0);
            }
            kept.remove(0);
            if kind == Kind::Video {
                self.stamps.remove(0);
            }
            return Some(tokens.remove(0));
        }
        None
    }
}
