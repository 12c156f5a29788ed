//! The messages of a chat request, checked, in the shape that chat templates read.

use sapo_datasets::Picture;
use sapo_policies::processor::ChatMessage;
use serde_json::{Map, Value, json};

use super::Limits;
use super::fault::Fault;
use super::fields::{Fields, wrong};
use super::known;
use super::pictures::PictureSource;

/// Pictures of one request at most: small ones grow when they are cut into patches.
const MOST_PICTURES: usize = 64;
/// No text has this many bytes a token: what is longer is refused before it is cut into tokens.
pub(super) const BYTES_PER_TOKEN: usize = 64;
/// A member of `messages[].content`, as the checkpoint's template reads it.
const IMAGE: &str = "image";

/// A checked conversation.
#[derive(Debug)]
pub(super) struct Chat {
    /// The conversation, in the shape that chat templates read.
    pub(super) messages: Vec<ChatMessage>,
    /// Its pictures, in order.
    pub(super) pictures: Vec<Picture>,
}

impl Chat {
    /// Reads the messages of a body; pictures come from where `source` allows it.
    pub(super) fn read(object: &Map<String, Value>, limits: &Limits, source: &PictureSource) -> Result<Self, Fault> {
        let left = limits.prompt_tokens.saturating_mul(BYTES_PER_TOKEN);
        let mut conversation =
            Conversation { messages: Vec::new(), pictures: Vec::new(), text_bytes_left: left, source };
        conversation.read(Fields::new(object).get("messages"), limits)?;
        Ok(Self { messages: conversation.messages, pictures: conversation.pictures })
    }
}

struct Conversation<'a> {
    messages: Vec<ChatMessage>,
    pictures: Vec<Picture>,
    text_bytes_left: usize,
    source: &'a PictureSource,
}

impl Conversation<'_> {
    fn read(&mut self, messages: Option<&Value>, limits: &Limits) -> Result<(), Fault> {
        let wanted = "a list of at least one {\"role\", \"content\"}";
        let missing = || Fault::field("messages", format!("is missing; give {wanted}"));
        let value = messages.ok_or_else(missing)?;
        let list = value.as_array().filter(|list| !list.is_empty());
        for (index, message) in list.ok_or_else(|| wrong("messages", value, wanted))?.iter().enumerate() {
            let place = format!("messages[{index}]");
            let object = message.as_object().ok_or_else(|| wrong(&place, message, "{\"role\", \"content\"}"))?;
            self.message(object, &place, limits)?;
        }
        Ok(())
    }

    fn message(&mut self, object: &Map<String, Value>, place: &str, limits: &Limits) -> Result<(), Fault> {
        let nothing = Value::Null;
        let role = object.get("role").unwrap_or(&nothing);
        let role = match role.as_str() {
            // The newer word for the same.
            Some("developer") => "system",
            Some(known @ ("system" | "user" | "assistant")) => known,
            _ => return Err(wrong(&format!("{place}.role"), role, "system, user or assistant")),
        };
        known::refuse_others(object, &known::MESSAGE, place)?;
        let content = object.get("content").unwrap_or(&nothing);
        let place = format!("{place}.content");
        let content = match content {
            Value::String(text) => {
                self.spend(text, &place, limits)?;
                content.clone()
            }
            Value::Array(parts) if !parts.is_empty() => self.parts(parts, &place, limits)?,
            _ => return Err(wrong(&place, content, "a text or a list of parts")),
        };
        self.spend_bytes(limits.frame_tokens * BYTES_PER_TOKEN, &place, limits)?;
        self.messages.push(ChatMessage { role: role.to_owned(), content, tool_calls: None });
        Ok(())
    }

    fn parts(&mut self, parts: &[Value], place: &str, limits: &Limits) -> Result<Value, Fault> {
        let mut typed: Vec<Value> = Vec::with_capacity(parts.len());
        // Texts side by side become one: a special token must not hide at their seam.
        let mut run = String::new();
        for (index, part) in parts.iter().enumerate() {
            let place = format!("{place}[{index}]");
            if let Some(part) = part.as_object() {
                known::refuse_others(part, &known::PART, &place)?;
            }
            match part.get("type").and_then(Value::as_str) {
                Some("text") => {
                    let text = part.get("text").unwrap_or(&Value::Null);
                    let place = format!("{place}.text");
                    let text = text.as_str().ok_or_else(|| wrong(&place, text, "a text"))?;
                    self.spend(text, &place, limits)?;
                    run.push_str(text);
                }
                Some("image_url") => {
                    if !run.is_empty() {
                        typed.push(json!({"type": "text", "text": std::mem::take(&mut run)}));
                    }
                    self.picture(part, &format!("{place}.image_url"))?;
                    typed.push(json!({"type": IMAGE}));
                }
                _ => {
                    let kind = part.get("type").unwrap_or(part);
                    return Err(wrong(&format!("{place}.type"), kind, "\"text\" or \"image_url\""));
                }
            }
        }
        if !run.is_empty() || typed.is_empty() {
            typed.push(json!({"type": "text", "text": run}));
        }
        Ok(Value::Array(typed))
    }

    fn picture(&mut self, part: &Value, place: &str) -> Result<(), Fault> {
        if self.pictures.len() == MOST_PICTURES {
            return Err(Fault::field("messages", format!("more than {MOST_PICTURES} pictures; send fewer")));
        }
        if let Some(object) = part.get("image_url").and_then(Value::as_object) {
            known::refuse_others(object, &known::IMAGE_URL, place)?;
        }
        let url = part.pointer("/image_url/url").unwrap_or(&Value::Null);
        let picture = self.source.read(url, &format!("{place}.url"))?;
        self.pictures.push(picture);
        Ok(())
    }

    fn spend(&mut self, text: &str, place: &str, limits: &Limits) -> Result<(), Fault> {
        self.spend_bytes(text.len(), place, limits)
    }

    fn spend_bytes(&mut self, bytes: usize, place: &str, limits: &Limits) -> Result<(), Fault> {
        self.text_bytes_left = self.text_bytes_left.checked_sub(bytes).ok_or_else(|| {
            let cap = limits.prompt_tokens;
            Fault::field(place, format!("the messages are longer than {cap} tokens; shorten them"))
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: &str =
        "messages|prompt|stream|n|seed|top_p|top_k|temperature|max_tokens|stop|logit_bias|response_format";
    const LIMITS: Limits =
        Limits { new_tokens: Some(64), prompt_tokens: 100, context: 128, vocabulary: 300, frame_tokens: 5 };

    fn read(body: &Value) -> Result<Chat, Fault> {
        Chat::read(body.as_object().expect("an object"), &LIMITS, &PictureSource::default())
    }

    #[test]
    fn texts_side_by_side_become_one() {
        let chat = read(&json!({"messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        ]}));
        let chat = chat.unwrap();
        assert_eq!(chat.messages[0].role, "system");
        assert_eq!(chat.messages[1].content, json!([{"type": "text", "text": "ab"}]));
    }

    #[test]
    fn a_message_costs_its_frame_before_it_is_templated() {
        let messages = |count: usize| json!({"messages": vec![json!({"role": "user", "content": ""}); count]});
        assert_eq!(read(&messages(20)).unwrap().messages.len(), 20);
        let fault = format!("{:?}", read(&messages(21)).unwrap_err());
        assert!(fault.contains("messages[20].content") && fault.contains("longer than 100 tokens"), "{fault}");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "(data:image/png;base64,)?[a-z/+=\\PC]{0,12}".prop_map(Value::from),
            Just(json!("user")),
            Just(json!("image_url")),
            Just(json!("text")),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = "role|content|type|text|image_url|url|tool_calls|json_schema|schema";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_panics(
            fields in prop::collection::btree_map(FIELDS, any_value(), 0..6),
            content in any_value(),
        ) {
            let mut body: Map<String, Value> = fields.into_iter().collect();
            drop(crate::serve::asked::Asked::read(&body, &LIMITS));
            drop(crate::serve::completion::Completion::read(&body, &LIMITS));
            drop(Chat::read(&body, &LIMITS, &PictureSource::default()));
            body.insert("messages".to_owned(), json!([{"role": "user", "content": [content]}]));
            drop(Chat::read(&body, &LIMITS, &PictureSource::default()));
        }
    }
}
