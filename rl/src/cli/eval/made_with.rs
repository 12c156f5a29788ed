//! What an evaluation is made with, all that its answers and scores depend on: `evaluation.json` in its folder. A resume goes on
//! with the very same alone.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use sapo_datasets::written::query_line;
use sapo_datasets::{Dataset, Picture, hex};

use super::answering::Answering;
use super::{EvalArguments, Prepared};
use crate::metrics::sha256;
use crate::progress::Progress;
use crate::score::Rewards;

/// Differences that a message names at most.
const TOLD: usize = 5;
/// Bytes of a hash that names data.
const HASH: usize = 12;

/// What is known before rewards are started and a model is opened: data, sampling and rubrics.
pub(super) fn asked(prepared: &Prepared, progress: &dyn Progress) -> Map<String, Value> {
    let targets = &prepared.targets;
    let rows: u64 = targets.iter().flat_map(|target| &target.datasets).filter_map(Dataset::len).sum();
    progress.begin("reading rows", rows, 0);
    let mut read = 0;
    let mut sets = Map::new();
    for target in targets {
        let mut data = Map::new();
        for (dataset, rubric) in target.datasets.iter().zip(&target.rubrics) {
            let sha256 = digest(dataset, &mut |rows| progress.done(read + rows, ""));
            read += dataset.len().unwrap_or(0);
            let name = match data.contains_key(dataset.name()) {
                true => format!("{} ({})", dataset.name(), data.len() + 1),
                false => dataset.name().to_owned(),
            };
            data.insert(name, json!({"rows": dataset.len(), "sha256": sha256, "rubric": rubric}));
        }
        let mut sampling = json!(target.sampling);
        // How many rows are decoded at once changes no answer.
        sampling.as_object_mut().and_then(|fields| fields.remove("decode_rows"));
        let set = json!({"data": data, "sampling": sampling, "unaveraged": target.unaveraged});
        sets.insert(target.set.clone(), set);
    }
    let mut made = Map::new();
    made.insert("sets".to_owned(), Value::Object(sets));
    made.insert("rubrics".to_owned(), json!(prepared.rubrics));
    made
}

/// The rest: the versions of the rewards, and who answers.
pub(super) fn answered_by(
    arguments: &EvalArguments,
    prepared: &Prepared,
    rewards: &Rewards,
    answering: &Answering,
) -> Map<String, Value> {
    let rubrics = prepared.rubrics.keys().filter_map(|name| rewards.rubric(name).ok());
    let versions: BTreeMap<String, String> = rubrics
        .flat_map(|rubric| rubric.identities().map(|id| (id.name.clone(), id.short().to_owned())).collect::<Vec<_>>())
        .collect();
    let processor = &answering.model.processor;
    let policy = prepared.config.as_ref().map(|config| &config.policy);
    let limit = policy.map(|policy| (policy.max_prompt_tokens, policy.too_long));
    let template = &sha256(processor.template().source().as_bytes())[..HASH];
    let mut model = json!({"chat_template": template, "prompt_limit": limit});
    let served = match &prepared.endpoint {
        Some(endpoint) => Some(endpoint),
        None => prepared.config.as_ref().map(|config| &config.engine).filter(|engine| !engine.is_local()),
    };
    model["served"] = served.map_or(Value::Null, |engine| json!(engine.model));
    if prepared.endpoint.is_none() {
        model["weights_sha256"] = answering.model.policy.weights_sha256().into();
        model["dtype"] = arguments.dtype.name().into();
        model["matmul"] = json!(prepared.config.as_ref().map(|config| config.run.matmul));
    }
    let mut made = Map::new();
    made.insert("rewards".to_owned(), json!(versions));
    made.insert("model".to_owned(), model);
    made
}

/// A digest of every row of a source, with its pictures, as the policy is asked it.
fn digest(dataset: &Dataset, read: &mut dyn FnMut(u64)) -> String {
    let mut hash = Sha256::new();
    dataset.visit(0, dataset.len().unwrap_or(0), &mut |index, example| {
        let line = match example {
            Ok(example) => {
                let pictures: Vec<String> =
                    example.query.images.iter().map(|picture: &Picture| picture.sha256().to_owned()).collect();
                query_line(&example.query, &pictures).to_string()
            }
            Err(error) => error.to_string(),
        };
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line.as_bytes());
        read(index + 1);
    });
    hex(&hash.finalize()[..HASH])
}

/// Where what an evaluation was made with differs from what is asked for now, in words; of keys that only one of them has, the
/// other has nothing. Keys that `now` lacks altogether are not known yet, and not compared.
pub(super) fn differences(there: &Value, now: &Map<String, Value>) -> Option<String> {
    let mut found = Vec::new();
    for (key, value) in now {
        differ(key, there.get(key).unwrap_or(&Value::Null), value, &mut found);
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("{more} more"));
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn differ(path: &str, there: &Value, now: &Value, found: &mut Vec<String>) {
    match (there, now) {
        (Value::Object(one), Value::Object(other)) => {
            let new = other.keys().filter(|key| !one.contains_key(*key));
            for key in one.keys().chain(new) {
                let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
                differ(&format!("{path}.{key}"), &of(one), &of(other), found);
            }
        }
        (one, other) if one == other => {}
        // What a whole object holds would be no help; that it is there, or not, is.
        (one, other) => found.push(format!("{path} is {} there and {} now", short(one), short(other))),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(fields) => format!("{{{}}}", fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        Value::String(text) if text.len() > 2 * HASH && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            format!("\"{}…\"", &text[..HASH])
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_differs_is_told_by_its_place_and_what_is_not_known_yet_is_not() {
        let there = json!({"sets": {"eval": {"data": {"a": {"rows": 3}}, "sampling": {"seed": 7, "top_k": 0}}},
            "model": {"weights_sha256": "ab"}});
        let mut now = object(there.clone());
        now.remove("model");
        assert_eq!(differences(&there, &now), None);
        now["sets"]["eval"]["sampling"]["seed"] = json!(8);
        now["sets"]["eval"]["data"]["b"] = json!({"rows": 1, "rubric": "truth"});
        let said = differences(&there, &now).unwrap();
        let wanted =
            "sets.eval.data.b is nothing there and {rows, rubric} now; sets.eval.sampling.seed is 7 there and 8 now";
        assert_eq!(said, wanted);
        assert!(differences(&json!({}), &now).unwrap().starts_with("sets is nothing there"));
        let many = object(json!({"m": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7}}));
        assert!(differences(&json!({"m": {}}), &many).unwrap().ends_with("; 2 more"));
        let other = json!({"m": {"sha256": "0123456789abcdef0123456789abcdef"}});
        assert!(differences(&json!({"m": {"sha256": "x"}}), &object(other)).unwrap().contains("\"0123456789ab…\" now"));
    }
}
