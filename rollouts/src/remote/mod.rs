//! Engines on other machines: vLLM, SGLang, and any server of OpenAI's chat completions.
//!
//! A request goes to the server that has the fewest, as token ids; a rollout is told as soon as it has ended. What comes back
//! is checked before it is used. Servers that fail are asked again later, servers that lie are not.

mod checks;
mod config;
mod control;
mod dialect;
mod http;
mod openai;
mod pool;
mod probe;
mod prompt;
mod sglang;
mod turns;
mod vllm;
mod weights;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use sapo_policies::Policy;
use sapo_policies::processor::Processor;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use self::checks::{Expected, untrainable};
use self::control::Control;
use self::dialect::{Dialect, unsaid_by_all};
use self::http::Server;
use self::openai::Openai;
use self::pool::{Patience, Pool};
use self::prompt::Prompt;
use self::sglang::Sglang;
use self::turns::{Failure, Job, Shared};
use self::vllm::Vllm;
use self::weights::Store;
use crate::engine::{Engine, EngineError, Event, Listener};
use crate::request::{Request, Sampling};
use crate::rollout::Rollout;

pub use self::config::{EngineConfig, EngineKind, ServerLogProbs};
pub use self::probe::answering_model;

/// Samples on servers.
pub struct RemoteEngine {
    runtime: Runtime,
    control: Arc<Control>,
    config: EngineConfig,
    processor: Arc<Processor>,
    store: Option<Store>,
    published: Mutex<Published>,
}

/// Which version of the policy there is, and which of them lies on disk.
#[derive(Clone, Copy, Debug, Default)]
struct Published {
    version: u64,
    written: Option<u64>,
}

/// What a sampling tells as it goes on.
enum Told {
    Ended(usize, Box<Rollout>),
    Failed(usize, String),
    Gone(String),
}

impl RemoteEngine {
    /// An engine on the servers of a configuration, which [`EngineConfig::fault`] has checked, for the policy that the
    /// processor belongs to. Nobody is asked anything yet.
    ///
    /// # Errors
    /// When a URL is none, the key is missing, or the folder for weights cannot be used.
    pub fn new(config: &EngineConfig, processor: &Arc<Processor>) -> Result<Self, EngineError> {
        if let Some((key, reason)) = config.fault() {
            return Err(EngineError(format!("engine.{key} {reason}")));
        }
        let key = match &config.api_key_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                EngineError(format!("engine.api_key_env: the environment has no `{name}`; set it to the servers' key"))
            })?),
        };
        let servers = config.endpoints.iter().map(|base| Server::new(base, key.clone()));
        let servers = servers.collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|reason| EngineError(format!("engine.endpoints: {reason}")))?;
        let store = config.weights_dir.as_deref().map(|folder| Store::open(folder, config.weights_format, config.lora));
        let store = store.transpose().map_err(EngineError)?;
        // One thread is enough to wait for others.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| EngineError(format!("no connections can be made: {error}")))?;
        let patience = Patience {
            max_in_flight: config.max_in_flight,
            base: EngineConfig::duration(config.retry_base_secs),
            gone: EngineConfig::duration(config.gone_secs),
        };
        let control = Control::new(
            Arc::new(Pool::new(servers, patience)),
            dialect(config, processor),
            EngineConfig::duration(config.timeout_secs),
            EngineConfig::duration(config.probe_secs),
            config.sleep,
        );
        let (config, processor) = (config.clone(), Arc::clone(processor));
        Ok(Self { runtime, control, config, processor, store, published: Mutex::default() })
    }

    /// What people should know of the servers since the last time: which went away, came back, or are not asked any more.
    pub fn take_notes(&self) -> Vec<String> {
        self.control.pool.take_notes()
    }

    /// Why rollouts that are sampled so cannot be trained on, if so: a trainer needs the log-probs that it defines.
    pub fn untrainable(config: &EngineConfig, sampling: &Sampling) -> Option<&'static str> {
        if config.is_local() {
            return None;
        }
        let truncates = config.kind != EngineKind::Sglang;
        untrainable(config.server_log_probs(), truncates, sampling)
    }

    /// What of a sampling cannot be said to the servers, if anything: the key, and what to do.
    pub fn unsaid(config: &EngineConfig, sampling: &Sampling) -> Option<String> {
        match config.kind {
            EngineKind::Local => None,
            EngineKind::Vllm => unsaid_by_all(sampling),
            EngineKind::Sglang => sglang::unsaid(sampling),
            EngineKind::Openai => openai::unsaid(sampling),
        }
    }

    fn published(&self) -> Published {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the policy down where servers load it from, once for each version.
    fn hand_over(&self, policy: &Policy) -> Result<u64, EngineError> {
        let Published { version, written } = self.published();
        if let Some(store) = self.store.as_ref().filter(|_| written != Some(version)) {
            self.control.publish(store.write(policy, version).map_err(EngineError)?);
            self.published.lock().unwrap_or_else(PoisonError::into_inner).written = Some(version);
        }
        Ok(version)
    }

    /// What all rollouts of a sampling share.
    fn shared(&self, policy: &Policy, policy_version: u64) -> Shared {
        let weights = self.control.weights();
        let adapter = weights.as_ref().and_then(|weights| weights.adapter.clone());
        let expected = Expected {
            vocabulary: policy.config.text.vocab_size,
            version: weights.as_ref().and_then(|weights| self.control.dialect.version_with(weights)),
            may_lack_log_probs: self.config.kind == EngineKind::Openai && !self.config.prove_tokens,
        };
        Shared {
            control: Arc::clone(&self.control),
            processor: Arc::clone(&self.processor),
            expected,
            model: adapter.clone().unwrap_or_else(|| self.config.model.clone()),
            adapter,
            log_probs: self.config.server_log_probs(),
            banned: policy.banned.clone(),
            policy_version,
            timeout: EngineConfig::duration(self.config.timeout_secs),
            max_tries: self.config.max_tries,
        }
    }

    /// The rollouts of a request.
    fn jobs(&self, request: &Request) -> Result<Vec<Job>, String> {
        if request.prompt.ids().is_empty() {
            return Err("a prompt must have a token, so that an answer can follow it".to_owned());
        }
        if let Some((key, reason)) = request.sampling.fault() {
            return Err(format!("{key} {reason}"));
        }
        if let Some(reason) = Self::unsaid(&self.config, &request.sampling) {
            return Err(reason);
        }
        let mut prompt = Prompt::default();
        prompt.push(&request.prompt, &self.processor)?;
        let in_vain = Arc::new(AtomicBool::new(false));
        let job = |(sample, seed): (usize, &u64)| Job {
            sample,
            seed: *seed,
            prompt: prompt.clone(),
            sampling: request.sampling.clone(),
            follow: request.follow.clone(),
            in_vain: Arc::clone(&in_vain),
        };
        Ok(request.seeds.iter().enumerate().map(job).collect())
    }
}

fn dialect(config: &EngineConfig, processor: &Arc<Processor>) -> Arc<dyn Dialect> {
    match config.kind {
        EngineKind::Sglang => Arc::new(Sglang),
        EngineKind::Openai => Arc::new(Openai { processor: Arc::clone(processor), prove: config.prove_tokens }),
        EngineKind::Vllm | EngineKind::Local => {
            Arc::new(Vllm { lora: config.lora, reload_method: config.reload_method.clone() })
        }
    }
}

impl Engine for RemoteEngine {
    fn sample(&self, policy: &Policy, requests: &[Request], events: Listener<'_>) -> Result<(), EngineError> {
        let version = self.hand_over(policy)?;
        let mut jobs = Vec::new();
        let mut failed = vec![false; requests.len()];
        for (request, asked) in requests.iter().enumerate() {
            match self.jobs(asked) {
                Ok(of_request) => jobs.extend(of_request.into_iter().map(|job| (request, job))),
                Err(reason) => {
                    failed[request] = true;
                    if events(Event::Failed { request, reason }).is_break() {
                        return Ok(());
                    }
                }
            }
        }
        let (tell, told) = mpsc::channel();
        let driving = self.runtime.spawn(drive(Arc::new(self.shared(policy, version)), jobs, tell));
        let mut gone = None;
        // Whoever is told may be slow: servers are asked on another thread.
        for one in told {
            let flow = match one {
                Told::Ended(request, _) | Told::Failed(request, _) if failed[request] => ControlFlow::Continue(()),
                Told::Ended(request, rollout) => events(Event::Ended { request, rollout: *rollout }),
                Told::Failed(request, reason) => {
                    failed[request] = true;
                    events(Event::Failed { request, reason })
                }
                Told::Gone(reason) => {
                    gone = Some(reason);
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                // What is still asked for is dropped, and with it the connections.
                driving.abort();
                self.runtime.block_on(self.control.rest());
                return Ok(());
            }
        }
        gone.map_or(Ok(()), |reason| Err(EngineError(reason)))
    }

    /// The weights are written and loaded when the next rollouts are asked for, so that updates without rollouts between
    /// them cost nothing.
    fn publish(&mut self, policy: &Policy, version: u64) -> Result<(), EngineError> {
        match &self.store {
            None if version > 0 => {
                return Err(EngineError(format!(
                    "the policy is at version {version}, and the servers cannot be given it; name a folder that they see as \
                     engine.weights_dir"
                )));
            }
            None => {}
            Some(store) => {
                if let Some(reason) = store.fault(policy) {
                    return Err(EngineError(reason.to_owned()));
                }
            }
        }
        let published = self.published.get_mut().unwrap_or_else(PoisonError::into_inner);
        *published = Published { version, written: None };
        Ok(())
    }
}

/// Samples all rollouts, and tells of each as it ends.
async fn drive(shared: Arc<Shared>, jobs: Vec<(usize, Job)>, tell: Sender<Told>) {
    if jobs.is_empty() {
        return;
    }
    shared.control.ready().await;
    let mut tasks = JoinSet::new();
    for (request, job) in jobs {
        let in_vain = Arc::clone(&job.in_vain);
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            match shared.rollout(job).await {
                Ok(rollout) => Told::Ended(request, Box::new(rollout)),
                Err(Failure::Request(reason)) => {
                    in_vain.store(true, Ordering::Relaxed);
                    Told::Failed(request, reason)
                }
                Err(Failure::Engine(reason)) => Told::Gone(reason),
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        let one = ended.unwrap_or_else(|error| Told::Gone(format!("a rollout was lost: {error}")));
        let is_over = matches!(one, Told::Gone(_));
        // Nobody listens any more when the sampling was left.
        if tell.send(one).is_err() || is_over {
            return;
        }
    }
    shared.control.rest().await;
}
