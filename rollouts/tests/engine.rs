//! The local engine on a real checkpoint: greedy goldens, the gap to the trainer's log-probs, packing, and independence
//! of a sample from its batch.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use sapo_datasets::StopReason;
use sapo_policies::golden::Case;
use sapo_policies::lora::Targets;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Group as Packed, LoraConfig, Policy, PolicyInput, Trace};
use sapo_rollouts::{Group, LocalEngine, Request, Rollout, Sampling, seed_of};

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

fn request(id: &str, prompt: PolicyInput, samples: usize) -> Request {
    let seeds = (0..samples).map(|sample| seed_of(7, "test", id, sample)).collect();
    Request { query_id: id.to_owned(), prompt, seeds }
}

fn run(policy: &Policy, stop_ids: &[u32], requests: &[Request], sampling: &Sampling) -> Vec<Group> {
    let engine = LocalEngine { stop_ids: stop_ids.to_vec(), max_rows: 64 };
    let mut groups: Vec<Option<Group>> = vec![None; requests.len()];
    engine.sample(policy, requests, sampling, &mut |index, group| groups[index] = Some(group)).expect("samples");
    groups.into_iter().map(|group| group.expect("every request is answered")).collect()
}

#[test]
fn greedy_answers_are_the_golden_ones() {
    for model in MODELS {
        let mut policy = tiny(model);
        policy.banned.clear();
        for kind in ["text", "image"] {
            let (prompt, golden) = golden(model, kind, &policy);
            let groups = run(&policy, &[], &[request(kind, prompt, 1)], &Sampling::greedy(16));
            assert_eq!(groups[0].rollouts[0].tokens, golden, "{model} {kind}");
            assert_eq!(groups[0].rollouts[0].stop, StopReason::Length);
        }
    }
}

/// Two prompts of different lengths, one with a picture, five samples each, ended by frequent stop tokens so that the
/// batch is compacted on the way.
fn sampled(policy: &Policy) -> (Vec<Request>, Vec<Group>) {
    let prompt = |kind| golden("dense", kind, policy).0;
    let requests = [request("a", prompt("text"), 5), request("b", prompt("image"), 5)].to_vec();
    let stop_ids: Vec<u32> = (0..60).collect();
    let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 24 };
    let groups = run(policy, &stop_ids, &requests, &sampling);
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
        let tokens = |policy: &Policy| sampled(policy).1[0].rollouts[0].tokens.clone();
        assert_ne!(tokens(&policy), tokens(&bare), "the adapter is sampled with");
    }
}

fn agrees(policy: &Policy) {
    let (requests, groups) = sampled(policy);
    let completion = |rollout: &Rollout| Completion::of_sampled(rollout.tokens.clone());
    let answers: Vec<Vec<Completion>> =
        groups.iter().map(|group| group.rollouts.iter().map(completion).collect()).collect();
    let answers: Vec<Vec<&Completion>> = answers.iter().map(|some| some.iter().collect()).collect();
    let packed: Vec<Packed<'_>> = requests
        .iter()
        .zip(&answers)
        .map(|(request, some)| Packed { prompt: &request.prompt, completions: some })
        .collect();
    let batch = Batch::groups(&packed, 2).expect("packs");
    let hidden = batch.predicting(policy.forward(&batch, &mut Trace::off()));
    let trainer = policy.token_log_probs(hidden, &batch.targets, 1.0);
    let sampler: Vec<f32> =
        groups.iter().flat_map(|group| &group.rollouts).flat_map(|rollout| rollout.log_probs.clone()).collect();
    assert_eq!(trainer.len(), sampler.len());
    let gap = trainer.iter().zip(&sampler).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(gap < 2e-5, "gap {gap}");
    let lengths: Vec<usize> =
        groups.iter().flat_map(|group| &group.rollouts).map(|rollout| rollout.tokens.len()).collect();
    assert!(lengths.iter().any(|length| *length != lengths[0]), "rows of one length test no compaction: {lengths:?}");
}

#[test]
fn a_packed_group_equals_separate_rows() {
    for model in MODELS {
        let policy = tiny(model);
        let (requests, groups) = sampled(&policy);
        for (request, group) in requests.iter().zip(&groups) {
            for rollout in &group.rollouts {
                let mut alone = request.prompt.clone();
                alone.push_text(&rollout.tokens);
                let batch = Batch::prompts(&[&alone], 2);
                let hidden = policy.forward(&batch, &mut Trace::off());
                let prompt = request.prompt.ids().len();
                let rows = hidden.narrow(0, prompt - 1, rollout.tokens.len());
                let separate = policy.token_log_probs(rows, &rollout.tokens, 1.0);
                let gap = separate.iter().zip(&rollout.log_probs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(gap < 2e-5, "gap {gap}");
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
        let sampling = Sampling { temperature: 1.0, top_p: 1.0, top_k: 0, max_new_tokens: 24 };
        for (request, group) in requests.iter().zip(&groups) {
            let alone = run(&policy, &stop_ids, std::slice::from_ref(request), &sampling);
            let tokens =
                |group: &Group| group.rollouts.iter().map(|rollout| rollout.tokens.clone()).collect::<Vec<_>>();
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
        let all: Vec<u32> =
            groups.iter().flat_map(|group| &group.rollouts).flat_map(|rollout| rollout.tokens.clone()).collect();
        assert!(all.iter().all(|id| !policy.banned.contains(id)), "{model}");
        let logits = to_vec(policy.logits(Tensor::zeros([1, 64], policy.device())));
        assert_eq!(logits.iter().filter(|logit| **logit == f32::NEG_INFINITY).count(), 300 + 4, "{model}");
    }
}
