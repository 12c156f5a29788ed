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

/// Blocks that are made at once when a cache grows, as a power of two: none of what is there has to move.
pub(super) const CHUNK_BITS: u32 = 3;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Keys and values of one layer, block by block and head by head: keys `[k, 16]`, values `[16, k]`; some blocks to a chunk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Panels {
    pub(super) keys: Vec<Vec<f32>>,
    pub(super) values: Vec<Vec<f32>>,
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
        let mut panels = Self::default();
        if let Some(last) = blocks.checked_sub(1) {
            panels.make_room(heads, last as u32, blocks);
        }
        panels
    }

    /// Grows until `block` has its place; there will never be more than `most` blocks.
    pub(crate) fn make_room(&mut self, heads: Heads, block: u32, most: usize) {
        for all in [&mut self.keys, &mut self.values] {
            while all.len() << CHUNK_BITS <= block as usize {
                let blocks = CHUNK.min(most.saturating_sub(all.len() * CHUNK));
                all.push(vec![0.0; blocks * heads.kv * heads.dim * BLOCK]);
            }
        }
    }

    /// Writes keys and values `[t, m*k]` of rows to their places.
    pub(crate) fn write(&mut self, heads: Heads, places: &[Place], k: &[f32], v: &[f32]) {
        let (width, panel) = (heads.kv * heads.dim, heads.dim * BLOCK);
        for Place { row, block, slot } in places {
            let (row, slot) = (*row as usize * width, *slot as usize);
            for head in 0..heads.kv {
                let (chunk, start) = (*block as usize / CHUNK, (*block as usize % CHUNK * heads.kv + head) * panel);
                let from = row + head * heads.dim..row + (head + 1) * heads.dim;
                let keys = &mut self.keys[chunk][start..start + panel];
                for (lanes, key) in keys.chunks_exact_mut(BLOCK).zip(&k[from.clone()]) {
                    lanes[slot] = *key;
                }
                let values = &mut self.values[chunk][start + slot * heads.dim..][..heads.dim];
                values.copy_from_slice(&v[from]);
            }
        }
    }

    /// Copies a block.
    pub(crate) fn copy(&mut self, heads: Heads, from: u32, to: u32) {
        let numbers = heads.kv * heads.dim * BLOCK;
        let place = |block: u32| (block as usize / CHUNK, block as usize % CHUNK * numbers);
        let ((from, at), (to, there)) = (place(from), place(to));
        for all in [&mut self.keys, &mut self.values] {
            let block = all[from][at..at + numbers].to_vec();
            all[to][there..there + numbers].copy_from_slice(&block);
        }
    }
}
