//! Keys and values in tensors, for GPUs: a row for each token, and each row that is fed looks at a list of them.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor};

use super::FedRows;
use crate::attention::{BLOCK, Heads, Projected, Tiles};
use crate::tensor::indices;

/// Blocks that there is room for from the start.
const FIRST_ROOM: usize = 64;

/// One row for each token that there is room for, behind a block that is nobody's. Room grows as blocks are used: a device
/// would otherwise give away all that the cache may have, and limits how large one tensor is.
#[derive(Debug)]
pub(super) struct Listed {
    heads: Heads,
    /// Keys and values `[(1 + room) * 16, m*k]` of every layer.
    layers: Vec<[Tensor<2>; 2]>,
    /// Blocks that there is room for now.
    room: usize,
    /// Blocks that there may be room for.
    most: usize,
    device: Device,
}

/// What all layers of a step share: where its rows are written, and what they look at.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where keys and values of rows go, `[t]`; those of rows that the device adds, to nobody's block.
    slots: Tensor<1, Int>,
    tiles: Tiles,
}

impl Listed {
    pub(super) fn new(heads: Heads, layers: usize, blocks: usize, device: &Device) -> Self {
        let room = blocks.min(FIRST_ROOM);
        let zeros = || Tensor::zeros([(1 + room) * BLOCK, heads.kv * heads.dim], device);
        let layers = (0..layers).map(|_| [zeros(), zeros()]).collect();
        Self { heads, layers, room, most: blocks, device: device.clone() }
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        self.make_room(to);
        let [from, to] = [from, to].map(|block| slot(block, 0));
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
        let seen = rows.seen.get_or_init(|| Seen::new(rows, x.q.dims()[0], self.heads, &self.device));
        for (numbers, new) in self.layers[layer].iter_mut().zip([x.k, x.v]) {
            let slots = seen.slots.clone();
            numbers.inplace(|all| all.select_assign(0, slots, new, IndexingUpdateOp::Assign));
        }
        let [k, v] = self.layers[layer].clone();
        seen.tiles.attend(Projected { q: x.q, k, v })
    }
}

/// The row of a token of a block.
fn slot(block: u32, token: usize) -> usize {
    (1 + block as usize) * BLOCK + token
}

impl Seen {
    /// Of rows to which the device adds others, so that there are `computed`.
    fn new(rows: &FedRows, computed: usize, heads: Heads, device: &Device) -> Self {
        let slots = rows.places.iter().map(|place| slot(place.block, place.slot as usize) as i64);
        let slots = indices(slots.chain(std::iter::repeat(0)).take(computed), device);
        let key = |blocks: &[u32], token: usize| slot(blocks[token / BLOCK], token % BLOCK) as i64;
        Self { slots, tiles: Tiles::of_sequences(&rows.sequences, computed, key, heads, device) }
    }
}
