//! The vision tower: patches to features, with learned interpolated positions, 2-D rotary, mergers and DeepStack.
//!
//! Shape suffixes: `p` patches, `v` tower width, `n` tokens (merged patches), `d` text width, `t` text rows.

mod block;
mod merger;
mod patches;

use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

pub use self::block::VisionBlock;
pub use self::merger::Merger;
use self::patches::{FrameRun, block_coordinates, frame_runs, table_neighbours};
#[cfg(feature = "gpu")]
use crate::attention::{Heads, Tiles};
use crate::bucket::{first_rows, repeated, room_for};
use crate::config::VisionConfig;
use crate::input::PictureInput;
use crate::nn::{Linear, Param, RopeTable, parameters};
use crate::tape::{First, Passed, Tape};
#[cfg(feature = "gpu")]
use crate::tensor::is_cpu;
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

/// A DeepStack merger, if one taps the rows, and the block that takes them on, or behind the last block the merger.
#[derive(Clone, Debug)]
struct Stage {
    tap: Option<Merger>,
    block: Option<VisionBlock>,
    merger: Option<Merger>,
}
parameters!(Stage { tap, block, merger });

/// What blocks and mergers need to know of the pictures.
#[derive(Clone, Debug)]
struct Around {
    rope: RopeTable,
    runs: Vec<FrameRun>,
    heads: usize,
    area: usize,
    /// On a GPU.
    #[cfg(feature = "gpu")]
    tiles: Option<Tiles>,
}

impl Stage {
    fn forward(&self, x_pv: Tensor<2>, around: &Around) -> Passed {
        let beside = self.tap.as_ref().map(|tap| tap.forward(x_pv.clone(), around.area));
        let x_pv = match &self.block {
            Some(block) => block.forward(x_pv, around),
            None => x_pv,
        };
        let rows_td = match &self.merger {
            Some(merger) => merger.forward(x_pv, around.area),
            None => x_pv,
        };
        Passed { rows_td, beside }
    }
}

impl VisionTower {
    /// Features of `pictures`, in their order. `device` is where the tower's tensors are. With a tape, blocks keep only their
    /// input.
    pub(crate) fn forward(
        &self,
        pictures: &[&PictureInput],
        device: &Device,
        tape: Option<&Tape>,
        trace: &mut Trace,
    ) -> VisionFeatures {
        let coordinates: Vec<Vec<[usize; 2]>> =
            pictures.iter().map(|picture| block_coordinates(picture.grid, self.config.spatial_merge_size)).collect();
        let own: usize = pictures.iter().map(|picture| picture.patches()).sum();
        let area = self.config.merge_area();
        let patches = room_for(own, device).next_multiple_of(area);
        let mut x_pv = self.patch_embed.forward(self.pixels(pictures, patches, device));
        x_pv = x_pv + self.interpolated_positions(pictures, &coordinates, patches, device);
        let all = repeated(&coordinates.concat(), patches);
        let (heads, dim) = (self.config.heads, self.config.hidden_size / self.config.heads);
        let runs = frame_runs(pictures);
        let around = Around {
            rope: RopeTable::vision(&all, dim, device),
            #[cfg(feature = "gpu")]
            tiles: (!is_cpu(device)).then(|| {
                let frames = runs.iter().flat_map(|run| std::iter::repeat_n(run.patches_per_frame, run.frames));
                Tiles::of_frames(frames, patches, Heads { kv: heads, per_kv: 1, dim }, device)
            }),
            runs,
            heads,
            area,
        };
        trace.limit(own);
        let mut deepstack_nd = Vec::with_capacity(self.deepstack.len());
        for at in 0..=self.blocks.len() {
            let stage = self.stage(at);
            if stage.merger.is_some() {
                trace.keep(|| "vision_last_0".to_owned(), &x_pv);
            }
            let passed = match tape {
                None => stage.forward(x_pv, &around),
                Some(tape) => {
                    // The way back comes to the tower from the last DeepStack feature, which the highest layer takes.
                    let last = deepstack_nd.len() + 1 == self.deepstack.len();
                    let around = around.clone();
                    let first = if last { First::Beside } else { First::Rows };
                    tape.run(&stage, x_pv, first, move |stage: &Stage, x_pv| stage.forward(x_pv, &around))
                }
            };
            if let Some(feature_nd) = passed.beside.map(|feature_nd| first_rows(feature_nd, own / area)) {
                trace.keep(|| format!("deepstack_0_{}", deepstack_nd.len()), &feature_nd);
                deepstack_nd.push(feature_nd);
            }
            x_pv = passed.rows_td;
        }
        let merged_nd = first_rows(x_pv, own / area);
        trace.keep(|| "vision_merged_0".to_owned(), &merged_nd);
        VisionFeatures { merged_nd, deepstack_nd }
    }

    /// What the outputs of the first `at` blocks go through next. All that reads them is in one stage.
    fn stage(&self, at: usize) -> Stage {
        let tap = self.config.deepstack_indexes.iter().position(|index| index + 1 == at);
        let block = self.blocks.get(at).cloned();
        let merger = block.is_none().then(|| self.merger.clone());
        Stage { tap: tap.map(|tap| self.deepstack[tap].clone()), block, merger }
    }

    /// The patches of the pictures, and behind them black ones, so many in all.
    fn pixels(&self, pictures: &[&PictureInput], patches: usize, device: &Device) -> Tensor<2> {
        let mut pixels = Vec::with_capacity(patches * self.config.patch_inputs());
        for picture in pictures {
            pixels.extend_from_slice(&picture.pixels);
        }
        pixels.resize(patches * self.config.patch_inputs(), 0.0);
        Tensor::from_data(TensorData::new(pixels, [patches, self.config.patch_inputs()]), device)
    }

    fn interpolated_positions(
        &self,
        pictures: &[&PictureInput],
        coordinates: &[Vec<[usize; 2]>],
        patches: usize,
        device: &Device,
    ) -> Tensor<2> {
        let side = self.config.table_side();
        let neighbours: Vec<[(i64, f32); 4]> = pictures
            .iter()
            .zip(coordinates)
            .flat_map(|(picture, cells)| cells.iter().map(|cell| table_neighbours(*cell, picture.grid, side)))
            .collect();
        let neighbours = repeated(&neighbours, patches);
        let table = &self.position_table.value;
        let corner = |index: usize| {
            let ids = indices(neighbours.iter().map(|four| four[index].0), device);
            let weights: Vec<f32> = neighbours.iter().map(|four| four[index].1).collect();
            to_f32(table.clone().select(0, ids))
                * Tensor::<2>::from_data(TensorData::new(weights, [patches, 1]), device)
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
