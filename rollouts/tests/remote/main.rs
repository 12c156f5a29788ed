//! Engines on servers, against doubles that take what the real ones take and nothing else: nothing is lost, nothing is
//! counted twice, and nothing is believed that does not agree.

mod dialects;
mod faults;
mod kinds;
mod mock;
mod weights;

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use sapo_policies::{Model, PolicyInput};
use sapo_rollouts::{
    Engine, EngineConfig, EngineError, EngineKind, Event, RemoteEngine, Request, Rollout, Sampling, Turn,
};
use sapo_rollouts::{sample_all, seed_of};

use crate::mock::{Mock, said};

/// One model for all tests: it is only read.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::open("tiny", 1, &Device::flex()).expect("a preset"))
}

/// A configuration whose pauses are over at once.
fn config(kind: EngineKind, servers: &[&Mock]) -> EngineConfig {
    EngineConfig {
        kind,
        endpoints: servers.iter().map(|server| server.url()).collect(),
        model: "base".to_owned(),
        timeout_secs: 20.0,
        retry_base_secs: 0.002,
        probe_secs: 0.005,
        gone_secs: 20.0,
        max_in_flight: 4,
        ..EngineConfig::default()
    }
}

fn engine(config: &EngineConfig) -> RemoteEngine {
    RemoteEngine::new(config, &model().processor).expect("an engine")
}

/// A prompt of text, which differs by name.
fn request(name: &str, samples: usize) -> Request {
    let ids = model().processor.tokenizer().encode(&format!("say {name} again")).expect("ids");
    let seeds = (0..samples).map(|sample| seed_of(7, "test", name, sample)).collect();
    let sampling = Sampling::at(1.0, 6);
    Request { query_id: name.to_owned(), prompt: PolicyInput::of_text(ids), seeds, sampling, follow: None }
}

fn requests(count: usize, samples: usize) -> Vec<Request> {
    (0..count).map(|number| request(&format!("q{number}"), samples)).collect()
}

/// The bits of a seed that a kind of server takes.
fn seed_at(kind: EngineKind, seed: u64) -> u64 {
    match kind {
        EngineKind::Vllm => seed & i64::MAX as u64,
        _ => seed & 0x7fff_ffff,
    }
}

/// That every rollout of every request is there once, and is what the scripted policy says.
fn complete(kind: EngineKind, requests: &[Request], groups: &[Result<Vec<Rollout>, String>]) {
    let stop = model().processor.stop_ids()[0];
    for (request, group) in requests.iter().zip(groups) {
        let group = group.as_ref().unwrap_or_else(|reason| panic!("{}: {reason}", request.query_id));
        assert_eq!(group.len(), request.seeds.len(), "{}", request.query_id);
        for ((sample, seed), rollout) in request.seeds.iter().enumerate().zip(group) {
            assert_eq!((rollout.sample, rollout.seed), (sample, *seed));
            let wanted = said(request.prompt.ids(), seed_at(kind, *seed), request.sampling.max_new_tokens, stop);
            assert_eq!(
                (rollout.ids().collect::<Vec<u32>>(), rollout.log_probs()),
                wanted,
                "{} {sample}",
                request.query_id
            );
        }
    }
}

fn sample(engine: &RemoteEngine, requests: &[Request]) -> Result<Vec<Result<Vec<Rollout>, String>>, EngineError> {
    sample_all(engine, &model().policy, requests)
}

/// A rollout is told while others are still being sampled: the last one waits until the first was told.
#[test]
fn rollouts_are_told_as_they_end() {
    let server = Mock::start(kinds::Sglang::of_text());
    let requests = requests(1, 3);
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = seed_at(EngineKind::Sglang, requests[0].seeds[0]);
    *server.state.gated.lock().expect("a lock") = Some((held, Arc::clone(&gate)));
    let mut order = Vec::new();
    let told = &mut |event: Event| {
        if let Event::Ended { rollout, .. } = event {
            order.push(rollout.sample);
            if order.len() == 2 {
                gate.notify_one();
            }
        }
        ControlFlow::Continue(())
    };
    engine(&config(EngineKind::Sglang, &[&server])).sample(&model().policy, &requests, told).expect("samples");
    order[..2].sort_unstable();
    assert_eq!(order, [1, 2, 0]);
    server.content();
}

/// Whoever has enough breaks off: a rollout that would never end is not waited for.
#[test]
fn a_sampling_that_is_broken_off_does_not_wait() {
    let server = Mock::start(kinds::Sglang::of_text());
    let requests = requests(1, 3);
    let held = seed_at(EngineKind::Sglang, requests[0].seeds[0]);
    *server.state.gated.lock().expect("a lock") = Some((held, Arc::default()));
    let mut ended = 0;
    let told = &mut |event: Event| {
        ended += usize::from(matches!(event, Event::Ended { .. }));
        if ended < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let engine = engine(&config(EngineKind::Sglang, &[&server]));
    engine.sample(&model().policy, &requests, told).expect("samples");
    assert_eq!(ended, 2);
    // The next sampling is whole: the places of what was dropped are free.
    *server.state.gated.lock().expect("a lock") = None;
    assert_eq!(sample(&engine, &requests).expect("samples")[0].as_ref().expect("an answer").len(), 3);
    server.content();
}

/// The first turn's ids and log-probs.
fn first(rollout: &Rollout) -> (&[u32], &[f32], &[f32]) {
    match &rollout.turns[0] {
        Turn::Sampled { ids, log_probs, untempered, .. } => (ids, log_probs, untempered),
        Turn::Injected { .. } => panic!("a rollout begins with the policy"),
    }
}
