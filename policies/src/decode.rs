//! Decoding: one token a row at a time, the prompt's keys and values computed once and shared by its completions.
//!
//! Shape suffixes as in the attention seam.

use burn::tensor::{Device, Tensor, TensorData};

use crate::attention::{Heads, Projected, attend_completions};
use crate::cache::Cache;
use crate::error::Result;
use crate::input::{Batch, Group, PolicyInput};
use crate::nn::RopeTable;
use crate::policy::Policy;
use crate::tensor::indices;
use crate::trace::Trace;

/// Prompts that were read, and what their completions sampled so far.
///
/// Row `b * completions + g` is completion g of prompt b. The first token to feed is the last one of the prompt.
#[derive(Debug)]
pub struct Decoding {
    heads: Heads,
    cache: Cache,
    prefix_lens: Vec<usize>,
    completions: usize,
    device: Device,
}

impl Policy {
    /// Reads the prompts and makes room for `completions` of each, of at most `capacity` tokens.
    ///
    /// # Errors
    /// When a prompt is empty or ends in a picture.
    pub fn start_decoding(&self, prompts: &[&PolicyInput], completions: usize, capacity: usize) -> Result<Decoding> {
        // Groups without completions hold prompts without their last token: decoding feeds that one first, so that the
        // sampled token comes from the same kind of row as in training, and prefill needs no logits.
        let groups: Vec<Group<'_>> = prompts.iter().map(|prompt| Group { prompt, completions: &[] }).collect();
        let batch = Batch::groups(&groups, self.config.vision.spatial_merge_size)?;
        let heads = Heads::of(&self.config.text);
        let cache = Cache::new(heads, self.prefill(&batch), completions, capacity, &self.device);
        Ok(Decoding { heads, cache, prefix_lens: batch.prefix_lens, completions, device: self.device.clone() })
    }

    /// Feeds one token to every row and gives the logits `[rows, vocabulary]` of the next. `positions` are those of the
    /// fed tokens.
    ///
    /// # Panics
    /// When more tokens are fed than there is room for, or not one to every row: both are faults of the caller.
    pub fn decode(&self, state: &mut Decoding, ids: &[u32], positions: &[u32]) -> Tensor<2> {
        assert!(state.cache.has_room(), "no room for another token");
        assert_eq!(ids.len(), state.rows(), "one token for every row");
        let text = &self.config.text;
        // What is sampled is text, whose position is the same on all axes.
        let triples: Vec<[u32; 3]> = positions.iter().map(|position| [*position; 3]).collect();
        let rope = RopeTable::text(&triples, text.head_dim, text.rope_theta, text.mrope_section, &self.device);
        let mask = state.mask();
        let mut attend = |layer: usize, projected: Projected| state.attend(layer, projected, mask.as_ref());
        let ids = indices(ids.iter().map(|id| i64::from(*id)), &self.device);
        let hidden = self.text.forward(ids, &rope, None, &mut attend, &mut Trace::off());
        state.cache.advance();
        self.logits(hidden)
    }
}

impl Decoding {
    /// Rows that are decoded together.
    pub fn rows(&self) -> usize {
        self.prefix_lens.len() * self.completions
    }

    /// Completions of every prompt.
    pub fn completions(&self) -> usize {
        self.completions
    }

    fn attend(&mut self, layer: usize, x: Projected, mask: Option<&Tensor<3>>) -> Tensor<2> {
        let (heads, b, g) = (self.heads, self.prefix_lens.len(), self.completions);
        let seen = self.cache.append(layer, (heads.split_keys(x.k, b, g), heads.split_keys(x.v, b, g)));
        let q = heads.split_queries(x.q, b, g);
        heads.join(attend_completions(q, self.cache.prefix(layer), seen, mask), b, g)
    }

    /// Hides the padding of shorter prompts, `[b*m*g, r, p + c]`; nothing to hide when all are equally long.
    fn mask(&self) -> Option<Tensor<3>> {
        let p = self.cache.prefix_width();
        // Every fed token is seen by all that follow, so that without padding there is no mask at all.
        if self.prefix_lens.iter().all(|length| *length == p) {
            return None;
        }
        let seen = self.cache.length() + 1;
        let copies = self.heads.kv * self.completions * self.heads.per_kv;
        let mut values = Vec::with_capacity(self.prefix_lens.len() * copies * (p + seen));
        for length in &self.prefix_lens {
            let hidden = |column: usize| if column < *length || column >= p { 0.0 } else { f32::NEG_INFINITY };
            let row: Vec<f32> = (0..p + seen).map(hidden).collect();
            for _ in 0..copies {
                values.extend_from_slice(&row);
            }
        }
        let shape = [self.prefix_lens.len() * self.heads.kv * self.completions, self.heads.per_kv, p + seen];
        Some(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// Goes on with some prompts and, of each, some completions: `kept` names prompts and completions, equally many of
    /// each.
    ///
    /// # Panics
    /// When the numbers of completions differ: a fault of the caller.
    pub fn keep(&mut self, kept: &[(usize, Vec<usize>)]) {
        let completions = kept.first().map_or(0, |(_, some)| some.len());
        assert!(kept.iter().all(|(_, some)| some.len() == completions), "equally many completions of every prompt");
        self.cache.keep(kept, &self.device);
        self.prefix_lens = kept.iter().map(|(prompt, _)| self.prefix_lens[*prompt]).collect();
        self.completions = completions;
    }
}
