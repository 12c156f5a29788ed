//! Sessions: requests that join and leave, a cache that is too small, long prompts, turns of others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use proptest::prelude::*;
use sapo_datasets::{Role, StopReason};
use sapo_policies::processor::{ChatMessage, ChatOptions};
use sapo_policies::{Batch, Cache, Completion, Group as Packed, Model, Policy, PolicyInput, Trace};
use sapo_rollouts::{Engine, Event, Follow, LocalEngine, Next, Request, Rollout, Sampling, Turn, sample_all};
use serde_json::json;

use super::{MODELS, golden, ids, request, tiny};

/// A prompt of so many text tokens.
fn text(tokens: usize, seed: u32) -> PolicyInput {
    PolicyInput::of_text((0..tokens as u32).map(|at| (at * 31 + seed * 7 + at * at) % 300).collect())
}

fn blocks(policy: &Policy, count: usize) -> usize {
    count * Cache::block_bytes(&policy.config)
}

fn answered(engine: &LocalEngine, policy: &Policy, requests: &[Request]) -> Vec<Vec<Rollout>> {
    let groups = sample_all(engine, policy, requests).expect("samples");
    groups.into_iter().map(|group| group.expect("every request is answered")).collect()
}

/// The largest difference between recorded log-probs and those of one packed pass.
fn gap(policy: &Policy, requests: &[Request], groups: &[Vec<Rollout>]) -> f32 {
    let temperature = requests[0].sampling.temperature;
    let answers: Vec<Vec<Completion>> =
        groups.iter().map(|group| group.iter().map(Rollout::completion).collect()).collect();
    let packed: Vec<Packed<'_>> = requests
        .iter()
        .zip(&answers)
        .map(|(request, some)| Packed { prompt: &request.prompt, completions: some })
        .collect();
    let batch = Batch::groups(&packed, policy.config.vision.spatial_merge_size).expect("packs");
    // As the trainer computes them, with a graph.
    let tracked = policy.tracked();
    let hidden = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
    let trainer = tracked.score(hidden, &batch.targets, temperature).log_probs().to_vec();
    let sampler: Vec<f32> = groups.iter().flatten().flat_map(Rollout::log_probs).collect();
    assert_eq!(trainer.len(), sampler.len());
    trainer.iter().zip(&sampler).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Prompts longer than what is read in one step, short ones, and a picture, in a cache that holds a part of them, with
/// fewer places than samples: the same tokens and log-probs as with room for all.
#[test]
fn a_full_cache_changes_nothing() {
    for model in MODELS {
        let policy = tiny(model);
        let picture = golden(model, "image", &policy).0;
        let sampling = Sampling::at(1.0, 40);
        let requests = [
            request("long", text(700, 1), 3, &sampling),
            request("short", text(5, 2), 6, &sampling),
            request("picture", picture, 4, &sampling),
        ];
        let wide = LocalEngine::new(&[7], 64);
        let free = answered(&wide, &policy, &requests);
        for (places, count) in [(64, 50), (5, 60), (1, 49)] {
            let narrow = LocalEngine::new(&[7], places).with_cache_bytes(blocks(&policy, count));
            assert_eq!(answered(&narrow, &policy, &requests), free, "{model}: {places} places, {count} blocks");
        }
        let mut session = LocalEngine::new(&[7], 64).with_cache_bytes(blocks(&policy, 50));
        session.publish(&policy, 0).expect("nothing to hand over");
        let mut session = session.session(&policy);
        for request in &requests {
            session.submit(request.clone());
        }
        while !session.is_idle() {
            session.step(&mut |_| {}).expect("steps");
            assert!(session.load().used_blocks <= 50);
        }
        assert!(session.load().evicted > 0, "the cache was never full");
        assert_eq!(session.load().used_blocks, 0, "all blocks came back");
    }
}

/// A request that could never fit is refused with the remedy, and the others are answered.
#[test]
fn what_cannot_fit_is_refused() {
    let policy = tiny("dense");
    let requests = [
        request("large", text(500, 1), 1, &Sampling::greedy(8)),
        request("small", text(20, 1), 1, &Sampling::greedy(8)),
    ];
    let engine = LocalEngine::new(&[], 8).with_cache_bytes(blocks(&policy, 16));
    let groups = sample_all(&engine, &policy, &requests).expect("samples");
    assert!(groups[0].as_ref().is_err_and(|reason| reason.contains("give the cache more")), "{groups:?}");
    assert_eq!(groups[1].as_ref().map(|group| group[0].sampled()), Ok(8));
    let beyond = request("beyond", PolicyInput::of_text(vec![1, 4000]), 1, &Sampling::greedy(1));
    let groups = sample_all(&engine, &policy, &[beyond]).expect("samples");
    assert!(groups[0].as_ref().is_err_and(|reason| reason.contains("4000")), "{groups:?}");
}

/// While a long prompt is read, those who run go on: no step reads more than its share.
#[test]
fn a_long_prompt_does_not_stall_the_others() {
    let policy = tiny("dense");
    let engine = LocalEngine::new(&[], 8);
    let mut session = engine.session(&policy);
    let first = session.submit(request("first", text(10, 1), 1, &Sampling::greedy(30)));
    let mut tokens = BTreeMap::new();
    let mut step = |session: &mut sapo_rollouts::Session<'_>| {
        session
            .step(&mut |event| {
                if let Event::Token { request, .. } = event {
                    *tokens.entry(request).or_insert(0) += 1;
                }
            })
            .expect("steps");
        tokens.clone()
    };
    step(&mut session);
    step(&mut session);
    let second = session.submit(request("second", text(3000, 2), 1, &Sampling::greedy(2)));
    let before = step(&mut session)[&first];
    let mut steps = 0;
    let seen = loop {
        let seen = step(&mut session);
        steps += 1;
        if seen.contains_key(&second) {
            break seen;
        }
    };
    assert_eq!(seen[&first] - before, steps, "one token a step");
    assert!(steps >= 5, "3,000 tokens were read in {steps} steps");
}

#[test]
fn cancelled_requests_leave_nothing_behind() {
    let policy = tiny("dense");
    let engine = LocalEngine::new(&[], 4);
    let mut session = engine.session(&policy);
    let numbers: Vec<usize> =
        (0..4).map(|at| session.submit(request(&at.to_string(), text(40, at), 3, &Sampling::greedy(20)))).collect();
    let refused = session.submit(request("empty", PolicyInput::of_text(Vec::new()), 1, &Sampling::greedy(1)));
    session.cancel(refused);
    session.step(&mut |event| assert!(!matches!(event, Event::Failed { .. }))).expect("steps");
    session.step(&mut |_| {}).expect("steps");
    session.cancel(numbers[0]);
    session.cancel(numbers[2]);
    let mut ended = BTreeMap::new();
    while !session.is_idle() {
        session
            .step(&mut |event| match event {
                Event::Ended { request, .. } => *ended.entry(request).or_insert(0) += 1,
                Event::Token { request, .. } => assert!(request != numbers[0] && request != numbers[2]),
                Event::Failed { .. } => {}
            })
            .expect("steps");
    }
    assert_eq!(ended, BTreeMap::from([(numbers[1], 3), (numbers[3], 3)]));
    assert_eq!(session.load().used_blocks, 0);
}

/// A sample that is cut has the tokens that it had; the others of its group are none the wiser.
#[test]
fn a_cut_sample_ends_with_what_it_has() {
    let policy = tiny("dense");
    let engine = LocalEngine::new(&[], 4);
    let answers = |cut: Option<usize>| {
        let mut session = engine.session(&policy);
        session.submit(request("a", text(20, 1), 3, &Sampling::at(1.0, 12)));
        let (mut seen, mut ended) = ([0_usize; 3], BTreeMap::new());
        while !session.is_idle() {
            let mut take = |event: Event| match event {
                Event::Token { sample, .. } => seen[sample] += 1,
                Event::Ended { rollout, .. } => drop(ended.insert(rollout.sample, rollout)),
                Event::Failed { reason, .. } => panic!("{reason}"),
            };
            session.step(&mut take).expect("steps");
            if let Some(tokens) = cut
                && seen[1] == tokens
            {
                session.cut(0, 1, &mut |event| {
                    if let Event::Ended { rollout, .. } = event {
                        ended.insert(rollout.sample, rollout);
                    }
                });
            }
        }
        assert_eq!(session.load().used_blocks, 0);
        ended
    };
    let (whole, cut) = (answers(None), answers(Some(5)));
    let ids = |rollout: &Rollout| rollout.ids().collect::<Vec<u32>>();
    assert_eq!(ids(&cut[&1]), ids(&whole[&1])[..5]);
    assert_eq!(cut[&1].stop, StopReason::Length);
    for sample in [0, 2] {
        assert_eq!(ids(&cut[&sample]), ids(&whole[&sample]));
    }
}

/// Sixteen samples share the blocks of their prompt, and a picture is encoded once, whoever shows it.
#[test]
fn a_group_holds_its_prompt_once() {
    let policy = tiny("dense");
    let engine = LocalEngine::new(&[], 64);
    let mut session = engine.session(&policy);
    session.submit(request("a", text(33, 1), 16, &Sampling::greedy(4)));
    let mut most = 0;
    while !session.is_idle() {
        session.step(&mut |_| {}).expect("steps");
        most = most.max(session.load().used_blocks);
    }
    // 32 tokens of the prompt are two full blocks; each sample's own four tokens are one.
    assert_eq!(most, 2 + 16);
    let picture = golden("dense", "image", &policy).0;
    let count = picture.pictures().len();
    for name in ["b", "c"] {
        session.submit(request(name, picture.clone(), 5, &Sampling::greedy(4)));
    }
    while !session.is_idle() {
        session.step(&mut |_| {}).expect("steps");
    }
    assert_eq!(session.load().pictures_seen, count);
}

/// Answers each turn of the policy with a text and a picture, twice; a third time it ends.
struct Twice {
    inputs: [PolicyInput; 2],
    asked: AtomicUsize,
}

impl Follow for Twice {
    fn follow(&self, _: usize, turns: &[Turn]) -> Next {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let said = turns.iter().filter(|turn| turn.is_sampled()).count();
        match self.inputs.get(said - 1) {
            Some(input) => Next::Turn { role: Role::Tool, input: input.clone() },
            None => Next::End,
        }
    }
}

/// Several turns with a picture in the middle: injected tokens are in no loss, the cache goes on from turn to turn, and
/// the trainer's log-probs are the sampler's, bit for bit, with room for all and in a cache that is too small.
#[test]
fn rollouts_of_several_turns_are_what_the_trainer_sees() {
    for model in MODELS {
        let policy = tiny(model);
        let picture = golden(model, "image", &policy).0;
        let stop_ids: Vec<u32> = (0..40).collect();
        let asked = |name: &str| {
            let inputs = [picture.clone(), text(9, 3)];
            let follow: Arc<dyn Follow> = Arc::new(Twice { inputs, asked: AtomicUsize::new(0) });
            Request { follow: Some(follow), ..request(name, text(21, 1), 4, &Sampling::at(1.0, 120)) }
        };
        let requests = [asked("a"), asked("b")];
        let groups = answered(&LocalEngine::new(&stop_ids, 64), &policy, &requests);
        let turns: Vec<usize> = groups.iter().flatten().map(|rollout| rollout.turns.len()).collect();
        assert!(turns.iter().all(|count| count % 2 == 1) && turns.contains(&5), "{turns:?}");
        assert_eq!(gap(&policy, &requests, &groups), 0.0, "{model}");
        let small = LocalEngine::new(&stop_ids, 8).with_cache_bytes(blocks(&policy, 36));
        assert_eq!(answered(&small, &policy, &requests), groups, "{model}");
    }
}

/// What follows may fail or panic: the rollout ends with an error, the others go on.
#[test]
fn a_follower_that_fails_ends_its_rollout() {
    struct Failing;
    impl Follow for Failing {
        fn follow(&self, sample: usize, _: &[Turn]) -> Next {
            match sample {
                0 => Next::Fail("no tool".to_owned()),
                1 => panic!("a fault of the tool"),
                2 => Next::Turn { role: Role::Tool, input: PolicyInput::of_text(Vec::new()) },
                _ => Next::End,
            }
        }
    }
    let policy = tiny("dense");
    let stop_ids: Vec<u32> = (0..600).collect();
    let request = Request { follow: Some(Arc::new(Failing)), ..request("a", text(8, 1), 4, &Sampling::greedy(5)) };
    let groups = answered(&LocalEngine::new(&stop_ids, 8), &policy, &[request]);
    let stops: Vec<StopReason> = groups[0].iter().map(|rollout| rollout.stop).collect();
    assert_eq!(stops, [StopReason::Error, StopReason::Error, StopReason::Error, StopReason::Eos]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Prompts and groups of any sizes, places and blocks: every sample is what it is alone, and every log-prob the trainer's.
    #[test]
    fn a_sample_is_what_it_is_alone(
        shapes in prop::collection::vec((1_usize..60, 1_usize..5, 1_usize..30), 1..5),
        (places, spare) in (1_usize..9, 0_usize..20),
    ) {
        let policy = tiny("dense");
        let requests: Vec<Request> = shapes
            .iter()
            .enumerate()
            .map(|(at, (tokens, samples, new))| request(&at.to_string(), text(*tokens, at as u32), *samples, &Sampling::at(1.0, *new)))
            .collect();
        let engine = LocalEngine::new(&[5], places).with_cache_bytes(blocks(&policy, 7 + spare));
        let together = answered(&engine, &policy, &requests);
        prop_assert_eq!(gap(&policy, &requests, &together), 0.0);
        for (request, group) in requests.iter().zip(&together) {
            let alone = answered(&LocalEngine::new(&[5], 1), &policy, std::slice::from_ref(request));
            prop_assert_eq!(alone[0].iter().map(ids).collect::<Vec<_>>(), group.iter().map(ids).collect::<Vec<_>>());
        }
    }
}

/// The preset, as the trainer sees it, with pictures of several sizes in one batch: not a bit differs.
#[test]
fn pictures_of_any_sizes_leave_no_gap() {
    let model = Model::open("tiny", 1, &Device::flex()).expect("the preset opens");
    let asked = |side: u32| {
        let colour = |x: u32, y: u32| image::Rgb([(x * 3) as u8, (y * 5) as u8, (x ^ y) as u8]);
        let content = json!([{"type": "image"}, {"type": "text", "text": "what?"}]);
        let message = ChatMessage { role: "user".to_owned(), content, tool_calls: None };
        let options = ChatOptions { add_generation_prompt: true, tools: Vec::new() };
        let picture = image::RgbImage::from_fn(side, side + 32, colour);
        request(
            &side.to_string(),
            model.processor.encode(&[message], &[picture], &options).expect("encodes"),
            4,
            &Sampling::at(0.8, 24),
        )
    };
    let requests = [64, 96, 128, 160].map(asked);
    let groups = answered(&LocalEngine::new(&[7], 64), &model.policy, &requests);
    assert_eq!(gap(&model.policy, &requests, &groups), 0.0);
}
