//! Texts: equal after normalisation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::extract::final_answer;
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::{accepted, normalised, shortened};

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

/// A text (or one of a list), whatever its case, width and spaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Text {}

impl Verifier for Text {
    const VERSION: &'static str = "text/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, score)
    }

    fn example() -> Example {
        Example::new(json!(["colour", "color"]), "Color.", 1.0)
    }
}

#[cfg(test)]
mod tests {

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
