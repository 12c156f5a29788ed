//! A judge as a config describes it, and what must hold of its options.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::calibrate::CalibrationConfig;
use super::prompt::{Kind, Prompt};

/// The verdict of a model behind an OpenAI-compatible endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JudgeConfig {
    /// Base URL of an OpenAI-compatible server, or `serve:NAME` for one that the run starts.
    pub endpoint: String,
    /// Base URLs of further servers of the same model; the one with the least to do is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_endpoints: Vec<String>,
    /// The model's name in requests.
    pub model: String,
    /// The name that the server gives itself in replies, where it is another than `model`; `*` takes any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_model: Option<String>,
    /// The prompt: `reference-v1`, `criteria-v1`, `pairwise-v1`, or `same-v1` for the small judge; of questions themselves,
    /// `verifiable-v1` or `clear-v1`.
    pub prompt: String,
    /// What `criteria-v1` asks, each answered yes or no by itself: `{ name, text, weight = 1, needs_image = false }`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub criteria: Vec<Criterion>,
    /// The column with the answer that `pairwise-v1` compares with; the ground truth when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Only answers that the rule `math` cannot compare with the ground truth are judged: what the rule finds equal gets 1
    /// and what it finds different 0, without a call.
    pub only_unknown: bool,
    /// The query's pictures are shown to the judge.
    pub needs_image: bool,
    /// The phase does not start when the judge agrees less than this with the rule on labelled items.
    pub min_balanced_accuracy: f64,
    /// The labelled items on which that is measured: `{ data, only = { COLUMN = VALUE }, seed = 0 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// How often a row with a known verdict is asked beside an answer: a share of the judged answers.
    pub canary_share: f64,
    /// The run stops when more than this share of the last 50 such rows were judged wrong.
    pub max_canary_failures: f64,
    /// Requests at a time to each server.
    pub max_concurrency: usize,
    /// Requests in any minute, over all servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens in any minute, over all servers; prompts and replies count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// What a run may spend: `{ calls, tokens, price, prompt_price, reply_price }`, prices a million tokens. At four fifths
    /// the run says so, and beyond it stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Seconds for one request.
    pub timeout_secs: f64,
    /// Seconds for one verdict with all its retries.
    pub deadline_secs: f64,
    /// Tries for one verdict when the server is overloaded or faulty.
    pub max_tries: u32,
    /// Seconds within which the second try comes; they double with each further one, up to 30.
    pub retry_base_secs: f64,
    /// A server that asks for a longer pause is asked again after this many seconds.
    pub max_retry_after_secs: f64,
    /// Longest reply, in tokens.
    pub max_tokens: u32,
    /// The judge's sampling temperature.
    pub temperature: f64,
    /// Verdicts on each answer, of which the majority counts; an odd number, with a temperature above 0.
    pub votes: u32,
    /// The seed of requests, jitter, fences and canaries.
    pub seed: u64,
    /// Longer answers are wrong without a call: a reference states its answer in less.
    pub longest_answer_chars: usize,
    /// Where verdicts are kept: `run` for the run's folder, `off`, or a folder that several runs may share.
    pub cache: String,
    /// The environment variable that holds the key; the key itself is never in a config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Further fields of the request, as vLLM and SGLang take them.
    pub extra_body: Map<String, Value>,
}

/// One question of a rubric, answered yes or no.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criterion {
    /// Its key in the verdict: lower-case letters, digits and `_`.
    pub name: String,
    /// What must hold of the answer.
    pub text: String,
    /// What a yes counts.
    #[serde(default = "one")]
    pub weight: f64,
    /// It can only be told with the query's pictures.
    #[serde(default)]
    pub needs_image: bool,
}

fn one() -> f64 {
    1.0
}

/// What a run may spend on a judge; what is left out has no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Requests, retries included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// Tokens of prompts and replies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money, in the currency of the prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
    /// Price of a million tokens of prompts.
    pub prompt_price: f64,
    /// Price of a million tokens of replies.
    pub reply_price: f64,
}

impl Default for JudgeConfig {
    fn default() -> Self {
        Self {
            endpoint: "serve:judge".to_owned(),
            more_endpoints: Vec::new(),
            model: "judge".to_owned(),
            served_model: None,
            prompt: "reference-v1".to_owned(),
            criteria: Vec::new(),
            against: None,
            only_unknown: false,
            needs_image: false,
            min_balanced_accuracy: 0.9,
            calibration: None,
            canary_share: 0.005,
            max_canary_failures: 0.02,
            max_concurrency: 8,
            requests_per_minute: None,
            tokens_per_minute: None,
            budget: None,
            timeout_secs: 60.0,
            deadline_secs: 180.0,
            max_tries: 5,
            retry_base_secs: 0.5,
            max_retry_after_secs: 30.0,
            max_tokens: 512,
            temperature: 0.0,
            votes: 1,
            seed: 0,
            longest_answer_chars: 1000,
            cache: "run".to_owned(),
            api_key_env: None,
            extra_body: Map::new(),
        }
    }
}

/// More criteria make one prompt too long to be judged well.
const MOST_CRITERIA: usize = 16;
/// More requests, tokens or characters than a judge is given.
const MOST_OF_ANYTHING: u64 = 1_000_000_000;

impl JudgeConfig {
    /// The NAME of `serve:NAME`, when the run is to start the judge.
    pub fn serve_name(&self) -> Option<&str> {
        self.endpoint.strip_prefix("serve:")
    }

    /// Takes over what another one says of where and how fast it is asked, and when it is given up: what a run may change
    /// when it goes on, since no verdict depends on it.
    pub fn asked_like(&mut self, other: &Self) {
        self.endpoint.clone_from(&other.endpoint);
        self.more_endpoints.clone_from(&other.more_endpoints);
        self.served_model.clone_from(&other.served_model);
        self.max_canary_failures = other.max_canary_failures;
        self.max_concurrency = other.max_concurrency;
        self.requests_per_minute = other.requests_per_minute;
        self.tokens_per_minute = other.tokens_per_minute;
        self.budget.clone_from(&other.budget);
        self.timeout_secs = other.timeout_secs;
        self.deadline_secs = other.deadline_secs;
        self.max_tries = other.max_tries;
        self.retry_base_secs = other.retry_base_secs;
        self.max_retry_after_secs = other.max_retry_after_secs;
        self.cache.clone_from(&other.cache);
        self.api_key_env.clone_from(&other.api_key_env);
    }

    /// Whether the judge is shown the query's pictures.
    pub fn shows_pictures(&self) -> bool {
        self.needs_image || self.criteria.iter().any(|criterion| criterion.needs_image)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let positive = [
            ("timeout_secs", self.timeout_secs),
            ("deadline_secs", self.deadline_secs),
            ("retry_base_secs", self.retry_base_secs),
            ("max_retry_after_secs", self.max_retry_after_secs),
        ];
        if let Some((key, value)) = positive.iter().find(|(_, value)| !(*value > 0.0 && *value <= 86_400.0)) {
            return Err(format!("{key} = {value}: it must be above 0 and at most a day"));
        }
        let shares = [
            ("min_balanced_accuracy", self.min_balanced_accuracy),
            ("canary_share", self.canary_share),
            ("max_canary_failures", self.max_canary_failures),
        ];
        if let Some((key, value)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(format!("{key} = {value}: it must be in 0..1"));
        }
        let counts = [
            ("max_concurrency", self.max_concurrency as u64),
            ("max_tries", self.max_tries.into()),
            ("longest_answer_chars", self.longest_answer_chars as u64),
            ("max_tokens", self.max_tokens.into()),
            ("requests_per_minute", self.requests_per_minute.map_or(1, u64::from)),
            ("tokens_per_minute", self.tokens_per_minute.map_or(1, u64::from)),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| !(1..=MOST_OF_ANYTHING).contains(count)) {
            return Err(format!("{key} must be at least 1 and at most {MOST_OF_ANYTHING}"));
        }
        if !(0.0..=2.0).contains(&self.temperature) {
            return Err(format!("temperature = {}: it must be in 0..2", self.temperature));
        }
        if self.votes.is_multiple_of(2) || self.votes > 15 {
            return Err(format!("votes = {}: it must be odd, at most 15, so that a majority is one", self.votes));
        }
        if self.votes > 1 && self.temperature == 0.0 {
            return Err("votes above 1 need a temperature above 0: without one, all votes are the same".to_owned());
        }
        if self.serve_name().is_some() && !self.more_endpoints.is_empty() {
            return Err("more_endpoints cannot stand beside a judge that the run serves".to_owned());
        }
        if self.cache.trim().is_empty() {
            return Err("cache must be `run`, `off` or a folder".to_owned());
        }
        for key in ["model", "messages", "seed", "temperature", "max_tokens"] {
            if self.extra_body.contains_key(key) {
                return Err(format!("extra_body.{key}: this field has an option or a place of its own"));
            }
        }
        self.budget.as_ref().map_or(Ok(()), Budget::check)?;
        self.check_prompt()
    }

    fn check_prompt(&self) -> Result<(), String> {
        let kind = Prompt::named(&self.prompt)?.kind();
        if (kind == Kind::Criteria) == self.criteria.is_empty() {
            return Err("criteria must be given for the prompt criteria-v1, and for no other".to_owned());
        }
        if self.only_unknown && kind != Kind::Reference {
            return Err("only_unknown is an option of prompts that compare with the ground truth".to_owned());
        }
        if self.against.is_some() && kind != Kind::Pairwise {
            return Err("against is an option of the prompt pairwise-v1".to_owned());
        }
        if self.criteria.len() > MOST_CRITERIA {
            return Err(format!("criteria: at most {MOST_CRITERIA}; use a second judge for more"));
        }
        let mut names = BTreeSet::new();
        for criterion in &self.criteria {
            let (name, weight) = (&criterion.name, criterion.weight);
            let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
            if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) {
                return Err(format!("criteria: the name `{name}` must be 1 to 32 of a-z, 0-9 and _"));
            }
            if !names.insert(name) {
                return Err(format!("criteria: the name `{name}` comes twice"));
            }
            if criterion.text.trim().is_empty() {
                return Err(format!("criteria: `{name}` has no text"));
            }
            if !(weight.is_finite() && weight > 0.0) {
                return Err(format!("criteria: the weight {weight} of `{name}` must be above 0"));
            }
        }
        Ok(())
    }
}

impl Budget {
    fn check(&self) -> Result<(), String> {
        for (key, price) in [("prompt_price", self.prompt_price), ("reply_price", self.reply_price)] {
            if !(price.is_finite() && price >= 0.0) {
                return Err(format!("budget.{key} = {price}: it must be 0 or more"));
            }
        }
        match self.price {
            Some(price) if !(price.is_finite() && price > 0.0) => {
                Err(format!("budget.price = {price}: it must be above 0"))
            }
            Some(_) if self.prompt_price + self.reply_price == 0.0 => {
                Err("budget.price needs prompt_price or reply_price, the prices of a million tokens".to_owned())
            }
            _ if self.calls == Some(0) || self.tokens == Some(0) => {
                Err("budget: calls and tokens must be at least 1".to_owned())
            }
            _ => Ok(()),
        }
    }
}
