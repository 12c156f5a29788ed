//! What a row's experts made of it, weighted and summed, and its way back: each number is added up by one thread.
//!
//! Shape suffixes as in the module above, and `d` width.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;

use self::kernel::{back, forward};
use super::order::Order;
use crate::gpu::rows::{blocks_of_rows, row_block};
use crate::gpu::{blocks_for, empty, empty_like, in_one_piece};

/// Sums `[t, d]` of what stands at the places of each row's choices in `y_nd`, times `weights_tk`.
pub(crate) fn sum(y_nd: Tensor<2>, weights_tk: Tensor<2>, order: &Order) -> Tensor<2> {
    let (y, weights) = (y_nd.into_dispatch(), weights_tk.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Sums>::sum(y, weights, order.table.clone().into_dispatch()))
}

/// The kernel as an operation of the graph; a table has no gradient.
#[backend_extension(Cube, Autodiff)]
pub(crate) trait Sums: Backend {
    /// See [`sum`].
    fn sum(y: FloatTensor<Self>, weights: FloatTensor<Self>, table: IntTensor<Self>) -> FloatTensor<Self>;
}

impl Sums for CubeBackend {
    fn sum(y: FloatTensor<Self>, weights: FloatTensor<Self>, table: IntTensor<Self>) -> FloatTensor<Self> {
        let per_row = weights.meta.shape()[1];
        of_places(y, Some(weights), table, per_row)
    }
}

/// Sums `[t, d]` of `y [n, d]` at the places of every row's choices, weighted or not.
pub(super) fn of_places(
    y: FloatTensor<CubeBackend>,
    weights: Option<FloatTensor<CubeBackend>>,
    table: IntTensor<CubeBackend>,
    per_row: usize,
) -> FloatTensor<CubeBackend> {
    let [y] = in_one_piece([y]);
    let weighted = weights.is_some();
    let [weights] = in_one_piece([weights.unwrap_or_else(|| y.clone())]);
    let [choices, width] = [0, 1].map(|axis| y.meta.shape()[axis]);
    let found = empty(Shape::new([choices / per_row, width]), &y);
    let ((blocks, block), ids) = (blocks_for(&found), dtype_to_storage_type(table.dtype));
    let [y, weights, table, to] = [y, weights, table, found.clone()].map(|tensor| tensor.into_tensor_arg());
    forward::launch(&found.client, blocks, block, y, weights, table, to, per_row, weighted, ids);
    found
}

/// A sum as a node of the graph.
#[derive(Debug)]
struct Summed;

/// What the way back needs: both sides by their nodes, and the table.
type Kept = ([NodeId; 2], IntTensor<CubeBackend>);

impl Backward<CubeBackend, 2> for Summed {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let (nodes, table) = ops.state;
        let slope = graph.consume::<CubeBackend>(&ops.node);
        let [y, weights] = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<CubeBackend>>(node));
        let [slope, y, weights] = in_one_piece([slope, y, weights]);
        let slopes = [empty_like(&y), empty_like(&weights)];
        let blocks = blocks_of_rows(y.meta.shape()[0], &y);
        let (client, ids) = (y.client.clone(), dtype_to_storage_type(table.dtype));
        let [slope, y, weights, table] = [slope, y, weights, table].map(|tensor| tensor.into_tensor_arg());
        let [by_y, by_weights] = slopes.clone().map(|tensor| tensor.into_tensor_arg());
        back::launch(&client, blocks, row_block(), slope, y, weights, table, by_y, by_weights, ids);
        for (parent, slope) in ops.parents.into_iter().zip(slopes) {
            if let Some(node) = parent {
                graph.register::<CubeBackend>(node.id, slope);
            }
        }
    }
}

impl<C: CheckpointStrategy> Sums for Autodiff<CubeBackend, C> {
    fn sum(y: FloatTensor<Self>, weights: FloatTensor<Self>, table: IntTensor<Self>) -> FloatTensor<Self> {
        let found = CubeBackend::sum(y.primitive().clone(), weights.primitive().clone(), table.clone());
        match Summed.prepare::<C>([y.node(), weights.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&y, &weights].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish((nodes, table), found)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(found),
        }
    }
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use crate::gpu::rows::{LANES, ROWS, of_row};

    /// A thread for each number of the sums.
    #[cube(launch)]
    pub(super) fn forward<I: Int>(
        y: &Tensor<f32>,
        weights: &Tensor<f32>,
        table: &Tensor<I>,
        to: &mut Tensor<f32>,
        per_row: usize,
        #[comptime] weighted: bool,
        #[define(I)] _ids: ElemType,
    ) {
        if ABSOLUTE_POS < to.len() {
            let width = to.shape(1);
            let choice = ABSOLUTE_POS / width * per_row;
            let column = ABSOLUTE_POS % width;
            let mut sum = 0.0f32;
            for at in choice..choice + per_row {
                let place = usize::cast_from(table[y.shape(0) + at]);
                let number = y[place * width + column];
                if comptime!(weighted) {
                    sum += weights[at] * number;
                } else {
                    sum += number;
                }
            }
            to[ABSOLUTE_POS] = sum;
        }
    }

    /// The derivatives by what was summed and by its weights, a line of threads for each place.
    #[cube(launch)]
    pub(super) fn back<I: Int>(
        slope: &Tensor<f32>,
        y: &Tensor<f32>,
        weights: &Tensor<f32>,
        table: &Tensor<I>,
        by_y: &mut Tensor<f32>,
        by_weights: &mut Tensor<f32>,
        #[define(I)] _ids: ElemType,
    ) {
        let mut sums = Shared::<[f32]>::new_slice(LANES * ROWS);
        let places = y.shape(0);
        let width = y.shape(1);
        let lane = UNIT_POS_X as usize;
        let place = CUBE_POS * ROWS + UNIT_POS_Y as usize;
        // A block's threads stay together: those without a place read the last one, and write nothing.
        let choice = usize::cast_from(table[usize::min(place, places - 1)]);
        let from = choice / weights.shape(1) * width;
        let start = usize::min(place, places - 1) * width;
        let mut own = 0.0f32;
        let mut at = lane;
        while at < width {
            own += slope[from + at] * y[start + at];
            if place < places {
                by_y[start + at] = slope[from + at] * weights[choice];
            }
            at += LANES;
        }
        let whole = of_row(own, &mut sums);
        if place < places && lane == 0 {
            by_weights[choice] = whole;
        }
    }
}
