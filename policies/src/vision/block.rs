//! One block of the tower: attention within each frame, then an MLP.
//!
//! Shape suffixes: `p` patches, `v` tower width, `s` segments (frames), `f` patches of a frame, `k` head width.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::patches::FrameRun;
use crate::bucket::{padded, room_for, with_zeros};
use crate::nn::{LayerNorm, Linear, RopeTable, parameters};
use crate::tensor::softmax;

/// One block: attention within a frame, then an MLP, each on normalised input.
#[derive(Clone, Debug)]
pub struct VisionBlock {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// Queries, keys and values in one.
    pub qkv: Linear,
    /// Output of attention.
    pub proj: Linear,
    /// First linear map of the MLP.
    pub fc1: Linear,
    /// Second linear map of the MLP.
    pub fc2: Linear,
}
parameters!(VisionBlock { norm1, norm2, qkv, proj, fc1, fc2 });

impl VisionBlock {
    /// `x_pv` to `[p, v]`.
    pub(super) fn forward(&self, x_pv: Tensor<2>, rope: &RopeTable, runs: &[FrameRun], heads: usize) -> Tensor<2> {
        let attended = self.attend(self.norm1.forward(x_pv.clone()), rope, runs, heads);
        let x_pv = x_pv + self.proj.forward(attended);
        let hidden = activation::gelu_approximate(self.fc1.forward(self.norm2.forward(x_pv.clone())));
        x_pv + self.fc2.forward(hidden)
    }

    fn attend(&self, x_pv: Tensor<2>, rope: &RopeTable, runs: &[FrameRun], heads: usize) -> Tensor<2> {
        let [patches, width] = x_pv.dims();
        let k = width / heads;
        let qkv = self.qkv.forward(x_pv);
        let third = |i: usize| qkv.clone().narrow(1, i * width, width).reshape([patches, heads, k]);
        let (q, key, value) = (rope.rotate(third(0)), rope.rotate(third(1)), third(2));
        let q = q.mul_scalar((k as f64).powf(-0.5));
        let mut outputs = Vec::with_capacity(runs.len());
        for run in runs {
            let (s, own) = (run.frames, run.patches_per_frame);
            let f = room_for(own, &q.device());
            let split = |x: &Tensor<3>| {
                let x = x.clone().narrow(0, run.start, s * own).reshape([s, own, heads, k]);
                padded(x, 1, f).permute([0, 2, 1, 3]).reshape([s * heads, f, k])
            };
            let scores = split(&q).matmul(split(&key).swap_dims(1, 2));
            let weights = softmax(if f == own { scores } else { scores + only(own, f, &q.device()) });
            let context = weights.matmul(split(&value)).reshape([s, heads, f, k]).permute([0, 2, 1, 3]);
            let context = if f == own { context } else { context.narrow(1, 0, own) };
            outputs.push(context.reshape([s * own, width]));
        }
        let all = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) };
        with_zeros(all, patches)
    }
}

/// What is added to the scores of `[.., f]` patches, of which the first `own` are a frame's: the others are not looked at.
fn only(own: usize, f: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> = (0..f).map(|patch| if patch < own { 0.0 } else { f32::NEG_INFINITY }).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, f]), device)
}
