//! Where keys and values lie: in panels for the CPU's own attention, in tensors elsewhere.

use burn::tensor::{Device, Tensor, TensorData};

use super::FedRows;
#[cfg(feature = "gpu")]
use super::listed::Listed;
use crate::attention::{Heads, Panels, Projected, forward};
#[cfg(feature = "gpu")]
use crate::tensor::is_cpu;
use crate::tensor::to_vec;

/// Keys and values of all layers.
#[derive(Debug)]
pub(super) enum Store {
    /// On a CPU: those of every layer, and how many blocks there may be. Room grows as blocks are used: an allocator may
    /// otherwise take, or clear, all that the cache may have.
    Panels(Vec<Panels>, usize),
    /// On a GPU.
    #[cfg(feature = "gpu")]
    Listed(Listed),
}

impl Store {
    #[cfg_attr(not(feature = "gpu"), expect(unused_variables, reason = "a CPU makes room when blocks are used"))]
    pub(super) fn new(heads: Heads, layers: usize, blocks: usize, device: &Device) -> Self {
        #[cfg(feature = "gpu")]
        if !is_cpu(device) {
            return Self::Listed(Listed::new(heads, layers, blocks, device));
        }
        Self::Panels(vec![Panels::default(); layers], blocks)
    }

    pub(super) fn copy(&mut self, heads: Heads, from: u32, to: u32) {
        match self {
            Self::Panels(layers, most) => {
                for panels in layers {
                    panels.make_room(heads, to, *most);
                    panels.copy(heads, from, to);
                }
            }
            #[cfg(feature = "gpu")]
            Self::Listed(listed) => listed.copy(from, to),
        }
    }

    pub(super) fn attend(&mut self, heads: Heads, layer: usize, x: Projected, rows: &FedRows) -> Tensor<2> {
        match self {
            Self::Panels(layers, most) => {
                if let Some(last) = rows.places.iter().map(|place| place.block).max() {
                    layers[layer].make_room(heads, last, *most);
                }
                let (shape, device) = (x.q.dims(), x.q.device());
                layers[layer].write(heads, &rows.places, &to_vec(x.k), &to_vec(x.v));
                let contexts = forward(heads, &layers[layer], &rows.pieces, &to_vec(x.q));
                Tensor::from_data(TensorData::new(contexts, shape), &device)
            }
            #[cfg(feature = "gpu")]
            Self::Listed(listed) => listed.attend(layer, x, rows),
        }
    }
}
