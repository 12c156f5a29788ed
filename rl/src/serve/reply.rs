//! Replies in the shape of OpenAI's chat completions.

use sapo_datasets::{StopReason, Transcript};
use sapo_policies::processor::Processor;
use sapo_rollouts::Rollout;
use serde_json::{Value, json};

/// One answer as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// What was said after the working.
    content: String,
    /// The working, when there is any.
    working: Option<String>,
    /// Whether the policy ended its turn itself.
    ended: bool,
}

/// All answers to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// In the order of their numbers.
    pub(super) samples: Vec<Sample>,
    /// Tokens of the prompt, pictures included.
    pub(super) prompt_tokens: usize,
    /// Sampled tokens of all answers.
    pub(super) completion_tokens: usize,
}

impl Sample {
    /// A rollout as text, its working apart from its answer.
    pub(super) fn of(rollout: &Rollout, processor: &Processor) -> Self {
        let ended = rollout.stop == StopReason::Eos;
        let ids: Vec<u32> = rollout.ids().collect();
        let text = processor.decode(&ids[..ids.len().saturating_sub(usize::from(ended))], true);
        Self::of_text(text, ended, processor.thinking_open())
    }

    fn of_text(text: String, ended: bool, thinking_open: bool) -> Self {
        let mut transcript = Transcript::of_answer("", text);
        transcript.thinking_open = thinking_open;
        let working = transcript.reasoning().trim();
        let with_working = thinking_open || transcript.last_text().contains("</think>") || !working.is_empty();
        let content = transcript.answer().unwrap_or_default();
        // The blank lines between working and answer belong to neither.
        let content = if with_working { content.trim_start() } else { content };
        Self { content: content.to_owned(), working: (!working.is_empty()).then(|| working.to_owned()), ended }
    }
}

/// The body of a reply.
pub(super) fn completion(id: &str, model: &str, created: i64, answered: &Answered) -> Value {
    let choices: Vec<Value> =
        answered.samples.iter().enumerate().map(|(index, sample)| choice(index, sample)).collect();
    let (prompt, sampled) = (answered.prompt_tokens, answered.completion_tokens);
    json!({
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": choices,
        "usage": {"prompt_tokens": prompt, "completion_tokens": sampled, "total_tokens": prompt + sampled},
    })
}

fn choice(index: usize, sample: &Sample) -> Value {
    let mut message = json!({"role": "assistant", "content": sample.content});
    if let Some(working) = &sample.working {
        message["reasoning_content"] = json!(working);
    }
    let reason = if sample.ended { "stop" } else { "length" };
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": reason})
}

/// The body of the list of models.
pub(super) fn models(name: &str, created: i64, revision: &str) -> Value {
    let model = json!({"id": name, "object": "model", "created": created, "owned_by": "sapo", "revision": revision});
    json!({"object": "list", "data": [model]})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str, thinking_open: bool) -> (String, Option<String>) {
        let sample = Sample::of_text(text.to_owned(), true, thinking_open);
        (sample.content, sample.working)
    }

    #[test]
    fn working_and_answer_stand_apart() {
        let both = |content: &str, working: &str| (content.to_owned(), Some(working.to_owned()));
        assert_eq!(parts("2 + 3 = 5\n</think>\n\n5", true), both("5", "2 + 3 = 5"));
        assert_eq!(parts("<think>\nsum\n</think>\n5 ", false), both("5 ", "sum"));
        assert_eq!(parts("\n</think>\n\n5", true), ("5".to_owned(), None));
        assert_eq!(parts(" 5", false), (" 5".to_owned(), None));
        assert_eq!(parts("still thinking", true), both("", "still thinking"));
    }
}
