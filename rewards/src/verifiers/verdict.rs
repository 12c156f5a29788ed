//! Verdicts: whether the last JSON verdict of an answer is that of the ground truth, for training a judge.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::verdict::yes_or_no;

/// The last JSON verdict, for training a judge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Verdict {}

impl Verifier for Verdict {
    const VERSION: &'static str = "verdict/1";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, score)
    }

    fn example() -> Example {
        Example::new("yes", "{\"verdict\": \"yes\"}", 1.0)
    }
}

/// 1 when the last JSON verdict of `text` is that of the truth (`yes` or `no`).
pub fn score(truth: &Value, text: &str) -> PartScore {
    let wanted = match truth.as_str() {
        Some("yes") => true,
        Some("no") => false,
        _ => {
            let fault = format!("the ground truth {truth} is neither yes nor no");
            return PartScore::failed(FailureKind::GroundTruth, fault);
        }
    };
    match yes_or_no(text) {
        None => PartScore::verdict(false, "no verdict as {\"verdict\": \"yes\"}"),
        Some(said) => PartScore::verdict(said == wanted, format!("{said} against {wanted}")).extracted(if said {
            "yes"
        } else {
            "no"
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_verdict_is_compared() {
        let value = |truth: Value, text: &str| score(&truth, text).outcome.value();
        assert_eq!(value(json!("yes"), "{\"verdict\": \"no\"} or {\"verdict\": \"yes\"}"), Some(1.0));
        assert_eq!(value(json!("no"), "{\"verdict\": \"yes\"}"), Some(0.0));
        assert_eq!(value(json!("yes"), "yes"), Some(0.0));
        assert_eq!(value(json!(true), "{\"verdict\": \"yes\"}"), None);
    }
}
