//! The kernels of attention by lists. A tensor of this file is one of the device's, and `dim` the width of a head.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::LANES;
use super::tiles::{KEY_FIELDS, KEYS, ROW_FIELDS};

/// Below every score.
const LOWEST: f32 = -3.0e38;

/// What a line of threads works on: one query vector of a tile of rows.
#[derive(CubeType)]
struct Line {
    /// Whether there is such a row.
    there: bool,
    row: usize,
    /// Of its query head, and of the vector among all numbers.
    head: usize,
    query: usize,
    /// Where its keys are listed, how many it looks at, and how many the last row of the tile.
    list: usize,
    seen: usize,
    most: usize,
}

#[cube]
fn line<I: Int>(q: &Tensor<f32>, k: &Tensor<f32>, rows: &Tensor<I>, causal: u32, #[comptime] dim: usize) -> Line {
    let kv = k.shape(1) / dim;
    let per_kv = q.shape(1) / k.shape(1);
    let tiles = rows.len() / ROW_FIELDS;
    let tile = CUBE_POS / kv;
    let fields = usize::min(tile, tiles - 1) * ROW_FIELDS;
    let first = usize::cast_from(rows[fields]);
    let count = usize::cast_from(rows[fields + 1]);
    let list = usize::cast_from(rows[fields + 2]);
    let seen = usize::cast_from(rows[fields + 3]);
    let slot = UNIT_POS_Y as usize;
    let index = slot / per_kv;
    let own = usize::min(index, count - 1);
    let head = CUBE_POS % kv * per_kv + slot % per_kv;
    let row = first + own;
    let further = causal as usize;
    Line {
        there: tile < tiles && index < count,
        row,
        head,
        query: row * q.shape(1) + head * dim,
        list,
        seen: seen + own * further,
        most: seen + (count - 1) * further,
    }
}

/// Reads some listed keys of a head, a row of `dim + 1` numbers each, so that neighbouring threads read from other banks.
#[cube]
fn read_keys<I: Int>(
    k: &Tensor<f32>,
    list: &Tensor<I>,
    from: usize,
    count: usize,
    keys: &mut Shared<[f32]>,
    #[comptime] dim: usize,
) {
    let width = k.shape(1);
    let start = CUBE_POS % (width / dim) * dim;
    sync_cube();
    let mut at = UNIT_POS as usize;
    while at < LANES * dim {
        let key = at / dim;
        let column = at % dim;
        if key < count {
            keys[key * (dim + 1) + column] = k[usize::cast_from(list[from + key]) * width + start + column];
        }
        at += CUBE_DIM as usize;
    }
    sync_cube();
}

#[cube(launch)]
pub(super) fn forward<I: Int>(
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    v: &Tensor<f32>,
    rows: &Tensor<I>,
    list: &Tensor<I>,
    contexts: &mut Tensor<f32>,
    sums: &mut Tensor<f32>,
    scale: f32,
    causal: u32,
    #[comptime] dim: usize,
    #[comptime] lines: usize,
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(LANES * (dim + 1)));
    let mut queries = Shared::<[f32]>::new_slice(comptime!(lines * dim));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(lines * LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize;
    let of = line::<I>(q, k, rows, causal, dim);
    let width = k.shape(1);
    let start = CUBE_POS % (width / dim) * dim;
    let mut at = lane;
    while at < dim {
        queries[slot * dim + at] = q[of.query + at] * scale;
        at += LANES;
    }
    let mut sum = 0.0f32;
    let mut largest = f32::new(LOWEST);
    let mut context = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        context[column] = 0.0f32;
    }
    let mut from = 0usize;
    while from < of.most {
        read_keys::<I>(k, list, of.list + from, of.most - from, &mut keys, dim);
        let mut score = f32::new(LOWEST);
        if from + lane < of.seen {
            score = 0.0f32;
            for at in 0..dim {
                score += queries[slot * dim + at] * keys[lane * (dim + 1) + at];
            }
        }
        weights[slot * LANES + lane] = score;
        sync_cube();
        let mut now = f32::max(largest, weights[slot * LANES]);
        for key in 1..LANES {
            now = f32::max(now, weights[slot * LANES + key]);
        }
        let mut weight = 0.0f32;
        if from + lane < of.seen {
            weight = f32::exp(score - now);
        }
        let mut kept = 0.0f32;
        if from > 0 {
            kept = f32::exp(largest - now);
        }
        largest = now;
        sync_cube();
        weights[slot * LANES + lane] = weight;
        sync_cube();
        sum *= kept;
        #[unroll]
        for column in 0..columns {
            context[column] = context[column] * kept;
        }
        let mut key = 0usize;
        while key < LANES && from + key < of.most {
            let weight = weights[slot * LANES + key];
            sum += weight;
            let value = usize::cast_from(list[of.list + from + key]) * width + start;
            #[unroll]
            for column in 0..columns {
                let place = lane + column * LANES;
                if place < dim {
                    context[column] = context[column] + weight * v[value + place];
                }
            }
            key += 1;
        }
        from += LANES;
    }
    if of.there {
        #[unroll]
        for column in 0..columns {
            let place = lane + column * LANES;
            if place < dim {
                contexts[of.query + place] = context[column] / sum;
            }
        }
        if lane == 0 {
            let place = of.row * sums.shape(1) + of.head;
            sums[place] = largest + f32::ln(sum);
        }
    }
}

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
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(LANES * (dim + 1)));
    let mut queries = Shared::<[f32]>::new_slice(comptime!(lines * dim));
    let mut slopes = Shared::<[f32]>::new_slice(comptime!(lines * dim));
    let mut factors = Shared::<[f32]>::new_slice(comptime!(lines * LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize;
    let of = line::<I>(q, k, rows, causal, dim);
    let width = k.shape(1);
    let start = CUBE_POS % (width / dim) * dim;
    let mut own = 0.0f32;
    let mut at = lane;
    while at < dim {
        queries[slot * dim + at] = q[of.query + at] * scale;
        slopes[slot * dim + at] = slope[of.query + at];
        own += slope[of.query + at] * contexts[of.query + at];
        at += LANES;
    }
    factors[slot * LANES + lane] = own;
    sync_cube();
    let mut whole = 0.0f32;
    for key in 0..LANES {
        whole += factors[slot * LANES + key];
    }
    let log_sum = sums[of.row * sums.shape(1) + of.head];
    let mut total = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        total[column] = 0.0f32;
    }
    let mut from = 0usize;
    while from < of.most {
        read_keys::<I>(k, list, of.list + from, of.most - from, &mut keys, dim);
        let mut factor = 0.0f32;
        if from + lane < of.seen {
            let value = usize::cast_from(list[of.list + from + lane]) * width + start;
            let mut score = 0.0f32;
            let mut by_weight = 0.0f32;
            for at in 0..dim {
                score += queries[slot * dim + at] * keys[lane * (dim + 1) + at];
                by_weight += slopes[slot * dim + at] * v[value + at];
            }
            factor = f32::exp(score - log_sum) * (by_weight - whole);
        }
        factors[slot * LANES + lane] = factor;
        sync_cube();
        let mut key = 0usize;
        while key < LANES && from + key < of.most {
            let factor = factors[slot * LANES + key];
            #[unroll]
            for column in 0..columns {
                let place = lane + column * LANES;
                if place < dim {
                    total[column] = total[column] + factor * keys[key * (dim + 1) + place];
                }
            }
            key += 1;
        }
        from += LANES;
    }
    if of.there {
        #[unroll]
        for column in 0..columns {
            let place = lane + column * LANES;
            if place < dim {
                by_q[of.query + place] = total[column] * scale;
            }
        }
        if lane == 0 {
            let place = of.row * along.shape(1) + of.head;
            along[place] = whole;
        }
    }
}

/// The derivatives by keys and values: a line of threads has one key of a tile.
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
    #[define(I)] _ids: ElemType,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let mut queries = Shared::<[f32]>::new_slice(comptime!(LANES * (dim + 1)));
    let mut keys = Shared::<[f32]>::new_slice(comptime!(KEYS * dim));
    let mut values = Shared::<[f32]>::new_slice(comptime!(KEYS * dim));
    let mut weights = Shared::<[f32]>::new_slice(comptime!(KEYS * LANES));
    let mut factors = Shared::<[f32]>::new_slice(comptime!(KEYS * LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize;
    let kv = k.shape(1) / dim;
    let per_kv = q.shape(1) / k.shape(1);
    let count = tiles.len() / KEY_FIELDS;
    let tile = CUBE_POS / kv;
    let head = CUBE_POS % kv;
    let fields = usize::min(tile, count - 1) * KEY_FIELDS;
    let first = usize::cast_from(tiles[fields]);
    let in_tile = usize::cast_from(tiles[fields + 1]);
    let key = first + usize::min(slot, in_tile - 1);
    let own = key * k.shape(1) + head * dim;
    let mut at = lane;
    while at < dim {
        keys[slot * dim + at] = k[own + at];
        values[slot * dim + at] = v[own + at];
        at += LANES;
    }
    let mut of_key = Array::<f32>::new(columns);
    let mut of_value = Array::<f32>::new(columns);
    #[unroll]
    for column in 0..columns {
        of_key[column] = 0.0f32;
        of_value[column] = 0.0f32;
    }
    // First the rows of its own sequence, then those of the completions.
    #[unroll]
    for kind in 0..2usize {
        let mut begin = usize::cast_from(tiles[fields + comptime!(2 + 2 * kind)]);
        let end = usize::cast_from(tiles[fields + comptime!(3 + 2 * kind)]);
        let mut after_key = false;
        if comptime!(kind == 0) {
            if causal == 1u32 {
                begin = first;
                after_key = true;
            }
        }
        let vectors = (end - begin) * per_kv;
        let mut from = 0usize;
        while from < vectors {
            sync_cube();
            let mut at = UNIT_POS as usize;
            while at < LANES * dim {
                let vector = from + at / dim;
                if vector < vectors {
                    let place =
                        (begin + vector / per_kv) * q.shape(1) + (head * per_kv + vector % per_kv) * dim + at % dim;
                    queries[at / dim * (dim + 1) + at % dim] = q[place] * scale;
                }
                at += CUBE_DIM as usize;
            }
            sync_cube();
            let vector = usize::min(from + lane, vectors - 1);
            let row = begin + vector / per_kv;
            let query_head = head * per_kv + vector % per_kv;
            let mut weight = 0.0f32;
            let mut factor = 0.0f32;
            if from + lane < vectors && (!after_key || row >= key) {
                let query = row * q.shape(1) + query_head * dim;
                let mut score = 0.0f32;
                let mut by_weight = 0.0f32;
                for at in 0..dim {
                    score += queries[lane * (dim + 1) + at] * keys[slot * dim + at];
                    by_weight += slope[query + at] * values[slot * dim + at];
                }
                let beside = row * sums.shape(1) + query_head;
                weight = f32::exp(score - sums[beside]);
                factor = weight * (by_weight - along[beside]);
            }
            weights[slot * LANES + lane] = weight;
            factors[slot * LANES + lane] = factor;
            sync_cube();
            let mut other = 0usize;
            while other < LANES && from + other < vectors {
                let vector = from + other;
                let query = (begin + vector / per_kv) * q.shape(1) + (head * per_kv + vector % per_kv) * dim;
                let weight = weights[slot * LANES + other];
                let factor = factors[slot * LANES + other];
                #[unroll]
                for column in 0..columns {
                    let place = lane + column * LANES;
                    if place < dim {
                        of_value[column] = of_value[column] + weight * slope[query + place];
                        of_key[column] = of_key[column] + factor * queries[other * (dim + 1) + place];
                    }
                }
                other += 1;
            }
            from += LANES;
        }
    }
    if tile < count && slot < in_tile {
        #[unroll]
        for column in 0..columns {
            let place = lane + column * LANES;
            if place < dim {
                by_k[own + place] = of_key[column];
                by_v[own + place] = of_value[column];
            }
        }
    }
}
