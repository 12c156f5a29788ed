//! Texts: equal after normalisation.

use serde_json::Value;

use crate::extract::{final_answer, plain, unwrapped};
use crate::number::shortened;
use crate::score::{FailureKind, PartScore};

/// The text with its case, its width and its runs of spaces evened out, without quotes and full stops around it.
pub fn normalised(text: &str) -> String {
    let text = plain(text);
    unwrapped(&text).to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The texts that a ground truth accepts: a string, a number, or a list of them.
///
/// # Errors
/// The reason why it is none.
pub fn accepted(truth: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("the ground truth {other} is no text")),
    };
    match truth {
        Value::Array(items) if !items.is_empty() => items.iter().map(one).collect(),
        other => one(other).map(|text| vec![text]),
    }
}

/// 1 when the final answer of `text` is one of the accepted texts.
pub fn score(truth: &Value, text: &str) -> PartScore {
    let wanted = match accepted(truth) {
        Ok(wanted) => wanted,
        Err(fault) => return PartScore::failed(FailureKind::GroundTruth, fault),
    };
    let said = final_answer(text);
    let key = normalised(&said);
    let right = wanted.iter().any(|wanted| normalised(wanted) == key);
    let shown = wanted.join(" or ");
    PartScore::verdict(right, format!("`{}` {} `{shown}`", shortened(&said), if right { "=" } else { "is not" }))
        .extracted(said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn case_width_and_spaces_do_not_matter() {
        let right = |truth: Value, text: &str| score(&truth, text).outcome.value();
        for text in ["Ann", "ann.", " \"Ann\" ", "\\boxed{Ann}", "Ａｎｎ", "The answer is Ann."] {
            assert_eq!(right(json!("Ann"), text), Some(1.0), "{text}");
        }
        for text in ["", "Ann Bob", "Ann or Bob", "An", "not Ann"] {
            assert_eq!(right(json!("Ann"), text), Some(0.0), "{text}");
        }
        assert_eq!(right(json!("224"), "224"), Some(1.0));
        assert_eq!(right(json!(["colour", "color"]), "Color"), Some(1.0));
        assert_eq!(right(json!(""), ""), None);
        assert_eq!(right(json!({}), ""), None);
    }
}
