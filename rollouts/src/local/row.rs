//! One sample on its way: the tokens behind its prompt, how many of them were read, and what is recorded of it.

use std::sync::Arc;

use sapo_datasets::{Role, StopReason};
use sapo_policies::input::positions_from;
use sapo_policies::processor::Processor;
use sapo_policies::vision::VisionFeatures;
use sapo_policies::{Chance, Context, Fed, PolicyInput, shown};

use super::stop::StopTexts;
use crate::request::{Request, Sampling};
use crate::rollout::{Rollout, Turn};
use crate::sampler::{Draw, Sampler};

/// One sample on its way.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) request: usize,
    pub(super) sample: usize,
    seed: u64,
    sampler: Sampler,
    /// The prompt's last token, then everything behind the prompt.
    ids: Vec<u32>,
    positions: Vec<[u32; 3]>,
    /// The position of the next token.
    next: u32,
    /// What was put in, with pictures, and where in `ids` it begins.
    injected: Vec<(usize, PolicyInput, Vec<Arc<VisionFeatures>>)>,
    /// What was read of the prompt and of `ids`; `None` while it waits.
    pub(super) context: Option<Context>,
    /// How many of `ids` were read.
    read: usize,
    turns: Vec<Turn>,
    sampled: Sampled,
    tokens: usize,
    entropy_sum: f64,
    truncated_sum: f64,
}

/// The turn that is being sampled.
#[derive(Debug, Default)]
struct Sampled {
    ids: Vec<u32>,
    log_probs: Vec<f32>,
    untempered: Vec<f32>,
    stop_texts: StopTexts,
}

impl Row {
    /// A sample of a request, of which nothing was read yet. `next` is the position behind its prompt.
    pub(super) fn new(number: usize, request: &Request, sample: usize, next: u32) -> Self {
        let seed = request.seeds[sample];
        let ids = request.prompt.ids();
        Self {
            request: number,
            sample,
            seed,
            sampler: Sampler::new(seed, ids, &request.sampling),
            ids: ids.last().copied().into_iter().collect(),
            // A prompt ends with text, whose position is one below the next.
            positions: vec![[next.saturating_sub(1); 3]],
            next,
            injected: Vec::new(),
            context: None,
            read: 0,
            turns: Vec::new(),
            sampled: Sampled::default(),
            tokens: 0,
            entropy_sum: 0.0,
            truncated_sum: 0.0,
        }
    }

    /// Tokens that are still to be read before the next can be drawn.
    pub(super) fn unread(&self) -> usize {
        self.ids.len() - self.read
    }

    /// It has read nothing any more; it goes on as if it had never stopped, once it has read all again.
    pub(super) fn forget(&mut self) -> Option<Context> {
        self.read = 0;
        self.context.take()
    }

    /// The next `count` of its tokens, to be read in one step. `context` is its own.
    pub(super) fn fed<'a>(&'a self, context: &'a mut Context, count: usize) -> Fed<'a> {
        let range = self.read..self.read + count;
        let mut runs = Vec::new();
        for (start, input, features) in &self.injected {
            let inside = range.start.max(*start)..range.end.min(start + input.ids().len());
            if inside.is_empty() {
                continue;
            }
            let features: Vec<&VisionFeatures> = features.iter().map(|one| &**one).collect();
            let part = shown(input, inside.start - start..inside.end - start, &features);
            let behind = inside.start - range.start;
            runs.extend(part.into_iter().map(|run| sapo_policies::Shown { at: run.at + behind, ..run }));
        }
        let wanted = range.end == self.ids.len();
        Fed { context, ids: &self.ids[range.clone()], positions: &self.positions[range], shown: runs, wanted }
    }

    /// So many more of its tokens were read.
    pub(super) fn has_read(&mut self, count: usize) {
        self.read += count;
    }

    /// Draws the next token from its logits.
    pub(super) fn draw(&mut self, logits: &[f32], sampling: &Sampling) -> Draw {
        self.sampler.draw(logits, sampling)
    }

    /// How a device draws its next token.
    pub(super) fn chance(&mut self, sampling: &Sampling) -> Chance {
        self.sampler.chance(sampling)
    }

    /// Takes a token that was drawn, and says whether the turn ends with it.
    pub(super) fn take(
        &mut self,
        draw: &Draw,
        sampling: &Sampling,
        stop_ids: &[u32],
        processor: Option<&Processor>,
    ) -> bool {
        self.ids.push(draw.token);
        self.positions.push([self.next; 3]);
        self.next += 1;
        self.tokens += 1;
        self.sampled.ids.push(draw.token);
        self.sampled.log_probs.push(draw.log_prob);
        self.sampled.untempered.extend(draw.untempered);
        self.entropy_sum += f64::from(draw.entropy);
        self.truncated_sum += f64::from(draw.truncated_mass);
        let bytes = processor.filter(|_| !sampling.stop.is_empty()).map(|all| all.token_bytes(draw.token));
        let text = bytes.and_then(|bytes| self.sampled.stop_texts.push(bytes, &sampling.stop));
        let (stop, stop_text) = if stop_ids.contains(&draw.token) || sampling.stop_ids.contains(&draw.token) {
            (StopReason::Eos, None)
        } else if let Some(text) = text {
            (StopReason::Stop, Some(text.to_owned()))
        } else if self.tokens == sampling.max_new_tokens {
            (StopReason::Length, None)
        } else {
            return false;
        };
        self.end_turn(stop, stop_text);
        true
    }

    /// Ends the turn with the tokens that were drawn.
    pub(super) fn end_turn(&mut self, stop: StopReason, stop_text: Option<String>) {
        let Sampled { ids, log_probs, untempered, .. } = std::mem::take(&mut self.sampled);
        self.turns.push(Turn::Sampled { ids, log_probs, untempered, stop, stop_text });
    }

    /// Tokens that were drawn.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// The turns so far, the last of which has just ended.
    pub(super) fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Why the last turn of the policy ended.
    pub(super) fn stop(&self) -> StopReason {
        match self.turns.last() {
            Some(Turn::Sampled { stop, .. }) => *stop,
            _ => StopReason::Error,
        }
    }

    /// Puts another turn behind it, which is read before the policy goes on.
    pub(super) fn inject(&mut self, role: Role, input: PolicyInput, merge: usize, features: Vec<Arc<VisionFeatures>>) {
        let at = positions_from(&input, self.next, merge);
        let start = self.ids.len();
        self.ids.extend_from_slice(input.ids());
        self.positions.extend(at.tokens);
        self.next = at.next;
        if !features.is_empty() {
            self.injected.push((start, input.clone(), features));
        }
        self.turns.push(Turn::Injected { role, input });
    }

    /// The record of the sample, with its means.
    pub(super) fn record(self, stop: StopReason, policy_version: u64) -> Rollout {
        let tokens = self.tokens.max(1) as f64;
        Rollout {
            sample: self.sample,
            seed: self.seed,
            turns: self.turns,
            policy_version,
            entropy: (self.entropy_sum / tokens) as f32,
            truncated_mass: (self.truncated_sum / tokens) as f32,
            stop,
        }
    }
}
