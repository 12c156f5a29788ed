//! One block of the tower: attention within each frame, then an MLP.
//!
//! Shape suffixes: `p` patches, `v` tower width, `s` segments (frames), `f` patches of a frame, `k` head width.

use burn::tensor::{Tensor, activation};

use super::Around;
#[cfg(feature = "gpu")]
use crate::attention::Projected;
use crate::nn::{LayerNorm, Linear, parameters};
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
    pub(super) fn forward(&self, x_pv: Tensor<2>, around: &Around) -> Tensor<2> {
        let attended = self.attend(self.norm1.forward(x_pv.clone()), around);
        let x_pv = x_pv + self.proj.forward(attended);
        let hidden = activation::gelu_approximate(self.fc1.forward(self.norm2.forward(x_pv.clone())));
        x_pv + self.fc2.forward(hidden)
    }

    fn attend(&self, x_pv: Tensor<2>, around: &Around) -> Tensor<2> {
        let Around { rope, runs, heads, .. } = around;
        let [patches, width] = x_pv.dims();
        let (heads, k) = (*heads, width / heads);
        let qkv = self.qkv.forward(x_pv);
        let third = |i: usize| qkv.clone().narrow(1, i * width, width).reshape([patches, heads, k]);
        let (q, key, value) = (rope.rotate(third(0)), rope.rotate(third(1)), third(2));
        #[cfg(feature = "gpu")]
        if let Some(tiles) = &around.tiles {
            let [q, k, v] = [q, key, value].map(|x| x.reshape([patches, width]));
            return tiles.attend(Projected { q, k, v });
        }
        let q = q.mul_scalar((k as f64).powf(-0.5));
        let mut outputs = Vec::with_capacity(runs.len());
        for run in runs {
            let (s, f) = (run.frames, run.patches_per_frame);
            let split = |x: &Tensor<3>| {
                let x = x.clone().narrow(0, run.start, s * f).reshape([s, f, heads, k]);
                x.permute([0, 2, 1, 3]).reshape([s * heads, f, k])
            };
            let weights = softmax(split(&q).matmul(split(&key).swap_dims(1, 2)));
            let context = weights.matmul(split(&value)).reshape([s, heads, f, k]).permute([0, 2, 1, 3]);
            outputs.push(context.reshape([s * f, width]));
        }
        if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) }
    }
}
