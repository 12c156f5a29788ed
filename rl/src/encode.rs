//! From a query to the policy's input.

use sapo_datasets::{Message, Part, Query, Video};
use sapo_policies::processor::{ChatMessage, ChatOptions, Clip, Measured, Processor, PromptLimit, Sizes, Visuals};
use sapo_policies::{PolicyError, PolicyInput};
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
    let pictures =
        query.images.iter().map(sapo_datasets::Picture::decode).collect::<std::result::Result<Vec<_>, _>>()?;
    let videos = clips(query)?;
    Ok(processor.encode_with(&conversation(query), Visuals { pictures: &pictures, videos: &videos }, &answering())?)
}

/// The text of a policy's input as the template rendered it, with one placeholder for each picture and frame.
pub fn rendered(processor: &Processor, input: &PolicyInput) -> String {
    let (ids, mut kept, mut at) = (input.ids(), Vec::new(), 0);
    for span in input.spans() {
        kept.extend(&ids[at..=span.start]);
        at = span.start + span.len;
    }
    kept.extend(&ids[at..]);
    processor.decode(&kept, false)
}

/// How long the policy's input of a query is, its pictures known by their sizes `[height, width]`: the steps are those of
/// [`encode`], but no pixel is looked at.
///
/// # Errors
/// As [`encode`], less those of pixels and frames that cannot be read.
pub fn measure(
    processor: &Processor,
    query: &Query,
    pictures: &[[usize; 2]],
    videos: &[Clip],
    limit: Option<PromptLimit>,
) -> std::result::Result<Measured, PolicyError> {
    processor.measure(&conversation(query), Sizes { pictures, videos }, &answering(), limit)
}

/// The opened videos of a query.
///
/// # Errors
/// When one is no video that can be read.
pub fn clips(query: &Query) -> std::result::Result<Vec<Clip>, PolicyError> {
    let open = |video: &Video| match video.frames() {
        Some(frames) => Clip::of_files(frames.to_vec(), video.path().display().to_string(), video.fps()),
        None => Clip::open(video.path(), video.fps()),
    };
    query.videos.iter().map(open).collect()
}

fn conversation(query: &Query) -> Vec<ChatMessage> {
    query.messages.iter().map(chat_message).collect()
}

/// Prompts end where the answer begins.
fn answering() -> ChatOptions {
    ChatOptions { add_generation_prompt: true, tools: Vec::new() }
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use sapo_datasets::{Role, Split, Task, synthetic};

    use super::*;

    #[test]
    fn a_rendered_prompt_has_one_placeholder_for_a_picture() {
        let processor = sapo_policies::Model::open("tiny", 1, &crate::device::open("cpu").unwrap()).unwrap().processor;
        let query = synthetic::query(Task::Clock, Split::Train, 1, 0);
        let input = encode(&processor, &query).unwrap();
        let text = rendered(&processor, &input);
        assert_eq!(text.matches("<|image_pad|>").count(), 1, "{text}");
        assert!(text.contains(&query.question()) && input.spans()[0].len > 1, "{text}");
    }

    #[test]
    fn listed_frames_are_the_video_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let frame = |index: u64| {
            let path = folder.path().join(format!("frame-{index}.png"));
            std::fs::write(&path, synthetic::query(Task::Clock, Split::Train, 1, index).images[0].bytes()).unwrap();
            path
        };
        let frames: Vec<PathBuf> = (0..4).map(frame).collect();
        let processor = sapo_policies::Model::open("tiny", 1, &crate::device::open("cpu").unwrap()).unwrap().processor;
        let input = |video: Video| {
            let mut query = synthetic::query(Task::Arith, Split::Train, 1, 0);
            let content = vec![Part::Video, Part::text("What time is it at the end?")];
            query.messages = vec![Message { role: Role::User, content }];
            query.videos = vec![video];
            encode(&processor, &query).unwrap()
        };
        let listed = |frames: &[PathBuf]| input(Video::of_frames(frames, Some(2.0), "test").unwrap());
        let whole = input(Video::open(folder.path(), Some(2.0), "test").unwrap());
        assert_eq!(listed(&frames), whole);
        let reversed: Vec<PathBuf> = frames.iter().rev().cloned().collect();
        assert_ne!(listed(&reversed), whole);
    }
}
