//! The servers of one judge: who has least to do is asked, and who fails again and again rests for a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::JudgeConfig;
use super::watch::Watch;
use crate::net::Poster;

/// A longer reply is no verdict; reading stops there.
const LONGEST_REPLY_BYTES: usize = 1 << 20;
/// Faults in a row after which a server rests.
const FAULTS: u32 = 3;
/// Seconds of its first rest; they double with each further fault.
const REST_SECS: u64 = 10;
/// Longest rest.
const LONGEST_REST_SECS: u64 = 60;

/// One server.
pub(super) struct Endpoint {
    pub(super) poster: Poster,
    pub(super) permits: Semaphore,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_flight: usize,
    faults: u32,
    rests_until: Option<Instant>,
}

/// All servers of a judge.
pub(super) struct Servers {
    all: Vec<Endpoint>,
}

/// A request that is under way, from when its server was chosen until it is dropped.
pub(super) struct Flight<'a> {
    pub(super) endpoint: &'a Endpoint,
    pub(super) index: usize,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.endpoint.state().in_flight -= 1;
    }
}

impl Endpoint {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It served.
    pub(super) fn served(&self) {
        let mut state = self.state();
        (state.faults, state.rests_until) = (0, None);
    }

    /// It could not serve.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.state();
        state.faults = state.faults.saturating_add(1);
        if state.faults >= FAULTS {
            let secs = (REST_SECS << (state.faults - FAULTS).min(8)).min(LONGEST_REST_SECS);
            state.rests_until = Some(now + Duration::from_secs(secs));
        }
    }
}

impl Servers {
    pub(super) fn new(first: &str, config: &JudgeConfig) -> Result<Self, String> {
        let bases = [first].into_iter().chain(config.more_endpoints.iter().map(String::as_str));
        let endpoint = |base: &str| {
            let base = base.trim_end_matches('/');
            let url = if base.ends_with("/v1") {
                format!("{base}/chat/completions")
            } else {
                format!("{base}/v1/chat/completions")
            };
            let poster =
                Poster::new(url, "judge", config.api_key_env.as_deref(), LONGEST_REPLY_BYTES).map_err(|reason| {
                    let hint =
                        if base.starts_with("http") { "" } else { ", or be serve:NAME for one that the run starts" };
                    format!("endpoint = \"{base}\": {reason}{hint}")
                })?;
            let permits = Semaphore::new(config.max_concurrency.min(Semaphore::MAX_PERMITS));
            Ok(Endpoint { poster, permits, state: Mutex::default() })
        };
        Ok(Self { all: bases.map(endpoint).collect::<Result<_, String>>()? })
    }

    /// The server to ask: of those that do not rest the one with least under way, another than `last` if there is one;
    /// when all rest, the one that rests least long.
    pub(super) fn choose(&self, now: Instant, last: Option<usize>) -> Flight<'_> {
        let rank = |index: usize, endpoint: &Endpoint| {
            let state = endpoint.state();
            let rest = state.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            // After a rest, one request at a time finds out whether it serves again.
            let tried = state.faults >= FAULTS && state.in_flight > 0;
            (rest, tried, last == Some(index), state.in_flight, index)
        };
        let ranked = self.all.iter().enumerate().map(|(index, endpoint)| (rank(index, endpoint), endpoint));
        let ((.., index), endpoint) =
            ranked.min_by_key(|(rank, _)| *rank).unwrap_or(((Duration::ZERO, false, false, 0, 0), &self.all[0]));
        endpoint.state().in_flight += 1;
        Flight { endpoint, index }
    }

    /// Asks every server which model it serves. Gives what they say of it, as part of the key of kept verdicts.
    ///
    /// # Errors
    /// When no server can be reached, one refuses the key or serves another model, or they serve different ones.
    pub(super) async fn identify(&self, config: &JudgeConfig, now: Instant, watch: &Watch) -> Result<String, String> {
        let asked = join_all(self.all.iter().map(|endpoint| {
            let url = endpoint.poster.url().replace("/chat/completions", "/models");
            async move {
                let reply = endpoint.poster.get(&url).await;
                reply.map(|(status, body)| (url, status, body))
            }
        }))
        .await;
        let mut found: Option<(String, String)> = None;
        let mut unreachable = Vec::new();
        for (endpoint, reply) in self.all.iter().zip(asked) {
            let (url, status, body) = match reply {
                Ok(reply) => reply,
                Err(reason) => {
                    unreachable.push(format!("{reason}; start the server, or point `endpoint` at one that runs"));
                    for _ in 0..FAULTS {
                        endpoint.failed(now);
                    }
                    continue;
                }
            };
            if matches!(status, 401 | 403) {
                return Err(format!("{url} answered {status}: it does not accept the key; see api_key_env"));
            }
            let Some(said) = served(&url, status, &body, config)? else { continue };
            match &found {
                Some((other, before)) if *before != said => {
                    return Err(format!("{url} serves {said}, but {other} serves {before}: verdicts would differ"));
                }
                _ => found = Some((url, said)),
            }
        }
        if unreachable.len() == self.all.len() {
            return Err(unreachable.swap_remove(0));
        }
        unreachable
            .into_iter()
            .for_each(|reason| watch.note(format!("one server of the judge is asked no more for now: {reason}")));
        Ok(found.map_or_else(|| "not told".to_owned(), |(_, said)| said))
    }
}

/// What the list of models says of the configured one; `None` where there is no such list.
fn served(url: &str, status: u16, body: &str, config: &JudgeConfig) -> Result<Option<String>, String> {
    let list: Option<Value> = (status == 200).then(|| serde_json::from_str(body).ok()).flatten();
    let models = list.as_ref().and_then(|list| list["data"].as_array()).filter(|models| !models.is_empty());
    let Some(models) = models else { return Ok(None) };
    let id = |model: &Value| model["id"].as_str().unwrap_or_default().to_owned();
    let found = models.iter().find(|model| id(model) == config.model);
    let found = found.or_else(|| models.iter().find(|model| is_served(&id(model), config)));
    match found {
        // Times and permissions change with every start; these do not.
        Some(model) => {
            let told = ["id", "root", "revision", "owned_by"].map(|key| model[key].clone());
            Ok(Some(json!(told).to_string()))
        }
        None if config.served_model.is_some() => Ok(None),
        None => {
            let names: Vec<String> = models.iter().take(8).map(id).collect();
            Err(format!(
                "{url} serves {}, but not the configured model `{}`; correct `model`, or start the right server",
                names.join(", "),
                config.model
            ))
        }
    }
}

/// Whether a name that a server gives itself is that of the configured model: the same, the same with a date or number
/// behind a dash, or the one that `served_model` names.
pub(super) fn is_served(name: &str, config: &JudgeConfig) -> bool {
    if let Some(served) = &config.served_model {
        return served == "*" || served == name;
    }
    let dated =
        |rest: &str| rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    name.strip_prefix(config.model.as_str()).is_some_and(|rest| rest.is_empty() || dated(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(count: usize) -> Servers {
        let more_endpoints = (1..count).map(|port| format!("http://127.0.0.1:{port}")).collect();
        Servers::new("http://127.0.0.1:9", &JudgeConfig { more_endpoints, ..JudgeConfig::default() }).unwrap()
    }

    #[test]
    fn the_one_with_least_to_do_is_asked() {
        let (endpoints, now) = (endpoints(3), Instant::now());
        let flights: Vec<Flight<'_>> = (0..6).map(|_| endpoints.choose(now, None)).collect();
        assert_eq!(flights.iter().map(|flight| flight.index).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
        drop(flights.into_iter().nth(4));
        assert_eq!(endpoints.choose(now, Some(0)).index, 1, "another than the one that failed last");
    }

    #[test]
    fn who_fails_again_and_again_rests_and_is_tried_by_one() {
        let (endpoints, now) = (endpoints(2), Instant::now());
        for _ in 0..FAULTS {
            endpoints.all[0].failed(now);
        }
        let busy: Vec<Flight<'_>> = (0..4).map(|_| endpoints.choose(now, None)).collect();
        assert!(busy.iter().all(|flight| flight.index == 1));
        let later = now + Duration::from_secs(REST_SECS);
        let trial = endpoints.choose(later, None);
        assert_eq!(trial.index, 0);
        assert_eq!(endpoints.choose(later, None).index, 1, "one request finds out");
        trial.endpoint.served();
        drop(trial);
        assert_eq!(endpoints.choose(later, None).index, 0);
        for endpoint in &endpoints.all {
            (0..9).for_each(|_| endpoint.failed(later));
        }
        // When all rest, somebody is asked all the same: whether to go on is decided by who asks.
        assert_eq!(endpoints.choose(later, None).index, 0);
    }

    #[test]
    fn a_model_is_known_by_its_name() {
        let config = |model: &str, served: Option<&str>| JudgeConfig {
            model: model.to_owned(),
            served_model: served.map(str::to_owned),
            ..JudgeConfig::default()
        };
        for (configured, served, said, wanted) in [
            ("gpt-x", None, "gpt-x", true),
            ("gpt-x", None, "gpt-x-2024-08-06", true),
            ("gpt-x", None, "gpt-x-mini", false),
            ("gpt-x", None, "other", false),
            ("gpt-x", None, "", false),
            ("alias", Some("other"), "other", true),
            ("alias", Some("other"), "alias", false),
            ("alias", Some("*"), "anything", true),
        ] {
            assert_eq!(is_served(said, &config(configured, served)), wanted, "{configured} {served:?} {said}");
        }
        let list = |body: &str, model| served("http://h/v1/models", 200, body, &config(model, None));
        let body = r#"{"data": [{"id": "a", "created": 1, "revision": "r1"}]}"#;
        let later = r#"{"data": [{"id": "a", "created": 2, "revision": "r1"}]}"#;
        assert_eq!(list(body, "a"), list(later, "a"));
        assert_ne!(list(body, "a"), list(&body.replace("r1", "r2"), "a"));
        assert!(list(body, "b").unwrap_err().contains("serves a, but not the configured model `b`"));
        assert_eq!(list("<html>", "a"), Ok(None));
        assert_eq!(list("{}", "a"), Ok(None));
    }
}
