//! Tightening a schema, so that an answer cannot keep it by saying nothing.

use serde_json::{Value, json};

/// A schema whose objects need one of their listed properties, and hold no others.
pub(super) fn tightened(schema: &Value) -> Value {
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
