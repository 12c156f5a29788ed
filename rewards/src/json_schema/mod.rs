//! JSON against a schema: valid, not empty, and made of what the schema names.
//!
//! A schema that only lists properties is met by `{}` and by any other object; here such a schema also asks for at least
//! one listed property, and refuses those that it does not list (unless it says itself what else may stand there).
//! References to other documents are not followed: nothing is fetched.

mod validate;

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::extract::{LastJson, capped, last_answer_tag, last_json};
use crate::json::is_empty;
use crate::number::shortened;
use crate::score::PartScore;
use validate::Validator;

/// So many schemas are kept ready.
const KEPT: usize = 64;

/// A schema that is ready to check answers.
#[derive(Clone)]
pub struct Schema(Arc<Validator>);

impl Schema {
    /// Reads a schema; with `strict`, see the top of this file.
    ///
    /// # Errors
    /// Why it is no schema.
    pub fn new(schema: &Value, strict: bool) -> Result<Self, String> {
        let schema = if strict { tightened(schema) } else { schema.clone() };
        Validator::new(&schema).map(|validator| Self(Arc::new(validator)))
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
        if is_empty(&value) {
            return PartScore::verdict(false, "the JSON is empty").extracted(said);
        }
        match self.0.fault(&value) {
            None => PartScore::verdict(true, "the JSON keeps the schema").extracted(said),
            Some(fault) => PartScore::verdict(false, shortened(&fault)).extracted(said),
        }
    }
}

/// Schemas of queries, which come again and again.
#[derive(Default)]
pub struct Schemas(Mutex<Vec<(String, Schema)>>);

impl Schemas {
    /// The schema, made ready when it was not yet.
    ///
    /// # Errors
    /// Why it is no schema.
    pub fn get(&self, schema: &Value, strict: bool) -> Result<Schema, String> {
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

/// A schema whose objects need one of their listed properties, and hold no others.
fn tightened(schema: &Value) -> Value {
    let Value::Object(object) = schema else { return schema.clone() };
    let mut object = object.clone();
    // Where schemas are put together, a part does not know the properties of the others.
    let together = ["allOf", "anyOf", "oneOf", "$ref", "$dynamicRef", "if"].iter().any(|key| object.contains_key(*key));
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        for inner in properties.values_mut() {
            *inner = tightened(inner);
        }
        let listed: Vec<Value> = properties.keys().map(|name| json!({"required": [name]})).collect();
        let open = ["additionalProperties", "patternProperties", "unevaluatedProperties"];
        if !together && !listed.is_empty() {
            if !open.iter().any(|key| object.contains_key(*key)) {
                object.insert("additionalProperties".to_owned(), json!(false));
            }
            // Not a bare `anyOf`: it must not ask for an object where the schema allows another type.
            object.insert("anyOf".to_owned(), json!([{"not": {"type": "object"}}, {"anyOf": listed}]));
        }
    }
    for key in ["items", "contains", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            *inner = tightened(inner);
        }
    }
    for key in ["prefixItems", "anyOf", "oneOf"] {
        // What was put in above has no properties of its own, and stays as it is.
        if let Some(Value::Array(items)) = object.get_mut(key) {
            items.iter_mut().for_each(|inner| *inner = tightened(inner));
        }
    }
    for key in ["$defs", "definitions"] {
        if let Some(Value::Object(inner)) = object.get_mut(key) {
            inner.values_mut().for_each(|inner| *inner = tightened(inner));
        }
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person() -> Value {
        json!({
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer", "minimum": 0}},
        })
    }

    fn value(schema: &Value, strict: bool, text: &str) -> f64 {
        Schema::new(schema, strict).unwrap().score(text).outcome.value().unwrap()
    }

    #[test]
    fn valid_is_not_enough() {
        for text in
            ["{\"name\": \"Ann\", \"age\": 3}", "```json\n{\"name\": \"Ann\"}\n```", "<answer>{\"age\": 0}</answer>"]
        {
            assert_eq!(value(&person(), true, text), 1.0, "{text}");
        }
        for text in [
            "",
            "{}",
            "[]",
            "{\"note\": \"anything\"}",
            "{\"name\": \"Ann\", \"note\": \"more\"}",
            "{\"name\": \"\"}",
            "{\"name\": 5}",
            "{\"age\": -1}",
            "{\"name\": \"Ann\",}",
            "[{\"name\": \"Ann\"}]",
            "name: Ann",
        ] {
            assert_eq!(value(&person(), true, text), 0.0, "{text}");
        }
        assert_eq!(value(&person(), false, "{\"note\": 1}"), 1.0, "as the schema alone says");
        assert_eq!(value(&person(), false, "{}"), 0.0, "but never empty");
    }

    #[test]
    fn what_may_stand_besides_is_not_enough_alone() {
        let mut open = person();
        open["additionalProperties"] = json!({"type": "string"});
        assert_eq!(value(&open, true, "{\"name\": \"Ann\", \"note\": \"x\"}"), 1.0);
        assert_eq!(value(&open, true, "{\"note\": \"x\"}"), 0.0);
        let list = json!({"type": "array", "items": person()});
        assert_eq!(value(&list, true, "[{\"name\": \"Ann\"}]"), 1.0);
        assert_eq!(value(&list, true, "[{\"name\": \"Ann\"}, {}]"), 0.0);
        assert_eq!(value(&list, true, "[{\"name\": \"Ann\"}, {\"x\": 1}]"), 0.0);
        let either = json!({"type": ["object", "array"], "properties": {"a": {}}});
        assert_eq!(value(&either, true, "[1]"), 1.0);
    }

    #[test]
    fn nothing_is_fetched_and_faults_are_named() {
        for faulty in
            [json!({"type": "objekt"}), json!({"$ref": "http://127.0.0.1:9/x.json"}), json!({"pattern": "(?=x)"})]
        {
            assert!(Schema::new(&faulty, true).is_err(), "{faulty}");
        }
        let schemas = Schemas::default();
        for n in 0..200 {
            let schema = json!({"type": "object", "properties": {format!("k{n}"): {"type": "integer"}}});
            let text = format!("{{\"k{n}\": {n}}}");
            assert_eq!(schemas.get(&schema, true).unwrap().score(&text).outcome.value(), Some(1.0));
        }
    }

    #[test]
    fn hostile_answers_end_quickly() {
        let list = json!({"type": "array", "items": {"type": "string", "pattern": "^(a+)+$"}, "uniqueItems": true});
        for text in ["[".repeat(200_000), format!("[\"{}!\"]", "a".repeat(50_000)), "{\"a\":".repeat(50_000)] {
            assert_eq!(value(&list, true, &text), 0.0);
        }
    }
}
