//! The thread that owns the model: it puts requests into the engine's session, and hands out what comes of them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use sapo_policies::Model;
use sapo_policies::tensor::DeviceFailed;
use sapo_rollouts::{Draw, Event, LocalEngine, Request, Rollout, Session};
use tokio::sync::mpsc::UnboundedSender;

use super::counts::Counts;

/// What becomes of a request, told as it happens.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// A token was drawn.
    Token {
        /// Of which of its samples.
        sample: usize,
        /// The token, with what is recorded of it.
        draw: Draw,
    },
    /// A sample is whole.
    Ended(Rollout),
    /// It cannot be answered.
    Failed(String),
    /// The server ends before the answer does.
    Cut,
}

/// A request for the engine, and where its answer goes.
#[derive(Debug)]
pub(super) struct Job {
    /// What is asked.
    pub(super) request: Request,
    /// A number that comes back with everything that is told.
    pub(super) part: usize,
    /// Whether every token is told, or whole samples alone.
    pub(super) tokens: bool,
    /// Closed as soon as the client has gone away.
    pub(super) answer: UnboundedSender<(usize, Told)>,
}

/// What the worker is told.
#[derive(Debug)]
pub(super) enum Order {
    /// To answer.
    Ask(Box<Job>),
    /// To end everything that is under way, and whatever comes later.
    Cut,
}

/// The model at work.
pub(super) struct Worker<'a> {
    pub(super) model: &'a Model,
    pub(super) engine: LocalEngine,
    pub(super) counts: Arc<Counts>,
}

/// A request in the session.
struct Live {
    part: usize,
    tokens: bool,
    answer: UnboundedSender<(usize, Told)>,
    /// Samples that have not ended.
    left: usize,
    /// When it came.
    came: Instant,
    /// When each sample had its last token.
    last: Vec<Option<Instant>>,
}

impl Worker<'_> {
    /// Answers until nobody can ask any more and everything is answered.
    pub(super) fn run(&self, orders: &Receiver<Order>) {
        let mut live = BTreeMap::new();
        let mut is_cut = false;
        loop {
            // A fault of this program must not take the server down: whoever is being answered is told, and a new session
            // begins. Nothing that outlives a session changes while it works.
            let worked = catch_unwind(AssertUnwindSafe(|| self.session(orders, &mut live, &mut is_cut)));
            let reason = match worked {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(panic) => match panic.downcast::<DeviceFailed>() {
                    Ok(failed) => format!("the device failed: {}", failed.0),
                    Err(_) => "the model failed".to_owned(),
                },
            };
            for one in std::mem::take(&mut live).into_values() {
                one.tell(Told::Failed(reason.clone()));
            }
        }
    }

    /// One session: ends well when nobody can ask any more.
    fn session(
        &self,
        orders: &Receiver<Order>,
        live: &mut BTreeMap<usize, Live>,
        is_cut: &mut bool,
    ) -> Result<(), String> {
        let mut session = self.engine.session(&self.model.policy);
        loop {
            if !self.take(orders, &mut session, live, is_cut) {
                return Ok(());
            }
            let gone = |one: &Live| one.answer.is_closed();
            for number in live.iter().filter(|(_, one)| gone(one)).map(|(number, _)| *number).collect::<Vec<_>>() {
                session.cancel(number);
                live.remove(&number);
            }
            if session.is_idle() {
                continue;
            }
            let stepped = session.step(&mut |event| self.tell(event, live));
            self.counts.set_load(session.load());
            stepped.map_err(|error| error.to_string())?;
        }
    }

    /// Takes what has come, and waits for it while there is nothing to do; false when nothing will ever come.
    fn take(
        &self,
        orders: &Receiver<Order>,
        session: &mut Session<'_>,
        live: &mut BTreeMap<usize, Live>,
        is_cut: &mut bool,
    ) -> bool {
        loop {
            let order = if session.is_idle() {
                self.counts.set_load(session.load());
                match orders.recv() {
                    Ok(order) => order,
                    Err(_) => return false,
                }
            } else {
                match orders.try_recv() {
                    Ok(order) => order,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
                }
            };
            match order {
                Order::Cut => {
                    *is_cut = true;
                    for (number, one) in std::mem::take(live) {
                        session.cancel(number);
                        one.tell(Told::Cut);
                    }
                }
                // An error means that the client went away.
                Order::Ask(job) if *is_cut => drop(job.answer.send((job.part, Told::Cut))),
                Order::Ask(job) => {
                    let Job { request, part, tokens, answer } = *job;
                    let samples = request.seeds.len();
                    let last = vec![None; samples];
                    let one = Live { part, tokens, answer, left: samples, came: Instant::now(), last };
                    live.insert(session.submit(request), one);
                }
            }
        }
    }

    fn tell(&self, event: Event, live: &mut BTreeMap<usize, Live>) {
        match event {
            Event::Token { request, sample, draw } => {
                let Some(one) = live.get_mut(&request) else { return };
                one.count(sample, &self.counts);
                if one.tokens {
                    one.tell(Told::Token { sample, draw });
                }
            }
            Event::Ended { request, rollout } => {
                let Some(one) = live.get_mut(&request) else { return };
                one.tell(Told::Ended(rollout));
                one.left = one.left.saturating_sub(1);
                if one.left == 0 {
                    live.remove(&request);
                }
            }
            Event::Failed { request, reason } => {
                if let Some(one) = live.remove(&request) {
                    one.tell(Told::Failed(reason));
                }
            }
        }
    }
}

impl Live {
    fn tell(&self, told: Told) {
        // An error means that the client went away.
        drop(self.answer.send((self.part, told)));
    }

    /// Counts a token and the time that it took.
    fn count(&mut self, sample: usize, counts: &Counts) {
        let now = Instant::now();
        let is_first = self.last.iter().all(Option::is_none);
        if let Some(last) = self.last.get_mut(sample) {
            match last.replace(now) {
                Some(before) => counts.between_tokens.add(now - before),
                None if is_first => counts.first_token.add(now - self.came),
                None => {}
            }
        }
        counts.generated.add(1);
    }
}
