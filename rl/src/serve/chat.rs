//! A chat request, read from the body of an HTTP request and checked.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sapo_datasets::Picture;
use sapo_policies::processor::ChatMessage;
use sapo_rollouts::Sampling;
use serde_json::{Map, Value, json};

use super::Limits;
use super::fault::Fault;
use super::fields::{Fields, wrong};

/// Samples of one request at most.
const MOST_SAMPLES: i64 = 128;
/// Pictures of one request at most: small ones grow when they are cut into patches.
const MOST_PICTURES: usize = 64;
/// No text has this many bytes a token: what is longer is refused before it is cut into tokens.
const BYTES_PER_TOKEN: usize = 64;
/// Smaller temperatures overflow when logits are divided by them; they mean greedy.
const LEAST_TEMPERATURE: f64 = 1e-5;
/// A member of `messages[].content`, as the checkpoint's template reads it.
const IMAGE: &str = "image";

/// A checked chat request.
#[derive(Debug)]
pub(super) struct Chat {
    /// The conversation, in the shape that chat templates read.
    pub(super) messages: Vec<ChatMessage>,
    /// Its pictures, in order.
    pub(super) pictures: Vec<Picture>,
    /// How to sample.
    pub(super) sampling: Sampling,
    /// The seed that the client gave.
    pub(super) seed: u64,
    /// How many answers are wanted.
    pub(super) samples: usize,
}

impl Chat {
    /// Reads a body; unknown fields are ignored, as other servers do.
    pub(super) fn read(body: &[u8], name: &str, limits: &Limits) -> Result<Self, Fault> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| Fault::body(format!("the body is not JSON: {error}; send one JSON object")))?;
        let object = value.as_object().ok_or_else(|| Fault::body("the body is not a JSON object"))?;
        let fields = Fields::new(object);
        if let Some(asked) = fields.text("model")?.filter(|asked| *asked != name) {
            return Err(Fault::unknown_model(asked, name));
        }
        if fields.flag("stream")? {
            return Err(Fault::field("stream", "replies are not streamed here; leave it out, or send false"));
        }
        let sampling = sampling(&fields, limits.new_tokens)?;
        let samples = fields.whole("n", 1..=MOST_SAMPLES)?.unwrap_or(1);
        let mut conversation =
            Conversation { text_bytes_left: limits.prompt_tokens * BYTES_PER_TOKEN, ..<_>::default() };
        conversation.read(fields.get("messages"), limits)?;
        Ok(Self {
            messages: conversation.messages,
            pictures: conversation.pictures,
            sampling,
            seed: fields.seed("seed")?.unwrap_or(0),
            samples: usize::try_from(samples).unwrap_or(1),
        })
    }
}

fn sampling(fields: &Fields<'_>, cap: usize) -> Result<Sampling, Fault> {
    let temperature = fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0);
    let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0);
    if top_p <= 0.0 {
        return Err(Fault::field("top_p", "0 would keep no token; give a share above 0, or temperature 0 for greedy"));
    }
    // Other servers write -1 for all tokens.
    let top_k = fields.whole("top_k", -1..=i64::from(u32::MAX))?.unwrap_or(0);
    let most = i64::try_from(cap).unwrap_or(i64::MAX);
    let old = fields.whole("max_tokens", 1..=most)?;
    let new = fields.whole("max_completion_tokens", 1..=most)?;
    let max_new_tokens = new.or(old).and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(cap);
    let temperature = if temperature < LEAST_TEMPERATURE { 0.0 } else { temperature };
    let top_k = usize::try_from(top_k).unwrap_or(0);
    let sampling = Sampling { top_p, top_k, ..Sampling::at(temperature, max_new_tokens) };
    // Greedy answers ignore truncation, so that they may share a batch whatever it is.
    Ok(if sampling.temperature > 0.0 { sampling } else { Sampling::greedy(sampling.max_new_tokens) })
}

#[derive(Default)]
struct Conversation {
    messages: Vec<ChatMessage>,
    pictures: Vec<Picture>,
    text_bytes_left: usize,
}

impl Conversation {
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
        if Fields::new(object).get("tool_calls").is_some() {
            return Err(Fault::field(format!("{place}.tool_calls"), "tools are not served here; leave it out"));
        }
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
        self.messages.push(ChatMessage { role: role.to_owned(), content, tool_calls: None });
        Ok(())
    }

    fn parts(&mut self, parts: &[Value], place: &str, limits: &Limits) -> Result<Value, Fault> {
        let mut typed: Vec<Value> = Vec::with_capacity(parts.len());
        // Texts side by side become one: a special token must not hide at their seam.
        let mut run = String::new();
        for (index, part) in parts.iter().enumerate() {
            let place = format!("{place}[{index}]");
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
                    self.picture(part, &format!("{place}.image_url.url"))?;
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
        let url = part.pointer("/image_url/url").unwrap_or(&Value::Null);
        let wanted = "a URL that holds the picture itself: \"data:image/png;base64,...\"";
        let data = url.as_str().and_then(|url| {
            let (kind, data) = url.split_once(',')?;
            let kind = kind.to_ascii_lowercase();
            (kind.starts_with("data:image/") && kind.ends_with(";base64")).then_some(data)
        });
        let data = data.ok_or_else(|| wrong(place, url, wanted))?;
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let bytes = GeneralPurpose::new(&STANDARD, lenient)
            .decode(data)
            .map_err(|error| Fault::field(place, format!("is not base64: {error}")))?;
        let picture = Picture::from_bytes(bytes, place).map_err(|error| Fault::field(place, error.to_string()))?;
        self.pictures.push(picture);
        Ok(())
    }

    fn spend(&mut self, text: &str, place: &str, limits: &Limits) -> Result<(), Fault> {
        self.text_bytes_left = self.text_bytes_left.checked_sub(text.len()).ok_or_else(|| {
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

    const FIELDS: &str = "messages|model|stream|n|seed|top_p|top_k|temperature|max_tokens";
    const LIMITS: Limits = Limits { new_tokens: 64, prompt_tokens: 100 };

    fn read(body: &Value) -> Result<Chat, Fault> {
        Chat::read(body.to_string().as_bytes(), "tiny", &LIMITS)
    }

    #[test]
    fn what_is_left_out_has_the_usual_meaning() {
        let chat = read(&json!({"messages": [{"role": "developer", "content": "Be brief."}], "user": null})).unwrap();
        assert_eq!(chat.sampling, Sampling::at(1.0, 64));
        assert_eq!((chat.seed, chat.samples, chat.messages[0].role.as_str()), (0, 1, "system"));
        let chat = read(&json!({
            "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            "temperature": 1e-9, "top_p": 0.5, "max_tokens": 9, "max_completion_tokens": 7, "seed": -1, "n": 3,
        }));
        let chat = chat.unwrap();
        assert_eq!(chat.sampling, Sampling::greedy(7));
        assert_eq!((chat.seed, chat.samples), (u64::MAX, 3));
        assert_eq!(chat.messages[0].content, json!([{"type": "text", "text": "ab"}]));
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
            let key = "role|content|type|text|image_url|url|tool_calls";
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
            drop(read(&Value::Object(fields.clone().into_iter().collect())));
            let mut body: Map<String, Value> = fields.into_iter().filter(|(key, _)| key != "model").collect();
            body.insert("messages".to_owned(), json!([{"role": "user", "content": [content]}]));
            drop(read(&Value::Object(body)));
        }
    }
}
