//! The text decoder: one list of rows through the layers; how a layer runs is handed in.
//!
//! Shape suffixes: `t` rows, `d` width, `n` picture rows.

mod layer;
mod moe;

use burn::tensor::{Int, Tensor};

pub use self::layer::{DenseMlp, FeedForward, TextLayer};
pub use self::moe::{SparseMlp, balance_loss};
use crate::config::TextConfig;
use crate::nn::{Param, RmsNorm, parameters};
use crate::tape::Passed;
use crate::tensor::to_f32;
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
parameters!(TextModel { embed, layers, norm, head });

/// Picture features and the rows where they belong.
pub(crate) struct Visual {
    pub(crate) features: VisionFeatures,
    pub(crate) rows_n: Tensor<1, Int>,
    /// 0 at picture rows, 1 elsewhere.
    pub(crate) keep_t1: Tensor<2>,
}

impl TextModel {
    /// The head's matrix `[vocabulary, d]`.
    pub fn head(&self) -> &Param {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Hidden rows `[t, d]` after the final norm. `through(number, layer, rows)` takes rows through a layer.
    pub(crate) fn forward(
        &self,
        ids_t: Tensor<1, Int>,
        visual: Option<&Visual>,
        through: &mut dyn FnMut(usize, &TextLayer, Tensor<2>) -> Passed,
        trace: &mut Trace,
    ) -> Tensor<2> {
        let mut x_td = to_f32(self.embed.value.clone().select(0, ids_t));
        if let Some(visual) = visual {
            x_td = visual.features.replace(x_td, &visual.rows_n, &visual.keep_t1);
        }
        trace.keep(|| "inputs_embeds".to_owned(), &x_td);
        for (index, layer) in self.layers.iter().enumerate() {
            let passed = through(index, layer, x_td);
            x_td = passed.rows_td;
            if let Some(probs_te) = &passed.beside {
                trace.keep(|| format!("router_{index}"), probs_te);
            }
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
