//! The catalogue: every kind of reward with its options and an example, for people who write configs. What it says of
//! options is what stands in their documentation and defaults.

use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use super::kinds::{KINDS, KindFacts};
pub use crate::kind::Example;

/// A kind of reward.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// What stands at `kind`.
    pub kind: &'static str,
    /// What it does.
    pub summary: String,
    /// Its options: name, default, meaning.
    pub options: Vec<Parameter>,
    /// A row and what it gets.
    pub example: Example,
}

/// An option of a kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// The key in the config.
    pub name: String,
    /// The value when it is left out; `required` when it cannot be, `none` when it then has none.
    pub default: String,
    /// What it means.
    pub summary: String,
}

/// Every kind, in the order in which they are best read.
pub fn catalogue() -> Vec<Entry> {
    KINDS.iter().map(entry).collect()
}

fn entry(facts: &KindFacts) -> Entry {
    let mut generator =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator();
    let schema = (facts.schema)(&mut generator).to_value();
    let required = |name: &str| schema["required"].as_array().is_some_and(|list| list.iter().any(|one| one == name));
    let properties = schema["properties"].as_object().into_iter().flatten();
    let options = properties.map(|(name, option)| Parameter {
        name: name.clone(),
        default: if required(name) { "required".to_owned() } else { default(option) },
        summary: summary(option),
    });
    Entry { kind: facts.kind, summary: summary(&schema), options: options.collect(), example: (facts.example)() }
}

/// The documentation as one line, without the full stop at its end.
fn summary(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// The value of an option that is left out.
fn default(option: &Value) -> String {
    match &option["default"] {
        // Serde leaves empty lists and tables out of what it writes, and so they are missing from the schema.
        Value::Null if option["type"] == "array" => "[]".to_owned(),
        Value::Null if option["type"] == "object" => "{}".to_owned(),
        Value::Null => "none".to_owned(),
        // No option has a use for an empty text: it must be given.
        Value::String(text) if text.is_empty() => "required".to_owned(),
        Value::String(text) => text.clone(),
        value => plain(value),
    }
}

/// A value as people write it: `0` and not `0.0`.
fn plain(value: &Value) -> String {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sapo_datasets::Transcript;
    use serde_json::json;

    use super::*;
    use crate::kind::Endpoints;
    use crate::registry::{Registry, RewardConfig};
    use crate::reward::tests::{now, query};
    use crate::reward::{Item, score_all};

    #[test]
    fn the_catalogue_says_what_the_code_does() {
        for entry in catalogue() {
            let mut config = json!({"kind": entry.kind});
            for option in entry.options.iter().filter(|option| option.default == "required") {
                config[&option.name] = if option.name == "buffer_tokens" { json!(16) } else { json!("http://x") };
            }
            let read: RewardConfig = serde_json::from_value(config).unwrap();
            assert_eq!(read.kind(), entry.kind);
            let listed: BTreeSet<&str> = entry.options.iter().map(|option| option.name.as_str()).collect();
            for key in read.options().as_object().unwrap().keys().filter(|key| *key != "kind") {
                assert!(listed.contains(key.as_str()), "{}: {key} is not documented", entry.kind);
            }
            assert!(!entry.summary.is_empty() && entry.options.iter().all(|option| !option.summary.is_empty()));
            let Some(value) = entry.example.value else { continue };
            let configs = BTreeMap::from([("x".to_owned(), read)]);
            let reward = Registry::build(&configs, &Endpoints::default()).unwrap().get("x").unwrap();
            let kind = reward.spec().version.split(['/', ' ']).next().unwrap();
            assert_eq!(kind, entry.kind, "a version begins with its kind");
            let mut query = query("?", entry.example.ground_truth.clone());
            query.columns = entry.example.columns.as_object().unwrap().clone();
            let transcript = Transcript::of_answer("q", entry.example.response);
            let score = now(score_all(&*reward, &[Item { query: &query, transcript: &transcript }])).remove(0);
            assert_eq!(score.outcome.value(), Some(value), "{}: {score:?}", entry.kind);
        }
    }

    #[test]
    fn options_are_told_with_their_defaults() {
        let entries = catalogue();
        let default = |kind: &str, name: &str| {
            let entry = entries.iter().find(|entry| entry.kind == kind).unwrap();
            entry.options.iter().find(|option| option.name == name).unwrap().default.clone()
        };
        for (kind, name, value) in [
            ("numeric", "absolute_tolerance", "0"),
            ("grounding", "metric", "mean_iou"),
            ("grounding", "threshold", "none"),
            ("json", "keys", "[]"),
            ("length", "buffer_tokens", "required"),
            ("judge", "canary_share", "0.005"),
            ("judge", "criteria", "[]"),
            ("judge", "extra_body", "{}"),
            ("judge", "budget", "none"),
            ("code", "command", "[\"python3\"]"),
            ("process", "range", "[0, 1]"),
            ("process", "python", "none"),
            ("http", "url", "required"),
            ("custom", "type", "required"),
            ("custom", "options", "{}"),
        ] {
            assert_eq!(default(kind, name), value, "{kind} {name}");
        }
    }

    #[test]
    fn a_config_keeps_the_schema_exactly_when_it_can_be_read() {
        let schema = schemars::schema_for!(RewardConfig).to_value();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for config in [
            json!({"kind": "exact"}),
            json!({"kind": "grounding", "metric": "f1", "threshold": 0.5}),
            json!({"kind": "length", "buffer_tokens": 5}),
            json!({"kind": "length"}),
            json!({"kind": "judge", "criteria": [{"name": "a", "text": "b"}]}),
            json!({"kind": "judge", "endpont": "x"}),
            json!({"kind": "number", "tolerance": 1}),
            json!({"kind": "magic"}),
            json!({}),
        ] {
            let read = serde_json::from_value::<RewardConfig>(config.clone()).is_ok();
            assert_eq!(validator.is_valid(&config), read, "{config}");
        }
    }
}
