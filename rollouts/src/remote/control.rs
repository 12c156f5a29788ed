//! Steering servers: the policy's weights are handed over, servers that went away are looked after, and all sleep and wake.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::sleep;

use super::dialect::{Call, Dialect, Weights};
use super::http::{Got, Server};
use super::pool::{Place, Pool};

/// The longest that a server may take to say that it is well.
const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// What one server was last told. Whoever steers it holds it.
#[derive(Debug, Default)]
struct Hand {
    loaded: Option<u64>,
    identity: Option<String>,
    asleep: bool,
}

/// Why a server did not do what it was told.
enum Trouble {
    /// It may later.
    Lost(String),
    /// It does not.
    Refused(String),
}

/// Steers the servers of a pool.
pub(super) struct Control {
    pub(super) pool: Arc<Pool>,
    pub(super) dialect: Arc<dyn Dialect>,
    weights: Mutex<Option<Weights>>,
    hands: Vec<AsyncMutex<Hand>>,
    /// How long a call may take.
    limit: Duration,
    /// Between two looks at a server that went away.
    probe: Duration,
    sleeps: bool,
}

impl Control {
    /// For a pool of servers of one kind; `sleeps` is whether they sleep between two samplings.
    pub(super) fn new(
        pool: Arc<Pool>,
        dialect: Arc<dyn Dialect>,
        limit: Duration,
        probe: Duration,
        sleeps: bool,
    ) -> Arc<Self> {
        let hands = pool.servers().iter().map(|_| AsyncMutex::default()).collect();
        Arc::new(Self { pool, dialect, weights: Mutex::default(), hands, limit, probe, sleeps })
    }

    /// From now on, these are the policy's weights.
    pub(super) fn publish(&self, weights: Weights) {
        *self.weights.lock().unwrap_or_else(PoisonError::into_inner) = Some(weights);
    }

    /// The policy's weights, where they were handed over.
    pub(super) fn weights(&self) -> Option<Weights> {
        self.weights.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes all servers and makes sure that they have the policy's weights. Those that do not are not asked.
    pub(super) async fn ready(self: &Arc<Self>) {
        join_all((0..self.hands.len()).map(|index| self.ready_one(index))).await;
    }

    async fn ready_one(self: &Arc<Self>, index: usize) {
        // Whoever looks after it may just be giving it weights of before.
        let mut hand = self.hands[index].lock().await;
        if self.pool.place(index) != Place::Up {
            return;
        }
        let done = self.woken_and_loaded(index, &mut hand).await;
        drop(hand);
        self.heed(index, done);
    }

    async fn woken_and_loaded(&self, index: usize, hand: &mut Hand) -> Result<(), Trouble> {
        if hand.asleep {
            self.call_all(index, self.dialect.wake()).await?;
            hand.asleep = false;
            if !self.dialect.wakes_with_weights() {
                hand.loaded = None;
            }
        }
        self.load(index, hand).await
    }

    fn heed(self: &Arc<Self>, index: usize, done: Result<(), Trouble>) {
        match done {
            Ok(()) => {}
            Err(Trouble::Lost(message)) => self.lost(index, &message),
            Err(Trouble::Refused(message)) => self.pool.leave(index, &message),
        }
    }

    /// Lets all servers sleep, if they are to.
    pub(super) async fn rest(self: &Arc<Self>) {
        if !self.sleeps {
            return;
        }
        let rest = |index: usize| async move {
            let mut hand = self.hands[index].lock().await;
            if self.pool.place(index) != Place::Up {
                return;
            }
            let done = self.call_all(index, self.dialect.sleep()).await;
            hand.asleep = done.is_ok();
            drop(hand);
            self.heed(index, done);
        };
        join_all((0..self.hands.len()).map(rest)).await;
    }

    /// A server went away: it is looked at until it is back, and given the weights again.
    pub(super) fn lost(self: &Arc<Self>, index: usize, message: &str) {
        if self.pool.lost(index, message) {
            tokio::spawn(Arc::clone(self).look_after(index));
        }
    }

    /// A server has lost the policy's weights, so that it has been started anew.
    pub(super) fn stale(self: &Arc<Self>, index: usize, message: &str) {
        if self.pool.stale(index, message) {
            tokio::spawn(Arc::clone(self).look_after(index));
        }
    }

    async fn look_after(self: Arc<Self>, index: usize) {
        loop {
            sleep(self.probe).await;
            let limit = LONGEST_LOOK.min(self.limit);
            if !matches!(self.server(index).get(self.dialect.health(), limit).await, Got::Reply(_)) {
                continue;
            }
            let mut hand = self.hands[index].lock().await;
            // It may have been started anew, with the weights that it was started with.
            *hand = Hand::default();
            match self.load(index, &mut hand).await {
                Ok(()) => return self.pool.back(index),
                Err(Trouble::Lost(message)) => _ = self.pool.lost(index, &message),
                Err(Trouble::Refused(message)) => return self.pool.leave(index, &message),
            }
        }
    }

    fn server(&self, index: usize) -> &Server {
        &self.pool.servers()[index]
    }

    /// Makes sure that a server has the policy's weights.
    async fn load(&self, index: usize, hand: &mut Hand) -> Result<(), Trouble> {
        let Some(weights) = self.weights() else { return Ok(()) };
        if hand.loaded == Some(weights.version) && hand.identity == self.identity(index).await? {
            return Ok(());
        }
        hand.loaded = None;
        self.call_all(index, self.dialect.load(&weights)).await?;
        let found = self.identity(index).await?;
        if let (Some(found), Some(wanted)) = (&found, self.dialect.identity_with(&weights))
            && *found != wanted
        {
            return Err(Trouble::Refused(format!(
                "it was given weights of version {wanted}, and says that it has {found}"
            )));
        }
        *hand = Hand { loaded: Some(weights.version), identity: found, asleep: false };
        Ok(())
    }

    /// What tells whether a server still has its weights, if it tells.
    async fn identity(&self, index: usize) -> Result<Option<String>, Trouble> {
        for path in self.dialect.identity_paths() {
            match self.server(index).get(path, LONGEST_LOOK.min(self.limit)).await {
                Got::Reply(page) => return Ok(self.dialect.identity(&page)),
                Got::Refused { status: 404, .. } => {}
                other => return Err(Trouble::Lost(other.message())),
            }
        }
        Ok(None)
    }

    async fn call_all(&self, index: usize, calls: Vec<Call>) -> Result<(), Trouble> {
        for call in calls {
            let body = call.body.as_ref().map(Value::to_string);
            match self.server(index).post(&call.path, body, self.limit).await {
                Got::Reply(reply) => {
                    let reply: Value = serde_json::from_str(&reply).unwrap_or_default();
                    if reply["success"] == false {
                        return Err(Trouble::Refused(format!("{} did not succeed: {}", call.path, reply["message"])));
                    }
                }
                Got::Refused { status: 400 | 404 | 405, .. } if call.may_be_refused => {}
                Got::Refused { message, .. } => {
                    return Err(Trouble::Refused(format!(
                        "{}: {message}; see docs/engines.md on how to start it",
                        call.path
                    )));
                }
                other => return Err(Trouble::Lost(format!("{}: {}", call.path, other.message()))),
            }
        }
        Ok(())
    }
}
