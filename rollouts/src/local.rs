//! The local engine: groups are prefilled once and decoded together; finished rows leave the batch.

use sapo_datasets::StopReason;
use sapo_policies::input::positions;
use sapo_policies::to_vec;
use sapo_policies::{Decoding, Policy};

use crate::engine::{Engine, EngineError, Event};
use crate::request::{Request, Sampling};
use crate::rollout::{Rollout, Turn};
use crate::sampler::{Draw, Sampler};

/// Decodes with a policy on this machine.
#[derive(Clone, Debug)]
pub struct LocalEngine {
    /// Token ids that end an answer; they are part of it.
    stop_ids: Vec<u32>,
    /// Rows that are decoded together at most (at least one group always is).
    max_rows: usize,
    /// Updates of the policy so far.
    version: u64,
}

/// When fewer than this share of the rows are unfinished, the batch is compacted.
const COMPACT_BELOW: f64 = 0.75;

/// One sample on its way.
struct Row {
    request: usize,
    sample: usize,
    seed: u64,
    sampling: Sampling,
    sampler: Sampler,
    ids: Vec<u32>,
    log_probs: Vec<f32>,
    stop: Option<StopReason>,
    entropy_sum: f64,
    truncated_sum: f64,
}

impl LocalEngine {
    /// An engine that ends an answer at `stop_ids` and decodes at most `max_rows` rows together.
    pub fn new(stop_ids: &[u32], max_rows: usize) -> Self {
        Self { stop_ids: stop_ids.to_vec(), max_rows, version: 0 }
    }

    /// Samples requests that are decoded together; they have equally many seeds.
    fn sample_chunk(
        &self,
        policy: &Policy,
        requests: &[(usize, &Request)],
        events: &mut dyn FnMut(Event),
    ) -> Result<(), EngineError> {
        let prompts: Vec<_> = requests.iter().map(|(_, request)| &request.prompt).collect();
        let merge = policy.config.vision.spatial_merge_size;
        let nexts: Vec<u32> = prompts.iter().map(|prompt| positions(prompt, merge).next).collect();
        let longest = requests.iter().map(|(_, request)| request.sampling.max_new_tokens).max().unwrap_or(0);
        let samples = requests[0].1.seeds.len();
        let mut decoding =
            policy.start_decoding(&prompts, samples, longest).map_err(|error| EngineError(error.to_string()))?;
        let mut rows = start_rows(requests);
        for step in 0..longest {
            let fed: Vec<(u32, u32)> = rows
                .iter()
                .map(|row| {
                    let last = row.ids.last().or(prompts[row.request].ids().last());
                    (last.copied().unwrap_or(0), nexts[row.request] - 1 + step as u32)
                })
                .collect();
            let (ids, at): (Vec<u32>, Vec<u32>) = fed.into_iter().unzip();
            let logits = to_vec(policy.decode(&mut decoding, &ids, &at));
            let width = logits.len() / rows.len();
            for (row, logits) in rows.iter_mut().zip(logits.chunks(width)).filter(|(row, _)| row.stop.is_none()) {
                let request = requests[row.request].0;
                let draw = row.take(logits, &self.stop_ids);
                events(Event::Token { request, sample: row.sample, draw });
                if row.stop.is_some() {
                    events(Event::Ended { request, rollout: row.record(self.version) });
                }
            }
            let unfinished = rows.iter().filter(|row| row.stop.is_none()).count();
            if unfinished == 0 {
                break;
            }
            if (unfinished as f64) < COMPACT_BELOW * rows.len() as f64 {
                rows = compact(&mut decoding, rows);
            }
        }
        Ok(())
    }
}

impl Engine for LocalEngine {
    fn sample(&self, policy: &Policy, requests: &[Request], events: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
        let mut fit: Vec<(usize, &Request)> = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            match fault(request) {
                Some(reason) => events(Event::Failed { request: index, reason }),
                None if request.seeds.is_empty() => {}
                None => fit.push((index, request)),
            }
        }
        let mut rest = fit.as_slice();
        while let Some((_, first)) = rest.first() {
            let samples = first.seeds.len();
            let count = (self.max_rows / samples).max(1);
            let same = rest.iter().take(count).take_while(|(_, request)| request.seeds.len() == samples).count();
            let (some, later) = rest.split_at(same);
            self.sample_chunk(policy, some, events)?;
            rest = later;
        }
        Ok(())
    }

    fn publish(&mut self, _: &Policy, version: u64) -> Result<(), EngineError> {
        // The policy is borrowed for every call, so that there is nothing to copy.
        self.version = version;
        Ok(())
    }
}

/// Why a request cannot be answered, if it cannot.
fn fault(request: &Request) -> Option<String> {
    let prompt = &request.prompt;
    let ends_in_picture = prompt.spans().last().is_some_and(|span| span.start + span.len == prompt.ids().len());
    if prompt.ids().is_empty() || ends_in_picture {
        return Some("a prompt must end with a text token, so that an answer can follow it".to_owned());
    }
    request.sampling.fault().map(|(key, reason)| format!("{key} {reason}"))
}

fn start_rows(requests: &[(usize, &Request)]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, (_, request)) in requests.iter().enumerate() {
        rows.extend(request.seeds.iter().enumerate().map(|(sample, seed)| Row {
            request: index,
            sample,
            seed: *seed,
            sampling: request.sampling.clone(),
            sampler: Sampler::new(*seed, request.prompt.ids(), &request.sampling),
            ids: Vec::new(),
            log_probs: Vec::new(),
            stop: None,
            entropy_sum: 0.0,
            truncated_sum: 0.0,
        }));
    }
    rows
}

impl Row {
    fn take(&mut self, logits: &[f32], stop_ids: &[u32]) -> Draw {
        let draw = self.sampler.draw(logits, &self.sampling);
        self.ids.push(draw.token);
        self.log_probs.push(draw.log_prob);
        self.entropy_sum += f64::from(draw.entropy);
        self.truncated_sum += f64::from(draw.truncated_mass);
        if stop_ids.contains(&draw.token) || self.sampling.stop_ids.contains(&draw.token) {
            self.stop = Some(StopReason::Eos);
        } else if self.ids.len() == self.sampling.max_new_tokens {
            self.stop = Some(StopReason::Length);
        }
        draw
    }

    /// The record of the sample, with its means.
    fn record(&mut self, policy_version: u64) -> Rollout {
        let tokens = self.ids.len().max(1) as f64;
        let stop = self.stop.unwrap_or(StopReason::Length);
        let turn = Turn::Sampled {
            ids: self.ids.clone(),
            log_probs: std::mem::take(&mut self.log_probs),
            untempered: Vec::new(),
            stop,
            stop_text: None,
        };
        Rollout {
            sample: self.sample,
            seed: self.seed,
            turns: vec![turn],
            policy_version,
            entropy: (self.entropy_sum / tokens) as f32,
            truncated_mass: (self.truncated_sum / tokens) as f32,
            stop,
        }
    }
}

/// Drops finished rows: prompts without unfinished rows leave, the others go on with equally many branches each, where
/// finished ones fill up what is missing.
fn compact(decoding: &mut Decoding, rows: Vec<Row>) -> Vec<Row> {
    let branches = decoding.completions();
    let prompts = rows.len() / branches;
    let unfinished = |prompt: usize| {
        rows[prompt * branches..(prompt + 1) * branches].iter().filter(|row| row.stop.is_none()).count()
    };
    let width = (0..prompts).map(unfinished).max().unwrap_or(0);
    let kept: Vec<(usize, Vec<usize>)> = (0..prompts)
        .filter(|prompt| unfinished(*prompt) > 0)
        .map(|prompt| {
            let mut order: Vec<usize> = (0..branches).collect();
            order.sort_by_key(|branch| (rows[prompt * branches + branch].stop.is_some(), *branch));
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

/// What an engine is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Samples that wait for a place.
    pub waiting: usize,
    /// Samples that are decoded.
    pub running: usize,
    /// Blocks of the cache that hold something.
    pub used_blocks: usize,
    /// Blocks that the cache may have.
    pub blocks: usize,
    /// Bytes of a block, keys and values of all layers.
    pub block_bytes: usize,
}

/// Requests that are answered together: new ones join while others are decoded, and a finished one's place is taken at once.
#[derive(Debug)]
pub struct Session<'a> {
    engine: &'a LocalEngine,
    policy: &'a Policy,
    waiting: Vec<(usize, Request)>,
    submitted: usize,
}

impl LocalEngine {
    /// A session with this policy's weights.
    pub fn session<'a>(&'a self, policy: &'a Policy) -> Session<'a> {
        Session { engine: self, policy, waiting: Vec::new(), submitted: 0 }
    }
}

impl Session<'_> {
    /// Takes a request and gives its number, by which events name it. What cannot be answered is told by the next
    /// [`Session::step`].
    pub fn submit(&mut self, request: Request) -> usize {
        self.waiting.push((self.submitted, request));
        self.submitted += 1;
        self.submitted - 1
    }

    /// Forgets a request: nothing more is told of it, and its places are free.
    pub fn cancel(&mut self, request: usize) {
        self.waiting.retain(|(number, _)| *number != request);
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What there is to do.
    pub fn load(&self) -> Load {
        Load { waiting: self.waiting.iter().map(|(_, request)| request.seeds.len()).sum(), ..Load::default() }
    }

    /// One step: reads some of the prompts that wait and decodes a token of every running sample.
    ///
    /// # Errors
    /// When the engine as a whole cannot go on.
    pub fn step(&mut self, events: &mut dyn FnMut(Event)) -> Result<(), EngineError> {
        let (numbers, requests): (Vec<usize>, Vec<Request>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        self.engine.sample(self.policy, &requests, &mut |event| {
            events(match event {
                Event::Token { request, sample, draw } => Event::Token { request: numbers[request], sample, draw },
                Event::Ended { request, rollout } => Event::Ended { request: numbers[request], rollout },
                Event::Failed { request, reason } => Event::Failed { request: numbers[request], reason },
            });
        })
    }
}
