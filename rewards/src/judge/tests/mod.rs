//! Judges against servers that behave badly in every known way.

mod faults;
mod forms;
mod kept;
mod stub;
mod traps;

use sapo_datasets::{Query, Transcript};
use serde_json::json;

use super::*;
use crate::net::Time;
use crate::reward::score_all;
use crate::reward::tests::query;
use crate::score::Outcome;
use stub::{Act, Stub};

fn config(endpoint: &str) -> JudgeConfig {
    JudgeConfig {
        endpoint: endpoint.to_owned(),
        prompt: "same-v1".to_owned(),
        timeout_secs: 20.0,
        deadline_secs: 1000.0,
        canary_share: 0.0,
        ..JudgeConfig::default()
    }
}

/// A judge that does not really wait between tries.
fn judge(config: &JudgeConfig) -> Judge {
    let judge = Judge::new("same", config, &Endpoints::default()).unwrap();
    Judge { client: judge.client.with_time(Time::skipping()), ..judge }
}

fn kind(score: &PartScore) -> Option<FailureKind> {
    match score.outcome {
        Outcome::Failed { kind, .. } => Some(kind),
        Outcome::Value(_) | Outcome::Skip(_) => None,
    }
}

fn message(score: &PartScore) -> &str {
    match &score.outcome {
        Outcome::Failed { message, .. } => message,
        _ => "",
    }
}

fn red_star() -> Query {
    query("Describe the picture.", json!("one red star"))
}

/// The scores of answers to a query.
async fn scores(judge: &Judge, query: &Query, answers: &[&str]) -> Vec<PartScore> {
    let transcripts: Vec<_> = answers.iter().map(|text| Transcript::of_answer("q", *text)).collect();
    let items: Vec<Item<'_>> = transcripts.iter().map(|transcript| Item { query, transcript }).collect();
    score_all(judge, &items).await
}

fn values(scores: &[PartScore]) -> Vec<Option<f64>> {
    scores.iter().map(|score| score.outcome.value()).collect()
}

/// What comes of asking a server that acts so, and the requests it saw.
async fn asked(acts: Vec<Act>) -> (PartScore, usize) {
    let stub = Stub::start(acts).await;
    let score = judge(&config(&stub.url)).same("?", "five", "5").await;
    (score, stub.requests())
}

#[tokio::test]
async fn verdicts_are_values() {
    assert_eq!(asked(vec![Act::Say("{\"verdict\":\"yes\"}")]).await.0.outcome, Outcome::Value(1.0));
    assert_eq!(asked(vec![Act::Say("hm</think>{\"verdict\": \"no\"}")]).await.0.outcome, Outcome::Value(0.0));
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_the_others_keep_their_scores() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let judge = judge(&config(&stub.url));
    let answers = ["one red star", "two red stars", "Solution:", "one red star", "", "one red star"];
    let scores = scores(&judge, &red_star(), &answers).await;
    assert_eq!(values(&scores), [1.0, 0.0, 0.0, 1.0, 0.0, 1.0].map(Some));
    assert_eq!(stub.requests(), 2);
    let counts = judge.counts();
    assert_eq!((counts.calls, counts.failed, counts.cache_hits, counts.refused), (2, 0, 2, 2));
    assert_eq!((counts.prompt_tokens, counts.reply_tokens), (200, 40), "as the server says");
}

#[tokio::test]
async fn failures_are_shared_by_who_waits_and_not_kept() {
    let busy = JudgeConfig { max_tries: 1, ..config("http://127.0.0.1:9") };
    let stub = Stub::start(vec![Act::Status(503, ""), Act::Say("{\"verdict\":\"yes\"}")]).await;
    let judge = judge(&JudgeConfig { endpoint: stub.url.clone(), ..busy });
    let scores = join_all((0..8).map(|_| judge.same("?", "five", "5"))).await;
    assert!(scores.iter().all(|score| kind(score) == Some(FailureKind::Unreachable)));
    assert_eq!(stub.requests(), 1);
    assert_eq!(judge.same("?", "five", "5").await.outcome, Outcome::Value(1.0));
}

#[tokio::test]
async fn no_more_requests_at_a_time_than_allowed() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let judge = judge(&JudgeConfig { max_concurrency: 2, ..config(&stub.url) });
    let answers: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    let scores = join_all(answers.iter().map(|answer| judge.same("?", "3", answer))).await;
    assert_eq!(scores.iter().filter(|score| score.outcome.value() == Some(1.0)).count(), 1);
    assert!((1..=2).contains(&stub.most_at_a_time()));
}

#[tokio::test]
async fn calibration_tells_both_errors_apart() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let judge = judge(&config(&stub.url));
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
    let criterion = |name: &str| Criterion {
        name: name.to_owned(),
        text: "it is short".to_owned(),
        weight: 1.0,
        needs_image: false,
    };
    let criteria =
        |criteria: Vec<Criterion>| JudgeConfig { prompt: "criteria-v1".to_owned(), criteria, ..base.clone() };
    let budget = |budget: Budget| JudgeConfig { budget: Some(budget), ..base.clone() };
    let extra = |key: &str| [(key.to_owned(), json!(1))].into_iter().collect();
    assert!(refused(criteria(vec![criterion("short"), criterion("right")])).is_none());
    for (bad, word) in [
        (JudgeConfig { endpoint: "serve:judge".to_owned(), ..base.clone() }, "serve:judge"),
        (JudgeConfig { endpoint: "ftp://x".to_owned(), ..base.clone() }, "http://"),
        (JudgeConfig { endpoint: "nowhere".to_owned(), ..base.clone() }, "endpoint"),
        (JudgeConfig { more_endpoints: vec!["nowhere".to_owned()], ..base.clone() }, "endpoint"),
        (JudgeConfig { prompt: "x".to_owned(), ..base.clone() }, "same-v1"),
        (JudgeConfig { timeout_secs: f64::NAN, ..base.clone() }, "timeout_secs"),
        (JudgeConfig { max_concurrency: 0, ..base.clone() }, "max_concurrency"),
        (JudgeConfig { requests_per_minute: Some(0), ..base.clone() }, "requests_per_minute"),
        (JudgeConfig { max_canary_failures: 1.5, ..base.clone() }, "max_canary_failures"),
        (JudgeConfig { canary_share: -0.1, ..base.clone() }, "canary_share"),
        (JudgeConfig { votes: 2, temperature: 1.0, ..base.clone() }, "odd"),
        (JudgeConfig { votes: 3, ..base.clone() }, "temperature"),
        (JudgeConfig { cache: " ".to_owned(), ..base.clone() }, "cache"),
        (JudgeConfig { extra_body: extra("seed"), ..base.clone() }, "extra_body.seed"),
        (JudgeConfig { against: Some("x".to_owned()), ..base.clone() }, "pairwise-v1"),
        (JudgeConfig { criteria: vec![criterion("short")], ..base.clone() }, "criteria-v1"),
        (criteria(Vec::new()), "criteria must be given"),
        (criteria(vec![criterion("short"), criterion("short")]), "twice"),
        (criteria(vec![criterion("Too Short")]), "a-z"),
        (criteria(vec![Criterion { weight: 0.0, ..criterion("short") }]), "above 0"),
        (budget(Budget { calls: Some(0), ..Budget::default() }), "budget"),
        (budget(Budget { price: Some(1.0), ..Budget::default() }), "prompt_price"),
        (JudgeConfig { api_key_env: Some("SAPO_NO_SUCH_KEY".to_owned()), ..base.clone() }, "SAPO_NO_SUCH_KEY"),
    ] {
        let said = refused(bad);
        assert!(said.as_ref().is_some_and(|error| error.contains(word)), "{word}: {said:?}");
    }
    for (key, near) in [("max_canary_failure", "max_canary_failures"), ("kache", "cache")] {
        let read = serde_json::from_value::<JudgeConfig>(json!({key: 1}));
        assert!(read.unwrap_err().to_string().contains(near), "{key}");
    }
}
