//! The fault table of judges: in every row the other items keep their scores, and the bad ones are failed, not 0.

use std::time::Duration;

use super::stub::{nobody, reply};
use super::*;

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    let yes = Act::Say("{\"verdict\":\"yes\"}");
    for first in [
        Act::Status(500, ""),
        Act::Status(503, ""),
        Act::Status(429, "retry-after: 2\r\n"),
        Act::Status(408, ""),
        half_a_reply(),
        Act::Raw(String::new()),
        Act::Say("I think so"),
        Act::Say("{\"verdict\":\"perhaps\"}"),
        Act::Raw(reply(200, "", "{\"choices\": [")),
    ] {
        let (score, requests) = asked(vec![first, yes.clone()]).await;
        assert_eq!((score.outcome, requests), (Outcome::Value(1.0), 2));
    }
}

fn half_a_reply() -> Act {
    Act::Raw("HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [".to_owned())
}

#[tokio::test]
async fn one_bad_item_fails_and_the_others_keep_their_exact_scores() {
    use FailureKind::{Protocol, Timeout, Unreachable};
    let rows = [
        ("500s", Act::Status(500, ""), Unreachable, 5),
        ("429 storm", Act::Status(429, "retry-after: 1\r\n"), Unreachable, 5),
        ("half a reply", half_a_reply(), Unreachable, 5),
        ("half a JSON", Act::Raw(reply(200, "", "{\"choices\": [{\"message\"")), Protocol, 3),
        ("half a verdict", Act::Say("{\"verdict\": \"ye"), Protocol, 3),
        ("a number for a verdict", Act::Say("5 of 10, yes"), Protocol, 3),
        ("endless stream", Act::Endless, Protocol, 3),
        ("no reply", Act::Hang, Timeout, 5),
    ];
    for (row, bad, wanted, tries) in rows {
        let hangs = matches!(bad, Act::Hang);
        let stub = Stub::start(vec![Act::Only("two bad stars", Box::new(bad))]).await;
        let timeout_secs = if hangs { 0.05 } else { 20.0 };
        let judge = judge(&JudgeConfig { max_concurrency: 64, timeout_secs, ..config(&stub.url) });
        let answers = ["one red star", "two bad stars", "two red stars", "Solution:", "one red star", "one blue star"];
        let scores = scores(&judge, &red_star(), &answers).await;
        assert_eq!(values(&scores), [Some(1.0), None, Some(0.0), Some(0.0), Some(1.0), Some(0.0)], "{row}");
        assert_eq!(kind(&scores[1]), Some(wanted), "{row}: {}", message(&scores[1]));
        assert_eq!(stub.requests(), 3 + tries, "{row}");
        assert_eq!((judge.counts().failed, judge.stopped()), (1, None), "{row}: the run may go on");
    }
}

#[tokio::test]
async fn a_storm_of_429_is_waited_out_as_long_as_the_server_asks() {
    // Eight requests at a time are turned away twice each.
    let mut acts = vec![Act::Status(429, "retry-after: 7\r\n"); 16];
    acts.push(Act::Judge);
    let stub = Stub::start(acts).await;
    let judge = judge(&config(&stub.url));
    let answers: Vec<String> = (0..8).map(|number| number.to_string()).collect();
    let scores = join_all(answers.iter().map(|answer| judge.same("?", "3", answer))).await;
    let right: Vec<Option<f64>> = (0..8).map(|number| Some(f64::from(u8::from(number == 3)))).collect();
    assert_eq!(values(&scores), right);
    assert_eq!(stub.requests(), 24);
    assert!(judge.client.time().skipped() >= Duration::from_secs(7));
}

#[tokio::test]
async fn a_pause_that_a_server_asks_for_has_a_cap_and_counts_towards_the_deadline() {
    let storm = || vec![Act::Status(429, "retry-after: 3600\r\n")];
    let stub = Stub::start(storm()).await;
    let capped = judge(&JudgeConfig { max_retry_after_secs: 20.0, ..config(&stub.url) });
    let score = capped.same("?", "five", "5").await;
    assert_eq!((kind(&score), stub.requests()), (Some(FailureKind::Unreachable), 5));
    let waited = capped.client.time().skipped().as_secs_f64();
    assert!((waited - 80.0).abs() < 1.0, "four pauses of 20 s: {waited}");

    let stub = Stub::start(storm()).await;
    let hasty = judge(&JudgeConfig { deadline_secs: 50.0, ..config(&stub.url) });
    let score = hasty.same("?", "five", "5").await;
    assert_eq!((kind(&score), stub.requests()), (Some(FailureKind::Timeout), 2));
    assert!(message(&score).contains("no verdict within 50 s"), "{}", message(&score));
}

#[tokio::test]
async fn the_seed_decides_about_pauses() {
    let waited = |seed| async move {
        let stub = Stub::start(vec![Act::Status(500, "")]).await;
        let judge = judge(&JudgeConfig { seed, retry_base_secs: 1.0, ..config(&stub.url) });
        judge.same("?", "five", "5").await;
        // Milliseconds: the requests themselves take real time, which is not skipped.
        judge.client.time().skipped().as_millis() / 100
    };
    let (one, again, other) = (waited(1).await, waited(1).await, waited(2).await);
    assert!(one.abs_diff(again) <= 1 && one != other, "{one} {again} {other}");
}

#[tokio::test]
async fn a_refusing_server_stops_the_run_with_the_reason() {
    for status in [400, 401, 403, 404, 422] {
        let stub = Stub::start(vec![Act::Judge, Act::Status(status, ""), Act::Judge]).await;
        let judge = judge(&config(&stub.url));
        assert_eq!(values(&scores(&judge, &red_star(), &["one red star"]).await), [Some(1.0)]);
        assert_eq!(judge.stopped(), None);
        let refused = scores(&judge, &red_star(), &["two red stars", "one red star"]).await;
        assert_eq!(kind(&refused[0]), Some(FailureKind::Unavailable));
        assert_eq!(refused[1].outcome, Outcome::Value(1.0), "what is known stays known");
        let reason = judge.stopped().unwrap();
        assert!(reason.contains(&status.to_string()) && reason.contains("told so"), "{reason}");
        // Nothing is asked any more.
        let after = scores(&judge, &red_star(), &["two blue stars"]).await;
        assert_eq!((kind(&after[0]), stub.requests()), (Some(FailureKind::Unavailable), 2));
    }
}

#[tokio::test]
async fn a_server_of_another_model_is_told_at_the_start_and_in_every_reply() {
    let list = reply(200, "", &json!({"data": [{"id": "llama"}, {"id": "qwen"}]}).to_string());
    let stub = Stub::with_models(vec![Act::Judge], list).await;
    let said = judge(&config(&stub.url)).reach().await.unwrap_err().to_string();
    assert!(said.contains("rewards.same") && said.contains("serves llama, qwen, but not"), "{said}");

    // One that changes while it serves: earlier scores stand, the others fail, the run stops.
    let stub = Stub::start(vec![Act::Judge, Act::JudgeAs("llama")]).await;
    let other = judge(&config(&stub.url));
    other.reach().await.unwrap();
    let (first, second) =
        (scores(&other, &red_star(), &["one red star"]).await, scores(&other, &red_star(), &["two red stars"]).await);
    assert_eq!((values(&first), kind(&second[0])), (vec![Some(1.0)], Some(FailureKind::Unavailable)));
    let reason = other.stopped().unwrap();
    assert!(reason.contains("`llama`") && reason.contains("`judge`") && reason.contains("served_model"), "{reason}");

    let named = judge(&JudgeConfig { served_model: Some("llama".to_owned()), ..config(&stub.url) });
    assert_eq!(values(&scores(&named, &red_star(), &["one red star"]).await), [Some(1.0)]);
}

#[tokio::test]
async fn no_server_and_a_refused_key_are_told_at_the_start() {
    let url = nobody().await;
    let judge_of = |url: &str| judge(&config(url));
    let said = judge_of(&url).reach().await.unwrap_err().to_string();
    assert!(said.contains("cannot be reached") && said.contains("start the server"), "{said}");
    let score = judge_of(&url).same("?", "five", "5").await;
    assert_eq!(kind(&score), Some(FailureKind::Unreachable));
    assert!(message(&score).contains("is the judge running?"), "{}", message(&score));
    let stub = Stub::with_models(vec![Act::Judge], reply(401, "", "{}")).await;
    let said = judge_of(&stub.url).reach().await.unwrap_err().to_string();
    assert!(said.contains("401") && said.contains("api_key_env"), "{said}");
}

#[tokio::test]
async fn one_server_of_several_may_be_down() {
    let (one, faulty) = (Stub::start(vec![Act::Judge]).await, Stub::start(vec![Act::Status(503, "")]).await);
    let more_endpoints = vec![nobody().await, faulty.url.clone()];
    let judge = judge(&JudgeConfig { more_endpoints, ..config(&one.url) });
    judge.reach().await.unwrap();
    assert!(judge.take_notes()[0].contains("cannot be reached"));
    let answers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    for answer in &answers {
        let score = judge.same("?", "3", answer).await;
        assert_eq!(score.outcome, Outcome::Value(f64::from(u8::from(answer == "3"))));
    }
    assert_eq!(one.requests(), 40);
    assert!(faulty.requests() < 10, "it rests: {}", faulty.requests());
}

#[tokio::test]
async fn servers_of_different_revisions_are_no_one_judge() {
    let list = |revision: &str| {
        let models = json!({"data": [{"id": "judge", "created": revision.len(), "revision": revision}]});
        reply(200, "", &models.to_string())
    };
    let one = Stub::with_models(vec![Act::Judge], list("a")).await;
    let same = Stub::with_models(vec![Act::Judge], list("a")).await;
    let other = Stub::with_models(vec![Act::Judge], list("bc")).await;
    let both = |more: &Stub| judge(&JudgeConfig { more_endpoints: vec![more.url.clone()], ..config(&one.url) });
    both(&same).reach().await.unwrap();
    let said = both(&other).reach().await.unwrap_err().to_string();
    assert!(said.contains("verdicts would differ"), "{said}");
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_and_never_scores_zero() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let budget = Budget { calls: Some(5), ..Budget::default() };
    let judge = judge(&JudgeConfig { budget: Some(budget), ..config(&stub.url) });
    let mut notes = 0;
    for number in 0..5 {
        assert!(judge.same("?", "3", &number.to_string()).await.outcome.value().is_some());
        notes += judge.take_notes().iter().filter(|note| note.contains("nearly used up")).count();
    }
    assert_eq!((notes, judge.stopped()), (1, None));
    let score = judge.same("?", "3", "6").await;
    assert_eq!((kind(&score), stub.requests()), (Some(FailureKind::Unavailable), 5));
    assert!(judge.stopped().unwrap().contains("5 of 5 calls"));
    assert_eq!(judge.same("?", "3", "3").await.outcome, Outcome::Value(1.0), "what is known costs nothing");
}

#[tokio::test]
async fn requests_and_tokens_of_a_minute_are_spread() {
    let stub = Stub::start(vec![Act::Judge]).await;
    let ask = async |config: JudgeConfig| {
        let judge = judge(&config);
        let answers: Vec<String> = (0..30).map(|number| number.to_string()).collect();
        for answer in &answers {
            assert!(judge.same("?", "3", answer).await.outcome.value().is_some());
        }
        judge.client.time().skipped().as_secs_f64()
    };
    // Ten a minute: one at once, the others by nine a minute.
    let waited = ask(JudgeConfig { requests_per_minute: Some(10), ..config(&stub.url) }).await;
    assert!((190.0..200.0).contains(&waited), "{waited}");
    // 30 exchanges of 120 tokens, as the server counts them, of 1200 a minute: 120 at once, the rest by 1080 a minute.
    let waited = ask(JudgeConfig { tokens_per_minute: Some(1200), max_tokens: 80, ..config(&stub.url) }).await;
    assert!((180.0..200.0).contains(&waited), "{waited}");
}
