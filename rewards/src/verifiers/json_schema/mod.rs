//! JSON against a schema: valid, not empty, and made of what the schema names.
//!
//! A schema that only lists properties is met by `{}` and by any other object; here such a schema also asks for at least
//! one listed property, and refuses those that it does not list (unless it says itself what else may stand there).
//! References to other documents are not followed: nothing is fetched. Patterns run in linear time, so that an answer
//! cannot stall them; formats are checked.

mod keywords;
mod tighten;

use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::{PatternOptions, Validator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::json::is_empty;
use crate::error::{Result, RewardError};
use crate::extract::{self, LastJson, capped, last_answer_tag, last_json};
use crate::kind::{Endpoints, Example, Kind};
use crate::reward::{Item, Reward, RewardSpec, Role, Rule};
use crate::score::{FailureKind, PartScore};
use crate::text::shortened;

/// JSON that keeps a schema and is not empty; nothing is fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JsonBySchema {
    /// The JSON schema; the query's column `json_schema` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Objects need one of their listed properties, and hold no others.
    pub strict: bool,
}

impl Default for JsonBySchema {
    fn default() -> Self {
        Self { schema: None, strict: true }
    }
}

impl Kind for JsonBySchema {
    /// Checks answers against one schema, or against that of each query.
    fn build(&self, name: &str, _: &Endpoints) -> Result<Arc<dyn Reward>> {
        let strict = self.strict;
        let own = self.schema.as_ref().map(|schema| Schema::new(schema, strict)).transpose();
        let own = own.map_err(|fault| RewardError::reward(name, format!("schema: {fault}")))?;
        let schemas = Schemas::default();
        let check = move |item: &Item<'_>| {
            let schema = match (&own, item.query.columns.get("json_schema")) {
                (Some(own), _) => Ok(own.clone()),
                (None, Some(schema)) => schemas.get(schema, strict),
                (None, None) => Err("the query has no column `json_schema`, and the reward no `schema`".to_owned()),
            };
            match (schema, extract::answer(item.transcript)) {
                (Err(fault), _) => PartScore::failed(FailureKind::GroundTruth, fault),
                (Ok(_), None) => PartScore::verdict(false, "the thinking is not closed"),
                (Ok(schema), Some(answer)) => schema.score(answer),
            }
        };
        let spec =
            RewardSpec { role: Some(Role::Form), truth_is_answer: false, ..RewardSpec::rule(name, "json_schema/2") };
        Ok(Arc::new(Rule::new(spec, check)))
    }

    fn example() -> Example {
        Example::new(Value::Null, "{\"name\": \"Ann\"}", 1.0)
            .columns(json!({"json_schema": {"type": "object", "properties": {"name": {"type": "string"}}}}))
    }

    fn plain() -> Option<Self> {
        Some(Self::default())
    }
}

/// So many schemas are kept ready.
const KEPT: usize = 64;
/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;
/// Nested deeper, a faulty answer is not told its fault: to find it takes time that grows with every level.
const EXPLAINED_DEPTH: usize = 6;

/// A schema that is ready to check answers.
#[derive(Clone)]
pub struct Schema(Arc<Validator>);

impl Schema {
    /// Reads a schema; with `strict`, see the top of this file.
    ///
    /// # Errors
    /// What is wrong with the schema, with the place.
    pub fn new(schema: &Value, strict: bool) -> std::result::Result<Self, String> {
        keywords::check(schema)?;
        let schema = if strict { tighten::tightened(schema) } else { schema.clone() };
        let options = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(PatternOptions::regex().size_limit(LARGEST_PATTERN));
        let built = options.build(&schema);
        let fault = |error: jsonschema::ValidationError<'_>| format!("{}: {error}", place(error.instance_path()));
        built.map(|validator| Self(Arc::new(validator))).map_err(fault)
    }

    /// 1 when the last object or list of `text` keeps the schema and is not empty.
    pub fn score(&self, text: &str) -> PartScore {
        let text = capped(text);
        let value = match last_json(last_answer_tag(text).unwrap_or(text)) {
            LastJson::Nothing => return PartScore::verdict(false, "no JSON object or list"),
            LastJson::Broken => return PartScore::verdict(false, "the last JSON object or list is not strict JSON"),
            LastJson::Found(value) => value,
        };
        let said = shortened(&value.to_string());
        let evidence = if is_empty(&value) {
            "the JSON is empty".to_owned()
        } else if self.0.is_valid(&value) {
            return PartScore::verdict(true, "the JSON keeps the schema").extracted(said);
        } else {
            self.fault(&value)
        };
        PartScore::verdict(false, evidence).extracted(said)
    }

    /// Whether a value keeps the schema.
    ///
    /// # Errors
    /// The first fault, with its place.
    pub fn check(&self, value: &Value) -> std::result::Result<(), String> {
        if self.0.is_valid(value) { Ok(()) } else { Err(self.fault(value)) }
    }

    /// The first fault of a value that does not keep the schema.
    fn fault(&self, value: &Value) -> String {
        let explained = (depth(value) <= EXPLAINED_DEPTH).then(|| self.0.validate(value).err()).flatten();
        explained.map_or_else(
            || "the JSON does not keep the schema".to_owned(),
            |error| shortened(&format!("{}: {error}", place(error.instance_path()))),
        )
    }
}

/// A place in a document for messages: its root is `/`.
fn place(path: &impl ToString) -> String {
    let path = path.to_string();
    if path.is_empty() { "/".to_owned() } else { path }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Schemas of queries, which come again and again.
#[derive(Default)]
pub struct Schemas(Mutex<Vec<(String, Schema)>>);

impl Schemas {
    /// The schema, made ready when it was not yet.
    ///
    /// # Errors
    /// What is wrong with the schema.
    pub fn get(&self, schema: &Value, strict: bool) -> std::result::Result<Schema, String> {
        let key = schema.to_string();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, schema)) = kept.iter().find(|(known, _)| *known == key) {
            return Ok(schema.clone());
        }
        let schema = Schema::new(schema, strict)?;
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((key, schema.clone()));
        Ok(schema)
    }
}

#[cfg(test)]
mod tests;
