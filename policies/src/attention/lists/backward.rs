//! The kernels of attention by lists, backwards. A tensor of this file is one of the device's, `dim` the width of a head, and `each`
//! how many vectors, or keys, a thread works on: what it reads of the other side serves all of them.

#![expect(
    clippy::too_many_lines,
    reason = "a kernel is one function: its threads keep their numbers from step to step"
)]

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::LANES;
use super::tiles::KEY_FIELDS;
use super::vector::{PART, STRIDE, add_products, add_rows, read_part, vector};

/// The derivative by queries, and beside it each derivative by a context times the context, `[t, q]`.
#[cube(launch)]
pub(super) fn by_rows<I: Int>(
    slope: &Tensor<f32>,
    contexts: &Tensor<f32>,
    sums: &Tensor<f32>,
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    v: &Tensor<f32>,
    rows: &Tensor<I>,
    list: &Tensor<I>,
    by_q: &mut Tensor<f32>,
    along: &mut Tensor<f32>,
    scale: f32,
    causal: u32,
    #[comptime] dim: usize,
    #[comptime] lines: usize,
    #[comptime] each: usize,
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let slots = comptime!(lines * each);
    let mut keys = Shared::<[f32]>::new_slice(LANES * STRIDE);
    let mut values = Shared::<[f32]>::new_slice(LANES * STRIDE);
    let mut queries = Shared::<[f32]>::new_slice(comptime!(slots * dim));
    let mut slopes = Shared::<[f32]>::new_slice(comptime!(slots * dim));
    let mut factors = Shared::<[f32]>::new_slice(comptime!(slots * LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize * each;
    let of = vector::<I>(slot, q, k, rows, causal, dim);
    let width = k.shape(1);
    let start = CUBE_POS % (width / dim) * dim;
    let mut seen = Array::<usize>::new(each);
    let mut log_sum = Array::<f32>::new(each);
    let mut whole = Array::<f32>::new(each);
    let mut score = Array::<f32>::new(each);
    let mut by_weight = Array::<f32>::new(each);
    let mut total = Array::<f32>::new(comptime!(each * columns));
    #[unroll]
    for own in 0..each {
        let of = vector::<I>(slot + own, q, k, rows, causal, dim);
        seen[own] = of.seen;
        log_sum[own] = sums[of.row * sums.shape(1) + of.head];
        let mut sum = 0.0f32;
        let mut at = lane;
        while at < dim {
            queries[(slot + own) * dim + at] = q[of.query + at] * scale;
            slopes[(slot + own) * dim + at] = slope[of.query + at];
            sum += slope[of.query + at] * contexts[of.query + at];
            at += LANES;
        }
        factors[(slot + own) * LANES + lane] = sum;
        #[unroll]
        for column in 0..columns {
            total[own * columns + column] = 0.0f32;
        }
    }
    sync_cube();
    #[unroll]
    for own in 0..each {
        let mut sum = 0.0f32;
        for key in 0..LANES {
            sum += factors[(slot + own) * LANES + key];
        }
        whole[own] = sum;
    }
    let mut from = 0usize;
    while from < of.most {
        let count = usize::min(of.most - from, LANES);
        #[unroll]
        for own in 0..each {
            score[own] = 0.0f32;
            by_weight[own] = 0.0f32;
        }
        let mut part = 0usize;
        while part < dim {
            let wide = usize::min(dim - part, PART);
            sync_cube();
            read_part::<I>(k, list, of.list + from, count, start + part, wide, &mut keys);
            read_part::<I>(v, list, of.list + from, count, start + part, wide, &mut values);
            sync_cube();
            add_products(&queries, slot * dim + part, &keys, wide, &mut score, dim, each);
            add_products(&slopes, slot * dim + part, &values, wide, &mut by_weight, dim, each);
            part += PART;
        }
        #[unroll]
        for own in 0..each {
            let mut factor = 0.0f32;
            if from + lane < seen[own] {
                factor = f32::exp(score[own] - log_sum[own]) * (by_weight[own] - whole[own]);
            }
            factors[(slot + own) * LANES + lane] = factor;
        }
        sync_cube();
        add_rows::<I>(k, list, of.list + from, count, start, &factors, &mut total, dim, each);
        from += LANES;
    }
    #[unroll]
    for own in 0..each {
        let of = vector::<I>(slot + own, q, k, rows, causal, dim);
        if of.there {
            #[unroll]
            for column in 0..columns {
                let place = lane + column * LANES;
                if place < dim {
                    by_q[of.query + place] = total[own * columns + column] * scale;
                }
            }
            if lane == 0 {
                let place = of.row * along.shape(1) + of.head;
                along[place] = whole[own];
            }
        }
    }
}

/// The derivatives by keys and values, of some keys in each block.
#[cube(launch)]
pub(super) fn by_keys<I: Int>(
    slope: &Tensor<f32>,
    sums: &Tensor<f32>,
    along: &Tensor<f32>,
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    v: &Tensor<f32>,
    tiles: &Tensor<I>,
    by_k: &mut Tensor<f32>,
    by_v: &mut Tensor<f32>,
    scale: f32,
    causal: u32,
    #[comptime] dim: usize,
    #[comptime] lines: usize,
    #[comptime] each: usize,
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let slots = comptime!(lines * each);
    let mut queries = Shared::<[f32]>::new_slice(LANES * STRIDE);
    let mut slopes = Shared::<[f32]>::new_slice(LANES * STRIDE);
    let mut keys = Shared::<[f32]>::new_slice(comptime!(slots * dim));
    let mut values = Shared::<[f32]>::new_slice(comptime!(slots * dim));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(slots * LANES));
    let mut factors = Shared::<[f32]>::new_slice(comptime!(slots * LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize * each;
    let kv = k.shape(1) / dim;
    let per_kv = q.shape(1) / k.shape(1);
    let count = tiles.len() / KEY_FIELDS;
    let tile = CUBE_POS / kv;
    let head = CUBE_POS % kv;
    let fields = usize::min(tile, count - 1) * KEY_FIELDS;
    let first = usize::cast_from(tiles[fields]);
    let in_tile = usize::cast_from(tiles[fields + 1]);
    let mut key = Array::<usize>::new(each);
    let mut score = Array::<f32>::new(each);
    let mut by_weight = Array::<f32>::new(each);
    let mut of_key = Array::<f32>::new(comptime!(each * columns));
    let mut of_value = Array::<f32>::new(comptime!(each * columns));
    #[unroll]
    for own in 0..each {
        key[own] = first + usize::min(slot + own, in_tile - 1);
        let numbers = key[own] * k.shape(1) + head * dim;
        let mut at = lane;
        while at < dim {
            keys[(slot + own) * dim + at] = k[numbers + at];
            values[(slot + own) * dim + at] = v[numbers + at];
            at += LANES;
        }
        #[unroll]
        for column in 0..columns {
            of_key[own * columns + column] = 0.0f32;
            of_value[own * columns + column] = 0.0f32;
        }
    }
    // First the rows of its own sequence, then those of the completions.
    #[unroll]
    for kind in 0..2usize {
        let mut begin = usize::cast_from(tiles[fields + comptime!(2 + 2 * kind)]);
        let end = usize::cast_from(tiles[fields + comptime!(3 + 2 * kind)]);
        let mut after_key = false;
        if comptime!(kind == 0) && causal == 1u32 {
            begin = first;
            after_key = true;
        }
        let vectors = (end - begin) * per_kv;
        let mut from = 0usize;
        while from < vectors {
            let some = usize::min(vectors - from, LANES);
            #[unroll]
            for own in 0..each {
                score[own] = 0.0f32;
                by_weight[own] = 0.0f32;
            }
            let mut part = 0usize;
            while part < dim {
                let wide = usize::min(dim - part, PART);
                sync_cube();
                let mut at = UNIT_POS as usize;
                while at < LANES * PART {
                    let vector = from + at / PART;
                    let column = at % PART;
                    if vector < vectors && column < wide {
                        let row = (begin + vector / per_kv) * q.shape(1);
                        let place = row + (head * per_kv + vector % per_kv) * dim + part + column;
                        queries[at / PART * STRIDE + column] = q[place] * scale;
                        slopes[at / PART * STRIDE + column] = slope[place];
                    }
                    at += CUBE_DIM as usize;
                }
                sync_cube();
                add_products(&keys, slot * dim + part, &queries, wide, &mut score, dim, each);
                add_products(&values, slot * dim + part, &slopes, wide, &mut by_weight, dim, each);
                part += PART;
            }
            let vector = usize::min(from + lane, vectors - 1);
            let row = begin + vector / per_kv;
            let beside = row * sums.shape(1) + head * per_kv + vector % per_kv;
            #[unroll]
            for own in 0..each {
                let mut weight = 0.0f32;
                let mut factor = 0.0f32;
                if from + lane < vectors && (!after_key || row >= key[own]) {
                    weight = f32::exp(score[own] - sums[beside]);
                    factor = weight * (by_weight[own] - along[beside]);
                }
                weights[(slot + own) * LANES + lane] = weight;
                factors[(slot + own) * LANES + lane] = factor;
            }
            sync_cube();
            for other in 0..some {
                let vector = from + other;
                let query = (begin + vector / per_kv) * q.shape(1) + (head * per_kv + vector % per_kv) * dim;
                #[unroll]
                for column in 0..columns {
                    let place = lane + column * LANES;
                    if place < dim {
                        let by_context = slope[query + place];
                        let number = q[query + place] * scale;
                        #[unroll]
                        for own in 0..each {
                            let at = comptime!(own * columns + column);
                            of_value[at] += weights[(slot + own) * LANES + other] * by_context;
                            of_key[at] += factors[(slot + own) * LANES + other] * number;
                        }
                    }
                }
            }
            from += LANES;
        }
    }
    #[unroll]
    for own in 0..each {
        if tile < count && slot + own < in_tile {
            let numbers = key[own] * k.shape(1) + head * dim;
            #[unroll]
            for column in 0..columns {
                let place = lane + column * LANES;
                if place < dim {
                    by_k[numbers + place] = of_key[own * columns + column];
                    by_v[numbers + place] = of_value[own * columns + column];
                }
            }
        }
    }
}
