//! `x * rsqrt(mean(x^2) + eps) * weight` over the columns, with its backward pass; here on a CPU, in one sweep over the rows.
//!
//! With `s = rsqrt(mean(x^2) + eps)` and `g` the derivative by the result, that by `x` is
//! `s (g w - x s^2 mean(g w x))`, and that by the weight the sum of `g x s` over the rows.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::tensor::{like, numbers};
use crate::vector::{LANES, Run, run_of, sum, vectorised};

/// Numbers that one thread takes at a time, in whole rows. It sets the order in which a weight's derivative is summed.
const STRETCH: usize = 1 << 15;

/// The norm of rows `x_td` with weights `weight_1d`.
pub(super) fn rms_norm(x_td: Tensor<2>, weight_1d: Tensor<2>, eps: f64) -> Tensor<2> {
    let (x, weight) = (x_td.into_dispatch(), weight_1d.into_dispatch());
    Tensor::from_dispatch(<Dispatch as RootMeanSquare>::rms_norm(x, weight, eps as f32))
}

/// The norm as an operation of the graph.
#[backend_extension(Cube: cfg(feature = "gpu"), Flex, Autodiff)]
pub(crate) trait RootMeanSquare: Backend {
    /// Rows `[t, d]`, weights `[1, d]`.
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
}

/// Its backward pass.
pub(crate) trait RootMeanSquareBack: RootMeanSquare {
    /// The derivatives by rows and, if they train, by weights, from that by the norms of the rows.
    fn rms_norm_back(
        slope: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
        trains: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>);
}

impl RootMeanSquare for Flex {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
        let (rows, weights) = (numbers(&x), numbers(&weight));
        let width = weights.len().max(1);
        let mut out = vec![0.0_f32; rows.len()];
        let stretch = stretch(width);
        let forward = |(out, rows): (&mut [f32], &[f32])| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
                        let scale = scale(x, eps);
                        for ((y, x), weight) in y.iter_mut().zip(x).zip(weights) {
                            *y = x * scale * weight;
                        }
                    }
                },
            );
        };
        if rows.len() <= stretch {
            forward((&mut out, rows));
        } else {
            out.par_chunks_mut(stretch).zip(rows.par_chunks(stretch)).for_each(forward);
        }
        like(out, &x)
    }
}

fn stretch(width: usize) -> usize {
    (STRETCH / width).max(1) * width
}

/// `rsqrt(mean(x^2) + eps)`.
#[inline(always)]
fn scale(x: &[f32], eps: f32) -> f32 {
    let mut squares: Run = [0.0; LANES];
    for at in (0..x.len()).step_by(LANES) {
        let run = run_of(x, at);
        for lane in 0..LANES {
            squares[lane] = run[lane].mul_add(run[lane], squares[lane]);
        }
    }
    1.0 / (sum(&squares) / x.len() as f32 + eps).sqrt()
}

/// The derivative by a row, written over `g`, the derivative by its result; that by the weights is added to `by_weight`.
#[inline(always)]
fn back(x: &[f32], weights: &[f32], eps: f32, g: &mut [f32], by_weight: &mut [f32]) {
    let scale = scale(x, eps);
    let mut products: Run = [0.0; LANES];
    for at in (0..x.len()).step_by(LANES) {
        let (x, g, weight) = (run_of(x, at), run_of(g, at), run_of(weights, at));
        for lane in 0..LANES {
            products[lane] = (g[lane] * weight[lane]).mul_add(x[lane], products[lane]);
        }
    }
    let share = sum(&products) / x.len() as f32 * scale * scale;
    for (((g, by_weight), x), weight) in g.iter_mut().zip(by_weight).zip(x).zip(weights) {
        *by_weight += *g * x * scale;
        *g = scale * (*g * weight - x * share);
    }
}

impl RootMeanSquareBack for Flex {
    fn rms_norm_back(
        slope: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
        trains: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let [slope, x, weight] = [slope, x, weight].map(|tensor| tensor.to_contiguous());
        let (rows, weights) = (numbers(&x), numbers(&weight));
        let width = weights.len().max(1);
        let mut by_rows = numbers(&slope).to_vec();
        let stretch = stretch(width);
        let parts = by_rows.par_chunks_mut(stretch).zip(rows.par_chunks(stretch)).map(|(g, rows)| {
            let mut by_weight = vec![0.0_f32; width];
            vectorised(
                #[inline(always)]
                || {
                    for (g, x) in g.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
                        back(x, weights, eps, g, &mut by_weight);
                    }
                },
            );
            by_weight
        });
        let mut by_weight = vec![0.0_f32; width];
        for part in parts.collect::<Vec<Vec<f32>>>() {
            by_weight.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        (like(by_rows, &x), trains.then(|| like(by_weight, &weight)))
    }
}

/// The norm as a node of the graph.
#[derive(Debug)]
struct Normed;

impl<B: RootMeanSquareBack> Backward<B, 2> for Normed {
    type State = ([NodeId; 2], f32);

    fn backward(self, ops: Ops<([NodeId; 2], f32), 2>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let (nodes, eps) = ops.state;
        let slope = graph.consume::<B>(&ops.node);
        let [x, weight] = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<B>>(node));
        let [of_x, of_weight] = ops.parents;
        let (by_x, by_weight) = B::rms_norm_back(slope, x, weight, eps, of_weight.is_some());
        for (parent, slope) in [(of_x, Some(by_x)), (of_weight, by_weight)] {
            if let (Some(node), Some(slope)) = (parent, slope) {
                graph.register::<B>(node.id, slope);
            }
        }
    }
}

impl<B: RootMeanSquareBack, C: CheckpointStrategy> RootMeanSquare for Autodiff<B, C> {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let y = || B::rms_norm(x.primitive().clone(), weight.primitive().clone(), eps);
        match Normed.prepare::<C>([x.node(), weight.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&x, &weight].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish((nodes, eps), y())
            }
            OpsKind::UnTracked(prepared) => prepared.finish(y()),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;
    use crate::tensor::to_vec;

    fn waves(rows: usize, width: usize, step: f32, device: &Device) -> Tensor<2> {
        let values: Vec<f32> = (0..rows * width).map(|at| (at as f32 * step + 0.1).sin() * 3.0).collect();
        Tensor::from_data(TensorData::new(values, [rows, width]), device)
    }

    #[test]
    fn it_is_what_the_library_makes_with_its_gradients() {
        let device = Device::flex().autodiff();
        // More than one stretch, and a width that fills no vector.
        for (rows, width) in [(7, 37), (900, 64)] {
            let (x, weight) = (waves(rows, width, 0.37, &device).require_grad(), waves(1, width, 0.7, &device));
            let (weight, seed) = (weight.require_grad(), waves(rows, width, 0.13, &device));
            let all = |y: Tensor<2>| {
                let gradients = (y.clone() * seed.clone()).sum().backward();
                let of = |leaf: &Tensor<2>| to_vec(leaf.grad(&gradients).expect("a gradient"));
                [to_vec(y.inner()), of(&x), of(&weight)]
            };
            let ours = all(rms_norm(x.clone(), weight.clone(), 1e-6));
            let scale_t1 = (x.clone().square().mean_dim(1) + 1e-6).sqrt().recip();
            let plain = all(x.clone() * scale_t1 * weight.clone());
            for (ours, plain) in ours.iter().zip(&plain) {
                let most = plain.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
                assert!(ours.iter().zip(plain).all(|(a, b)| (a - b).abs() < 5e-6 * most));
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_thousands() {
        let device = Device::flex();
        let (x, weight) = (waves(2000, 32, 0.37, &device), waves(1, 32, 0.7, &device));
        let all = to_vec(rms_norm(x.clone(), weight.clone(), 1e-6));
        for row in [0, 1, 1023, 1999] {
            let alone = to_vec(rms_norm(x.clone().narrow(0, row, 1), weight.clone(), 1e-6));
            assert_eq!(alone, all[row * 32..(row + 1) * 32]);
        }
    }
}
