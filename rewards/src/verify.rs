//! Rule verifiers: whether an answer is that of the query, by the kind of its ground truth. Pure and fast.

use std::collections::BTreeMap;

use serde_json::Value;

/// The largest error of a box side: answers are in 0..1000.
const FULL: f64 = 1000.0;

/// Whether `answer` (the text after the thinking) is `truth`: a number, a text, or boxes; 1 or 0, with evidence.
///
/// # Errors
/// When the ground truth itself cannot be read: that is a fault of the data, not of the answer.
pub fn verify(truth: &Value, answer: &str) -> Result<(f64, String), String> {
    let answer = answer.trim();
    let verdict = |right: bool, said: &str, wanted: &str| {
        (f64::from(u8::from(right)), format!("{said} {} {wanted}", if right { "=" } else { "is not" }))
    };
    match truth {
        Value::Number(number) => {
            let wanted = number.to_string();
            let plain = answer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            let said = if plain { answer.parse::<i64>().ok() } else { None };
            Ok(verdict(said.is_some() && said == number.as_i64(), answer, &wanted))
        }
        Value::String(wanted) => Ok(verdict(normalised(answer) == normalised(wanted), answer, wanted)),
        Value::Object(object) if object.get("task").and_then(Value::as_str) == Some("bbox") => {
            let boxes = object.get("boxes").and_then(boxes).filter(|boxes| !boxes.is_empty());
            let wanted = boxes.ok_or("the ground truth holds no boxes")?;
            let [wanted] = wanted[..] else {
                return Err("the ground truth holds several boxes; one is supported".to_owned());
            };
            let overlap = said_box(answer).map(|said| iou(said, wanted));
            let evidence =
                overlap.map_or_else(|| "no valid box".to_owned(), |overlap| format!("IoU {overlap:.3}, 0.5 passes"));
            Ok((f64::from(u8::from(overlap.is_some_and(|overlap| overlap >= 0.5))), evidence))
        }
        other => Err(format!("a ground truth of this form cannot be verified: {other}")),
    }
}

/// Case, full stops at the end and runs of spaces do not matter.
fn normalised(text: &str) -> String {
    let text = text.trim().trim_end_matches(['.', '\u{3002}']).to_lowercase();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Corners = [f64; 4];

fn boxes(value: &Value) -> Option<Vec<Corners>> {
    serde_json::from_value(value.clone()).ok()
}

/// The box of a strict `{"bbox_2d": [x1, y1, x2, y2]}`, alone or in a list of one.
fn said_box(answer: &str) -> Option<Corners> {
    let value: Value = serde_json::from_str(answer).ok()?;
    let object = match &value {
        Value::Array(items) => match &items[..] {
            [only] => only,
            _ => return None,
        },
        other => other,
    };
    let corners: Corners = serde_json::from_value(object.get("bbox_2d")?.clone()).ok()?;
    let [x1, y1, x2, y2] = corners;
    let inside = corners.iter().all(|side| side.is_finite() && (0.0..=FULL).contains(side));
    (inside && x1 < x2 && y1 < y2).then_some(corners)
}

/// Intersection over union.
fn iou(a: Corners, b: Corners) -> f64 {
    let side = |low: usize| (a[low + 2].min(b[low + 2]) - a[low].max(b[low])).max(0.0);
    let area = |c: Corners| (c[2] - c[0]) * (c[3] - c[1]);
    let shared = side(0) * side(1);
    let union = area(a) + area(b) - shared;
    if union > 0.0 { shared / union } else { 0.0 }
}

/// Whether the words of a text are of another script than `language` (`en` or `zh`), or mix both: the share of Han
/// characters among letters must be 0 or 1. JSON, digits and punctuation have no language.
pub fn strays_from(language: &str, text: &str) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let json = text.trim_start().starts_with(['{', '[']);
    for letter in text.chars().filter(|letter| letter.is_alphabetic() && !json) {
        *counts.entry(if ('\u{4e00}'..='\u{9fff}').contains(&letter) { "zh" } else { "en" }).or_default() += 1;
    }
    let other = counts.iter().find(|(script, _)| **script != language)?;
    Some(format!("{} letters are not of `{language}`", other.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn truths_of_every_kind() {
        let right = |truth: Value, answer: &str| verify(&truth, answer).expect("a readable truth").0 == 1.0;
        assert!(right(json!(85), " 85"));
        assert!(!right(json!(85), "850"));
        assert!(!right(json!(85), "3 or 85"));
        assert!(!right(json!(85), ""));
        assert!(right(json!("11:35"), "11:35"));
        assert!(right(json!("Ann"), "ann."));
        assert!(!right(json!("Ann"), "Ann Bob"));
        let truth = json!({"task": "bbox", "boxes": [[0, 0, 500, 500]]});
        assert!(right(truth.clone(), r#"{"bbox_2d":[0,0,500,400]}"#));
        assert!(!right(truth.clone(), r#"{"bbox_2d":[0,0,1000,1000]}"#));
        assert!(!right(truth.clone(), r#"{"bbox_2d":[500,0,0,500]}"#));
        assert!(!right(truth.clone(), r#"{"bbox_2d":[0,0,500,1e400]}"#));
        assert!(!right(truth, r#"[{"bbox_2d":[0,0,500,400]},{"bbox_2d":[0,0,500,400]}]"#));
        assert!(verify(&json!(null), "x").is_err());
    }

    #[test]
    fn scripts() {
        assert_eq!(strays_from("en", "long 7,short 11"), None);
        assert!(strays_from("en", "long 7,\u{77ed} 11").is_some());
        assert!(strays_from("zh", "long").is_some());
        assert_eq!(strays_from("zh", r#"{"bbox_2d":[1,2,3,4]}"#), None);
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in "\\PC{0,80}", number in any::<i64>()) {
            let (value, _) = verify(&json!(number), &answer).expect("a readable truth");
            prop_assert!(value == 0.0 || answer.trim().parse::<i64>() == Ok(number));
            let _ = strays_from("en", &answer);
            let truth = json!({"task": "bbox", "boxes": [[0, 0, 10, 10]]});
            prop_assert!(verify(&truth, &answer).is_ok());
        }
    }
}
