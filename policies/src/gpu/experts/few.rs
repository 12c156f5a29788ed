//! Experts of few rows: each row reads the weights of its own. Nothing goes back.
//!
//! Shape suffixes as in the module above, and `n` rows or rows times `k`.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};

use self::kernel::{LINE, LINES, by_experts};
use super::product::Maps;
use crate::gpu::{THREADS, empty, in_one_piece};

/// What each of the experts `choices_tk` makes of a row, `[n, o]`. `x_ni` has a row for each row, or for each choice; `weights` are
/// those of all experts.
pub(crate) fn through(x_ni: Tensor<2>, weights: Tensor<2>, choices_tk: Tensor<2, Int>, maps: Maps) -> Tensor<2> {
    let (x, weights, choices) = (x_ni.into_dispatch(), weights.into_dispatch(), choices_tk.into_dispatch());
    Tensor::from_dispatch(<Dispatch as ByChoice>::through(x, weights, choices, maps))
}

/// The kernel as an operation.
#[backend_extension(Cube)]
trait ByChoice: Backend {
    /// See [`through`].
    fn through(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        choices: IntTensor<Self>,
        maps: Maps,
    ) -> FloatTensor<Self>;
}

impl ByChoice for CubeBackend {
    fn through(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        choices: IntTensor<Self>,
        maps: Maps,
    ) -> FloatTensor<Self> {
        let [x, weights, choices] = in_one_piece([x, weights, choices]);
        let rows = choices.meta.num_elements();
        let found = empty(Shape::new([rows, maps.outputs]), &x);
        let blocks = maps.outputs.div_ceil(if maps.in_out { LINE } else { LINES });
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
            maps.in_out,
            maps.rounded,
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

    use super::super::rounding::weight;
    use super::THREADS;

    /// Neighbouring threads, which read neighbouring weights, and lines of them in a block.
    pub(super) const LINE: usize = 32;
    pub(super) const LINES: usize = THREADS as usize / LINE;

    /// Some outputs of one choice in each block. Neighbouring threads have neighbouring outputs, and each line a share of the
    /// inputs, if weights are `[i, o]`; else a line has one output, and its threads share the inputs.
    #[cube(launch)]
    pub(super) fn by_experts<F: Float, I: Int>(
        x: &Tensor<f32>,
        weights: &Tensor<F>,
        choices: &Tensor<I>,
        to: &mut Tensor<f32>,
        #[comptime] in_out: bool,
        #[comptime] rounded: bool,
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
                own += x[row + at] * weight::<F>(weights[map + at * by_input + output * by_output], rounded);
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
