//! Losses, advantages and optimizer steps against the golden numbers of the reference implementation.

mod steps;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use sapo::advantage::{AdvantageNorm, advantages};
use sapo::algorithm::{Algorithm, Cispo, Dapo, DrGrpo, Grpo, Gspo, Rloo, Sapo, Sequence};
use sapo::moment::MomentFormat;
use sapo::optimizer::{AdamW, OptimizerConfig, Schedule};

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/qwen3_vl").join(name))
        .expect("in the repository")
}

fn to_vec(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).expect("the tensor is in the file");
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
}

const ROWS: usize = 15;
const WIDTH: usize = 9;

#[test]
fn advantages_are_the_golden_ones() {
    let bytes = fixture("losses.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let rewards = to_vec(&tensors, "rewards");
    for (name, spread) in [
        ("population_std", AdvantageNorm::Population),
        ("sample_std", AdvantageNorm::Sample),
        ("mean_only", AdvantageNorm::None),
        ("leave_one_out", AdvantageNorm::LeaveOneOut),
    ] {
        let golden = to_vec(&tensors, &format!("advantage.{name}"));
        for (group, golden) in rewards.chunks(5).zip(golden.chunks(5)) {
            let scored: Vec<Option<f64>> = group.iter().map(|reward| Some(f64::from(*reward))).collect();
            let ours = advantages(&scored, spread, 1e-6).unwrap_or_else(|| vec![Some(0.0); 5]);
            for (a, b) in ours.iter().zip(golden) {
                assert!((a.expect("scored") - f64::from(*b)).abs() < 1e-5, "{name}: {ours:?} against {golden:?}");
            }
        }
    }
}

/// Loss and gradient of an algorithm with stale log-probs.
fn check(name: &str, algorithm: &dyn Algorithm) {
    let bytes = fixture("losses.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let get = |name: &str| to_vec(&tensors, name);
    let norm = match algorithm.advantage_norm() {
        AdvantageNorm::None => "mean_only",
        AdvantageNorm::LeaveOneOut => "leave_one_out",
        AdvantageNorm::Population | AdvantageNorm::Sample => "population_std",
    };
    let (mask, advantages) = (get("mask"), get(&format!("advantage.{norm}")));
    let (now, old) = (get("log_probs"), get("old_log_probs"));
    let golden = get(&format!("{name}.grad"));
    let lengths: Vec<usize> = mask.chunks(WIDTH).map(|row| row.iter().sum::<f32>() as usize).collect();
    let tokens: usize = lengths.iter().sum();
    let mut loss = 0.0;
    for (row, length) in lengths.iter().enumerate() {
        let of = |values: &[f32]| values[row * WIDTH..row * WIDTH + length].to_vec();
        let (log_probs, old_log_probs) = (of(&now), of(&old));
        let advantage = f64::from(advantages[row]);
        let objective =
            algorithm.objective(&Sequence { log_probs: &log_probs, old_log_probs: &old_log_probs, advantage });
        let weight = algorithm.aggregation().weight(*length, ROWS, tokens);
        loss -= weight * objective.values.iter().sum::<f64>();
        for (at, derivative) in objective.derivatives.iter().enumerate() {
            let (ours, golden) = (-weight * derivative, f64::from(golden[row * WIDTH + at]));
            assert!((ours - golden).abs() < 2e-6, "{name}: {ours} against {golden}");
        }
    }
    let golden = f64::from(get(&format!("{name}.loss"))[0]);
    assert!((loss - golden).abs() < 2e-6, "{name}: {loss} against {golden}");
}

#[test]
fn sapo_is_the_golden_one_on_stale_rollouts() {
    check("sapo", &Sapo::default());
}

#[test]
fn a_closed_gate_changes_the_update_as_the_golden_says() {
    check("sapo_hot", &Sapo { tau_pos: 2.0, tau_neg: 4.0, ..Sapo::default() });
}

#[test]
fn grpo_is_the_golden_one() {
    check("grpo", &Grpo::default());
}

#[test]
fn the_others_are_the_golden_ones() {
    check("dapo", &Dapo::default());
    check("dr_grpo", &DrGrpo { divisor_tokens: WIDTH, clip_low: 0.2, clip_high: 0.2 });
    check("gspo", &Gspo::default());
    check("cispo", &Cispo::default());
    check("rloo", &Rloo {});
}

#[test]
fn the_gate_has_the_published_values() {
    let sapo = Sapo::default();
    for (ratio, positive, negative) in
        [(0.5, 0.940_014_849, 0.934_139_823), (1.0, 1.0, 1.0), (3.0, 0.419_974_342, 0.388_778_819)]
    {
        assert!((sapo.gate(ratio, 1.0) - positive).abs() < 1e-8);
        assert!((sapo.gate(ratio, -1.0) - negative).abs() < 1e-8);
        assert!((sapo.gate(ratio, 0.0) - negative).abs() < 1e-8, "an advantage of 0 takes tau_neg");
    }
}

#[test]
fn adamw_steps_are_the_golden_ones() {
    let bytes = fixture("optimizer.safetensors");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let device = Device::flex();
    let matrix = |name: String| {
        let shape = tensors.tensor(&name).expect("in the file").shape().to_vec();
        let [rows, columns] = sapo_policies::tensor::as_matrix(&shape);
        Tensor::<2>::from_data(TensorData::new(to_vec(&tensors, &name), [rows, columns]), &device)
    };
    let config = OptimizerConfig {
        lr: 0.003,
        warmup_steps: 0,
        final_lr_ratio: 1.0,
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
        clip_norm: 0.5,
        schedule: Schedule::Constant,
        moments: MomentFormat::F32,
        groups: Vec::new(),
    };
    let norms = [8.421_915, 7.959_913_3, 0.092_119_78, 9.221_578, 7.775_735];
    let mut params: Vec<Tensor<2>> = (0..3).map(|index| matrix(format!("param_{index}.start"))).collect();
    let mut optimizer = AdamW::default();
    for (step, golden_norm) in norms.into_iter().enumerate() {
        let gradients = (0..3).map(|index| Some(matrix(format!("step_{step}.grad_{index}")))).collect();
        let mut trainees: Vec<_> = params.iter_mut().map(|param| config.trainee("param", param)).collect();
        let norm = optimizer.step(&mut trainees, gradients, &config, config.lr);
        let norm = norm.expect("all is finite");
        assert!((norm - golden_norm).abs() < 1e-4, "{norm} against {golden_norm}");
        for (index, param) in params.iter().enumerate() {
            let golden = to_vec(&tensors, &format!("step_{step}.param_{index}"));
            let ours = param.clone().into_data().try_to_vec::<f32>().expect("f32");
            let worst = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6, "step {step}, parameter {index}: {worst}");
        }
    }
}
