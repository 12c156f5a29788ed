//! Parts of a forward pass that keep only what went into them, and run again on the way back.
//!
//! A part first runs without a graph, and what comes out begins a graph of its own: the way back from what follows ends there.
//! Then the part runs again, from the same rows and with a graph, and takes the gradient through. These are the operations of the
//! plain pass, and what is summed is summed in its order, so that gradients are the same bits.
//!
//! Shape suffixes: `t` rows, `d` width.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::{Gradients, Tensor};

use crate::nn::{Parameters, requires_grad};

/// What comes out of a part.
pub(crate) struct Passed {
    /// The rows for the next part, `[t, d]`.
    pub(crate) rows_td: Tensor<2>,
    /// What somebody else takes: probabilities of a router, features of a picture.
    pub(crate) beside: Option<Tensor<2>>,
}

/// Which of the two the plain pass goes back from first. It matters only where both reach the same rows in equally many
/// operations: what they add to a gradient is then added in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// The rows for the next part.
    Rows,
    /// What stands beside them.
    Beside,
}

/// The parts of a forward pass, in order; a clone is the same tape.
#[derive(Clone, Default)]
pub(crate) struct Tape {
    parts: Arc<Mutex<Vec<Part>>>,
}

struct Part {
    /// What went in, with the graph that leads to it from the part before.
    rows_td: Tensor<2>,
    again: Box<dyn Fn(Tensor<2>) -> Passed + Send>,
    first: First,
    /// What came out, where graphs begin.
    passed: Passed,
    /// The gradients by what came out.
    slopes: [Option<Tensor<2>>; 2],
}

impl Tape {
    /// Runs `part` of `module`, a part of a tracked view, without a graph, to run it again on the way back.
    pub(crate) fn run<M: Parameters + Clone + Send + 'static>(
        &self,
        module: &M,
        rows_td: Tensor<2>,
        first: First,
        part: impl Fn(&M, Tensor<2>) -> Passed + Send + 'static,
    ) -> Passed {
        if !requires_grad(module) && !rows_td.is_tracked() {
            return part(module, rows_td);
        }
        let mut plain = module.clone();
        plain.visit_mut(&mut |param| param.value.inplace(untracked));
        let out = part(&plain, untracked(rows_td.clone()));
        let leaf = |tensor| untracked(tensor).require_grad();
        let passed = Passed { rows_td: leaf(out.rows_td), beside: out.beside.map(leaf) };
        let given = Passed { rows_td: passed.rows_td.clone(), beside: passed.beside.clone() };
        let module = module.clone();
        let again = Box::new(move |rows_td| part(&module, rows_td));
        let part = Part { rows_td, again, first, passed, slopes: [None, None] };
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part);
        given
    }

    /// Goes back from `loss` through what follows the last part, and then through all parts, and forgets them. `take` is given the
    /// gradients of each stretch, to take out those that it wants.
    pub(crate) fn backward(&self, loss: Tensor<1>, take: &mut dyn FnMut(&mut Gradients)) {
        let mut parts = std::mem::take(&mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut through = Some(loss);
        loop {
            if let Some(loss) = through {
                let mut gradients = loss.backward();
                take(&mut gradients);
                parts.iter_mut().for_each(|part| part.take(&mut gradients));
            }
            let Some(part) = parts.pop() else { return };
            through = part.through();
        }
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("Tape")
    }
}

impl Part {
    /// Takes the gradients by what came out of it.
    fn take(&mut self, gradients: &mut Gradients) {
        let outputs = [Some(&self.passed.rows_td), self.passed.beside.as_ref()];
        for (slope, output) in self.slopes.iter_mut().zip(outputs) {
            if let Some(more) = output.and_then(|output| output.grad_remove(gradients)) {
                *slope = Some(match slope.take() {
                    Some(sum) => sum + more,
                    None => more,
                });
            }
        }
    }

    /// Runs it again. The derivatives of what is given by its outputs are the gradients that were taken.
    fn through(self) -> Option<Tensor<1>> {
        let [by_rows, by_beside] = self.slopes;
        if by_rows.is_none() && by_beside.is_none() {
            return None;
        }
        // Only what is passed on is needed again; the rows that came out are not.
        drop(self.passed);
        let Passed { rows_td, beside } = (self.again)(self.rows_td);
        let seeded = |output: Tensor<2>, slope: Tensor<2>| (output * slope.autodiff()).sum();
        let rows = by_rows.map(|slope| seeded(rows_td, slope));
        let beside = beside.zip(by_beside).map(|(output, slope)| seeded(output, slope));
        // A sum is gone back from its right side first.
        let (later, sooner) = if self.first == First::Rows { (beside, rows) } else { (rows, beside) };
        match (later, sooner) {
            (Some(later), Some(sooner)) => Some(later + sooner),
            (later, sooner) => later.or(sooner),
        }
    }
}

/// The same numbers without what led to them, fit to meet tensors with a graph.
fn untracked(tensor: Tensor<2>) -> Tensor<2> {
    tensor.inner().autodiff()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::format::WeightFormat;
    use crate::nn::Param;
    use crate::tensor::to_vec;

    #[test]
    fn a_part_runs_once_without_a_graph_and_once_with_one() {
        let device = Device::flex().autodiff();
        let tensor = |values: [f32; 2]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [1, 2]), &device);
        let value = tensor([3.0, 5.0]).require_grad();
        let param =
            Param { name: "w".to_owned(), shape: vec![1, 2], value, requires_grad: true, matmul: WeightFormat::F32 };
        let (tape, runs) = (Tape::default(), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
        let counts = || [0, 1].map(|tracked| runs[tracked].load(Ordering::Relaxed));
        let counted = Arc::clone(&runs);
        let passed = tape.run(&param, tensor([2.0, 7.0]), First::Rows, move |param: &Param, rows_td| {
            let product = rows_td * param.value.clone();
            counted[usize::from(product.is_tracked())].fetch_add(1, Ordering::Relaxed);
            Passed { rows_td: product.clone(), beside: Some(product.square()) }
        });
        assert_eq!(counts(), [1, 0]);
        // The derivative by w of 2w + (2w)^2 and 7w + (7w)^2.
        let loss = (passed.rows_td + passed.beside.expect("a square")).sum();
        let mut found = Vec::new();
        tape.backward(loss, &mut |gradients| found.extend(param.value.grad_remove(gradients).map(to_vec)));
        assert_eq!((counts(), found), ([1, 1], vec![vec![2.0 + 2.0 * 6.0 * 2.0, 7.0 + 2.0 * 35.0 * 7.0]]));
        assert!(tape.parts.lock().expect("nobody failed").is_empty());
    }
}
