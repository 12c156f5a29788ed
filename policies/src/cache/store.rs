//! Where keys and values lie: in panels for the CPU's own attention, in tensors elsewhere.

use burn::tensor::{Device, Tensor, TensorData};

use super::FedRows;
use super::padded::Padded;
use crate::attention::{Heads, Panels, Projected, forward};
use crate::tensor::{is_cpu, to_vec};

/// Keys and values of all layers.
#[derive(Debug)]
pub(super) enum Store {
    /// On a CPU.
    Panels(Vec<Panels>),
    /// On any device.
    Padded(Padded),
}

impl Store {
    pub(super) fn new(heads: Heads, layers: usize, blocks: usize, device: &Device) -> Self {
        if is_cpu(device) {
            Self::Panels((0..layers).map(|_| Panels::new(heads, blocks)).collect())
        } else {
            Self::Padded(Padded::new(heads, layers, blocks, device))
        }
    }

    pub(super) fn copy(&mut self, heads: Heads, from: u32, to: u32) {
        match self {
            Self::Panels(layers) => layers.iter_mut().for_each(|panels| panels.copy(heads, from, to)),
            Self::Padded(padded) => padded.copy(from, to),
        }
    }

    pub(super) fn attend(&mut self, heads: Heads, layer: usize, x: Projected, rows: &FedRows) -> Tensor<2> {
        match self {
            Self::Panels(layers) => {
                let (shape, device) = (x.q.dims(), x.q.device());
                layers[layer].write(heads, &rows.places, &to_vec(x.k), &to_vec(x.v));
                let contexts = forward(heads, &layers[layer], &rows.pieces, &to_vec(x.q));
                Tensor::from_data(TensorData::new(contexts, shape), &device)
            }
            Self::Padded(padded) => padded.attend(layer, x, rows),
        }
    }
}
