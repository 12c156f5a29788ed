//! Keys and values that are kept while decoding: those of prompts once, and those of their completions so far.
//!
//! Shape suffixes as in the attention seam: `b` prompts, `g` completions of each, `m` key-value heads, `p` prompt tokens,
//! `k` head width.

use burn::tensor::{Device, Tensor};

use crate::attention::Heads;
use crate::tensor::indices;

/// Keys and values of one layer.
pub(crate) type KeysValues = (Tensor<3>, Tensor<3>);

/// Keys and values of all layers. The completions of a prompt stand together under each head, so that they ask the prompt's
/// keys in one product.
#[derive(Debug)]
pub(crate) struct Cache {
    heads: Heads,
    /// Of prompts, `[b*m, p, k]` a layer.
    prefix: Vec<KeysValues>,
    /// Of completions, `[b*m*g, capacity, k]` a layer.
    own: Vec<KeysValues>,
    completions: usize,
    length: usize,
    capacity: usize,
}

impl Cache {
    /// The prompts' keys and values, and room for `completions` of each, of at most `capacity` tokens.
    pub(crate) fn new(
        heads: Heads,
        prefix: Vec<KeysValues>,
        completions: usize,
        capacity: usize,
        device: &Device,
    ) -> Self {
        let rows = prefix.first().map_or(0, |(k, _)| k.dims()[0]) * completions;
        // All room is made at once: growing would copy what is there at every step.
        let room = || Tensor::<3>::zeros([rows, capacity, heads.dim], device);
        let own = prefix.iter().map(|_| (room(), room())).collect();
        Self { heads, prefix, own, completions, length: 0, capacity }
    }

    /// Tokens that every completion has.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Whether there is room for another token.
    pub(crate) fn has_room(&self) -> bool {
        self.length < self.capacity
    }

    /// Padded tokens of prompts.
    pub(crate) fn prefix_width(&self) -> usize {
        self.prefix.first().map_or(0, |(k, _)| k.dims()[1])
    }

    /// The prompts' keys and values of a layer.
    pub(crate) fn prefix(&self, layer: usize) -> KeysValues {
        self.prefix[layer].clone()
    }

    /// Writes the next token's keys and values of a layer, `[b*m*g, 1, k]`, and gives those of all tokens up to it.
    pub(crate) fn append(&mut self, layer: usize, (k, v): KeysValues) -> KeysValues {
        let (at, rows) = (self.length, k.dims()[0]);
        let own = &mut self.own[layer];
        let place = [0..rows, at..at + 1, 0..self.heads.dim];
        // In place: nobody else holds these tensors, so that nothing but the new token is written.
        own.0.inplace(|cache| cache.slice_assign(place.clone(), k));
        own.1.inplace(|cache| cache.slice_assign(place, v));
        (own.0.clone().narrow(1, 0, at + 1), own.1.clone().narrow(1, 0, at + 1))
    }

    /// The token that was written to all layers is there from now on.
    pub(crate) fn advance(&mut self) {
        self.length += 1;
    }

    /// Goes on with some prompts and, of each, some completions, equally many of every prompt.
    pub(crate) fn keep(&mut self, kept: &[(usize, Vec<usize>)], device: &Device) {
        let mut prompt_rows = Vec::new();
        let mut completion_rows = Vec::new();
        for (prompt, some) in kept {
            for head in 0..self.heads.kv {
                let row = prompt * self.heads.kv + head;
                prompt_rows.push(row as i64);
                completion_rows.extend(some.iter().map(|completion| (row * self.completions + completion) as i64));
            }
        }
        let pick = |pair: &mut KeysValues, rows: &[i64]| {
            let rows = indices(rows.iter().copied(), device);
            *pair = (pair.0.clone().select(0, rows.clone()), pair.1.clone().select(0, rows));
        };
        self.prefix.iter_mut().for_each(|pair| pick(pair, &prompt_rows));
        self.own.iter_mut().for_each(|pair| pick(pair, &completion_rows));
        self.completions = kept.first().map_or(0, |(_, some)| some.len());
    }
}
