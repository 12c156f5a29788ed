//! JSON over HTTP: one POST, and what came of it.

use std::sync::Once;
use std::time::Duration;

use tokio::time::timeout;

use crate::text::shortened;

/// Seconds to connect.
const CONNECT_SECS: u64 = 5;

/// Makes rustls use ring, once for the process.
pub(super) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody has installed a provider before, which is as good.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// What came of one POST.
pub(crate) enum Posted {
    /// The body of a reply that says success.
    Reply(String),
    /// The body is longer than it may be.
    Endless(String),
    /// The server could not serve; it may say after how long to ask again.
    Busy { message: String, after: Option<Duration> },
    /// The server refuses: asking again is useless.
    Refused(String),
}

/// Sends JSON to one URL.
pub(crate) struct Poster {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
    /// What the server is called in messages.
    role: &'static str,
    longest_reply: usize,
}

impl Poster {
    /// A sender to `url`, with the key that an environment variable holds.
    pub(crate) fn new(
        url: String,
        role: &'static str,
        key_variable: Option<&str>,
        longest_reply: usize,
    ) -> Result<Self, String> {
        install_crypto();
        let parsed = reqwest::Url::parse(&url).map_err(|error| error.to_string())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err("it must begin with http:// or https://".to_owned());
        }
        let builder = reqwest::Client::builder().connect_timeout(Duration::from_secs(CONNECT_SECS));
        // A proxy cannot reach this machine's own loopback.
        let local = parsed.host_str().is_some_and(|host| host == "localhost" || host == "127.0.0.1" || host == "[::1]");
        let builder = if local { builder.no_proxy() } else { builder };
        let http = builder.build().map_err(|error| format!("no HTTP client can be made: {error}"))?;
        let key = match key_variable {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                format!("api_key_env = \"{name}\": the environment has no such variable; set it to the {role}'s key")
            })?),
        };
        Ok(Self { http, url, key, role, longest_reply })
    }

    /// Where it sends to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a URL of the same server gives: status and body.
    pub(crate) async fn get(&self, url: &str) -> Result<(u16, String), String> {
        let asked = async {
            let mut response = self.with_key(self.http.get(url)).send().await?;
            let mut reply = Vec::new();
            while let Some(chunk) = response.chunk().await? {
                if reply.len() + chunk.len() > self.longest_reply {
                    break;
                }
                reply.extend_from_slice(&chunk);
            }
            Ok::<_, reqwest::Error>((response.status().as_u16(), String::from_utf8_lossy(&reply).into_owned()))
        };
        match timeout(Duration::from_secs(2 * CONNECT_SECS), asked).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(format!("{url} cannot be reached: {}", innermost(&error))),
            Err(_) => Err(format!("{url} does not reply")),
        }
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a body once. The caller sets the time limit.
    pub(crate) async fn post(&self, body: String) -> Posted {
        let request = self.with_key(self.http.post(&self.url).header("content-type", "application/json"));
        let mut response = match request.body(body).send().await {
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
            if reply.len() > self.longest_reply {
                return Posted::Endless(format!("{} gave a reply without an end", self.url));
            }
        }
        let reply = String::from_utf8_lossy(&reply);
        let said = || format!("{} answered {status}: {}", self.url, shortened(reply.trim()));
        match status.as_u16() {
            200..=299 => Posted::Reply(reply.into_owned()),
            408 | 409 | 425 | 429 | 500..=599 => Posted::Busy { message: said(), after },
            _ => Posted::Refused(said()),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Posted {
        let cause = innermost(error);
        let message = format!("{} cannot be reached: {cause}; is the {} running?", self.url, self.role);
        Posted::Busy { message, after: None }
    }
}

/// The last of the reasons that an error gives: the words of the system.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
