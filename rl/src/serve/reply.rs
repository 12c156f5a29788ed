//! Replies and pieces of replies in the shapes of OpenAI, with token ids as vLLM has them.

use serde_json::{Map, Value, json};

use super::answer::{Entry, Piece, Token};
use super::encode::{Api, Ready};

/// What all replies to one request share.
#[derive(Clone, Debug)]
pub(super) struct Frame<'a> {
    /// The model's name.
    pub(super) model: &'a str,
    /// Seconds since 1970.
    pub(super) created: i64,
    /// What was asked.
    pub(super) ready: &'a Ready,
}

/// How far the text of an answer is, in characters: where its next token begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    chars: usize,
}

impl Frame<'_> {
    fn object(&self, kind: &str, choices: Value) -> Map<String, Value> {
        let object =
            json!({"id": self.id(), "object": kind, "created": self.created, "model": self.model, "choices": choices});
        match object {
            Value::Object(object) => object,
            _ => Map::new(),
        }
    }

    /// The name of the request, by its number.
    fn id(&self) -> String {
        match self.ready.api {
            Api::Chat => format!("chatcmpl-{}", self.ready.number),
            Api::Completions => format!("cmpl-{}", self.ready.number),
        }
    }

    /// A whole reply.
    pub(super) fn whole(&self, answers: &[(usize, Piece)], tokens: usize) -> Value {
        let choices: Value = answers.iter().map(|(choice, piece)| self.choice(*choice, piece)).collect();
        let is_chat = self.ready.api == Api::Chat;
        let mut object = self.object(if is_chat { "chat.completion" } else { "text_completion" }, choices);
        object.insert("usage".to_owned(), self.usage(tokens));
        if is_chat && self.ready.asked.token_ids {
            object.insert("prompt_token_ids".to_owned(), json!(self.ready.prompts[0].input.ids()));
        }
        Value::Object(object)
    }

    fn choice(&self, choice: usize, piece: &Piece) -> Value {
        let asked = &self.ready.asked;
        let prompt = &self.ready.prompts[choice / asked.samples];
        let mut value = match self.ready.api {
            Api::Chat => {
                let message = json!({"role": "assistant", "content": piece.text, "refusal": null});
                json!({"index": choice, "message": message, "logprobs": self.chat_log_probs(&piece.entries)})
            }
            Api::Completions => {
                let log_probs = self.text_log_probs(&piece.entries, &mut self.offset(choice));
                json!({"index": choice, "text": format!("{}{}", prompt.echo, piece.text), "logprobs": log_probs})
            }
        };
        value["finish_reason"] = json!(piece.finish);
        if asked.token_ids {
            value["token_ids"] = json!(piece.ids);
            if self.ready.api == Api::Completions {
                value["prompt_token_ids"] = json!(prompt.input.ids());
            }
        }
        value
    }

    /// Where the first token of a choice begins.
    pub(super) fn offset(&self, choice: usize) -> Offset {
        Offset { chars: self.ready.prompts[choice / self.ready.asked.samples].echo.chars().count() }
    }

    /// The chunk that opens a choice: who speaks, or what the text begins with; nothing where that is nothing.
    pub(super) fn opening(&self, choice: usize) -> Option<Value> {
        let asked = &self.ready.asked;
        let prompt = &self.ready.prompts[choice / asked.samples];
        let ids = asked.token_ids.then(|| json!(prompt.input.ids()));
        match self.ready.api {
            Api::Chat => {
                let delta = json!({"role": "assistant", "content": ""});
                let mut chunk = self.chunk(json!({"index": choice, "delta": delta, "logprobs": null}), None);
                if let Some(ids) = ids {
                    chunk["prompt_token_ids"] = ids;
                }
                Some(chunk)
            }
            Api::Completions if !prompt.echo.is_empty() || ids.is_some() => {
                let mut choice = json!({"index": choice, "text": prompt.echo, "logprobs": null});
                if let Some(ids) = ids {
                    choice["prompt_token_ids"] = ids;
                }
                Some(self.chunk(choice, None))
            }
            Api::Completions => None,
        }
    }

    /// The chunk of a piece.
    pub(super) fn piece(&self, choice: usize, piece: &Piece, offset: &mut Offset) -> Value {
        let mut value = match self.ready.api {
            Api::Chat => {
                let delta = if piece.text.is_empty() { json!({}) } else { json!({"content": piece.text}) };
                json!({"index": choice, "delta": delta, "logprobs": self.chat_log_probs(&piece.entries)})
            }
            Api::Completions => {
                let log_probs = self.text_log_probs(&piece.entries, offset);
                json!({"index": choice, "text": piece.text, "logprobs": log_probs})
            }
        };
        if self.ready.asked.token_ids {
            value["token_ids"] = json!(piece.ids);
        }
        self.chunk(value, piece.finish)
    }

    fn chunk(&self, mut choice: Value, finish: Option<&str>) -> Value {
        choice["finish_reason"] = json!(finish);
        let mut object = self.object(self.chunk_kind(), json!([choice]));
        if self.ready.asked.usage {
            object.insert("usage".to_owned(), Value::Null);
        }
        Value::Object(object)
    }

    fn chunk_kind(&self) -> &'static str {
        if self.ready.api == Api::Chat { "chat.completion.chunk" } else { "text_completion" }
    }

    /// The last chunk, where counts of tokens were asked for.
    pub(super) fn usage_chunk(&self, tokens: usize) -> Value {
        let mut object = self.object(self.chunk_kind(), json!([]));
        object.insert("usage".to_owned(), self.usage(tokens));
        Value::Object(object)
    }

    fn usage(&self, tokens: usize) -> Value {
        let prompt = self.ready.prompt_tokens();
        json!({"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens})
    }

    /// Log-probs as chats have them.
    fn chat_log_probs(&self, entries: &[Entry]) -> Value {
        if !self.ready.asked.log_probs || entries.is_empty() && self.ready.asked.stream {
            return Value::Null;
        }
        let one = |token: &Token| json!({"token": token.text, "bytes": token.bytes, "logprob": token.log_prob});
        let entry = |entry: &Entry| {
            let mut value = one(&entry.token);
            value["top_logprobs"] = entry.top.iter().map(one).collect();
            value
        };
        json!({"content": entries.iter().map(entry).collect::<Value>(), "refusal": null})
    }

    /// Log-probs as completions have them.
    fn text_log_probs(&self, entries: &[Entry], offset: &mut Offset) -> Value {
        if !self.ready.asked.log_probs || entries.is_empty() && self.ready.asked.stream {
            return Value::Null;
        }
        let mut offsets = Vec::with_capacity(entries.len());
        for entry in entries {
            offsets.push(offset.chars);
            // Bytes that only go on with a character are no character more.
            offset.chars += entry.token.bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count();
        }
        // The sampled one stands there, even if it is none of the likeliest.
        let top = |entry: &Entry| {
            let mut top: Map<String, Value> = Map::new();
            for token in entry.top.iter().chain([&entry.token]) {
                top.entry(token.name()).or_insert(json!(token.log_prob));
            }
            Value::Object(top)
        };
        json!({
            "tokens": entries.iter().map(|entry| entry.token.name()).collect::<Vec<_>>(),
            "token_logprobs": entries.iter().map(|entry| entry.token.log_prob).collect::<Vec<_>>(),
            "top_logprobs": entries.iter().map(top).collect::<Vec<_>>(),
            "text_offset": offsets,
        })
    }
}

/// What a list of models says of the one that is served.
pub(super) fn model(name: &str, created: i64, revision: &str, context: usize) -> Value {
    json!({
        "id": name, "object": "model", "created": created, "owned_by": "sapo", "root": name, "revision": revision,
        "max_model_len": context,
    })
}
