//! Whole steps of SAPO on fixed rollouts against PyTorch: packed here, one sequence at a time there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sapo::advantage::{AdvantageNorm, EPS, advantages};
use sapo::algorithm::Sapo;
use sapo::batch::TrainedSequence;
use sapo::collective::Alone;
use sapo::loss::{Counts, Loss};
use sapo::metrics::Metrics;
use sapo::moment::MomentFormat;
use sapo::optimizer::{AdamW, OptimizerConfig, Schedule};
use sapo::update::{Passes, Scored, TrainGroup, apply, gradients};
use sapo_policies::golden::Case;
use sapo_policies::{Completion, Model, PolicyInput, Slopes, to_vec};
use serde::Deserialize;

/// What `sapo_steps.py` has written.
#[derive(Deserialize)]
struct Golden {
    lr: f64,
    old_log_probs: Vec<Vec<Vec<f32>>>,
    norms: Vec<f64>,
    params: BTreeMap<String, GoldenParam>,
}

/// Some numbers of a parameter after the last step.
#[derive(Deserialize)]
struct GoldenParam {
    at: Vec<usize>,
    end: Vec<f32>,
    moved: f32,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl")
}

/// The prompt of a group: text, one with a picture, then ids by a formula.
fn prompt(group: u32, model: &Model) -> PolicyInput {
    let case = Case::open(&folder().join("cases-dense/greedy.safetensors")).expect("the golden case");
    let of = |part: &str| case.part(part).rows(&model.policy.config).expect("rows").inputs.remove(0);
    match group {
        0 => of("text"),
        1 => of("image"),
        _ => PolicyInput::of_text((0..12 + group).map(|at| (group * 31 + at * 19) % 350 + 3).collect()),
    }
}

fn answer(group: u32, sample: u32) -> Completion {
    let length = 4 + (3 * group + 5 * sample) % 7;
    let id = |at: u32| (17 * group + 29 * sample + 13 * at + at * at) % 340 + 5;
    Completion::of_sampled((0..length).map(id).collect())
}

const REWARDS: [[Option<f64>; 4]; 4] = [
    [Some(1.0), Some(0.0), Some(0.0), Some(1.0)],
    [Some(1.0), None, Some(0.0), Some(0.5)],
    [Some(1.0); 4],
    [Some(0.0), Some(1.0), Some(1.0), Some(0.25)],
];

#[test]
fn five_sapo_steps_are_those_of_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("sapo_steps.json")).expect("JSON");
    let path = folder().join("tiny-dense");
    let mut model = Model::open(&path.display().to_string(), 1, &Device::flex()).expect("the fixture loads");
    model.policy.banned.clear();
    let prompts: Vec<PolicyInput> = (0..4).map(|group| prompt(group, &model)).collect();
    let config = OptimizerConfig {
        lr: golden.lr,
        warmup_steps: 0,
        schedule: Schedule::Constant,
        final_lr_ratio: 1.0,
        betas: [0.9, 0.98],
        eps: 1e-8,
        weight_decay: 0.01,
        clip_norm: 1.0,
        moments: MomentFormat::F32,
        groups: Vec::new(),
    };
    let (mut optimizer, mut norms) = (AdamW::default(), Vec::new());
    for _ in 0..5 {
        for part in [[0, 3], [1, 2]] {
            norms.push(update(&mut model, &mut optimizer, &config, &prompts, &golden, &part));
        }
    }
    for (found, wanted) in norms.iter().zip(&golden.norms) {
        assert!((found / wanted - 1.0).abs() < 1e-3, "{norms:?} {:?}", golden.norms);
    }
    let (mut worst, mut moved) = (0.0_f32, 0.0_f32);
    for param in model.policy.parameters() {
        let wanted = golden.params.get(&param.name).unwrap_or_else(|| panic!("{} in the golden", param.name));
        let values = to_vec(param.value.clone());
        for (at, end) in wanted.at.iter().zip(&wanted.end) {
            worst = worst.max((values[*at] - end).abs());
        }
        moved = moved.max(wanted.moved);
    }
    assert_eq!(model.policy.parameters().len(), golden.params.len());
    assert!(worst < 1e-4, "{worst} of {moved} that the weights have moved");
    assert!(moved > 5e-4, "steps that move nothing show nothing");
}

/// One update on some groups, packed; gives the norm of its gradients.
fn update(
    model: &mut Model,
    optimizer: &mut AdamW,
    config: &OptimizerConfig,
    prompts: &[PolicyInput],
    golden: &Golden,
    part: &[usize],
) -> f64 {
    let (mut groups, mut sequences) = (Vec::new(), Vec::new());
    for group in part {
        let Some(all) = advantages(&REWARDS[*group], AdvantageNorm::Population, EPS) else { continue };
        let chosen: Vec<(usize, f64)> =
            all.iter().enumerate().filter_map(|(sample, advantage)| Some((sample, (*advantage)?))).collect();
        let completions = chosen.iter().map(|(sample, _)| answer(*group as u32, *sample as u32)).collect();
        groups.push(TrainGroup { prompt: &prompts[*group], completions });
        let sequence = |(sample, advantage): &(usize, f64)| TrainedSequence {
            old_log_probs: golden.old_log_probs[*group][*sample].clone(),
            reference: Vec::new(),
            importance: Vec::new(),
            advantage: *advantage,
        };
        sequences.push(chosen.iter().map(sequence).collect::<Vec<_>>());
    }
    let counts = Counts { sequences: sequences.iter().map(Vec::len).sum(), tokens: 0 };
    let loss = Loss { algorithm: &Sapo::default(), kl: None, entropy_coef: 0.0, counts };
    let passes = Passes { temperature: 1.0, token_budget: 8192, balance_coef: None, recompute: false };
    let found = gradients(&model.policy, &groups, passes, &mut |scored: &[Scored<'_>]| {
        let mut slopes: Slopes = Slopes::default();
        for one in scored {
            loss.add(&sequences[one.group][one.completion], one.log_probs, &mut slopes, &mut Metrics::default());
        }
        slopes
    });
    apply(model, optimizer, found.expect("packs").params, config, config.lr, &Alone).expect("all is finite")
}
