//! The placeholders of pictures and videos in a prompt's text.

use serde_json::Value;

use super::tokenizer::Tokenizer;
use crate::config::Config;
use crate::error::{PolicyError, Result};

/// The tokens that stand for pictures and videos, written out and by id.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    image: String,
    video: String,
    start: String,
    end: String,
    pub(super) image_id: u32,
    pub(super) video_id: u32,
}

impl Marks {
    pub(super) fn of(config: &Config, tokenizer: &Tokenizer) -> Result<Self> {
        let token = |id: u32, name: &str| {
            let reason = || format!("has no token {id}, which `config.json` names as `{name}`");
            tokenizer.token(id).ok_or_else(|| PolicyError::file("tokenizer.json", reason()))
        };
        Ok(Self {
            image: token(config.image_token_id, "image_token_id")?,
            video: token(config.video_token_id, "video_token_id")?,
            start: token(config.vision_start_token_id, "vision_start_token_id")?,
            end: token(config.vision_end_token_id, "vision_end_token_id")?,
            image_id: config.image_token_id,
            video_id: config.video_token_id,
        })
    }
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Picture,
    Video,
}

impl Kind {
    /// What a part of a message shows, as templates tell it.
    pub(super) fn of(part: &Value) -> Option<Self> {
        let is = |kinds: [&str; 2]| {
            kinds.iter().any(|kind| part["type"] == *kind || part.get(kind).is_some_and(|value| !value.is_null()))
        };
        if is(["image", "image_url"]) {
            Some(Self::Picture)
        } else if is(["video", "video_url"]) {
            Some(Self::Video)
        } else {
            None
        }
    }
}

impl Marks {
    /// The text with each video's placeholder, tags included, replaced by one tagged placeholder for each slot behind
    /// its timestamp; and the order of what is shown. A video without timestamps keeps its placeholder, and is counted.
    pub(super) fn expand(&self, text: &str, stamps: &[Vec<String>]) -> (String, Vec<Kind>) {
        let (mut out, mut order, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
        let mut stamps = stamps.iter();
        loop {
            let image = rest.find(&self.image).map(|at| (at, Kind::Picture, self.image.len()));
            let video = rest.find(&self.video).map(|at| (at, Kind::Video, self.video.len()));
            let next = [image, video].into_iter().flatten().min_by_key(|(at, ..)| *at);
            let Some((at, kind, len)) = next else {
                out.push_str(rest);
                return (out, order);
            };
            order.push(kind);
            let (before, after) = (&rest[..at], &rest[at + len..]);
            let slots = if kind == Kind::Video { stamps.next() } else { None };
            let Some(slots) = slots else {
                out.push_str(&rest[..at + len]);
                rest = after;
                continue;
            };
            let tagged = before.strip_suffix(&self.start).zip(after.strip_prefix(&self.end));
            let (before, after) = tagged.unwrap_or((before, after));
            out.push_str(before);
            for stamp in slots {
                out.extend([stamp, &self.start, &self.video, &self.end].map(String::as_str));
            }
            rest = after;
        }
    }
}
