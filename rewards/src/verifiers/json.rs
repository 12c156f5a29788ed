//! JSON: whether the answer is, or ends in, one strict JSON value with the keys that are asked for.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::extract;
use crate::extract::{LastJson, last_json};
use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::PartScore;

/// 1 when the last object or list of `text` is strict JSON, is not empty, and every key of `keys` stands in it (in each
/// object of it, when it is a list).
pub fn score(text: &str, keys: &[String]) -> PartScore {
    match last_json(text) {
        LastJson::Nothing => PartScore::verdict(false, "no JSON object or list"),
        LastJson::Broken => PartScore::verdict(false, "the last JSON object or list is not strict JSON"),
        LastJson::Found(value) => match missing(&value, keys) {
            None => PartScore::verdict(true, "strict JSON").extracted(value.to_string()),
            Some(fault) => PartScore::verdict(false, fault).extracted(value.to_string()),
        },
    }
}

/// Whether a value says nothing: null, a blank text, an empty list or object, or a list of such.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(object) => object.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn missing(value: &Value, keys: &[String]) -> Option<String> {
    let objects: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        other => vec![other],
    };
    if is_empty(value) {
        return Some("the JSON is empty".to_owned());
    }
    let absent = |object: &&Value| keys.iter().find(|key| object.get(key.as_str()).is_none_or(Value::is_null));
    objects.iter().find_map(absent).map(|key| format!("the key `{key}` is missing"))
}

/// Strict JSON with certain keys.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Json {
    /// Keys that every object must have.
    pub keys: Vec<String>,
}

impl Verifier for Json {
    const VERSION: &'static str = "json/1";
    const ROLE: Role = Role::Form;
    const TRUTH_IS_ANSWER: bool = false;

    fn score(&self, item: &Item<'_>) -> PartScore {
        match extract::answer(item.transcript) {
            None => PartScore::verdict(false, "the thinking is not closed"),
            Some(answer) => score(extract::capped(answer), &self.keys),
        }
    }

    fn example() -> Example {
        Example::new(Value::Null, "{\"name\": \"Ann\"}", 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_and_not_empty() {
        let keys = ["name".to_owned()];
        let value = |text: &str| score(text, &keys).outcome.value();
        assert_eq!(value("```json\n{\"name\": 1}\n```"), Some(1.0));
        assert_eq!(value("[{\"name\": 1}, {\"name\": 2}]"), Some(1.0));
        for text in [
            "",
            "{}",
            "[]",
            "{\"name\": 1,}",
            "{\"other\": 1}",
            "[{\"name\": 1}, {}]",
            "[{}]",
            "{\"name\": \"\"}",
            "{\"name\": null}",
        ] {
            assert_eq!(value(text), Some(0.0), "{text}");
        }
    }
}
