//! The local engine: groups are prefilled once and decoded together; finished rows leave the batch.

use sapo_datasets::StopReason;
use sapo_policies::input::positions;
use sapo_policies::to_vec;
use sapo_policies::{Decoding, Policy, PolicyError};

use crate::request::{Request, Sampling};
use crate::rollout::{Group, Rollout};
use crate::sampler::Sampler;

/// Decodes with a policy on this machine.
#[derive(Clone, Debug)]
pub struct LocalEngine {
    /// Token ids that end an answer; they are part of it.
    pub stop_ids: Vec<u32>,
    /// Rows that are decoded together at most (at least one group always is).
    pub max_rows: usize,
}

/// When fewer than this share of the rows are unfinished, the batch is compacted.
const COMPACT_BELOW: f64 = 0.75;

/// One sample on its way.
struct Row {
    request: usize,
    sampler: Sampler,
    rollout: Rollout,
    entropy_sum: f64,
    removed_sum: f64,
}

impl LocalEngine {
    /// Answers `requests`; `sink` gets every group when its last sample has ended, numbered as its request.
    ///
    /// # Errors
    /// When a prompt cannot be answered (it is empty or ends in a picture).
    pub fn sample(
        &self,
        policy: &Policy,
        requests: &[Request],
        sampling: &Sampling,
        sink: &mut dyn FnMut(usize, Group),
    ) -> Result<(), PolicyError> {
        let mut open: Vec<Vec<Rollout>> = requests.iter().map(|_| Vec::new()).collect();
        self.sample_each(policy, requests, sampling, &mut |index, rollout| {
            let group = &mut open[index];
            group.push(rollout);
            if group.len() == requests[index].seeds.len() {
                let mut rollouts = std::mem::take(group);
                rollouts.sort_by_key(|rollout| rollout.sample);
                sink(index, Group { query_id: requests[index].query_id.clone(), rollouts });
            }
        })
    }

    /// The same, but `sink` gets every rollout as soon as it has ended, while others are still being sampled.
    ///
    /// # Errors
    /// As [`LocalEngine::sample`].
    pub fn sample_each(
        &self,
        policy: &Policy,
        requests: &[Request],
        sampling: &Sampling,
        sink: &mut dyn FnMut(usize, Rollout),
    ) -> Result<(), PolicyError> {
        self.sample_telling(policy, requests, sampling, &mut |_, _, _| {}, sink)
    }

    /// The same, and `token` is told every token as soon as it is drawn: of which request, which sample, and which one.
    ///
    /// # Errors
    /// As [`LocalEngine::sample`].
    pub fn sample_telling(
        &self,
        policy: &Policy,
        requests: &[Request],
        sampling: &Sampling,
        token: &mut dyn FnMut(usize, usize, u32),
        sink: &mut dyn FnMut(usize, Rollout),
    ) -> Result<(), PolicyError> {
        let mut start = 0;
        while start < requests.len() {
            let branches = requests[start].seeds.len();
            let count = (self.max_rows / branches.max(1)).max(1);
            let same =
                requests[start..].iter().take(count).take_while(|request| request.seeds.len() == branches).count();
            let end = start + same.max(1);
            if branches > 0 && sampling.max_new_tokens > 0 {
                let some = &requests[start..end];
                self.sample_chunk(
                    policy,
                    some,
                    sampling,
                    &mut |index, sample, drawn| token(start + index, sample, drawn),
                    &mut |index, rollout| sink(start + index, rollout),
                )?;
            }
            start = end;
        }
        Ok(())
    }

    fn sample_chunk(
        &self,
        policy: &Policy,
        requests: &[Request],
        sampling: &Sampling,
        token: &mut dyn FnMut(usize, usize, u32),
        sink: &mut dyn FnMut(usize, Rollout),
    ) -> Result<(), PolicyError> {
        let prompts: Vec<_> = requests.iter().map(|request| &request.prompt).collect();
        let merge = policy.config.vision.spatial_merge_size;
        let nexts: Vec<u32> = prompts.iter().map(|prompt| positions(prompt, merge).next).collect();
        let branches = requests[0].seeds.len();
        let mut decoding = policy.start_decoding(&prompts, branches, sampling.max_new_tokens)?;
        let mut rows = start_rows(requests);
        for step in 0..sampling.max_new_tokens {
            let fed: Vec<(u32, u32)> = rows
                .iter()
                .map(|row| {
                    let last = row.rollout.tokens.last().or(prompts[row.request].ids().last());
                    (last.copied().unwrap_or(0), nexts[row.request] - 1 + step as u32)
                })
                .collect();
            let (ids, at): (Vec<u32>, Vec<u32>) = fed.into_iter().unzip();
            let logits = to_vec(policy.decode(&mut decoding, &ids, &at));
            let width = logits.len() / rows.len();
            for (row, logits) in rows.iter_mut().zip(logits.chunks(width)).filter(|(row, _)| !row.finished()) {
                let drawn = row.take(logits, sampling, &self.stop_ids);
                token(row.request, row.rollout.sample, drawn);
                if row.finished() {
                    sink(row.request, row.record());
                }
            }
            let unfinished = rows.iter().filter(|row| !row.finished()).count();
            if unfinished == 0 {
                return Ok(());
            }
            if (unfinished as f64) < COMPACT_BELOW * rows.len() as f64 {
                rows = compact(&mut decoding, rows);
            }
        }
        for row in rows.iter().filter(|row| !row.finished()) {
            sink(row.request, row.record());
        }
        Ok(())
    }
}

fn start_rows(requests: &[Request]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        for (sample, seed) in request.seeds.iter().enumerate() {
            let rollout = Rollout {
                sample,
                seed: *seed,
                tokens: Vec::new(),
                log_probs: Vec::new(),
                entropy: 0.0,
                removed_mass: 0.0,
                stop: StopReason::Length,
            };
            rows.push(Row {
                request: index,
                sampler: Sampler::new(*seed),
                rollout,
                entropy_sum: 0.0,
                removed_sum: 0.0,
            });
        }
    }
    rows
}

impl Row {
    fn finished(&self) -> bool {
        self.rollout.stop == StopReason::Eos
    }

    fn take(&mut self, logits: &[f32], sampling: &Sampling, stop_ids: &[u32]) -> u32 {
        let draw = self.sampler.draw(logits, sampling);
        self.rollout.tokens.push(draw.token);
        self.rollout.log_probs.push(draw.log_prob);
        self.entropy_sum += f64::from(draw.entropy);
        self.removed_sum += f64::from(draw.removed_mass);
        if stop_ids.contains(&draw.token) {
            self.rollout.stop = StopReason::Eos;
        }
        draw.token
    }

    /// The record of the sample, with its means.
    fn record(&self) -> Rollout {
        let tokens = self.rollout.tokens.len().max(1) as f64;
        Rollout {
            entropy: (self.entropy_sum / tokens) as f32,
            removed_mass: (self.removed_sum / tokens) as f32,
            ..self.rollout.clone()
        }
    }
}

/// Drops finished rows: prompts without unfinished rows leave, the others go on with equally many branches each, where
/// finished ones fill up what is missing.
fn compact(decoding: &mut Decoding, rows: Vec<Row>) -> Vec<Row> {
    let branches = decoding.completions();
    let prompts = rows.len() / branches;
    let unfinished =
        |prompt: usize| rows[prompt * branches..(prompt + 1) * branches].iter().filter(|row| !row.finished()).count();
    let width = (0..prompts).map(unfinished).max().unwrap_or(0);
    let kept: Vec<(usize, Vec<usize>)> = (0..prompts)
        .filter(|prompt| unfinished(*prompt) > 0)
        .map(|prompt| {
            let mut order: Vec<usize> = (0..branches).collect();
            order.sort_by_key(|branch| (rows[prompt * branches + branch].finished(), *branch));
            order.truncate(width);
            (prompt, order)
        })
        .collect();
    if kept.len() * width == rows.len() {
        return rows;
    }
    decoding.keep(&kept);
    let mut left: Vec<Option<Row>> = rows.into_iter().map(Some).collect();
    let mut remaining = Vec::with_capacity(kept.len() * width);
    for (prompt, some) in &kept {
        remaining.extend(some.iter().filter_map(|branch| left[prompt * branches + branch].take()));
    }
    remaining
}
