//! Keys and values in tensors, for GPUs, and attention to them: decoding by padded products, prompts by lists of keys.
//!
//! Shape suffixes: `s` sequences, `a` rows of each, `n` tokens that they see, `m` key-value heads, `r` query heads of
//! each, `k` head width, `t` rows.

use std::ops::Range;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use super::FedRows;
#[cfg(feature = "gpu")]
use crate::attention::Tiles;
use crate::attention::{BLOCK, Heads, Projected, Sequence};
use crate::bucket::{Rounding, first_rows, rounding, with_zeros};
use crate::tensor::indices;
#[cfg(feature = "gpu")]
use crate::tensor::is_cpu;

/// Blocks that there is room for from the start.
const FIRST_ROOM: usize = 64;

/// One row for each token that there is room for, behind a block that is nobody's. Room grows as blocks are used: a device
/// would otherwise give away all that the cache may have, and limits how large one tensor is.
#[derive(Debug)]
pub(super) struct Padded {
    heads: Heads,
    /// Keys and values `[(1 + room) * 16, m*k]` of every layer.
    layers: Vec<[Tensor<2>; 2]>,
    /// Blocks that there is room for now.
    room: usize,
    /// Blocks that there may be room for.
    most: usize,
    /// The sizes that it computes at.
    rounding: Rounding,
    device: Device,
}

/// What all layers of a step share: where its rows are written, and what they look at.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where keys and values of rows go, `[t]`; those of rows that the device adds, to nobody's block.
    slots: Tensor<1, Int>,
    parts: Vec<Part>,
}

/// Sequences with equally many rows, which follow each other.
#[derive(Debug)]
struct Part {
    /// Its rows among all.
    rows: Range<usize>,
    looks: Looks,
}

/// How they look at what was written before.
#[derive(Debug)]
enum Looks {
    /// By padded products.
    Masked(Masked),
    /// A prompt on a GPU: by lists.
    #[cfg(feature = "gpu")]
    Listed(Tiles),
}

/// Sequences with what the device adds to them.
#[derive(Debug)]
struct Masked {
    /// Sequences and rows of each, as they are computed: one or the other is more than there is.
    sequences: usize,
    rows_each: usize,
    /// Where the tokens lie that they see, `[s*n]`.
    slots: Tensor<1, Int>,
    /// 0 where a row may look, minus infinity elsewhere: `[s*m, r*a, n]`.
    mask: Tensor<3>,
}

impl Padded {
    pub(super) fn new(heads: Heads, layers: usize, blocks: usize, device: &Device) -> Self {
        let room = blocks.min(FIRST_ROOM);
        let zeros = || Tensor::zeros([(1 + room) * BLOCK, heads.kv * heads.dim], device);
        let layers = (0..layers).map(|_| [zeros(), zeros()]).collect();
        Self { heads, layers, room, most: blocks, rounding: rounding(device), device: device.clone() }
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        self.make_room(to);
        let [from, to] = [from, to].map(|block| (1 + block as usize) * BLOCK);
        let width = self.heads.kv * self.heads.dim;
        for numbers in self.layers.iter_mut().flatten() {
            let block = numbers.clone().narrow(0, from, BLOCK).mul_scalar(1.0);
            // In place: nobody else holds the tensor by now.
            numbers.inplace(|all| all.slice_assign([to..to + BLOCK, 0..width], block));
        }
    }

    /// Grows until `block` has its place, to twice the room at least, so that what was there is seldom copied.
    fn make_room(&mut self, block: u32) {
        let needed = block as usize + 1;
        if needed <= self.room {
            return;
        }
        let room = needed.max((2 * self.room).min(self.most));
        let shape = [(room - self.room) * BLOCK, self.heads.kv * self.heads.dim];
        for numbers in self.layers.iter_mut().flatten() {
            let more = Tensor::zeros(shape, &self.device);
            numbers.inplace(|all| Tensor::cat(vec![all, more], 0));
        }
        self.room = room;
    }

    pub(super) fn attend(&mut self, layer: usize, x: Projected, rows: &FedRows) -> Tensor<2> {
        if let Some(block) = rows.places.iter().map(|place| place.block).max() {
            self.make_room(block);
        }
        let computed = x.q.dims()[0];
        let seen = rows.padded.get_or_init(|| Seen::new(self, rows, computed));
        for (numbers, new) in self.layers[layer].iter_mut().zip([x.k, x.v]) {
            let slots = seen.slots.clone();
            numbers.inplace(|all| all.select_assign(0, slots, new, IndexingUpdateOp::Assign));
        }
        if let [Part { looks: Looks::Masked(masked), .. }] = seen.parts.as_slice()
            && masked.sequences * masked.rows_each == computed
        {
            return self.attend_padded(layer, x.q, masked);
        }
        let part = |part: &Part| {
            let own = x.q.clone().narrow(0, part.rows.start, part.rows.len());
            match &part.looks {
                Looks::Masked(masked) => {
                    let padded = with_zeros(own, masked.sequences * masked.rows_each);
                    first_rows(self.attend_padded(layer, padded, masked), part.rows.len())
                }
                #[cfg(feature = "gpu")]
                Looks::Listed(tiles) => {
                    let [k, v] = self.layers[layer].clone();
                    tiles.attend(Projected { q: own, k, v })
                }
            }
        };
        with_zeros(Tensor::cat(seen.parts.iter().map(part).collect(), 0), computed)
    }

    /// Contexts of sequences with equally many rows.
    fn attend_padded(&self, layer: usize, q: Tensor<2>, part: &Masked) -> Tensor<2> {
        let (heads, s) = (self.heads, part.sequences);
        let [k, v] = self.layers[layer].clone().map(|all| heads.split_keys(all.select(0, part.slots.clone()), s, 1));
        let scores = heads.split_queries(q, s, 1).matmul(k.swap_dims(1, 2)) + part.mask.clone();
        heads.join(activation::softmax(scores, 2).matmul(v), s, 1)
    }
}

/// The row of a token of a block.
fn slot(block: u32, token: usize) -> i64 {
    (1 + i64::from(block)) * BLOCK as i64 + token as i64
}

impl Seen {
    /// Of rows to which the device adds others, so that there are `computed`.
    fn new(of: &Padded, rows: &FedRows, computed: usize) -> Self {
        let slots = rows.places.iter().map(|place| slot(place.block, place.slot as usize));
        let slots = indices(slots.chain(std::iter::repeat(0)).take(computed), &of.device);
        // Sequences of one row each are decoded together; longer ones are prompts, read one by one.
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < rows.sequences.len() {
            let single = |sequence: &&Sequence| sequence.rows.len() == 1;
            let count = rows.sequences[at..].iter().take_while(single).count().max(1);
            parts.push(Part::new(of, &rows.sequences[at..at + count]));
            at += count;
        }
        Self { slots, parts }
    }
}

impl Part {
    fn new(of: &Padded, own: &[Sequence]) -> Self {
        let rows = own[0].rows.start..own[own.len() - 1].rows.end;
        #[cfg(feature = "gpu")]
        if let [Sequence { before, blocks, .. }] = own
            && rows.len() > 1
            && !is_cpu(&of.device)
        {
            let keys = (0..before + rows.len()).map(|token| slot(blocks[token / BLOCK], token % BLOCK));
            let looks = Looks::Listed(Tiles::of_sequence(rows.len(), *before, keys, of.heads, &of.device));
            return Self { rows, looks };
        }
        Self { rows, looks: Looks::Masked(Masked::new(of, own)) }
    }
}

impl Masked {
    fn new(of: &Padded, own: &[Sequence]) -> Self {
        let (heads, device, round) = (of.heads, &of.device, of.rounding);
        let each = own[0].rows.len();
        let (s, a) = (round(own.len()), if own.len() > 1 { 1 } else { round(each) });
        let longest = own.iter().map(|sequence| sequence.before + each).max().unwrap_or(each);
        let n = round(longest.next_multiple_of(BLOCK));
        let mut slots = vec![0; s * n];
        // What is added looks at the first token of nobody's block.
        let mut mask = vec![f32::NEG_INFINITY; s * a * n];
        mask.iter_mut().step_by(n).for_each(|first| *first = 0.0);
        for (number, Sequence { before, blocks, .. }) in own.iter().enumerate() {
            for token in 0..before + each {
                slots[number * n + token] = slot(blocks[token / BLOCK], token % BLOCK);
            }
            for row in 0..each {
                let start = (number * a + row) * n;
                mask[start..=start + before + row].fill(0.0);
            }
        }
        let mask: Tensor<4> = Tensor::from_data(TensorData::new(mask, [s, 1, a, n]), device);
        // Each head of a sequence sees the same.
        let mask = mask.expand([s, heads.kv * heads.per_kv, a, n]).reshape([s * heads.kv, heads.per_kv * a, n]);
        Self { sequences: s, rows_each: a, slots: indices(slots.into_iter(), device), mask }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Context;
    use super::super::store::Store;
    use super::*;
    use crate::bucket::bucket;
    use crate::tensor::to_vec;

    const HEADS: Heads = Heads { kv: 2, per_kv: 2, dim: 8 };

    fn rows(count: usize, width: usize, step: f32) -> Tensor<2> {
        let values: Vec<f32> = (0..count * width).map(|at| (at as f32 * step + 0.4).sin()).collect();
        Tensor::from_data(TensorData::new(values, [count, width]), &Device::flex())
    }

    /// Two prompts are read, one is forked, and all go on: padded products say what the kernel of the CPU says.
    #[test]
    fn it_is_the_kernel_of_the_cpu_within_rounding() {
        let device = Device::flex();
        let mut padded = Padded::new(HEADS, 1, 16, &device);
        // As if there were room for three blocks: the first prompt stands in block 3, the copy in 7.
        padded.layers = vec![[Tensor::zeros([4 * BLOCK, 16], &device), Tensor::zeros([4 * BLOCK, 16], &device)]];
        padded.room = 3;
        padded.rounding = bucket;
        let mut stores = [Store::new(HEADS, 1, 16, &device), Store::Padded(padded)];
        let context = |blocks: &[u32], tokens: usize| Context { shard: 0, blocks: blocks.to_vec(), tokens };
        let steps = [
            (vec![(context(&[3, 1], 0), 21), (context(&[4], 0), 5)], None),
            // The first prompt's last block is copied for a second sample.
            (vec![(context(&[3, 1], 21), 1), (context(&[3, 7], 21), 1), (context(&[4], 5), 1)], Some((1, 7))),
            (vec![(context(&[3, 1], 22), 1), (context(&[4], 6), 3), (context(&[3, 7], 22), 1)], None),
        ];
        for (number, (fed, copied)) in steps.iter().enumerate() {
            let fed_rows = FedRows::new(fed.iter().map(|(context, count)| (context, *count)));
            let count: usize = fed.iter().map(|(_, count)| count).sum();
            let seen = stores.each_mut().map(|store| {
                if let Some((from, to)) = copied {
                    store.copy(HEADS, *from, *to);
                }
                let step = 0.1 + number as f32;
                // A device adds rows.
                let count = if matches!(store, Store::Padded(_)) { bucket(count) } else { count };
                let x = Projected {
                    q: rows(count, 32, step),
                    k: rows(count, 16, step + 0.3),
                    v: rows(count, 16, step + 0.6),
                };
                to_vec(store.attend(HEADS, 0, x, &fed_rows))
            });
            let worst = seen[0].iter().zip(&seen[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6 && seen[0].iter().any(|value| value.abs() > 0.1), "step {number}: {worst}");
        }
        let Store::Padded(padded) = &stores[1] else { panic!("it was made so") };
        assert_eq!(padded.room, 12, "3 grew to twice that for block 4, and again for block 7");
    }
}
