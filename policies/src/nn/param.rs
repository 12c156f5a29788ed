//! A parameter: a named matrix with the shape that it has in files.

use burn::tensor::{DType, Tensor};

use super::product::{WIDENED, product};
use crate::format::WeightFormat;
use crate::part::ADAPTER_PREFIX;
use crate::tensor::{is_cpu, to_f32};

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
    pub requires_grad: bool,
    /// The format that linear maps by it run in where that is narrower than the one it is kept in.
    pub matmul: WeightFormat,
}

impl Param {
    /// Whether it belongs to a low-rank adapter, and not to the model's own checkpoint files.
    pub fn is_adapter(&self) -> bool {
        self.name.starts_with(ADAPTER_PREFIX)
    }

    /// The value as it computes, in f32: one that is kept in another format is widened, for this use alone.
    pub fn to_f32(&self) -> Tensor<2> {
        to_f32(self.value.clone())
    }

    /// `x_ti` times the transpose of this `[o, i]` matrix, `[t, o]`. One that is kept in another format than f32 is
    /// widened some rows at a time, so that there is never an f32 copy of the whole.
    ///
    /// On a CPU a row of it has the same bits however many rows there are.
    pub fn linear(&self, x_ti: Tensor<2>) -> Tensor<2> {
        if is_cpu(&x_ti.device()) {
            return product(x_ti, self.value.clone());
        }
        let [outputs, inputs] = self.value.dims();
        let step = (WIDENED / inputs.max(1)).max(1);
        if self.value.dtype() == DType::F32 || outputs <= step {
            return x_ti.matmul(self.to_f32().transpose());
        }
        let part = |start: usize| {
            let some = to_f32(self.value.clone().narrow(0, start, step.min(outputs - start)));
            x_ti.clone().matmul(some.transpose())
        };
        Tensor::cat((0..outputs).step_by(step).map(part).collect(), 1)
    }

    /// `x_to` times this `[o, i]` matrix, `[t, i]`: the way back through [`Param::linear`]. What is kept in another format than
    /// f32 is widened some rows at a time.
    pub(crate) fn transposed_linear(&self, x_to: Tensor<2>) -> Tensor<2> {
        let [outputs, inputs] = self.value.dims();
        let step = (WIDENED / inputs.max(1)).max(1);
        if self.value.dtype() == DType::F32 || outputs <= step {
            return x_to.matmul(self.to_f32());
        }
        let part = |start: usize| {
            let count = step.min(outputs - start);
            let some = to_f32(self.value.clone().narrow(0, start, count));
            x_to.clone().narrow(1, start, count).matmul(some)
        };
        let mut parts = (0..outputs).step_by(step).map(part);
        let first = parts.next().unwrap_or_else(|| Tensor::zeros([x_to.dims()[0], inputs], &x_to.device()));
        parts.fold(first, |sum, part| sum + part)
    }
}

/// Rows from which on the library's product on a CPU, `[rows, inputs] x [inputs, outputs]`, sums in the same order,
/// however many there are.
pub(crate) fn fewest_rows(outputs: usize, inputs: usize) -> usize {
    // Sums of one row, of at most 256 results, and of more than 512 numbers for at most 64 x 64 results have ways of their own.
    let small = 256 / outputs.max(1) + 1;
    if outputs <= 64 && inputs > 512 { small.max(65) } else { small.max(2) }
}

/// Anything that holds parameters.
pub trait Parameters {
    /// Calls `visit` with every parameter, always in the same order.
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param));
    /// Calls `visit` with every parameter, in the order of [`Parameters::visit`], to change it.
    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param));
}

impl Parameters for Param {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        visit(self);
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        visit(self);
    }
}

impl<P: Parameters> Parameters for Vec<P> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.iter().for_each(|part| part.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.iter_mut().for_each(|part| part.visit_mut(visit));
    }
}

impl<P: Parameters> Parameters for Option<P> {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        self.iter().for_each(|part| part.visit(visit));
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        self.iter_mut().for_each(|part| part.visit_mut(visit));
    }
}

/// Whether training changes anything of a part.
pub(crate) fn requires_grad(part: &impl Parameters) -> bool {
    let mut any = false;
    part.visit(&mut |param: &Param| any |= param.requires_grad);
    any
}
