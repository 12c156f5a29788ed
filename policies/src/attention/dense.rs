//! Attention by dense products and masks.
//!
//! Shape suffixes as in the attention seam.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::heads::Heads;

/// Attention of prompts to themselves: all tensors `[b*m, .., k]`, `mask` broadcastable to `[b*m, r*p, p]`.
pub fn attend_self(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, mask: &Tensor<3>) -> Tensor<3> {
    let scores = q.matmul(k.swap_dims(1, 2)) + mask.clone();
    activation::softmax(scores, 2).matmul(v)
}

/// Attention of completions to their prompt and to themselves.
///
/// `q` is `[b*m*g, r*a, k]`; `prefix` holds the prompts' keys and values `[b*m, p, k]`; `own` the completions' keys and
/// values `[b*m*g, c, k]`; `mask` is broadcastable to `[b*m*g, r*a, p + c]`.
pub fn attend_completions(
    q: Tensor<3>,
    prefix: (Tensor<3>, Tensor<3>),
    own: (Tensor<3>, Tensor<3>),
    mask: Option<&Tensor<3>>,
) -> Tensor<3> {
    let [rows, ra, k] = q.dims();
    let [bm, p, _] = prefix.0.dims();
    let c = own.0.dims()[1];
    let per_prompt = rows / bm * ra;
    // All completions of a prompt ask the same keys: one product for the whole group, and the keys are never copied.
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

/// The causal mask of prompts, `[1, r*p, p]`: 0 where a token may look, minus infinity elsewhere.
pub fn causal_mask(heads: Heads, p: usize, device: &Device) -> Tensor<3> {
    Tensor::from_data(TensorData::new(causal_rows(p), [1, p, p]), device).repeat_dim(1, heads.per_kv)
}

/// The mask of completions, `[b*m*g, r*a, p + a]`: prompts of `prefix_lens` tokens are seen whole, the completion
/// causally.
pub fn completion_mask(
    heads: Heads,
    prefix_lens: &[usize],
    g: usize,
    a: usize,
    p: usize,
    device: &Device,
) -> Tensor<3> {
    let (b, n) = (prefix_lens.len(), p + a);
    let causal = causal_rows(a);
    let mut values = Vec::with_capacity(b * a * n);
    for length in prefix_lens {
        for row in causal.chunks(a) {
            values.extend((0..p).map(|column| if column < *length { 0.0 } else { f32::NEG_INFINITY }));
            values.extend_from_slice(row);
        }
    }
    let mask: Tensor<4> = Tensor::from_data(TensorData::new(values, [b, 1, a, n]), device);
    // Each head of each completion of a prompt sees the same; the device repeats it.
    mask.repeat_dim(1, heads.kv * g * heads.per_kv).reshape([b * heads.kv * g, heads.per_kv * a, n])
}

fn causal_rows(n: usize) -> Vec<f32> {
    let mut values = vec![0.0; n * n];
    for row in 0..n {
        values[row * n + row + 1..(row + 1) * n].fill(f32::NEG_INFINITY);
    }
    values
}
