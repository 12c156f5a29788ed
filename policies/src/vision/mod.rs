//! The vision tower: patches to features, with learned interpolated positions, 2-D rotary, mergers and DeepStack.
//!
//! Shape suffixes: `p` patches, `v` tower width, `n` tokens (merged patches), `d` text width, `t` text rows.

mod block;
mod merger;
mod patches;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

pub use self::block::VisionBlock;
pub use self::merger::Merger;
use self::patches::{block_coordinates, frame_runs, table_neighbours};
use crate::config::VisionConfig;
use crate::input::PictureInput;
use crate::nn::{Linear, Param, RopeTable, parameters};
use crate::tensor::{indices, to_f32};
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
    /// Turn the outputs that DeepStack taps into text-width features.
    pub deepstack: Vec<Merger>,
    /// Sizes.
    pub config: VisionConfig,
}
parameters!(VisionTower { patch_embed, position_table, blocks, merger, deepstack });

/// What the tower makes of pictures: rows in the order of the pictures, slots and merged patches.
#[derive(Clone, Debug)]
pub struct VisionFeatures {
    /// Token embeddings `[n, d]`.
    pub merged_nd: Tensor<2>,
    /// One `[n, d]` for each of the first text layers.
    pub deepstack_nd: Vec<Tensor<2>>,
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
            let ids = indices(neighbours.iter().map(|four| four[index].0), device);
            let weights: Vec<f32> = neighbours.iter().map(|four| four[index].1).collect();
            to_f32(table.clone().select(0, ids)) * Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), device)
        };
        corner(0) + corner(1) + corner(2) + corner(3)
    }
}

impl VisionFeatures {
    /// The features of `count` tokens from `first` on.
    pub(crate) fn part(&self, first: usize, count: usize) -> Self {
        let part = |all: &Tensor<2>| all.clone().narrow(0, first, count);
        Self { merged_nd: part(&self.merged_nd), deepstack_nd: self.deepstack_nd.iter().map(part).collect() }
    }

    /// The features of several runs of tokens, of which there is at least one, as one.
    pub(crate) fn cat(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let layer = |layer: usize| parts.iter().map(|part| part.deepstack_nd[layer].clone()).collect();
        let deepstack_nd = (0..parts[0].deepstack_nd.len()).map(|at| Tensor::cat(layer(at), 0)).collect();
        Self { merged_nd: Tensor::cat(parts.into_iter().map(|part| part.merged_nd).collect(), 0), deepstack_nd }
    }

    /// Tokens that the features stand for.
    pub fn tokens(&self) -> usize {
        self.merged_nd.dims()[0]
    }

    /// These numbers among tensors that record gradients.
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
