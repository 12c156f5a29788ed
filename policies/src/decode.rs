//! Decoding: tokens are fed to contexts, many to one that reads its prompt, one to each that is being sampled.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::attention::Projected;
use crate::bucket::{repeated, room_for};
use crate::cache::{Cache, Context, FedRows, Shard};
use crate::drawing::Logits;
use crate::error::{PolicyError, Result};
use crate::input::{ImageSpan, PictureInput, PolicyInput, positions};
use crate::nn::RopeTable;
use crate::policy::Policy;
use crate::tensor::indices;
use crate::text::{TextLayer, Visual};
use crate::trace::Trace;
use crate::vision::VisionFeatures;

/// Tokens that are fed to a context in one step.
#[derive(Debug)]
pub struct Fed<'a> {
    /// What was read before; there must be room for these tokens.
    pub context: &'a mut Context,
    /// Token ids.
    pub ids: &'a [u32],
    /// Their positions.
    pub positions: &'a [[u32; 3]],
    /// Features of the tokens that stand for pictures.
    pub shown: Vec<Shown<'a>>,
    /// Whether the logits behind the last of them are wanted.
    pub wanted: bool,
}

/// A run of picture tokens among those that are fed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The features of the picture.
    pub features: &'a VisionFeatures,
    /// Which of its features is the first.
    pub first: usize,
    /// How many there are.
    pub count: usize,
    /// The token that the first stands at, among those that are fed.
    pub at: usize,
}

/// The runs of picture tokens among those of `tokens`, with the features of each picture in `features`.
pub fn shown<'a>(input: &PolicyInput, tokens: Range<usize>, features: &[&'a VisionFeatures]) -> Vec<Shown<'a>> {
    let run = |span: &ImageSpan| {
        let (start, end) = (span.start.max(tokens.start), (span.start + span.len).min(tokens.end));
        (start < end).then(|| Shown {
            features: features[span.picture],
            first: span.slot * span.len + start - span.start,
            count: end - start,
            at: start - tokens.start,
        })
    };
    input.spans().iter().filter_map(run).collect()
}

impl Policy {
    /// What the vision tower makes of a picture or of a video's slots.
    pub fn see(&self, picture: &PictureInput) -> VisionFeatures {
        self.vision.forward(&[picture], self.device(), None, &mut Trace::off())
    }

    /// Feeds tokens to contexts, and gives the logits behind the last token of those that want them, in parts.
    ///
    /// # Panics
    /// When there is no room for a token, or a token has no position: both are faults of the caller.
    pub fn feed(&self, cache: &mut Cache, fed: &mut [Fed<'_>]) -> Vec<Logits> {
        let shards = cache.shards_mut();
        let mut parts: Vec<Vec<(usize, &mut Fed<'_>)>> = shards.iter().map(|_| Vec::new()).collect();
        for (number, one) in fed.iter_mut().enumerate().filter(|(_, one)| !one.ids.is_empty()) {
            parts[one.context.shard()].push((number, one));
        }
        let work = |(shard, part): (&mut Shard, &mut Vec<(usize, &mut Fed<'_>)>)| {
            if part.is_empty() { None } else { self.feed_shard(shard, part) }
        };
        if parts.iter().filter(|part| !part.is_empty()).count() > 1 {
            return shards.par_iter_mut().zip(&mut parts).filter_map(work).collect();
        }
        shards.iter_mut().zip(&mut parts).filter_map(work).collect()
    }

    /// Feeds tokens to contexts of one shard; `None` when nobody wants logits.
    fn feed_shard(&self, shard: &mut Shard, fed: &mut [(usize, &mut Fed<'_>)]) -> Option<Logits> {
        let rows = FedRows::new(fed.iter().map(|(_, one)| (&*one.context, one.ids.len())));
        let (mut ids, mut at, mut wanted, mut numbers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (number, one) in fed.iter() {
            assert_eq!(one.ids.len(), one.positions.len(), "every token has a position");
            ids.extend(one.ids.iter().map(|id| i64::from(*id)));
            at.extend_from_slice(one.positions);
            if one.wanted {
                wanted.push(ids.len() as i64 - 1);
                numbers.push(*number);
            }
        }
        let (text, device) = (&self.config.text, self.device());
        let room = room_for(ids.len(), device);
        let (ids, at) = (repeated(&ids, room), repeated(&at, room));
        let visual = self.shown(fed, room);
        let rope = RopeTable::text(&at, text.head_dim, text.rope_theta, text.mrope_section, device);
        let mut through = |index: usize, layer: &TextLayer, x_td: Tensor<2>| {
            layer.forward(x_td, &rope, text, &mut |x: Projected| shard.attend(index, x, &rows))
        };
        let ids = indices(ids.into_iter(), device);
        let hidden = self.text.forward(ids, visual.as_ref(), &mut through, &mut Trace::off());
        fed.iter_mut().for_each(|(_, one)| one.context.advance(one.ids.len()));
        if wanted.is_empty() {
            return None;
        }
        let last = if wanted.len() == hidden.dims()[0] {
            hidden
        } else {
            let wanted = repeated(&wanted, room_for(wanted.len(), device));
            hidden.select(0, indices(wanted.into_iter(), device))
        };
        Some(Logits::new(numbers, self.logits(last)))
    }

    /// The picture features of all tokens that are fed, and the rows where they belong.
    fn shown(&self, fed: &[(usize, &mut Fed<'_>)], rows: usize) -> Option<Visual> {
        let (mut start, mut at, mut parts) = (0, Vec::new(), Vec::new());
        for (_, one) in fed {
            for Shown { features, first, count, at: token } in &one.shown {
                at.extend((start + token..start + token + count).map(|row| row as i64));
                parts.push(features.part(*first, *count));
            }
            start += one.ids.len();
        }
        if parts.is_empty() {
            return None;
        }
        let mut keep = vec![1.0_f32; rows];
        at.iter().for_each(|row| keep[*row as usize] = 0.0);
        let keep_t1 = Tensor::from_data(TensorData::new(keep, [rows, 1]), self.device());
        Some(Visual { features: VisionFeatures::cat(parts), rows_n: indices(at.into_iter(), self.device()), keep_t1 })
    }

    /// Reads prompts up to their last token, which is the first to be fed to [`Decoding::feed`], with room for `capacity`
    /// more tokens of each.
    ///
    /// # Errors
    /// When a prompt is empty or ends in a picture.
    pub fn start_decoding(&self, prompts: &[&PolicyInput], capacity: usize) -> Result<Decoding> {
        let blocks = prompts.iter().map(|prompt| Cache::blocks_of(prompt.ids.len() + capacity)).sum();
        let mut cache = Cache::new(self, blocks);
        let mut contexts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let length = prompt.ids.len();
            if length == 0 || prompt.spans.last().is_some_and(|span| span.start + span.len == length) {
                return Err(PolicyError::input("a prompt must end with a text token, so that an answer can follow it"));
            }
            let at = positions(prompt, self.config.vision.spatial_merge_size);
            let features: Vec<VisionFeatures> = prompt.pictures.iter().map(|picture| self.see(picture)).collect();
            let mut context = cache.open();
            assert!(cache.reserve(&mut context, length - 1 + capacity), "the cache was made for them");
            let shown = shown(prompt, 0..length - 1, &features.iter().collect::<Vec<_>>());
            let ids = &prompt.ids[..length - 1];
            let fed = Fed { context: &mut context, ids, positions: &at.tokens[..length - 1], shown, wanted: false };
            self.feed(&mut cache, &mut [fed]);
            contexts.push(context);
        }
        Ok(Decoding { cache, contexts })
    }
}

/// Prompts that were read and are decoded side by side, a token of each at a time.
#[derive(Debug)]
pub struct Decoding {
    cache: Cache,
    contexts: Vec<Context>,
}

impl Decoding {
    /// Feeds one token to every prompt and gives the logits `[prompts, vocabulary]` of the next. `positions` are those of
    /// the fed tokens.
    ///
    /// # Panics
    /// When there is no room for another token, or not one for every prompt: both are faults of the caller.
    pub fn feed(&mut self, policy: &Policy, ids: &[u32], positions: &[u32]) -> Tensor<2> {
        assert_eq!(
            (ids.len(), positions.len()),
            (self.contexts.len(), self.contexts.len()),
            "one token for every prompt"
        );
        let triples: Vec<[u32; 3]> = positions.iter().map(|position| [*position; 3]).collect();
        let mut fed: Vec<Fed<'_>> = self
            .contexts
            .iter_mut()
            .zip(ids.chunks(1).zip(triples.chunks(1)))
            .map(|(context, (ids, positions))| Fed { context, ids, positions, shown: Vec::new(), wanted: true })
            .collect();
        let width = policy.config.text.vocab_size;
        let mut all = vec![0.0; ids.len() * width];
        for logits in policy.feed(&mut self.cache, &mut fed) {
            let numbers = logits.numbers.clone();
            for (number, row) in numbers.iter().zip(logits.values().chunks_exact(width)) {
                all[number * width..(number + 1) * width].copy_from_slice(row);
            }
        }
        Tensor::from_data(TensorData::new(all, [ids.len(), width]), policy.device())
    }
}
