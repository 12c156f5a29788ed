//! One decoder layer: attention's projections, then what each row goes through alone.
//!
//! Shape suffixes: `t` rows, `d` width, `h` query heads, `k` head width.

use burn::tensor::Tensor;

use super::moe::SparseMlp;
use crate::attention::Projected;
use crate::config::TextConfig;
use crate::nn::{Linear, LinearMaps, Param, Parameters, RmsNorm, RopeTable, parameters, swiglu};
use crate::tape::Passed;

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
parameters!(TextLayer { input_norm, q, k, v, o, q_norm, k_norm, post_norm, feed_forward });

impl TextLayer {
    /// Rows `[t, d]` through the layer, and beside them the probabilities of its router, if it has one. `attend` turns queries,
    /// keys and values of all rows into their contexts `[t, h*k]`.
    pub(crate) fn forward(
        &self,
        x_td: Tensor<2>,
        rope: &RopeTable,
        config: &TextConfig,
        attend: &mut dyn FnMut(Projected) -> Tensor<2>,
    ) -> Passed {
        let projected = self.project(self.input_norm.forward(x_td.clone()), rope, config);
        let x_td = x_td + self.o.forward(attend(projected));
        let normed_td = self.post_norm.forward(x_td.clone());
        let (update_td, beside) = match &self.feed_forward {
            FeedForward::Dense(mlp) => (mlp.forward(normed_td), None),
            FeedForward::Sparse(mlp) => {
                let (update_td, probs_te) = mlp.forward(normed_td);
                (update_td, Some(probs_te))
            }
        };
        Passed { rows_td: x_td + update_td, beside }
    }

    /// Queries, keys and values of rows `[t, d]`, heads normalised and turned to their positions.
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
}

impl LinearMaps for FeedForward {
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
parameters!(DenseMlp { gate, up, down });

impl DenseMlp {
    fn forward(&self, x_td: Tensor<2>) -> Tensor<2> {
        let gate = self.gate.forward(x_td.clone());
        self.down.forward(swiglu(gate, self.up.forward(x_td)))
    }
}
