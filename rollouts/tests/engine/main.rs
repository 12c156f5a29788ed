//! The local engine on a real checkpoint: greedy goldens, the gap to the trainer's log-probs, packing, and independence
//! of a sample from its batch.

mod session;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use sapo_datasets::StopReason;
use sapo_policies::golden::Case;
use sapo_policies::lora::Targets;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Group as Packed, LoraConfig, Policy, PolicyInput, Trace};
use sapo_rollouts::{Engine, Event, LocalEngine, Request, Rollout, Sampling, sample_all, seed_of};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

const MODELS: [&str; 2] = ["dense", "moe"];

fn tiny(model: &str) -> Policy {
    Policy::load(&fixtures().join(format!("tiny-{model}")), &Device::flex()).expect("the fixture loads")
}

fn golden(model: &str, kind: &str, policy: &Policy) -> (PolicyInput, Vec<u32>) {
    let case = Case::open(&fixtures().join(format!("cases-{model}/greedy.safetensors"))).expect("the golden case");
    let case = case.part(kind);
    let input = case.rows(&policy.config).expect("rows").inputs.remove(0);
    (input, case.ints("greedy_ids").expect("ids").iter().map(|id| *id as u32).collect())
}

fn request(id: &str, prompt: PolicyInput, samples: usize, sampling: &Sampling) -> Request {
    let seeds = (0..samples).map(|sample| seed_of(7, "test", id, sample)).collect();
    Request { query_id: id.to_owned(), prompt, seeds, sampling: sampling.clone(), follow: None }
}

fn run(policy: &Policy, stop_ids: &[u32], requests: &[Request]) -> Vec<Vec<Rollout>> {
    let groups = sample_all(&LocalEngine::new(stop_ids, 64), policy, requests).expect("samples");
    groups.into_iter().map(|group| group.expect("every request is answered")).collect()
}

fn ids(rollout: &Rollout) -> Vec<u32> {
    rollout.ids().collect()
}

/// One request that cannot be answered fails alone, and requests may want different limits.
#[test]
fn requests_fail_alone_and_keep_their_own_sampling() {
    let policy = tiny("dense");
    let prompt = golden("dense", "text", &policy).0;
    let requests = [
        request("a", prompt.clone(), 2, &Sampling::greedy(3)),
        request("empty", PolicyInput::of_text(Vec::new()), 2, &Sampling::greedy(3)),
        request("b", prompt, 2, &Sampling::greedy(7)),
    ];
    let (mut lengths, mut failed) = (Vec::new(), Vec::new());
    LocalEngine::new(&[], 64)
        .sample(&policy, &requests, &mut |event| {
            match event {
                Event::Token { .. } => {}
                Event::Ended { request, rollout } => lengths.push((request, rollout.sampled())),
                Event::Failed { request, .. } => failed.push(request),
            }
            ControlFlow::Continue(())
        })
        .expect("samples");
    lengths.sort_unstable();
    assert_eq!((lengths, failed), (vec![(0, 3), (0, 3), (2, 7), (2, 7)], vec![1]));
    // Broken off at the first end, nothing more is told.
    let mut ended = 0;
    let broken = &mut |event: Event| {
        assert_eq!(ended, 0, "{event:?} after the end");
        ended += usize::from(matches!(event, Event::Ended { .. }));
        if ended > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    LocalEngine::new(&[], 64).sample(&policy, &requests, broken).expect("samples");
    assert_eq!(ended, 1);
}

#[test]
fn greedy_answers_are_the_golden_ones() {
    for model in MODELS {
        let mut policy = tiny(model);
        policy.banned.clear();
        for kind in ["text", "image"] {
            let (prompt, golden) = golden(model, kind, &policy);
            let groups = run(&policy, &[], &[request(kind, prompt, 1, &Sampling::greedy(16))]);
            assert_eq!(ids(&groups[0][0]), golden, "{model} {kind}");
            assert_eq!(groups[0][0].stop, StopReason::Length);
        }
    }
}

/// Two prompts of different lengths, one with a picture, five samples each, ended by frequent stop tokens so that the
/// batch is compacted on the way.
fn sampled(policy: &Policy) -> (Vec<Request>, Vec<Vec<Rollout>>) {
    let prompt = |kind| golden("dense", kind, policy).0;
    let stop_ids: Vec<u32> = (0..60).collect();
    let sampling = Sampling::at(1.0, 24);
    let requests = [request("a", prompt("text"), 5, &sampling), request("b", prompt("image"), 5, &sampling)].to_vec();
    let groups = run(policy, &stop_ids, &requests);
    (requests, groups)
}

#[test]
fn the_trainer_gives_the_samplers_log_probs() {
    for model in MODELS {
        let mut policy = tiny(model);
        agrees(&policy);
        let targets = ["q_proj", "v_proj", "o_proj", "qkv", "linear_fc2"].map(str::to_owned).to_vec();
        let lora = LoraConfig { rank: 4, alpha: 8.0, targets: Targets::Names(targets), exclude: None, rslora: false };
        policy.add_lora(&lora, &[], 1).expect("an adapter");
        let bare = policy.clone();
        for param in policy.trained_mut() {
            let values: Vec<f32> = (0..param.value.shape().num_elements()).map(|at| (at as f32).sin() * 0.1).collect();
            param.value = Tensor::from_data(TensorData::new(values, param.value.dims()), &Device::flex());
        }
        agrees(&policy);
        let tokens = |policy: &Policy| ids(&sampled(policy).1[0][0]);
        assert_ne!(tokens(&policy), tokens(&bare), "the adapter is sampled with");
    }
}

fn agrees(policy: &Policy) {
    let (requests, groups) = sampled(policy);
    let answers: Vec<Vec<Completion>> =
        groups.iter().map(|group| group.iter().map(Rollout::completion).collect()).collect();
    let packed: Vec<Packed<'_>> = requests
        .iter()
        .zip(&answers)
        .map(|(request, some)| Packed { prompt: &request.prompt, completions: some })
        .collect();
    let batch = Batch::groups(&packed, 2).expect("packs");
    let tracked = policy.tracked();
    let hidden = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
    let trainer = tracked.score(hidden, &batch.targets, 1.0).log_probs().to_vec();
    let sampler: Vec<f32> = groups.iter().flatten().flat_map(Rollout::log_probs).collect();
    assert_eq!(trainer.len(), sampler.len());
    let gap = trainer.iter().zip(&sampler).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(gap == 0.0, "gap {gap}");
    let lengths: Vec<usize> = groups.iter().flatten().map(Rollout::sampled).collect();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "rows of one length test no compaction: {lengths:?}");
}

#[test]
fn a_packed_group_equals_separate_rows() {
    for model in MODELS {
        let policy = tiny(model);
        let (requests, groups) = sampled(&policy);
        for (request, group) in requests.iter().zip(&groups) {
            for rollout in group {
                let tokens = ids(rollout);
                let mut alone = request.prompt.clone();
                alone.push_text(&tokens);
                let batch = Batch::prompts(&[&alone], 2);
                let hidden = policy.forward(&batch, &mut Trace::off());
                let prompt = request.prompt.ids().len();
                let rows = hidden.narrow(0, prompt - 1, tokens.len());
                let separate = policy.token_log_probs(rows, &tokens, 1.0);
                let gap = separate.iter().zip(rollout.log_probs()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(gap == 0.0, "gap {gap}");
            }
        }
    }
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    for model in MODELS {
        let policy = tiny(model);
        let (requests, groups) = sampled(&policy);
        let stop_ids: Vec<u32> = (0..60).collect();
        for (request, group) in requests.iter().zip(&groups) {
            let alone = run(&policy, &stop_ids, std::slice::from_ref(request));
            let tokens = |group: &[Rollout]| group.iter().map(ids).collect::<Vec<_>>();
            assert_eq!(tokens(&alone[0]), tokens(group));
        }
    }
}

#[test]
fn banned_tokens_are_never_sampled() {
    for model in MODELS {
        let mut policy = tiny(model);
        policy.banned.extend(0..300);
        let (_, groups) = sampled(&policy);
        let all: Vec<u32> = groups.iter().flatten().flat_map(Rollout::ids).collect();
        assert!(all.iter().all(|id| !policy.banned.contains(id)), "{model}");
        let logits = to_vec(policy.logits(Tensor::zeros([1, 64], policy.device())));
        assert_eq!(logits.iter().filter(|logit| **logit == f32::NEG_INFINITY).count(), 300 + 4, "{model}");
    }
}
