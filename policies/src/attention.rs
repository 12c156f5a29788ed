//! The attention seam: grouped-query attention over a prompt shared by branches, in training, prefill and decoding.
//!
//! A query's prompt is one row of the batch; its answers (branches) are rows beside it. A prompt token sees the prompt
//! up to itself, a branch token sees the whole prompt and its own branch up to itself, and no branch sees another: the
//! tree mask holds by construction, and scores between branches are never computed.
//!
//! Shape suffixes: `b` prompts, `g` branches of each, `a` tokens of a branch (or of the prompt itself), `p` prompt
//! tokens, `q` query heads, `m` key-value heads, `r` query heads per key-value head, `k` head width.

use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::config::TextConfig;

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

    /// Queries `[b*g*a, q*k]` to `[b*m*g, r*a, k]`, scaled.
    pub fn split_queries(&self, x: Tensor<2>, b: usize, g: usize) -> Tensor<3> {
        let a = x.dims()[0] / (b * g);
        let x = x.mul_scalar((self.dim as f64).powf(-0.5)).reshape([b, g, a, self.kv, self.per_kv, self.dim]);
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

/// Attention of prompts to themselves: all tensors `[b*m, .., k]`, `mask` broadcastable to `[b*m, r*p, p]`.
pub fn attend_self(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, mask: &Tensor<3>) -> Tensor<3> {
    let scores = q.matmul(k.swap_dims(1, 2)) + mask.clone();
    activation::softmax(scores, 2).matmul(v)
}

/// Attention of branches to their prompt and to themselves.
///
/// `q` is `[b*m*g, r*a, k]`; `prefix` holds the prompts' keys and values `[b*m, p, k]`; `own` the branches' keys and
/// values `[b*m*g, c, k]`; `mask` is broadcastable to `[b*m*g, r*a, p + c]`.
pub fn attend_branches(
    q: Tensor<3>,
    prefix: (Tensor<3>, Tensor<3>),
    own: (Tensor<3>, Tensor<3>),
    mask: Option<&Tensor<3>>,
) -> Tensor<3> {
    let [rows, ra, k] = q.dims();
    let [bm, p, _] = prefix.0.dims();
    let c = own.0.dims()[1];
    let per_prompt = rows / bm * ra;
    let to_prefix = q.clone().reshape([bm, per_prompt, k]).matmul(prefix.0.swap_dims(1, 2)).reshape([rows, ra, p]);
    let to_own = q.matmul(own.0.swap_dims(1, 2));
    let mut scores = Tensor::cat(vec![to_prefix, to_own], 2);
    if let Some(mask) = mask {
        scores = scores + mask.clone();
    }
    let weights = activation::softmax(scores, 2);
    let from_prefix =
        weights.clone().narrow(2, 0, p).reshape([bm, per_prompt, p]).matmul(prefix.1).reshape([rows, ra, k]);
    from_prefix + weights.narrow(2, p, c).matmul(own.1)
}

/// The causal mask of prompts, `[b*m, r*p, p]`: 0 where a token may look, minus infinity elsewhere.
pub fn causal_mask(heads: Heads, b: usize, p: usize, device: &Device) -> Tensor<3> {
    let block = causal_rows(p);
    let values = block.repeat(b * heads.kv * heads.per_kv);
    Tensor::from_data(TensorData::new(values, [b * heads.kv, heads.per_kv * p, p]), device)
}

/// The mask of branches, `[b*m*g, r*a, p + a]`: prompts of `prefix_lens` tokens are seen whole, the branch causally.
pub fn branch_mask(heads: Heads, prefix_lens: &[usize], g: usize, a: usize, p: usize, device: &Device) -> Tensor<3> {
    let causal = causal_rows(a);
    let mut values = Vec::with_capacity(prefix_lens.len() * heads.kv * g * heads.per_kv * a * (p + a));
    for length in prefix_lens {
        let mut block = Vec::with_capacity(a * (p + a));
        for row in causal.chunks(a) {
            block.extend((0..p).map(|column| if column < *length { 0.0 } else { f32::NEG_INFINITY }));
            block.extend_from_slice(row);
        }
        for _ in 0..heads.kv * g * heads.per_kv {
            values.extend_from_slice(&block);
        }
    }
    let shape = [prefix_lens.len() * heads.kv * g, heads.per_kv * a, p + a];
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn causal_rows(n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n * n];
    for row in 0..n {
        values[row * n + row + 1..(row + 1) * n].fill(f32::NEG_INFINITY);
    }
    values
}
