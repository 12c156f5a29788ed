//! Exact: the whole answer against the ground truth. Nothing is extracted: what else is said makes it wrong.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grounding::{GroundingTask, Truth, iou, place};
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::normalised;

/// The whole answer is the ground truth: number, text, one box; nothing is extracted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exact {}

impl Verifier for Exact {
    const VERSION: &'static str = "exact/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, |truth, answer| match verify(truth, answer) {
            Ok((right, evidence)) => PartScore::verdict(right, evidence).extracted(answer.trim()),
            Err(fault) => PartScore::failed(FailureKind::GroundTruth, fault),
        })
    }

    fn example() -> Example {
        Example::new(85, "85", 1.0)
    }
}

/// The IoU from which on a box is right.
const LEAST_IOU: f64 = 0.5;

/// Whether `answer` (the text after the thinking) is `truth`: a number, a text, or a box; with evidence.
///
/// # Errors
/// When the ground truth itself cannot be read: that is a fault of the data, not of the answer.
pub fn verify(truth: &Value, answer: &str) -> Result<(bool, String), String> {
    let answer = answer.trim();
    let verdict =
        |right: bool, wanted: &str| (right, format!("{answer} {} {wanted}", if right { "=" } else { "is not" }));
    match truth {
        Value::Number(number) => {
            // Not `Decimal`: `85.0` is another answer than `85` where nothing is extracted.
            let plain = answer.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            let said = if plain { answer.parse::<i64>().ok() } else { None };
            Ok(verdict(said.is_some() && said == number.as_i64(), &number.to_string()))
        }
        // An empty answer would be right.
        Value::String(wanted) if normalised(wanted).is_empty() => Err("the ground truth is a blank text".to_owned()),
        Value::String(wanted) => Ok(verdict(normalised(answer) == normalised(wanted), wanted)),
        Value::Object(_) => {
            let truth: Truth = serde_json::from_value(truth.clone())
                .map_err(|error| format!("the ground truth {truth} does not describe a box: {error}"))?;
            let (GroundingTask::Bbox, [wanted]) = (truth.task, &truth.boxes[..]) else {
                return Err("`exact` compares one box; use `grounding` for points and several boxes".to_owned());
            };
            let overlap = said_box(answer).map(|said| iou(said, *wanted));
            let evidence = overlap
                .map_or_else(|| "no valid box".to_owned(), |overlap| format!("IoU {overlap:.3}, {LEAST_IOU} passes"));
            Ok((overlap.is_some_and(|overlap| overlap >= LEAST_IOU), evidence))
        }
        other => Err(format!("a ground truth of this form cannot be verified: {other}")),
    }
}

/// The box of a strict `{"bbox_2d": [x1, y1, x2, y2]}`, alone or in a list of one.
fn said_box(answer: &str) -> Option<[f64; 4]> {
    let value: Value = serde_json::from_str(answer).ok()?;
    let object = match &value {
        Value::Array(items) => match &items[..] {
            [only] => only,
            _ => return None,
        },
        other => other,
    };
    place(object, GroundingTask::Bbox).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn truths_of_every_kind() {
        let right = |truth: Value, answer: &str| verify(&truth, answer).expect("a readable truth").0;
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
        for unreadable in [
            json!(null),
            json!(" ."),
            json!({"task": "bbox", "boxes": []}),
            json!({"task": "point", "boxes": [[0, 0, 9, 9]]}),
        ] {
            assert!(verify(&unreadable, "x").is_err(), "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(answer in "\\PC{0,80}", number in any::<i64>()) {
            let (right, _) = verify(&json!(number), &answer).expect("a readable truth");
            prop_assert!(!right || answer.trim().parse::<i64>() == Ok(number));
            let truth = json!({"task": "bbox", "boxes": [[0, 0, 10, 10]]});
            prop_assert!(verify(&truth, &answer).is_ok());
        }
    }
}
