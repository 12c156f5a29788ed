//! What keeps a schema, what does not, and what a hostile schema or answer can do.

use proptest::prelude::*;

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
    for faulty in [json!({"type": "objekt"}), json!({"$ref": "http://127.0.0.1:9/x.json"}), json!({"pattern": "(?=x)"})]
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
        (json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"minimum": 2}}), json!("ab"), json!(1)),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}), json!("a"), json!(1)),
        (
            json!({"properties": {"next": {"$ref": "#"}}, "additionalProperties": false}),
            json!({"next": {"next": {}}}),
            json!({"next": {"x": 1}}),
        ),
        (
            json!({"unevaluatedProperties": false, "allOf": [{"properties": {"a": {}}}]}),
            json!({"a": 1}),
            json!({"b": 1}),
        ),
        (json!({"$ref": "#text", "$defs": {"a": {"$anchor": "text", "type": "string"}}}), json!("a"), json!(1)),
        (json!({"format": "date"}), json!("2024-02-29"), json!("2023-02-29")),
        (json!(true), json!(1), json!(null)),
    ] {
        let schema_of = Schema::new(&schema, false).unwrap();
        assert!(schema_of.0.is_valid(&good), "{schema} {good}");
        assert_eq!(schema_of.0.is_valid(&bad), schema == json!(true), "{schema} {bad}");
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
        assert!(Schema::new(&schema, false).is_err(), "{schema}");
    }
}

#[test]
fn references_in_circles_and_deep_answers_end() {
    let nested = |levels: usize| (0..levels).fold("1".to_owned(), |inner, _| format!("{{\"a\":{inner}}}"));
    let turning = json!({"$ref": "#"});
    let many = json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]});
    // Every level may be either: without memory, each doubles the work.
    let node = |name: &str| json!({"properties": {"a": {"$ref": "#"}, "kind": {"const": name}}, "required": ["kind"]});
    let tree = json!({"oneOf": [node("x"), node("y")]});
    for schema in [turning, many, tree] {
        if let Ok(schema) = Schema::new(&schema, false) {
            for levels in [1, 30, 100] {
                let _ = schema.score(&nested(levels));
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(text in "[0-9a-c\"{}\\[\\]:,.-]{0,40}") {
        let schema = json!({"properties": {"a": {"type": "array", "items": {"minimum": 1}}}, "uniqueItems": true});
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let _ = Schema::new(&schema, true).unwrap().score(&value.to_string());
            if let Ok(other) = Schema::new(&value, true) {
                let _ = other.score(&schema.to_string());
            }
        }
    }
}
