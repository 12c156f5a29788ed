//! A query vector of a tile of rows, and the rows that it looks at, as a GPU's threads read them.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::LANES;
use super::tiles::ROW_FIELDS;

/// Numbers of a row that a block reads at a time, and what lies between two rows, so that neighbouring threads read from other
/// banks.
pub(super) const PART: usize = LANES;
pub(super) const STRIDE: usize = PART + 1;

/// One query vector of a tile of rows.
#[derive(CubeType)]
pub(super) struct Vector {
    /// Whether there is such a row.
    pub(super) there: bool,
    pub(super) row: usize,
    /// Of its query head, and of the vector among all numbers.
    pub(super) head: usize,
    pub(super) query: usize,
    /// The row of its results.
    pub(super) to: usize,
    /// Where its keys are listed, how many it looks at, and how many the last row of the tile.
    pub(super) list: usize,
    pub(super) seen: usize,
    pub(super) most: usize,
}

#[cube]
pub(super) fn vector<I: Int>(
    slot: usize,
    q: &Tensor<f32>,
    k: &Tensor<f32>,
    rows: &Tensor<I>,
    causal: u32,
    #[comptime] dim: usize,
) -> Vector {
    let kv = k.shape(1) / dim;
    let per_kv = q.shape(1) / k.shape(1);
    let tiles = rows.len() / ROW_FIELDS;
    let tile = CUBE_POS / kv;
    let fields = usize::min(tile, tiles - 1) * ROW_FIELDS;
    let first = usize::cast_from(rows[fields]);
    let count = usize::cast_from(rows[fields + 1]);
    let list = usize::cast_from(rows[fields + 2]);
    let seen = usize::cast_from(rows[fields + 3]);
    let to = usize::cast_from(rows[fields + 4]);
    let index = slot / per_kv;
    let own = usize::min(index, count - 1);
    let head = CUBE_POS % kv * per_kv + slot % per_kv;
    let row = first + own;
    let further = causal as usize;
    Vector {
        there: tile < tiles && index < count,
        row,
        head,
        query: row * q.shape(1) + head * dim,
        to: to + own,
        list,
        seen: seen + own * further,
        most: seen + (count - 1) * further,
    }
}

/// Reads `width` numbers, from `start` on, of each of some listed rows.
#[cube]
pub(super) fn read_part<I: Int>(
    x: &Tensor<f32>,
    list: &Tensor<I>,
    from: usize,
    count: usize,
    start: usize,
    width: usize,
    part: &mut Shared<[f32]>,
) {
    let mut at = UNIT_POS as usize;
    while at < LANES * PART {
        let row = at / PART;
        let column = at % PART;
        if row < count && column < width {
            part[row * STRIDE + column] = x[usize::cast_from(list[from + row]) * x.shape(1) + start + column];
        }
        at += CUBE_DIM as usize;
    }
}

/// Adds to the sums of a thread's vectors their products with its row of a part: `own` holds the vectors, from `base` on, `dim` numbers
/// apart.
#[cube]
pub(super) fn add_products(
    own: &Shared<[f32]>,
    base: usize,
    part: &Shared<[f32]>,
    width: usize,
    sums: &mut Array<f32>,
    #[comptime] dim: usize,
    #[comptime] each: usize,
) {
    let start = UNIT_POS_X as usize * STRIDE;
    for at in 0..width {
        let number = part[start + at];
        #[unroll]
        for vector in 0..each {
            sums[vector] += own[base + vector * dim + at] * number;
        }
    }
}

/// Adds listed rows, `width` numbers of each from `start` on, to what a thread's vectors sum up, weighted for each of them: `weights` has
/// those of a vector one after the other.
#[cube]
pub(super) fn add_rows<I: Int>(
    x: &Tensor<f32>,
    list: &Tensor<I>,
    from: usize,
    count: usize,
    start: usize,
    weights: &Shared<[f32]>,
    sums: &mut Array<f32>,
    #[comptime] dim: usize,
    #[comptime] each: usize,
) {
    let columns = comptime!(dim.div_ceil(LANES));
    let lane = UNIT_POS_X as usize;
    let slot = UNIT_POS_Y as usize * each;
    for at in 0..count {
        let row = usize::cast_from(list[from + at]) * x.shape(1) + start;
        #[unroll]
        for column in 0..columns {
            let place = lane + column * LANES;
            if place < dim {
                let number = x[row + place];
                #[unroll]
                for vector in 0..each {
                    sums[vector * columns + column] += weights[(slot + vector) * LANES + at] * number;
                }
            }
        }
    }
}
