//! Format: whether a response is one closed thinking block and an answer. As a gate, never a reward by itself.

use sapo_datasets::Transcript;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::last_answer_tag;
use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::PartScore;

/// One closed thinking block and an answer; best as a gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Format {
    /// The thinking must not be blank.
    pub needs_working: bool,
    /// The answer must stand in `<answer>...</answer>`.
    pub needs_answer_tag: bool,
}

impl Verifier for Format {
    const VERSION: &'static str = "format/1";
    const ROLE: Role = Role::Form;
    const TRUTH_IS_ANSWER: bool = false;

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item.transcript, *self)
    }

    fn example() -> Example {
        Example::new(Value::Null, "<think>1+1=2</think>2", 1.0)
    }
}

/// 1 when the last turn is well-formed: thinking opened and closed once, in this order, and an answer after it.
pub fn score(transcript: &Transcript, rules: Format) -> PartScore {
    match fault(transcript, rules) {
        None => PartScore::verdict(true, "well-formed"),
        Some(fault) => PartScore::verdict(false, fault),
    }
}

fn fault(transcript: &Transcript, rules: Format) -> Option<&'static str> {
    let text = transcript.last_text();
    let opened = text.matches("<think>").count() + usize::from(transcript.thinking_open);
    let closed = text.matches("</think>").count();
    let Some(answer) = transcript.answer() else { return Some("the thinking is not closed") };
    if opened > 1 || closed > 1 || opened != closed {
        return Some("the thinking is opened or closed more than once");
    }
    if answer.contains("<think>") {
        return Some("thinking stands after its end");
    }
    let answer = if rules.needs_answer_tag {
        if answer.matches("<answer>").count() != 1 || answer.matches("</answer>").count() != 1 {
            return Some("the answer does not stand in one pair of answer tags");
        }
        last_answer_tag(answer).unwrap_or_default()
    } else {
        answer
    };
    if answer.trim().is_empty() {
        return Some("there is no answer");
    }
    (rules.needs_working && transcript.reasoning().trim().is_empty()).then_some("there is no working")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_of_responses() {
        let value = |text: &str, open: bool, rules: Format| {
            let transcript = Transcript { thinking_open: open, ..Transcript::of_answer("q", text) };
            score(&transcript, rules).outcome.value() == Some(1.0)
        };
        let plain = Format::default();
        assert!(value("1+1=2</think>2", true, plain));
        assert!(value("<think>1+1=2</think>2", false, plain));
        assert!(value("2", false, plain));
        for (text, open) in [
            ("1+1=2", true),
            ("1+1=2</think>", true),
            ("<think>a<think>b</think>2", false),
            ("a</think>b</think>2", true),
            ("a</think>2<think>", true),
            ("a</think>2", false),
        ] {
            assert!(!value(text, open, plain), "{text}");
        }
        assert!(!value("</think>2", true, Format { needs_working: true, ..plain }));
        let tagged = Format { needs_answer_tag: true, ..plain };
        assert!(value("a</think><answer>2</answer>", true, tagged));
        assert!(!value("a</think><answer></answer>", true, tagged));
        assert!(!value("a</think>2", true, tagged));
    }
}
