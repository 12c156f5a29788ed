//! Rotate-half of heads and its backward pass, a thread for each number.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{blocks_for, empty_like, in_one_piece};
use crate::nn::{Turn, TurnBack};

/// Heads `[t, h, d]`, tables `[t, 1, d]`; `back` is 1 to take a derivative back.
#[cube(launch)]
fn turned(x: &Tensor<f32>, cos: &Tensor<f32>, sin: &Tensor<f32>, y: &mut Tensor<f32>, back: u32) {
    if ABSOLUTE_POS < y.len() {
        let heads = x.shape(1);
        let width = x.shape(2);
        let column = ABSOLUTE_POS % width;
        let table = ABSOLUTE_POS / (heads * width) * width;
        let half = width / 2;
        let first = column < half;
        let mut partner = column + half;
        if column >= half {
            partner = column - half;
        }
        // Turned back, each table's sine belongs to the column that it came from.
        let mut of_partner = sin[table + column];
        if back == 1u32 {
            of_partner = sin[table + partner];
        }
        if first == (back == 0u32) {
            of_partner = -of_partner;
        }
        y[ABSOLUTE_POS] = x[ABSOLUTE_POS] * cos[table + column] + x[ABSOLUTE_POS - column + partner] * of_partner;
    }
}

fn swept(x: FloatTensor<CubeBackend>, tables: [FloatTensor<CubeBackend>; 2], back: u32) -> FloatTensor<CubeBackend> {
    let [cos, sin] = tables;
    let [x, cos, sin] = in_one_piece([x, cos, sin]);
    let y = empty_like(&x);
    let (blocks, block) = blocks_for(&y);
    let [x, cos, sin, to] = [x, cos, sin, y.clone()].map(|tensor| tensor.into_tensor_arg());
    turned::launch(&y.client, blocks, block, x, cos, sin, to, back);
    y
}

impl Turn for CubeBackend {
    fn turn(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        swept(x, [cos, sin], 0)
    }
}

impl TurnBack for CubeBackend {
    fn turn_back(slope: FloatTensor<Self>, tables: [FloatTensor<Self>; 2]) -> FloatTensor<Self> {
        swept(slope, tables, 1)
    }
}
