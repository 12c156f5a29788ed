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
}
