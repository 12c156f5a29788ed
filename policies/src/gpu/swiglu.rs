//! `silu(gate) * up` and its backward pass, a thread for each number.

use burn::backend::tensor::FloatTensor;
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl;
use burn_cubecl::cubecl::prelude::*;

use super::{blocks_for, empty_like, in_one_piece};
use crate::nn::{Swiglu, SwigluBack};

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0f32 / (1.0f32 + f32::exp(-x))
}

#[cube(launch)]
fn forward(gate: &Tensor<f32>, up: &Tensor<f32>, y: &mut Tensor<f32>) {
    if ABSOLUTE_POS < y.len() {
        let gate = gate[ABSOLUTE_POS];
        y[ABSOLUTE_POS] = gate * sigmoid(gate) * up[ABSOLUTE_POS];
    }
}

#[cube(launch)]
fn back(slope: &Tensor<f32>, gate: &Tensor<f32>, up: &Tensor<f32>, by_gate: &mut Tensor<f32>, by_up: &mut Tensor<f32>) {
    if ABSOLUTE_POS < slope.len() {
        let gate = gate[ABSOLUTE_POS];
        let slope = slope[ABSOLUTE_POS] * sigmoid(gate);
        by_gate[ABSOLUTE_POS] = slope * up[ABSOLUTE_POS] * (1.0f32 + gate * (1.0f32 - sigmoid(gate)));
        by_up[ABSOLUTE_POS] = slope * gate;
    }
}

impl Swiglu for CubeBackend {
    fn swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        let [gate, up] = in_one_piece([gate, up]);
        let y = empty_like(&gate);
        let (blocks, block) = blocks_for(&y);
        let [gate, up, to] = [gate, up, y.clone()].map(|tensor| tensor.into_tensor_arg());
        forward::launch(&y.client, blocks, block, gate, up, to);
        y
    }
}

impl SwigluBack for CubeBackend {
    fn swiglu_back(slope: FloatTensor<Self>, gate: FloatTensor<Self>, up: FloatTensor<Self>) -> [FloatTensor<Self>; 2] {
        let [slope, gate, up] = in_one_piece([slope, gate, up]);
        let slopes = [empty_like(&gate), empty_like(&gate)];
        let (blocks, block) = blocks_for(&gate);
        let client = gate.client.clone();
        let [slope, gate, up] = [slope, gate, up].map(|tensor| tensor.into_tensor_arg());
        let [by_gate, by_up] = slopes.clone().map(|tensor| tensor.into_tensor_arg());
        back::launch(&client, blocks, block, slope, gate, up, by_gate, by_up);
        slopes
    }
}
