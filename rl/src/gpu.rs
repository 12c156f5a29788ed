//! What the optimizer does on a GPU, in one kernel each, whatever the shapes of parameters.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use sapo_policies::gpu::{blocks_for, in_one_piece, owned};

use self::kernel::{StepLaunch, adamw, add_up};
use crate::rates::Rates;

/// Sums of a tensor, each by one block, and the threads of a block.
pub(crate) const SUMS: usize = 32;
const THREADS: usize = 256;

/// `value`, `first` and `second` after an update by AdamW.
pub(crate) fn updated(gradient: Tensor<2>, [value, first, second]: [Tensor<2>; 3], rates: Rates) -> [Tensor<2>; 3] {
    let [gradient, value, first, second] = [gradient, value, first, second].map(Tensor::into_dispatch);
    let (value, first, second) = <Dispatch as OnGpu>::adamw(gradient, value, first, second, rates);
    [value, first, second].map(Tensor::from_dispatch)
}

/// `sums` with the sums of the numbers of `x`, or of their squares, from place `start` on.
pub(crate) fn with_sums(sums: Tensor<1>, x: Tensor<2>, start: usize, squares: bool) -> Tensor<1> {
    let [sums, x] = [sums.into_dispatch(), x.into_dispatch()];
    Tensor::from_dispatch(<Dispatch as OnGpu>::with_sums(sums, x, start as u32, u32::from(squares)))
}

/// The kernels as operations.
#[backend_extension(Cube)]
trait OnGpu: Backend {
    /// See [`updated`].
    fn adamw(
        gradient: FloatTensor<Self>,
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// See [`with_sums`].
    fn with_sums(sums: FloatTensor<Self>, x: FloatTensor<Self>, start: u32, squares: u32) -> FloatTensor<Self>;
}

impl OnGpu for CubeBackend {
    fn adamw(
        gradient: FloatTensor<Self>,
        value: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rates: Rates,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let [gradient] = in_one_piece([gradient]);
        let [value, first, second] = [value, first, second].map(owned);
        let (blocks, block) = blocks_for(&value);
        let argument = |tensor: &FloatTensor<Self>| tensor.clone().into_tensor_arg();
        adamw::launch(
            &value.client,
            blocks,
            block,
            argument(&gradient),
            argument(&value),
            argument(&first),
            argument(&second),
            StepLaunch::new(
                rates.scale as f32,
                rates.betas[0] as f32,
                (1.0 - rates.betas[0]) as f32,
                rates.betas[1] as f32,
                (1.0 - rates.betas[1]) as f32,
                rates.unbias2 as f32,
                rates.eps as f32,
                rates.rate as f32,
                rates.kept as f32,
            ),
        );
        (value, first, second)
    }

    fn with_sums(sums: FloatTensor<Self>, x: FloatTensor<Self>, start: u32, squares: u32) -> FloatTensor<Self> {
        let ([x], sums) = (in_one_piece([x]), owned(sums));
        let (blocks, block) = (CubeCount::Static(SUMS as u32, 1, 1), CubeDim::new_1d(THREADS as u32));
        let to = sums.clone().into_tensor_arg();
        add_up::launch(&x.client, blocks, block, x.clone().into_tensor_arg(), to, start, squares);
        sums
    }
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use super::{SUMS, THREADS};

    /// The numbers of an update.
    #[derive(CubeType, CubeLaunch)]
    pub(super) struct Step {
        scale: f32,
        beta1: f32,
        rest1: f32,
        beta2: f32,
        rest2: f32,
        unbias2: f32,
        eps: f32,
        rate: f32,
        kept: f32,
    }

    #[cube(launch)]
    pub(super) fn adamw(
        gradient: &Tensor<f32>,
        value: &mut Tensor<f32>,
        first: &mut Tensor<f32>,
        second: &mut Tensor<f32>,
        step: &Step,
    ) {
        if ABSOLUTE_POS < value.len() {
            let slope = gradient[ABSOLUTE_POS] * step.scale;
            let mean = first[ABSOLUTE_POS] * step.beta1 + slope * step.rest1;
            let square = second[ABSOLUTE_POS] * step.beta2 + slope * slope * step.rest2;
            first[ABSOLUTE_POS] = mean;
            second[ABSOLUTE_POS] = square;
            let denominator = f32::sqrt(square) / step.unbias2 + step.eps;
            value[ABSOLUTE_POS] = value[ABSOLUTE_POS] * step.kept - mean / denominator * step.rate;
        }
    }

    #[cube(launch)]
    pub(super) fn add_up(x: &Tensor<f32>, to: &mut Tensor<f32>, start: u32, squares: u32) {
        let mut sums = Shared::<[f32]>::new_slice(THREADS);
        let place = UNIT_POS as usize;
        let mut own = 0.0f32;
        let mut at = CUBE_POS_X as usize * THREADS + place;
        while at < x.len() {
            let mut number = x[at];
            if squares == 1u32 {
                number = number * number;
            }
            own += number;
            at += SUMS * THREADS;
        }
        sums[place] = own;
        sync_cube();
        let mut step = (THREADS / 2).runtime();
        while step > 0 {
            if place < step {
                sums[place] += sums[place + step];
            }
            sync_cube();
            step /= 2;
        }
        if place == 0 {
            to[start as usize + CUBE_POS_X as usize] = sums[0];
        }
    }
}
