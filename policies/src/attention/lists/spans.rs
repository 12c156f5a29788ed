//! What spans of a row's keys gave, joined: each by its share of the sum that all weights are divided by. A tensor of this file is
//! one of the device's.

use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

/// A thread for each number of the contexts, whose heads are `dim` wide. Sums are logarithms.
#[cube(launch)]
pub(super) fn joined<I: Int>(
    contexts: &Tensor<f32>,
    sums: &Tensor<f32>,
    joins: &Tensor<I>,
    to: &mut Tensor<f32>,
    dim: usize,
    #[define(I)] _ids: ElemType,
) {
    if ABSOLUTE_POS < to.len() {
        let width = to.shape(1);
        let heads = sums.shape(1);
        let row = ABSOLUTE_POS / width;
        let column = ABSOLUTE_POS % width;
        let head = column / dim;
        let begin = usize::cast_from(joins[row]);
        let end = usize::cast_from(joins[row + 1]);
        let mut largest = sums[begin * heads + head];
        for span in begin + 1..end {
            largest = f32::max(largest, sums[span * heads + head]);
        }
        let mut whole = 0.0f32;
        let mut all = 0.0f32;
        for span in begin..end {
            let weight = f32::exp(sums[span * heads + head] - largest);
            whole += weight * contexts[span * width + column];
            all += weight;
        }
        to[ABSOLUTE_POS] = whole / all;
    }
}
