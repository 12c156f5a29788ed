//! From a rollout to its transcript, the text that rewards see.

use sapo_datasets::{Role, StopReason, ToolCall, Transcript, Turn as TextTurn};
use sapo_policies::processor::Processor;
use serde_json::Value;

use crate::rollout::{Rollout, Turn};

/// What opens and closes a tool call in the text of a Qwen3-VL policy.
const CALL: [&str; 2] = ["<tool_call>", "</tool_call>"];

/// The transcript of a rollout whose sampled tokens were limited to `token_limit`.
pub fn transcript(processor: &Processor, query_id: &str, rollout: &Rollout, token_limit: usize) -> Transcript {
    let turns: Vec<TextTurn> = rollout.turns.iter().map(|turn| text_of(processor, turn)).collect();
    let said = turns.iter().filter(|turn| turn.role == Role::Assistant);
    Transcript {
        query_id: query_id.to_owned(),
        calls: said.flat_map(|turn| calls(&turn.text)).collect(),
        turns,
        tokens: rollout.sampled(),
        token_ids: rollout.turns.iter().filter(|turn| turn.is_sampled()).flat_map(Turn::ids).copied().collect(),
        token_limit,
        stop: rollout.stop,
        pictures: Vec::new(),
        thinking_open: processor.thinking_open(),
    }
}

/// The text of a turn without tokens that only steer the conversation.
fn text_of(processor: &Processor, turn: &Turn) -> TextTurn {
    match turn {
        Turn::Sampled { ids, stop, stop_text, .. } => {
            let ended = usize::from(*stop == StopReason::Eos);
            let mut text = processor.decode(&ids[..ids.len().saturating_sub(ended)], true);
            // The turn's tokens hold the text that ended it, the turn's text does not.
            if let Some(end) = stop_text.as_deref().and_then(|stop| text.find(stop)) {
                text.truncate(end);
            }
            TextTurn { role: Role::Assistant, text }
        }
        Turn::Injected { role, input } => TextTurn { role: *role, text: processor.decode(input.ids(), true) },
    }
}

/// The tool calls in a text; what stands between the marks and is no call is kept as malformed.
fn calls(text: &str) -> Vec<ToolCall> {
    let mut calls = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(CALL[0]) {
        rest = &rest[start + CALL[0].len()..];
        let end = rest.find(CALL[1]);
        calls.push(match end {
            Some(end) => call(rest[..end].trim()),
            None => malformed(rest.trim(), "the call is not closed"),
        });
        rest = end.map_or("", |end| &rest[end + CALL[1].len()..]);
    }
    calls
}

fn call(text: &str) -> ToolCall {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return malformed(text, &format!("not JSON: {error}")),
    };
    match (value["name"].as_str(), value.get("arguments")) {
        (Some(name), Some(arguments @ Value::Object(_))) => {
            ToolCall::Parsed { name: name.to_owned(), arguments: arguments.clone() }
        }
        (None, _) => malformed(text, "`name` is missing"),
        (_, _) => malformed(text, "`arguments` must be an object"),
    }
}

fn malformed(text: &str, reason: &str) -> ToolCall {
    ToolCall::Malformed { text: text.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_are_read_and_what_is_none_is_marked() {
        let text = "a<tool_call>\n{\"name\": \"zoom\", \"arguments\": {\"box\": [1, 2]}}\n</tool_call> b <tool_call>zoom</tool_call>\
                    <tool_call>{\"name\": \"x\"";
        let calls = calls(text);
        assert_eq!(calls[0], ToolCall::Parsed { name: "zoom".to_owned(), arguments: json!({"box": [1, 2]}) });
        let reasons: Vec<bool> = calls[1..].iter().map(|call| matches!(call, ToolCall::Malformed { .. })).collect();
        assert_eq!(reasons, [true, true]);
        assert!(super::calls("no call").is_empty());
    }
}
