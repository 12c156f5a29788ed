//! Log-probs and entropies of rows of logits, and their derivatives by the logits, a block for each row.
//!
//! Shape suffixes: `m` rows, `w` vocabulary.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};

use self::kernel::{rows, slopes};
use super::{THREADS, empty, empty_like, in_one_piece};

/// The log-prob of each row's target and the row's entropy, `[m, 2]`, of logits that are multiplied by `scale`.
pub(crate) fn of_rows(logits_mw: Tensor<2>, targets_m: Tensor<1, Int>, scale: f32) -> Tensor<2> {
    let (logits, targets) = (logits_mw.into_dispatch(), targets_m.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LogProbs>::rows(logits, targets, scale))
}

/// The derivative by logits, `[m, w]`, of a loss whose derivatives by log-probs and entropies are `factors_m2`.
pub(crate) fn by_logits(
    logits_mw: Tensor<2>,
    targets_m: Tensor<1, Int>,
    factors_m2: Tensor<2>,
    scale: f32,
) -> Tensor<2> {
    let (logits, targets, factors) = (logits_mw.into_dispatch(), targets_m.into_dispatch(), factors_m2.into_dispatch());
    Tensor::from_dispatch(<Dispatch as LogProbs>::slopes(logits, targets, factors, scale))
}

/// The kernels as operations.
#[backend_extension(Cube)]
trait LogProbs: Backend {
    /// See [`of_rows`].
    fn rows(logits: FloatTensor<Self>, targets: IntTensor<Self>, scale: f32) -> FloatTensor<Self>;

    /// See [`by_logits`].
    fn slopes(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        factors: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self>;
}

impl LogProbs for CubeBackend {
    fn rows(logits: FloatTensor<Self>, targets: IntTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let [logits, targets] = in_one_piece([logits, targets]);
        let found = empty(Shape::new([logits.meta.shape()[0], 2]), &logits);
        let ((blocks, block), ids) = (blocks_of(&logits), dtype_to_storage_type(targets.dtype));
        let [logits, targets, to] = [logits, targets, found.clone()].map(|tensor| tensor.into_tensor_arg());
        rows::launch(&found.client, blocks, block, logits, targets, to, scale, ids);
        found
    }

    fn slopes(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        factors: FloatTensor<Self>,
        scale: f32,
    ) -> FloatTensor<Self> {
        let [logits, targets, factors] = in_one_piece([logits, targets, factors]);
        let found = empty_like(&logits);
        let ((blocks, block), ids) = (blocks_of(&logits), dtype_to_storage_type(targets.dtype));
        let [logits, targets, factors, to] =
            [logits, targets, factors, found.clone()].map(|tensor| tensor.into_tensor_arg());
        slopes::launch(&found.client, blocks, block, logits, targets, factors, to, scale, ids);
        found
    }
}

/// A block for every row of `logits [m, w]`.
fn blocks_of(logits: &FloatTensor<CubeBackend>) -> (CubeCount, CubeDim) {
    let block = CubeDim::new_1d(THREADS);
    (calculate_cube_count_elemwise(&logits.client, logits.meta.shape()[0] * THREADS as usize, block), block)
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use crate::gpu::normaliser::{FLOOR, WIDE, normaliser};

    #[cube(launch)]
    pub(super) fn rows<I: Int>(
        logits: &Tensor<f32>,
        targets: &Tensor<I>,
        to: &mut Tensor<f32>,
        scale: f32,
        #[define(I)] _ids: ElemType,
    ) {
        let mut shared = Shared::<[f32]>::new_slice(WIDE);
        // A block without a row reads the last one, and writes nothing.
        let row = usize::min(CUBE_POS, targets.len() - 1);
        let of = normaliser(logits, row, scale, &mut shared);
        if CUBE_POS == row && UNIT_POS == 0u32 {
            let logit = logits[of.start + usize::cast_from(targets[row])] * scale;
            to[2 * row] = logit - of.largest - f32::ln(of.sum);
            to[2 * row + 1] = of.entropy;
        }
    }

    #[cube(launch)]
    pub(super) fn slopes<I: Int>(
        logits: &Tensor<f32>,
        targets: &Tensor<I>,
        factors: &Tensor<f32>,
        to: &mut Tensor<f32>,
        scale: f32,
        #[define(I)] _ids: ElemType,
    ) {
        let mut shared = Shared::<[f32]>::new_slice(WIDE);
        let row = usize::min(CUBE_POS, targets.len() - 1);
        let of = normaliser(logits, row, scale, &mut shared);
        if CUBE_POS == row {
            let width = logits.shape(1);
            let target = usize::cast_from(targets[row]);
            let by_log_prob = factors[2 * row] * scale;
            let by_entropy = factors[2 * row + 1] * scale;
            let above = of.entropy - f32::ln(of.sum);
            let mut at = UNIT_POS as usize;
            while at < width {
                let below = logits[of.start + at] * scale - of.largest;
                let probability = f32::exp(below) / of.sum;
                let mut slope = by_entropy * (f32::max(below, f32::new(FLOOR)) + above) + by_log_prob;
                slope *= -probability;
                if at == target {
                    slope += by_log_prob;
                }
                to[of.start + at] = slope;
                at += WIDE;
            }
        }
    }
}
