//! A transcript: what a policy said to a query, as text; the only view of a rollout that rewards see.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::picture::Picture;
use crate::query::Role;

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The policy ended its turn by an end-of-turn token.
    Eos,
    /// A stop text of the request was reached.
    Stop,
    /// The token limit cut the answer.
    Length,
    /// The turn ended with tool calls that are still to be answered.
    Tool,
    /// The engine failed; such a rollout is never scored.
    Error,
}

/// A tool call, parsed, or marked as malformed with what was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolCall {
    /// A well-formed call.
    Parsed {
        /// The tool's name.
        name: String,
        /// Its arguments, as JSON.
        arguments: Value,
    },
    /// Text between call tags that is no call.
    Malformed {
        /// What stood between the tags.
        text: String,
        /// Why it is no call.
        reason: String,
    },
}

/// One turn of a transcript.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Who spoke: the assistant, or a tool whose result was injected.
    pub role: Role,
    /// The text of the turn alone.
    pub text: String,
}

/// What a policy said to one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    /// The query that was asked.
    pub query_id: String,
    /// The turns after the prompt, in order; the first is the assistant's.
    pub turns: Vec<Turn>,
    /// Tool calls in order of appearance.
    pub calls: Vec<ToolCall>,
    /// Tokens that the policy sampled, all turns together.
    pub tokens: usize,
    /// Their ids, in order; empty where only their number, or nothing, is known.
    pub token_ids: Vec<u32>,
    /// The limit on those tokens.
    pub token_limit: usize,
    /// Why it ended.
    pub stop: StopReason,
    /// Pictures that tools returned, in order.
    pub pictures: Vec<Picture>,
    /// Whether the prompt already opened a `<think>` block, so that the answer holds only its closing tag.
    pub thinking_open: bool,
}

impl Transcript {
    /// A transcript of one complete assistant turn, for tests and offline scoring. Token counts are 0.
    pub fn of_answer(query_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            query_id: query_id.into(),
            turns: vec![Turn { role: Role::Assistant, text: text.into() }],
            calls: Vec::new(),
            tokens: 0,
            token_ids: Vec::new(),
            token_limit: usize::MAX,
            stop: StopReason::Eos,
            pictures: Vec::new(),
            thinking_open: false,
        }
    }

    /// The text of the last assistant turn, thinking included.
    pub fn last_text(&self) -> &str {
        self.turns.iter().rev().find(|turn| turn.role == Role::Assistant).map_or("", |turn| turn.text.as_str())
    }

    /// The answer: what follows the last `</think>` of the last assistant turn; `None` while thinking is unclosed.
    pub fn answer(&self) -> Option<&str> {
        let text = self.last_text();
        match text.rfind("</think>") {
            Some(at) => Some(&text[at + "</think>".len()..]),
            None if self.thinking_open || text.contains("<think>") => None,
            None => Some(text),
        }
    }

    /// The reasoning: what stands before the last `</think>` (all of it while thinking is unclosed), without tags.
    pub fn reasoning(&self) -> &str {
        let text = self.last_text();
        let text = text.strip_prefix("<think>").unwrap_or(text);
        match text.rfind("</think>") {
            Some(at) => &text[..at],
            None if self.answer().is_none() => text,
            None => "",
        }
    }
}
