//! The verifier that a query's data asks for: by its column `reward_kind`, else by the form of its ground truth.

use serde_json::Value;

use crate::extract;
use crate::grounding::Metric;
use crate::judge;
use crate::number::Tolerance;
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::verify::verify;
use crate::{clock, counting, description, grounding, instructions, logic, math, multiple_choice, number, text};

/// The answer of an item and its ground truth, handed to `check`; what has no answer is wrong, what has no truth fails.
pub(crate) fn answered(item: &Item<'_>, check: impl Fn(&Value, &str) -> PartScore) -> PartScore {
    let Some(truth) = &item.query.ground_truth else {
        return PartScore::failed(
            FailureKind::GroundTruth,
            format!("the query `{}` has no ground truth", item.query.id),
        );
    };
    match extract::answer(item.transcript) {
        None => PartScore::verdict(false, "the thinking is not closed"),
        Some(answer) => check(truth, answer),
    }
}

/// Scores by the verifier that the query asks for; a box passes with an IoU of one half.
pub(crate) fn score(item: &Item<'_>) -> PartScore {
    let kind = item.query.columns.get("reward_kind").and_then(Value::as_str);
    let choices = item.query.columns.get("choices");
    answered(item, |truth, answer| match (kind, truth) {
        (Some("number"), _) | (None, Value::Number(_)) => number::score(truth, answer, Tolerance::default()),
        (Some("clock"), _) => clock::score(truth, answer),
        (Some("description"), _) => description::score(truth, answer),
        (Some("verdict"), _) => verdict(truth, answer),
        (Some("grounding"), _) | (None, Value::Object(_)) => {
            grounding::score(truth, answer, Metric::MeanIou, Some(0.5))
        }
        (Some("multiple_choice"), _) => multiple_choice::score(truth, choices, answer),
        (None, _) if choices.is_some() => multiple_choice::score(truth, choices, answer),
        (Some("math"), _) => math::score(truth, answer),
        (Some("counting"), _) => counting::score(truth, answer),
        (Some("logic"), _) => logic::score(item),
        (Some("instructions"), _) => instructions::score(item, instructions::Scoring::Strict),
        (Some("text"), _) | (None, Value::String(_) | Value::Array(_)) => text::score(truth, answer),
        (Some(other), _) => PartScore::failed(
            FailureKind::GroundTruth,
            format!("the column reward_kind names `{other}`, which is no verifier"),
        ),
        (None, other) => {
            PartScore::failed(FailureKind::GroundTruth, format!("no verifier reads the ground truth {other}"))
        }
    })
}

/// 1 when the last JSON verdict of `text` is that of the truth (`yes` or `no`).
pub(crate) fn verdict(truth: &Value, text: &str) -> PartScore {
    let wanted = match truth.as_str() {
        Some("yes") => true,
        Some("no") => false,
        _ => {
            return PartScore::failed(
                FailureKind::GroundTruth,
                format!("the ground truth {truth} is neither yes nor no"),
            );
        }
    };
    match judge::verdict(text) {
        None => PartScore::verdict(false, "no verdict as {\"verdict\": \"yes\"}"),
        Some(said) => PartScore::verdict(said == wanted, format!("{said} against {wanted}")).extracted(if said {
            "yes"
        } else {
            "no"
        }),
    }
}

/// The whole answer, unread, against the truth.
pub(crate) fn exact(item: &Item<'_>) -> PartScore {
    answered(item, |truth, answer| match verify(truth, answer) {
        Ok((value, evidence)) => PartScore::value(value, evidence).extracted(answer.trim()),
        Err(fault) => PartScore::failed(FailureKind::GroundTruth, fault),
    })
}
