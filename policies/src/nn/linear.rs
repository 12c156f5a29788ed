//! Linear maps over rows, with what is learned beside them at a low rank; and all linear maps of whatever holds some.
//!
//! Shape suffixes: `t` rows (tokens or patches), `i` inputs, `o` outputs, `r` rank.

use burn::tensor::{DType, Tensor};

use super::param::{Param, Parameters};
use super::product::product;
use crate::format::WeightFormat;
use crate::tensor::{is_cpu, to_f32};

/// A linear map; the weight is stored `[outputs, inputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// Weight `[o, i]`.
    pub weight: Param,
    /// Bias `[1, o]`.
    pub bias: Option<Param>,
    /// What is learned beside the weight, if the policy has an adapter here.
    pub lora: Option<Lora>,
}

/// The adapter of one linear map.
#[derive(Clone, Debug)]
pub struct Lora {
    /// From inputs to the low rank, `[r, i]`.
    pub a: Param,
    /// From the low rank to outputs, `[o, r]`.
    pub b: Param,
    /// What the product is multiplied by.
    pub scale: f64,
    /// The weight as it was, while the adapter is merged into it.
    pub(crate) unmerged: Option<Tensor<2>>,
}
impl Parameters for Linear {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.weight.visit(visit);
        self.bias.visit(visit);
        self.lora.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.weight.visit_mut(visit);
        self.bias.visit_mut(visit);
        self.lora.visit_mut(visit);
    }
}

impl Parameters for Lora {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.a.visit(visit);
        self.b.visit(visit);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.a.visit_mut(visit);
        self.b.visit_mut(visit);
    }
}

impl Linear {
    /// `x_ti` to `[t, o]`.
    pub fn forward(&self, x_ti: Tensor<2>) -> Tensor<2> {
        let delta_to = self.lora.as_ref().and_then(|lora| lora.delta(&x_ti));
        let y_to = linear_map(x_ti, &self.weight);
        let y_to = match &self.bias {
            Some(bias) => y_to + bias.to_f32(),
            None => y_to,
        };
        match delta_to {
            Some(delta_to) => y_to + delta_to,
            None => y_to,
        }
    }

    /// Its name: its weight's without the last part.
    pub(crate) fn name(&self) -> &str {
        self.weight.name.strip_suffix(".weight").unwrap_or(&self.weight.name)
    }
}

impl Lora {
    /// `s (x A) B`, `[t, o]`, of `x_ti`; nothing while it is merged.
    pub(crate) fn delta(&self, x_ti: &Tensor<2>) -> Option<Tensor<2>> {
        if self.unmerged.is_some() {
            return None;
        }
        Some(linear_map(linear_map(x_ti.clone(), &self.a).mul_scalar(self.scale), &self.b))
    }

    /// `s A B` as one matrix, `[o, i]`, as large as the weight that it is learned beside.
    pub(crate) fn delta_weight(&self) -> Tensor<2> {
        self.b.value.clone().matmul(self.a.value.clone()).mul_scalar(self.scale)
    }
}

/// A linear map `x_ti w_oi^T`, `[t, o]` in f32. On a GPU it runs in the format that the weights are kept in or are to be
/// multiplied in (tensor cores sum in f32), with `x_ti` narrowed for it; everything between the maps (norms, softmax,
/// positions, residuals, log-probs) stays f32. A CPU has no faster product than f32, and rounds what it multiplies when that is
/// asked for.
fn linear_map(x_ti: Tensor<2>, weight: &Param) -> Tensor<2> {
    let rounds = weight.matmul == WeightFormat::Bf16;
    match (is_cpu(&weight.value.device()), weight.value.dtype()) {
        (true, _) if rounds => {
            product(rounded_to(weight.matmul, x_ti), rounded_to(weight.matmul, weight.value.clone()))
        }
        (false, _) if rounds => narrow_linear(x_ti, weight.value.clone().cast(DType::BF16)),
        (true, _) | (false, DType::F32) => weight.linear(x_ti),
        (false, _) => narrow_linear(x_ti, weight.value.clone()),
    }
}

/// Numbers with the precision of a format, in f32, and gradients on their way back too.
pub(crate) fn rounded_to(format: WeightFormat, x: Tensor<2>) -> Tensor<2> {
    match format {
        WeightFormat::F32 => x,
        WeightFormat::Bf16 => to_f32(x.cast(DType::BF16)),
    }
}

/// `x_ti w_oi^T` in the format of `w_oi`, given back in f32.
fn narrow_linear(x_ti: Tensor<2>, w_oi: Tensor<2>) -> Tensor<2> {
    to_f32(x_ti.cast(w_oi.dtype()).matmul(w_oi.transpose()))
}

/// Anything that holds linear maps.
pub trait LinearMaps {
    /// Calls `visit` with every linear map, always in the same order.
    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear));
    /// Calls `visit` with every linear map, in the order of [`LinearMaps::visit_linears`], to change it.
    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear));
}

impl LinearMaps for Linear {
    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Self)) {
        visit(self);
    }
}

/// A parameter alone is not a linear map.
impl LinearMaps for Param {
    fn visit_linears<'a>(&'a self, _: &mut dyn FnMut(&'a Linear)) {}

    fn visit_linears_mut<'a>(&'a mut self, _: &mut dyn FnMut(&'a mut Linear)) {}
}

impl<P: LinearMaps> LinearMaps for Vec<P> {
    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear)) {
        self.iter().for_each(|part| part.visit_linears(visit));
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear)) {
        self.iter_mut().for_each(|part| part.visit_linears_mut(visit));
    }
}

impl<P: LinearMaps> LinearMaps for Option<P> {
    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear)) {
        self.iter().for_each(|part| part.visit_linears(visit));
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear)) {
        self.iter_mut().for_each(|part| part.visit_linears_mut(visit));
    }
}

/// Implements [`Parameters`] and [`LinearMaps`] for a struct by naming the fields that hold parameters.
macro_rules! parameters {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::nn::Parameters for $type {
            fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a $crate::nn::Param)) {
                $( $crate::nn::Parameters::visit(&self.$field, visit); )+
            }

            fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut $crate::nn::Param)) {
                $( $crate::nn::Parameters::visit_mut(&mut self.$field, visit); )+
            }
        }

        impl $crate::nn::LinearMaps for $type {
            fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a $crate::nn::Linear)) {
                $( $crate::nn::LinearMaps::visit_linears(&self.$field, visit); )+
            }

            fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut $crate::nn::Linear)) {
                $( $crate::nn::LinearMaps::visit_linears_mut(&mut self.$field, visit); )+
            }
        }
    };
}
pub(crate) use parameters;

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::tensor::to_vec;

    fn waves(rows: usize, columns: usize, step: f32) -> Tensor<2> {
        let values: Vec<f32> = (0..rows * columns).map(|at| (at as f32 * step).sin()).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    /// The same map in f32 of numbers that are rounded, and gradients that are.
    #[test]
    fn a_rounding_map_is_the_wide_one_of_rounded_numbers_and_leaves_the_weight_wide() {
        let (x, w) = (waves(70, 32, 0.7), waves(9, 32, 1.3));
        let round = |x: &Tensor<2>| x.clone().cast(DType::BF16).cast(DType::F32);
        let tracked = w.clone().autodiff().require_grad();
        let weight = Param {
            name: "w".to_owned(),
            shape: vec![9, 32],
            value: tracked.clone(),
            requires_grad: true,
            matmul: WeightFormat::Bf16,
        };
        let y = linear_map(x.clone().autodiff(), &weight);
        assert_eq!(to_vec(y.clone()), to_vec(product(round(&x), round(&w))));
        assert_ne!(to_vec(y.clone()), to_vec(product(x.clone(), w)));
        let gradient = tracked.grad(&y.sum().backward()).expect("a gradient");
        assert_eq!(gradient.dtype(), DType::F32);
        let sums = to_vec(round(&round(&x).sum_dim(0)));
        assert_eq!(to_vec(gradient), sums.repeat(9));
    }

    #[test]
    fn a_narrow_map_is_the_wide_one_within_its_format_and_has_its_gradient() {
        let (x, w) = (waves(5, 32, 0.7), waves(9, 32, 1.3).cast(DType::BF16));
        let exact = to_vec(x.clone().matmul(to_f32(w.clone()).transpose()));
        let narrow = narrow_linear(x.clone(), w.clone());
        assert_eq!(narrow.dtype(), DType::F32);
        // Two roundings to 8 bits: of the inputs, each in a sum of 32 products below 1, and of the result.
        let worst = exact.iter().zip(to_vec(narrow)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 32.0 / 256.0, "{worst}");
        let tracked = x.autodiff().require_grad();
        let gradients = narrow_linear(tracked.clone(), w.clone().autodiff()).sum().backward();
        let gradient = to_vec(tracked.grad(&gradients).expect("a gradient"));
        let sums = to_vec(to_f32(w).sum_dim(0));
        let worst = gradient.iter().enumerate().map(|(at, g)| (g - sums[at % 32]).abs()).fold(0.0, f32::max);
        assert!(worst < 9.0 / 256.0, "{worst}");
    }
}
