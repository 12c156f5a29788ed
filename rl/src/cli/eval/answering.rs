//! Who answers in `sapo eval`: a model in this process, the servers of a configuration, or an endpoint.

use sapo_policies::Model;
use sapo_policies::weights::Loading;
use sapo_rollouts::{EngineConfig, EngineKind, LocalEngine, RemoteEngine, answering_model};

use super::target::{DECODE_ROWS, SEED, Target};
use super::{EvalArguments, Prepared};
use crate::device;
use crate::engine::RunEngine;
use crate::error::{Result, RunError};
use crate::progress::Progress;
use crate::slow;

/// Tries of a request to an endpoint, seconds before the second, and seconds without any answer after which it is given up.
const TRIES: u32 = 4;
const RETRY_SECS: f64 = 0.5;
const GONE_SECS: f64 = 60.0;

/// The model that is asked, and the engine that samples.
pub(super) struct Answering {
    pub(super) model: Model,
    pub(super) engine: RunEngine,
}

/// The engine that is asked for, after one question to an endpoint; `None` is that of the configuration.
///
/// # Errors
/// When the endpoint does not answer, or cannot be told how to sample.
pub(super) fn endpoint(arguments: &EvalArguments, targets: &[Target]) -> Result<Option<EngineConfig>> {
    let Some(url) = &arguments.endpoint else { return Ok(None) };
    let fault = |reason: String| RunError::User(format!("--endpoint {url}: {reason}"));
    let key = arguments.api_key_env.as_deref().map(|name| {
        std::env::var(name).map_err(|_| {
            RunError::User(format!(
                "--api-key-env {name}: the environment has no `{name}`; set it to the endpoint's key"
            ))
        })
    });
    let key = key.transpose()?;
    let config = EngineConfig {
        kind: EngineKind::Openai,
        endpoints: vec![url.clone()],
        model: arguments.served_model.clone().unwrap_or_else(|| "?".to_owned()),
        api_key_env: arguments.api_key_env.clone(),
        max_tries: TRIES,
        retry_base_secs: RETRY_SECS,
        gone_secs: GONE_SECS,
        ..EngineConfig::default()
    };
    if let Some((key, reason)) = config.fault() {
        return Err(fault(format!("{key} {reason}")));
    }
    for sampling in targets.iter().map(|target| target.sampling) {
        if let Some(reason) = RemoteEngine::unsaid(&config, &sampling.drawn()) {
            return Err(fault(reason));
        }
    }
    let model = answering_model(url, arguments.served_model.as_deref(), key);
    let model = model.map_err(|reason| {
        fault(format!(
            "{reason}; give the base URL of a server of OpenAI's chat completions, and with --served-model the name \
                       that it knows the model by"
        ))
    })?;
    Ok(Some(EngineConfig { model, ..config }))
}

impl Answering {
    /// Opens the model, and what samples with it; for an endpoint no weights are read.
    ///
    /// # Errors
    /// When there is no such model or device, or a server's address cannot be used.
    pub(super) fn open(
        arguments: &EvalArguments,
        prepared: &Prepared,
        seed: u64,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let (config, endpoint) = (prepared.config.as_ref(), prepared.endpoint.clone());
        let configured = config.map(|config| &*config.run.device);
        let device = device::open(arguments.device.as_deref().or(configured).unwrap_or("cpu"))?;
        let mut model = match &endpoint {
            Some(_) => Model::open_without_weights(&arguments.model, &device)?,
            None => Model::open_as(&arguments.model, seed, Loading::kept_in(arguments.dtype.format()), &device)?,
        };
        if let Some(config) = config.filter(|_| endpoint.is_none()) {
            model.policy.multiply_in(config.run.matmul)?;
        }
        model.limit_prompts(config.and_then(|config| config.policy.prompt_limit()));
        model.processor.tokenizer().notes().iter().for_each(|note| progress.say(note));
        if endpoint.is_none() {
            slow::warning(&model.policy).iter().for_each(|warning| progress.say(warning));
        }
        let engine = endpoint.or_else(|| config.map(|config| config.engine.clone())).unwrap_or_default();
        let decode_rows = config.map_or(DECODE_ROWS, |config| config.run.decode_rows);
        let cache_mib = config.map_or(LocalEngine::CACHE_MIB, |config| config.run.cache_mib);
        if !engine.is_local() {
            progress.say(&RunEngine::described(&engine));
        }
        let engine = RunEngine::open(&engine, &model, [decode_rows, cache_mib])?;
        Ok(Self { model, engine })
    }
}

/// The seed that a preset's weights are drawn from.
pub(super) fn seed(targets: &[Target]) -> u64 {
    targets.first().map_or(SEED, |target| target.sampling.seed)
}
