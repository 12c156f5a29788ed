//! Servers that fail: no rollout is lost, none comes twice, and none is believed that cannot be true.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use sapo_rollouts::{Engine, EngineConfig, EngineKind, Event, Request, Sampling};
use serde_json::{Value, json};

use crate::kinds::{Sglang, Vllm};
use crate::mock::{Fault, Mock};
use crate::{complete, config, engine, model, request, requests, sample};

fn both() -> [(EngineKind, Mock); 2] {
    [(EngineKind::Vllm, Mock::start(Vllm::of_text())), (EngineKind::Sglang, Mock::start(Sglang::of_text()))]
}

fn generations(server: &Mock) -> usize {
    server.state.count("/generate") + server.state.count("/v1/completions")
}

#[test]
fn requests_are_sent_again_after_every_passing_fault() {
    for (kind, server) in both() {
        let faults = [
            Fault::Status(429, None),
            Fault::Status(429, Some("0.01")),
            Fault::Status(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
            Fault::Status(500, None),
            Fault::Status(502, None),
            Fault::Cut,
            Fault::None,
            Fault::Stall,
            Fault::Cut,
        ];
        let passing = faults.iter().filter(|fault| !matches!(fault, Fault::None)).count();
        server.state.plan(faults);
        let requests = requests(3, 4);
        let config = EngineConfig { timeout_secs: 0.5, ..config(kind, &[&server]) };
        complete(kind, &requests, &sample(&engine(&config), &requests).expect("samples"));
        assert_eq!(generations(&server), 12 + passing, "every fault costs one request");
        server.content();
    }
}

/// A server that asks for a pause gets it, though its own pauses would be shorter.
#[test]
fn retry_after_is_honoured() {
    let server = Mock::start(Sglang::of_text());
    server.state.plan([Fault::Status(429, Some("0.1"))]);
    let requests = requests(1, 1);
    let started = std::time::Instant::now();
    let config = config(EngineKind::Sglang, &[&server]);
    complete(EngineKind::Sglang, &requests, &sample(&engine(&config), &requests).expect("samples"));
    assert!(started.elapsed().as_secs_f64() >= 0.1);
}

/// One of two servers dies with requests in flight; it forgets its weights, and comes back.
#[test]
fn a_server_that_dies_loses_no_rollout_and_is_asked_again_when_it_is_back() {
    let (mut dying, other) = (Mock::start(Sglang::of_text()), Mock::start(Sglang::of_text()));
    let folder = tempfile::tempdir().expect("a folder");
    let config = EngineConfig {
        weights_dir: Some(folder.path().to_owned()),
        max_in_flight: 2,
        ..config(EngineKind::Sglang, &[&dying, &other])
    };
    let engine = engine(&config);
    // It takes requests and answers none of them.
    dying.state.hold.store(1000, Ordering::SeqCst);
    let (requests, mut ended) = (requests(6, 4), Vec::new());
    let told = &mut |event: Event| {
        let Event::Ended { request, rollout } = event else { panic!("{event:?}") };
        assert_eq!(rollout.policy_version, 0);
        ended.push((request, rollout.sample));
        dying.stop();
        ControlFlow::Continue(())
    };
    engine.sample(&model().policy, &requests, told).expect("samples");
    ended.sort_unstable();
    let all: Vec<(usize, usize)> = (0..6).flat_map(|request| (0..4).map(move |sample| (request, sample))).collect();
    assert_eq!(ended, all, "each once");
    assert_eq!(other.state.count("/generate"), 24, "all of them from the other one");
    dying.state.hold.store(0, Ordering::SeqCst);
    dying.restart();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !engine.take_notes().iter().any(|note| note.contains(&dying.url()) && note.contains("is back")) {
        assert!(std::time::Instant::now() < until, "nobody looks after it");
        std::thread::yield_now();
    }
    assert_eq!(dying.state.count("/update_weights_from_disk"), 2, "it was given what it had forgotten");
    let before = dying.state.count("/generate");
    complete(EngineKind::Sglang, &requests, &sample(&engine, &requests).expect("samples"));
    assert!(dying.state.count("/generate") > before, "it is asked again");
    dying.content();
    other.content();
}

#[test]
fn a_server_that_was_started_anew_unseen_is_found_by_its_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Mock::start(Sglang::of_text());
    let config = EngineConfig { weights_dir: Some(folder.path().to_owned()), ..config(EngineKind::Sglang, &[&server]) };
    let engine = engine(&config);
    // The first answer comes from other weights: it is not used, and the server is given them again.
    server.state.plan([Fault::Changed(|answer| answer["meta_info"]["weight_version"] = json!("default"))]);
    let requests = requests(2, 2);
    complete(EngineKind::Sglang, &requests, &sample(&engine, &requests).expect("samples"));
    assert_eq!(server.state.count("/update_weights_from_disk"), 2);
    let notes = engine.take_notes().join("\n");
    assert!(notes.contains("version default, and was given 0") && notes.contains(&server.url()), "{notes}");
    server.content();
}

#[test]
fn when_all_are_gone_for_too_long_the_engine_names_each_with_its_last_fault() {
    let (mut one, two) = (Mock::start(Vllm::of_text()), Mock::start(Vllm::of_text()));
    one.stop();
    two.state.plan(vec![Fault::Status(429, None); 100_000]);
    let config = EngineConfig { gone_secs: 0.05, ..config(EngineKind::Vllm, &[&one, &two]) };
    let error = sample(&engine(&config), &requests(2, 2)).expect_err("nobody answers").to_string();
    for word in [one.url(), two.url(), "429".to_owned(), "was lost".to_owned()] {
        assert!(error.contains(&word), "{word}: {error}");
    }
}

/// A request that no server can answer fails alone, by name, after so many tries.
#[test]
fn a_request_that_always_fails_ends_alone() {
    let server = Mock::start(Vllm::of_text());
    server.state.plan([Fault::Status(400, None)]);
    let config = EngineConfig { max_in_flight: 1, ..config(EngineKind::Vllm, &[&server]) };
    let requests = requests(3, 1);
    let groups = sample(&engine(&config), &requests).expect("samples");
    let failed: Vec<usize> = (0..3).filter(|at| groups[*at].is_err()).collect();
    assert_eq!(failed.len(), 1);
    let rest: Vec<usize> = (0..3).filter(|at| !failed.contains(at)).collect();
    for at in rest {
        complete(EngineKind::Vllm, &requests[at..=at], &groups[at..=at]);
    }
    assert!(groups[failed[0]].as_ref().unwrap_err().contains("400"));

    server.state.plan(vec![Fault::Status(500, None); 3]);
    let config = EngineConfig { max_tries: 3, ..config };
    let groups = sample(&engine(&config), &[request("a", 1)]).expect("samples");
    let reason = groups[0].as_ref().expect_err("three tries are all");
    assert!(reason.contains("3 times") && reason.contains("500"), "{reason}");
}

/// Of a request with a failed rollout nothing more is told, and the others are whole.
#[test]
fn a_failed_rollout_fails_its_request_once() {
    let server = Mock::start(Sglang::of_text());
    server.state.plan([Fault::None, Fault::Status(400, None)]);
    let config = EngineConfig { max_in_flight: 1, ..config(EngineKind::Sglang, &[&server]) };
    let asked = [request("a", 4)];
    let mut told = Vec::new();
    let events = &mut |event: Event| {
        told.push(matches!(event, Event::Failed { .. }));
        ControlFlow::Continue(())
    };
    engine(&config).sample(&model().policy, &asked, events).expect("samples");
    assert_eq!(told, [false, true]);
}

/// Two servers, one of which lies once: what it said is not used, it is not asked again, and people are told.
fn liar(kind: EngineKind, change: fn(&mut Value), word: &str) {
    let start = || match kind {
        EngineKind::Vllm => Mock::start(Vllm::of_text()),
        _ => Mock::start(Sglang::of_text()),
    };
    let (liar, honest) = (start(), start());
    liar.state.plan([Fault::Changed(change)]);
    let engine = engine(&EngineConfig { max_in_flight: 1, ..config(kind, &[&liar, &honest]) });
    let requests = requests(3, 2);
    complete(kind, &requests, &sample(&engine, &requests).expect("samples"));
    assert_eq!((generations(&liar), generations(&honest)), (1, 6), "{word}");
    let notes = engine.take_notes().join("\n");
    assert!(notes.contains(&liar.url()) && notes.contains(word), "`{word}` is not in `{notes}`");
    liar.content();
    honest.content();
}

#[test]
fn what_cannot_be_true_is_not_used() {
    use EngineKind::{Sglang, Vllm};
    liar(Vllm, |answer| answer["model"] = json!("another"), "the model `another`");
    liar(Vllm, |answer| answer["choices"][0]["token_ids"][0] = json!(19), "not its token ids");
    liar(Vllm, |answer| answer["choices"][0]["prompt_token_ids"][2] = json!(19), "token 3 differs");
    liar(Vllm, |answer| answer["choices"][0]["finish_reason"] = json!("tool_calls"), "tool_calls");
    liar(Vllm, |answer| answer["choices"][0]["logprobs"] = Value::Null, "no log-probs");
    liar(Vllm, |answer| answer["choices"][0]["logprobs"]["token_logprobs"][0] = json!(0.5), "0.5 as a log-prob");
    liar(Vllm, |answer| *answer = json!("<html>"), "not JSON");
    liar(Sglang, |answer| answer["output_ids"][0] = json!(19), "not its output_ids");
    liar(Sglang, |answer| answer["meta_info"]["prompt_tokens"] = json!(1), "prompt of 1 tokens");
    liar(Sglang, |answer| answer["meta_info"]["output_token_logprobs"] = json!([]), "not its output_ids");
    let unknown = |answer: &mut Value| {
        answer["output_ids"][0] = json!(4_000_000);
        answer["meta_info"]["output_token_logprobs"][0][1] = json!(4_000_000);
    };
    liar(Sglang, unknown, "token 4000000");
    let long = |answer: &mut Value| {
        let ids = vec![25; 50];
        answer["meta_info"]["output_token_logprobs"] = ids.iter().map(|id| json!([-0.5, id, null])).collect();
        answer["output_ids"] = json!(ids);
    };
    liar(Sglang, long, "50 tokens where 6 are the limit");
}

#[test]
fn a_server_that_gives_up_on_a_request_is_asked_again() {
    for (kind, server) in both() {
        server.state.plan([Fault::Changed(|answer| {
            answer["meta_info"]["finish_reason"] = json!({"type": "abort"});
            answer["choices"][0]["finish_reason"] = json!("abort");
        })]);
        // What the other kind reads does not disturb this one.
        let requests = requests(2, 1);
        complete(kind, &requests, &sample(&engine(&config(kind, &[&server])), &requests).expect("samples"));
        assert_eq!(generations(&server), 3);
    }
}

#[test]
fn empty_prompts_and_requests_without_samples_disturb_nobody() {
    let server = Mock::start(Vllm::of_text());
    let empty = Request {
        prompt: sapo_policies::PolicyInput::of_text(Vec::new()),
        sampling: Sampling::greedy(3),
        ..request("empty", 1)
    };
    let groups = sample(&engine(&config(EngineKind::Vllm, &[&server])), &[empty, request("none", 0)]).expect("samples");
    assert!(groups[0].is_err() && groups[1].as_ref().expect("nothing").is_empty());
    assert_eq!(generations(&server), 0);
}
