//! The vision tower: patches to features, with learned interpolated positions, 2-D rotary, mergers and DeepStack.
//!
//! Shape suffixes: `p` patches, `v` tower width, `n` tokens (merged patches), `d` text width, `s` segments (frames),
//! `f` patches of a frame, `h` heads, `k` head width.

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};

use crate::config::VisionConfig;
use crate::input::PictureInput;
use crate::layers::{LayerNorm, Linear};
use crate::param::{Param, holds, wide};
use crate::rope::RopeTable;
use crate::trace::Trace;

/// The tower with its mergers.
#[derive(Clone, Debug)]
pub struct VisionTower {
    /// The 3-D convolution, whose kernel is its stride: a linear map of the flattened patch.
    pub patch_embed: Linear,
    /// The square table of learned positions, `[side * side, v]`.
    pub position_table: Param,
    /// Transformer blocks.
    pub blocks: Vec<VisionBlock>,
    /// Turns the last block's output into text-width tokens.
    pub merger: Merger,
    /// The same for the outputs that DeepStack taps.
    pub deepstack: Vec<Merger>,
    /// Sizes.
    pub config: VisionConfig,
}
holds!(VisionTower { patch_embed, position_table, blocks, merger, deepstack });

/// One block: attention within a frame, then an MLP, each on normalised input.
#[derive(Clone, Debug)]
pub struct VisionBlock {
    /// Before attention.
    pub norm1: LayerNorm,
    /// Before the MLP.
    pub norm2: LayerNorm,
    /// Queries, keys and values in one.
    pub qkv: Linear,
    /// Output of attention.
    pub proj: Linear,
    /// First linear map of the MLP.
    pub fc1: Linear,
    /// Second linear map of the MLP.
    pub fc2: Linear,
}
holds!(VisionBlock { norm1, norm2, qkv, proj, fc1, fc2 });

/// Joins a block of patches into one token of text width.
#[derive(Clone, Debug)]
pub struct Merger {
    /// Over the tower's width, or over the joined row when `norm_joined`.
    pub norm: LayerNorm,
    /// First linear map.
    pub fc1: Linear,
    /// Second linear map.
    pub fc2: Linear,
    /// DeepStack mergers join before the norm.
    pub norm_joined: bool,
}
holds!(Merger { norm, fc1, fc2 });

/// What the tower makes of pictures: rows in the order of the pictures, slots and merged patches.
#[derive(Clone, Debug)]
pub struct VisionFeatures {
    /// Token embeddings `[n, d]`.
    pub merged_nd: Tensor<2>,
    /// One `[n, d]` for each of the first text layers.
    pub deepstack_nd: Vec<Tensor<2>>,
}

impl Merger {
    fn forward(&self, x_pv: Tensor<2>, area: usize) -> Tensor<2> {
        let [patches, width] = x_pv.dims();
        let joined = |x: Tensor<2>| x.reshape([patches / area, width * area]);
        let x = if self.norm_joined { self.norm.forward(joined(x_pv)) } else { joined(self.norm.forward(x_pv)) };
        self.fc2.forward(activation::gelu(self.fc1.forward(x)))
    }
}

impl VisionBlock {
    fn forward(&self, x_pv: Tensor<2>, rope: &RopeTable, runs: &[FrameRun], heads: usize) -> Tensor<2> {
        let attended = self.attend(self.norm1.forward(x_pv.clone()), rope, runs, heads);
        let x_pv = x_pv + self.proj.forward(attended);
        let hidden = activation::gelu_approximate(self.fc1.forward(self.norm2.forward(x_pv.clone())));
        x_pv + self.fc2.forward(hidden)
    }

    fn attend(&self, x_pv: Tensor<2>, rope: &RopeTable, runs: &[FrameRun], heads: usize) -> Tensor<2> {
        let [patches, width] = x_pv.dims();
        let k = width / heads;
        let qkv = self.qkv.forward(x_pv);
        let third = |i: usize| qkv.clone().narrow(1, i * width, width).reshape([patches, heads, k]);
        let (q, key, value) = (rope.rotate(third(0)), rope.rotate(third(1)), third(2));
        let q = q.mul_scalar((k as f64).powf(-0.5));
        let mut outputs = Vec::with_capacity(runs.len());
        for run in runs {
            let (s, f) = (run.frames, run.patches_per_frame);
            let split = |x: &Tensor<3>| {
                let x = x.clone().narrow(0, run.start, s * f).reshape([s, f, heads, k]);
                x.permute([0, 2, 1, 3]).reshape([s * heads, f, k])
            };
            let weights = activation::softmax(split(&q).matmul(split(&key).swap_dims(1, 2)), 2);
            let context = weights.matmul(split(&value)).reshape([s, heads, f, k]);
            outputs.push(context.permute([0, 2, 1, 3]).reshape([s * f, width]));
        }
        if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(outputs, 0) }
    }
}

/// Neighbouring frames with equally many patches: attention runs over them in one product.
#[derive(Clone, Copy, Debug)]
struct FrameRun {
    start: usize,
    frames: usize,
    patches_per_frame: usize,
}

fn frame_runs(pictures: &[&PictureInput]) -> Vec<FrameRun> {
    let mut runs: Vec<FrameRun> = Vec::new();
    let mut start = 0;
    for picture in pictures {
        let [slots, height, width] = picture.grid;
        match runs.last_mut() {
            Some(run) if run.patches_per_frame == height * width => run.frames += slots,
            _ => runs.push(FrameRun { start, frames: slots, patches_per_frame: height * width }),
        }
        start += picture.patches();
    }
    runs
}

/// Row and column of every patch of a picture, in merge-block order.
fn block_coordinates(grid: [usize; 3], merge: usize) -> Vec<[usize; 2]> {
    let [slots, height, width] = grid;
    let mut frame = Vec::with_capacity(height * width);
    for block_row in 0..height / merge {
        for block_column in 0..width / merge {
            for row in 0..merge {
                for column in 0..merge {
                    frame.push([block_row * merge + row, block_column * merge + column]);
                }
            }
        }
    }
    frame.repeat(slots)
}

/// The four neighbours of a patch in the position table, and their weights: bilinear with aligned corners.
fn table_neighbours([row, column]: [usize; 2], [_, height, width]: [usize; 3], side: usize) -> [(i64, f32); 4] {
    let sample = |index: usize, size: usize| {
        let at = if size > 1 { index as f32 * (side - 1) as f32 / (size - 1) as f32 } else { 0.0 };
        let low = (at.floor() as usize).min(side - 1);
        (low, (low + 1).min(side - 1), at - low as f32)
    };
    let (top, bottom, down) = sample(row, height);
    let (left, right, across) = sample(column, width);
    let cell = |r: usize, c: usize, weight: f32| ((r * side + c) as i64, weight);
    [
        cell(top, left, (1.0 - down) * (1.0 - across)),
        cell(top, right, (1.0 - down) * across),
        cell(bottom, left, down * (1.0 - across)),
        cell(bottom, right, down * across),
    ]
}

impl VisionTower {
    /// Features of `pictures`, in their order. `device` is where the tower's tensors are.
    pub fn forward(&self, pictures: &[&PictureInput], device: &Device, trace: &mut Trace) -> VisionFeatures {
        let coordinates: Vec<Vec<[usize; 2]>> =
            pictures.iter().map(|picture| block_coordinates(picture.grid, self.config.spatial_merge_size)).collect();
        let mut x_pv = self.patch_embed.forward(self.pixels(pictures, device));
        x_pv = x_pv + self.interpolated_positions(pictures, &coordinates, device);
        let heads = self.config.heads;
        let rope = RopeTable::vision(&coordinates.concat(), self.config.hidden_size / heads, device);
        let runs = frame_runs(pictures);
        let area = self.config.merge_area();
        let mut deepstack_nd = Vec::with_capacity(self.deepstack.len());
        for (index, block) in self.blocks.iter().enumerate() {
            x_pv = block.forward(x_pv, &rope, &runs, heads);
            if let Some(tap) = self.config.deepstack_indexes.iter().position(|at| *at == index) {
                let feature_nd = self.deepstack[tap].forward(x_pv.clone(), area);
                trace.keep(|| format!("deepstack_0_{tap}"), &feature_nd);
                deepstack_nd.push(feature_nd);
            }
        }
        trace.keep(|| "vision_last_0".to_owned(), &x_pv);
        let merged_nd = self.merger.forward(x_pv, area);
        trace.keep(|| "vision_merged_0".to_owned(), &merged_nd);
        VisionFeatures { merged_nd, deepstack_nd }
    }

    fn pixels(&self, pictures: &[&PictureInput], device: &Device) -> Tensor<2> {
        let patches: usize = pictures.iter().map(|picture| picture.patches()).sum();
        let mut pixels = Vec::with_capacity(patches * self.config.patch_inputs());
        for picture in pictures {
            pixels.extend_from_slice(&picture.pixels);
        }
        Tensor::from_data(TensorData::new(pixels, [patches, self.config.patch_inputs()]), device)
    }

    fn interpolated_positions(
        &self,
        pictures: &[&PictureInput],
        coordinates: &[Vec<[usize; 2]>],
        device: &Device,
    ) -> Tensor<2> {
        let side = self.config.table_side();
        let neighbours: Vec<[(i64, f32); 4]> = pictures
            .iter()
            .zip(coordinates)
            .flat_map(|(picture, cells)| cells.iter().map(|cell| table_neighbours(*cell, picture.grid, side)))
            .collect();
        let rows = neighbours.len();
        let table = &self.position_table.value;
        let corner = |index: usize| {
            let ids: Vec<i64> = neighbours.iter().map(|four| four[index].0).collect();
            let weights: Vec<f32> = neighbours.iter().map(|four| four[index].1).collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), device);
            wide(table.clone().select(0, ids)) * Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), device)
        };
        corner(0) + corner(1) + corner(2) + corner(3)
    }
}

impl VisionFeatures {
    /// The same numbers among tensors that record gradients.
    pub(crate) fn autodiff(self) -> Self {
        let deepstack_nd = self.deepstack_nd.into_iter().map(Tensor::autodiff).collect();
        Self { merged_nd: self.merged_nd.autodiff(), deepstack_nd }
    }

    /// Puts the token embeddings at `rows_n` of `x_td`, whose rows there are replaced.
    pub(crate) fn replace(&self, x_td: Tensor<2>, rows_n: &Tensor<1, Int>, keep_t1: &Tensor<2>) -> Tensor<2> {
        (x_td * keep_t1.clone()).select_assign(0, rows_n.clone(), self.merged_nd.clone(), IndexingUpdateOp::Add)
    }

    /// Adds the DeepStack feature of text layer `layer`, if there is one, at `rows_n` of `x_td`.
    pub(crate) fn add(&self, layer: usize, x_td: Tensor<2>, rows_n: &Tensor<1, Int>) -> Tensor<2> {
        match self.deepstack_nd.get(layer) {
            Some(feature) => x_td.select_assign(0, rows_n.clone(), feature.clone(), IndexingUpdateOp::Add),
            None => x_td,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_in_merge_blocks() {
        let cells = block_coordinates([1, 2, 4], 2);
        assert_eq!(cells, [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3]]);
    }

    #[test]
    fn the_corners_of_a_picture_are_the_corners_of_the_table() {
        let heaviest = |cell| {
            let mut four = table_neighbours(cell, [1, 3, 5], 8);
            four.sort_by(|a, b| b.1.total_cmp(&a.1));
            four[0]
        };
        assert_eq!(heaviest([0, 0]), (0, 1.0));
        assert_eq!(heaviest([0, 4]), (7, 1.0));
        assert_eq!(heaviest([2, 4]), (63, 1.0));
    }
}
