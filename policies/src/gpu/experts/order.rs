//! Which experts rows take, and the choices sorted by expert, found on the device.
//!
//! Shape suffixes as in the module above.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::{CubeCount, CubeDim};
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;

use self::kernel::{counted, likeliest, sorted};
use crate::gpu::{THREADS, in_one_piece};

/// Rows that a block computes at a time: they are of one expert.
pub(super) const TILE: usize = 64;
/// Numbers that tell of a tile: its expert, its first place, and how many rows it has.
pub(super) const FIELDS: usize = 3;

/// The `k` most probable experts of every row of `probs_te`, ascending by index, `[t, k]`; of equals the first.
pub(crate) fn most_probable(probs_te: Tensor<2>, k: usize) -> Tensor<2, Int> {
    Tensor::from_dispatch(<Dispatch as Sorting>::most_probable(probs_te.inner().into_dispatch(), k))
}

/// How many of `choices_tk` each of the experts is, `[e]`.
pub(crate) fn choices_of(choices_tk: Tensor<2, Int>, experts: usize) -> Tensor<1, Int> {
    Tensor::from_dispatch(<Dispatch as Sorting>::counted(choices_tk.into_dispatch(), experts))
}

/// Choices, sorted by expert and then as they come.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// In this order: the choice at each place, `[n]`; the place of each choice, `[n]`; where each expert begins, and where the last
    /// one ends, `[e + 1]`; tiles of at most [`TILE`] places of one expert, of [`FIELDS`] numbers each. Tiles that are not needed have
    /// no row.
    pub(super) table: Tensor<1, Int>,
    /// How many choices and experts there are, and how many experts a row takes.
    pub(super) choices: usize,
    pub(super) experts: usize,
    pub(super) per_row: usize,
}

impl Order {
    /// Of `choices_tk`.
    pub(crate) fn new(choices_tk: Tensor<2, Int>, experts: usize) -> Self {
        let [rows, per_row] = choices_tk.dims();
        let table = <Dispatch as Sorting>::sorted(choices_tk.into_dispatch(), experts);
        Self { table: Tensor::from_dispatch(table), choices: rows * per_row, experts, per_row }
    }
}

/// Tiles that `choices` of so many experts need at most.
pub(super) fn tiles(choices: usize, experts: usize) -> usize {
    choices / TILE + experts
}

/// The kernels as operations.
#[backend_extension(Cube)]
trait Sorting: Backend {
    /// See [`most_probable`].
    fn most_probable(probs: FloatTensor<Self>, k: usize) -> IntTensor<Self>;

    /// See [`choices_of`].
    fn counted(choices: IntTensor<Self>, experts: usize) -> IntTensor<Self>;

    /// See [`Order`].
    fn sorted(choices: IntTensor<Self>, experts: usize) -> IntTensor<Self>;
}

/// A tensor of any whole numbers beside another.
fn numbers(shape: impl Into<Shape>, beside: &IntTensor<CubeBackend>) -> IntTensor<CubeBackend> {
    empty_device_contiguous_dtype(beside.client.clone(), beside.device.clone(), shape.into(), DType::I32)
}

impl Sorting for CubeBackend {
    fn most_probable(probs: FloatTensor<Self>, k: usize) -> IntTensor<Self> {
        let [probs] = in_one_piece([probs]);
        let [rows, experts] = [0, 1].map(|axis| probs.meta.shape()[axis]);
        let found = numbers([rows, k], &probs);
        let [probs, to] = [probs, found.clone()].map(|tensor| tensor.into_tensor_arg());
        let block = CubeDim::new_1d(THREADS);
        let blocks = calculate_cube_count_elemwise(&found.client, rows * THREADS as usize, block);
        likeliest::launch(&found.client, blocks, block, probs, to, experts);
        found
    }

    fn counted(choices: IntTensor<Self>, experts: usize) -> IntTensor<Self> {
        let [choices] = in_one_piece([choices]);
        let counts = numbers([experts], &choices);
        let ids = dtype_to_storage_type(choices.dtype);
        let [choices, to] = [choices, counts.clone()].map(|tensor| tensor.into_tensor_arg());
        counted::launch(&counts.client, block_for_each(experts), CubeDim::new_1d(THREADS), choices, to, ids);
        counts
    }

    fn sorted(choices: IntTensor<Self>, experts: usize) -> IntTensor<Self> {
        let [choices] = in_one_piece([choices]);
        let (counts, ids) = (Self::counted(choices.clone(), experts), dtype_to_storage_type(choices.dtype));
        let count = choices.meta.num_elements();
        let table = numbers([2 * count + experts + 1 + FIELDS * tiles(count, experts)], &choices);
        let [choices, counts, to] = [choices, counts, table.clone()].map(|tensor| tensor.into_tensor_arg());
        sorted::launch(&table.client, block_for_each(experts), CubeDim::new_1d(THREADS), choices, counts, to, ids);
        table
    }
}

fn block_for_each(experts: usize) -> CubeCount {
    CubeCount::Static(experts as u32, 1, 1)
}

/// What runs there. A tensor of this module is one of the device's.
mod kernel {
    use burn_cubecl::cubecl;
    use burn_cubecl::cubecl::prelude::*;

    use super::{FIELDS, THREADS, TILE};

    const WIDE: usize = THREADS as usize;

    /// A block for each row: an expert is chosen if fewer than `k` come before it, and stands behind those that are.
    #[cube(launch)]
    pub(super) fn likeliest(probs: &Tensor<f32>, to: &mut Tensor<i32>, #[comptime] experts: usize) {
        let mut chosen = Shared::<[u32]>::new_slice(experts);
        let rows = to.shape(0);
        // There may be more blocks than rows: those read the last one, and write nothing.
        let row = usize::min(CUBE_POS, rows - 1);
        let start = row * experts;
        let count = to.shape(1);
        let mut own = UNIT_POS as usize;
        while own < experts {
            let prob = probs[start + own];
            let mut before = 0usize;
            for other in 0..experts {
                let beside = probs[start + other];
                if beside > prob || (beside == prob && other < own) {
                    before += 1;
                }
            }
            chosen[own] = u32::cast_from(before < count);
            own += WIDE;
        }
        sync_cube();
        let mut own = UNIT_POS as usize;
        while own < experts {
            let mut place = 0usize;
            for other in 0..own {
                place += usize::cast_from(chosen[other]);
            }
            // What is no number comes before nothing and after nothing: there may be more than asked for.
            if chosen[own] == 1u32 && place < count && CUBE_POS == row {
                to[row * count + place] = i32::cast_from(own);
            }
            own += WIDE;
        }
    }

    /// A block for each expert, whose threads count it in a share of the choices each.
    #[cube(launch)]
    pub(super) fn counted<I: Int>(choices: &Tensor<I>, counts: &mut Tensor<i32>, #[define(I)] _ids: ElemType) {
        let mut found = Shared::<[u32]>::new_slice(WIDE);
        let expert = CUBE_POS;
        let mut own = 0u32;
        let mut at = UNIT_POS as usize;
        while at < choices.len() {
            own += u32::cast_from(usize::cast_from(choices[at]) == expert);
            at += WIDE;
        }
        found[UNIT_POS as usize] = own;
        sync_cube();
        if UNIT_POS == 0 {
            let mut whole = 0u32;
            for other in 0..WIDE {
                whole += found[other];
            }
            counts[expert] = i32::cast_from(whole);
        }
    }

    /// A block for each expert, whose threads write down where it stands in a stretch of the choices each.
    #[cube(launch)]
    pub(super) fn sorted<I: Int>(
        choices: &Tensor<I>,
        counts: &Tensor<i32>,
        table: &mut Tensor<i32>,
        #[define(I)] _ids: ElemType,
    ) {
        let mut found = Shared::<[u32]>::new_slice(WIDE);
        let expert = CUBE_POS;
        let experts = counts.len();
        let all = choices.len();
        let unit = UNIT_POS as usize;
        let stretch = all.div_ceil(WIDE);
        let begin = usize::min(unit * stretch, all);
        let end = usize::min(begin + stretch, all);
        let mut own = 0u32;
        for at in begin..end {
            own += u32::cast_from(usize::cast_from(choices[at]) == expert);
        }
        found[unit] = own;
        sync_cube();
        let mut start = 0usize;
        let mut tile = 0usize;
        for other in 0..expert {
            let count = usize::cast_from(counts[other]);
            start += count;
            tile += count.div_ceil(TILE);
        }
        let mut place = start;
        for other in 0..unit {
            place += usize::cast_from(found[other]);
        }
        for at in begin..end {
            if usize::cast_from(choices[at]) == expert {
                table[place] = i32::cast_from(at);
                table[all + at] = i32::cast_from(place);
                place += 1;
            }
        }
        let count = usize::cast_from(counts[expert]);
        let tiles = count.div_ceil(TILE);
        let fields = 2 * all + experts + 1;
        if unit == 0 {
            table[2 * all + expert] = i32::cast_from(start);
        }
        let mut at = unit;
        while at < tiles {
            let to = fields + (tile + at) * FIELDS;
            table[to] = i32::cast_from(expert);
            table[to + 1] = i32::cast_from(start + at * TILE);
            table[to + 2] = i32::cast_from(usize::min(count - at * TILE, TILE));
            at += WIDE;
        }
        // The last one ends all, and leaves no row in tiles that nobody needs.
        if expert + 1 == experts {
            if unit == 0 {
                table[2 * all + experts] = i32::cast_from(all);
            }
            let mut at = tile + tiles + unit;
            while at < all / TILE + experts {
                let to = fields + at * FIELDS;
                table[to] = 0i32;
                table[to + 1] = 0i32;
                table[to + 2] = 0i32;
                at += WIDE;
            }
        }
    }
}
