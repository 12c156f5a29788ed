//! How the rows of a packed batch see each other: on a CPU by blocks of keys, on a GPU by lists of them.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::arrangement::Arrangement;
use super::heads::{Heads, Projected};
#[cfg(feature = "gpu")]
use super::lists::Tiles;
use super::op::Seen;
use crate::input::Batch;
#[cfg(feature = "gpu")]
use crate::tensor::is_cpu;

/// How the rows of a batch see each other.
pub(crate) enum Layout {
    /// On a CPU.
    Rows(Arc<Seen>),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Tiles(Tiles),
}

impl Layout {
    /// Of a batch that is computed with so many rows, its own first.
    #[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "a CPU adds no rows"))]
    pub(crate) fn new(batch: &Batch<'_>, rows: usize, heads: Heads, device: &Device) -> Self {
        #[cfg(feature = "gpu")]
        if !is_cpu(device) {
            return Self::Tiles(Tiles::of_batch(batch, rows, heads, device));
        }
        Self::Rows(Arc::new(Seen::new(heads, Arrangement::of(batch))))
    }

    /// Contexts `[t, q*k]` of all rows.
    pub(crate) fn attend(&self, x: Projected) -> Tensor<2> {
        match self {
            Self::Rows(seen) => Arc::clone(seen).attend(x),
            #[cfg(feature = "gpu")]
            Self::Tiles(tiles) => tiles.attend(x),
        }
    }
}
