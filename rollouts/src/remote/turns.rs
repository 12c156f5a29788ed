//! One rollout: a request for each of its turns, sent to whoever has room, until somebody has answered it as asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sapo_datasets::StopReason;
use sapo_policies::processor::Processor;

use super::checks::{Distrust, Expected, check, recorded, stop_of};
use super::config::ServerLogProbs;
use super::control::Control;
use super::dialect::{Answer, Ask, Unread};
use super::http::{Got, json};
use super::pool::Flight;
use super::prompt::Prompt;
use crate::request::{Follow, Next, Sampling};
use crate::rollout::{Rollout, Turn};

/// What all rollouts of a sampling share.
pub(super) struct Shared {
    pub(super) control: Arc<Control>,
    pub(super) processor: Arc<Processor>,
    pub(super) expected: Expected,
    /// The model or adapter that is asked for.
    pub(super) model: String,
    pub(super) adapter: Option<String>,
    pub(super) log_probs: ServerLogProbs,
    /// Ids that the policy never samples.
    pub(super) banned: Vec<u32>,
    pub(super) policy_version: u64,
    pub(super) timeout: Duration,
    pub(super) max_tries: u32,
}

/// A rollout that is wanted.
pub(super) struct Job {
    pub(super) sample: usize,
    pub(super) seed: u64,
    pub(super) prompt: Prompt,
    pub(super) sampling: Sampling,
    pub(super) follow: Option<Arc<dyn Follow>>,
    /// Whether another rollout of the same request has failed: then this one is not wanted any more.
    pub(super) in_vain: Arc<AtomicBool>,
}

/// Why there is no rollout.
pub(super) enum Failure {
    /// The request cannot be answered.
    Request(String),
    /// No request can.
    Engine(String),
}

/// What one try came to.
enum Try {
    Answered(Answer),
    Again { counts: bool, message: String },
    Never(String),
}

impl Shared {
    /// Samples a rollout, turn by turn. All ids so far are what the next turn is asked with.
    pub(super) async fn rollout(self: Arc<Self>, job: Job) -> Result<Rollout, Failure> {
        let Job { sample, seed, mut prompt, sampling, follow, in_vain } = job;
        let mut stop_ids = self.processor.stop_ids().to_vec();
        stop_ids.extend(sampling.stop_ids.iter().filter(|id| !self.processor.stop_ids().contains(id)));
        let banned: Vec<u32> = self.banned.iter().chain(&sampling.banned_ids).copied().collect();
        let (mut turns, mut left) = (Vec::new(), sampling.max_new_tokens);
        let stop = loop {
            let ask = Ask {
                model: self.model.clone(),
                adapter: self.adapter.clone(),
                prompt: prompt.clone(),
                sampling: sampling.clone(),
                seed: seed.wrapping_add(turns.len() as u64),
                max_tokens: left,
                stop_ids: stop_ids.clone(),
                banned: banned.clone(),
            };
            let answer = self.answer(&ask, &in_vain).await?;
            left = left.saturating_sub(answer.ids.len());
            prompt.push_ids(&answer.ids, &self.processor);
            let stop = stop_of(&ask, &answer);
            turns.push(self.sampled(&sampling, answer, stop));
            let Some(follow) = follow.as_ref().filter(|_| stop != StopReason::Length && left > 0) else { break stop };
            let (kept, next) = followed(Arc::clone(follow), sample, turns).await?;
            turns = kept;
            match next {
                Next::End => break stop,
                Next::Fail(_) => break StopReason::Error,
                Next::Turn { role, input } => {
                    prompt.push(&input, &self.processor).map_err(Failure::Request)?;
                    turns.push(Turn::Injected { role, input });
                }
            }
        };
        Ok(self.record(sample, seed, &sampling, turns, stop))
    }

    fn sampled(&self, sampling: &Sampling, answer: Answer, stop: StopReason) -> Turn {
        let truncated = self.control.dialect.truncates_log_probs();
        let (log_probs, untempered) = recorded(self.log_probs, truncated, sampling, answer.log_probs);
        Turn::Sampled { ids: answer.ids, log_probs, untempered, stop, stop_text: answer.stop_text }
    }

    fn record(&self, sample: usize, seed: u64, sampling: &Sampling, turns: Vec<Turn>, stop: StopReason) -> Rollout {
        let mut rollout = Rollout {
            sample,
            seed,
            turns,
            policy_version: self.policy_version,
            entropy: f32::NAN,
            truncated_mass: if sampling.truncates() { f32::NAN } else { 0.0 },
            stop,
        };
        // No server tells the entropy; the mean of what its samples say of it has no bias.
        let log_probs = rollout.log_probs();
        if !log_probs.is_empty() {
            rollout.entropy = -log_probs.iter().sum::<f32>() / log_probs.len() as f32;
        }
        rollout
    }

    /// Sends a request until it is answered as asked.
    async fn answer(&self, ask: &Ask, in_vain: &AtomicBool) -> Result<Answer, Failure> {
        let dialect = &self.control.dialect;
        if ask.prompt.has_pictures()
            && let Some(at) = ask.prompt.misread(&self.processor)
        {
            return Err(Failure::Request(format!(
                "servers read the texts between pictures, and would read other tokens than were sampled from token {} on",
                at + 1
            )));
        }
        let (mut tries, mut last) = (0, None);
        loop {
            let flight = self.control.pool.choose(last).await.map_err(Failure::Engine)?;
            if in_vain.load(Ordering::Relaxed) {
                return Err(Failure::Request("another of its rollouts failed".to_owned()));
            }
            last = Some(flight.index);
            // Pictures make bodies large: one exists only while it is sent.
            let (path, body) = dialect.request(ask).map_err(Failure::Request)?;
            match self.once(&flight, ask, path, body.to_string()).await {
                Try::Answered(answer) => return Ok(answer),
                Try::Never(message) => return Err(Failure::Request(message)),
                Try::Again { counts, message } => {
                    tries += u32::from(counts);
                    if tries >= self.max_tries {
                        return Err(Failure::Request(format!("it was sent {tries} times; the last time: {message}")));
                    }
                }
            }
        }
    }

    async fn once(&self, flight: &Flight, ask: &Ask, path: &str, body: String) -> Try {
        let (pool, index) = (&self.control.pool, flight.index);
        let server = &pool.servers()[index];
        let again =
            |counts: bool, message: &str| Try::Again { counts, message: format!("{}: {message}", server.base()) };
        match server.post(path, Some(body), self.timeout).await {
            Got::Reply(reply) => self.read(flight, ask, &reply),
            Got::Busy { message, after } => {
                pool.busy(index, &message, after);
                again(false, &message)
            }
            Got::Failed(message) => {
                pool.busy(index, &message, None);
                again(true, &message)
            }
            Got::Lost { message, reached } => {
                self.control.lost(index, &message);
                again(reached, &message)
            }
            Got::Late(message) => {
                self.control.lost(index, &message);
                again(true, &message)
            }
            Got::Refused { status, message } => {
                let unknown =
                    self.adapter.as_ref().is_some_and(|name| status == 404 || message.contains(name.as_str()));
                match status {
                    400 | 404 if unknown => {
                        self.control.stale(index, &format!("it does not know the adapter: {message}"));
                        again(false, &message)
                    }
                    400 | 413 | 422 => Try::Never(format!("{}: {message}", server.base())),
                    _ => {
                        pool.leave(index, &message);
                        again(false, &message)
                    }
                }
            }
        }
    }

    /// Whether a reply is an answer that can be trusted.
    fn read(&self, flight: &Flight, ask: &Ask, reply: &str) -> Try {
        let (pool, index) = (&self.control.pool, flight.index);
        let again = |message: String| Try::Again { counts: false, message };
        let answer = match json(reply) {
            Ok(reply) => self.control.dialect.answer(ask, &reply),
            Err(reason) => Err(Unread::Wrong(reason)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(Unread::Unproven(reason)) => {
                return Try::Never(format!("its tokens are not proven, as engine.prove_tokens asks: {reason}"));
            }
            Err(Unread::Aborted) => {
                let message = "it gave up on a request".to_owned();
                pool.busy(index, &message, None);
                return Try::Again { counts: true, message };
            }
            Err(Unread::Wrong(reason)) => {
                pool.leave(index, &reason);
                return again(reason);
            }
        };
        match check(ask, &answer, &self.expected) {
            Ok(()) => {
                pool.served(index);
                Try::Answered(answer)
            }
            Err(Distrust::Stale(reason)) => {
                self.control.stale(index, &reason);
                again(reason)
            }
            Err(Distrust::Lies(reason)) => {
                pool.leave(index, &reason);
                again(reason)
            }
        }
    }
}

/// Asks what follows the turns so far, beside the other rollouts: it may be slow.
async fn followed(follow: Arc<dyn Follow>, sample: usize, turns: Vec<Turn>) -> Result<(Vec<Turn>, Next), Failure> {
    let asked = tokio::task::spawn_blocking(move || {
        let next = follow.follow(sample, &turns);
        (turns, next)
    });
    asked.await.map_err(|error| Failure::Request(format!("what follows a turn could not be told: {error}")))
}
