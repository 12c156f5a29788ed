//! The text decoder: one list of rows through the layers; how rows see each other is handed in.
//!
//! Shape suffixes: `t` rows, `d` width, `h` query heads, `k` head width.

use burn::tensor::{Int, Tensor, activation};

use crate::config::TextConfig;
use crate::layers::{Linear, RmsNorm};
use crate::moe::SparseMlp;
use crate::param::{Param, Parameters, holds, wide};
use crate::rope::RopeTable;
use crate::trace::Trace;
use crate::vision::VisionFeatures;

/// Embedding, layers, final norm and head.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// Embedding table `[vocabulary, d]`.
    pub embed: Param,
    /// Transformer layers.
    pub layers: Vec<TextLayer>,
    /// Before the head.
    pub norm: RmsNorm,
    /// The head `[vocabulary, d]`, unless it is the embedding table.
    pub head: Option<Param>,
    /// Sizes.
    pub config: TextConfig,
}
holds!(TextModel { embed, layers, norm, head });

/// One decoder layer.
#[derive(Clone, Debug)]
pub struct TextLayer {
    /// Before attention.
    pub input_norm: RmsNorm,
    /// Queries.
    pub q: Linear,
    /// Keys.
    pub k: Linear,
    /// Values.
    pub v: Linear,
    /// Output of attention.
    pub o: Linear,
    /// Over each query head.
    pub q_norm: RmsNorm,
    /// Over each key head.
    pub k_norm: RmsNorm,
    /// Before the feed-forward part.
    pub post_norm: RmsNorm,
    /// What each row goes through alone.
    pub feed_forward: FeedForward,
}
holds!(TextLayer { input_norm, q, k, v, o, q_norm, k_norm, post_norm, feed_forward });

/// The feed-forward part of a layer.
#[expect(clippy::large_enum_variant, reason = "both are handles to a layer's matrices, and there are few layers")]
#[derive(Clone, Debug)]
pub enum FeedForward {
    /// One MLP for every row.
    Dense(DenseMlp),
    /// A few experts of many for each row.
    Sparse(SparseMlp),
}

impl Parameters for FeedForward {
    fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Param)) {
        match self {
            Self::Dense(mlp) => mlp.visit(visit),
            Self::Sparse(mlp) => mlp.visit(visit),
        }
    }

    fn visit_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Param)) {
        match self {
            Self::Dense(mlp) => mlp.visit_mut(visit),
            Self::Sparse(mlp) => mlp.visit_mut(visit),
        }
    }

    fn visit_linears<'a>(&'a self, visit: &mut dyn FnMut(&'a Linear)) {
        match self {
            Self::Dense(mlp) => mlp.visit_linears(visit),
            Self::Sparse(mlp) => mlp.visit_linears(visit),
        }
    }

    fn visit_linears_mut<'a>(&'a mut self, visit: &mut dyn FnMut(&'a mut Linear)) {
        match self {
            Self::Dense(mlp) => mlp.visit_linears_mut(visit),
            Self::Sparse(mlp) => mlp.visit_linears_mut(visit),
        }
    }
}

impl FeedForward {
    /// `x_td` to `[t, d]`.
    fn forward(&self, x_td: Tensor<2>, layer: usize, trace: &mut Trace) -> Tensor<2> {
        match self {
            Self::Dense(mlp) => mlp.forward(x_td),
            Self::Sparse(mlp) => mlp.forward(x_td, layer, trace),
        }
    }
}

/// `down(silu(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct DenseMlp {
    /// Gate.
    pub gate: Linear,
    /// Input.
    pub up: Linear,
    /// Output.
    pub down: Linear,
}
holds!(DenseMlp { gate, up, down });

impl DenseMlp {
    fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        let gate = activation::silu(self.gate.forward(x_td.clone()));
        self.down.forward(gate * self.up.forward(x_td))
    }
}

/// Queries, keys and values of all rows, as matrices: rotary positions are in.
pub(crate) struct Projected {
    pub(crate) q: Tensor<2>,
    pub(crate) k: Tensor<2>,
    pub(crate) v: Tensor<2>,
}

/// Picture features and the rows where they belong.
pub(crate) struct Visual {
    pub(crate) features: VisionFeatures,
    pub(crate) rows_n: Tensor<1, Int>,
    /// 0 at picture rows, 1 elsewhere.
    pub(crate) keep_t1: Tensor<2>,
}

impl TextLayer {
    fn project(&self, x_td: Tensor<2>, rope: &RopeTable, config: &TextConfig) -> Projected {
        let rows = x_td.dims()[0];
        let turned = |linear: &Linear, norm: &RmsNorm, heads: usize| {
            let x = linear.forward(x_td.clone()).reshape([rows * heads, config.head_dim]);
            let x_thk = norm.forward(x).reshape([rows, heads, config.head_dim]);
            rope.rotate(x_thk).reshape([rows, heads * config.head_dim])
        };
        let q = turned(&self.q, &self.q_norm, config.heads);
        let k = turned(&self.k, &self.k_norm, config.kv_heads);
        Projected { q, k, v: self.v.forward(x_td) }
    }
}

impl TextModel {
    /// The head's matrix `[vocabulary, d]`.
    pub fn head(&self) -> &Param {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Hidden rows `[t, d]` after the final norm. `attend(layer, projected)` turns queries, keys and values of all
    /// rows into their contexts `[t, h*k]`.
    pub(crate) fn forward(
        &self,
        ids_t: Tensor<1, Int>,
        rope: &RopeTable,
        visual: Option<&Visual>,
        attend: &mut dyn FnMut(usize, Projected) -> Tensor<2>,
        trace: &mut Trace,
    ) -> Tensor<2> {
        let mut x_td = wide(self.embed.value.clone().select(0, ids_t));
        if let Some(visual) = visual {
            x_td = visual.features.replace(x_td, &visual.rows_n, &visual.keep_t1);
        }
        trace.keep(|| "inputs_embeds".to_owned(), &x_td);
        for (index, layer) in self.layers.iter().enumerate() {
            let projected = layer.project(layer.input_norm.forward(x_td.clone()), rope, &self.config);
            x_td = x_td + layer.o.forward(attend(index, projected));
            let update = layer.feed_forward.forward(layer.post_norm.forward(x_td.clone()), index, trace);
            x_td = x_td + update;
            trace.keep(|| format!("layer_{index}"), &x_td);
            if let Some(visual) = visual {
                x_td = visual.features.add(index, x_td, &visual.rows_n);
            }
        }
        let x_td = self.norm.forward(x_td);
        trace.keep(|| "final_norm".to_owned(), &x_td);
        x_td
    }
}
