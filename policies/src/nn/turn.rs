//! Rotate-half of heads by tables of cosines and sines, with its backward pass; here on a CPU, in one sweep.
//!
//! Column i of the first half becomes `x_i cos_i - x_j sin_i`, its partner j of the second `x_j cos_j + x_i sin_j`.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::tensor::{like, numbers};
use crate::vector::vectorised;

/// Numbers that one thread takes at a time, in whole tokens.
const STRETCH: usize = 1 << 15;

/// `x_thd` turned by `cos_t1d` and `sin_t1d`.
pub(super) fn turn(x_thd: Tensor<3>, cos_t1d: Tensor<3>, sin_t1d: Tensor<3>) -> Tensor<3> {
    let [x, cos, sin] = [x_thd, cos_t1d, sin_t1d].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Turn>::turn(x, cos, sin))
}

/// The turn as an operation of the graph; tables have no gradient.
#[backend_extension(Cube: cfg(feature = "gpu"), Flex, Autodiff)]
pub(crate) trait Turn: Backend {
    /// Heads `[t, h, d]`, tables `[t, 1, d]`.
    fn turn(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Its backward pass.
pub(crate) trait TurnBack: Turn {
    /// The derivative by heads, from that by the turned heads; tables of cosines and sines.
    fn turn_back(slope: FloatTensor<Self>, tables: [FloatTensor<Self>; 2]) -> FloatTensor<Self>;
}

impl Turn for Flex {
    fn turn(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, cos, sin) = (x.to_contiguous(), cos.to_contiguous(), sin.to_contiguous());
        like(swept::<false>(&x, &cos, &sin), &x)
    }
}

/// Every head of every token turned; `BACK` gives the derivative by what was turned from that by the result.
fn swept<const BACK: bool>(x: &FloatTensor<Flex>, cos: &FloatTensor<Flex>, sin: &FloatTensor<Flex>) -> Vec<f32> {
    let shape = x.layout().shape();
    let (heads, width) = (shape[1], shape[2]);
    let (x, cos, sin) = (numbers(x), numbers(cos), numbers(sin));
    let mut out = vec![0.0_f32; x.len()];
    let of_token = (heads * width).max(1);
    let tokens = (STRETCH / of_token).max(1);
    let some = |out: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32]| {
        vectorised(
            #[inline(always)]
            || {
                let tables = cos.chunks_exact(width).zip(sin.chunks_exact(width));
                for ((out, x), (cos, sin)) in out.chunks_exact_mut(of_token).zip(x.chunks_exact(of_token)).zip(tables) {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        head::<BACK>(x, cos, sin, out);
                    }
                }
            },
        );
    };
    if x.len() <= tokens * of_token {
        some(&mut out, x, cos, sin);
    } else {
        let heads = out.par_chunks_mut(tokens * of_token).zip(x.par_chunks(tokens * of_token));
        let tables = cos.par_chunks(tokens * width).zip(sin.par_chunks(tokens * width));
        heads.zip(tables).for_each(|((out, x), (cos, sin))| some(out, x, cos, sin));
    }
    out
}

#[inline(always)]
fn head<const BACK: bool>(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = x.len() / 2;
    let ((x, x_second), (y, y_second)) = (x.split_at(half), out.split_at_mut(half));
    let ((cos, cos_second), (sin, sin_second)) = (cos.split_at(half), sin.split_at(half));
    for i in 0..half.min(y_second.len()) {
        // Turned back, each table's sine belongs to the column that it came from.
        let (of_second, of_first) = if BACK { (sin_second[i], -sin[i]) } else { (-sin[i], sin_second[i]) };
        y[i] = x[i] * cos[i] + x_second[i] * of_second;
        y_second[i] = x_second[i] * cos_second[i] + x[i] * of_first;
    }
}

impl TurnBack for Flex {
    fn turn_back(slope: FloatTensor<Self>, tables: [FloatTensor<Self>; 2]) -> FloatTensor<Self> {
        let (slope, [cos, sin]) = (slope.to_contiguous(), tables.map(|table| table.to_contiguous()));
        like(swept::<true>(&slope, &cos, &sin), &slope)
    }
}

/// The turn as a node of the graph.
#[derive(Debug)]
struct Turned;

impl<B: TurnBack> Backward<B, 1> for Turned {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<[FloatTensor<B>; 2], 1>, graph: &mut Graph, _: &mut Checkpointer) {
        let slope = graph.consume::<B>(&ops.node);
        let [of_x] = ops.parents;
        if let Some(node) = of_x {
            graph.register::<B>(node.id, B::turn_back(slope, ops.state));
        }
    }
}

impl<B: TurnBack, C: CheckpointStrategy> Turn for Autodiff<B, C> {
    fn turn(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let tables = [cos, sin].map(|table| table.primitive().clone());
        let y = || B::turn(x.primitive().clone(), tables[0].clone(), tables[1].clone());
        match Turned.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let y = y();
                prepared.finish(tables, y)
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

    #[test]
    fn it_is_what_the_library_makes_with_its_gradients() {
        let device = Device::flex().autodiff();
        let waves = |shape: [usize; 3], step: f32| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|at| (at as f32 * step + 0.1).sin()).collect();
            Tensor::<3>::from_data(TensorData::new(values, shape), &device)
        };
        // The second is more than one stretch.
        for [tokens, heads, width] in [[3, 2, 12], [700, 4, 32]] {
            let x = waves([tokens, heads, width], 0.37).require_grad();
            let (cos, sin) = (waves([tokens, 1, width], 0.71), waves([tokens, 1, width], 0.29));
            let seed = waves([tokens, heads, width], 0.13);
            let all = |y: Tensor<3>| {
                let gradients = (y.clone() * seed.clone()).sum().backward();
                [to_vec(y.inner()), to_vec(x.grad(&gradients).expect("a gradient"))]
            };
            let ours = all(turn(x.clone(), cos.clone(), sin.clone()));
            let half = width / 2;
            let turned = Tensor::cat(vec![x.clone().narrow(2, half, half).neg(), x.clone().narrow(2, 0, half)], 2);
            let plain = all(x.clone() * cos.clone() + turned * sin.clone());
            for (ours, plain) in ours.iter().zip(&plain) {
                assert!(ours.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-6));
            }
        }
    }
}
