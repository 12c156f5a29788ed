//! The verifier that a query's data asks for: by its column `reward_kind`, else by the form of its ground truth.

use sapo_datasets::Query;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grounding::{self, Metric};
use super::instructions::{self, Scoring};
use super::number::{self, Tolerance};
use super::{clock, counting, description, logic, math, multiple_choice, text, verdict};
use crate::kind::{Example, Verifier, answered};
use crate::reward::{Item, probe};
use crate::score::{FailureKind, PartScore};

/// The verifier that the column `reward_kind` names, else the one for the ground truth's form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Truth {}

impl Verifier for Truth {
    const VERSION: &'static str = "truth/1";

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item)
    }

    fn check_truth(&self, query: &Query) -> Result<(), String> {
        match query.columns.get("reward_kind").and_then(Value::as_str) {
            Some("math") => math::check_truth(query),
            Some("logic") => logic::check_truth(query),
            _ => probe(query, score),
        }
    }

    fn example() -> Example {
        Example::new("Ann", "\\boxed{Ann}", 1.0)
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
        (Some("verdict"), _) => verdict::score(truth, answer),
        (Some("grounding"), _) | (None, Value::Object(_)) => {
            grounding::score(truth, answer, Metric::MeanIou, Some(0.5))
        }
        (Some("multiple_choice"), _) => multiple_choice::score(truth, choices, answer),
        (None, _) if choices.is_some() => multiple_choice::score(truth, choices, answer),
        (Some("math"), _) => math::score(truth, answer),
        (Some("counting"), _) => counting::score(truth, answer),
        (Some("logic"), _) => logic::score(item),
        (Some("instructions"), _) => instructions::score(item, Scoring::Strict),
        (Some("text"), _) | (None, Value::String(_) | Value::Array(_)) => text::score(truth, answer),
        (Some("code"), _) => PartScore::failed(
            FailureKind::GroundTruth,
            "`truth` runs no programs: score this source by a rubric whose `correct` is a reward of kind = \"code\"",
        ),
        (Some(other), _) => PartScore::failed(
            FailureKind::GroundTruth,
            format!("the column reward_kind names `{other}`, which is not a known verifier"),
        ),
        (None, other) => {
            PartScore::failed(FailureKind::GroundTruth, format!("no verifier reads the ground truth {other}"))
        }
    })
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;
    use serde_json::json;

    use super::*;
    use crate::reward::tests::query;

    #[test]
    fn the_column_decides_before_the_form() {
        let value = |truth: Value, kind: Option<&str>, text: &str| {
            let mut query = query("?", truth);
            query.columns.extend(kind.map(|kind| ("reward_kind".to_owned(), json!(kind))));
            score(&Item { query: &query, transcript: &Transcript::of_answer("q", text) }).outcome.value()
        };
        assert_eq!(value(json!("9:05"), None, "09:05"), Some(0.0), "as a text");
        assert_eq!(value(json!("9:05"), Some("clock"), "09:05"), Some(1.0));
        assert_eq!(value(json!(5), None, "5.0"), Some(1.0));
        assert_eq!(value(json!(5), Some("magic"), "5"), None);
        assert_eq!(value(json!({"tests": []}), Some("code"), "```\n1\n```"), None);
        assert_eq!(value(json!(true), None, "true"), None);
    }
}
