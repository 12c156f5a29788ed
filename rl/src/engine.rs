//! The engine that a run or an evaluation samples with: this process, or servers.

use sapo_policies::{Model, Policy};
use sapo_rollouts::{Engine, EngineConfig, EngineError, Listener, LocalEngine, RemoteEngine, Request, ServerLogProbs};

use crate::error::{Result, RunError};
use crate::sample::local_engine;

/// Who samples.
pub enum RunEngine {
    /// This process.
    Local(LocalEngine),
    /// Servers.
    Remote(Box<RemoteEngine>),
}

impl RunEngine {
    /// The engine that a configuration names, for a model, with the rows and MiB of cache of a local one. Servers are asked
    /// nothing yet.
    ///
    /// # Errors
    /// When a server's address, its key or the folder for weights cannot be used.
    pub fn open(config: &EngineConfig, model: &Model, [decode_rows, cache_mib]: [usize; 2]) -> Result<Self> {
        if config.is_local() {
            return Ok(Self::Local(local_engine(model, decode_rows, cache_mib)));
        }
        let engine = RemoteEngine::new(config, &model.processor);
        engine.map(|engine| Self::Remote(Box::new(engine))).map_err(|error| RunError::User(error.to_string()))
    }

    /// The servers that a run samples on, and which log-probs it records of what they say.
    pub fn described(config: &EngineConfig) -> String {
        let recorded = match config.server_log_probs() {
            ServerLogProbs::Raw => "at temperature 1, before any truncation",
            ServerLogProbs::Processed => "at the sampling temperature",
        };
        let weights = match config.weights_dir {
            Some(_) => "",
            None => "; they answer with the weights that they were started with, whatever the policy's are",
        };
        format!(
            "sampling on servers ({:?}): {}; their log-probs are taken to be those {recorded}{weights}",
            config.kind,
            config.endpoints.join(", ")
        )
    }

    /// What people should know of the servers since the last time.
    pub fn take_notes(&self) -> Vec<String> {
        match self {
            Self::Local(_) => Vec::new(),
            Self::Remote(engine) => engine.take_notes(),
        }
    }
}

impl Engine for RunEngine {
    fn sample(
        &self,
        policy: &Policy,
        requests: &[Request],
        events: Listener<'_>,
    ) -> std::result::Result<(), EngineError> {
        match self {
            Self::Local(engine) => engine.sample(policy, requests, events),
            Self::Remote(engine) => engine.sample(policy, requests, events),
        }
    }

    fn publish(&mut self, policy: &Policy, version: u64) -> std::result::Result<(), EngineError> {
        match self {
            Self::Local(engine) => engine.publish(policy, version),
            Self::Remote(engine) => engine.publish(policy, version),
        }
    }
}
