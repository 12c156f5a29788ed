//! Texts as they are compared and shown: evened out, listed in a ground truth, shortened for evidence.

use serde_json::Value;

use crate::extract::{plain, unwrapped};

/// The text with its case, its width and its runs of spaces evened out, without quotes and full stops around it.
pub fn normalised(text: &str) -> String {
    let text = plain(text);
    unwrapped(&text).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The texts that a ground truth accepts: a string, a number, or a list of them.
///
/// # Errors
/// The reason why it holds no text.
pub fn accepted(truth: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("the ground truth {other} is not a text")),
    };
    match truth {
        Value::Array(items) if !items.is_empty() => items.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

/// The first characters of a text, for evidence.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
