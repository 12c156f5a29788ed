//! A parameter: a named matrix with the shape that it has in files.

use burn::tensor::{DType, Device, Tensor};

use crate::layers::Linear;

/// What the names of an adapter's parameters begin with in files; the name of the adapted map follows.
pub(crate) const ADAPTER_PREFIX: &str = "base_model.model.";

/// Numbers of a matrix that are widened at once in a product.
const WIDENED: usize = 1 << 22;

/// One named tensor of a policy, held as a matrix; what has another rank in files is folded to `[first, rest]`
/// (a vector is one row).
#[derive(Clone, Debug)]
pub struct Param {
    /// The key in checkpoint files.
    pub name: String,
    /// The shape in checkpoint files.
    pub shape: Vec<usize>,
    /// The value, `[rows, columns]`.
    pub value: Tensor<2>,
    /// Whether training changes it.
    pub trains: bool,
}

impl Param {
    /// Whether it belongs to a low-rank adapter, and not to the model's own checkpoint files.
    pub fn is_adapter(&self) -> bool {
        self.name.starts_with(ADAPTER_PREFIX)
    }

    /// The value as it computes, in f32: one that is kept in another format is widened, for this use alone.
    pub fn wide(&self) -> Tensor<2> {
        wide(self.value.clone())
    }

    /// `x_ti` times the transpose of this `[o, i]` matrix, `[t, o]`. One that is kept in another format than f32 is
    /// widened some rows at a time, so that there is never an f32 copy of the whole.
    pub fn product(&self, x_ti: Tensor<2>) -> Tensor<2> {
        let [rows, columns] = self.value.dims();
        let step = (WIDENED / columns.max(1)).max(1);
        if self.value.dtype() == DType::F32 || rows <= step {
            return x_ti.matmul(self.wide().transpose());
        }
        let part = |start: usize| {
            let some = wide(self.value.clone().narrow(0, start, step.min(rows - start)));
            x_ti.clone().matmul(some.transpose())
        };
        Tensor::cat((0..rows).step_by(step).map(part).collect(), 1)
    }
}

/// A linear map `x_ti w_oi^T`, `[t, o]` in f32. On a GPU it runs in the format that the weights are kept in (tensor cores
/// sum in f32), with `x_ti` narrowed for it; everything between the maps (norms, softmax, positions, residuals, log-probs)
/// stays f32. A CPU has no faster product than f32.
pub(crate) fn linear_map(x_ti: Tensor<2>, weight: &Param) -> Tensor<2> {
    if weight.value.dtype() == DType::F32 || weight.value.device() == Device::flex() {
        return weight.product(x_ti);
    }
    narrow_product(x_ti, weight.value.clone())
}

/// `x_ti w_oi^T` in the format of `w_oi`, given back in f32.
fn narrow_product(x_ti: Tensor<2>, w_oi: Tensor<2>) -> Tensor<2> {
    wide(x_ti.cast(w_oi.dtype()).matmul(w_oi.transpose()))
}

/// A tensor in f32.
pub(crate) fn wide<const D: usize>(value: Tensor<D>) -> Tensor<D> {
    if value.dtype() == DType::F32 { value } else { value.cast(DType::F32) }
}

/// The matrix that stands for a tensor of `shape`: a vector is one row, more axes are folded into the columns.
pub fn folded(shape: &[usize]) -> [usize; 2] {
    match shape {
        [] => [1, 1],
        [columns] => [1, *columns],
        [rows, rest @ ..] => [*rows, rest.iter().product()],
    }
}

/// Anything that holds parameters.
pub trait Parameters {
    /// Calls `visit` with every parameter, always in the same order.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param));
    /// The same, to change them.
    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param));
    /// Calls `visit` with every linear map, always in the same order.
    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear));
    /// The same, to change them.
    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear));
}

impl Parameters for Param {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        visit(self);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        visit(self);
    }

    fn visit_linears<'a>(&'a self, _: &mut dyn FnMut(&'a Linear)) {}

    fn visit_linears_mut<'a>(&'a mut self, _: &mut dyn FnMut(&'a mut Linear)) {}
}

impl<P: Parameters> Parameters for Vec<P> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.iter().for_each(|part| part.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.iter_mut().for_each(|part| part.visit_mut(visit));
    }

    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear)) {
        self.iter().for_each(|part| part.visit_linears(visit));
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear)) {
        self.iter_mut().for_each(|part| part.visit_linears_mut(visit));
    }
}

impl<P: Parameters> Parameters for Option<P> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.iter().for_each(|part| part.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.iter_mut().for_each(|part| part.visit_mut(visit));
    }

    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear)) {
        self.iter().for_each(|part| part.visit_linears(visit));
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear)) {
        self.iter_mut().for_each(|part| part.visit_linears_mut(visit));
    }
}

/// Implements [`Parameters`] for a struct by naming the fields that hold parameters.
macro_rules! holds {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl $crate::param::Parameters for $type {
            fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a $crate::param::Param)) {
                $( $crate::param::Parameters::visit(&self.$field, visit); )+
            }

            fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut $crate::param::Param)) {
                $( $crate::param::Parameters::visit_mut(&mut self.$field, visit); )+
            }

            fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a $crate::layers::Linear)) {
                $( $crate::param::Parameters::visit_linears(&self.$field, visit); )+
            }

            fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut $crate::layers::Linear)) {
                $( $crate::param::Parameters::visit_linears_mut(&mut self.$field, visit); )+
            }
        }
    };
}
pub(crate) use holds;

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::log_prob::floats;

    fn waves(rows: usize, columns: usize, step: f32) -> Tensor<2> {
        let values: Vec<f32> = (0..rows * columns).map(|at| (at as f32 * step).sin()).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    #[test]
    fn a_narrow_product_is_the_wide_one_within_its_format_and_has_its_gradient() {
        let (x, w) = (waves(5, 32, 0.7), waves(9, 32, 1.3).cast(DType::BF16));
        let exact = floats(x.clone().matmul(wide(w.clone()).transpose()));
        let narrow = narrow_product(x.clone(), w.clone());
        assert_eq!(narrow.dtype(), DType::F32);
        // Two roundings to 8 bits: of the inputs, each in a sum of 32 products below 1, and of the result.
        let worst = exact.iter().zip(floats(narrow)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 32.0 / 256.0, "{worst}");
        let tracked = x.autodiff().require_grad();
        let gradients = narrow_product(tracked.clone(), w.clone().autodiff()).sum().backward();
        let gradient = floats(tracked.grad(&gradients).expect("a gradient"));
        let sums = floats(wide(w).sum_dim(0));
        let worst = gradient.iter().enumerate().map(|(at, g)| (g - sums[at % 32]).abs()).fold(0.0, f32::max);
        assert!(worst < 9.0 / 256.0, "{worst}");
    }
}
