//! Gold answers: what a right response looks like, given or made from the ground truth.

use sapo_datasets::Query;
use serde_json::{Value, json};

/// How an answer may be said; a reward may want any one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Boxed,
    Tagged,
    TaggedBox,
    /// From here on after a thinking block.
    ThenPlain,
    ThenBoxed,
    ThenTagged,
    ThenTaggedBox,
}

impl Form {
    pub(super) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Boxed,
        Self::Tagged,
        Self::TaggedBox,
        Self::ThenPlain,
        Self::ThenBoxed,
        Self::ThenTagged,
        Self::ThenTaggedBox,
    ];

    /// The response that gives this answer.
    pub(super) fn of(self, answer: &str) -> String {
        let thinking = "<think>I work it out.</think>\n";
        match self {
            Self::Plain => answer.to_owned(),
            Self::Boxed => format!("\\boxed{{{answer}}}"),
            Self::Tagged => format!("<answer>{answer}</answer>"),
            Self::TaggedBox => format!("<answer>\\boxed{{{answer}}}</answer>"),
            Self::ThenPlain => format!("{thinking}{}", Self::Plain.of(answer)),
            Self::ThenBoxed => format!("{thinking}{}", Self::Boxed.of(answer)),
            Self::ThenTagged => format!("{thinking}{}", Self::Tagged.of(answer)),
            Self::ThenTaggedBox => format!("{thinking}{}", Self::TaggedBox.of(answer)),
        }
    }
}

/// A response as its thinking (with the closing tag) and its answer.
pub(super) fn split(response: &str) -> (&str, &str) {
    match response.rfind("</think>") {
        Some(at) => response.split_at(at + "</think>".len()),
        None => ("", response),
    }
}

/// The answer that a ground truth is or describes: a text, a number, the first of a list of texts, boxes or points.
/// `None` for what is no answer, such as tests.
pub fn of_truth(query: &Query) -> Option<String> {
    match query.ground_truth.as_ref()? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(texts) => match texts.first()? {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        },
        truth @ Value::Object(_) => places(truth),
        _ => None,
    }
}

/// Boxes as `bbox_2d`; for points, the middles of the boxes that they must fall in.
fn places(truth: &Value) -> Option<String> {
    let is_point = truth["task"] == "point";
    let boxes = boxes(truth)?;
    let place = |[x1, y1, x2, y2]: [f64; 4]| match is_point {
        true => json!({"point_2d": [f64::midpoint(x1, x2), f64::midpoint(y1, y2)]}),
        false => json!({"bbox_2d": ([x1, y1, x2, y2].map(plain))}),
    };
    let list: Vec<Value> = boxes.into_iter().map(place).collect();
    Some(Value::Array(list).to_string())
}

/// Whole numbers are written without a fraction, as the policy writes them.
fn plain(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e9 { json!(number as i64) } else { json!(number) }
}

/// The boxes of a grounding truth.
pub(super) fn boxes(truth: &Value) -> Option<Vec<[f64; 4]>> {
    let boxes: Vec<[f64; 4]> = serde_json::from_value(truth.get("boxes")?.clone()).ok()?;
    (!boxes.is_empty()).then_some(boxes)
}
