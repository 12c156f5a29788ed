//! Attention over a packed batch: rows are gathered into padded blocks of prompts and of completions, and back.
//!
//! Shape suffixes as in the attention seam.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor};

use super::arrangement::Arrangement;
use super::dense::{attend_completions, attend_self, causal_mask, completion_mask};
use super::heads::{Heads, Projected};
use super::op::Seen;
use crate::input::Batch;
use crate::tensor::{indices, is_cpu};

/// How the rows of a batch see each other.
pub(crate) enum Layout {
    /// On a CPU, row by row.
    Rows(Arc<Seen>),
    /// Elsewhere, by padded products.
    Padded(Box<Padded>),
}

/// Index tensors and masks of a batch.
pub(crate) struct Padded {
    heads: Heads,
    prompts: usize,
    completions: usize,
    prefix_slots: Tensor<1, Int>,
    prefix_mask: Tensor<3>,
    completion: Option<(Tensor<1, Int>, Tensor<3>)>,
    row_slots: Tensor<1, Int>,
}

impl Layout {
    pub(crate) fn new(batch: &Batch<'_>, heads: Heads, device: &Device) -> Self {
        if is_cpu(device) {
            Self::Rows(Arc::new(Seen::new(heads, Arrangement::of(batch))))
        } else {
            Self::Padded(Box::new(Padded::new(batch, heads, device)))
        }
    }

    /// Contexts `[t, q*k]` of all rows.
    pub(crate) fn attend(&self, x: Projected) -> Tensor<2> {
        match self {
            Self::Rows(seen) => Arc::clone(seen).attend(x),
            Self::Padded(padded) => padded.attend(x),
        }
    }
}

impl Padded {
    fn new(batch: &Batch<'_>, heads: Heads, device: &Device) -> Self {
        let prompts = batch.prefix_lens.len();
        let completion = (batch.completions > 0).then(|| {
            let (g, a, p) = (batch.completions, batch.completion_width, batch.prefix_width);
            let slots = indices(batch.completion_slots.iter().copied(), device);
            (slots, completion_mask(heads, &batch.prefix_lens, g, a, p, device))
        });
        Self {
            heads,
            prompts,
            completions: batch.completions,
            prefix_slots: indices(batch.prefix_slots.iter().copied(), device),
            prefix_mask: causal_mask(heads, batch.prefix_width, device),
            completion,
            row_slots: indices(batch.row_slots.iter().copied(), device),
        }
    }

    fn attend(&self, x: Projected) -> Tensor<2> {
        let (heads, b) = (self.heads, self.prompts);
        let prompt = |x: &Tensor<2>| x.clone().select(0, self.prefix_slots.clone());
        let (k, v) = (heads.split_keys(prompt(&x.k), b, 1), heads.split_keys(prompt(&x.v), b, 1));
        let q = heads.split_queries(prompt(&x.q), b, 1);
        let mut contexts = vec![heads.join(attend_self(q, k.clone(), v.clone(), &self.prefix_mask), b, 1)];
        if let Some((slots, mask)) = &self.completion {
            let g = self.completions;
            let own_rows = |x: Tensor<2>| x.select(0, slots.clone());
            let own = (heads.split_keys(own_rows(x.k), b, g), heads.split_keys(own_rows(x.v), b, g));
            let q = heads.split_queries(own_rows(x.q), b, g);
            contexts.push(heads.join(attend_completions(q, (k, v), own, Some(mask)), b, g));
        }
        // Padded slots computed something too; only the slots of real rows are taken.
        let padded = if contexts.len() == 1 { contexts.remove(0) } else { Tensor::cat(contexts, 0) };
        padded.select(0, self.row_slots.clone())
    }
}
