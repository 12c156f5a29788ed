//! The keywords of a schema: one that is misspelled would check nothing, and every answer would keep it.

use serde_json::{Map, Value};

/// Keywords that hold one schema.
const ONE: [&str; 12] = [
    "additionalItems",
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords that hold a list of schemas.
const LISTS: [&str; 5] = ["allOf", "anyOf", "items", "oneOf", "prefixItems"];
/// Keywords that hold schemas by name.
const NAMED: [&str; 6] =
    ["$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"];
/// All others.
const OTHERS: [&str; 42] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "nullable",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// Whether every keyword of a schema is one of the standard's; `x-...` is anybody's own.
///
/// # Errors
/// Names the first that is not.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    schema.as_object().map_or(Ok(()), check_object)
}

fn check_object(object: &Map<String, Value>) -> Result<(), String> {
    for (key, value) in object {
        let key = key.as_str();
        let known = [&ONE[..], &LISTS, &NAMED, &OTHERS].iter().any(|keys| keys.contains(&key));
        if !known && !key.starts_with("x-") {
            return Err(format!("unknown keyword `{key}` in the schema; correct it, or call it `x-{key}`"));
        }
        if LISTS.contains(&key) || NAMED.contains(&key) {
            let inner: Vec<&Value> = match value {
                Value::Array(items) => items.iter().collect(),
                Value::Object(named) if NAMED.contains(&key) => named.values().collect(),
                other => vec![other],
            };
            inner.into_iter().try_for_each(check)?;
        } else if ONE.contains(&key) {
            check(value)?;
        }
    }
    Ok(())
}
