//! A REST API: JSON to a server and back, one request at a time, for whoever is told of things and must not hold them up.

use std::fmt;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::http::{innermost, install_crypto};

/// Seconds to connect.
const CONNECT_SECS: u64 = 5;
/// Seconds for a whole request.
const REQUEST_SECS: u64 = 15;
/// Signs of a server's words that are passed on.
const SAID: usize = 300;

/// Why a request came to nothing.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// What it is about is not there.
    NotThere(String),
    /// The server is not there, or cannot serve now.
    Gone(String),
    /// The server does not want it.
    Refused(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotThere(reason) | Self::Gone(reason) | Self::Refused(reason)) = self;
        to.write_str(reason)
    }
}

/// A server with a REST API. It blocks, and is not for threads that run futures.
pub struct Rest {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
    runtime: Runtime,
}

impl Rest {
    /// A server that was not asked yet, with the bearer token that an environment variable holds.
    ///
    /// # Errors
    /// When the address is none, the variable is not set, or no client can be made.
    pub fn new(base: &str, token_env: Option<&str>) -> Result<Self, String> {
        let token = match token_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| format!("the environment has no variable {name}"))?),
        };
        install_crypto();
        let parsed = reqwest::Url::parse(base).map_err(|error| format!("{base}: {error}"))?;
        let builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(CONNECT_SECS))
            .timeout(Duration::from_secs(REQUEST_SECS))
            // Between requests nobody looks after connections, so that one that the server has closed would be used again.
            .pool_max_idle_per_host(0);
        // A proxy cannot reach this machine's own loopback.
        let local = parsed.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        let builder = if local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| format!("no HTTP client can be made: {error}"))?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime can be made: {error}"))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), token, runtime })
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for something; `what` is a path behind the base.
    ///
    /// # Errors
    /// When it is not there, or the server does not give it.
    pub fn get(&self, what: &str, query: &[(&str, &str)]) -> Result<Value, Refusal> {
        let mut url = self.url(what)?;
        url.query_pairs_mut().extend_pairs(query);
        self.send(self.http.get(url))
    }

    /// Sends something; `what` is a path behind the base.
    ///
    /// # Errors
    /// When the server does not take it.
    pub fn post(&self, what: &str, body: &Value) -> Result<Value, Refusal> {
        let request = self.http.post(self.url(what)?).header("content-type", "application/json");
        self.send(request.body(body.to_string()))
    }

    fn url(&self, what: &str) -> Result<reqwest::Url, Refusal> {
        let url = format!("{}/{what}", self.base);
        reqwest::Url::parse(&url).map_err(|error| Refusal::Refused(format!("{url}: {error}")))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, Refusal> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let gone =
            |error: &reqwest::Error| Refusal::Gone(format!("{} cannot be reached: {}", self.base, innermost(error)));
        let answer = self.runtime.block_on(async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.bytes().await?))
        });
        let (status, body) = answer.map_err(|error| gone(&error))?;
        let text = String::from_utf8_lossy(&body);
        let said = || {
            let short: String = text.trim().chars().take(SAID).collect();
            format!("{} answered {status}: {short}", self.base)
        };
        match status {
            200..=299 => serde_json::from_slice(&body).map_err(|_| Refusal::Refused(said())),
            404 => Err(Refusal::NotThere(said())),
            408 | 429 | 500..=599 => Err(Refusal::Gone(said())),
            _ => Err(Refusal::Refused(said())),
        }
    }
}
