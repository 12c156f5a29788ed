//! `kind = "http"`: a reward behind a URL that takes the same JSON as a process does.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::protocol::{ReplyFault, read_reply, request};
use crate::net::{NoMore, Patience, Posted, Poster, Retry, Time};
use crate::reward::Role;
use crate::score::{FailureKind, PartScore};

/// A longer reply is refused; reading stops there.
const LONGEST_REPLY_BYTES: usize = 64 << 20;

/// A server that takes the JSON of `process` as a POST.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where requests are sent to.
    pub url: String,
    /// Requests at a time.
    pub workers: usize,
    /// Items in a request at most.
    pub batch_size: usize,
    /// Seconds for one try.
    pub timeout_secs: f64,
    /// Seconds for one request with all its tries.
    pub deadline_secs: f64,
    /// Tries when the server is overloaded or faulty.
    pub max_tries: u32,
    /// Seconds before the second try, doubling with each further one, with jitter, up to 30.
    pub retry_base_secs: f64,
    /// The environment variable that holds the key; the key itself is never in a config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The least and the greatest value; others are failures.
    pub range: [f64; 2],
    /// What it is for, as `role` of `process`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            workers: 2,
            batch_size: 64,
            timeout_secs: 30.0,
            deadline_secs: 120.0,
            max_tries: 5,
            retry_base_secs: 0.5,
            api_key_env: None,
            range: [0.0, 1.0],
            role: None,
        }
    }
}

impl HttpConfig {
    /// The sender to its URL.
    pub(super) fn poster(&self) -> Result<Poster, String> {
        let secs = [
            ("timeout_secs", self.timeout_secs),
            ("deadline_secs", self.deadline_secs),
            ("retry_base_secs", self.retry_base_secs),
        ];
        for (key, value) in secs {
            super::check_secs(key, value)?;
        }
        super::check_counts(self.workers, self.batch_size)?;
        super::check_range(self.range)?;
        if self.max_tries == 0 {
            return Err("max_tries must be at least 1".to_owned());
        }
        Poster::new(self.url.clone(), "reward server", self.api_key_env.as_deref(), LONGEST_REPLY_BYTES)
            .map_err(|reason| format!("url = \"{}\": {reason}", self.url))
    }
}

/// One of the threads that send requests; each has its own connection.
pub(super) struct Sender {
    config: Arc<HttpConfig>,
    poster: Poster,
    runtime: Runtime,
    requests: u64,
}

impl Sender {
    pub(super) fn new(config: Arc<HttpConfig>) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no connection to the reward server: {error}"))?;
        Ok(Self { poster: config.poster()?, config, runtime, requests: 0 })
    }

    /// One part score for each item, in order; when the request fails, all of them fail.
    pub(super) fn score(&mut self, items: &[Value]) -> Vec<PartScore> {
        self.requests += 1;
        let sending = send(&self.config, &self.poster, self.requests, items);
        self.runtime
            .block_on(sending)
            .unwrap_or_else(|(kind, message)| vec![PartScore::failed(kind, message); items.len()])
    }
}

/// Why a request failed.
type Fault = (FailureKind, String);

async fn send(config: &HttpConfig, poster: &Poster, id: u64, items: &[Value]) -> Result<Vec<PartScore>, Fault> {
    let body = request(id, items);
    let patience = Patience {
        tries: config.max_tries,
        base_secs: config.retry_base_secs,
        ..Patience::within(Duration::from_secs_f64(config.deadline_secs))
    };
    let time = Time::default();
    let mut retry = Retry::new(&patience, &time, &body);
    loop {
        let limit = Duration::from_secs_f64(config.timeout_secs).min(retry.left());
        let (kind, message, after) = match timeout(limit, poster.post(body.clone())).await {
            Ok(Posted::Reply(reply)) => {
                return read_reply(&reply, id, items.len()).map_err(|fault| match fault {
                    ReplyFault::Refused(reason) | ReplyFault::Broken(reason) => {
                        (FailureKind::Protocol, format!("{}: {reason}", poster.url()))
                    }
                });
            }
            Ok(Posted::Endless(message)) => return Err((FailureKind::Protocol, message)),
            Ok(Posted::Refused(message)) => return Err((FailureKind::Unavailable, message)),
            Ok(Posted::Busy { message, after }) => (FailureKind::Unreachable, message, after),
            Err(_) => {
                let message = format!("{} gave no reply within {} s", poster.url(), limit.as_secs_f64());
                (FailureKind::Timeout, message, None)
            }
        };
        match retry.wait(after).await {
            Ok(()) => {}
            Err(NoMore::Tries(tries)) => return Err((kind, format!("{message}, after {tries} tries"))),
            Err(NoMore::Time) => {
                let secs = config.deadline_secs;
                return Err((FailureKind::Timeout, format!("no scores within {secs} s; the last try: {message}")));
            }
        }
    }
}
