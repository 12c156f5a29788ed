//! Experts of few rows on a GPU: which they are is found there, and each row reads the weights of its own, so that nothing waits
//! for the host between a layer's router and its experts. Nothing goes back.
//!
//! Shape suffixes: `t` rows, `e` experts, `k` experts of a row, `n` rows or rows times `k`, `i` inputs, `o` outputs.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use self::kernel::{LINE, LINES, by_experts, likeliest};
use super::{THREADS, empty, in_one_piece};

/// The `k` most probable experts of every row of `probs_te`, ascending by index, `[t, k]`; of equals the first.
pub(crate) fn most_probable(probs_te: Tensor<2>, k: usize) -> Tensor<2, Int> {
    Tensor::from_dispatch(<Dispatch as Experts>::most_probable(probs_te.into_dispatch(), k))
}

/// What each of the experts `choices_tk` makes of a row, `[t*k, o]`. `x_ni` has a row for each row, or for each choice; `weights`
/// holds the maps of all experts one after the other, each as `[i, o]` if `in_out` and else as `[o, i]`.
pub(crate) fn through(
    x_ni: Tensor<2>,
    weights: Tensor<2>,
    choices_tk: Tensor<2, Int>,
    outputs: usize,
    in_out: bool,
) -> Tensor<2> {
    let (x, weights, choices) = (x_ni.into_dispatch(), weights.into_dispatch(), choices_tk.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Experts>::through(x, weights, choices, outputs, in_out))
}

/// The kernels as operations.
#[backend_extension(Cube)]
trait Experts: Backend {
    /// See [`most_probable`].
    fn most_probable(probs: FloatTensor<Self>, k: usize) -> IntTensor<Self>;

    /// See [`through`].
    fn through(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        choices: IntTensor<Self>,
        outputs: usize,
        in_out: bool,
    ) -> FloatTensor<Self>;
}

impl Experts for CubeBackend {
    fn most_probable(probs: FloatTensor<Self>, k: usize) -> IntTensor<Self> {
        let [probs] = in_one_piece([probs]);
        let [rows, experts] = [0, 1].map(|axis| probs.meta.shape()[axis]);
        let (client, device) = (probs.client.clone(), probs.device.clone());
        let found = empty_device_contiguous_dtype(client, device, Shape::new([rows, k]), DType::I32);
        let [probs, to] = [probs, found.clone()].map(|tensor| tensor.into_tensor_arg());
        likeliest::launch(
            &found.client,
            CubeCount::Static(rows as u32, 1, 1),
            CubeDim::new_1d(THREADS),
            probs,
            to,
            experts,
        );
        found
    }

    fn through(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        choices: IntTensor<Self>,
        outputs: usize,
        in_out: bool,
    ) -> FloatTensor<Self> {
        let [x, weights, choices] = in_one_piece([x, weights, choices]);
        let rows = choices.meta.num_elements();
        let found = empty(Shape::new([rows, outputs]), &x);
        let blocks = outputs.div_ceil(if in_out { LINE } else { LINES });
        let (format, ids) = (dtype_to_storage_type(weights.dtype), dtype_to_storage_type(choices.dtype));
        let [x, weights, choices, to] = [x, weights, choices, found.clone()].map(|tensor| tensor.into_tensor_arg());
        by_experts::launch(
            &found.client,
            CubeCount::Static(blocks as u32, rows as u32, 1),
            CubeDim::new_2d(LINE as u32, LINES as u32),
            x,
            weights,
            choices,
            to,
            in_out,
            format,
            ids,
        );
        found
    }
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use super::THREADS;

    /// Neighbouring threads, which read neighbouring weights, and lines of them in a block.
    pub(super) const LINE: usize = 32;
    pub(super) const LINES: usize = THREADS as usize / LINE;

    /// A block for each row: an expert is chosen if fewer than `k` come before it, and stands behind those that are.
    #[cube(launch)]
    pub(super) fn likeliest(probs: &Tensor<f32>, to: &mut Tensor<i32>, #[comptime] experts: usize) {
        let mut chosen = Shared::<[u32]>::new_slice(experts);
        let row = CUBE_POS;
        let start = row * experts;
        let count = to.shape(1);
        let mut own = UNIT_POS as usize;
        while own < experts {
            let prob = probs[start + own];
            let mut before = 0usize;
            for other in 0..experts {
                let beside = probs[start + other];
                if beside > prob || (beside == prob && other < own) {
                    before += 1;
                }
            }
            chosen[own] = u32::cast_from(before < count);
            own += THREADS as usize;
        }
        sync_cube();
        let mut own = UNIT_POS as usize;
        while own < experts {
            let mut place = 0usize;
            for other in 0..own {
                place += usize::cast_from(chosen[other]);
            }
            // What is no number comes before nothing and after nothing: there may be more than asked for.
            if chosen[own] == 1u32 && place < count {
                to[row * count + place] = i32::cast_from(own);
            }
            own += THREADS as usize;
        }
    }

    /// Some outputs of one choice in each block. Neighbouring threads have neighbouring outputs, and each line a share of the
    /// inputs, if weights are `[i, o]`; else a line has one output, and its threads share the inputs.
    #[cube(launch)]
    pub(super) fn by_experts<F: Float, I: Int>(
        x: &Tensor<f32>,
        weights: &Tensor<F>,
        choices: &Tensor<I>,
        to: &mut Tensor<f32>,
        #[comptime] in_out: bool,
        #[define(F)] _format: ElemType,
        #[define(I)] _ids: ElemType,
    ) {
        let mut sums = Shared::<[f32]>::new_slice(THREADS as usize);
        let lane = UNIT_POS_X as usize;
        let line = UNIT_POS_Y as usize;
        let choice = CUBE_POS_Y as usize;
        let inputs = x.shape(1);
        let outputs = to.shape(1);
        let row = choice / (to.shape(0) / x.shape(0)) * inputs;
        let map = usize::cast_from(choices[choice]) * inputs * outputs;
        let mut output = CUBE_POS_X as usize * LINES + line;
        let mut first = lane;
        let mut step = LINE.runtime();
        let mut by_input = 1usize.runtime();
        let mut by_output = inputs;
        if comptime!(in_out) {
            output = CUBE_POS_X as usize * LINE + lane;
            first = line;
            step = LINES.runtime();
            by_input = outputs;
            by_output = 1usize.runtime();
        }
        let mut own = 0.0f32;
        if output < outputs {
            let mut at = first;
            while at < inputs {
                own += x[row + at] * f32::cast_from(weights[map + at * by_input + output * by_output]);
                at += step;
            }
        }
        sums[UNIT_POS as usize] = own;
        sync_cube();
        if first == 0 && output < outputs {
            let mut whole = 0.0f32;
            for part in 0..step {
                if comptime!(in_out) {
                    whole += sums[part * LINE + lane];
                } else {
                    whole += sums[line * LINE + part];
                }
            }
            to[choice * outputs + output] = whole;
        }
    }
}
