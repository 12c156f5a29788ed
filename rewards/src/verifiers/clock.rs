//! Clock times: `11:35`, with or without a leading zero.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract::final_answer;
use crate::kind::{Example, Verifier, answered};
use crate::reward::Item;
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;

/// Hours and minutes of `9:05`, `09:05`; `None` for anything else.
pub fn parse(text: &str) -> Option<(u8, u8)> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes) = (hours.trim_end(), minutes.trim_start());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=2).contains(&hours.len()) || minutes.len() != 2 || !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some((hours, minutes))
}

/// 1 when the final answer of `text` is the time `truth`.
pub fn score(truth: &Value, text: &str) -> PartScore {
    let Some(wanted) = truth.as_str().and_then(parse) else {
        return PartScore::failed(
            FailureKind::GroundTruth,
            format!("the ground truth {truth} is not a time as \"11:35\""),
        );
    };
    let said = final_answer(text);
    let right = parse(&said) == Some(wanted);
    let relation = if right { "=" } else { "is not" };
    PartScore::verdict(right, format!("{} {relation} {}:{:02}", shortened(&said), wanted.0, wanted.1)).extracted(said)
}

/// A clock time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Clock {}

impl Verifier for Clock {
    const VERSION: &'static str = "clock/2";

    fn score(&self, item: &Item<'_>) -> PartScore {
        answered(item, score)
    }

    fn example() -> Example {
        Example::new("9:05", "09:05", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times() {
        let right = |truth: &str, text: &str| score(&json!(truth), text).outcome.value();
        for text in ["11:35", "11:35 ", "\\boxed{11:35}", "11：35", "It is late. The answer is 11:35."] {
            assert_eq!(right("11:35", text), Some(1.0), "{text}");
        }
        assert_eq!(right("9:05", "09:05"), Some(1.0));
        for text in ["", "11:3", "11:350", "11:35 or 12:35", "23:35", "11.35", "1135", "11:35:00", "-11:35", "11:+5"] {
            assert_eq!(right("11:35", text), Some(0.0), "{text}");
        }
        assert_eq!(right("noon", "12:00"), None);
        assert_eq!(right("24:00", "24:00"), None);
    }
}
