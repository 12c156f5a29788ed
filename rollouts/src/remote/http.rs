//! JSON over HTTP to one server, and what came of it.

use std::sync::Once;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

/// Seconds to connect.
const CONNECT_SECS: u64 = 5;
/// Bytes of a reply at most.
const LONGEST_REPLY: usize = 256 << 20;
/// Characters of what a server says that are told on.
const LONGEST_MESSAGE: usize = 300;

/// What came of a request.
#[derive(Debug)]
pub(super) enum Got {
    /// The body of a reply that says success.
    Reply(String),
    /// The server cannot serve now; it may say after how long to ask again.
    Busy {
        /// What it said.
        message: String,
        /// When to ask again.
        after: Option<Duration>,
    },
    /// It failed at this request.
    Failed(String),
    /// There is no server, or the connection was lost.
    Lost {
        /// Why.
        message: String,
        /// Whether the server had been reached.
        reached: bool,
    },
    /// It did not answer in time.
    Late(String),
    /// It refuses.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
}

impl Got {
    /// What went wrong, in words.
    pub(super) fn message(self) -> String {
        match self {
            Self::Reply(_) => "it has answered".to_owned(),
            Self::Busy { message, .. }
            | Self::Failed(message)
            | Self::Lost { message, .. }
            | Self::Late(message)
            | Self::Refused { message, .. } => message,
        }
    }
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// Makes rustls use ring, once for the process.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody has installed a provider before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

impl Server {
    /// A server at a base URL, with the key that it wants.
    ///
    /// # Errors
    /// When the URL is none.
    pub(super) fn new(base: &str, key: Option<String>) -> Result<Self, String> {
        install_crypto();
        let base = base.trim_end_matches('/').trim_end_matches("/v1").to_owned();
        let parsed = reqwest::Url::parse(&base).map_err(|error| format!("`{base}` is not a URL: {error}"))?;
        let builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(CONNECT_SECS));
        // A proxy cannot reach this machine's own loopback.
        let local = parsed.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        let builder = if local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| format!("no HTTP client can be made: {error}"))?;
        Ok(Self { http, base, key })
    }

    /// Its base URL.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends a body, or none.
    pub(super) async fn post(&self, path: &str, body: Option<String>, limit: Duration) -> Got {
        let request = self.http.post(format!("{}{path}", self.base));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        self.send(request, path, limit).await
    }

    /// Asks for a page.
    pub(super) async fn get(&self, path: &str, limit: Duration) -> Got {
        self.send(self.http.get(format!("{}{path}", self.base)), path, limit).await
    }

    async fn send(&self, request: reqwest::RequestBuilder, path: &str, limit: Duration) -> Got {
        let request = match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        match timeout(limit, exchange(request)).await {
            Ok(Ok(got)) => got,
            Ok(Err(error)) => {
                let message = format!("{path} was lost: {}", innermost(&error));
                Got::Lost { message, reached: !error.is_connect() }
            }
            Err(_) => Got::Late(format!("{path} took longer than {:.0} s", limit.as_secs_f64().ceil())),
        }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<Got, reqwest::Error> {
    let mut response = request.send().await?;
    let status = response.status();
    let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let after = after.filter(|secs| (0.0..=86_400.0).contains(secs)).map(Duration::from_secs_f64);
    let mut reply = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        reply.extend_from_slice(&chunk);
        if reply.len() > LONGEST_REPLY {
            return Ok(Got::Failed("its reply has no end".to_owned()));
        }
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    let said = |reply: &str| format!("it answered {status}: {}", shortened(reply.trim()));
    Ok(match status.as_u16() {
        200..=299 => Got::Reply(reply),
        408 | 409 | 425 | 429 | 503 => Got::Busy { message: said(&reply), after },
        500..=599 => Got::Failed(said(&reply)),
        status => Got::Refused { status, message: said(&reply) },
    })
}

/// A reply as JSON.
///
/// # Errors
/// When it is none.
pub(super) fn json(reply: &str) -> Result<Value, String> {
    serde_json::from_str(reply).map_err(|error| format!("its reply is not JSON ({error}): {}", shortened(reply)))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// The last of the reasons that an error gives: the words of the system.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
