//! Judges: a model behind an OpenAI-compatible endpoint says whether an answer states the same as the reference.

mod cache;
pub mod calibrate;
mod client;
mod prefilter;
mod prompt;
mod verdict;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::concurrent::all;
use crate::error::{Result, RewardError};
use crate::extract::{self, capped, last_answer_tag, last_box, unwrapped};
use crate::number::shortened;
use crate::reward::{Item, Reward, RewardSpec, Scoring};
use crate::score::{FailureKind, PartScore};
use crate::text::accepted;
use cache::Cache;
pub use calibrate::{Calibration, CalibrationConfig, LabelledPair};
use client::Client;
pub use prefilter::refused;
pub use prompt::{Prompt, PromptParts};
pub use verdict::verdict;

/// Where judges are that a config names as `serve:NAME`: base URLs by name. The run starts those servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(pub BTreeMap<String, String>);

/// A judge, as a config describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeConfig {
    /// Base URL of an OpenAI-compatible server, or `serve:NAME` for one that the run starts.
    pub endpoint: String,
    /// The model's name in requests.
    pub model: String,
    /// The prompt: `reference-v1`, or `same-v1` for the small judge.
    pub prompt: String,
    /// The phase does not start when the judge agrees less than this with the rule on labelled items.
    pub min_balanced_accuracy: f64,
    /// The labelled items on which that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// Requests at a time.
    pub max_concurrency: usize,
    /// Seconds for one request.
    pub timeout_secs: f64,
    /// Seconds for one verdict with all its retries.
    pub deadline_secs: f64,
    /// Tries for one verdict when the server is overloaded or faulty.
    pub max_tries: u32,
    /// Seconds before the second try; they double with each further one, with jitter, up to 30.
    pub retry_base_secs: f64,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// The seed of requests, jitter and fences.
    pub seed: u64,
    /// Longer answers are wrong without a call: a reference states its answer in less.
    pub longest_answer_chars: usize,
    /// The environment variable that holds the key; the key itself is never in a config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Further fields of the request, as vLLM and SGLang take them.
    pub extra_body: Map<String, Value>,
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            endpoint: "serve:judge".to_owned(),
            model: "judge".to_owned(),
            prompt: "reference-v1".to_owned(),
            min_balanced_accuracy: 0.9,
            calibration: None,
            max_concurrency: 8,
            timeout_secs: 60.0,
            deadline_secs: 180.0,
            max_tries: 5,
            retry_base_secs: 0.5,
            max_tokens: 512,
            seed: 0,
            longest_answer_chars: 1000,
            api_key_env: None,
            extra_body: Map::new(),
        }
    }
}

impl JudgeConfig {
    /// The NAME of `serve:NAME`, when the run is to start the judge.
    pub fn serve_name(&self) -> Option<&str> {
        self.endpoint.strip_prefix("serve:")
    }

    fn check(&self) -> std::result::Result<(), String> {
        let positive = [
            ("timeout_secs", self.timeout_secs),
            ("deadline_secs", self.deadline_secs),
            ("retry_base_secs", self.retry_base_secs),
        ];
        if let Some((key, value)) = positive.iter().find(|(_, value)| !(*value > 0.0 && *value <= 86_400.0)) {
            return Err(format!("{key} = {value}: it must be above 0 and at most a day"));
        }
        if !(0.0..=1.0).contains(&self.min_balanced_accuracy) {
            return Err(format!("min_balanced_accuracy = {}: it must be in 0..1", self.min_balanced_accuracy));
        }
        if self.max_concurrency == 0 || self.max_tries == 0 || self.longest_answer_chars == 0 || self.max_tokens == 0 {
            let keys = "max_concurrency, max_tries, max_tokens and longest_answer_chars";
            return Err(format!("{keys} must be at least 1"));
        }
        Ok(())
    }
}

/// How often a judge was needed, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JudgeCounts {
    /// Requests that were sent, retries included.
    pub calls: u64,
    /// Verdicts that could not be had.
    pub failed: u64,
    /// Verdicts that were known, or asked for at the same time.
    pub cache_hits: u64,
    /// Answers that were wrong without a call.
    pub refused: u64,
}

/// A judge that is ready to be asked.
pub struct Judge {
    spec: RewardSpec,
    config: JudgeConfig,
    prompt: Prompt,
    client: Client,
    cache: Cache,
    failed: AtomicU64,
    refused: AtomicU64,
}

impl Judge {
    /// Prepares a judge; nothing is sent yet.
    ///
    /// # Errors
    /// When an option makes no sense, the endpoint is not known, or the key is not in the environment.
    pub fn new(name: &str, config: &JudgeConfig, endpoints: &Endpoints) -> Result<Self> {
        config.check().map_err(|reason| RewardError::reward(name, reason))?;
        let base = match config.serve_name() {
            None => config.endpoint.clone(),
            Some(server) => endpoints.0.get(server).cloned().ok_or_else(|| {
                let reason =
                    format!("endpoint = \"serve:{server}\": no such judge is being served; give a URL instead");
                RewardError::reward(name, reason)
            })?,
        };
        let prompt = Prompt::named(&config.prompt).map_err(|reason| RewardError::reward(name, reason))?;
        let client = Client::new(&base, config).map_err(|reason| RewardError::reward(name, reason))?;
        let spec = RewardSpec { version: format!("judge/1 {}", prompt.version()), ..RewardSpec::rule(name, "") };
        Ok(Self {
            spec,
            config: config.clone(),
            prompt,
            client,
            cache: Cache::default(),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The options it was made with.
    pub fn config(&self) -> &JudgeConfig {
        &self.config
    }

    /// How often it was needed.
    pub fn counts(&self) -> JudgeCounts {
        JudgeCounts {
            calls: self.client.calls(),
            failed: self.failed.load(Ordering::Relaxed),
            cache_hits: self.cache.hits(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Whether its server can be reached at all.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn reach(&self) -> Result<()> {
        self.client.reach().await.map_err(|reason| {
            let remedy = "start the server, or point `endpoint` at one that runs";
            RewardError::reward(&self.spec.name, format!("the judge at {reason}; {remedy}"))
        })
    }

    /// Whether `answer` states the same as `reference`, as the judge says.
    pub async fn same(&self, question: &str, reference: &str, answer: &str) -> PartScore {
        let answer = answer.trim();
        if let Some(reason) = refused(answer, question, self.config.longest_answer_chars) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return PartScore::verdict(false, format!("not asked: {reason}")).extracted(shortened(answer));
        }
        let parts = PromptParts { question, reference, answer };
        let message = self.prompt.render(&parts, self.config.seed);
        let asked = self.cache.get(&message, || self.client.ask(&message)).await;
        match asked {
            Ok(same) => {
                let verdict = if same { "yes" } else { "no" };
                PartScore::verdict(
                    same,
                    format!("{} says {verdict}: same as `{}`?", self.config.model, shortened(reference)),
                )
                .extracted(answer)
            }
            Err(fault) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                PartScore::failed(fault.kind, fault.message).extracted(answer)
            }
        }
    }

    async fn one(&self, item: &Item<'_>) -> PartScore {
        let truth = item.query.ground_truth.as_ref().map(accepted);
        let reference = match truth {
            Some(Ok(texts)) => texts.join(" or "),
            Some(Err(fault)) => return PartScore::failed(FailureKind::GroundTruth, fault),
            None => {
                return PartScore::failed(FailureKind::GroundTruth, "the query has no reference answer to judge by");
            }
        };
        match extract::answer(item.transcript) {
            None => PartScore::verdict(false, "not asked: the thinking is not closed"),
            Some(answer) => self.same(&item.query.question(), &reference, final_part(answer)).await,
        }
    }
}

/// What a judge is shown of an answer: its last tag or box when it has one, else all of it.
fn final_part(answer: &str) -> &str {
    let answer = capped(answer);
    last_answer_tag(answer).or_else(|| last_box(answer)).unwrap_or_else(|| unwrapped(answer))
}

impl Reward for Judge {
    fn spec(&self) -> &RewardSpec {
        &self.spec
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(all(items.iter().map(|item| self.one(item)).collect()))
    }
}

/// Why no verdict could be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests;
