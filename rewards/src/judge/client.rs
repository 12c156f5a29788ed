//! The HTTP side of a judge: one chat completion, tried again while that can help.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::verdict::verdict;
use super::{Fault, JudgeConfig};
use crate::http::{Posted, Poster, pause};
use crate::number::shortened;
use crate::score::FailureKind;

/// A longer reply is no verdict; reading stops there.
const LONGEST_REPLY_BYTES: usize = 1 << 20;
/// Tries for a reply in which a verdict can be read.
const MOST_UNREADABLE: u32 = 3;

/// A client of one judge.
pub(super) struct Client {
    poster: Poster,
    body: Map<String, Value>,
    permits: Semaphore,
    calls: AtomicU64,
    request_limit: Duration,
    deadline: Duration,
    max_tries: u32,
    retry_base_secs: f64,
    seed: u64,
}

/// What one try gave.
enum Try {
    Verdict(bool),
    /// A reply without a readable verdict.
    Unreadable(String),
    /// The server could not serve; it may say after how long to ask again.
    Busy {
        kind: FailureKind,
        message: String,
        after: Option<Duration>,
    },
    /// The server refuses: asking again is useless.
    Refused(String),
}

impl Client {
    pub(super) fn new(base: &str, config: &JudgeConfig) -> std::result::Result<Self, String> {
        let base = base.trim_end_matches('/');
        let url = if base.ends_with("/v1") {
            format!("{base}/chat/completions")
        } else {
            format!("{base}/v1/chat/completions")
        };
        let poster = Poster::new(url, "judge", config.api_key_env.as_deref(), LONGEST_REPLY_BYTES)
            .map_err(|reason| format!("endpoint = \"{base}\": {reason}"))?;
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(config.model));
        body.insert("temperature".to_owned(), json!(0));
        body.insert("max_tokens".to_owned(), json!(config.max_tokens));
        body.extend(config.extra_body.clone());
        Ok(Self {
            poster,
            body,
            permits: Semaphore::new(config.max_concurrency.min(Semaphore::MAX_PERMITS)),
            calls: AtomicU64::new(0),
            request_limit: Duration::from_secs_f64(config.timeout_secs),
            deadline: Duration::from_secs_f64(config.deadline_secs),
            max_tries: config.max_tries,
            retry_base_secs: config.retry_base_secs,
            seed: config.seed,
        })
    }

    /// Whether anybody listens at the endpoint, whatever it replies.
    pub(super) async fn reach(&self) -> std::result::Result<(), String> {
        self.poster.reach(&self.poster.url().replace("/chat/completions", "/models")).await
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The verdict on a message.
    pub(super) async fn ask(&self, message: &str) -> std::result::Result<bool, Fault> {
        let until = Instant::now() + self.deadline;
        let (mut unreadable, mut busy) = (0, 0);
        loop {
            let seed = self.seed.wrapping_add(u64::from(unreadable));
            let left = until.saturating_duration_since(Instant::now());
            let tried = match timeout(left, self.permits.acquire()).await {
                Ok(Ok(_permit)) => self.once(message, seed, until).await,
                Ok(Err(_)) | Err(_) => return Err(self.late("the judge had no free place")),
            };
            let (last, pause) = match tried {
                Try::Verdict(same) => return Ok(same),
                Try::Refused(message) => return Err(Fault { kind: FailureKind::Unavailable, message }),
                Try::Unreadable(message) => {
                    unreadable += 1;
                    if unreadable >= MOST_UNREADABLE {
                        return Err(Fault { kind: FailureKind::Protocol, message });
                    }
                    (message, Duration::ZERO)
                }
                Try::Busy { kind, message: fault, after } => {
                    busy += 1;
                    if busy >= self.max_tries {
                        return Err(Fault { kind, message: format!("{fault}, after {busy} tries") });
                    }
                    (fault, after.unwrap_or_else(|| self.pause(message, busy)))
                }
            };
            if Instant::now() + pause >= until {
                return Err(self.late(&last));
            }
            sleep(pause).await;
        }
    }

    fn late(&self, last: &str) -> Fault {
        let message = format!("no verdict within {} s; the last try: {last}", self.deadline.as_secs_f64());
        Fault { kind: FailureKind::Timeout, message }
    }

    fn pause(&self, message: &str, tries: u32) -> Duration {
        pause(self.retry_base_secs, self.seed, message, tries)
    }

    async fn once(&self, message: &str, seed: u64, until: Instant) -> Try {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let limit = self.request_limit.min(until.saturating_duration_since(Instant::now()));
        match timeout(limit, self.exchange(message, seed)).await {
            Ok(tried) => tried,
            Err(_) => Try::Busy {
                kind: FailureKind::Timeout,
                message: format!("{} gave no reply within {} s", self.poster.url(), limit.as_secs_f64()),
                after: None,
            },
        }
    }

    async fn exchange(&self, message: &str, seed: u64) -> Try {
        let mut body = self.body.clone();
        body.insert("messages".to_owned(), json!([{"role": "user", "content": message}]));
        body.insert("seed".to_owned(), json!(seed));
        match self.poster.post(Value::Object(body).to_string()).await {
            Posted::Reply(reply) => read(&reply).unwrap_or_else(Try::Unreadable),
            Posted::Endless(message) => Try::Unreadable(message),
            Posted::Busy { message, after } => Try::Busy { kind: FailureKind::Unreachable, message, after },
            Posted::Refused(message) => Try::Refused(message),
        }
    }
}

/// The verdict in the reply of a server.
fn read(reply: &str) -> std::result::Result<Try, String> {
    let value: Value = serde_json::from_str(reply).map_err(|error| format!("the judge's reply is no JSON: {error}"))?;
    let content = value.pointer("/choices/0/message/content").and_then(Value::as_str);
    let content = content.ok_or("the judge's reply has no text at choices[0].message.content")?;
    verdict(content)
        .map(Try::Verdict)
        .ok_or_else(|| format!("no verdict in the judge's reply: {}", shortened(content.trim())))
}
