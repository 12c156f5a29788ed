//! Many rows times the transpose of a weight matrix: the sums of the dot products in 16 lanes, bit for bit, computed for a tile of
//! rows and outputs at a time.
//!
//! A dot product sums every 16th product in a lane of its own and then the lanes. Here a vector holds one lane of neighbouring
//! outputs: lane by lane, a tile is multiplied with all its sums in registers, and the lanes are added as vectors, where a dot
//! product adds within one. For that, rows and weights are first laid out lane by lane.
//!
//! Shape suffixes: `k` inputs, `r` rows of a tile, `c` outputs of a tile.

use pulp::{Arch, Simd, WithSimd};

use super::tall::lane_sum;
use crate::vector::LANES;

/// Rows of a tile.
const ROWS: usize = 6;
/// Vectors of outputs of a tile.
const RUNS: usize = 2;
/// Numbers of the widest vector, which a row of a tile is copied through.
const WIDEST: usize = 16;

/// Fewer rows are not worth laying weights out for.
pub(super) const FEWEST: usize = 11 * ROWS;
/// More rows are laid out in parts.
pub(super) const MOST: usize = 170 * ROWS;

/// `x [t, inputs]` times `w [o, inputs]` transposed, to `y [t, o]`, on this thread.
pub(super) fn multiply(x: &[f32], w: &[f32], inputs: usize, y: &mut [f32]) {
    let rows = x.len() / inputs;
    let mut x_kr = vec![[0.0_f32; ROWS]; rows.div_ceil(ROWS) * inputs];
    for (tile, of_tile) in x_kr.chunks_exact_mut(inputs).zip(x.chunks(ROWS * inputs)) {
        for (at, k) in lane_by_lane(inputs).enumerate() {
            for (slot, row) in tile[at].iter_mut().zip(of_tile.chunks_exact(inputs)) {
                *slot = row[k];
            }
        }
    }
    Arch::new().dispatch(Tiles { x_kr: &x_kr, w, inputs, y });
}

/// The inputs of the first lane, then those of the next.
fn lane_by_lane(inputs: usize) -> impl Iterator<Item = usize> {
    (0..LANES.min(inputs)).flat_map(move |lane| (lane..inputs).step_by(LANES))
}

/// The work for one kind of vectors.
struct Tiles<'a> {
    /// Rows by tile, `[k, r]` each, lane by lane.
    x_kr: &'a [[f32; ROWS]],
    w: &'a [f32],
    inputs: usize,
    y: &'a mut [f32],
}

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x_kr, w, inputs, y } = self;
        let (outputs, width) = (w.len() / inputs, RUNS * S::F32_LANES);
        let mut w_kc = vec![0.0_f32; inputs * width];
        let mut lanes = vec![0.0_f32; LANES * ROWS * width];
        for first in (0..outputs).step_by(width) {
            let count = width.min(outputs - first);
            let some = &w[first * inputs..(first + count) * inputs];
            for (to, k) in w_kc.chunks_exact_mut(width).zip(lane_by_lane(inputs)) {
                for (slot, row) in to.iter_mut().zip(some.chunks_exact(inputs)) {
                    *slot = row[k];
                }
            }
            for (tile, y) in x_kr.chunks_exact(inputs).zip(y.chunks_mut(ROWS * outputs)) {
                lane_sums(simd, tile, &w_kc, &mut lanes);
                for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
                    let sums = of_row(simd, &lanes, row);
                    y[first..first + count].copy_from_slice(&sums[..count]);
                }
            }
        }
    }
}

/// The sums of every lane of a tile, `[lane, r, c]`.
#[inline(always)]
fn lane_sums<S: Simd>(simd: S, x_kr: &[[f32; ROWS]], w_kc: &[f32], lanes: &mut [f32]) {
    let (inputs, w_kc) = (x_kr.len(), S::as_simd_f32s(w_kc).0);
    let to = S::as_mut_simd_f32s(lanes).0;
    let mut start = 0;
    for (lane, to) in to.chunks_exact_mut(ROWS * RUNS).enumerate() {
        let count = if lane < inputs { (inputs - lane).div_ceil(LANES) } else { 0 };
        let mut sums = [[simd.splat_f32s(0.0); RUNS]; ROWS];
        let pairs = x_kr[start..start + count].iter().zip(w_kc[start * RUNS..].chunks_exact(RUNS));
        for (x, w) in pairs {
            let (left, right) = (w[0], w[1]);
            for r in 0..ROWS {
                let x = simd.splat_f32s(x[r]);
                sums[r][0] = simd.mul_add_f32s(x, left, sums[r][0]);
                sums[r][1] = simd.mul_add_f32s(x, right, sums[r][1]);
            }
        }
        to.copy_from_slice(sums.as_flattened());
        start += count;
    }
}

/// A row of a tile: the sum of its lanes.
#[inline(always)]
fn of_row<S: Simd>(simd: S, lanes: &[f32], row: usize) -> [f32; RUNS * WIDEST] {
    let width = RUNS * S::F32_LANES;
    let mut sums = [0.0_f32; RUNS * WIDEST];
    let to = S::as_mut_simd_f32s(&mut sums[..width]).0;
    for (run, to) in to.iter_mut().enumerate() {
        let of = |lane: usize| S::as_simd_f32s(&lanes[(lane * ROWS + row) * width..][..width]).0[run];
        *to = lane_sum(simd, of);
    }
    sums
}
