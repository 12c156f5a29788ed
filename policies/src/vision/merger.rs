//! Mergers: blocks of patches become tokens of text width.
//!
//! Shape suffixes: `p` patches, `v` tower width.

use burn::tensor::{Tensor, activation};

use crate::nn::{LayerNorm, Linear, parameters};

/// Joins a block of patches into one token of text width.
#[derive(Clone, Debug)]
pub struct Merger {
    /// Over the tower's width, or over the joined row when `norm_joined`.
    pub norm: LayerNorm,
    /// First linear map.
    pub fc1: Linear,
    /// Second linear map.
    pub fc2: Linear,
    /// DeepStack mergers join before the norm.
    pub norm_joined: bool,
}
parameters!(Merger { norm, fc1, fc2 });

impl Merger {
    /// `x_pv` to `[n, d]`, where `area` patches become one token.
    pub(super) fn forward(&self, x_pv: Tensor<2>, area: usize) -> Tensor<2> {
        let [patches, width] = x_pv.dims();
        let joined = |x: Tensor<2>| x.reshape([patches / area, width * area]);
        let x = if self.norm_joined { self.norm.forward(joined(x_pv)) } else { joined(self.norm.forward(x_pv)) };
        self.fc2.forward(activation::gelu(self.fc1.forward(x)))
    }
}
