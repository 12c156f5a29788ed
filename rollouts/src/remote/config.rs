//! `[engine]`: who samples, and how servers that do are reached.

use std::path::PathBuf;
use std::time::Duration;

use sapo_policies::WeightFormat;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// This process, with the weights that it trains.
    #[default]
    Local,
    /// vLLM servers.
    Vllm,
    /// SGLang servers.
    Sglang,
    /// Servers that speak OpenAI's chat completions: they can be evaluated, not trained.
    Openai,
}

/// Which log-probs a server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerLogProbs {
    /// Those of the model at temperature 1.
    Raw,
    /// Those at the sampling temperature.
    Processed,
}

/// Who samples: this process (`kind = "local"`), or servers (`vllm`, `sglang`, `openai`; see `docs/engines.md`). All other
/// keys are for servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// `local`, `vllm`, `sglang` or `openai`.
    pub kind: EngineKind,
    /// Base URLs of servers of the same model, as `http://10.0.0.7:8000`. Each is a server itself, not a router before several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<String>,
    /// The name that the servers know the model by; SGLang needs none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// The environment variable that holds the servers' key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Seconds that one answer, or a change of weights, may take.
    pub timeout_secs: f64,
    /// Requests that one server is given at a time.
    pub max_in_flight: usize,
    /// How often a request is sent before it fails; what a busy or an absent server did not take does not count.
    pub max_tries: u32,
    /// A server is asked again within so many seconds of a fault, then within twice as many, at random and up to 30.
    pub retry_base_secs: f64,
    /// Seconds between two looks at a server that went away.
    pub probe_secs: f64,
    /// The run stops when no server has answered for so many seconds.
    pub gone_secs: f64,
    /// A folder that the servers see under the same path: the policy is written there after updates, for them to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_dir: Option<PathBuf>,
    /// The number format of the weights that are written there, `f32` or `bf16`; adapters are written in f32.
    pub weights_format: WeightFormat,
    /// Whether the policy's adapter is loaded into the servers instead of the whole policy; it needs `policy.lora` or
    /// `policy.adapter`.
    pub lora: bool,
    /// Whether servers free their memory between two samplings, for a trainer on the same device.
    pub sleep: bool,
    /// Which log-probs the servers give: `raw` (what vLLM does unless it is told otherwise) or `processed` (what SGLang
    /// does). Without it, what the kind of server does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_probs: Option<ServerLogProbs>,
    /// For `openai`: whether an answer whose tokens cannot be proven fails, in place of being recorded without log-probs.
    pub prove_tokens: bool,
    /// For `vllm`: the method of the workers that loads weights; it is given `weights_path`.
    pub reload_method: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            kind: EngineKind::Local,
            endpoints: Vec::new(),
            model: String::new(),
            api_key_env: None,
            timeout_secs: 600.0,
            max_in_flight: 64,
            max_tries: 8,
            retry_base_secs: 0.5,
            probe_secs: 2.0,
            gone_secs: 300.0,
            weights_dir: None,
            weights_format: WeightFormat::F32,
            lora: false,
            sleep: false,
            log_probs: None,
            prove_tokens: false,
            reload_method: "reload_weights".to_owned(),
        }
    }
}

/// A day: no time in the configuration is longer.
const LONGEST_SECS: f64 = 86_400.0;
/// More requests than a server takes at a time.
const MOST_IN_FLIGHT: usize = 1 << 16;
/// A request that was sent so often is never answered.
const MOST_TRIES: u32 = 1000;

impl EngineConfig {
    /// Whether this process samples.
    pub fn is_local(&self) -> bool {
        self.kind == EngineKind::Local
    }

    /// The key that is wrong and what must hold of it, if there is one.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let fault = |key, reason: &str| Some((key, reason.to_owned()));
        if self.is_local() {
            let plain = Self::default();
            return (*self != plain)
                .then(|| ("kind", "is `local`, which takes no other key; say vllm, sglang or openai".to_owned()));
        }
        if self.endpoints.is_empty() {
            return fault("endpoints", "names no server; say for instance [\"http://127.0.0.1:8000\"]");
        }
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
                return Some(("endpoints", format!("`{endpoint}` must begin with http:// or https://")));
            }
            if self.endpoints[..at].contains(endpoint) {
                return Some(("endpoints", format!("`{endpoint}` stands there twice; leave one out")));
            }
        }
        if self.model.is_empty() && self.kind != EngineKind::Sglang {
            return fault("model", "is missing: the name that the servers know the model by");
        }
        let times = [
            ("timeout_secs", self.timeout_secs),
            ("retry_base_secs", self.retry_base_secs),
            ("probe_secs", self.probe_secs),
            ("gone_secs", self.gone_secs),
        ];
        for (key, secs) in times {
            if !(secs > 0.0 && secs <= LONGEST_SECS) {
                return fault(key, "must be above 0 and at most 86400");
            }
        }
        if !(1..=MOST_IN_FLIGHT).contains(&self.max_in_flight) {
            return fault("max_in_flight", "must be at least 1 and at most 65536");
        }
        if !(1..=MOST_TRIES).contains(&self.max_tries) {
            return fault("max_tries", "must be at least 1 and at most 1000");
        }
        self.fault_of_kind().map(|(key, reason)| (key, reason.to_owned()))
    }

    /// A key that this kind of server does not know.
    fn fault_of_kind(&self) -> Option<(&'static str, &'static str)> {
        let openai = self.kind == EngineKind::Openai;
        let checks = [
            (self.lora && self.weights_dir.is_none(), "lora", "needs `weights_dir`, where the adapter is written"),
            (
                openai && self.weights_dir.is_some(),
                "weights_dir",
                "is for vllm and sglang: `openai` servers load no weights",
            ),
            (openai && self.lora, "lora", "is for vllm and sglang: `openai` servers load no adapters"),
            (openai && self.sleep, "sleep", "is for vllm and sglang"),
            (openai && self.log_probs.is_some(), "log_probs", "is for vllm and sglang"),
            (self.prove_tokens && !openai, "prove_tokens", "is for `openai`: the other servers give token ids"),
            (
                self.reload_method != Self::default().reload_method && self.kind != EngineKind::Vllm,
                "reload_method",
                "is for vllm",
            ),
            (self.reload_method.is_empty(), "reload_method", "must be the name of a method"),
        ];
        checks.into_iter().find(|(wrong, ..)| *wrong).map(|(_, key, reason)| (key, reason))
    }

    /// Which log-probs the servers give.
    pub fn server_log_probs(&self) -> ServerLogProbs {
        let usual = match self.kind {
            EngineKind::Sglang => ServerLogProbs::Processed,
            _ => ServerLogProbs::Raw,
        };
        self.log_probs.unwrap_or(usual)
    }

    /// Takes over from another configuration what changes no number: where servers are, and how patiently they are asked.
    pub fn reached_like(&mut self, now: &Self) {
        self.endpoints.clone_from(&now.endpoints);
        self.api_key_env.clone_from(&now.api_key_env);
        self.weights_dir.clone_from(&now.weights_dir);
        self.timeout_secs = now.timeout_secs;
        self.max_in_flight = now.max_in_flight;
        self.max_tries = now.max_tries;
        self.retry_base_secs = now.retry_base_secs;
        self.probe_secs = now.probe_secs;
        self.gone_secs = now.gone_secs;
        self.sleep = now.sleep;
    }

    /// A time of the configuration, which [`EngineConfig::fault`] has checked.
    pub(super) fn duration(secs: f64) -> Duration {
        Duration::try_from_secs_f64(secs).unwrap_or(Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run may go on with servers elsewhere, but not with another kind or model.
    #[test]
    fn what_changes_no_number_may_change() {
        let before = EngineConfig { kind: EngineKind::Vllm, model: "m".to_owned(), ..EngineConfig::default() };
        let elsewhere = EngineConfig {
            endpoints: vec!["http://10.0.0.9:8000".to_owned()],
            weights_dir: Some("elsewhere".into()),
            timeout_secs: 5.0,
            ..before.clone()
        };
        let mut reached = before.clone();
        reached.reached_like(&elsewhere);
        assert_eq!(reached, elsewhere);
        let mut other = EngineConfig { kind: EngineKind::Sglang, ..elsewhere.clone() };
        other.reached_like(&before);
        assert_ne!(other, before);
    }

    #[test]
    fn keys_that_make_no_sense_are_named() {
        let good = EngineConfig {
            kind: EngineKind::Vllm,
            endpoints: vec!["http://127.0.0.1:8000".to_owned()],
            model: "m".to_owned(),
            ..EngineConfig::default()
        };
        assert_eq!((good.fault(), EngineConfig::default().fault()), (None, None));
        let key = |config: EngineConfig| config.fault().expect("a fault").0;
        assert_eq!(key(EngineConfig { kind: EngineKind::Local, ..good.clone() }), "kind");
        assert_eq!(key(EngineConfig { endpoints: Vec::new(), ..good.clone() }), "endpoints");
        assert_eq!(key(EngineConfig { endpoints: vec!["host:1".to_owned()], ..good.clone() }), "endpoints");
        assert_eq!(key(EngineConfig { endpoints: vec![good.endpoints[0].clone(); 2], ..good.clone() }), "endpoints");
        assert_eq!(key(EngineConfig { model: String::new(), ..good.clone() }), "model");
        assert_eq!(key(EngineConfig { gone_secs: f64::NAN, ..good.clone() }), "gone_secs");
        assert_eq!(key(EngineConfig { max_in_flight: 0, ..good.clone() }), "max_in_flight");
        assert_eq!(key(EngineConfig { lora: true, ..good.clone() }), "lora");
        assert_eq!(key(EngineConfig { prove_tokens: true, ..good.clone() }), "prove_tokens");
        let openai = EngineConfig { kind: EngineKind::Openai, ..good };
        assert_eq!(key(EngineConfig { weights_dir: Some("w".into()), ..openai }), "weights_dir");
    }
}
