//! The HTTP side of a judge: one chat completion, tried again while that can help.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::Fault;
use super::config::JudgeConfig;
use super::endpoints::{Endpoint, Servers, is_served};
use super::limits::{Rates, Spending, Spent, Usage};
use super::watch::Watch;
use crate::net::{NoMore, Patience, Posted, Retry, Time};
use crate::score::FailureKind;
use crate::text::shortened;
use crate::verdict::{Form, Verdict};

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
    servers: Servers,
    body: Map<String, Value>,
    rates: Rates,
    spending: Spending,
    config: JudgeConfig,
    pub(super) watch: Watch,
    patience: Patience,
    time: Time,
}

fn unavailable(message: String) -> Fault {
    Fault { kind: FailureKind::Unavailable, message }
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
        let patience = Patience {
            tries: config.max_tries,
            base_secs: config.retry_base_secs,
            longest_after: Duration::from_secs_f64(config.max_retry_after_secs),
            seed: config.seed,
            ..Patience::within(Duration::from_secs_f64(config.deadline_secs))
        };
        Ok(Self {
            servers: Servers::new(base, config)?,
            body,
            rates: Rates::new(config),
            spending: Spending::new(config.budget.clone()),
            config: config.clone(),
            watch: Watch::default(),
            patience,
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
        self.servers.identify(&self.config, self.time.now(), &self.watch).await
    }

    pub(super) fn spent(&self) -> Spent {
        self.spending.spent()
    }

    pub(super) fn carry(&self, before: Spent) {
        self.spending.carry(before);
    }

    /// The verdict on a question.
    pub(super) async fn ask(&self, question: &Question) -> Result<Verdict, Fault> {
        let mut retry = Retry::new(&self.patience, &self.time, &question.text);
        let (mut unreadable, mut last_endpoint) = (0, None);
        loop {
            if let Some(reason) = self.watch.stopped() {
                return Err(unavailable(reason));
            }
            let flight = self.servers.choose(self.time.now(), last_endpoint);
            last_endpoint = Some(flight.index);
            // A reply without a verdict would come again with the same seed.
            let seed = self.config.seed.wrapping_add(u64::from(question.vote) << 32).wrapping_add(unreadable.into());
            let tried = self.admitted(flight.endpoint, question, seed, retry.until()).await?;
            match &tried {
                Try::Busy { .. } => flight.endpoint.failed(self.time.now()),
                _ => flight.endpoint.served(),
            }
            drop(flight);
            match tried {
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
                    if retry.left().is_zero() {
                        return Err(self.late(&message));
                    }
                }
                Try::Busy { kind, message, after } => retry.wait(after).await.map_err(|no_more| match no_more {
                    NoMore::Tries(tries) => Fault { kind, message: format!("{message}, after {tries} tries") },
                    NoMore::Time => self.late(&message),
                })?,
            }
        }
    }

    /// One try, as soon as the server, the limits and the budget have room for it.
    async fn admitted(
        &self,
        endpoint: &Endpoint,
        question: &Question,
        seed: u64,
        until: Instant,
    ) -> Result<Try, Fault> {
        let left = || until.saturating_duration_since(self.time.now());
        let Ok(Ok(_permit)) = timeout(left(), endpoint.permits.acquire()).await else {
            return Err(self.late("the judge had no free place"));
        };
        let guess = self.guess(question);
        let Some(at) = self.rates.reserve(self.time.now(), until, guess.total()) else {
            return Err(self.late("the limits on requests and tokens a minute leave no room"));
        };
        self.time.sleep_until(at).await;
        self.spending.admit(&self.watch).map_err(unavailable)?;
        let limit = Duration::from_secs_f64(self.config.timeout_secs).min(left());
        Ok(self.once(endpoint, question, seed, limit, guess).await)
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
            serde_json::from_str(reply).map_err(|error| format!("the judge's reply is not JSON: {error}"))?;
        let content = value.pointer("/choices/0/message/content").and_then(Value::as_str);
        let count = |key: &str| value["usage"][key].as_u64();
        let used = Usage {
            prompt: count("prompt_tokens").unwrap_or(guess.prompt),
            reply: count("completion_tokens").unwrap_or(content.map_or(0, |text| (text.len() as u64).div_ceil(4))),
        };
        self.rates.correct(guess.total(), used.total());
        self.spending.charge(used, &self.watch);
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
