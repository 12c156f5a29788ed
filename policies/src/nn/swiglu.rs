//! `silu(gate) * up`, with its backward pass; here on a CPU, in one sweep over both.

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
use crate::vector::{LANES, Run, exp, put, run_of, vectorised};

/// Numbers that one thread takes at a time.
const STRETCH: usize = 1 << 15;

/// `silu(gate_ti) * up_ti`.
pub(crate) fn swiglu(gate_ti: Tensor<2>, up_ti: Tensor<2>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as Swiglu>::swiglu(gate_ti.into_dispatch(), up_ti.into_dispatch()))
}

/// The gate as an operation of the graph.
#[backend_extension(Cube: cfg(feature = "gpu"), Flex, Autodiff)]
pub(crate) trait Swiglu: Backend {
    /// `silu(gate) * up`.
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Its backward pass.
pub(crate) trait SwigluBack: Swiglu {
    /// The derivatives by gate and up, from that by the result.
    fn swiglu_back(slope: FloatTensor<Self>, gate: FloatTensor<Self>, up: FloatTensor<Self>) -> [FloatTensor<Self>; 2];
}

impl Swiglu for Flex {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let (gate, up) = (gate.to_contiguous(), up.to_contiguous());
        let (gates, ups) = (numbers(&gate), numbers(&up));
        let mut out = vec![0.0_f32; gates.len()];
        let stretches = gates.par_chunks(STRETCH).zip(ups.par_chunks(STRETCH));
        out.par_chunks_mut(STRETCH).zip(stretches).for_each(|(out, (gates, ups))| {
            vectorised(
                #[inline(always)]
                || {
                    for at in (0..out.len()).step_by(LANES) {
                        let (gate, up) = (run_of(gates, at), run_of(ups, at));
                        let share = sigmoid(&gate);
                        let mut y = [0.0; LANES];
                        for lane in 0..LANES {
                            y[lane] = gate[lane] * share[lane] * up[lane];
                        }
                        put(out, at, &y);
                    }
                },
            );
        });
        like(out, &gate)
    }
}

impl SwigluBack for Flex {
    fn swiglu_back(slope: FloatTensor<Self>, gate: FloatTensor<Self>, up: FloatTensor<Self>) -> [FloatTensor<Self>; 2] {
        let [slope, gate, up] = [slope, gate, up].map(|tensor| tensor.to_contiguous());
        let mut slopes = [vec![0.0_f32; numbers(&gate).len()], vec![0.0_f32; numbers(&gate).len()]];
        let [of_gate, of_up] = &mut slopes;
        let inputs = numbers(&gate).par_chunks(STRETCH).zip(numbers(&up).par_chunks(STRETCH));
        let outputs = of_gate.par_chunks_mut(STRETCH).zip(of_up.par_chunks_mut(STRETCH));
        outputs.zip(inputs).zip(numbers(&slope).par_chunks(STRETCH)).for_each(
            |(((of_gate, of_up), (gates, ups)), slopes)| {
                vectorised(
                    #[inline(always)]
                    || {
                        for at in (0..slopes.len()).step_by(LANES) {
                            let (gate, up, slope) = (run_of(gates, at), run_of(ups, at), run_of(slopes, at));
                            let share = sigmoid(&gate);
                            let (mut by_gate, mut by_up) = ([0.0; LANES], [0.0; LANES]);
                            for lane in 0..LANES {
                                let bend = 1.0 + gate[lane] * (1.0 - share[lane]);
                                by_gate[lane] = slope[lane] * up[lane] * share[lane] * bend;
                                by_up[lane] = slope[lane] * gate[lane] * share[lane];
                            }
                            put(of_gate, at, &by_gate);
                            put(of_up, at, &by_up);
                        }
                    },
                );
            },
        );
        slopes.map(|slopes| like(slopes, &gate))
    }
}

/// The gate as a node of the graph.
#[derive(Debug)]
struct Gated;

impl<B: SwigluBack> Backward<B, 2> for Gated {
    type State = [NodeId; 2];

    fn backward(self, ops: Ops<[NodeId; 2], 2>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let slope = graph.consume::<B>(&ops.node);
        let [gate, up] = ops.state.map(|node| checkpointer.retrieve_node_output::<FloatTensor<B>>(node));
        for (parent, slope) in ops.parents.into_iter().zip(B::swiglu_back(slope, gate, up)) {
            if let Some(node) = parent {
                graph.register::<B>(node.id, slope);
            }
        }
    }
}

impl<B: SwigluBack, C: CheckpointStrategy> Swiglu for Autodiff<B, C> {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let y = || B::swiglu(gate.primitive().clone(), up.primitive().clone());
        match Gated.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&gate, &up].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish(nodes, y())
            }
            OpsKind::UnTracked(prepared) => prepared.finish(y()),
        }
    }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
fn sigmoid(x: &Run) -> Run {
    let mut below = [0.0; LANES];
    for (below, x) in below.iter_mut().zip(x) {
        *below = -x.abs();
    }
    // Of the smaller side, which never overflows.
    let e = exp(&below);
    let mut share = [0.0; LANES];
    for lane in 0..LANES {
        let most = 1.0 / (1.0 + e[lane]);
        share[lane] = if x[lane] < 0.0 { e[lane] * most } else { most };
    }
    share
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData, activation};

    use super::*;
    use crate::tensor::to_vec;

    #[test]
    fn it_is_what_the_library_makes_with_its_gradients() {
        let device = Device::flex().autodiff();
        let leaf = |step: f32, scale: f32| {
            let values: Vec<f32> = (0..7 * 37).map(|at| (at as f32 * step).sin() * scale).collect();
            Tensor::<2>::from_data(TensorData::new(values, [7, 37]), &device).require_grad()
        };
        let (gate, up, seed) = (leaf(0.37, 120.0), leaf(0.71, 2.0), leaf(0.13, 1.0));
        let all = |y: Tensor<2>| {
            let gradients = (y.clone() * seed.clone()).sum().backward();
            let of = |leaf: &Tensor<2>| to_vec(leaf.grad(&gradients).expect("a gradient"));
            [to_vec(y.inner()), of(&gate), of(&up)]
        };
        let ours = all(swiglu(gate.clone(), up.clone()));
        let plain = all(activation::silu(gate.clone()) * up.clone());
        for (ours, plain) in ours.iter().zip(&plain) {
            assert!(ours.iter().zip(plain).all(|(a, b)| (a - b).abs() < 2e-6 * (1.0 + b.abs())));
        }
    }
}
