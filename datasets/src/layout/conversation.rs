//! A question as rows hold it (a text, or messages in one of the usual forms), read into messages, and the response
//! that the assistant gives at its end.

use serde_json::{Map, Value};

use super::marks::marked_parts;
use crate::error::{DatasetError, Fault, Result};
use crate::nearest::list;
use crate::query::{Message, Part, Role};
use crate::table::{RawPicture, raw_pictures};

/// What a column with a question holds.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    /// Whether it came as a list of messages, and not as a text.
    pub(super) is_list: bool,
    /// The number that each picture's mark names, where it names one.
    pub(super) numbers: Vec<Option<usize>>,
    /// Pictures that stand inside the messages, in order.
    pub(super) pictures: Vec<RawPicture>,
    /// What the assistant says last; it is no part of the messages.
    pub(super) response: Option<String>,
}

impl Conversation {
    /// Reads a text or a list of messages. `place` names row and column; with `marks_in_parts`, the text parts of a
    /// message that is a list are searched for marks as well.
    ///
    /// # Errors
    /// When it is neither, or a message is of no known form.
    pub(super) fn read(value: Value, marks_in_parts: bool, place: &str) -> Result<Self> {
        let mut conversation = Self::default();
        match value {
            Value::String(text) => {
                let content = marked_parts(&text, &mut conversation.numbers);
                conversation.messages.push(Message { role: Role::User, content });
            }
            Value::Array(messages) => {
                conversation.is_list = true;
                conversation.read_messages(messages, place)?;
            }
            other => {
                return Err(DatasetError::row(place, format!("holds {other}; text or a list of messages is wanted")));
            }
        }
        let parts = || conversation.messages.iter().flat_map(|message| &message.content);
        if marks_in_parts && !parts().any(|part| *part == Part::Image) {
            conversation.split_marks();
        }
        Ok(conversation)
    }

    /// Whether the last message of a user says and shows nothing.
    pub(super) fn asks_nothing(&self) -> bool {
        let asked = self.messages.iter().rev().find(|message| message.role == Role::User);
        asked.is_some_and(|message| {
            message.content.iter().all(|part| matches!(part, Part::Text { text } if text.trim().is_empty()))
        })
    }

    fn read_messages(&mut self, messages: Vec<Value>, place: &str) -> Result<()> {
        let count = messages.len();
        for (index, message) in messages.into_iter().enumerate() {
            let place = format!("{place}, message {}", index + 1);
            let Value::Object(message) = message else {
                return Err(DatasetError::row(place, "is not an object with `role` and `content`"));
            };
            let (role, content) = role_and_content(message, &place)?;
            if role == Role::Assistant && index + 1 == count {
                self.response = Some(spoken(content, &place)?);
            } else {
                let content = self.parts(content, &place)?;
                self.messages.push(Message { role, content });
            }
        }
        match self.messages.is_empty() {
            true => Err(DatasetError::row(place, "holds no message that could be answered").about(Fault::Question)),
            false => Ok(()),
        }
    }

    fn parts(&mut self, content: Value, place: &str) -> Result<Vec<Part>> {
        match content {
            Value::String(text) => Ok(marked_parts(&text, &mut self.numbers)),
            Value::Array(parts) => parts.into_iter().map(|part| self.part(part, place)).collect(),
            other => Err(DatasetError::row(place, format!("says {other}; text or a list of parts is wanted"))),
        }
    }

    /// A typed part. Null fields are those that Parquet adds where only other parts have them.
    fn part(&mut self, part: Value, place: &str) -> Result<Part> {
        let mut fields = match part {
            Value::String(text) => return Ok(Part::Text { text }),
            Value::Object(fields) => fields,
            other => return Err(DatasetError::row(place, format!("has the part {other}; an object is wanted"))),
        };
        fields.retain(|_, value| !value.is_null());
        let kind = fields.shift_remove("type");
        let kind = kind.as_ref().map_or(Some("text"), Value::as_str).unwrap_or_default().to_owned();
        let part = match kind.as_str() {
            "text" => match fields.shift_remove("text") {
                Some(Value::String(text)) => Part::Text { text },
                _ => return Err(DatasetError::row(place, "has a text part without `text`")),
            },
            "image" | "image_url" => {
                self.inline_picture(&mut fields, place)?;
                Part::Image
            }
            "video" => Part::Video,
            other => {
                let reason = format!("has a part of type `{other}`; known: `text`, `image`, `image_url`, `video`");
                return Err(DatasetError::row(place, reason));
            }
        };
        match fields.keys().next() {
            None => Ok(part),
            Some(key) => Err(DatasetError::row(place, format!("has a {kind} part with the unknown key `{key}`"))),
        }
    }

    fn inline_picture(&mut self, fields: &mut Map<String, Value>, place: &str) -> Result<()> {
        let found = ["image", "image_url", "url", "path", "bytes"].iter().find_map(|key| fields.shift_remove(*key));
        let Some(found) = found else { return Ok(()) };
        // `bytes` beside `path` say the same.
        fields.shift_remove("path");
        let pictures = raw_pictures(found).map_err(|value| {
            let reason = format!("has the picture {value}; a path or data URL is wanted");
            DatasetError::row(place, reason).about(Fault::PictureDamaged)
        })?;
        self.numbers.extend(pictures.iter().map(|_| None));
        self.pictures.extend(pictures);
        Ok(())
    }

    fn split_marks(&mut self) {
        for message in &mut self.messages {
            let parts = std::mem::take(&mut message.content);
            let numbers = &mut self.numbers;
            let split = parts.into_iter().flat_map(|part| match part {
                Part::Text { text } => marked_parts(&text, numbers),
                other => vec![other],
            });
            message.content = split.collect();
        }
    }
}

/// Who speaks and what, in the words of OpenAI (`role`, `content`) or of ShareGPT (`from`, `value`).
fn role_and_content(mut message: Map<String, Value>, place: &str) -> Result<(Role, Value)> {
    let mut take = |names: [&str; 2]| {
        let found = names.iter().find_map(|name| message.shift_remove(*name).filter(|value| !value.is_null()));
        found.ok_or_else(|| {
            let keys = list(message.keys().map(String::as_str));
            DatasetError::row(place, format!("has neither `{}` nor `{}` (keys: {keys})", names[0], names[1]))
        })
    };
    let (role, content) = (take(["role", "from"])?, take(["content", "value"])?);
    // Numbers and flags weigh or mark a turn; words would change what is said.
    let says = |value: &Value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
        _ => false,
    };
    if let Some((key, _)) = message.iter().find(|(_, value)| says(value)) {
        return Err(DatasetError::row(place, format!("has `{key}`, which has no place in a query; leave it out")));
    }
    Ok((read_role(&role, place)?, content))
}

fn read_role(role: &Value, place: &str) -> Result<Role> {
    match role.as_str() {
        Some("system") => Ok(Role::System),
        Some("user" | "human") => Ok(Role::User),
        Some("assistant" | "gpt" | "chatgpt" | "model") => Ok(Role::Assistant),
        Some("tool" | "observation" | "function") => Ok(Role::Tool),
        _ => {
            let known = "`system`, `user` or `human`, `assistant` or `gpt`, `tool`";
            Err(DatasetError::row(place, format!("is spoken by {role}; known: {known}")))
        }
    }
}

/// A response as text: what the assistant says, as it stands.
fn spoken(content: Value, place: &str) -> Result<String> {
    let text = |part: &Value| part.as_str().or_else(|| part["text"].as_str()).map(str::to_owned);
    let spoken = match &content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(text).collect(),
        _ => None,
    };
    spoken.ok_or_else(|| DatasetError::row(place, format!("says {content}; a response is text alone")))
}

/// The response in a column of its own: text, or a list with one message of the assistant.
pub(super) fn response(value: Value, place: &str) -> Result<String> {
    let wrong = || DatasetError::row(place, "holds no response: text, or a list with one assistant message, is wanted");
    match value {
        Value::String(text) => Ok(text),
        Value::Array(mut messages) if messages.len() == 1 => {
            let Some(Value::Object(message)) = messages.pop() else { return Err(wrong()) };
            match role_and_content(message, place)? {
                (Role::Assistant, content) => spoken(content, place),
                _ => Err(wrong()),
            }
        }
        _ => Err(wrong()),
    }
}

/// What users say in a text or a list of messages, to see whether two columns ask the same.
pub(super) fn user_texts(value: &Value) -> Vec<String> {
    let plain = |content: &Value| {
        let mut read = Conversation::default();
        let parts = read.parts(content.clone(), "").unwrap_or_default();
        Message { role: Role::User, content: parts }.text().trim().to_owned()
    };
    let is_user = |message: &&Value| {
        let role = message["role"].as_str().or_else(|| message["from"].as_str());
        matches!(role, Some("user" | "human"))
    };
    let content = |message: &Value| plain(message.get("content").unwrap_or(&message["value"]));
    match value {
        Value::Array(messages) => messages.iter().filter(is_user).map(content).collect(),
        text => vec![plain(text)],
    }
}
