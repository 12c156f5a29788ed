//! Mergers: blocks of patches become tokens of text width.
//!
//! Shape suffixes: `p` patches, `v` tower width.

use burn::tensor::{Tensor, activation};

use crate::nn::{LayerNorm, Linear, parameters};
use crate::tensor::is_cpu;

/// Joins a block of patches into one token of text width.
#[derive(Clone, Debug)]
pub struct Merger {
    /// Over the tower's width, or over the joined row when `norm_joined`.
    pub norm: LayerNorm,
    /// First linear map.
    pub fc1: Linear,
    /// Second linear map.
    pub fc2: Linear,
    /// DeepStack mergers join before the norm.
    pub norm_joined: bool,
}
parameters!(Merger { norm, fc1, fc2 });

impl Merger {
    /// `x_pv` to `[n, d]`, where `area` patches become one token.
    pub(super) fn forward(&self, x_pv: Tensor<2>, area: usize) -> Tensor<2> {
        let [patches, width] = x_pv.dims();
        let joined = |x: Tensor<2>| x.reshape([patches / area, width * area]);
        let x = if self.norm_joined { self.norm.forward(joined(x_pv)) } else { joined(self.norm.forward(x_pv)) };
        self.fc2.forward(gelu(self.fc1.forward(x)))
    }
}

/// The exact gated unit, `x` times the normal distribution's share below it.
fn gelu(x: Tensor<2>) -> Tensor<2> {
    if is_cpu(&x.device()) { activation::gelu(x) } else { spelled_out(x) }
}

/// The same by operations with exact derivatives: on GPUs the library's derivative of its own is off by up to 9e-4.
fn spelled_out(x: Tensor<2>) -> Tensor<2> {
    let below = x.clone().mul_scalar(std::f64::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0).mul_scalar(0.5);
    x * below
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::tensor::to_vec;

    #[test]
    fn the_gated_unit_of_gpus_is_that_of_the_cpu_with_its_derivative() {
        let values: Vec<f32> = (0..256).map(|at| (at as f32 - 128.0) / 16.0).collect();
        let of = |unit: fn(Tensor<2>) -> Tensor<2>| {
            let data = TensorData::new(values.clone(), [4, 64]);
            let x = Tensor::<2>::from_data(data, &Device::flex().autodiff()).require_grad();
            let y = unit(x.clone());
            let gradients = y.clone().sum().backward();
            [to_vec(y.inner()), to_vec(x.grad(&gradients).expect("a gradient"))]
        };
        for (ours, golden) in of(spelled_out).into_iter().zip(of(gelu)) {
            let worst = ours.iter().zip(&golden).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-6 && golden[200] > 0.9, "{worst}");
        }
    }
}
