//! The HTTP side of a judge: one chat completion, tried again while that can help.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::Fault;
use super::config::JudgeConfig;
use super::endpoints::{Endpoint, Endpoints, is_served};
use super::limits::{Account, Rates, Spent, Usage};
use super::time::Time;
use super::verdict::{Form, Verdict};
use super::watch::Watch;
use crate::http::{Posted, pause};
use crate::number::shortened;
use crate::score::FailureKind;

/// Tries for a reply in which a verdict can be read.
const MOST_UNREADABLE: u32 = 3;
/// Tokens that a picture may take, for the limits, before the server has said.
const PICTURE_TOKENS: u64 = 1000;

/// What a judge is asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) text: String,
    /// Data URLs.
    pub(super) pictures: Vec<String>,
    pub(super) form: Arc<Form>,
    /// Which vote this is; further ones are sampled with another seed.
    pub(super) vote: u32,
}

/// A client of one judge.
pub(super) struct Client {
    endpoints: Endpoints,
    body: Map<String, Value>,
    rates: Rates,
    account: Account,
    config: JudgeConfig,
    pub(super) watch: Watch,
    time: Time,
}

/// What one try gave.
enum Try {
    Verdict(Verdict),
    /// A reply without a readable verdict.
    Unreadable(String),
    /// The server could not serve; it may say after how long to ask again.
    Busy {
        kind: FailureKind,
        message: String,
        after: Option<Duration>,
    },
    /// The server refuses, or is not the right one: asking again is useless.
    Refused(String),
}

impl Client {
    pub(super) fn new(base: &str, config: &JudgeConfig) -> Result<Self, String> {
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(config.model));
        // A whole number stays one: some servers are strict.
        let temperature = if config.temperature == 0.0 { json!(0) } else { json!(config.temperature) };
        body.insert("temperature".to_owned(), temperature);
        body.insert("max_tokens".to_owned(), json!(config.max_tokens));
        body.extend(config.extra_body.clone());
        Ok(Self {
            endpoints: Endpoints::new(base, config)?,
            body,
            rates: Rates::new(config),
            account: Account::new(config.budget.clone()),
            config: config.clone(),
            watch: Watch::default(),
            time: Time::default(),
        })
    }

    /// With another clock.
    #[cfg(test)]
    pub(super) fn with_time(self, time: Time) -> Self {
        Self { time, ..self }
    }

    #[cfg(test)]
    pub(super) fn time(&self) -> &Time {
        &self.time
    }

    /// The fields of every request that decide what the reply is.
    pub(super) fn sampling(&self) -> &Map<String, Value> {
        &self.body
    }

    /// What the servers say of the model that they serve.
    pub(super) async fn identify(&self) -> Result<String, String> {
        self.endpoints.identify(&self.config, self.time.now(), &self.watch).await
    }

    pub(super) fn spent(&self) -> Spent {
        self.account.spent()
    }

    pub(super) fn carry(&self, before: Spent) {
        self.account.carry(before);
    }

    /// The verdict on a question.
    pub(super) async fn ask(&self, question: &Question) -> Result<Verdict, Fault> {
        let until = self.time.now() + Duration::from_secs_f64(self.config.deadline_secs);
        let (mut unreadable, mut busy, mut last_endpoint) = (0, 0, None);
        let unavailable = |message: String| Fault { kind: FailureKind::Unavailable, message };
        loop {
            if let Some(reason) = self.watch.stopped() {
                return Err(unavailable(reason));
            }
            let flight = self.endpoints.choose(self.time.now(), last_endpoint);
            last_endpoint = Some(flight.index);
            let left = until.saturating_duration_since(self.time.now());
            let tried = match timeout(left, flight.endpoint.permits.acquire()).await {
                Ok(Ok(_permit)) => {
                    let guess = self.guess(question);
                    let Some(at) = self.rates.reserve(self.time.now(), until, guess.total()) else {
                        return Err(self.late("the limits on requests and tokens a minute leave no room"));
                    };
                    self.time.sleep_until(at).await;
                    self.account.admit(&self.watch).map_err(unavailable)?;
                    let seed =
                        self.config.seed.wrapping_add(u64::from(question.vote) << 32).wrapping_add(unreadable.into());
                    let limit = Duration::from_secs_f64(self.config.timeout_secs);
                    let limit = limit.min(until.saturating_duration_since(self.time.now()));
                    self.once(flight.endpoint, question, seed, limit, guess).await
                }
                Ok(Err(_)) | Err(_) => return Err(self.late("the judge had no free place")),
            };
            match &tried {
                Try::Busy { .. } => flight.endpoint.failed(self.time.now()),
                _ => flight.endpoint.served(),
            }
            drop(flight);
            let (last, pause) = match tried {
                Try::Verdict(verdict) => return Ok(verdict),
                Try::Refused(message) => {
                    self.watch.stop(message.clone());
                    return Err(unavailable(message));
                }
                Try::Unreadable(message) => {
                    unreadable += 1;
                    if unreadable >= MOST_UNREADABLE {
                        return Err(Fault { kind: FailureKind::Protocol, message });
                    }
                    (message, Duration::ZERO)
                }
                Try::Busy { kind, message: fault, after } => {
                    busy += 1;
                    if busy >= self.config.max_tries {
                        return Err(Fault { kind, message: format!("{fault}, after {busy} tries") });
                    }
                    let most = Duration::from_secs_f64(self.config.max_retry_after_secs);
                    let jitter = || pause(self.config.retry_base_secs, self.config.seed, &question.text, busy);
                    (fault, after.map_or_else(jitter, |after| after.min(most)))
                }
            };
            let again = self.time.now() + pause;
            if again >= until {
                return Err(self.late(&last));
            }
            if pause > Duration::ZERO {
                self.time.sleep_until(again).await;
            }
        }
    }

    fn guess(&self, question: &Question) -> Usage {
        let mut guess = Usage::guess(&question.text, self.config.max_tokens);
        guess.prompt += PICTURE_TOKENS * question.pictures.len() as u64;
        guess
    }

    fn late(&self, last: &str) -> Fault {
        let message = format!("no verdict within {} s; the last try: {last}", self.config.deadline_secs);
        Fault { kind: FailureKind::Timeout, message }
    }

    async fn once(&self, endpoint: &Endpoint, question: &Question, seed: u64, limit: Duration, guess: Usage) -> Try {
        match timeout(limit, self.exchange(endpoint, question, seed, guess)).await {
            Ok(tried) => tried,
            Err(_) => Try::Busy {
                kind: FailureKind::Timeout,
                message: format!("{} gave no reply within {} s", endpoint.poster.url(), limit.as_secs_f64()),
                after: None,
            },
        }
    }

    async fn exchange(&self, endpoint: &Endpoint, question: &Question, seed: u64, guess: Usage) -> Try {
        let content = if question.pictures.is_empty() {
            json!(question.text)
        } else {
            let pictures = question.pictures.iter().map(|url| json!({"type": "image_url", "image_url": {"url": url}}));
            Value::Array(pictures.chain([json!({"type": "text", "text": question.text})]).collect())
        };
        let mut body = self.body.clone();
        body.insert("messages".to_owned(), json!([{"role": "user", "content": content}]));
        body.insert("seed".to_owned(), json!(seed));
        match endpoint.poster.post(Value::Object(body).to_string()).await {
            Posted::Reply(reply) => {
                self.read(endpoint.poster.url(), &reply, question, guess).unwrap_or_else(Try::Unreadable)
            }
            Posted::Endless(message) => Try::Unreadable(message),
            Posted::Busy { message, after } => Try::Busy { kind: FailureKind::Unreachable, message, after },
            Posted::Refused(message) => Try::Refused(message),
        }
    }

    /// The verdict in the reply of a server.
    fn read(&self, url: &str, reply: &str, question: &Question, guess: Usage) -> Result<Try, String> {
        let value: Value =
            serde_json::from_str(reply).map_err(|error| format!("the judge's reply is no JSON: {error}"))?;
        let content = value.pointer("/choices/0/message/content").and_then(Value::as_str);
        let count = |key: &str| value["usage"][key].as_u64();
        let used = Usage {
            prompt: count("prompt_tokens").unwrap_or(guess.prompt),
            reply: count("completion_tokens").unwrap_or(content.map_or(0, |text| (text.len() as u64).div_ceil(4))),
        };
        self.rates.correct(guess.total(), used.total());
        self.account.charge(used, &self.watch);
        if let Some(name) = value["model"].as_str().filter(|name| !is_served(name, &self.config)) {
            return Ok(Try::Refused(format!(
                "{url} answered as the model `{}`, but the configured model is `{}`; start the right server, correct \
                 `model`, or name the other one as `served_model`",
                shortened(name),
                self.config.model
            )));
        }
        let content = content.ok_or("the judge's reply has no text at choices[0].message.content")?;
        let verdict = question.form.read(content).map(Try::Verdict);
        verdict.ok_or_else(|| format!("no verdict in the judge's reply: {}", shortened(content.trim())))
    }
}
