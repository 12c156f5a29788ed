//! Decoding: one token a row at a time, the prompt's keys and values computed once and shared by its branches.
//!
//! Shape suffixes as in the attention seam.

use burn::tensor::{Device, Tensor, TensorData};

use crate::attention::{Heads, attend_branches};
use crate::batch::{Batch, Group};
use crate::error::Result;
use crate::input::PolicyInput;
use crate::policy::Policy;
use crate::rope::RopeTable;
use crate::text::Projected;
use crate::trace::Trace;

/// Keys and values of prompts and of what their branches sampled so far.
///
/// Row `b * branches + g` is branch g of prompt b. The first token to feed is the last one of the prompt.
#[derive(Debug)]
pub struct Decoding {
    heads: Heads,
    prefix: Vec<(Tensor<3>, Tensor<3>)>,
    prefix_lens: Vec<usize>,
    own: Vec<(Tensor<3>, Tensor<3>)>,
    branches: usize,
    length: usize,
    capacity: usize,
    device: Device,
}

impl Policy {
    /// Reads the prompts and makes room for `branches` answers to each, of at most `capacity` tokens.
    ///
    /// # Errors
    /// When a prompt is empty or ends in a picture.
    pub fn start_decoding(&self, prompts: &[&PolicyInput], branches: usize, capacity: usize) -> Result<Decoding> {
        let groups: Vec<Group<'_>> = prompts.iter().map(|prompt| Group { prompt, completions: &[] }).collect();
        let batch = Batch::groups(&groups, self.config.vision.spatial_merge_size)?;
        let heads = Heads::of(&self.config.text);
        let shape = [prompts.len() * heads.kv * branches, capacity, heads.dim];
        let room = || Tensor::<3>::zeros(shape, &self.device);
        Ok(Decoding {
            heads,
            prefix: self.prefill(&batch),
            prefix_lens: batch.prefix_lens,
            own: (0..self.config.text.layers).map(|_| (room(), room())).collect(),
            branches,
            length: 0,
            capacity,
            device: self.device.clone(),
        })
    }

    /// Feeds one token to every row and gives the logits `[rows, vocabulary]` of the next. `positions` are those of the
    /// fed tokens.
    ///
    /// # Panics
    /// When more tokens are fed than there is room for, or not one to every row: both are faults of the caller.
    pub fn decode(&self, state: &mut Decoding, ids: &[u32], positions: &[u32]) -> Tensor<2> {
        assert!(state.length < state.capacity, "no room for another token");
        assert_eq!(ids.len(), state.rows(), "one token for every row");
        let text = &self.config.text;
        let triples: Vec<[u32; 3]> = positions.iter().map(|position| [*position; 3]).collect();
        let rope = RopeTable::text(&triples, text.head_dim, text.rope_theta, text.mrope_section, &self.device);
        let mask = state.mask();
        let mut attend = |layer: usize, projected: Projected| state.attend(layer, projected, mask.as_ref());
        let ids = self.indices(ids.iter().map(|id| i64::from(*id)));
        let hidden = self.text.forward(ids, &rope, None, &mut attend, &mut Trace::off());
        state.length += 1;
        self.logits(hidden)
    }
}

impl Decoding {
    /// Rows that are decoded together.
    pub fn rows(&self) -> usize {
        self.prefix_lens.len() * self.branches
    }

    /// Branches of every prompt.
    pub fn branches(&self) -> usize {
        self.branches
    }

    fn attend(&mut self, layer: usize, x: Projected, mask: Option<&Tensor<3>>) -> Tensor<2> {
        let (heads, b, g) = (self.heads, self.prefix_lens.len(), self.branches);
        let (at, rows) = (self.length, b * heads.kv * g);
        let (k, v) = (heads.split_keys(x.k, b, g), heads.split_keys(x.v, b, g));
        let own = &mut self.own[layer];
        let place = [0..rows, at..at + 1, 0..heads.dim];
        own.0.inplace(|cache| cache.slice_assign(place.clone(), k));
        own.1.inplace(|cache| cache.slice_assign(place, v));
        let seen = (own.0.clone().narrow(1, 0, at + 1), own.1.clone().narrow(1, 0, at + 1));
        let q = heads.split_queries(x.q, b, g);
        heads.join(attend_branches(q, self.prefix[layer].clone(), seen, mask), b, g)
    }

    /// Hides the padding of shorter prompts, `[b*m*g, r, p + c]`; nothing to hide when all are equally long.
    fn mask(&self) -> Option<Tensor<3>> {
        let p = self.prefix.first()?.0.dims()[1];
        if self.prefix_lens.iter().all(|length| *length == p) {
            return None;
        }
        let seen = self.length + 1;
        let copies = self.heads.kv * self.branches * self.heads.per_kv;
        let mut values = Vec::with_capacity(self.prefix_lens.len() * copies * (p + seen));
        for length in &self.prefix_lens {
            let hidden = |column: usize| if column < *length || column >= p { 0.0 } else { f32::NEG_INFINITY };
            let row: Vec<f32> = (0..p + seen).map(hidden).collect();
            for _ in 0..copies {
                values.extend_from_slice(&row);
            }
        }
        let shape = [self.prefix_lens.len() * self.heads.kv * self.branches, self.heads.per_kv, p + seen];
        Some(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// Goes on with some prompts and, of each, some branches: `kept` names prompts and branches, equally many of each.
    ///
    /// # Panics
    /// When the numbers of branches differ: a fault of the caller.
    pub fn keep(&mut self, kept: &[(usize, Vec<usize>)]) {
        let branches = kept.first().map_or(0, |(_, branches)| branches.len());
        assert!(kept.iter().all(|(_, some)| some.len() == branches), "equally many branches of every prompt");
        let kv = self.heads.kv;
        let mut prompt_rows = Vec::new();
        let mut branch_rows = Vec::new();
        for (prompt, some) in kept {
            for head in 0..kv {
                let row = prompt * kv + head;
                prompt_rows.push(row as i64);
                branch_rows.extend(some.iter().map(|branch| (row * self.branches + branch) as i64));
            }
        }
        let pick = |pair: &mut (Tensor<3>, Tensor<3>), rows: &[i64], device: &Device| {
            let rows = Tensor::from_data(TensorData::new(rows.to_vec(), [rows.len()]), device);
            *pair = (pair.0.clone().select(0, rows.clone()), pair.1.clone().select(0, rows));
        };
        self.prefix.iter_mut().for_each(|pair| pick(pair, &prompt_rows, &self.device));
        self.own.iter_mut().for_each(|pair| pick(pair, &branch_rows, &self.device));
        self.prefix_lens = kept.iter().map(|(prompt, _)| self.prefix_lens[*prompt]).collect();
        self.branches = branches;
    }
}
