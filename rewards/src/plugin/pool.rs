//! The pool of a process plugin: its workers, their deadlines, and when it is given up.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::bisect::{BatchFault, Then, bisected};
use super::protocol::{ReplyFault, read_greeting, read_reply, request};
use super::worker::{Launch, Silence, Worker, kill_group};
use crate::score::{FailureKind, PartScore};

/// How long workers may take, and how often they may die.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) batch: Duration,
    pub(super) start: Duration,
    pub(super) max_restarts: u32,
}

#[derive(Default)]
struct State {
    running: BTreeSet<u32>,
    closed: bool,
    /// Whether any worker ever started well.
    started: bool,
    /// Workers that died since the last batch that was scored.
    deaths: u32,
    given_up: Option<String>,
}

/// What the workers of a plugin share.
pub(super) struct Pool {
    launch: Launch,
    limits: Limits,
    state: Mutex<State>,
}

impl Pool {
    pub(super) fn new(launch: Launch, limits: Limits) -> Self {
        Self { launch, limits, state: Mutex::default() }
    }

    /// Kills every worker; none is started again.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        for pid in std::mem::take(&mut state.running) {
            kill_group(pid);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing more is tried, if so.
    fn given_up(&self) -> Option<BatchFault> {
        self.state().given_up.clone().map(hopeless)
    }

    /// Starts a worker and waits for its greeting.
    fn start(&self) -> Result<Worker, BatchFault> {
        let begun = {
            let mut state = self.state();
            if state.closed {
                return Err(hopeless("the plugin was ended".to_owned()));
            }
            let begun = Worker::start(&self.launch);
            state.running.extend(begun.as_ref().ok().map(Worker::pid));
            begun
        };
        let fault = match begun {
            Ok(mut worker) => match worker.line(self.limits.start) {
                Ok(line) => match read_greeting(&line) {
                    Ok(()) => {
                        self.state().started = true;
                        return Ok(worker);
                    }
                    Err(reason) => format!("{reason}{}", self.end(worker)),
                },
                Err(Silence::Ended(how)) => format!("it ended at once ({how}){}", self.end(worker)),
                Err(Silence::Late | Silence::Endless) => {
                    let secs = self.limits.start.as_secs_f64();
                    format!("it was not ready within start_timeout_secs = {secs}{}", self.end(worker))
                }
            },
            Err(error) => error.to_string(),
        };
        let message = format!("`{}` cannot be started: {fault}", self.launch.title);
        let mut state = self.state();
        if state.started && state.given_up.is_none() {
            drop(state);
            return Err(self.died(FailureKind::Unreachable, message));
        }
        Err(hopeless(state.given_up.get_or_insert(message).clone()))
    }

    fn end(&self, worker: Worker) -> String {
        self.state().running.remove(&worker.pid());
        worker.end()
    }

    /// Counts a death; too many in a row are the end.
    fn died(&self, kind: FailureKind, message: String) -> BatchFault {
        let mut state = self.state();
        state.deaths += 1;
        if state.deaths > self.limits.max_restarts {
            let deaths = state.deaths;
            let reason = format!("given up after {deaths} deaths of its workers without a score between; {message}");
            return hopeless(state.given_up.get_or_insert(reason).clone());
        }
        let then = if kind == FailureKind::Unreachable { Then::Retry } else { Then::Halve };
        BatchFault { kind, message, then }
    }
}

fn hopeless(message: String) -> BatchFault {
    BatchFault { kind: FailureKind::Unavailable, message, then: Then::GiveUp }
}

/// One thread's place in the pool: the worker that it talks to.
pub(super) struct Place {
    pool: Arc<Pool>,
    worker: Option<Worker>,
    requests: u64,
}

impl Place {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, worker: None, requests: 0 }
    }

    /// One part score for each item, in order.
    pub(super) fn score(&mut self, items: &[Value]) -> Vec<PartScore> {
        bisected(items, &mut |batch: &[Value]| self.attempt(batch))
    }

    fn attempt(&mut self, items: &[Value]) -> Result<Vec<PartScore>, BatchFault> {
        if let Some(fault) = self.pool.given_up() {
            return Err(fault);
        }
        let mut worker = match self.worker.take() {
            None => self.pool.start()?,
            Some(mut kept) => {
                if kept.lives() {
                    kept
                } else {
                    self.pool.end(kept);
                    self.pool.start()?
                }
            }
        };
        self.requests += 1;
        worker.send(request(self.requests, items));
        let (kind, reason) = match worker.line(self.pool.limits.batch) {
            Ok(line) => match read_reply(&line, self.requests, items.len()) {
                Ok(scores) => {
                    self.pool.state().deaths = 0;
                    self.worker = Some(worker);
                    return Ok(scores);
                }
                Err(ReplyFault::Refused(message)) => {
                    self.worker = Some(worker);
                    return Err(BatchFault { kind: FailureKind::Protocol, message, then: Then::Halve });
                }
                Err(ReplyFault::Broken(reason)) => (FailureKind::Protocol, reason),
            },
            Err(Silence::Ended(how)) => (FailureKind::Unreachable, format!("the worker ended ({how})")),
            Err(Silence::Endless) => (FailureKind::Protocol, "the reply has no end".to_owned()),
            Err(Silence::Late) => {
                let secs = self.pool.limits.batch.as_secs_f64();
                (FailureKind::Timeout, format!("no reply within timeout_secs = {secs}"))
            }
        };
        let printed = self.pool.end(worker);
        Err(self.pool.died(kind, format!("{reason}{printed}")))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.state().running.remove(&worker.pid());
        }
    }
}
