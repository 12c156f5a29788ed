//! Runs with a judge: the same whether its verdicts are known or not, and stopped where nothing can be judged any more.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::{json as object, smoke};

/// What a server says to the call of this number: status, body, type of content.
type Reply = Arc<dyn Fn(usize) -> (u16, String, &'static str) + Send + Sync>;

/// A judge on loopback; `reply` makes a status and the message's text of the number of the request.
fn stub(reply: impl Fn(usize) -> (u16, String, &'static str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let mut number = 0;
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let head = request(&mut stream);
            let (status, text, model) = if head.starts_with("GET") {
                (404, String::new(), "")
            } else {
                number += 1;
                reply(number)
            };
            let body = json!({"model": model, "choices": [{"message": {"content": text}}]}).to_string();
            let length = body.len();
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}

fn request(stream: &mut TcpStream) -> String {
    let (mut all, mut piece) = (Vec::new(), [0; 8192]);
    loop {
        let read = stream.read(&mut piece).unwrap_or(0);
        all.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.to_lowercase();
            let length = length.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            body.len() >= length.unwrap_or(0)
        });
        if whole || read == 0 {
            return text;
        }
    }
}

const SHORT: [&str; 3] = ["run.phases=[\"careful\", \"general\"]", "phases.careful.steps=60", "phases.general.steps=1"];

fn short<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SHORT.iter().copied().chain(more.iter().copied()).collect()
}

#[test]
fn a_run_is_the_same_whether_its_verdicts_are_known_or_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let cache = format!("rewards.same.cache={}", dir.path().join("verdicts").display());
    let cold = object(&smoke(dir.path(), &short(&[&cache])));
    let warm = object(&smoke(dir.path(), &short(&[&cache, "run.name=warm"])));
    for key in ["weights_sha256", "metrics_sha256", "evals", "gains"] {
        assert_eq!(cold[key], warm[key], "{key}");
    }
    let count = |run: &Value, key: &str| run["judge"][key].as_u64().expect("a count");
    assert!(count(&warm, "cache_hits") > count(&cold, "cache_hits"), "{} {}", cold["judge"], warm["judge"]);
    assert!(count(&warm, "calls") < count(&cold, "calls") / 2, "{} {}", cold["judge"], warm["judge"]);
    assert_eq!(count(&warm, "canaries"), count(&cold, "canaries"));
    assert!(!dir.path().join("smoke/judge-cache").exists(), "the folder that was named is used");
}

fn stopped(dir: &Path, more: &[&str], says: &[&str]) {
    let output = smoke(dir, &short(more));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(says.iter().all(|word| errors.contains(word)), "{says:?} is not in: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(dir.join("smoke/checkpoints/step-000060").exists(), "the last good checkpoint is there");
}

#[test]
fn what_cannot_be_judged_any_more_stops_with_the_reason_and_goes_on_later() {
    let yes = || (200, "{\"verdict\": \"yes\"}".to_owned(), "judge");
    let trusting = "rewards.same.min_balanced_accuracy=0.0";
    let rows: [(Reply, &[&str], &[&str]); 4] = [
        (Arc::new(move |number| if number > 9 { (404, String::new(), "") } else { yes() }), &[], &["404"]),
        (
            Arc::new(move |number| if number > 9 { (200, yes().1, "llama") } else { yes() }),
            &[],
            &["`llama`", "`judge`"],
        ),
        (Arc::new(move |_| yes()), &["rewards.same.budget.calls=9"], &["budget", "9 of 9 calls"]),
        (Arc::new(move |_| (500, String::new(), "")), &["rewards.same.max_tries=1"], &["500"]),
    ];
    let dir = tempfile::tempdir().expect("a folder");
    for (index, (reply, more, says)) in rows.into_iter().enumerate() {
        let endpoint = format!("rewards.same.endpoint={}", stub(move |number| reply(number)));
        let place = dir.path().join(index.to_string());
        let quick = ["phases.careful.steps=60", trusting, endpoint.as_str()];
        stopped(&place, &quick.iter().chain(more).copied().collect::<Vec<_>>(), says);
    }
    // A judge that says yes to all is noticed by its canaries.
    let endpoint = format!("rewards.same.endpoint={}", stub(move |_| yes()));
    let place = dir.path().join("fooled");
    let asked =
        ["phases.general.steps=2", "phases.general.prompts_per_step=12", "phases.general.rollouts_per_prompt=8"];
    let asked = [&asked[..], &[trusting, "rewards.same.canary_share=1.0"]].concat();
    let watched = [&asked[..], &[endpoint.as_str(), "rewards.same.max_canary_failures=0.0"]].concat();
    stopped(&place, &watched, &["known verdict", "max_canary_failures"]);
    // With another judge the run goes on.
    let output = smoke(&place, &short(&[&asked[..], &["--resume"]].concat()));
    let summary = object(&output);
    let canaries = |key: &str| summary["judge"][key].as_u64().expect("a count");
    assert!(canaries("canaries") > 2 * canaries("canary_failures"), "{}", summary["judge"]);
}
