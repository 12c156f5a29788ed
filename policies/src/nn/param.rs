//! A parameter: a named matrix with the shape that it has in files.

use burn::tensor::{DType, Tensor};

use crate::part::ADAPTER_PREFIX;
use crate::tensor::to_f32;

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
    pub requires_grad: bool,
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
    pub fn linear(&self, x_ti: Tensor<2>) -> Tensor<2> {
        let [rows, columns] = self.value.dims();
        let step = (WIDENED / columns.max(1)).max(1);
        if self.value.dtype() == DType::F32 || rows <= step {
            return x_ti.matmul(self.to_f32().transpose());
        }
        let part = |start: usize| {
            let some = to_f32(self.value.clone().narrow(0, start, step.min(rows - start)));
            x_ti.clone().matmul(some.transpose())
        };
        Tensor::cat((0..rows).step_by(step).map(part).collect(), 1)
    }
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
