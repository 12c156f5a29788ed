//! The prompts of a completion request: a text, token ids, or a list of either.

use serde_json::{Map, Value};

use super::Limits;
use super::asked::MOST_SAMPLES;
use super::chat::BYTES_PER_TOKEN;
use super::fault::Fault;
use super::fields::{Fields, token_id, wrong};

/// A prompt without a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawPrompt {
    /// Text; special tokens in it are parsed.
    Text(String),
    /// Token ids.
    Ids(Vec<u32>),
}

/// A checked request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    /// What is to be completed.
    pub(super) prompts: Vec<RawPrompt>,
    /// Whether the text of an answer begins with its prompt.
    pub(super) echo: bool,
    /// Log-probs of so many of the likeliest tokens, where log-probs are wanted.
    pub(super) log_probs: Option<usize>,
}

impl Completion {
    /// Reads what a chat does not have.
    pub(super) fn read(object: &Map<String, Value>, limits: &Limits) -> Result<Self, Fault> {
        let fields = Fields::new(object);
        let log_probs = fields.count("logprobs", 0, sapo_rollouts::Sampling::MOST_TOP_LOG_PROBS)?;
        let echo = fields.flag("echo")?;
        if echo && log_probs.is_some() {
            return Err(Fault::field("echo", "log-probs of prompts are not served; leave out `echo` or `logprobs`"));
        }
        let prompts = prompts(fields, limits)?;
        let samples = fields.count("n", 1, MOST_SAMPLES)?.unwrap_or(1);
        if prompts.len() * samples > MOST_SAMPLES {
            let reason = format!("{} prompts with n = {samples} are more than {MOST_SAMPLES} answers", prompts.len());
            return Err(Fault::field("prompt", format!("{reason}; ask in several requests")));
        }
        Ok(Self { prompts, echo, log_probs })
    }
}

fn prompts(fields: Fields<'_>, limits: &Limits) -> Result<Vec<RawPrompt>, Fault> {
    let vocabulary = limits.vocabulary;
    let wanted = format!("a text, a list of texts, a list of token ids below {vocabulary}, or a list of those");
    let value = fields.get("prompt").ok_or_else(|| Fault::field("prompt", format!("is missing; give {wanted}")))?;
    let text = |value: &Value| Some(RawPrompt::Text(value.as_str()?.to_owned()));
    let ids = |value: &Value| {
        let ids = value.as_array()?.iter().map(|id| token_id(id, vocabulary)).collect::<Option<_>>()?;
        Some(RawPrompt::Ids(ids))
    };
    let read = match value {
        Value::Array(list) if list.iter().any(Value::is_number) => ids(value).map(|one| vec![one]),
        Value::Array(list) => list.iter().map(|one| text(one).or_else(|| ids(one))).collect(),
        other => text(other).map(|one| vec![one]),
    };
    let prompts = read.filter(|prompts| !prompts.is_empty()).ok_or_else(|| wrong("prompt", value, &wanted))?;
    for prompt in &prompts {
        let (is_empty, is_long) = match prompt {
            RawPrompt::Text(text) => (text.is_empty(), text.len() / BYTES_PER_TOKEN > limits.prompt_tokens),
            RawPrompt::Ids(ids) => (ids.is_empty(), ids.len() > limits.prompt_tokens),
        };
        if is_empty {
            return Err(Fault::field("prompt", "is empty; give at least one token"));
        }
        if is_long {
            let reason = format!("is longer than {} tokens; shorten it", limits.prompt_tokens);
            return Err(Fault::too_long("prompt", reason));
        }
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits { new_tokens: None, prompt_tokens: 4, context: 8, vocabulary: 10, frame_tokens: 5 };

    fn read(prompt: &Value) -> Result<Vec<RawPrompt>, Fault> {
        Ok(Completion::read(json!({ "prompt": prompt }).as_object().expect("an object"), &LIMITS)?.prompts)
    }

    #[test]
    fn every_way_to_write_a_prompt_is_read() {
        let text = |text: &str| RawPrompt::Text(text.to_owned());
        assert_eq!(read(&json!("a")).unwrap(), [text("a")]);
        assert_eq!(read(&json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
        assert_eq!(read(&json!([1, 2])).unwrap(), [RawPrompt::Ids(vec![1, 2])]);
        assert_eq!(read(&json!([[1], [2, 3]])).unwrap(), [RawPrompt::Ids(vec![1]), RawPrompt::Ids(vec![2, 3])]);
        let long = json!("x".repeat(1000));
        for wrong in [
            json!(null),
            json!(""),
            json!([]),
            json!([[]]),
            json!([1, "a"]),
            json!([10]),
            json!([-1]),
            json!([1.5]),
            json!({}),
            json!([1, 2, 3, 4, 5]),
            json!([["a"]]),
            long,
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
