//! Keys and values in tensors, and attention to them by padded products: for devices without a kernel of ours.
//!
//! Shape suffixes: `s` sequences, `a` rows of each, `n` tokens that they see, `m` key-value heads, `r` query heads of
//! each, `k` head width, `t` rows.

use burn::tensor::{Device, IndexingUpdateOp, Tensor, TensorData, activation};

use super::FedRows;
use crate::attention::{BLOCK, Heads, Projected, Sequence};
use crate::tensor::indices;

/// One row for each token that there is room for.
#[derive(Debug)]
pub(super) struct Padded {
    heads: Heads,
    /// Keys and values `[blocks * 16, m*k]` of every layer.
    layers: Vec<[Tensor<2>; 2]>,
    device: Device,
}

impl Padded {
    pub(super) fn new(heads: Heads, layers: usize, blocks: usize, device: &Device) -> Self {
        let zeros = || Tensor::zeros([blocks * BLOCK, heads.kv * heads.dim], device);
        Self { heads, layers: (0..layers).map(|_| [zeros(), zeros()]).collect(), device: device.clone() }
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize * BLOCK, to as usize * BLOCK);
        let width = self.heads.kv * self.heads.dim;
        for numbers in self.layers.iter_mut().flatten() {
            let block = numbers.clone().narrow(0, from, BLOCK).mul_scalar(1.0);
            // In place: nobody else holds the tensor by now.
            numbers.inplace(|all| all.slice_assign([to..to + BLOCK, 0..width], block));
        }
    }

    pub(super) fn attend(&mut self, layer: usize, x: Projected, rows: &FedRows) -> Tensor<2> {
        let slots = rows.places.iter().map(|place| i64::from(place.block) * BLOCK as i64 + i64::from(place.slot));
        let slots = indices(slots, &self.device);
        for (numbers, new) in self.layers[layer].iter_mut().zip([x.k, x.v]) {
            numbers.inplace(|all| all.select_assign(0, slots.clone(), new, IndexingUpdateOp::Assign));
        }
        // Sequences of one row each are decoded together; longer ones are prompts, read one by one.
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < rows.sequences.len() {
            let single = |sequence: &&Sequence| sequence.rows.len() == 1;
            let count = rows.sequences[at..].iter().take_while(single).count().max(1);
            let some = &rows.sequences[at..at + count];
            let first = some[0].rows.start;
            let q = x.q.clone().narrow(0, first, some[count - 1].rows.end - first);
            parts.push(self.attend_padded(layer, q, some));
            at += count;
        }
        let [all, width] = x.q.dims();
        let known: usize = rows.places.len();
        if known < all {
            // Rows that fill a product up belong to no sequence.
            parts.push(Tensor::zeros([all - known, width], &self.device));
        }
        if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) }
    }

    /// Contexts of sequences with equally many rows.
    fn attend_padded(&self, layer: usize, q: Tensor<2>, sequences: &[Sequence]) -> Tensor<2> {
        let (heads, s, a) = (self.heads, sequences.len(), sequences[0].rows.len());
        let n = sequences.iter().map(|sequence| sequence.before + a).max().unwrap_or(a);
        let mut slots = Vec::with_capacity(s * n);
        let mut mask = Vec::with_capacity(s * a * n);
        for Sequence { before, blocks, .. } in sequences {
            let slot = |token: usize| match blocks.get(token / BLOCK).filter(|_| token < before + a) {
                Some(block) => i64::from(*block) * BLOCK as i64 + (token % BLOCK) as i64,
                None => i64::from(blocks[0]) * BLOCK as i64,
            };
            slots.extend((0..n).map(slot));
            for row in 0..a {
                mask.extend((0..n).map(|token| if token <= before + row { 0.0 } else { f32::NEG_INFINITY }));
            }
        }
        let slots = indices(slots.into_iter(), &self.device);
        let [k, v] = self.layers[layer].clone().map(|all| heads.split_keys(all.select(0, slots.clone()), s, 1));
        let mask: Tensor<4> = Tensor::from_data(TensorData::new(mask, [s, 1, a, n]), &self.device);
        // `[s*m, r*a, n]`: each head of a sequence sees the same.
        let mask = mask.expand([s, heads.kv * heads.per_kv, a, n]).reshape([s * heads.kv, heads.per_kv * a, n]);
        let scores = heads.split_queries(q, s, 1).matmul(k.swap_dims(1, 2)) + mask;
        heads.join(activation::softmax(scores, 2).matmul(v), s, 1)
    }
}
