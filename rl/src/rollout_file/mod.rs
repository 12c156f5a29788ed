//! From a source of queries to a file of rollouts: many queries are answered at once, and written in their order.

pub mod record;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use sapo_datasets::{Dataset, Query, StopReason};
use sapo_policies::Model;
use sapo_rollouts::{Event, LocalEngine, Request, Rollout, Session, seed_of, transcript};
use serde::Serialize;
use serde_json::Value;

use self::record::{Kept, RolloutFile, Settings, TopLogProbs, failure_line, rollout_line};
use crate::data::prompt;
use crate::error::{Result, RunError};
use crate::progress::Progress;

/// Where the seeds of its samples come from, beside the seed, the query and the number of the sample.
const PLACE: &str = "rollout";
/// Queries that are read ahead of the first one that is not written yet, for each that is answered at a time.
const AHEAD: u64 = 4;

/// What to answer, and with what.
#[derive(Clone, Copy)]
pub struct Answering<'a> {
    /// The model.
    pub model: &'a Model,
    /// What samples.
    pub engine: &'a LocalEngine,
    /// The queries; they have an end.
    pub dataset: &'a Dataset,
    /// What the file is made with.
    pub settings: &'a Settings,
    /// Answers that are decoded together at most.
    pub batch: usize,
}

/// What became of the queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answered {
    /// Queries of the source.
    pub queries: u64,
    /// Those that were done before this call.
    pub resumed: u64,
    /// Those that were answered, those before this call among them.
    pub answered: u64,
    /// Those that could not be, those before this call among them.
    pub failed: u64,
    /// Rollouts of this call.
    pub rollouts: u64,
    /// Rollouts of this call that the token limit cut.
    pub cut: u64,
    /// Tokens that were sampled in this call.
    pub tokens: u64,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
    /// Seconds that this call took.
    pub secs: f64,
}

/// A query that is not written yet.
enum Slot {
    Open { number: usize, query: Arc<Query>, rollouts: Vec<Rollout>, top: Vec<TopLogProbs> },
    Failed { query_id: Option<String>, reason: String },
}

/// Queries on their way.
struct Work<'a> {
    answering: Answering<'a>,
    session: Session<'a>,
    slots: BTreeMap<u64, Slot>,
    /// The query of each request of the session.
    indices: BTreeMap<usize, u64>,
    next: u64,
    written: u64,
}

impl Answering<'_> {
    /// Answers the queries that a file does not have yet, until all are there or `stop` is set.
    ///
    /// # Errors
    /// When the file cannot be used (see [`RolloutFile::open`]) or the engine fails as a whole.
    pub fn run(self, path: &Path, resume: bool, stop: &AtomicBool, progress: &dyn Progress) -> Result<Answered> {
        let (mut file, kept) = RolloutFile::open(path, self.settings, resume)?;
        let started = Instant::now();
        let Kept { queries, failed } = kept;
        let mut answered = Answered {
            queries: self.settings.rows,
            resumed: queries,
            answered: queries - failed,
            failed,
            ..<_>::default()
        };
        let mut work = Work {
            answering: self,
            session: self.engine.session(&self.model.policy),
            slots: BTreeMap::new(),
            indices: BTreeMap::new(),
            next: queries,
            written: queries,
        };
        progress.begin("queries", answered.queries, queries);
        while work.written < answered.queries && !stop.load(Ordering::Relaxed) {
            work.fill();
            if !work.session.is_idle() {
                work.step()?;
            }
            work.write(&mut file, &mut answered)?;
            let secs = started.elapsed().as_secs_f64().max(1e-9);
            progress.done(work.written, &format!("{:.1} tokens a second", answered.tokens as f64 / secs));
        }
        file.sync()?;
        answered.interrupted = work.written < answered.queries;
        answered.secs = started.elapsed().as_secs_f64();
        Ok(answered)
    }
}

impl Work<'_> {
    /// Reads queries until the engine has enough to do; those that are read are few, so that memory is bounded.
    fn fill(&mut self) {
        let Answering { settings, batch, .. } = self.answering;
        let at_a_time = (batch / settings.samples.max(1)).max(1) as u64 + 1;
        let end = settings.rows.min(self.written + AHEAD * at_a_time);
        while self.next < end && self.open_samples() < batch {
            let slot = self.read(self.next);
            self.slots.insert(self.next, slot);
            self.next += 1;
        }
    }

    /// Samples that have not ended.
    fn open_samples(&self) -> usize {
        let left = |index: &u64| match self.slots.get(index) {
            Some(Slot::Open { rollouts, .. }) => self.answering.settings.samples - rollouts.len(),
            _ => 0,
        };
        self.indices.values().map(left).sum()
    }

    fn read(&mut self, index: u64) -> Slot {
        let Answering { model, dataset, settings, .. } = self.answering;
        let read = match prompt(&model.processor, dataset, 0, index) {
            Ok(read) => read,
            Err(error) => return Slot::Failed { query_id: None, reason: error.to_string() },
        };
        let (tokens, most) = (read.input.ids().len(), settings.max_prompt_tokens);
        if tokens > most {
            let reason = format!("the prompt has {tokens} tokens, and at most {most} are taken");
            return Slot::Failed { query_id: Some(read.query.id.clone()), reason };
        }
        let query_id = read.query.id.clone();
        let seeds = (0..settings.samples).map(|sample| seed_of(settings.seed, PLACE, &query_id, sample)).collect();
        let sampling = settings.sampling.clone();
        let number = self.session.submit(Request { query_id, prompt: read.input, seeds, sampling, follow: None });
        self.indices.insert(number, index);
        let top = vec![TopLogProbs::new(); if settings.sampling.top_log_probs > 0 { settings.samples } else { 0 }];
        Slot::Open { number, query: read.query, rollouts: Vec::with_capacity(settings.samples), top }
    }

    fn step(&mut self) -> Result<()> {
        let (slots, indices) = (&mut self.slots, &mut self.indices);
        let stepped = self.session.step(&mut |event| match event {
            Event::Token { request, sample, draw } => {
                if let Some(Slot::Open { top, .. }) = indices.get(&request).and_then(|index| slots.get_mut(index))
                    && let Some(top) = top.get_mut(sample)
                {
                    top.push(draw.top);
                }
            }
            Event::Ended { request, rollout } => {
                if let Some(Slot::Open { rollouts, .. }) = indices.get(&request).and_then(|index| slots.get_mut(index))
                {
                    rollouts.push(rollout);
                }
            }
            Event::Failed { request, reason } => {
                if let Some(index) = indices.remove(&request) {
                    let query_id = match slots.get(&index) {
                        Some(Slot::Open { query, .. }) => Some(query.id.clone()),
                        _ => None,
                    };
                    slots.insert(index, Slot::Failed { query_id, reason });
                }
            }
        });
        let samples = self.answering.settings.samples;
        self.indices.retain(
            |_, index| !matches!(self.slots.get(index), Some(Slot::Open { rollouts, .. }) if rollouts.len() == samples),
        );
        stepped.map_err(|error| RunError::Internal(error.to_string()))
    }

    /// Writes the queries that are done, as far as those before them are.
    fn write(&mut self, file: &mut RolloutFile, answered: &mut Answered) -> Result<()> {
        while let Some(first) = self.slots.first_entry().filter(|first| *first.key() == self.written) {
            if matches!(first.get(), Slot::Open { number, .. } if self.indices.contains_key(number)) {
                return Ok(());
            }
            let lines = match first.remove() {
                Slot::Failed { query_id, reason } => {
                    answered.failed += 1;
                    vec![failure_line(self.written, query_id.as_deref(), &reason)]
                }
                Slot::Open { query, mut rollouts, top, .. } => {
                    answered.answered += 1;
                    rollouts.sort_by_key(|rollout| rollout.sample);
                    answered.rollouts += rollouts.len() as u64;
                    answered.tokens += rollouts.iter().map(|rollout| rollout.sampled() as u64).sum::<u64>();
                    answered.cut += rollouts.iter().filter(|one| one.stop == StopReason::Length).count() as u64;
                    rollouts.iter().map(|rollout| self.line(&query, rollout, top.get(rollout.sample))).collect()
                }
            };
            file.append(&lines)?;
            self.written += 1;
        }
        Ok(())
    }

    fn line(&self, query: &Query, rollout: &Rollout, top: Option<&TopLogProbs>) -> Value {
        let Answering { model, settings, .. } = self.answering;
        let said = transcript(&model.processor, &query.id, rollout, settings.sampling.max_new_tokens);
        rollout_line(self.written, query, rollout, &said, top)
    }
}
