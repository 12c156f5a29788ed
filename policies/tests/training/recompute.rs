//! Layers that keep only their input: log-probs and gradients are those of the plain pass, bit for bit.

use burn::tensor::{Device, Tensor};
use sapo_policies::lora::Targets;
use sapo_policies::text::balance_loss;
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Config, Group, LoraConfig, Part, Policy, PolicyInput, Trace};

use crate::pictures::{answer, prompts};
use crate::prompt::{folder, tiny, untied};

/// Log-probs and gradients, as bits, of prompts with pictures and without, with two answers each.
fn passed(policy: &Policy, prompts: &[PolicyInput], recompute: bool) -> (Vec<u32>, Vec<Option<Vec<u32>>>) {
    let answers: Vec<[Completion; 2]> =
        (0..prompts.len() as u32).map(|seed| [answer(seed), answer(seed + 7)].map(Completion::of_sampled)).collect();
    let groups: Vec<Group<'_>> =
        prompts.iter().zip(&answers).map(|(prompt, completions)| Group { prompt, completions }).collect();
    let batch = Batch::groups(&groups, 2).expect("packs");
    let tracked = policy.tracked().recomputing(recompute);
    let mut trace = Trace::routers();
    let hidden = batch.predicting(tracked.forward(&batch, &mut trace));
    let routers: Vec<Tensor<2>> = trace.into_tensors().into_values().collect();
    let beside = balance_loss(&routers, 2);
    assert_eq!(beside.is_some(), policy.config.text.moe.is_some());
    let scored = tracked.score(hidden, &batch.targets, 0.9);
    let derivative: Vec<f32> = (0..batch.targets.len()).map(|at| (at as f32 * 0.7).cos()).collect();
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    let log_probs = bits(scored.log_probs().to_vec());
    let gradients =
        scored.backward(&derivative.into(), beside).into_iter().map(|gradient| Some(bits(to_vec(gradient?))));
    (log_probs, gradients.collect())
}

fn is_the_plain_pass(name: &str, policy: &Policy, prompts: &[PolicyInput]) {
    let (plain, again) = (passed(policy, prompts, false), passed(policy, prompts, true));
    assert_eq!(plain.0, again.0, "{name}: log-probs");
    assert!(plain.1.iter().any(Option::is_some), "{name}: something trains");
    for (param, (plain, again)) in policy.trained().iter().zip(plain.1.iter().zip(&again.1)) {
        assert!(plain == again, "{name}: {}", param.name);
    }
}

#[test]
fn with_pictures_and_experts() {
    for (name, policy) in [
        ("dense", tiny("dense")),
        ("moe", tiny("moe")),
        ("dense untied", untied("dense")),
        ("moe untied", untied("moe")),
    ] {
        is_the_plain_pass(name, &policy, &prompts(&policy));
        is_the_plain_pass(&format!("{name}, text"), &policy, &prompts(&policy)[2..3]);
    }
}

/// The rows that DeepStack taps have another reader, and it matters in which order gradients of both are added.
#[test]
fn with_deepstack_anywhere() {
    let text = std::fs::read_to_string(folder("dense").join("config.json")).expect("a config");
    for taps in [vec![], vec![0], vec![0, 2], vec![1, 3], vec![0, 1, 2, 3]] {
        let mut config = Config::from_json(&text, "config.json").expect("reads");
        config.vision.deepstack_indexes = taps.clone();
        let policy = Policy::random(config, 5, &Device::flex());
        is_the_plain_pass(&format!("taps {taps:?}"), &policy, &prompts(&policy));
    }
}

#[test]
fn with_frozen_parts() {
    for frozen in [
        vec![Part::Vision, Part::Merger, Part::Deepstack],
        vec![Part::Vision],
        vec![Part::Merger, Part::Deepstack],
        vec![Part::Embeddings],
        vec![Part::Text],
        vec![Part::Text, Part::Embeddings, Part::Vision],
    ] {
        let mut policy = tiny("moe");
        policy.train_all_but(&frozen).expect("the policy has these parts");
        is_the_plain_pass(&format!("frozen {frozen:?}"), &policy, &prompts(&policy));
    }
}

#[test]
fn with_adapters() {
    let names = |all: &[&str]| Targets::Names(all.iter().map(|name| (*name).to_owned()).collect());
    for targets in [names(&["q_proj", "v_proj", "down_proj"]), names(&["k_proj", "qkv", "linear_fc1"])] {
        let mut policy = tiny("dense");
        let lora = LoraConfig { rank: 4, alpha: 8.0, targets, exclude: None, rslora: false };
        policy.add_lora(&lora, &[], 3).expect("an adapter");
        for param in policy.trained_mut().into_iter().filter(|param| param.name.ends_with("lora_B.weight")) {
            param.value = crate::prompt::numbers(param.value.dims(), 0.05);
        }
        is_the_plain_pass("adapters", &policy, &prompts(&policy));
    }
}
