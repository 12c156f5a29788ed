//! Attention on a CPU: every row looks at the keys of its sequence, whoever else is in the batch.
//!
//! What a row sees is summed token by token in the order of its sequence, and nothing of the batch's shape enters: a row
//! has the same bits alone, beside others, while it is decoded and while it is trained on.
//!
//! Shape suffixes as in the attention seam.

mod backward;
mod forward;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(super) use self::backward::{Passed, backward};
pub(crate) use self::forward::{forward, pieces};
use super::heads::Heads;
use super::panels::{BLOCK, CHUNK_BITS, Sequence};
use crate::vector::{LANES, Run, add_scaled, exp, largest, sum};

/// Query vectors that are computed together, at most.
const TILE: usize = 4;

/// Query vectors of one key-value head: those of the first row, then of the next.
#[derive(Clone, Copy)]
struct Vectors<'a> {
    heads: Heads,
    /// The key-value head.
    head: usize,
    sequence: &'a Sequence,
}

impl Vectors<'_> {
    fn count(&self) -> usize {
        self.sequence.rows.len() * self.heads.per_kv
    }

    /// Where a vector stands in a matrix `[t, q*k]`.
    #[inline(always)]
    fn place(&self, vector: usize) -> Range<usize> {
        let Heads { kv, per_kv, dim } = self.heads;
        let row = self.sequence.rows.start + vector / per_kv;
        let start = (row * kv * per_kv + self.head * per_kv + vector % per_kv) * dim;
        start..start + dim
    }

    /// Tokens that a vector sees.
    #[inline(always)]
    fn seen(&self, vector: usize) -> usize {
        self.sequence.before + vector / self.heads.per_kv + 1
    }
}

/// Blocks of numbers of one key-value head, `[k, 16]` or `[16, k]`.
#[derive(Clone, Copy)]
struct View<'a> {
    chunks: &'a [Vec<f32>],
    /// Blocks of a chunk, as a power of two.
    bits: u32,
    /// Heads that stand side by side in a block, and which one this is.
    heads: usize,
    head: usize,
    /// Numbers of a block.
    size: usize,
}

impl<'a> View<'a> {
    /// Of panels in which the blocks of all key-value heads stand.
    fn of_all(chunks: &'a [Vec<f32>], heads: Heads, head: usize) -> Self {
        Self { chunks, bits: CHUNK_BITS, heads: heads.kv, head, size: heads.dim * BLOCK }
    }

    /// Of all blocks of this head alone, in one piece.
    fn of_one(numbers: &'a Vec<f32>, heads: Heads) -> Self {
        Self { chunks: std::slice::from_ref(numbers), bits: u32::BITS - 1, heads: 1, head: 0, size: heads.dim * BLOCK }
    }

    #[inline(always)]
    fn block(&self, block: u32) -> &'a [f32] {
        let (chunk, block) = ((block >> self.bits) as usize, (block & ((1 << self.bits) - 1)) as usize);
        let start = (block * self.heads + self.head) * self.size;
        &self.chunks[chunk][start..start + self.size]
    }
}

/// Room for what is computed on the way, kept from tile to tile.
#[derive(Default)]
struct Scratch {
    /// Query vectors of a tile, `[k, T]`.
    queries: Vec<f32>,
    /// Scores and then weights of a tile's vectors, each as long as the blocks that it sees.
    weights: Vec<f32>,
}

/// Fills `scratch.queries` with `T` vectors of `x`, multiplied by `scale`.
#[inline(always)]
fn gather<const T: usize>(vectors: Vectors<'_>, first: usize, x: &[f32], scale: f32, out: &mut Vec<f32>) {
    out.resize(vectors.heads.dim * T, 0.0);
    for t in 0..T {
        for (column, value) in x[vectors.place(first + t)].iter().enumerate() {
            out[column * T + t] = value * scale;
        }
    }
}

/// Products of `T` vectors `[k, T]` with the columns of panels `[k, 16]`: for each vector one number a token.
#[inline(always)]
fn products<const T: usize>(x: &[f32], panels: View<'_>, blocks: &[u32], out: &mut [f32]) {
    let width = blocks.len() * LANES;
    let mut block = 0;
    // Two blocks at a time keep the adders busy; what is added for a token does not depend on it.
    while block + 1 < blocks.len() {
        let (left, right) = (panels.block(blocks[block]), panels.block(blocks[block + 1]));
        let mut sums = [[[0.0_f32; LANES]; 2]; T];
        let lanes = left.as_chunks::<LANES>().0.iter().zip(right.as_chunks::<LANES>().0);
        for ((left, right), x) in lanes.zip(x.as_chunks::<T>().0) {
            for t in 0..T {
                add_scaled(&mut sums[t][0], x[t], left);
                add_scaled(&mut sums[t][1], x[t], right);
            }
        }
        for (t, [left, right]) in sums.iter().enumerate() {
            let at = t * width + block * LANES;
            out[at..at + LANES].copy_from_slice(left);
            out[at + LANES..at + 2 * LANES].copy_from_slice(right);
        }
        block += 2;
    }
    if block < blocks.len() {
        let mut sums = [[0.0_f32; LANES]; T];
        for (lanes, x) in panels.block(blocks[block]).as_chunks::<LANES>().0.iter().zip(x.as_chunks::<T>().0) {
            for t in 0..T {
                add_scaled(&mut sums[t], x[t], lanes);
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            let at = t * width + block * LANES;
            out[at..at + LANES].copy_from_slice(sums);
        }
    }
}

/// Turns scores of the first `seen` tokens into exponentials, sets those behind to 0, and gives their sum.
#[inline(always)]
fn exponentials(scores: &mut [f32], seen: usize) -> f32 {
    scores[seen..].fill(f32::NEG_INFINITY);
    let runs = scores.as_chunks_mut::<LANES>().0;
    let mut most = [f32::NEG_INFINITY; LANES];
    for run in runs.iter() {
        for (most, score) in most.iter_mut().zip(run) {
            *most = if *score > *most { *score } else { *most };
        }
    }
    let most = largest(&most);
    let mut sums: Run = [0.0; LANES];
    for run in runs.iter_mut() {
        for score in run.iter_mut() {
            *score -= most;
        }
        *run = exp(run);
        for (sum, weight) in sums.iter_mut().zip(run.iter()) {
            *sum += *weight;
        }
    }
    sum(&sums)
}

/// For `T` vectors the sum over tokens of weight times the row of panels `[16, k]`, `[T, k]`.
#[inline(always)]
fn weighted<const T: usize>(vectors: Vectors<'_>, weights: &[f32], panels: View<'_>, tokens: usize, out: &mut [f32]) {
    let dim = vectors.heads.dim;
    let mut column = 0;
    while column + 2 * LANES <= dim {
        weighted_runs::<T, 2>(vectors, weights, panels, tokens, (column, &mut *out));
        column += 2 * LANES;
    }
    if column + LANES <= dim {
        weighted_runs::<T, 1>(vectors, weights, panels, tokens, (column, &mut *out));
        column += LANES;
    }
    for column in column..dim {
        for t in 0..T {
            let mut sum = 0.0_f32;
            for token in 0..tokens {
                let panel = panels.block(vectors.sequence.blocks[token / BLOCK]);
                sum = weights[t * weights.len() / T + token].mul_add(panel[token % BLOCK * dim + column], sum);
            }
            out[t * dim + column] = sum;
        }
    }
}

/// The same for `N` runs of columns.
#[inline(always)]
fn weighted_runs<const T: usize, const N: usize>(
    vectors: Vectors<'_>,
    weights: &[f32],
    panels: View<'_>,
    tokens: usize,
    (column, out): (usize, &mut [f32]),
) {
    let (dim, width) = (vectors.heads.dim, weights.len() / T);
    let mut sums = [[[0.0_f32; LANES]; N]; T];
    for (number, block) in vectors.sequence.blocks[..tokens.div_ceil(BLOCK)].iter().enumerate() {
        // What stands behind the last token is never read: it may be anything.
        let some = (tokens - number * BLOCK).min(BLOCK);
        let of_block: [&[f32]; T] = std::array::from_fn(|t| &weights[t * width + number * BLOCK..][..some]);
        for (slot, row) in panels.block(*block).chunks_exact(dim).take(some).enumerate() {
            let Some(row) = row[column..].as_chunks::<LANES>().0.first_chunk::<N>() else { continue };
            for t in 0..T {
                let weight = of_block[t][slot];
                for n in 0..N {
                    add_scaled(&mut sums[t][n], weight, &row[n]);
                }
            }
        }
    }
    for (t, of_vector) in sums.iter().enumerate() {
        for (n, run) in of_vector.iter().enumerate() {
            let at = t * dim + column + n * LANES;
            out[at..at + LANES].copy_from_slice(run);
        }
    }
}
