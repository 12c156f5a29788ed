//! Judges against servers that behave badly in every known way.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::reward::score_all;
use crate::reward::tests::query;
use crate::score::Outcome;

/// What a server does with a request.
#[derive(Clone)]
enum Act {
    /// A reply whose message is this.
    Say(&'static str),
    Status(u16, &'static str),
    Raw(String),
    /// Nothing, until the other side goes.
    Hang,
    /// A body without an end.
    Endless,
    /// yes when the answer in the prompt equals the reference.
    Judge,
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).await.unwrap_or(0);
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split_once("content-length: ")
                .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return body.to_owned();
            }
        }
        if read == 0 {
            return text;
        }
    }
}

fn reply(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

fn completion(content: &str) -> String {
    reply(200, "", &json!({"choices": [{"message": {"content": content}}]}).to_string())
}

fn honest(body: &str) -> String {
    let prompt = serde_json::from_str::<Value>(body).unwrap()["messages"][0]["content"].as_str().unwrap().to_owned();
    let line = |name: &str| prompt.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
    let same = line("Reference: ") == line("Answer: ");
    completion(&json!({"verdict": if same { "yes" } else { "no" }}).to_string())
}

async fn act(mut stream: TcpStream, what: Act) {
    let body = read_request(&mut stream).await;
    let text = match what {
        Act::Say(content) => completion(content),
        Act::Status(status, headers) => reply(status, headers, "{\"error\": \"told so\"}"),
        Act::Raw(text) => text,
        Act::Judge => honest(&body),
        Act::Hang => {
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
            return;
        }
        Act::Endless => {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
            return;
        }
    };
    drop(stream.write_all(text.as_bytes()).await);
}

/// A server that does one act for each request, the last one again and again; its URL and its count of requests.
async fn server(acts: Vec<Act>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let at = seen.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(act(stream, acts[at.min(acts.len() - 1)].clone()));
        }
    });
    (url, count)
}

fn config(endpoint: &str) -> JudgeConfig {
    JudgeConfig {
        endpoint: endpoint.to_owned(),
        prompt: "same-v1".to_owned(),
        retry_base_secs: 0.001,
        timeout_secs: 20.0,
        deadline_secs: 40.0,
        ..JudgeConfig::default()
    }
}

fn judge(endpoint: &str) -> Judge {
    Judge::new("judge", &config(endpoint), &Endpoints::default()).unwrap()
}

fn kind(score: &PartScore) -> Option<FailureKind> {
    match score.outcome {
        Outcome::Failed { kind, .. } => Some(kind),
        Outcome::Value(_) | Outcome::Skip(_) => None,
    }
}

/// What comes of asking a server that acts so, and the requests it saw.
async fn asked(acts: Vec<Act>) -> (PartScore, usize) {
    let (url, count) = server(acts).await;
    let score = judge(&url).same("?", "five", "5").await;
    (score, count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn verdicts_are_values() {
    assert_eq!(asked(vec![Act::Say("{\"verdict\":\"yes\"}")]).await.0.outcome, Outcome::Value(1.0));
    assert_eq!(asked(vec![Act::Say("hm</think>{\"verdict\": \"no\"}")]).await.0.outcome, Outcome::Value(0.0));
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let yes = Act::Say("{\"verdict\":\"yes\"}");
    let half = Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned());
    for first in [
        Act::Status(500, ""),
        Act::Status(503, ""),
        Act::Status(429, "retry-after: 0\r\n"),
        Act::Status(408, ""),
        half,
        Act::Raw(String::new()),
        Act::Say("I think so"),
        Act::Say("{\"verdict\":\"perhaps\"}"),
        Act::Raw(reply(200, "", "{\"choices\": [")),
    ] {
        let (score, requests) = asked(vec![first, yes.clone()]).await;
        assert_eq!((score.outcome, requests), (Outcome::Value(1.0), 2));
    }
}

#[tokio::test]
async fn what_does_not_pass_is_failed_and_not_zero() {
    let (score, requests) = asked(vec![Act::Status(500, "")]).await;
    assert_eq!((kind(&score), requests), (Some(FailureKind::Unreachable), 5));
    let (score, requests) = asked(vec![Act::Status(429, "retry-after: 0\r\n")]).await;
    assert_eq!((kind(&score), requests), (Some(FailureKind::Unreachable), 5));
    let (score, requests) = asked(vec![Act::Say("5 of 10, yes")]).await;
    assert_eq!((kind(&score), requests), (Some(FailureKind::Protocol), 3));
    let (score, requests) = asked(vec![Act::Endless]).await;
    assert_eq!((kind(&score), requests), (Some(FailureKind::Protocol), 3));
    for status in [400, 401, 403, 404] {
        let (score, requests) = asked(vec![Act::Status(status, "")]).await;
        assert_eq!((kind(&score), requests), (Some(FailureKind::Unavailable), 1));
    }
}

#[tokio::test]
async fn a_hanging_server_and_a_long_retry_after_meet_the_deadline() {
    let (url, _) = server(vec![Act::Hang]).await;
    let hasty = JudgeConfig { timeout_secs: 0.02, deadline_secs: 0.1, ..config(&url) };
    let score = Judge::new("judge", &hasty, &Endpoints::default()).unwrap().same("?", "five", "5").await;
    assert_eq!(kind(&score), Some(FailureKind::Timeout));
    let (url, count) = server(vec![Act::Status(429, "retry-after: 3600\r\n")]).await;
    let score = judge(&url).same("?", "five", "5").await;
    assert_eq!((kind(&score), count.load(Ordering::SeqCst)), (Some(FailureKind::Timeout), 1));
}

#[tokio::test]
async fn no_server_is_unreachable_and_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let score = judge(&url).same("?", "five", "5").await;
    let Outcome::Failed { kind, message } = score.outcome else { panic!("{score:?}") };
    assert_eq!(kind, FailureKind::Unreachable);
    assert!(message.contains("is the judge running?"), "{message}");
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_the_others_keep_their_scores() {
    let (url, count) = server(vec![Act::Judge]).await;
    let judge = judge(&url);
    let query = query("Describe the picture.", json!("one red star"));
    let texts = ["one red star", "two red stars", "Solution:", "one red star", "", "one red star"];
    let transcripts: Vec<_> = texts.iter().map(|text| sapo_datasets::Transcript::of_answer("q", *text)).collect();
    let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query: &query, transcript }).collect();
    let values: Vec<Option<f64>> = score_all(&judge, &items).await.iter().map(|score| score.outcome.value()).collect();
    assert_eq!(values, [1.0, 0.0, 0.0, 1.0, 0.0, 1.0].map(Some));
    assert_eq!(count.load(Ordering::SeqCst), 2);
    assert_eq!(judge.counts(), JudgeCounts { calls: 2, failed: 0, cache_hits: 2, refused: 2 });
}

#[tokio::test]
async fn failures_are_shared_by_who_waits_and_not_kept() {
    let (url, count) = server(vec![Act::Status(404, ""), Act::Say("{\"verdict\":\"yes\"}")]).await;
    let judge = judge(&url);
    let scores = all((0..8).map(|_| judge.same("?", "five", "5")).collect()).await;
    assert!(scores.iter().all(|score| kind(score) == Some(FailureKind::Unavailable)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(judge.same("?", "five", "5").await.outcome, Outcome::Value(1.0));
}

#[tokio::test]
async fn no_more_requests_at_a_time_than_allowed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, now) = (Arc::clone(&most), Arc::new(AtomicUsize::new(0)));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, now) = (Arc::clone(&seen), Arc::clone(&now));
            tokio::spawn(async move {
                seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let body = read_request(&mut stream).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                drop(stream.write_all(honest(&body).as_bytes()).await);
            });
        }
    });
    let two = JudgeConfig { max_concurrency: 2, ..config(&url) };
    let judge = Judge::new("judge", &two, &Endpoints::default()).unwrap();
    let answers: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    let scores = all(answers.iter().map(|answer| judge.same("?", "3", answer)).collect()).await;
    assert_eq!(scores.iter().filter(|score| score.outcome.value() == Some(1.0)).count(), 1);
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn calibration_tells_both_errors_apart() {
    let (url, _) = server(vec![Act::Judge]).await;
    let judge = judge(&url);
    let pair = |reference: &str, answer: &str, same| LabelledPair {
        question: String::new(),
        reference: reference.to_owned(),
        answer: answer.to_owned(),
        same,
    };
    let pairs = [
        pair("5", "5", true),
        pair("6", "six", true),
        pair("7", "8", false),
        pair("9", "9", false),
        pair("1", "2", false),
    ];
    let calibration = judge.calibrate(&pairs).await.unwrap();
    assert_eq!((calibration.false_yes, calibration.false_no, calibration.items), (1, 1, 5));
    assert!((calibration.balanced_accuracy - (0.5 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    assert!((calibration.agreement - 0.6).abs() < 1e-12);
    assert!(judge.accept(&calibration).unwrap_err().to_string().contains("1 false yes"));
    assert!(judge.calibrate(&pairs[..2]).await.is_err());
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused =
        |config: JudgeConfig| Judge::new("j", &config, &Endpoints::default()).err().map(|error| error.to_string());
    let base = config("http://127.0.0.1:9");
    assert!(refused(base.clone()).is_none());
    for (bad, word) in [
        (JudgeConfig { endpoint: "serve:judge".to_owned(), ..base.clone() }, "serve:judge"),
        (JudgeConfig { endpoint: "ftp://x".to_owned(), ..base.clone() }, "http://"),
        (JudgeConfig { endpoint: "nowhere".to_owned(), ..base.clone() }, "endpoint"),
        (JudgeConfig { prompt: "x".to_owned(), ..base.clone() }, "same-v1"),
        (JudgeConfig { timeout_secs: f64::NAN, ..base.clone() }, "timeout_secs"),
        (JudgeConfig { max_concurrency: 0, ..base.clone() }, "max_concurrency"),
        (JudgeConfig { api_key_env: Some("SAPO_NO_SUCH_KEY".to_owned()), ..base }, "SAPO_NO_SUCH_KEY"),
    ] {
        assert!(refused(bad).is_some_and(|error| error.contains(word)), "{word}");
    }
}
