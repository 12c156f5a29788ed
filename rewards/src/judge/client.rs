//! The HTTP side of a judge: one chat completion, tried again while that can help.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::verdict::verdict;
use super::{Fault, JudgeConfig};
use crate::number::shortened;
use crate::score::FailureKind;

/// A longer reply is no verdict; reading stops there.
const LONGEST_REPLY_BYTES: usize = 1 << 20;
/// Longest pause between two tries.
const LONGEST_PAUSE_SECS: f64 = 30.0;
/// Tries for a reply in which a verdict can be read.
const MOST_UNREADABLE: u32 = 3;
/// Seconds to connect.
const CONNECT_SECS: u64 = 5;

/// Makes rustls use ring, once for the process.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody has installed a provider before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// A client of one judge.
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
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
        install_crypto();
        let base = base.trim_end_matches('/');
        let url = if base.ends_with("/v1") {
            format!("{base}/chat/completions")
        } else {
            format!("{base}/v1/chat/completions")
        };
        let parsed = reqwest::Url::parse(&url).map_err(|error| format!("endpoint = \"{base}\": {error}"))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(format!("endpoint = \"{base}\": it must begin with http:// or https://, or be serve:NAME"));
        }
        let builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(CONNECT_SECS));
        // A proxy cannot reach this machine's own loopback.
        let local = parsed.host_str().is_some_and(|host| host == "localhost" || host == "127.0.0.1" || host == "[::1]");
        let builder = if local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| format!("no HTTP client can be made: {error}"))?;
        let key = match &config.api_key_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                format!("api_key_env = \"{name}\": the environment has no such variable; set it to the judge's key")
            })?),
        };
        let mut body = Map::new();
        body.insert("model".to_owned(), json!(config.model));
        body.insert("temperature".to_owned(), json!(0));
        body.insert("max_tokens".to_owned(), json!(config.max_tokens));
        body.extend(config.extra_body.clone());
        Ok(Self {
            http,
            url,
            key,
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
        let url = self.url.replace("/chat/completions", "/models");
        match timeout(Duration::from_secs(2 * CONNECT_SECS), self.http.get(&url).send()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("{url} cannot be reached: {}", innermost(&error))),
            Err(_) => Err(format!("{url} does not reply")),
        }
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

    /// Doubles with each try, with jitter that depends on the seed and the message alone.
    fn pause(&self, message: &str, tries: u32) -> Duration {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(tries.to_le_bytes());
        hash.update(message.as_bytes());
        let share = f64::from(hash.finalize()[0]) / 255.0;
        let longest = (self.retry_base_secs * 2_f64.powi(tries.min(30) as i32 - 1)).min(LONGEST_PAUSE_SECS);
        Duration::from_secs_f64(longest * (0.5 + 0.5 * share))
    }

    async fn once(&self, message: &str, seed: u64, until: Instant) -> Try {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let limit = self.request_limit.min(until.saturating_duration_since(Instant::now()));
        match timeout(limit, self.exchange(message, seed)).await {
            Ok(tried) => tried,
            Err(_) => Try::Busy {
                kind: FailureKind::Timeout,
                message: format!("{} gave no reply within {} s", self.url, limit.as_secs_f64()),
                after: None,
            },
        }
    }

    async fn exchange(&self, message: &str, seed: u64) -> Try {
        let mut body = self.body.clone();
        body.insert("messages".to_owned(), json!([{"role": "user", "content": message}]));
        body.insert("seed".to_owned(), json!(seed));
        let request = self.http.post(&self.url).header("content-type", "application/json");
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let mut response = match request.body(Value::Object(body).to_string()).send().await {
            Ok(response) => response,
            Err(error) => return self.unreachable(&error),
        };
        let status = response.status();
        let after =
            response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
        let after = after.filter(|secs| (0.0..=86_400.0).contains(secs)).map(Duration::from_secs_f64);
        let mut reply = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) => reply.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return self.unreachable(&error),
            }
            if reply.len() > LONGEST_REPLY_BYTES {
                return Try::Unreadable(format!("{} gave a reply without an end", self.url));
            }
        }
        let reply = String::from_utf8_lossy(&reply);
        let said = || format!("{} answered {status}: {}", self.url, shortened(reply.trim()));
        match status.as_u16() {
            200..=299 => read(&reply).unwrap_or_else(Try::Unreadable),
            408 | 409 | 425 | 429 | 500..=599 => Try::Busy { kind: FailureKind::Unreachable, message: said(), after },
            _ => Try::Refused(said()),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Try {
        let cause = innermost(error);
        let message = format!("{} cannot be reached: {cause}; is the judge running?", self.url);
        Try::Busy { kind: FailureKind::Unreachable, message, after: None }
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

/// The last of the reasons that an error gives: the words of the system.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
