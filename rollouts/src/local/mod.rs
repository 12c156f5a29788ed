//! The local engine: decodes with a policy on this machine.

mod asked;
mod drawing;
mod features;
mod following;
mod row;
mod session;
mod stop;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use sapo_policies::Policy;
use sapo_policies::processor::Processor;

pub use self::session::{Load, Session};
use crate::engine::{Engine, EngineError, Listener};
use crate::request::Request;

/// Decodes with a policy on this machine.
#[derive(Clone)]
pub struct LocalEngine {
    /// Token ids that end an answer; they are part of it.
    stop_ids: Vec<u32>,
    /// Samples that are decoded together at most.
    max_rows: usize,
    /// Bytes of keys and values at most.
    cache_bytes: usize,
    /// What turns tokens into text, for stop texts.
    processor: Option<Arc<Processor>>,
    /// Updates of the policy so far.
    version: u64,
}

impl fmt::Debug for LocalEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stop_ids, max_rows, cache_bytes, processor, version } = self;
        let mut debug = f.debug_struct("LocalEngine");
        debug.field("stop_ids", stop_ids).field("max_rows", max_rows).field("cache_bytes", cache_bytes);
        debug.field("processor", &processor.is_some()).field("version", version).finish()
    }
}

impl LocalEngine {
    /// Keys and values in MiB at most, where nothing else is said.
    pub const CACHE_MIB: usize = 4096;

    /// An engine that ends an answer at `stop_ids` and decodes at most `max_rows` samples together.
    pub fn new(stop_ids: &[u32], max_rows: usize) -> Self {
        let (stop_ids, max_rows) = (stop_ids.to_vec(), max_rows.max(1));
        Self { stop_ids, max_rows, cache_bytes: Self::CACHE_MIB << 20, processor: None, version: 0 }
    }

    /// The same with another bound on the bytes of keys and values.
    #[must_use]
    pub fn with_cache_bytes(self, cache_bytes: usize) -> Self {
        Self { cache_bytes, ..self }
    }

    /// The same, which can end answers at texts.
    #[must_use]
    pub fn reading(self, processor: Arc<Processor>) -> Self {
        Self { processor: Some(processor), ..self }
    }

    /// A session with this policy's weights.
    pub fn session<'a>(&'a self, policy: &'a Policy) -> Session<'a> {
        Session::new(self, policy)
    }
}

impl Engine for LocalEngine {
    fn sample(&self, policy: &Policy, requests: &[Request], events: Listener<'_>) -> Result<(), EngineError> {
        let mut session = self.session(policy);
        for request in requests {
            session.submit(request.clone());
        }
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() && !session.is_idle() {
            session.step(&mut |event| {
                if flow.is_continue() {
                    flow = events(event);
                }
            })?;
        }
        Ok(())
    }

    fn publish(&mut self, _: &Policy, version: u64) -> Result<(), EngineError> {
        // The policy is borrowed for every call, so that there is nothing to copy.
        self.version = version;
        Ok(())
    }
}
