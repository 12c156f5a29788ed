//! A query: what is asked, with its pictures, its ground truth and how it is to be scored. Immutable.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::picture::Picture;
use crate::video::Video;

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The person, or a task.
    User,
    /// The policy.
    Assistant,
    /// The result of a tool call.
    Tool,
}

impl Role {
    /// The lower-case name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One typed piece of a message. Pictures and videos are taken in order from [`Query::images`] and [`Query::videos`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Part {
    /// Plain text.
    Text {
        /// The text, as it enters the chat template.
        text: String,
    },
    /// The next picture.
    Image,
    /// The next video.
    Video,
}

impl Part {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Part>,
}

impl Message {
    /// All text parts joined, without the pictures.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                Part::Image | Part::Video => None,
            })
            .collect()
    }
}

/// A query: one prompt with everything that scoring it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Unique within its data set; seeds and records are keyed by it.
    pub id: String,
    /// The task it belongs to, for mixtures and tables.
    pub task: String,
    /// The conversation so far; the last message is the one to answer.
    pub messages: Vec<Message>,
    /// Whether the data gave the question as a list of messages, and not as a text.
    pub conversational: bool,
    /// Still pictures, in the order in which [`Part::Image`] names them.
    pub images: Vec<Picture>,
    /// Videos, in the order in which [`Part::Video`] names them.
    pub videos: Vec<Video>,
    /// What a verifier compares with: a string, number, object or list, as the reward documents.
    pub ground_truth: Option<Value>,
    /// The rubric to score with, when it is not that of the phase.
    pub rubric: Option<String>,
    /// Names of the tools that the policy may call.
    pub tools: Vec<String>,
    /// Further columns of the data set, handed to rewards unchanged.
    pub columns: Map<String, Value>,
}

impl Query {
    /// The text of the last user message: the question.
    pub fn question(&self) -> String {
        self.messages.iter().rev().find(|message| message.role == Role::User).map(Message::text).unwrap_or_default()
    }
}

/// A supervised example: a query and the answer to imitate, as the text after the generation prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstration {
    /// What is asked.
    pub query: Query,
    /// The whole response (thinking and answer) without the end-of-turn token.
    pub response: String,
}
