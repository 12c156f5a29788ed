//! Any server of OpenAI's chat completions: texts and no token ids. Its answers can be judged and evaluated; tokens count as
//! known only when the tokenizer gives them back from the text, and the server's own log-probs name the same bytes.

use std::sync::Arc;

use sapo_datasets::StopReason;
use sapo_policies::processor::Processor;
use serde_json::{Map, Value, json};

use super::dialect::{Answer, Ask, Call, Dialect, Unread, Weights};
use super::dialect::{bias, lacks, log_probs, unsaid_by_all};
use super::prompt::Part;
use crate::request::Sampling;

/// What a turn of a chat begins and ends with in the text of a Qwen prompt.
const TURN: [&str; 2] = ["<|im_start|>", "<|im_end|>"];
/// What stands around a picture.
const PICTURE: [&str; 2] = ["<|vision_start|>", "<|vision_end|>"];

/// A server of chat completions.
#[derive(Clone, Debug)]
pub(super) struct Openai {
    /// What turns texts into tokens.
    pub(super) processor: Arc<Processor>,
    /// Whether an answer whose tokens cannot be proven is refused.
    pub(super) prove: bool,
}

/// What of a sampling cannot be said.
pub(super) fn unsaid(sampling: &Sampling) -> Option<String> {
    let keys = [
        ("top_k", sampling.top_k > 0),
        ("min_p", sampling.min_p > 0.0),
        ("repetition_penalty", sampling.repetition_penalty != 1.0),
        ("stop_ids", !sampling.stop_ids.is_empty()),
        ("untempered", sampling.untempered),
    ];
    match keys.iter().find(|(_, said)| *said) {
        Some((key, _)) => {
            Some(format!("`{key}` cannot be said to an OpenAI-compatible server; leave it out, or use vllm or sglang"))
        }
        None => unsaid_by_all(sampling),
    }
}

impl Dialect for Openai {
    fn request(&self, ask: &Ask) -> Result<(&'static str, Value), String> {
        let sampling = &ask.sampling;
        let mut fields = Map::new();
        let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
        put("model", json!(ask.model));
        put("messages", json!(messages(ask)?));
        put("temperature", json!(sampling.temperature));
        put("max_tokens", json!(ask.max_tokens));
        put("seed", json!(ask.seed & u64::from(u32::MAX >> 1)));
        put("logprobs", json!(true));
        // Ids of the policy's own tokenizer may be others there: only what was asked for is said.
        if let Some(bias) = bias(sampling, &sampling.banned_ids) {
            put("logit_bias", bias);
        }
        // Strict servers refuse what they do not know: nothing is said that is as usual.
        let penalties =
            [("presence_penalty", sampling.presence_penalty), ("frequency_penalty", sampling.frequency_penalty)];
        for (key, value) in penalties.into_iter().filter(|(_, value)| *value != 0.0) {
            put(key, json!(value));
        }
        if sampling.top_p < 1.0 {
            put("top_p", json!(sampling.top_p));
        }
        if !sampling.stop.is_empty() {
            put("stop", json!(sampling.stop));
        }
        Ok(("/v1/chat/completions", Value::Object(fields)))
    }

    fn answer(&self, ask: &Ask, reply: &Value) -> Result<Answer, Unread> {
        let choice = &reply["choices"][0];
        let text = choice["message"]["content"].as_str().ok_or_else(|| lacks("choices[0].message.content"))?;
        let stop = match choice["finish_reason"].as_str() {
            Some("stop") => StopReason::Eos,
            Some("length") => StopReason::Length,
            other => return Err(Unread::Wrong(format!("its finish_reason is {}", other.unwrap_or("missing")))),
        };
        let mut ids = self.processor.tokenizer().encode(text).map_err(|error| Unread::Wrong(error.to_string()))?;
        // What stopped it is not told: with stop texts it may have been one of them.
        if stop == StopReason::Eos && ask.sampling.stop.is_empty() {
            ids.extend(ask.stop_ids.first());
        }
        let proven = self.proven(&ids, &choice["logprobs"]["content"]);
        let log_probs = match (proven, self.prove) {
            (Ok(log_probs), _) => log_probs,
            (Err(reason), true) => return Err(Unread::Unproven(reason)),
            (Err(_), false) => Vec::new(),
        };
        // Without proof, tokens and names are those of another model, and are not compared.
        let told = |value: &Value| value.as_u64().and_then(|count| usize::try_from(count).ok());
        let prompt_tokens = told(&reply["usage"]["prompt_tokens"]).filter(|_| self.prove);
        let model = reply["model"].as_str().filter(|_| self.prove).map(str::to_owned);
        Ok(Answer { ids, log_probs, stop: Some(stop), prompt_tokens, model, ..Answer::default() })
    }

    fn truncates_log_probs(&self) -> bool {
        true
    }

    fn health(&self) -> &'static str {
        "/v1/models"
    }

    fn load(&self, _: &Weights) -> Vec<Call> {
        Vec::new()
    }

    fn identity_paths(&self) -> &'static [&'static str] {
        &[]
    }

    fn identity(&self, _: &str) -> Option<String> {
        None
    }

    fn identity_with(&self, _: &Weights) -> Option<String> {
        None
    }

    fn version_with(&self, _: &Weights) -> Option<String> {
        None
    }

    fn sleep(&self) -> Vec<Call> {
        Vec::new()
    }

    fn wake(&self) -> Vec<Call> {
        Vec::new()
    }

    fn wakes_with_weights(&self) -> bool {
        true
    }
}

impl Openai {
    /// The log-probs of the ids that the text was read as, if the server has named the bytes of each of them.
    fn proven(&self, ids: &[u32], content: &Value) -> Result<Vec<f32>, String> {
        let entries = content.as_array().ok_or("it gave no log-probs with bytes")?;
        if entries.len() != ids.len() {
            return Err(format!("it sampled {} tokens, and its text is read as {}", entries.len(), ids.len()));
        }
        let bytes = |entry: &Value| -> Option<Vec<u8>> {
            entry["bytes"].as_array()?.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect()
        };
        for (at, (entry, id)) in entries.iter().zip(ids).enumerate() {
            if bytes(entry).as_deref() != Some(self.processor.token_bytes(*id)) {
                return Err(format!("token {} has other bytes than its text is read as", at + 1));
            }
        }
        log_probs(entries.iter().map(|entry| &entry["logprob"])).ok_or_else(|| "a log-prob is not a number".to_owned())
    }
}

/// The messages that a rendered prompt was made of.
fn messages(ask: &Ask) -> Result<Vec<Value>, String> {
    let strange = || {
        "the prompt is not a chat of turns that ends where the assistant begins, so it cannot be said to an OpenAI-compatible \
         server; use vllm or sglang"
            .to_owned()
    };
    let mut text = String::new();
    let mut urls = Vec::new();
    for part in ask.prompt.parts() {
        match part {
            Part::Text { text: more, .. } => text.push_str(more),
            Part::Picture { url, .. } => {
                // The marks around a picture are the template's.
                text = text.strip_suffix(PICTURE[0]).ok_or_else(strange)?.to_owned();
                text.push_str(PICTURE[0]);
                urls.push(url.as_ref());
            }
        }
    }
    let turns: Vec<&str> = text.split(TURN[0]).collect();
    let [first, said @ .., last] = turns.as_slice() else { return Err(strange()) };
    // Templates of thinking models open the reasoning, and so does the server's.
    if !first.is_empty() || !matches!(last.trim_end(), "assistant" | "assistant\n<think>") {
        return Err(strange());
    }
    let mut urls = urls.into_iter();
    said.iter()
        .map(|turn| {
            let (role, rest) = turn.split_once('\n').ok_or_else(strange)?;
            let content = rest.trim_end_matches('\n').strip_suffix(TURN[1]).ok_or_else(strange)?;
            Ok(json!({"role": role, "content": content_of(content, &mut urls)}))
        })
        .collect()
}

/// A turn's content: a text, or parts where there are pictures.
fn content_of<'a>(content: &str, urls: &mut impl Iterator<Item = &'a str>) -> Value {
    let marks = PICTURE.concat();
    let texts: Vec<&str> = content.split(&marks).collect();
    if texts.len() == 1 {
        return json!(content);
    }
    let mut parts = Vec::new();
    for (at, text) in texts.into_iter().enumerate() {
        if at > 0 {
            parts.extend(urls.next().map(|url| json!({"type": "image_url", "image_url": {"url": url}})));
        }
        if !text.is_empty() {
            parts.push(json!({"type": "text", "text": text}));
        }
    }
    Value::Array(parts)
}
