//! Judges: a model behind an OpenAI-compatible endpoint says whether an answer states the same as the reference, whether
//! criteria hold of it, whether it is better than another, or whether a question is one that can be verified.

mod cache;
pub mod calibrate;
mod canary;
mod client;
mod config;
mod endpoints;
mod limits;
mod prefilter;
mod prompt;
mod question;
mod store;
mod watch;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::future::join_all;
use sapo_datasets::{Picture, Query};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Result, RewardError};
use crate::extract::{self, capped, last_answer_tag, last_box, unwrapped};
use crate::kind::{Endpoints, Example, Kind as RewardKind, Verifier};
use crate::reward::{Item, Reward, RewardSpec, Scoring};
use crate::score::{FailureKind, PartScore};
use crate::text::accepted;
use crate::verifiers::{math, truth};
use cache::Cache;
pub use calibrate::{Calibration, CalibrationConfig, LabelledPair};
use canary::Flock;
use client::Client;
pub use config::{Budget, Criterion, JudgeConfig};
use limits::Spent;
pub use prefilter::refused;
pub use prompt::{Kind, Prompt, PromptParts};
use question::Case;

/// What a judged part measured beside its verdict: the value that the exact rule gives, where the data names one.
pub const RULE: &str = "rule";

/// How often a judge was needed, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JudgeCounts {
    /// Requests that were sent, retries included.
    pub calls: u64,
    /// Tokens of prompts.
    pub prompt_tokens: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
    /// Answers without a verdict.
    pub failed: u64,
    /// Verdicts that were known, or asked for at the same time.
    pub cache_hits: u64,
    /// Answers that were wrong without a call.
    pub refused: u64,
    /// Rows with a known verdict that were asked beside the others.
    pub canaries: u64,
    /// Those of them that were judged wrongly.
    pub canary_failures: u64,
    /// Judged answers that an exact rule can tell as well.
    pub ruled: u64,
    /// Those of them of which the rule says the same.
    pub rule_agrees: u64,
}

/// A judge that is ready to be asked.
pub struct Judge {
    spec: RewardSpec,
    config: JudgeConfig,
    prompt: Prompt,
    client: Client,
    cache: Cache,
    flock: Flock,
    /// What its servers say of their model, once they were asked.
    identity: OnceLock<String>,
    failed: AtomicU64,
    refused: AtomicU64,
    ruled: AtomicU64,
    rule_agrees: AtomicU64,
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
                    format!("endpoint = \"serve:{server}\": the run serves no judge of that name; give a URL instead");
                RewardError::reward(name, reason)
            })?,
        };
        let prompt = Prompt::named(&config.prompt).map_err(|reason| RewardError::reward(name, reason))?;
        let client = Client::new(&base, config).map_err(|reason| RewardError::reward(name, reason))?;
        let criteria = question::criteria_digest(&config.criteria);
        let spec = RewardSpec {
            version: format!("judge/2 {}{criteria}{}", prompt.version(), rule_before(config)),
            needs_pictures: config.shows_pictures(),
            deterministic: config.temperature == 0.0,
            ..RewardSpec::rule(name, "")
        };
        Ok(Self {
            spec,
            config: config.clone(),
            prompt,
            client,
            cache: Cache::default(),
            flock: Flock::default(),
            identity: OnceLock::new(),
            failed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            ruled: AtomicU64::new(0),
            rule_agrees: AtomicU64::new(0),
        })
    }

    /// The options it was made with.
    pub fn config(&self) -> &JudgeConfig {
        &self.config
    }

    /// How often it was needed.
    pub fn counts(&self) -> JudgeCounts {
        let spent = self.client.spent();
        let (canaries, canary_failures) = self.flock.counts();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        JudgeCounts {
            calls: spent.calls,
            prompt_tokens: spent.prompt_tokens,
            reply_tokens: spent.reply_tokens,
            failed: count(&self.failed),
            cache_hits: self.cache.hits(),
            refused: count(&self.refused),
            canaries,
            canary_failures,
            ruled: count(&self.ruled),
            rule_agrees: count(&self.rule_agrees),
        }
    }

    /// What this run has spent on it before it was resumed counts in its budget.
    pub fn carry(&self, calls: u64, prompt_tokens: u64, reply_tokens: u64) {
        self.client.carry(Spent { calls, prompt_tokens, reply_tokens });
    }

    /// Why nothing can be judged any more: a refusing or wrong server, a budget that is used up, or failed canaries. The
    /// run has to stop.
    pub fn stopped(&self) -> Option<String> {
        self.client.watch.stopped()
    }

    /// What people should know, since it was last asked for.
    pub fn take_notes(&self) -> Vec<String> {
        self.client.watch.take_notes()
    }

    /// Whether its servers can be reached, accept the key and serve the configured model.
    ///
    /// # Errors
    /// When nobody listens there, or it is the wrong one.
    pub async fn reach(&self) -> Result<()> {
        let told = self.client.identify().await;
        let told = told.map_err(|reason| RewardError::reward(&self.spec.name, format!("the judge at {reason}")))?;
        self.identity.get_or_init(|| told);
        Ok(())
    }

    /// Opens the cache on disk as the config says; `run` is the run's folder. To be called after [`Judge::reach`]: what
    /// is kept is kept for the model that is served. A cache that cannot be used is no error but a note.
    pub fn open_cache(&self, run: Option<&Path>) {
        let folder = match (self.config.cache.as_str(), run) {
            ("off", _) | ("run", None) => return,
            ("run", Some(run)) => run.join("judge-cache"),
            (folder, _) => Path::new(folder).to_owned(),
        };
        if self.identity.get().is_some() {
            let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
            let name: String = self.spec.name.chars().map(plain).collect();
            self.cache.open(&folder, &name, &self.client.watch);
        }
    }

    /// Whether `answer` states the same as `reference` (or whatever else its prompt asks), as the judge says.
    pub async fn same(&self, question: &str, reference: &str, answer: &str) -> PartScore {
        self.judge(&Case { question, reference, answer: answer.trim(), pictures: &[] }, false).await
    }

    async fn one(&self, item: &Item<'_>) -> PartScore {
        let reference = match self.reference(item.query) {
            Ok(reference) => reference,
            Err(fault) => return PartScore::failed(FailureKind::GroundTruth, fault),
        };
        let pictures: &[Picture] = if self.config.shows_pictures() { &item.query.images } else { &[] };
        let answer = match self.prompt.kind() {
            Kind::Query => "",
            _ => match extract::answer(item.transcript) {
                Some(answer) => final_part(answer).trim(),
                None => return PartScore::verdict(false, "not asked: the thinking is not closed"),
            },
        };
        if self.config.only_unknown
            && let Some(known) = known_by_rule(item)
        {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return known;
        }
        let question = item.query.question();
        let case = Case { question: &question, reference: &reference, answer, pictures };
        let mut score = self.judge(&case, true).await;
        if let Some(ruled) = self.compare_with_rule(item, &score) {
            score.metrics.insert(RULE.to_owned(), ruled);
        }
        score
    }

    /// What the answer is compared with; empty where criteria are asked of queries without a ground truth.
    fn reference(&self, query: &Query) -> std::result::Result<String, String> {
        if self.config.shows_pictures() && query.images.is_empty() {
            return Err("the judge needs a picture, and the query has none".to_owned());
        }
        if let Some(column) = &self.config.against {
            let text = query.columns.get(column).and_then(Value::as_str);
            let missing = || format!("the query `{}` has no text in its column `{column}`", query.id);
            return text.map(str::to_owned).ok_or_else(missing);
        }
        if self.prompt.kind() == Kind::Query {
            // A truth that is no text, such as a box, is shown as it stands; without one the judge sees that there is none.
            let truth = query.ground_truth.as_ref().filter(|truth| !truth.is_null());
            let text = |truth: &Value| accepted(truth).map_or_else(|_| truth.to_string(), |texts| texts.join(" or "));
            return Ok(truth.map(text).unwrap_or_default());
        }
        match query.ground_truth.as_ref().map(accepted) {
            Some(Ok(texts)) if self.prompt.kind() == Kind::Pairwise => Ok(texts.into_iter().next().unwrap_or_default()),
            Some(Ok(texts)) => Ok(texts.join(" or ")),
            None | Some(Err(_)) if self.prompt.kind() == Kind::Criteria => Ok(String::new()),
            Some(Err(fault)) => Err(fault),
            None => Err("the query has no reference answer to judge by".to_owned()),
        }
    }

    /// Where the data names an exact rule, how often the judge agrees with it is known: gives what the rule says.
    fn compare_with_rule(&self, item: &Item<'_>, score: &PartScore) -> Option<f64> {
        let named = item.query.columns.get("reward_kind").is_some_and(Value::is_string);
        let (judged, true, Kind::Reference) = (score.outcome.value()?, named, self.prompt.kind()) else { return None };
        let ruled = truth::score(item).outcome.value()?;
        self.ruled.fetch_add(1, Ordering::Relaxed);
        self.rule_agrees.fetch_add(u64::from((ruled >= 0.5) == (judged >= 0.5)), Ordering::Relaxed);
        Some(ruled)
    }
}

/// The rule that is asked before the judge, as part of the version of its verdicts.
fn rule_before(config: &JudgeConfig) -> String {
    if config.only_unknown { format!(" only-unknown {}", math::Math::VERSION) } else { String::new() }
}

/// What the rule of mathematics says of an answer, where it can tell.
fn known_by_rule(item: &Item<'_>) -> Option<PartScore> {
    let truth = item.query.ground_truth.as_ref()?;
    let score = math::score(truth, extract::answer(item.transcript)?);
    let unknown = score.metrics.get(math::UNKNOWN).is_none_or(|unknown| *unknown > 0.0);
    let evidence = score.evidence.clone().unwrap_or_default();
    (!unknown).then(|| PartScore { evidence: Some(format!("not asked: {evidence}")), ..score })
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

    fn check_truth(&self, query: &Query) -> std::result::Result<(), String> {
        self.reference(query).map(drop)
    }

    fn score<'a>(&'a self, items: &'a [Item<'a>]) -> Scoring<'a> {
        Box::pin(join_all(items.iter().map(|item| self.one(item))))
    }
}

impl RewardKind for JudgeConfig {
    fn build(&self, name: &str, served: &Endpoints) -> Result<Arc<dyn Reward>> {
        Ok(Arc::new(Judge::new(name, self, served)?))
    }

    fn example() -> Example {
        Example::unscored("a red bus", "a bus that is red")
    }
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

#[cfg(test)]
mod tests;
