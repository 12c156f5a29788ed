//! Some rows times the transpose of a weight matrix: the sums of the dot products in 16 lanes, bit for bit, with neighbouring rows
//! in one vector.
//!
//! Between few rows, whose dot products are taken one by one, and many (`wide`), for which weights are worth laying out. Here
//! the rows are laid out, lane by lane, and every weight is read once, where it lies, for all rows of a tile.
//!
//! Shape suffixes: `k` inputs, `r` rows of a tile, `c` outputs of a tile.

use pulp::{Arch, Simd, WithSimd};

use crate::vector::{LANES, Run};

/// Fewer rows leave too much of the vectors empty.
pub(super) const FEWEST: usize = 24;
/// Vectors of rows of a tile: with those of its outputs, as many sums as stay in registers.
const RUNS: usize = 2;
/// Outputs of a tile.
const OUTPUTS: usize = 6;
/// Numbers of the widest vector.
const WIDEST: usize = 16;
/// Outputs that are put together before they are written: rows of the product may lie far apart.
const TOGETHER: usize = 48;

/// `x [t, inputs]` times `w [o, inputs]` transposed, to `y [t, o]`, on this thread.
pub(super) fn multiply(x: &[f32], w: &[f32], inputs: usize, y: &mut [f32]) {
    Arch::new().dispatch(Rows { x, w, inputs, y });
}

/// The work for one kind of vectors.
struct Rows<'a> {
    x: &'a [f32],
    w: &'a [f32],
    inputs: usize,
    y: &'a mut [f32],
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, inputs, y } = self;
        let (outputs, deep, width) = (w.len() / inputs, inputs.div_ceil(LANES), RUNS * S::F32_LANES);
        let mut x_kr = vec![0.0_f32; deep * LANES * width];
        let mut together = vec![0.0_f32; width * TOGETHER];
        let mut rests = vec![[0.0_f32; LANES]; if inputs.is_multiple_of(LANES) { 0 } else { outputs }];
        for (rest, w) in rests.iter_mut().zip(w.chunks_exact(inputs)) {
            let end = w.as_chunks::<LANES>().1;
            rest[..end.len()].copy_from_slice(end);
        }
        for (x, y) in x.chunks(width * inputs).zip(y.chunks_mut(width * outputs)) {
            for (r, row) in x.chunks_exact(inputs).enumerate() {
                for (k, value) in row.iter().enumerate() {
                    x_kr[((k % LANES) * deep + k / LANES) * width + r] = *value;
                }
            }
            for some in (0..outputs).step_by(TOGETHER) {
                let count = TOGETHER.min(outputs - some);
                for first in (some..some + count).step_by(OUTPUTS) {
                    let of = |c: usize| (first + c).min(outputs - 1);
                    let runs_c = std::array::from_fn(|c| w[of(c) * inputs..][..inputs].as_chunks::<LANES>().0);
                    let rests_c = std::array::from_fn(|c| rests.get(of(c)));
                    let sums = tile(simd, &x_kr, runs_c, rests_c);
                    for (c, sums) in sums.iter().take(some + count - first).enumerate() {
                        // Through an array, so that each number is written from memory.
                        let mut rows = [0.0_f32; RUNS * WIDEST];
                        S::as_mut_simd_f32s(&mut rows[..width]).0.copy_from_slice(sums);
                        for (together, sum) in
                            together[first - some + c..].iter_mut().step_by(TOGETHER).zip(&rows[..width])
                        {
                            *together = *sum;
                        }
                    }
                }
                for (y, sums) in y.chunks_exact_mut(outputs).zip(together.chunks_exact(TOGETHER)) {
                    y[some..some + count].copy_from_slice(&sums[..count]);
                }
            }
        }
    }
}

/// The products of a tile, `[c, run]` vectors of rows.
#[inline(always)]
fn tile<S: Simd>(
    simd: S,
    x_kr: &[f32],
    runs_c: [&[Run]; OUTPUTS],
    rests_c: [Option<&Run>; OUTPUTS],
) -> [[S::f32s; RUNS]; OUTPUTS] {
    let x_kr = S::as_simd_f32s(x_kr).0;
    let deep = x_kr.len() / (LANES * RUNS);
    let count = runs_c[0].len();
    let runs_c = runs_c.map(|runs| &runs[..count]);
    let zero = simd.splat_f32s(0.0);
    let mut lanes = [[[zero; RUNS]; OUTPUTS]; LANES];
    for (lane, to) in lanes.iter_mut().enumerate() {
        let mut sums = [[zero; RUNS]; OUTPUTS];
        let x_kr = &x_kr[lane * deep * RUNS..(lane + 1) * deep * RUNS];
        for (at, x) in x_kr[..count * RUNS].chunks_exact(RUNS).enumerate() {
            for c in 0..OUTPUTS {
                let w = simd.splat_f32s(runs_c[c][at][lane]);
                for run in 0..RUNS {
                    sums[c][run] = simd.mul_add_f32s(x[run], w, sums[c][run]);
                }
            }
        }
        for (sums, rest) in sums.iter_mut().zip(rests_c) {
            let Some(rest) = rest else { continue };
            for run in 0..RUNS {
                sums[run] = simd.mul_add_f32s(x_kr[count * RUNS + run], simd.splat_f32s(rest[lane]), sums[run]);
            }
        }
        *to = sums;
    }
    let mut products = [[zero; RUNS]; OUTPUTS];
    for (c, products) in products.iter_mut().enumerate() {
        for (run, product) in products.iter_mut().enumerate() {
            *product = lane_sum(simd, |lane| lanes[lane][c][run]);
        }
    }
    products
}

/// Lanes added in the order of [`crate::vector::sum`].
#[inline(always)]
pub(super) fn lane_sum<S: Simd>(simd: S, of: impl Fn(usize) -> S::f32s) -> S::f32s {
    let mut eight = [simd.splat_f32s(0.0); 8];
    for (lane, sum) in eight.iter_mut().enumerate() {
        *sum = simd.add_f32s(of(lane), of(lane + 8));
    }
    let mut four = [simd.splat_f32s(0.0); 4];
    for (lane, sum) in four.iter_mut().enumerate() {
        *sum = simd.add_f32s(eight[lane], eight[lane + 4]);
    }
    simd.add_f32s(simd.add_f32s(four[0], four[2]), simd.add_f32s(four[1], four[3]))
}
