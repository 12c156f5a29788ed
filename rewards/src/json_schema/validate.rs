//! Validation of JSON by the core of JSON Schema 2020-12. References stay within the document; nothing is fetched.
//!
//! A schema is compiled first, so that its faults (a keyword that is not known, a pattern that is none, a reference that
//! leads nowhere) are found before the first answer. Patterns run in linear time. Formats are annotations, as the standard
//! has it.

use std::cell::Cell;
use std::collections::BTreeMap;

use regex::Regex;
use serde_json::{Map, Value};

/// Schemas inside schemas, at most.
const DEEPEST: usize = 96;
/// Steps of one validation, at most: what takes more is refused.
const MOST_STEPS: usize = 400_000;

/// A compiled schema.
#[derive(Debug)]
pub(super) struct Validator {
    root: Value,
    patterns: BTreeMap<String, Regex>,
}

const ANNOTATIONS: [&str; 13] = [
    "$schema",
    "$id",
    "$comment",
    "$anchor",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "format",
    "$vocabulary",
];
const KNOWN: [&str; 40] = [
    "$ref",
    "$defs",
    "definitions",
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "items",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "contentEncoding",
    "contentMediaType",
];
const TYPES: [&str; 7] = ["null", "boolean", "object", "array", "number", "integer", "string"];

impl Validator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it, with the place.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        let mut validator = Self { root: schema.clone(), patterns: BTreeMap::new() };
        validator.compile(schema, "", 0)?;
        Ok(validator)
    }

    fn compile(&mut self, schema: &Value, place: &str, depth: usize) -> Result<(), String> {
        let fault = |what: String| Err(format!("{}: {what}", if place.is_empty() { "/" } else { place }));
        if depth > DEEPEST {
            return fault("nested too deep".to_owned());
        }
        let object = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(object) => object,
            other => return fault(format!("{other} is no schema")),
        };
        for (key, value) in object {
            let key = key.as_str();
            let at = format!("{place}/{key}");
            if ANNOTATIONS.contains(&key) {
                continue;
            }
            if !KNOWN.contains(&key) {
                return fault(format!("the keyword `{key}` is not known"));
            }
            match key {
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                    let Some(inner) = value.as_object() else { return fault(format!("`{key}` is no object")) };
                    for (name, schema) in inner {
                        if key == "patternProperties" {
                            self.add_pattern(name, &at)?;
                        }
                        self.compile(schema, &format!("{at}/{name}"), depth + 1)?;
                    }
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    let list = value.as_array().filter(|list| !list.is_empty());
                    let Some(list) = list else { return fault(format!("`{key}` is no list of schemas")) };
                    for (index, schema) in list.iter().enumerate() {
                        self.compile(schema, &format!("{at}/{index}"), depth + 1)?;
                    }
                }
                "additionalProperties" | "propertyNames" | "items" | "contains" | "not" | "if" | "then" | "else" => {
                    self.compile(value, &at, depth + 1)?;
                }
                "type" => {
                    let known = |value: &Value| value.as_str().is_some_and(|name| TYPES.contains(&name));
                    if !known(value) && !value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(known))
                    {
                        return fault(format!("`type` is {value}; known are {}", TYPES.join(", ")));
                    }
                }
                "enum" if !value.is_array() => return fault("`enum` is no list".to_owned()),
                "required" if !value.as_array().is_some_and(|list| list.iter().all(Value::is_string)) => {
                    return fault("`required` is no list of names".to_owned());
                }
                "dependentRequired" if !value.is_object() => {
                    return fault("`dependentRequired` is no object".to_owned());
                }
                "uniqueItems" if !value.is_boolean() => {
                    return fault("`uniqueItems` is neither true nor false".to_owned());
                }
                "pattern" => match value.as_str() {
                    Some(pattern) => self.add_pattern(pattern, &at)?,
                    None => return fault("`pattern` is no text".to_owned()),
                },
                "$ref" if value.as_str().and_then(|reference| self.resolve(reference)).is_none() => {
                    return fault(format!("the reference {value} leads nowhere within the schema; nothing is fetched"));
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" if !value.is_number() => {
                    return fault(format!("`{key}` is no number"));
                }
                "multipleOf" if value.as_f64().is_none_or(|step| step <= 0.0) => {
                    return fault("`multipleOf` is no number above 0".to_owned());
                }
                _ if (key.starts_with("min") || key.starts_with("max"))
                    && !key.ends_with("imum")
                    && count(value).is_none() =>
                {
                    return fault(format!("`{key}` is no whole number"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add_pattern(&mut self, pattern: &str, place: &str) -> Result<(), String> {
        let compiled = regex::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        let compiled =
            compiled.map_err(|_| format!("{place}: the pattern `{pattern}` is none that runs in linear time"))?;
        self.patterns.insert(pattern.to_owned(), compiled);
        Ok(())
    }

    fn resolve(&self, reference: &str) -> Option<&Value> {
        let pointer = reference.strip_prefix('#')?;
        if pointer.is_empty() {
            return Some(&self.root);
        }
        self.root.pointer(&pointer.replace("%25", "%").replace("%22", "\""))
    }

    /// The first fault of a value, with its place; nothing when it keeps the schema.
    pub(super) fn fault(&self, value: &Value) -> Option<String> {
        let steps = Cell::new(0);
        self.check(&self.root, value, "", 0, &steps).err()
    }

    fn check(
        &self,
        schema: &Value,
        value: &Value,
        place: &str,
        depth: usize,
        steps: &Cell<usize>,
    ) -> Result<(), String> {
        let fault = |what: String| Err(format!("{}: {what}", if place.is_empty() { "/" } else { place }));
        steps.set(steps.get() + 1);
        if depth > DEEPEST || steps.get() > MOST_STEPS {
            return fault("checking it takes too long".to_owned());
        }
        let object = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Object(object) => object,
            _ => return fault("nothing may stand here".to_owned()),
        };
        let inner = |schema: &Value| self.check(schema, value, place, depth + 1, steps);
        let list = |key: &str| object.get(key).and_then(Value::as_array).into_iter().flatten();
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            let target = self.resolve(reference).ok_or_else(|| format!("{reference} leads nowhere"))?;
            inner(target)?;
        }
        if let Some(wanted) = object.get("type") {
            let is = |name: &Value| name.as_str().is_some_and(|name| is_type(name, value));
            if !is(wanted) && !wanted.as_array().is_some_and(|list| list.iter().any(is)) {
                return fault(format!("it is not of type {wanted}"));
            }
        }
        if object.get("enum").and_then(Value::as_array).is_some_and(|list| !list.iter().any(|one| same(one, value))) {
            return fault("it is none of the values that are listed".to_owned());
        }
        if object.get("const").is_some_and(|wanted| !same(wanted, value)) {
            return fault("it is not the value that is asked for".to_owned());
        }
        for schema in list("allOf") {
            inner(schema)?;
        }
        if object.contains_key("anyOf") && !list("anyOf").any(|schema| inner(schema).is_ok()) {
            return fault("it keeps none of the alternatives".to_owned());
        }
        if object.contains_key("oneOf") && list("oneOf").filter(|schema| inner(schema).is_ok()).count() != 1 {
            return fault("it does not keep exactly one of the alternatives".to_owned());
        }
        if object.get("not").is_some_and(|schema| inner(schema).is_ok()) {
            return fault("it is what it must not be".to_owned());
        }
        if let Some(condition) = object.get("if")
            && let Some(schema) = object.get(if inner(condition).is_ok() { "then" } else { "else" })
        {
            inner(schema)?;
        }
        match value {
            Value::Object(members) => self.check_object(object, members, place, depth, steps),
            Value::Array(items) => self.check_array(object, items, place, depth, steps),
            Value::String(text) => self.check_text(object, text).or_else(fault),
            Value::Number(_) => check_number(object, value.as_f64().unwrap_or(f64::NAN)).or_else(fault),
            Value::Null | Value::Bool(_) => Ok(()),
        }
    }

    fn check_object(
        &self,
        schema: &Map<String, Value>,
        members: &Map<String, Value>,
        place: &str,
        depth: usize,
        steps: &Cell<usize>,
    ) -> Result<(), String> {
        let fault = |what: String| Err(format!("{}: {what}", if place.is_empty() { "/" } else { place }));
        let names = |value: Option<&Value>| -> Vec<String> {
            value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if let Some(missing) = names(schema.get("required")).iter().find(|name| !members.contains_key(*name)) {
            return fault(format!("`{missing}` is missing"));
        }
        for (name, needs) in schema.get("dependentRequired").and_then(Value::as_object).into_iter().flatten() {
            if members.contains_key(name)
                && let Some(missing) = names(Some(needs)).iter().find(|name| !members.contains_key(*name))
            {
                return fault(format!("`{missing}` is missing beside `{name}`"));
            }
        }
        for (name, schema) in schema.get("dependentSchemas").and_then(Value::as_object).into_iter().flatten() {
            if members.contains_key(name) {
                self.check(schema, &Value::Object(members.clone()), place, depth + 1, steps)?;
            }
        }
        within(schema, "minProperties", "maxProperties", members.len()).or_else(fault)?;
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        for (name, member) in members {
            let at = format!("{place}/{name}");
            if let Some(names) = schema.get("propertyNames") {
                self.check(names, &Value::String(name.clone()), &at, depth + 1, steps)?;
            }
            let mut known = false;
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                known = true;
                self.check(schema, member, &at, depth + 1, steps)?;
            }
            for (pattern, schema) in patterns.into_iter().flatten() {
                if self.patterns.get(pattern).is_some_and(|pattern| pattern.is_match(name)) {
                    known = true;
                    self.check(schema, member, &at, depth + 1, steps)?;
                }
            }
            if let (false, Some(schema)) = (known, schema.get("additionalProperties")) {
                self.check(schema, member, &at, depth + 1, steps)?;
            }
        }
        Ok(())
    }

    fn check_array(
        &self,
        schema: &Map<String, Value>,
        items: &[Value],
        place: &str,
        depth: usize,
        steps: &Cell<usize>,
    ) -> Result<(), String> {
        let fault = |what: String| Err(format!("{}: {what}", if place.is_empty() { "/" } else { place }));
        within(schema, "minItems", "maxItems", items.len()).or_else(fault)?;
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = schema.get("items");
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = first.get(index).or(rest) {
                self.check(schema, item, &format!("{place}/{index}"), depth + 1, steps)?;
            }
        }
        if let Some(contains) = schema.get("contains") {
            let found = items.iter().filter(|item| self.check(contains, item, place, depth + 1, steps).is_ok()).count();
            let least = schema.get("minContains").and_then(count).unwrap_or(1);
            if found < least || schema.get("maxContains").and_then(count).is_some_and(|most| found > most) {
                return fault(format!("{found} of its items are what it must contain"));
            }
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            let mut seen = std::collections::BTreeSet::new();
            if !items.iter().all(|item| seen.insert(canonical(item))) {
                return fault("an item stands there twice".to_owned());
            }
        }
        Ok(())
    }

    fn check_text(&self, schema: &Map<String, Value>, text: &str) -> Result<(), String> {
        within(schema, "minLength", "maxLength", text.chars().count())?;
        let pattern = schema.get("pattern").and_then(Value::as_str);
        match pattern.and_then(|pattern| self.patterns.get(pattern)) {
            Some(compiled) if !compiled.is_match(text) => Err(format!("it does not match `{compiled}`")),
            _ => Ok(()),
        }
    }
}

fn is_type(name: &str, value: &Value) -> bool {
    match name {
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        _ => value.is_null(),
    }
}

fn count(value: &Value) -> Option<usize> {
    let whole = value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
    whole.and_then(|whole| usize::try_from(whole).ok())
}

fn within(schema: &Map<String, Value>, least: &str, most: &str, found: usize) -> Result<(), String> {
    let bound = |key: &str| schema.get(key).and_then(count);
    match (bound(least), bound(most)) {
        (Some(bound), _) if found < bound => Err(format!("{least} is {bound}, and it has {found}")),
        (_, Some(bound)) if found > bound => Err(format!("{most} is {bound}, and it has {found}")),
        _ => Ok(()),
    }
}

fn check_number(schema: &Map<String, Value>, number: f64) -> Result<(), String> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let kept = bound("minimum").is_none_or(|least| number >= least)
        && bound("maximum").is_none_or(|most| number <= most)
        && bound("exclusiveMinimum").is_none_or(|least| number > least)
        && bound("exclusiveMaximum").is_none_or(|most| number < most);
    let steps = bound("multipleOf").is_none_or(|step| {
        let quotient = number / step;
        (quotient - quotient.round()).abs() < 1e-9
    });
    if kept && steps { Ok(()) } else { Err(format!("{number} is not within its bounds")) }
}

/// Equal as JSON: numbers by their value, objects whatever their order.
fn same(one: &Value, other: &Value) -> bool {
    canonical(one) == canonical(other)
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(String::new, |number| number.to_string())
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(object) => {
            let sorted: BTreeMap<&String, String> = object.iter().map(|(key, value)| (key, canonical(value))).collect();
            format!("{sorted:?}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_keyword() {
        for (schema, good, bad) in [
            (json!({"type": "integer"}), json!(3.0), json!(3.5)),
            (json!({"type": ["string", "null"]}), json!(null), json!(1)),
            (json!({"enum": [1, "a"]}), json!("a"), json!("b")),
            (json!({"const": {"a": 1, "b": 2}}), json!({"b": 2, "a": 1.0}), json!({"a": 1})),
            (json!({"required": ["a"]}), json!({"a": 1}), json!({})),
            (json!({"properties": {"a": {"type": "string"}}}), json!({"a": "x", "b": 1}), json!({"a": 1})),
            (json!({"properties": {"a": true}, "additionalProperties": false}), json!({"a": 1}), json!({"b": 1})),
            (json!({"patternProperties": {"^x": {"type": "number"}}}), json!({"x1": 1}), json!({"x1": "a"})),
            (json!({"propertyNames": {"maxLength": 2}}), json!({"ab": 1}), json!({"abc": 1})),
            (json!({"minProperties": 1, "maxProperties": 1}), json!({"a": 1}), json!({"a": 1, "b": 2})),
            (json!({"dependentRequired": {"a": ["b"]}}), json!({"a": 1, "b": 1}), json!({"a": 1})),
            (json!({"dependentSchemas": {"a": {"required": ["b"]}}}), json!({"c": 1}), json!({"a": 1})),
            (json!({"items": {"type": "integer"}}), json!([1, 2]), json!([1, "a"])),
            (
                json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}),
                json!(["a", 1]),
                json!(["a", "b"]),
            ),
            (json!({"contains": {"const": 1}, "minContains": 2}), json!([1, 1]), json!([1, 2])),
            (json!({"minItems": 1, "maxItems": 2}), json!([1]), json!([])),
            (json!({"uniqueItems": true}), json!([1, 2]), json!([1, 1.0])),
            (json!({"minLength": 2, "maxLength": 3}), json!("你好"), json!("x")),
            (json!({"pattern": "^a+$"}), json!("aa"), json!("ab")),
            (json!({"minimum": 1, "exclusiveMaximum": 3}), json!(1), json!(3)),
            (json!({"maximum": 1, "exclusiveMinimum": 0}), json!(1), json!(0)),
            (json!({"multipleOf": 0.1}), json!(0.3), json!(0.35)),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), json!(2), json!(3)),
            (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!(null), json!(1)),
            (json!({"oneOf": [{"minimum": 1}, {"maximum": 2}]}), json!(3), json!(1)),
            (json!({"not": {"type": "string"}}), json!(1), json!("a")),
            (
                json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}),
                json!("ab"),
                json!(1),
            ),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}), json!("a"), json!(1)),
            (
                json!({"properties": {"next": {"$ref": "#"}}, "additionalProperties": false}),
                json!({"next": {"next": {}}}),
                json!({"next": {"x": 1}}),
            ),
            (json!(true), json!(1), json!(null)),
        ] {
            let validator = Validator::new(&schema).unwrap();
            assert_eq!(validator.fault(&good), None, "{schema} {good}");
            assert_eq!(validator.fault(&bad).is_none(), schema == json!(true), "{schema} {bad}");
        }
    }

    #[test]
    fn faults_of_schemas_are_found_first() {
        for schema in [
            json!({"type": "objekt"}),
            json!({"$ref": "http://127.0.0.1:9/x.json"}),
            json!({"$ref": "#/$defs/none"}),
            json!({"pattern": "(?=x)"}),
            json!({"pattern": "("}),
            json!({"propertis": {}}),
            json!(3),
            json!({"minLength": "a"}),
            json!({"properties": {"a": 5}}),
            json!({"required": "a"}),
            json!({"anyOf": []}),
            json!({"multipleOf": 0}),
        ] {
            assert!(Validator::new(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn endless_references_end() {
        let turning = Validator::new(&json!({"$ref": "#"})).unwrap();
        assert!(turning.fault(&json!(1)).is_some());
        let many = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]});
        assert!(Validator::new(&many).unwrap().fault(&json!(1)).is_some());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9a-c\"{}\\[\\]:,.-]{0,40}") {
            let schema = json!({"properties": {"a": {"type": "array", "items": {"minimum": 1}}}, "uniqueItems": true});
            if let Ok(value) = serde_json::from_str(&text) {
                let _ = Validator::new(&schema).unwrap().fault(&value);
                let other = Validator::new(&value);
                prop_assert!(other.is_err() || other.is_ok_and(|other| other.fault(&schema) == other.fault(&schema)));
            }
        }
    }
}
