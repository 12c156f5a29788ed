//! Gradients of contexts: by queries, keys and values.
//!
//! Weights are computed again, in the same way as forward, so that no matrix of them is kept.

use rayon::prelude::*;

use super::super::heads::Heads;
use super::super::panels::{BLOCK, Panels, Place, Sequence};
use super::{Scratch, TILE, Vectors, View, exponentials, gather, products, weighted};
use crate::vector::{LANES, Run, add_scaled, vectorised};

/// Gradients in the shapes of what they belong to.
#[derive(Clone, Debug)]
pub(in crate::attention) struct Gradients {
    /// `[t, q*k]`.
    pub(in crate::attention) q: Vec<f32>,
    /// `[t, m*k]`.
    pub(in crate::attention) k: Vec<f32>,
    /// `[t, m*k]`.
    pub(in crate::attention) v: Vec<f32>,
}

/// What went in and came out of the forward pass, and the derivative by what came out.
#[derive(Clone, Copy)]
pub(in crate::attention) struct Passed<'a> {
    /// Queries `[t, q*k]`.
    pub(in crate::attention) q: &'a [f32],
    /// Contexts `[t, q*k]`.
    pub(in crate::attention) contexts: &'a [f32],
    /// The derivative of a loss by them.
    pub(in crate::attention) derivative: &'a [f32],
}

/// One head's numbers by block: keys as rows and values as columns, and the gradients of both as rows.
struct OfHead {
    key_rows: Vec<f32>,
    value_columns: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
    /// Of this head's query vectors, `[t, r*k]`.
    dq: Vec<f32>,
}

/// The gradients. `places` says where each row's keys and values stand, which may be in several blocks.
pub(in crate::attention) fn backward(
    heads: Heads,
    panels: &Panels,
    sequences: &[Sequence],
    places: &[Place],
    passed: Passed<'_>,
) -> Gradients {
    let rows = passed.q.len() / (heads.kv * heads.per_kv * heads.dim);
    let of_heads: Vec<OfHead> = (0..heads.kv)
        .into_par_iter()
        .map(|head| {
            let mut of_head = OfHead::new(heads, panels, head, rows);
            let mut scratch = [Scratch::default(), Scratch::default()];
            for sequence in sequences {
                of_head.add(Vectors { heads, head, sequence }, panels, passed, &mut scratch);
            }
            of_head
        })
        .collect();
    let (dim, own) = (heads.dim, heads.per_kv * heads.dim);
    let zeros = |width: usize| vec![0.0_f32; rows * width];
    let mut all = Gradients { q: zeros(heads.kv * own), k: zeros(heads.kv * dim), v: zeros(heads.kv * dim) };
    for (head, of_head) in of_heads.iter().enumerate() {
        for (row, dq) in of_head.dq.chunks_exact(own).enumerate() {
            all.q[(row * heads.kv + head) * own..][..own].copy_from_slice(dq);
        }
        for Place { row, block, slot } in places {
            let from = (*block as usize * BLOCK + *slot as usize) * dim;
            let to = (*row as usize * heads.kv + head) * dim;
            for (all, own) in [(&mut all.k, &of_head.dk), (&mut all.v, &of_head.dv)] {
                all[to..to + dim].iter_mut().zip(&own[from..from + dim]).for_each(|(sum, part)| *sum += part);
            }
        }
    }
    all
}

impl OfHead {
    fn new(heads: Heads, panels: &Panels, head: usize, rows: usize) -> Self {
        let size = heads.dim * BLOCK;
        let own = |chunks: &[Vec<f32>], transpose: &dyn Fn(&[f32], &mut [f32])| {
            let blocks = chunks.iter().flat_map(|chunk| chunk.chunks_exact(heads.kv * size));
            let mut out = vec![0.0_f32; blocks.clone().count() * size];
            for (block, out) in blocks.zip(out.chunks_exact_mut(size)) {
                transpose(&block[head * size..(head + 1) * size], out);
            }
            out
        };
        let transposed = |columns: usize| {
            move |from: &[f32], to: &mut [f32]| {
                let rows = from.len() / columns;
                for (at, value) in from.iter().enumerate() {
                    to[at % columns * rows + at / columns] = *value;
                }
            }
        };
        let key_rows = own(&panels.keys, &transposed(BLOCK));
        let value_columns = own(&panels.values, &transposed(heads.dim));
        let zeros = vec![0.0; key_rows.len()];
        let dq = vec![0.0; rows * heads.per_kv * heads.dim];
        Self { dk: zeros.clone(), dv: zeros, key_rows, value_columns, dq }
    }

    fn add(&mut self, vectors: Vectors<'_>, panels: &Panels, passed: Passed<'_>, scratch: &mut [Scratch; 2]) {
        vectorised(
            #[inline(always)]
            || {
                let mut first = 0;
                while first < vectors.count() {
                    first += match vectors.count() - first {
                        TILE.. => self.tile::<TILE>(vectors, first, panels, passed, scratch),
                        2.. => self.tile::<2>(vectors, first, panels, passed, scratch),
                        _ => self.tile::<1>(vectors, first, panels, passed, scratch),
                    };
                }
            },
        );
    }

    #[inline(always)]
    fn tile<const T: usize>(
        &mut self,
        vectors: Vectors<'_>,
        first: usize,
        panels: &Panels,
        passed: Passed<'_>,
        [scores, slopes]: &mut [Scratch; 2],
    ) -> usize {
        let (heads, dim) = (vectors.heads, vectors.heads.dim);
        let tokens = vectors.seen(first + T - 1);
        let blocks = &vectors.sequence.blocks[..tokens.div_ceil(BLOCK)];
        let width = blocks.len() * BLOCK;
        gather::<T>(vectors, first, passed.q, heads.scale(), &mut scores.queries);
        scores.weights.resize(T * width, 0.0);
        products::<T>(&scores.queries, View::of_all(&panels.keys, heads, vectors.head), blocks, &mut scores.weights);
        gather::<T>(vectors, first, passed.derivative, 1.0, &mut slopes.queries);
        slopes.weights.resize(T * width, 0.0);
        let value_columns = View::of_one(&self.value_columns, heads);
        products::<T>(&slopes.queries, value_columns, blocks, &mut slopes.weights);
        for t in 0..T {
            let weights = &mut scores.weights[t * width..(t + 1) * width];
            let sum = exponentials(weights, vectors.seen(first + t));
            let place = vectors.place(first + t);
            let along: f32 = passed.derivative[place.clone()]
                .iter()
                .zip(&passed.contexts[place])
                .map(|(d, context)| d * context)
                .sum();
            for (weight, slope) in weights.iter_mut().zip(&mut slopes.weights[t * width..(t + 1) * width]) {
                *weight /= sum;
                *slope = *weight * (*slope - along);
            }
        }
        self.add_to_tokens::<T>(
            vectors,
            tokens,
            (&scores.queries, &slopes.queries),
            (&scores.weights, &slopes.weights),
        );
        scores.queries.resize(T * dim, 0.0);
        weighted::<T>(vectors, &slopes.weights, View::of_one(&self.key_rows, heads), tokens, &mut scores.queries);
        // Vectors of a sequence follow each other in `dq`, as they do in the sequence.
        let start = (vectors.sequence.rows.start * heads.per_kv + first) * dim;
        for (dq, value) in self.dq[start..start + T * dim].iter_mut().zip(&scores.queries) {
            *dq = value * heads.scale();
        }
        T
    }

    /// Adds a tile's part to the gradients of the keys and values of the first `tokens` of its sequence.
    #[inline(always)]
    fn add_to_tokens<const T: usize>(
        &mut self,
        vectors: Vectors<'_>,
        tokens: usize,
        (queries, derivatives): (&[f32], &[f32]),
        (weights, slopes): (&[f32], &[f32]),
    ) {
        let (dim, width) = (vectors.heads.dim, weights.len() / T);
        let rows = |x: &[f32], out: &mut Vec<f32>| {
            out.resize(T * dim, 0.0);
            for (column, of_vectors) in x.as_chunks::<T>().0.iter().enumerate() {
                for t in 0..T {
                    out[t * dim + column] = of_vectors[t];
                }
            }
        };
        let (mut query_rows, mut derivative_rows) = (Vec::new(), Vec::new());
        rows(queries, &mut query_rows);
        rows(derivatives, &mut derivative_rows);
        let parts =
            [(&mut self.dk, slopes, query_rows.as_slice()), (&mut self.dv, weights, derivative_rows.as_slice())];
        for (sums, by_vector, rows) in parts {
            let factors: [&[f32]; T] = std::array::from_fn(|t| &by_vector[t * width..(t + 1) * width]);
            let blocks = vectors.sequence.blocks.iter().zip((0..tokens).step_by(BLOCK));
            let mut column = 0;
            while column + LANES <= dim {
                // A run of every vector stays in a register for all tokens, and a token's sums for all vectors.
                let runs: [Run; T] = std::array::from_fn(|t| run_at(rows, t * dim + column));
                for (block, token) in blocks.clone() {
                    let of_block = &mut sums[*block as usize * BLOCK * dim..][..BLOCK * dim];
                    for (slot, sums) in of_block.chunks_exact_mut(dim).take(tokens - token).enumerate() {
                        let Some(run) = sums[column..].first_chunk_mut::<LANES>() else { continue };
                        let mut all = *run;
                        for t in 0..T {
                            add_scaled(&mut all, factors[t][token + slot], &runs[t]);
                        }
                        *run = all;
                    }
                }
                column += LANES;
            }
            for column in column..dim {
                for (block, token) in blocks.clone() {
                    for at in token..tokens.min(token + BLOCK) {
                        let sum = &mut sums[(*block as usize * BLOCK + at - token) * dim + column];
                        for t in 0..T {
                            *sum = factors[t][at].mul_add(rows[t * dim + column], *sum);
                        }
                    }
                }
            }
        }
    }
}

/// The run of numbers at a place.
#[inline(always)]
fn run_at(numbers: &[f32], at: usize) -> Run {
    let mut run = [0.0; LANES];
    run.copy_from_slice(&numbers[at..at + LANES]);
    run
}
