//! What experts make of the rows that chose them, in one product with a block for some rows of one expert and some outputs, and its
//! way back.
//!
//! Shape suffixes as in the module above.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients as Graph;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use burn_cubecl::ops::reshape;

use self::kernel::{SIDE, by_maps, by_tiles};
use super::order::{Order, TILE, tiles};
use super::sum::of_places;
use crate::gpu::{empty, in_one_piece};

/// Maps of experts, which lie one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maps {
    /// How many numbers each takes and gives.
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Whether each is `[i, o]` and not `[o, i]`.
    pub(crate) in_out: bool,
    /// Whether its numbers are rounded to bf16.
    pub(crate) rounded: bool,
}

impl Maps {
    /// The way back.
    fn turned(self) -> Self {
        Self { inputs: self.outputs, outputs: self.inputs, in_out: !self.in_out, ..self }
    }
}

/// What every chosen expert makes of its row, `[n, o]`, in the order of places. `x` has a row for each place, `[n, i]`, if `by_place`,
/// and else one for each row, `[t, i]`; `weights` are those of all experts.
pub(crate) fn product(x: Tensor<2>, weights: Tensor<2>, order: &Order, maps: Maps, by_place: bool) -> Tensor<2> {
    let Order { choices, experts, per_row, .. } = *order;
    let asked = Arc::new(Asked { maps, experts, per_row, choices, by_place });
    let (x, weights, table) = (x.into_dispatch(), weights.into_dispatch(), order.table.clone().into_dispatch());
    Tensor::from_dispatch(<Dispatch as Experts>::product(x, weights, table, asked))
}

/// What an operation is asked with.
#[derive(Debug)]
pub(crate) struct Asked {
    maps: Maps,
    experts: usize,
    per_row: usize,
    choices: usize,
    /// Whether inputs have a row for each place.
    by_place: bool,
}

/// The kernel as an operation of the graph; a table has no gradient.
#[backend_extension(Cube, Autodiff)]
pub(crate) trait Experts: Backend {
    /// See [`product`].
    fn product(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        table: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self>;
}

impl Experts for CubeBackend {
    fn product(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        table: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self> {
        asked.product(x, weights, table, asked.maps, asked.by_place)
    }
}

impl Asked {
    /// Through `maps`, of inputs for each place or for each row.
    fn product(
        &self,
        x: FloatTensor<CubeBackend>,
        weights: FloatTensor<CubeBackend>,
        table: IntTensor<CubeBackend>,
        maps: Maps,
        by_place: bool,
    ) -> FloatTensor<CubeBackend> {
        let [x, weights] = in_one_piece([x, weights]);
        let found = empty(Shape::new([self.choices, maps.outputs]), &x);
        let blocks = [maps.outputs.div_ceil(SIDE), tiles(self.choices, self.experts)].map(|count| count as u32);
        let [format, ids] = [&weights, &table].map(|tensor| dtype_to_storage_type(tensor.dtype));
        let [x, weights, table, to] = [x, weights, table, found.clone()].map(|tensor| tensor.into_tensor_arg());
        by_tiles::launch(
            &found.client,
            CubeCount::Static(blocks[0], blocks[1], 1),
            block(),
            x,
            weights,
            table,
            to,
            self.experts,
            self.per_row,
            by_place,
            maps.in_out,
            maps.rounded,
            format,
            ids,
        );
        found
    }

    /// The derivative by the maps, `[e, i*o]`, from that by what they gave.
    fn by_maps(
        &self,
        slope: FloatTensor<CubeBackend>,
        x: FloatTensor<CubeBackend>,
        table: IntTensor<CubeBackend>,
    ) -> FloatTensor<CubeBackend> {
        let [slope, x] = in_one_piece([slope, x]);
        let Maps { inputs, outputs, in_out, .. } = self.maps;
        // Neighbouring threads have neighbouring numbers of a map.
        let [slow, fast] = if in_out { [inputs, outputs] } else { [outputs, inputs] };
        let found = empty(Shape::new([self.experts * slow, fast]), &x);
        let blocks = [fast, slow].map(|side| side.div_ceil(SIDE) as u32);
        let ids = dtype_to_storage_type(table.dtype);
        let [slope, x, table, to] = [slope, x, table, found.clone()].map(|tensor| tensor.into_tensor_arg());
        by_maps::launch(
            &found.client,
            CubeCount::Static(blocks[0], blocks[1], self.experts as u32),
            block(),
            x,
            slope,
            table,
            to,
            self.per_row,
            self.by_place,
            in_out,
            ids,
        );
        reshape(found, Shape::new([self.experts, inputs * outputs]))
    }
}

/// The threads of a block: one for every so many rows and columns of its numbers.
fn block() -> CubeDim {
    let side = (SIDE / kernel::EACH) as u32;
    CubeDim::new_2d(side, side)
}

/// A product as a node of the graph.
#[derive(Debug)]
struct Multiplied;

/// What the way back needs: inputs and weights by their nodes, and the table.
type Kept = ([NodeId; 2], IntTensor<CubeBackend>, Arc<Asked>);

impl Backward<CubeBackend, 2> for Multiplied {
    type State = Kept;

    fn backward(self, ops: Ops<Kept, 2>, graph: &mut Graph, checkpointer: &mut Checkpointer) {
        let (nodes, table, asked) = ops.state;
        let slope = graph.consume::<CubeBackend>(&ops.node);
        let [x, weights] = nodes.map(|node| checkpointer.retrieve_node_output::<FloatTensor<CubeBackend>>(node));
        let [of_x, of_weights] = ops.parents;
        if let Some(node) = of_weights {
            graph.register::<CubeBackend>(node.id, asked.by_maps(slope.clone(), x, table.clone()));
        }
        if let Some(node) = of_x {
            let by_place = asked.product(slope, weights, table.clone(), asked.maps.turned(), true);
            let by_x = if asked.by_place { by_place } else { of_places(by_place, None, table, asked.per_row) };
            graph.register::<CubeBackend>(node.id, by_x);
        }
    }
}

impl<C: CheckpointStrategy> Experts for Autodiff<CubeBackend, C> {
    fn product(
        x: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        table: IntTensor<Self>,
        asked: Arc<Asked>,
    ) -> FloatTensor<Self> {
        let [of_x, of_weights] = [&x, &weights].map(|tensor| tensor.primitive().clone());
        let found = CubeBackend::product(of_x, of_weights, table.clone(), asked.clone());
        match Multiplied.prepare::<C>([x.node(), weights.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut prepared) => {
                let nodes = [&x, &weights].map(|tensor| prepared.checkpoint(tensor));
                prepared.finish((nodes, table, asked), found)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(found),
        }
    }
}

/// What runs there: products whose blocks read some rows of either side into shared memory, and whose threads keep a few sums each.
/// A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use super::super::order::FIELDS;
    use super::super::rounding::weight;
    use super::TILE;

    /// Rows, and columns, that a block computes, and those of a thread.
    pub(super) const SIDE: usize = TILE;
    pub(super) const EACH: usize = 4;
    /// Lines of threads.
    const LINES: usize = SIDE / EACH;
    /// What is summed over is read in parts of so many; and what lies between two of them, so that neighbouring threads write to
    /// other banks.
    const PART: usize = 16;
    const STRIDE: usize = SIDE + 1;
    /// Numbers of either side that a thread reads.
    const READ: usize = SIDE * PART / (LINES * LINES);

    /// The sums of a thread, which has some rows and some columns of its block.
    #[cube]
    fn no_sums() -> Array<f32> {
        let mut sums = Array::<f32>::new(comptime!(EACH * EACH));
        #[unroll]
        for own in 0..comptime!(EACH * EACH) {
            sums[own] = 0.0f32;
        }
        sums
    }

    /// Writes a thread's sums to the block whose first row and column are given, as far as there are rows and columns.
    #[cube]
    fn write(to: &mut Tensor<f32>, first: usize, end: usize, start: usize, sums: &Array<f32>) {
        let width = to.shape(1);
        #[unroll]
        for row in 0..EACH {
            let place = first + UNIT_POS_Y as usize + row * LINES;
            #[unroll]
            for column in 0..EACH {
                let at = start + UNIT_POS_X as usize + column * LINES;
                if place < end && at < width {
                    to[place * width + at] = sums[comptime!(row * EACH + column)];
                }
            }
        }
    }

    /// Adds the products of a part to a thread's sums.
    #[cube]
    fn add_part(left: &Shared<[f32]>, right: &Shared<[f32]>, sums: &mut Array<f32>) {
        let lane = UNIT_POS_X as usize;
        let line = UNIT_POS_Y as usize;
        for at in 0..PART {
            #[unroll]
            for row in 0..EACH {
                let number = left[at * STRIDE + line + row * LINES];
                #[unroll]
                for column in 0..EACH {
                    let own = comptime!(row * EACH + column);
                    sums[own] += number * right[at * STRIDE + lane + column * LINES];
                }
            }
        }
    }

    /// Some outputs of a tile in each block.
    #[cube(launch)]
    pub(super) fn by_tiles<F: Float, I: Int>(
        x: &Tensor<f32>,
        weights: &Tensor<F>,
        table: &Tensor<I>,
        to: &mut Tensor<f32>,
        experts: usize,
        per_row: usize,
        #[comptime] by_place: bool,
        #[comptime] in_out: bool,
        #[comptime] rounded: bool,
        #[define(F)] _format: ElemType,
        #[define(I)] _ids: ElemType,
    ) {
        let mut rows = Shared::<[f32]>::new_slice(PART * STRIDE);
        let mut maps = Shared::<[f32]>::new_slice(PART * STRIDE);
        let inputs = x.shape(1);
        let outputs = to.shape(1);
        let unit = UNIT_POS as usize;
        let fields = 2 * to.shape(0) + experts + 1 + CUBE_POS_Y as usize * FIELDS;
        let map = usize::cast_from(table[fields]) * inputs * outputs;
        let first = usize::cast_from(table[fields + 1]);
        let count = usize::cast_from(table[fields + 2]);
        let output = CUBE_POS_X as usize * SIDE;
        let mut sums = no_sums();
        let end = inputs * usize::cast_from(count > 0);
        let mut from = 0usize;
        while from < end {
            sync_cube();
            #[unroll]
            for read in 0..READ {
                let at = unit + read * LINES * LINES;
                let row = at / PART;
                let input = at % PART;
                let mut number = 0.0f32;
                if row < count && from + input < inputs {
                    let mut source = first + row;
                    if comptime!(!by_place) {
                        source = usize::cast_from(table[first + row]) / per_row;
                    }
                    number = x[source * inputs + from + input];
                }
                rows[input * STRIDE + row] = number;
                // Neighbouring threads read neighbouring weights.
                let mut column = at / PART;
                let mut input = at % PART;
                if comptime!(in_out) {
                    column = at % SIDE;
                    input = at / SIDE;
                }
                let mut number = 0.0f32;
                if output + column < outputs && from + input < inputs {
                    if comptime!(in_out) {
                        number = weight::<F>(weights[map + (from + input) * outputs + output + column], rounded);
                    } else {
                        number = weight::<F>(weights[map + (output + column) * inputs + from + input], rounded);
                    }
                }
                maps[input * STRIDE + column] = number;
            }
            sync_cube();
            add_part(&rows, &maps, &mut sums);
            from += PART;
        }
        write(to, first, first + count, output, &sums);
    }

    /// Reads some columns of the rows at some places.
    #[cube]
    fn read_places<I: Int>(
        x: &Tensor<f32>,
        table: &Tensor<I>,
        from: usize,
        end: usize,
        start: usize,
        per_row: usize,
        part: &mut Shared<[f32]>,
        #[comptime] by_place: bool,
    ) {
        let width = x.shape(1);
        #[unroll]
        for read in 0..READ {
            let at = UNIT_POS as usize + read * LINES * LINES;
            let place = from + at / SIDE;
            let column = at % SIDE;
            let mut number = 0.0f32;
            if place < end && start + column < width {
                let mut source = from + at / SIDE;
                if comptime!(!by_place) {
                    source = usize::cast_from(table[place]) / per_row;
                }
                number = x[source * width + start + column];
            }
            part[at / SIDE * STRIDE + column] = number;
        }
    }

    /// Some numbers of the derivative by an expert's map in each block.
    #[cube(launch)]
    pub(super) fn by_maps<I: Int>(
        x: &Tensor<f32>,
        slope: &Tensor<f32>,
        table: &Tensor<I>,
        to: &mut Tensor<f32>,
        per_row: usize,
        #[comptime] by_place: bool,
        #[comptime] in_out: bool,
        #[define(I)] _ids: ElemType,
    ) {
        let mut left = Shared::<[f32]>::new_slice(PART * STRIDE);
        let mut right = Shared::<[f32]>::new_slice(PART * STRIDE);
        let expert = CUBE_POS_Z as usize;
        let starts = 2 * slope.shape(0) + expert;
        let end = usize::cast_from(table[starts + 1]);
        let column = CUBE_POS_X as usize * SIDE;
        let row = CUBE_POS_Y as usize * SIDE;
        let mut height = slope.shape(1);
        if comptime!(in_out) {
            height = x.shape(1);
        }
        let mut sums = no_sums();
        let mut from = usize::cast_from(table[starts]);
        while from < end {
            sync_cube();
            if comptime!(in_out) {
                read_places::<I>(x, table, from, end, row, per_row, &mut left, by_place);
                read_places::<I>(slope, table, from, end, column, per_row, &mut right, true);
            } else {
                read_places::<I>(slope, table, from, end, row, per_row, &mut left, true);
                read_places::<I>(x, table, from, end, column, per_row, &mut right, by_place);
            }
            sync_cube();
            add_part(&left, &right, &mut sums);
            from += PART;
        }
        write(to, expert * height + row, expert * height + height, column, &sums);
    }
}
