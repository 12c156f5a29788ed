//! From a query to the policy's input.

use sapo_datasets::{Message, Part, Query};
use sapo_policies::PolicyInput;
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Processor, Visuals};
use serde_json::{Value, json};

use crate::error::{Result, RunError};

/// The policy's input of a query.
///
/// # Errors
/// When a picture or the text cannot be used; the message names the query.
pub fn encode(processor: &Processor, query: &Query) -> Result<PolicyInput> {
    input(processor, query).map_err(|error| RunError::User(format!("query `{}`: {error}", query.id)))
}

fn input(processor: &Processor, query: &Query) -> Result<PolicyInput> {
    let messages: Vec<ChatMessage> = query.messages.iter().map(chat_message).collect();
    let pictures =
        query.images.iter().map(sapo_datasets::Picture::decode).collect::<std::result::Result<Vec<_>, _>>()?;
    let videos = query.videos.iter().map(|video| Clip::open(video.path(), video.fps()));
    let videos = videos.collect::<std::result::Result<Vec<_>, _>>()?;
    let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
    Ok(processor.encode_with(&messages, Visuals { pictures: &pictures, videos: &videos }, &options)?)
}

fn chat_message(message: &Message) -> ChatMessage {
    let part = |part: &Part| match part {
        Part::Text { text } => json!({"type": "text", "text": text}),
        Part::Image => json!({"type": "image"}),
        Part::Video => json!({"type": "video"}),
    };
    let content = Value::Array(message.content.iter().map(part).collect());
    ChatMessage { role: message.role.as_str().to_owned(), content, tool_calls: None }
}
