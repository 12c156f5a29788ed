//! The pool of a process plugin: its workers, their deadlines, and when it is given up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::bisect::{BatchFault, Then, bisected};
use super::protocol::{Greeting, ReplyFault, read_greeting, read_reply, request};
use super::worker::{Killer, Launch, Silence, Worker};
use crate::score::{FailureKind, PartScore};

/// Starts of a reward's workers that may fail in a row, when so many restarts are allowed.
const MOST_STARTS: u32 = 4;
/// The pause after the first of them; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Batches in a row that may use up their restarts without any score; with the last of them the reward is given up.
const MOST_BAD_BATCHES: u32 = 2;
/// Deadlines in a row that a batch may run into beyond those of halving it down to one item; then the rest of it fails.
const MORE_LATE: u32 = 4;
/// How a shell ends that has not found a program, or may not run it.
const NO_PROGRAM: [&str; 2] = ["exit status: 127", "exit status: 126"];

/// How long workers may take, and how often they may die.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerLimits {
    pub(super) batch: Duration,
    pub(super) start: Duration,
    pub(super) max_restarts: u32,
}

#[derive(Default)]
struct State {
    running: BTreeMap<u32, Killer>,
    closed: bool,
    /// A worker that was started before there was anything to score.
    ready: Option<Worker>,
    /// Whether any worker has been ready.
    was_ready: bool,
    /// Starts that failed since the last one that did not.
    failed_starts: u32,
    /// Batches in a row that used up their restarts, with no score in between.
    bad_batches: u32,
    given_up: Option<String>,
}

/// What the workers of a plugin share.
pub(super) struct Pool {
    launch: Launch,
    limits: WorkerLimits,
    state: Mutex<State>,
}

impl Pool {
    pub(super) fn new(launch: Launch, limits: WorkerLimits) -> Self {
        Self { launch, limits, state: Mutex::default() }
    }

    /// Kills every worker; none is started again.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.ready = None;
        for killer in std::mem::take(&mut state.running).values() {
            killer.kill();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing more is tried, if so.
    fn given_up(&self) -> Option<BatchFault> {
        self.state().given_up.clone().map(hopeless)
    }

    /// Starts the first worker, and gives what it says of itself.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn prepare(&self) -> Result<Option<String>, String> {
        if let Some(fault) = self.given_up() {
            return Err(fault.message);
        }
        if self.state().was_ready {
            return Ok(None);
        }
        let (worker, called) = self.start().map_err(|fault| fault.message)?;
        self.state().ready = Some(worker);
        Ok(called)
    }

    /// The worker that was started beforehand, if it lives, or a new one.
    fn worker(&self) -> Result<Worker, BatchFault> {
        let ready = self.state().ready.take();
        if let Some(mut worker) = ready {
            if worker.lives() {
                return Ok(worker);
            }
            self.end(worker);
        }
        self.start().map(|(worker, _)| worker)
    }

    /// Starts a worker and waits for its greeting, with which it may say something of itself.
    fn start(&self) -> Result<(Worker, Option<String>), BatchFault> {
        let begun = {
            let mut state = self.state();
            if state.closed {
                return Err(hopeless("the plugin was ended".to_owned()));
            }
            let begun = Worker::start(&self.launch);
            state.running.extend(begun.as_ref().ok().and_then(|worker| Some((worker.pid(), worker.killer()?))));
            begun
        };
        let (fault, useless) = match begun {
            Ok(worker) => match self.greeted(worker) {
                Ok(greeted) => return Ok(greeted),
                Err(fault) => fault,
            },
            Err(error) => (error, false),
        };
        let message = format!("`{}` cannot be started: {fault}", self.launch.title);
        let mut state = self.state();
        state.failed_starts += 1;
        if useless || state.failed_starts > self.limits.max_restarts.min(MOST_STARTS) {
            return Err(hopeless(state.given_up.get_or_insert(message).clone()));
        }
        let pause = FIRST_PAUSE * 2_u32.pow(state.failed_starts.min(MOST_STARTS) - 1);
        drop(state);
        thread::sleep(pause);
        self.start()
    }

    /// Waits for the greeting of a worker. A fault comes with whether another start would be useless.
    fn greeted(&self, mut worker: Worker) -> Result<(Worker, Option<String>), (String, bool)> {
        match worker.line(self.limits.start) {
            Ok(line) => match read_greeting(&line) {
                Ok(Greeting::Ready(called)) => {
                    let mut state = self.state();
                    (state.failed_starts, state.was_ready) = (0, true);
                    Ok((worker, called))
                }
                Ok(Greeting::Unable(reason)) => {
                    self.end(worker);
                    Err((reason, true))
                }
                Err(reason) => Err((format!("{reason}{}", self.end(worker)), false)),
            },
            Err(Silence::Ended(how)) => {
                // A shell says so when there is no such program.
                let missing = NO_PROGRAM.iter().any(|status| how.contains(status));
                Err((format!("it ended at once ({how}){}", self.end(worker)), missing))
            }
            Err(Silence::Late | Silence::Endless) => {
                let secs = self.limits.start.as_secs_f64();
                let fault = format!("it was not ready within start_timeout_secs = {secs}{}", self.end(worker));
                // Whoever has never been ready hangs; later on the machine may just be busy.
                Err((fault, !self.state().was_ready))
            }
        }
    }

    fn end(&self, worker: Worker) -> String {
        self.state().running.remove(&worker.pid());
        worker.end()
    }

    /// A batch used up its restarts: its other items fail; after several such batches in a row the reward is given up.
    fn spoiled(&self, kind: FailureKind, message: String) -> BatchFault {
        let mut state = self.state();
        state.bad_batches += 1;
        if state.bad_batches < MOST_BAD_BATCHES {
            return BatchFault { kind, message, then: Then::GiveUp };
        }
        let reason = format!("given up after {MOST_BAD_BATCHES} such batches in a row: {message}");
        hopeless(state.given_up.get_or_insert(reason).clone())
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
    /// Workers that died over the batch at hand since something of it was scored.
    deaths: u32,
    /// Deadlines in a row that were run into since something of it was scored, and how many may be.
    late: u32,
    most_late: u32,
    /// Why the rest of the batch at hand is not tried.
    spoiled: Option<BatchFault>,
}

impl Place {
    pub(super) fn new(pool: Arc<Pool>) -> Self {
        Self { pool, worker: None, requests: 0, deaths: 0, late: 0, most_late: 0, spoiled: None }
    }

    /// One part score for each item, in order.
    pub(super) fn score(&mut self, items: &[Value]) -> Vec<PartScore> {
        (self.deaths, self.late, self.spoiled) = (0, 0, None);
        self.most_late = items.len().next_power_of_two().ilog2() + MORE_LATE;
        bisected(items, &mut |batch: &[Value]| self.attempt(batch))
    }

    fn attempt(&mut self, items: &[Value]) -> Result<Vec<PartScore>, BatchFault> {
        if let Some(fault) = self.pool.given_up().or_else(|| self.spoiled.clone()) {
            return Err(fault);
        }
        let mut worker = match self.worker.take() {
            None => self.pool.worker()?,
            Some(mut kept) => {
                if kept.lives() {
                    kept
                } else {
                    self.pool.end(kept);
                    self.pool.worker()?
                }
            }
        };
        self.requests += 1;
        worker.send(request(self.requests, items));
        let (kind, reason) = match worker.line(self.pool.limits.batch) {
            Ok(line) => match read_reply(&line, self.requests, items.len()) {
                Ok(scores) => {
                    self.pool.state().bad_batches = 0;
                    (self.deaths, self.late) = (0, 0);
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
        Err(self.died(kind, format!("{reason}{printed}")))
    }

    /// Counts a death; too many in a row spoil the batch.
    fn died(&mut self, kind: FailureKind, message: String) -> BatchFault {
        self.deaths += 1;
        self.late = if kind == FailureKind::Timeout { self.late + 1 } else { 0 };
        let spoiled = if self.deaths > self.pool.limits.max_restarts {
            Some((FailureKind::Unreachable, format!("{} deaths of workers over one batch", self.deaths)))
        } else {
            let message = || format!("{} deadlines in a row were run into, and the rest is not tried", self.late);
            (self.late > self.most_late).then(|| (FailureKind::Timeout, message()))
        };
        if let Some((kind, why)) = spoiled {
            let fault = self.pool.spoiled(kind, format!("{why}; {message}"));
            self.spoiled = Some(fault.clone());
            return fault;
        }
        let then = if kind == FailureKind::Unreachable { Then::Retry } else { Then::Halve };
        BatchFault { kind, message, then }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.state().running.remove(&worker.pid());
        }
    }
}
