//! The root-mean-square norm of rows and its backward pass: a few threads for each row, which add up in the memory that a block
//! shares.

use burn::backend::tensor::FloatTensor;
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::rows::{LANES, ROWS, blocks_of_rows, of_row, row_block};
use super::{blocks_for, empty, empty_like, in_one_piece};
use crate::nn::{RootMeanSquare, RootMeanSquareBack};

/// Rows that a block adds up for a weight's derivative, at least, and the most blocks that share them.
const ADDED: usize = 64 * ROWS;
const PARTS: usize = 64;

/// Rows `[t, d]`, weights `[1, d]`.
#[cube(launch)]
fn forward(x: &Tensor<f32>, weight: &Tensor<f32>, y: &mut Tensor<f32>, eps: f32) {
    let mut sums = Shared::<[f32]>::new_slice(LANES * ROWS);
    let width = weight.len();
    let lane = UNIT_POS_X as usize;
    let rows = x.len() / width;
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    // A block's threads stay together: those without a row read the last one, and write nothing.
    let start = usize::min(row, rows - 1) * width;
    let mut own = 0.0f32;
    let mut at = lane;
    while at < width {
        own += x[start + at] * x[start + at];
        at += LANES;
    }
    let scale = 1.0f32 / f32::sqrt(of_row(own, &mut sums) / width as f32 + eps);
    if row < rows {
        let mut at = lane;
        while at < width {
            y[start + at] = x[start + at] * scale * weight[at];
            at += LANES;
        }
    }
}

/// The derivative by the rows from that by their norms, and what each row was multiplied by.
#[cube(launch)]
fn back(
    slope: &Tensor<f32>,
    x: &Tensor<f32>,
    weight: &Tensor<f32>,
    by_x: &mut Tensor<f32>,
    scales: &mut Tensor<f32>,
    eps: f32,
) {
    let mut sums = Shared::<[f32]>::new_slice(LANES * ROWS);
    let width = weight.len();
    let lane = UNIT_POS_X as usize;
    let rows = x.len() / width;
    let row = CUBE_POS * ROWS + UNIT_POS_Y as usize;
    let start = usize::min(row, rows - 1) * width;
    let mut squares = 0.0f32;
    let mut products = 0.0f32;
    let mut at = lane;
    while at < width {
        let number = x[start + at];
        squares += number * number;
        products += slope[start + at] * weight[at] * number;
        at += LANES;
    }
    let scale = 1.0f32 / f32::sqrt(of_row(squares, &mut sums) / width as f32 + eps);
    let share = of_row(products, &mut sums) / width as f32 * scale * scale;
    if row < rows {
        let mut at = lane;
        while at < width {
            by_x[start + at] = scale * (slope[start + at] * weight[at] - x[start + at] * share);
            at += LANES;
        }
        if lane == 0 {
            scales[row] = scale;
        }
    }
}

/// The derivative by the weights, summed over the rows of each part, `[p, d]`: in a block, neighbouring columns of a part.
#[cube(launch)]
fn weight_parts(slope: &Tensor<f32>, x: &Tensor<f32>, scales: &Tensor<f32>, parts: &mut Tensor<f32>) {
    let mut sums = Shared::<[f32]>::new_slice(LANES * ROWS);
    let width = parts.shape(1);
    let place = UNIT_POS as usize;
    let slot = UNIT_POS_Y as usize;
    let column = CUBE_POS_X as usize * LANES + UNIT_POS_X as usize;
    let mut own = 0.0f32;
    if column < width {
        let mut row = CUBE_POS_Y as usize * ROWS + slot;
        while row < scales.len() {
            own += slope[row * width + column] * x[row * width + column] * scales[row];
            row += parts.shape(0) * ROWS;
        }
    }
    sums[place] = own;
    sync_cube();
    let mut step = (ROWS / 2).runtime();
    while step > 0 {
        if slot < step {
            sums[place] += sums[place + step * LANES];
        }
        sync_cube();
        step /= 2;
    }
    if slot == 0 && column < width {
        parts[CUBE_POS_Y as usize * width + column] = sums[place];
    }
}

/// The sum of all parts, a thread for each column.
#[cube(launch)]
fn whole(parts: &Tensor<f32>, sum: &mut Tensor<f32>) {
    let width = sum.len();
    if ABSOLUTE_POS < width {
        let mut own = 0.0f32;
        let mut at = ABSOLUTE_POS;
        while at < parts.len() {
            own += parts[at];
            at += width;
        }
        sum[ABSOLUTE_POS] = own;
    }
}

impl RootMeanSquare for CubeBackend {
    fn rms_norm(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        let [x, weight] = in_one_piece([x, weight]);
        let y = empty_like(&x);
        let (blocks, block) = (blocks_of_rows(x.meta.shape()[0], &x), row_block());
        let [x, weight, to] = [x, weight, y.clone()].map(|tensor| tensor.into_tensor_arg());
        forward::launch(&y.client, blocks, block, x, weight, to, eps);
        y
    }
}

impl RootMeanSquareBack for CubeBackend {
    fn rms_norm_back(
        slope: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        eps: f32,
        trains: bool,
    ) -> (FloatTensor<Self>, Option<FloatTensor<Self>>) {
        let [slope, x, weight] = in_one_piece([slope, x, weight]);
        let rows = x.meta.shape()[0];
        let (by_x, scales) = (empty_like(&x), empty(Shape::new([rows]), &x));
        let argument = |tensor: &FloatTensor<Self>| tensor.clone().into_tensor_arg();
        back::launch(
            &x.client,
            blocks_of_rows(x.meta.shape()[0], &x),
            row_block(),
            argument(&slope),
            argument(&x),
            argument(&weight),
            argument(&by_x),
            argument(&scales),
            eps,
        );
        if !trains {
            return (by_x, None);
        }
        let (width, count) = (weight.meta.num_elements(), rows.div_ceil(ADDED).clamp(1, PARTS));
        let parts = empty(Shape::new([count, width]), &x);
        let blocks = CubeCount::Static(width.div_ceil(LANES) as u32, count as u32, 1);
        weight_parts::launch(
            &x.client,
            blocks,
            row_block(),
            argument(&slope),
            argument(&x),
            argument(&scales),
            argument(&parts),
        );
        let by_weight = empty_like(&weight);
        let (blocks, block) = blocks_for(&by_weight);
        whole::launch(&x.client, blocks, block, argument(&parts), argument(&by_weight));
        (by_x, Some(by_weight))
    }
}
