//! Tool calls: whether they are well-formed and do something, and whether there are as many as asked for.
//!
//! A bonus for calls is easily earned without any use: a rubric pays it only beside a right answer, and only below what a
//! right answer pays. Calls that repeat another, or crop the whole picture, do nothing.

use std::collections::BTreeSet;

use sapo_datasets::{Query, ToolCall, Transcript};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kind::{Example, Verifier};
use crate::reward::{Item, Role};
use crate::score::{FailureKind, PartScore};

/// Well-formed calls that do something, as many as asked for; in a rubric it pays only beside a right answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolCalls {
    /// Least number of useful calls; the column `min_calls` goes before it.
    pub min_calls: usize,
    /// Greatest number of calls; the column `max_calls` goes before it.
    pub max_calls: usize,
    /// Arguments that every call must have.
    pub arguments: Vec<String>,
    /// A crop of this share of the picture or more does nothing.
    pub full_crop: f64,
}

impl Default for ToolCalls {
    fn default() -> Self {
        Self { min_calls: 1, max_calls: 4, arguments: Vec::new(), full_crop: 0.9 }
    }
}

/// Coordinates are in 0..=1000 of the picture's sides.
const SCALE: f64 = 1000.0;
/// More calls than any turn makes.
const MOST_CALLS: usize = 10_000;

/// 1 when every call is well-formed and their number fits; less the further it is off; 0 when a call is malformed.
pub fn score(query: &Query, transcript: &Transcript, rules: &ToolCalls) -> PartScore {
    let bound = |key: &str, default: usize| match query.columns.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value
            .as_u64()
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| format!("the column {key} is {value}, which is not a whole number")),
    };
    let (least, most) = match (bound("min_calls", rules.min_calls), bound("max_calls", rules.max_calls)) {
        (Ok(least), Ok(most)) if least <= most => (least, most),
        (Ok(least), Ok(most)) => {
            return PartScore::failed(FailureKind::GroundTruth, format!("at least {least} and at most {most} calls"));
        }
        (Err(fault), _) | (_, Err(fault)) => return PartScore::failed(FailureKind::GroundTruth, fault),
    };
    let mut seen = BTreeSet::new();
    let (mut useful, mut idle) = (0_usize, Vec::new());
    for (at, call) in transcript.calls.iter().enumerate() {
        match examine(call, query, rules) {
            Err(fault) => return PartScore::verdict(false, format!("call {}: {fault}", at + 1)),
            Ok(key) if !seen.insert(key.clone()) => idle.push(format!("call {} repeats another", at + 1)),
            Ok(_) if crops_all(call, rules) => idle.push(format!("call {} crops the whole picture", at + 1)),
            Ok(_) => useful += 1,
        }
    }
    let calls = transcript.calls.len();
    let value = if useful < least {
        useful as f64 / least as f64
    } else if calls > most {
        most as f64 / calls as f64
    } else {
        1.0
    };
    let mut evidence = format!("{useful} useful calls of {calls}, {least} to {most} asked for");
    if let Some(first) = idle.first() {
        evidence = format!("{evidence}; {first}");
    }
    // Calls that do nothing take the bonus away in their proportion.
    let idle = if calls == 0 { 0.0 } else { idle.len() as f64 / calls as f64 };
    PartScore::value(value * (1.0 - idle), evidence)
}

/// A call that is well-formed, as a text that equal calls share.
fn examine(call: &ToolCall, query: &Query, rules: &ToolCalls) -> Result<String, String> {
    let (name, arguments) = match call {
        ToolCall::Malformed { reason, .. } => return Err(reason.clone()),
        ToolCall::Parsed { name, arguments } => (name, arguments),
    };
    if name.trim().is_empty() || !query.tools.is_empty() && !query.tools.contains(name) {
        return Err(format!("`{name}` is not a tool of this query"));
    }
    let object = arguments.as_object().ok_or("the arguments are not an object")?;
    if let Some(missing) = rules.arguments.iter().find(|key| object.get(*key).is_none_or(Value::is_null)) {
        return Err(format!("the argument `{missing}` is missing"));
    }
    for (key, arity) in [("bbox_2d", 4), ("bbox", 4), ("point_2d", 2)] {
        let Some(place) = object.get(key) else { continue };
        let numbers: Option<Vec<f64>> =
            place.as_array().and_then(|list| list.iter().map(Value::as_f64).collect::<Option<_>>());
        let numbers = numbers
            .filter(|numbers| numbers.len() == arity)
            .ok_or_else(|| format!("`{key}` is not a list of {arity} numbers"))?;
        if key != "bbox" && !numbers.iter().all(|number| (0.0..=SCALE).contains(number)) {
            return Err(format!("`{key}` leaves 0..1000"));
        }
        if let [x1, y1, x2, y2] = numbers[..]
            && (x1.partial_cmp(&x2) != Some(std::cmp::Ordering::Less)
                || y1.partial_cmp(&y2) != Some(std::cmp::Ordering::Less))
        {
            return Err(format!("`{key}` has no area or its corners are swapped"));
        }
    }
    // Keys in order, so that the order in which they were written does not matter.
    let sorted: std::collections::BTreeMap<&String, String> =
        object.iter().map(|(key, value)| (key, plain_number(value))).collect();
    Ok(format!("{name} {sorted:?}"))
}

/// A value as text, `1.0` as `1`.
fn plain_number(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        Value::Array(items) => format!("[{}]", items.iter().map(plain_number).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn crops_all(call: &ToolCall, rules: &ToolCalls) -> bool {
    let ToolCall::Parsed { arguments, .. } = call else { return false };
    let corners: Option<[f64; 4]> =
        arguments.get("bbox_2d").and_then(|place| serde_json::from_value(place.clone()).ok());
    corners.is_some_and(|[x1, y1, x2, y2]| (x2 - x1) * (y2 - y1) >= rules.full_crop * SCALE * SCALE)
}

impl Verifier for ToolCalls {
    const VERSION: &'static str = "tool_calls/1";
    const IS_BONUS: bool = true;
    const ROLE: Role = Role::Form;
    const TRUTH_IS_ANSWER: bool = false;

    fn check(&self) -> Result<(), String> {
        if self.max_calls > MOST_CALLS {
            return Err(format!("max_calls = {}: it must be at most {MOST_CALLS}", self.max_calls));
        }
        if self.min_calls > self.max_calls {
            return Err(format!("min_calls = {} must not be above max_calls = {}", self.min_calls, self.max_calls));
        }
        if !(self.full_crop > 0.0 && self.full_crop <= 1.0) {
            return Err(format!("full_crop = {}: it must be above 0 and at most 1", self.full_crop));
        }
        Ok(())
    }

    fn score(&self, item: &Item<'_>) -> PartScore {
        score(item.query, item.transcript, self)
    }

    fn example() -> Example {
        Example::new(Value::Null, "5", 0.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reward::tests::query;

    fn crop(corners: [i32; 4]) -> ToolCall {
        ToolCall::Parsed { name: "zoom".to_owned(), arguments: json!({"bbox_2d": corners, "label": "x"}) }
    }

    fn value(calls: Vec<ToolCall>) -> f64 {
        let mut query = query("Look.", json!(5));
        query.tools = vec!["zoom".to_owned()];
        let transcript = Transcript { calls, ..Transcript::of_answer("q", "5") };
        score(&query, &transcript, &ToolCalls { max_calls: 2, ..ToolCalls::default() }).outcome.value().unwrap()
    }

    #[test]
    fn calls_and_their_traps() {
        let one = crop([100, 100, 300, 300]);
        assert_eq!(value(vec![one.clone()]), 1.0);
        assert_eq!(value(vec![one.clone(), crop([400, 100, 600, 300])]), 1.0);
        assert_eq!(value(Vec::new()), 0.0);
        assert_eq!(value(vec![crop([0, 0, 1000, 1000])]), 0.0, "the whole picture");
        assert_eq!(value(vec![crop([10, 10, 990, 990])]), 0.0, "nearly the whole picture");
        assert_eq!(value(vec![one.clone(), one.clone()]), 0.5, "the same again");
        assert!(value(vec![one.clone(); 8]) < 0.1, "spam");
        let same = ToolCall::Parsed {
            name: "zoom".to_owned(),
            arguments: json!({"label": "x", "bbox_2d": [100.0, 100, 300, 300]}),
        };
        assert_eq!(value(vec![one.clone(), same]), 0.5, "the same in other words");
        let three = vec![one.clone(), crop([1, 1, 9, 9]), crop([2, 2, 9, 9])];
        assert!((value(three) - 2.0 / 3.0).abs() < 1e-12, "more than asked for");
        for arguments in [
            json!([]),
            json!({"bbox_2d": [1, 2, 3]}),
            json!({"bbox_2d": [300, 100, 100, 300]}),
            json!({"bbox_2d": [0, 0, 1920, 1080]}),
            json!({"bbox_2d": ["1", 2, 3, 4]}),
            json!({"bbox_2d": [1, 2, null, 4]}),
            json!({"bbox_2d": "[1, 2, 3, 4]"}),
        ] {
            let bad = ToolCall::Parsed { name: "zoom".to_owned(), arguments: arguments.clone() };
            assert_eq!(value(vec![one.clone(), bad]), 0.0, "{arguments}");
        }
        let other = ToolCall::Parsed { name: "shell".to_owned(), arguments: json!({}) };
        assert_eq!(value(vec![other]), 0.0);
        assert_eq!(value(vec![ToolCall::Malformed { text: "{".to_owned(), reason: "no JSON".to_owned() }]), 0.0);
    }

    #[test]
    fn the_query_may_set_the_target() {
        let mut query = query("Look.", json!(5));
        query.columns.insert("min_calls".to_owned(), json!(0));
        query.columns.insert("max_calls".to_owned(), json!(0));
        let rules = ToolCalls::default();
        let without = Transcript::of_answer("q", "5");
        let with = Transcript { calls: vec![crop([1, 1, 9, 9])], ..without.clone() };
        assert_eq!(score(&query, &without, &rules).outcome.value(), Some(1.0));
        assert_eq!(score(&query, &with, &rules).outcome.value(), Some(0.0));
        query.columns.insert("min_calls".to_owned(), json!(2));
        assert_eq!(score(&query, &with, &rules).outcome.value(), None);
    }
}
