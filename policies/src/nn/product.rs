//! Rows times the transpose of a weight matrix, on a CPU: `[t, i] x [o, i]^T`, with its backward pass.
//!
//! Each number is the dot product of a row and a weight's row, summed in 16 lanes and then over the lanes. Nothing else
//! enters, so that a row has the same bits alone and among thousands; and weights are read where they lie, which for the
//! few rows of decoding is half of the work of a product that packs them first. More rows take the same sums with vectors of rows
//! (`tall`), and many with vectors of outputs (`wide`), at two and four times the speed.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, FloatDType, Slice, Tensor, TensorData};
use rayon::prelude::*;

use super::{tall, wide};
use crate::tensor::numbers;
use crate::vector::{LANES, Run, sum, vectorised};

/// Rows and weight rows of a tile.
const TILE: usize = 4;
/// Numbers of a matrix in another format than f32 that are widened at once.
pub(super) const WIDENED: usize = 1 << 22;
/// Below so many multiplications no other thread is woken.
const ALONE: usize = 1 << 20;

/// `x_ti w_oi^T`, `[t, o]`, on a CPU. Weights in another format than f32 are widened some rows at a time, here and again on the
/// way back, so that there is never an f32 copy of more; they have no gradient.
pub(super) fn product(x_ti: Tensor<2>, w_oi: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Product>::product(x_ti.into_dispatch(), w_oi.into_dispatch()))
}

/// The product as an operation of the graph.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait Product: Backend {
    /// `x_ti w_oi^T`.
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl Product for Flex {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, w) = (x.to_contiguous(), w.to_contiguous());
        let ([rows, inputs], outputs) = ([x.layout().shape()[0], x.layout().shape()[1]], w.layout().shape()[0]);
        let y = if is_f32(&w) {
            multiply(numbers(&x), numbers(&w), inputs, outputs)
        } else {
            let mut y = vec![0.0_f32; rows * outputs];
            for (start, some) in widened(&w) {
                put_columns(
                    &multiply(numbers(&x), numbers(&some), inputs, some.layout().shape()[0]),
                    start,
                    outputs,
                    &mut y,
                );
            }
            y
        };
        FloatTensor::<Self>::from_data(TensorData::new(y, [rows, outputs]))
    }
}

fn is_f32(w: &FloatTensor<Flex>) -> bool {
    w.dtype() == DType::F32
}

/// The rows of weights that are kept in another format than f32, some at a time with the number of the first, in f32.
fn widened(w: &FloatTensor<Flex>) -> impl Iterator<Item = (usize, FloatTensor<Flex>)> {
    let (outputs, inputs) = (w.layout().shape()[0], w.layout().shape()[1]);
    let step = (WIDENED / inputs.max(1)).max(1);
    (0..outputs).step_by(step).map(move |start| {
        let some = Flex::float_slice(w.clone(), &[Slice::from(start..(start + step).min(outputs))]);
        (start, Flex::float_cast(some, FloatDType::F32).to_contiguous())
    })
}

/// Writes some columns of rows that have `width` of them, from column `start` on.
fn put_columns(part: &[f32], start: usize, width: usize, y: &mut [f32]) {
    let count = part.len() / (y.len() / width.max(1)).max(1);
    for (row, some) in y.chunks_exact_mut(width).zip(part.chunks_exact(count.max(1))) {
        row[start..start + count].copy_from_slice(some);
    }
}

/// The backward pass.
#[derive(Debug)]
struct Multiplied;

impl Backward<Flex, 2> for Multiplied {
    type State = [NodeId; 2];

    fn backward(self, ops: Ops<[NodeId; 2], 2>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let derivative = graph.consume::<Flex>(&ops.node);
        let [x, w] = ops.state.map(|node| checkpointer.retrieve_node_output::<FloatTensor<Flex>>(node));
        let [of_x, of_w] = ops.parents;
        if let Some(node) = of_x {
            graph.register::<Flex>(node.id, through(&derivative, w.clone()));
        }
        if let Some(node) = of_w {
            graph.register::<Flex>(node.id, Flex::float_matmul(Flex::float_transpose(derivative), x));
        }
    }
}

/// `derivative [t, o]` times `w [o, i]`.
fn through(derivative: &FloatTensor<Flex>, w: FloatTensor<Flex>) -> FloatTensor<Flex> {
    if is_f32(&w) {
        return Flex::float_matmul(derivative.clone(), w);
    }
    let rows = derivative.layout().shape()[0];
    let parts = widened(&w).map(|(start, some)| {
        let columns = start..start + some.layout().shape()[0];
        Flex::float_matmul(Flex::float_slice(derivative.clone(), &[Slice::from(0..rows), Slice::from(columns)]), some)
    });
    parts.reduce(Flex::float_add).expect("weights have rows")
}

impl<C: CheckpointStrategy> Product for Autodiff<Flex, C> {
    fn product(x: FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self> {
        let y = || Flex::product(x.primitive().clone(), w.primitive().clone());
        match Multiplied.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&x, &w].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish(nodes, y())
            }
            OpsKind::UnTracked(prepared) => prepared.finish(y()),
        }
    }
}

/// Multiplies `x [t, i]` with `w [o, i]` transposed, to `y [t, o]`, on one thread: `(x, w, i, y)`.
type Kernel = fn(&[f32], &[f32], usize, &mut [f32]);

/// The numbers of `x [t, i]` times those of `w [o, i]` transposed.
fn multiply(x: &[f32], w: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    let rows = x.len() / inputs.max(1);
    let mut y = vec![0.0_f32; rows * outputs];
    if y.is_empty() || inputs == 0 {
        return y;
    }
    let threads = if rows * outputs * inputs < ALONE { 1 } else { rayon::current_num_threads() };
    let share = rows.div_ceil(threads);
    if share >= wide::FEWEST {
        by_rows(wide::multiply, x, w, inputs, (share.min(wide::MOST), &mut y));
        return y;
    }
    let kernel = if rows < tall::FEWEST { block } else { tall::multiply };
    if threads == 1 {
        kernel(x, w, inputs, &mut y);
    } else if share >= LANES {
        by_rows(kernel, x, w, inputs, (share.next_multiple_of(LANES), &mut y));
    } else {
        by_columns(kernel, x, w, inputs, (outputs.div_ceil(threads), &mut y));
    }
    y
}

/// Threads share the rows, so many at a time.
fn by_rows(kernel: Kernel, x: &[f32], w: &[f32], inputs: usize, (share, y): (usize, &mut [f32])) {
    let outputs = w.len() / inputs;
    let parts = x.par_chunks(share * inputs).zip(y.par_chunks_mut(share * outputs));
    parts.for_each(|(x, y)| kernel(x, w, inputs, y));
}

/// Threads share the weights, so many of their rows at a time, and each gives the columns that they make.
fn by_columns(kernel: Kernel, x: &[f32], w: &[f32], inputs: usize, (share, y): (usize, &mut [f32])) {
    let (rows, outputs) = (x.len() / inputs, w.len() / inputs);
    let columns = |w: &[f32]| {
        let mut part = vec![0.0_f32; rows * (w.len() / inputs)];
        kernel(x, w, inputs, &mut part);
        part
    };
    let parts: Vec<Vec<f32>> = w.par_chunks(share * inputs).map(columns).collect();
    for (number, part) in parts.iter().enumerate() {
        put_columns(part, number * share, outputs, y);
    }
}

/// A block of rows times all weights.
fn block(x: &[f32], w: &[f32], inputs: usize, y: &mut [f32]) {
    let (rows, outputs) = (x.len() / inputs.max(1), w.len() / inputs.max(1));
    vectorised(
        #[inline(always)]
        || {
            for output in (0..outputs).step_by(TILE) {
                let weights: [&[f32]; TILE] = std::array::from_fn(|c| of_row(w, inputs, (output + c).min(outputs - 1)));
                for row in (0..rows).step_by(TILE) {
                    let some: [&[f32]; TILE] = std::array::from_fn(|r| of_row(x, inputs, (row + r).min(rows - 1)));
                    let sums = tile(some, weights);
                    for r in 0..TILE.min(rows - row) {
                        let count = TILE.min(outputs - output);
                        y[(row + r) * outputs + output..][..count].copy_from_slice(&sums[r * TILE..r * TILE + count]);
                    }
                }
            }
        },
    );
}

#[inline(always)]
fn of_row(numbers: &[f32], width: usize, row: usize) -> &[f32] {
    &numbers[row * width..(row + 1) * width]
}

/// Dot products of four rows with four weight rows.
#[inline(always)]
fn tile(x: [&[f32]; TILE], w: [&[f32]; TILE]) -> Run {
    let mut sums = [[0.0_f32; LANES]; TILE * TILE];
    let (x_runs, x_rest) = (x.map(|row| row.as_chunks::<LANES>().0), x.map(|row| row.as_chunks::<LANES>().1));
    let (w_runs, w_rest) = (w.map(|row| row.as_chunks::<LANES>().0), w.map(|row| row.as_chunks::<LANES>().1));
    let count = x_runs[0].len();
    let x_runs = x_runs.map(|runs| &runs[..count]);
    let w_runs = w_runs.map(|runs| &runs[..count]);
    for at in 0..count {
        add(&mut sums, x_runs.map(|runs| runs[at]), w_runs.map(|runs| runs[at]));
    }
    if !x_rest[0].is_empty() {
        add(&mut sums, x_rest.map(filled), w_rest.map(filled));
    }
    let mut totals = [0.0; TILE * TILE];
    for (total, of_one) in totals.iter_mut().zip(&sums) {
        *total = sum(of_one);
    }
    totals
}

#[inline(always)]
fn add(sums: &mut [Run; TILE * TILE], x: [Run; TILE], w: [Run; TILE]) {
    for r in 0..TILE {
        for c in 0..TILE {
            let mut all = sums[r * TILE + c];
            for lane in 0..LANES {
                all[lane] = x[r][lane].mul_add(w[c][lane], all[lane]);
            }
            sums[r * TILE + c] = all;
        }
    }
}

/// The end of a row, filled up with zeros.
#[inline(always)]
fn filled(rest: &[f32]) -> Run {
    let mut run = [0.0; LANES];
    run[..rest.len()].copy_from_slice(rest);
    run
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::to_vec;

    fn waves(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|at| (at as f32 * step + 0.2).sin()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_are_dot_products_and_do_not_know_each_other(
            rows in 1_usize..400, inputs in 1_usize..90, outputs in 1_usize..300,
        ) {
            let (x, w) = (waves(rows * inputs, 0.37), waves(outputs * inputs, 0.61));
            let y = multiply(&x, &w, inputs, outputs);
            for row in [0, rows / 3, rows / 2, rows - 1] {
                let one = multiply(&x[row * inputs..(row + 1) * inputs], &w, inputs, outputs);
                let of_row = &y[row * outputs..(row + 1) * outputs];
                prop_assert!(of_row.iter().zip(&one).all(|(a, b)| a.to_bits() == b.to_bits()));
                for (output, got) in of_row.iter().enumerate() {
                    let pairs = x[row * inputs..].iter().zip(&w[output * inputs..(output + 1) * inputs]);
                    let exact: f64 = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    prop_assert!((f64::from(*got) - exact).abs() < 1e-5, "{got} {exact}");
                }
            }
        }
    }

    /// Weights in bf16 give what their widened numbers give, forwards and backwards, in parts as well.
    #[test]
    fn narrow_weights_are_widened_on_both_ways() {
        let device = Device::flex().autodiff();
        // The second has more numbers than are widened at once.
        for (rows, inputs, outputs) in [(5, 19, 7), (3, 4096, 1100)] {
            let of = |rows: usize, columns: usize, step: f32| {
                Tensor::<2>::from_data(TensorData::new(waves(rows * columns, step), [rows, columns]), &device)
            };
            let (x, seed) = (of(rows, inputs, 0.3).require_grad(), of(rows, outputs, 0.9));
            let narrow = of(outputs, inputs, 0.7).cast(DType::BF16);
            let all = |w: Tensor<2>| {
                let y = product(x.clone(), w);
                let gradients = (y.clone() * seed.clone()).sum().backward();
                [to_vec(y.inner()), to_vec(x.grad(&gradients).expect("a gradient"))]
            };
            let [kept, widened] = [all(narrow.clone()), all(narrow.cast(DType::F32))];
            assert_eq!(kept[0], widened[0]);
            let most = widened[1].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(kept[1].iter().zip(&widened[1]).all(|(a, b)| (a - b).abs() <= 1e-5 * most));
        }
    }

    #[test]
    fn gradients_are_those_of_the_plain_product() {
        let device = Device::flex().autodiff();
        let leaf = |rows: usize, columns: usize, step: f32| {
            let data = TensorData::new(waves(rows * columns, step), [rows, columns]);
            Tensor::<2>::from_data(data, &device).require_grad()
        };
        let (x, w, seed) = (leaf(5, 19, 0.3), leaf(7, 19, 0.7), leaf(5, 7, 0.9));
        let gradients = |y: Tensor<2>| {
            let all = (y * seed.clone()).sum().backward();
            [&x, &w].map(|leaf| to_vec(leaf.grad(&all).expect("a gradient")))
        };
        let ours = gradients(product(x.clone(), w.clone()));
        let plain = gradients(x.clone().matmul(w.clone().transpose()));
        for (ours, plain) in ours.iter().zip(&plain) {
            assert!(ours.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
