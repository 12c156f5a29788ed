//! A turn that is put behind what the policy said, such as the result of a tool: the template's text for that turn alone.
//!
//! Templates render a whole conversation, and many change earlier turns as it goes on, as by dropping their `<think>`.
//! What was sampled must stay as it was. So the turn is rendered behind a stand-in for what the policy said, and only
//! what follows the stand-in is taken.

use image::RgbImage;
use serde_json::Value;

use super::chat::{ChatMessage, ChatOptions};
use super::checkpoint::Processor;
use super::prompt::Visuals;
use crate::error::{PolicyError, Result};
use crate::input::PolicyInput;

/// Stands for what the policy said.
const SAID: &str = "sapo-said-7b1f";

impl Processor {
    /// Messages that follow a turn of the policy, with their pictures in order, up to where the policy goes on. `closed`
    /// says whether that turn ended with its own end token; otherwise the template's is put before them.
    ///
    /// # Errors
    /// As [`Processor::encode`], and when the template does not keep what the policy says in one piece.
    pub fn encode_turn(&self, messages: &[ChatMessage], pictures: &[RgbImage], closed: bool) -> Result<PolicyInput> {
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        self.refuse_special_tokens(messages, &options)?;
        let message = |role: &str, content: &str| ChatMessage {
            role: role.to_owned(),
            content: Value::from(content),
            tool_calls: None,
        };
        let mut conversation = vec![message("user", "?"), message("assistant", SAID)];
        conversation.extend_from_slice(messages);
        let text = self.template.render(&conversation, &options)?;
        let mut parts = text.split(SAID);
        let (Some(_), Some(behind), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(PolicyError::input(
                "the chat template does not show an assistant's message exactly once, so that no turn can follow it",
            ));
        };
        let behind = if closed { self.behind_end(behind)? } else { behind };
        let sizes: Vec<[usize; 2]> =
            pictures.iter().map(|picture| [picture.height() as usize, picture.width() as usize]).collect();
        self.input_of(behind, &sizes, Visuals { pictures, videos: &[] })
    }

    /// What follows the token that ends a turn.
    fn behind_end<'a>(&self, text: &'a str) -> Result<&'a str> {
        let ends = self.stop_ids().iter().filter_map(|id| self.tokenizer().token(*id));
        let mut behind = ends.filter_map(|end| text.strip_prefix(end.as_str()));
        behind.next().ok_or_else(|| {
            PolicyError::input("the chat template puts no token that ends a turn behind an assistant's message")
        })
    }
}
