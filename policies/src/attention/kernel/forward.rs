//! Contexts of rows: softmax of scores, times values.

use rayon::prelude::*;

use super::super::heads::Heads;
use super::super::panels::{BLOCK, Panels, Sequence};
use super::{Scratch, TILE, Vectors, View, exponentials, gather, products, weighted};
use crate::vector::vectorised;

/// Rows of a sequence that one thread takes at a time.
const PIECE: usize = 64;
/// Below so many multiplications no other thread is woken.
const ALONE: usize = 1 << 18;

/// Contexts `[t, q*k]` of the rows of pieces, which follow each other from 0 on. `q` is `[t, q*k]`; rows of no piece are 0.
pub(crate) fn forward(heads: Heads, panels: &Panels, pieces: &[Sequence], q: &[f32]) -> Vec<f32> {
    let width = heads.kv * heads.per_kv * heads.dim;
    let mut out = vec![0.0_f32; q.len()];
    let work: usize = pieces.iter().map(|piece| piece.rows.len() * (piece.before + piece.rows.len())).sum();
    let mut left = out.as_mut_slice();
    let mut tasks = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let (own, others) = left.split_at_mut(piece.rows.len() * width);
        tasks.push((piece, own));
        left = others;
    }
    if work * width < ALONE {
        let mut scratch = Scratch::default();
        tasks.into_iter().for_each(|(piece, own)| attend(heads, panels, piece, q, own, &mut scratch));
    } else {
        tasks.into_par_iter().for_each_init(Scratch::default, |scratch, (piece, own)| {
            attend(heads, panels, piece, q, own, scratch);
        });
    }
    out
}

/// Long sequences cut, so that threads share them.
pub(crate) fn pieces(sequences: &[Sequence]) -> Vec<Sequence> {
    let mut pieces = Vec::with_capacity(sequences.len());
    for Sequence { rows, before, blocks } in sequences {
        for start in rows.clone().step_by(PIECE) {
            let end = (start + PIECE).min(rows.end);
            let before = before + start - rows.start;
            let seen = before + end - start;
            let blocks = blocks[..seen.div_ceil(BLOCK)].to_vec();
            pieces.push(Sequence { rows: start..end, before, blocks });
        }
    }
    pieces
}

/// The contexts of one piece, written to `own`, which begins with its first row.
fn attend(heads: Heads, panels: &Panels, piece: &Sequence, q: &[f32], own: &mut [f32], scratch: &mut Scratch) {
    vectorised(
        #[inline(always)]
        || {
            for head in 0..heads.kv {
                let vectors = Vectors { heads, head, sequence: piece };
                let mut first = 0;
                while first < vectors.count() {
                    first += match vectors.count() - first {
                        TILE.. => tile::<TILE>(vectors, first, panels, q, own, scratch),
                        2.. => tile::<2>(vectors, first, panels, q, own, scratch),
                        _ => tile::<1>(vectors, first, panels, q, own, scratch),
                    };
                }
            }
        },
    );
}

#[inline(always)]
fn tile<const T: usize>(
    vectors: Vectors<'_>,
    first: usize,
    panels: &Panels,
    q: &[f32],
    own: &mut [f32],
    scratch: &mut Scratch,
) -> usize {
    let dim = vectors.heads.dim;
    let tokens = vectors.seen(first + T - 1);
    let blocks = tokens.div_ceil(BLOCK);
    gather::<T>(vectors, first, q, vectors.heads.scale(), &mut scratch.queries);
    scratch.weights.resize(T * blocks * BLOCK, 0.0);
    let keys = View::of_all(&panels.keys, vectors.heads, vectors.head);
    products::<T>(&scratch.queries, keys, &vectors.sequence.blocks[..blocks], &mut scratch.weights);
    let mut sums = [0.0; T];
    for (t, (sum, weights)) in sums.iter_mut().zip(scratch.weights.chunks_exact_mut(blocks * BLOCK)).enumerate() {
        *sum = exponentials(weights, vectors.seen(first + t));
    }
    scratch.queries.resize(T * dim, 0.0);
    let values = View::of_all(&panels.values, vectors.heads, vectors.head);
    weighted::<T>(vectors, &scratch.weights, values, tokens, &mut scratch.queries);
    let start = vectors.sequence.rows.start * vectors.heads.kv * vectors.heads.per_kv * dim;
    for (t, sum) in sums.iter().enumerate() {
        let place = vectors.place(first + t);
        let context = &mut own[place.start - start..place.end - start];
        for (context, value) in context.iter_mut().zip(&scratch.queries[t * dim..(t + 1) * dim]) {
            *context = value / sum;
        }
    }
    T
}
