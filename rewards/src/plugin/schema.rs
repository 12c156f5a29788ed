//! The protocol of plugins on paper: a JSON Schema of what is said, and one worked example.

use serde_json::{Value, json};

use super::protocol::VERSION;

/// The protocol as `sapo reward schema` prints it.
pub fn schema() -> Value {
    json!({
        "version": VERSION,
        "transport": {
            "process": "Requests come on stdin, one line each. Lines go to descriptor 3, whose path is also in \
                SAPO_REWARD_CHANNEL: first the greeting, then one reply for each request. What is printed on stdout \
                and stderr is kept for messages. The end of stdin is the end of the work.",
            "http": "Each request is the body of a POST, each reply the body of its answer; there is no greeting.",
        },
        "schema": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": {
                "greeting": greeting(),
                "request": {"type": "object", "required": ["v", "id", "items"], "properties": {
                    "v": {"const": VERSION},
                    "id": described(json!({"type": "integer"}), "the reply repeats it"),
                    "items": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/item"}},
                }},
                "item": item(),
                "reply": {"type": "object", "required": ["id"], "additionalProperties": false, "properties": {
                    "v": {"const": VERSION},
                    "id": {"type": "integer"},
                    "outcomes": described(json!({"type": "array", "items": {"$ref": "#/$defs/outcome"}}),
                        "one for each item, in order"),
                    "error": described(json!({"type": "string"}), "instead of outcomes: why the batch could not be scored; it is halved, \
                        until only the items that are to blame fail"),
                }, "oneOf": [{"required": ["outcomes"]}, {"required": ["error"]}]},
                "outcome": outcome(),
            },
        },
        "example": example(),
    })
}

/// What a process says first.
fn greeting() -> Value {
    let ready = json!({"type": "object", "required": ["v", "ready"], "properties": {
        "v": {"const": VERSION},
        "ready": {"const": true},
        "called": described(json!({"type": "string"}), "how a function is called, in words for people"),
    }});
    let unable = json!({"type": "object", "required": ["v", "ready", "error"], "properties": {
        "v": {"const": VERSION},
        "ready": {"const": false},
        "error": described(json!({"type": "string"}), "why nothing can be scored; the reward is given up at once"),
    }});
    json!({"oneOf": [ready, unable]})
}

/// What a plugin is told of an item.
fn item() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["id", "task", "prompt", "messages", "conversational", "response", "answer", "ground_truth", "columns", "tokens",
            "truncated"],
        "properties": {
            "id": described(text(), "the query's id; answers to one query share it"),
            "task": described(text(), "the task that the query belongs to"),
            "prompt": described(text(), "the text of the last user message"),
            "messages": {"type": "array", "items": {"type": "object", "required": ["role", "content"],
                "properties": {"role": text(), "content": text()}}},
            "conversational": described(json!({"type": "boolean"}), "whether the data gave the prompt as a list of messages"),
            "response": described(text(), "all that was said, thinking included"),
            "answer": described(json!({"type": ["string", "null"]}), "what follows the thinking; null while it is open"),
            "ground_truth": described(json!({}), "any JSON, as the data has it; null when there is none"),
            "columns": described(json!({"type": "object"}), "further columns of the data"),
            "tokens": described(json!({"type": "integer"}), "tokens of the response"),
            "token_ids": described(json!({"type": "array", "items": {"type": "integer"}}),
                "the ids of these tokens, where they are known: in a run they are"),
            "truncated": described(json!({"type": "boolean"}), "whether the token limit cut the response"),
            "images": described(json!({"type": "array", "items": {"type": "string"}}),
                "paths of the query's pictures; only with pictures = true, only for kind = \"process\""),
        },
    })
}

/// What a plugin says of an item.
fn outcome() -> Value {
    let text = || json!({"type": "string"});
    let value = json!({"type": "number"});
    let metrics = described(
        json!({"type": "object", "additionalProperties": {"type": "number"}}),
        "numbers beside the value: a run logs the mean of each, and keeps them with the rollout",
    );
    let told = json!({"extracted": text(), "evidence": text(), "metrics": metrics});
    let one = |key: &str, of: Value| {
        let mut properties = told.clone();
        properties[key] = of;
        json!({"type": "object", "required": [key], "properties": properties, "additionalProperties": false})
    };
    json!({"oneOf": [value, one("value", value.clone()), one("skip", text()), one("failed", text())]})
}

/// One conversation with a process.
pub fn example() -> Value {
    let item = |answer: &str| {
        json!({"id": "arith-7", "task": "arith", "prompt": "3 + 2?",
            "messages": [{"role": "user", "content": "3 + 2?"}], "conversational": false, "response": format!("<think>3, 4, 5</think>{answer}"),
            "answer": answer, "ground_truth": 5, "columns": {"level": "easy"}, "tokens": 9, "truncated": false})
    };
    json!({
        "greeting": {"v": VERSION, "ready": true},
        "request": {"v": VERSION, "id": 1, "items": [item("5"), item("6"), item("five"), item("?")]},
        "reply": {"id": 1, "outcomes": [
            1,
            {"value": 0, "extracted": "6", "evidence": "6 is not 5", "metrics": {"distance": 1}},
            {"skip": "words are not scored here"},
            {"failed": "the table of numbers is not there"},
        ]},
    })
}

fn described(mut schema: Value, text: &str) -> Value {
    schema["description"] = text.into();
    schema
}

#[cfg(test)]
mod tests {
    use sapo_datasets::Transcript;

    use super::*;
    use crate::plugin::protocol::{Greeting, describe, read_greeting, read_reply, request};
    use crate::reward::Item;
    use crate::reward::tests::query;
    use crate::score::{FailureKind, Outcome};

    #[test]
    fn the_worked_example_is_what_is_said() {
        let example = example();
        assert_eq!(read_greeting(&example["greeting"].to_string()), Ok(Greeting::Ready(None)));
        let items = example["request"]["items"].as_array().unwrap();
        assert_eq!(request(1, items), example["request"].to_string());
        let outcomes: Vec<Outcome> =
            read_reply(&example["reply"].to_string(), 1, 4).unwrap().into_iter().map(|score| score.outcome).collect();
        assert_eq!(outcomes[..2], [Outcome::Value(1.0), Outcome::Value(0.0)]);
        assert!(matches!(outcomes[2], Outcome::Skip(_)));
        assert!(matches!(outcomes[3], Outcome::Failed { kind: FailureKind::Protocol, .. }));
    }

    #[test]
    fn the_schema_names_every_field() {
        let schema = schema();
        let query = query("?", 5.into());
        let told = describe(&Item { query: &query, transcript: &Transcript::of_answer("q", "5") });
        let properties = &schema["schema"]["$defs"]["item"]["properties"];
        for (key, value) in told.as_object().unwrap() {
            assert!(properties.get(key).is_some(), "{key}");
            assert!(schema["example"]["request"]["items"][0].get(key).is_some(), "{key} {value}");
        }
    }
}
