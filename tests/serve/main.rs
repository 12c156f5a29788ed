//! The real binary as a server: what it answers, what it refuses, and how it ends.

mod client;
mod ends;
mod refusals;

use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sapo_datasets::{Picture, Split, Task, synthetic};
use serde_json::{Value, json};

use client::{Reply, Server, question, with};

/// What was said, working and all.
fn choices(reply: &Reply) -> &Value {
    assert_eq!(reply.status, 200, "{}", reply.body);
    &reply.body["choices"]
}

fn data_url(picture: &Picture) -> String {
    format!("data:{};base64,{}", picture.media_type(), STANDARD.encode(picture.bytes()))
}

fn picture() -> Picture {
    let query = synthetic::query(Task::Count, Split::Test, 1, 0);
    query.images.first().expect("counting is about a picture").clone()
}

#[test]
fn a_text_chat_has_the_shape_of_openai() {
    let server = Server::start(&[]);
    let reply = server.chat(&question("What is 2 + 3?"));
    let body = &reply.body;
    assert_eq!(choices(&reply).as_array().map(Vec::len), Some(1));
    assert!(reply.head.contains("content-type: application/json"), "{}", reply.head);
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")), "{body}");
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("tiny")));
    assert!(body["created"].is_i64());
    let choice = &body["choices"][0];
    assert_eq!((&choice["index"], &choice["message"]["role"]), (&json!(0), &json!("assistant")));
    assert!(choice["message"]["content"].is_string(), "{choice}");
    assert!(["stop", "length"].contains(&choice["finish_reason"].as_str().expect("a reason")));
    let tokens = |key: &str| body["usage"][key].as_u64().expect("a count");
    assert!(tokens("prompt_tokens") > 5 && (1..=12).contains(&tokens("completion_tokens")));
    assert_eq!(tokens("prompt_tokens") + tokens("completion_tokens"), tokens("total_tokens"));

    let models = server.get("/v1/models");
    assert_eq!((models.status, &models.body["data"][0]["id"]), (200, &json!("tiny")));
    let health = server.get("/health");
    assert_eq!((health.status, &health.body["status"], &health.body["started"]), (200, &json!("ok"), &json!(1)));
}

#[test]
fn a_picture_is_seen() {
    let server = Server::start(&["--name", "eyes"]);
    let ask = |url: &str| {
        let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "high"}});
        let content = json!([{"type": "text", "text": "How many "}, {"type": "text", "text": "circles?"}, image]);
        let body = json!({"messages": [{"role": "user", "content": content}], "max_completion_tokens": 8, "seed": 3});
        let reply = server.chat(&body);
        assert_eq!((reply.status, &reply.body["model"]), (200, &json!("eyes")), "{}", reply.body);
        reply.body["usage"]["prompt_tokens"].as_u64().expect("a count")
    };
    let text = json!({"messages": [{"role": "user", "content": "How many circles?"}], "max_tokens": 1});
    let without = server.chat(&text).body["usage"]["prompt_tokens"].as_u64().expect("a count");
    let with = ask(&data_url(&picture()));
    assert!(with >= without + 3, "a picture has tokens of its own: {with} and {without}");
}

#[test]
fn a_reply_does_not_depend_on_what_else_is_asked() {
    let server = Server::start(&["--batch", "1"]);
    let asked = |index: usize| {
        let fields = json!({"temperature": index % 2, "max_tokens": 16 + index});
        with(question(&format!("What is {index} + {}?", index * 7)), fields)
    };
    let alone: Vec<Value> = (0..8).map(|index| choices(&server.chat(&asked(index))).clone()).collect();
    for index in [0, 1] {
        assert_eq!(choices(&server.chat(&asked(index))), &alone[index], "the same twice");
    }
    let other_seed = json!({"seed": 99, "top_p": 0.5});
    assert_eq!(choices(&server.chat(&with(asked(2), other_seed.clone()))), &alone[2], "greedy draws nothing");
    assert_ne!(choices(&server.chat(&with(asked(3), other_seed))), &alone[3], "sampling does");
    let together: Vec<Value> = thread::scope(|scope| {
        let (server, asked) = (&server, &asked);
        let asking: Vec<_> = (0..8).map(|index| scope.spawn(move || server.chat(&asked(index)))).collect();
        asking.into_iter().map(|one| choices(&one.join().expect("answered")).clone()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn samples_depend_on_the_seed_alone() {
    let server = Server::start(&["--batch", "1"]);
    let two = |fields: Value| {
        let reply = server.chat(&with(question("Name a colour."), with(json!({"n": 2, "max_tokens": 24}), fields)));
        assert_eq!(choices(&reply).as_array().map(Vec::len), Some(2));
        reply.body["choices"].clone()
    };
    let first = two(json!({"seed": 5}));
    assert_eq!(first[1]["index"], 1);
    assert_ne!(first[0]["message"], first[1]["message"], "two samples differ");
    assert_eq!(first, two(json!({"seed": 5})));
    assert_ne!(first, two(json!({"seed": 6})));
    assert_eq!(two(json!({})), two(json!({"seed": 0, "top_p": 1.0, "top_k": -1, "unknown": {"field": [1]}})));
}

#[test]
fn requests_are_answered_together_when_they_may_be() {
    let server = Server::start(&["--batch", "4"]);
    let answered = thread::scope(|scope| {
        let server = &server;
        let ask =
            move |index: usize| server.chat(&with(question(&format!("Say {index}.")), json!({"n": 1 + index % 3})));
        let asking: Vec<_> = (0..12).map(|index| scope.spawn(move || (index, ask(index)))).collect();
        asking.into_iter().map(|one| one.join().expect("answered")).collect::<Vec<_>>()
    });
    for (index, reply) in answered {
        assert_eq!(choices(&reply).as_array().map(Vec::len), Some(1 + index % 3));
    }
}
