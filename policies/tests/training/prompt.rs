//! Tiny models of every kind, and prompts with a picture for them.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use sapo_policies::to_vec;
use sapo_policies::{Batch, Completion, Config, Group, ParamGradients, PictureInput, Policy, PolicyInput, Trace};

/// The folder of a tiny checkpoint, `dense` or `moe`.
pub(crate) fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/qwen3_vl/tiny-{kind}"))
}

/// That checkpoint.
pub(crate) fn tiny(kind: &str) -> Policy {
    Policy::load(&folder(kind), &Device::flex()).expect("the fixture loads")
}

/// A model of its sizes with random weights and a head of its own.
pub(crate) fn untied(kind: &str) -> Policy {
    let text = std::fs::read_to_string(folder(kind).join("config.json")).expect("a config");
    let mut config = Config::from_json(&text, "config.json").expect("reads");
    config.tied_head = false;
    Policy::random(config, 5, &Device::flex())
}

/// Text, a picture of 4 x 4 tokens, text.
pub(crate) fn prompt(policy: &Policy) -> PolicyInput {
    let grid = [1, 8, 8];
    let pixels: Vec<f32> = (0..64 * 1536).map(|at| ((at * 7 % 1013) as f32 * 0.37).sin()).collect();
    let mut ids: Vec<u32> = (0..6).map(|id| 40 + 13 * id).collect();
    ids.extend([policy.config.image_token_id; 16]);
    ids.extend((0..9).map(|id| 11 + 31 * id));
    PolicyInput::with_pictures(ids, vec![PictureInput { pixels: pixels.into(), grid }], &policy.config).expect("fits")
}

/// An answer that many experts have to do with.
pub(crate) fn answer() -> Vec<u32> {
    (0..40).map(|at| at * 29 % 370).collect()
}

/// Logits of a prompt, without the banned.
pub(crate) fn logits(policy: &Policy) -> Vec<f32> {
    let mut policy = policy.clone();
    policy.banned.clear();
    let prompt = prompt(&policy);
    to_vec(policy.logits(policy.forward(&Batch::prompts(&[&prompt], 2), &mut Trace::off())))
}

/// Gradients of the mean log-prob of an answer, in the order of what trains.
pub(crate) fn gradients(policy: &Policy) -> ParamGradients {
    let (prompt, answer) = (prompt(policy), answer());
    let completions = [Completion::of_sampled(answer)];
    let batch = Batch::groups(&[Group { prompt: &prompt, completions: &completions }], 2).expect("packs");
    let tracked = policy.tracked();
    let hidden = batch.predicting(tracked.forward(&batch, &mut Trace::off()));
    let count = batch.targets.len();
    tracked.score(hidden, &batch.targets, 1.0).backward(&vec![1.0 / count as f32; count].into(), None)
}

/// Numbers that no rule would give.
pub(crate) fn numbers(shape: [usize; 2], size: f32) -> Tensor<2> {
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|at| (at as f32 * 1.7 + 0.3).sin() * size).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The largest absolute difference.
pub(crate) fn worst(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
