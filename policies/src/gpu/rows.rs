//! Rows that a few neighbouring threads share, and add up in the memory of their block.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::calculate_cube_count_elemwise;
use burn_cubecl::cubecl::prelude::*;

use super::THREADS;

/// Threads of a row; where columns are added up, neighbouring columns.
pub(super) const LANES: usize = 32;
/// Rows that a block has at a time.
pub(super) const ROWS: usize = THREADS as usize / LANES;

/// Every thread's number added to those of its row; `sums` has a place for each thread of the block.
#[cube]
pub(super) fn of_row(own: f32, sums: &mut Shared<[f32]>) -> f32 {
    let lane = UNIT_POS_X as usize;
    let place = UNIT_POS as usize;
    sync_cube();
    sums[place] = own;
    sync_cube();
    let mut step = (LANES / 2).runtime();
    while step > 0 {
        if lane < step {
            sums[place] += sums[place + step];
        }
        sync_cube();
        step /= 2;
    }
    sums[place - lane]
}

/// The threads of a block.
pub(super) fn row_block() -> CubeDim {
    CubeDim::new_2d(LANES as u32, ROWS as u32)
}

/// Blocks that have a place for so many rows, beside a tensor.
pub(super) fn blocks_of_rows(rows: usize, beside: &FloatTensor<CubeBackend>) -> CubeCount {
    calculate_cube_count_elemwise(&beside.client, rows * LANES, row_block())
}
