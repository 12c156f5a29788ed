//! How heads are laid out, and what attention is asked with.
//!
//! Shape suffixes as in the attention seam.

use burn::tensor::Tensor;

use crate::config::TextConfig;

/// Queries, keys and values of all rows, as matrices: rotary positions are in.
pub(crate) struct Projected {
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
}

/// How heads are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Key-value heads.
    pub kv: usize,
    /// Query heads per key-value head.
    pub per_kv: usize,
    /// Width of a head.
    pub dim: usize,
}

impl Heads {
    /// The heads of a text decoder.
    pub fn of(config: &TextConfig) -> Self {
        Self { kv: config.kv_heads, per_kv: config.heads / config.kv_heads, dim: config.head_dim }
    }

    /// What queries are multiplied by.
    pub fn scale(&self) -> f32 {
        (self.dim as f32).sqrt().recip()
    }

    /// Queries `[b*g*a, q*k]` to `[b*m*g, r*a, k]`, scaled.
    pub fn split_queries(&self, x: Tensor<2>, b: usize, g: usize) -> Tensor<3> {
        let a = x.dims()[0] / (b * g);
        let x = x.mul_scalar(self.scale()).reshape([b, g, a, self.kv, self.per_kv, self.dim]);
        x.permute([0, 3, 1, 4, 2, 5]).reshape([b * self.kv * g, self.per_kv * a, self.dim])
    }

    /// Keys or values `[b*g*a, m*k]` to `[b*m*g, a, k]`.
    pub fn split_keys(&self, x: Tensor<2>, b: usize, g: usize) -> Tensor<3> {
        let a = x.dims()[0] / (b * g);
        let x = x.reshape([b, g, a, self.kv, self.dim]);
        x.permute([0, 3, 1, 2, 4]).reshape([b * self.kv * g, a, self.dim])
    }

    /// Contexts `[b*m*g, r*a, k]` back to `[b*g*a, q*k]`.
    pub fn join(&self, x: Tensor<3>, b: usize, g: usize) -> Tensor<2> {
        let a = x.dims()[1] / self.per_kv;
        let x = x.reshape([b, self.kv, g, self.per_kv, a, self.dim]);
        x.permute([0, 2, 4, 1, 3, 5]).reshape([b * g * a, self.kv * self.per_kv * self.dim])
    }
}
