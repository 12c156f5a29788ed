//! Keys and values as the CPU's attention reads them: in blocks of 16 tokens, and where each token of a sequence stands.
//!
//! A sequence is a list of blocks. Blocks that are wholly within a prompt belong to all sequences that begin with it; the
//! last, partly filled one is copied for each. So the same token stands at the same place of a block whether it is
//! decoded or trained on, and all that is summed over tokens is summed in the same order.
//!
//! Shape suffixes as in the attention seam.

use std::ops::Range;

use super::heads::Heads;
use crate::vector::LANES;

/// Tokens of a block.
pub(crate) const BLOCK: usize = LANES;

/// Keys and values of one layer, block by block and head by head: keys `[k, 16]`, values `[16, k]`.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
}

/// Rows that follow each other in one sequence, and the blocks of that sequence from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Rows among those of the batch.
    pub(crate) rows: Range<usize>,
    /// Tokens of the sequence before the first of these rows: row i sees so many, and i + 1 more.
    pub(crate) before: usize,
    /// The blocks, in order.
    pub(crate) blocks: Vec<u32>,
}

/// Where the keys and values of a row are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) row: u32,
    pub(crate) block: u32,
    /// Which of the block's tokens.
    pub(crate) slot: u32,
}

impl Place {
    /// The place of a row that is token number `token` of a sequence.
    pub(crate) fn of(row: usize, blocks: &[u32], token: usize) -> Self {
        Self { row: row as u32, block: blocks[token / BLOCK], slot: (token % BLOCK) as u32 }
    }
}

impl Panels {
    /// Room for so many blocks.
    pub(crate) fn new(heads: Heads, blocks: usize) -> Self {
        let numbers = blocks * heads.kv * heads.dim * BLOCK;
        Self { keys: vec![0.0; numbers], values: vec![0.0; numbers] }
    }

    /// Grows until `block` has its place, to twice the room at least, so that what was there is seldom copied; never to
    /// more than `most` blocks.
    pub(crate) fn make_room(&mut self, heads: Heads, block: u32, most: usize) {
        let numbers = heads.kv * heads.dim * BLOCK;
        let (room, needed) = (self.keys.len() / numbers, block as usize + 1);
        if needed > room {
            let room = needed.max((2 * room).min(most));
            self.keys.resize(room * numbers, 0.0);
            self.values.resize(room * numbers, 0.0);
        }
    }

    /// Writes keys and values `[t, m*k]` of rows to their places.
    pub(crate) fn write(&mut self, heads: Heads, places: &[Place], k: &[f32], v: &[f32]) {
        let (width, panel) = (heads.kv * heads.dim, heads.dim * BLOCK);
        for Place { row, block, slot } in places {
            let (row, slot) = (*row as usize * width, *slot as usize);
            for head in 0..heads.kv {
                let start = (*block as usize * heads.kv + head) * panel;
                let from = row + head * heads.dim..row + (head + 1) * heads.dim;
                let keys = &mut self.keys[start..start + panel];
                for (lanes, key) in keys.chunks_exact_mut(BLOCK).zip(&k[from.clone()]) {
                    lanes[slot] = *key;
                }
                let values = &mut self.values[start + slot * heads.dim..][..heads.dim];
                values.copy_from_slice(&v[from]);
            }
        }
    }

    /// Copies a block.
    pub(crate) fn copy(&mut self, heads: Heads, from: u32, to: u32) {
        let numbers = heads.kv * heads.dim * BLOCK;
        let (from, to) = (from as usize * numbers, to as usize * numbers);
        self.keys.copy_within(from..from + numbers, to);
        self.values.copy_within(from..from + numbers, to);
    }
}
