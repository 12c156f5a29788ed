//! The real binary as a server: what it answers, what it refuses, and how it ends.

mod client;
mod doors;
mod ends;
mod many;
mod refusals;
mod streams;

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
    assert_eq!(server.get("/v1/models/tiny").body, models.body["data"][0]);
    assert_eq!(server.get("/v1/models/other").status, 404);
    let health = server.get("/health");
    assert_eq!((health.status, &health.body["status"], &health.body["in_flight"]), (200, &json!("ok"), &json!(0)));
    assert_eq!(server.metric("sapo_requests_total{outcome=\"answered\"}"), 1);
    assert_eq!(server.metric("sapo_tokens_total{kind=\"prompt\"}"), tokens("prompt_tokens"));
    assert_eq!(server.metric("sapo_tokens_total{kind=\"generated\"}"), tokens("completion_tokens"));
    assert_eq!(server.metric("sapo_time_to_first_token_seconds_count"), 1);
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
    let server = Server::start(&[]);
    let asked = |index: usize| {
        let fields = json!({"temperature": index % 2, "max_tokens": 16 + index, "seed": index});
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
    let server = Server::start(&[]);
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
    assert_eq!(two(json!({"seed": 5, "top_p": 1.0, "top_k": -1, "unknown": null, "user": "me"})), first);
    assert_ne!(two(json!({})), two(json!({})), "without a seed every request has its own");
}

#[test]
fn completions_take_every_kind_of_prompt() {
    let server = Server::start(&[]);
    let complete = |fields: Value| {
        let reply = server.complete(&with(json!({"temperature": 0, "max_tokens": 6}), fields));
        choices(&reply);
        reply.body
    };
    let ids = |text: &str| complete(json!({"prompt": text, "return_token_ids": true}))["choices"][0].clone();
    let alone = ids("What is");
    let id = complete(json!({"prompt": alone["prompt_token_ids"]}));
    assert!(id["id"].as_str().is_some_and(|id| id.starts_with("cmpl-")) && id["object"] == "text_completion", "{id}");
    assert_eq!(id["choices"][0]["text"], alone["text"], "ids are what the text is cut into");
    assert_eq!(alone["token_ids"].as_array().map(Vec::len), Some(6));
    let several = complete(json!({"prompt": ["What is", "Count"], "n": 2, "echo": true}));
    let texts: Vec<&str> =
        several["choices"].as_array().expect("choices").iter().filter_map(|one| one["text"].as_str()).collect();
    let echoed = format!("What is{}", alone["text"].as_str().expect("a text"));
    assert_eq!(texts[..2], [&echoed, &echoed], "greedy answers are alike");
    assert!(texts.len() == 4 && texts[2].starts_with("Count"), "{texts:?}");
    assert_eq!(several["choices"][3]["index"], 3);
    let listed = complete(json!({"prompt": [alone["prompt_token_ids"], [5, 6]]}));
    assert_eq!(listed["choices"][0]["text"], alone["text"]);
    assert_eq!(ids("<|im_start|>")["prompt_token_ids"].as_array().map(Vec::len), Some(1), "special tokens are parsed");
    assert_eq!(
        complete(json!({"prompt": "a", "max_tokens": null}))["usage"]["completion_tokens"]
            .as_u64()
            .map(|tokens| tokens <= 16),
        Some(true)
    );
}

#[test]
fn log_probs_stand_beside_the_text_they_are_of() {
    let server = Server::start(&[]);
    let fields = json!({"temperature": 2, "seed": 3, "max_tokens": 24, "logprobs": true, "top_logprobs": 3});
    let reply = server.chat(&with(question("Name a colour."), with(fields, json!({"return_token_ids": true}))));
    let choice = &choices(&reply)[0];
    let entries = choice["logprobs"]["content"].as_array().expect("entries");
    assert_eq!(entries.len() as u64, reply.body["usage"]["completion_tokens"].as_u64().expect("a count"));
    assert_eq!(choice["token_ids"].as_array().map(Vec::len), Some(entries.len()));
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry["bytes"].as_array().expect("bytes"))
        .map(|byte| byte.as_u64().expect("a byte") as u8)
        .collect();
    assert_eq!(choice["message"]["content"], String::from_utf8_lossy(&bytes).as_ref());
    for entry in entries {
        let top: Vec<f64> =
            entry["top_logprobs"].as_array().expect("top").iter().filter_map(|top| top["logprob"].as_f64()).collect();
        assert!(top.len() == 3 && top.is_sorted_by(|a, b| a >= b), "{entry}");
        assert!(entry["logprob"].as_f64().is_some_and(|own| own <= top[0] + 1e-6), "{entry}");
    }
    // They are those at temperature 1, whatever the temperature.
    let greedy = |temperature: f64| {
        let fields =
            json!({"prompt": "What is", "temperature": temperature, "top_k": 1, "max_tokens": 5, "logprobs": 2});
        let reply = server.complete(&fields);
        choices(&reply)[0]["logprobs"].clone()
    };
    let log_probs = greedy(0.0);
    assert_eq!(log_probs, greedy(0.5));
    let list = |key: &str| log_probs[key].as_array().expect("a list").clone();
    let (tokens, own, top, offsets) =
        (list("tokens"), list("token_logprobs"), list("top_logprobs"), list("text_offset"));
    assert_eq!([own.len(), top.len(), offsets.len()], [tokens.len(); 3]);
    for ((token, own), top) in tokens.iter().zip(&own).zip(&top) {
        assert_eq!(&top[token.as_str().expect("a text")], own);
        assert!((2..=3).contains(&top.as_object().expect("an object").len()), "{top}");
    }
    assert_eq!(offsets[0], 0);
    assert!(offsets.is_sorted_by_key(|offset| offset.as_u64()));
}

/// `7` and `x` are equally likely, so that some answers are numbers and some are none.
fn number_or_not() -> Value {
    let schema = json!({"name": "number", "schema": {"type": "integer"}});
    with(
        question("A number?"),
        json!({
            "logit_bias": {"22": 100, "87": 100}, "temperature": 2, "max_tokens": 1, "n": 6, "seed": 1,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }),
    )
}

#[test]
fn an_answer_that_is_not_what_was_asked_for_is_sampled_again() {
    let server = Server::start(&[]);
    let texts = |reply: &Reply| -> Vec<String> {
        let list = choices(reply).as_array().expect("choices");
        list.iter().map(|one| one["message"]["content"].as_str().expect("a text").to_owned()).collect()
    };
    let free = texts(&server.chat(&with(number_or_not(), json!({"response_format": null}))));
    assert!(free.contains(&"x".to_owned()) && free.contains(&"7".to_owned()), "{free:?}");
    let formed = server.chat(&number_or_not());
    assert_eq!(texts(&formed), ["7"; 6]);
    assert_eq!(formed.body["choices"][5]["index"], 5);
    let never = server.chat(&with(number_or_not(), json!({"response_format": {"type": "json_object"}})));
    assert_eq!((never.status, &never.body["error"]["code"]), (422, &json!("no_valid_json")), "{}", never.body);
    assert_eq!(never.body["error"]["param"], "response_format");
    let greedy =
        server.chat(&with(number_or_not(), json!({"temperature": 0, "response_format": {"type": "json_object"}})));
    assert!(greedy.body["error"]["message"].as_str().is_some_and(|said| said.contains("1 try")), "{}", greedy.body);
}

#[test]
fn local_pictures_are_those_of_one_folder() {
    let home = tempfile::tempdir().expect("a folder");
    let allowed = home.path().join("allowed");
    std::fs::create_dir(&allowed).expect("made");
    for path in [allowed.join("a.png"), home.path().join("b.png")] {
        std::fs::write(path, picture().bytes()).expect("written");
    }
    let server = Server::start(&["--allow-local-images", &allowed.display().to_string()]);
    let about = |path: &str| {
        let url = format!("file://{}/{path}", home.path().display());
        let image = json!({"type": "image_url", "image_url": {"url": url}});
        server.chat(&json!({"messages": [{"role": "user", "content": [image]}], "max_tokens": 1}))
    };
    assert_eq!(about("allowed/a.png").status, 200);
    for outside in ["b.png", "allowed/../b.png", "allowed/%2e%2e/b.png", "allowed"] {
        let reply = about(outside);
        assert_eq!(reply.status, 400, "{outside}: {}", reply.body);
    }
}
