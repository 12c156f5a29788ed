//! Servers of three kinds that take what the real ones take and nothing else, and fail in the ways that real ones do.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode, Uri};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

/// What a server does to one request, in place of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// None.
    None,
    /// A status, perhaps with `Retry-After` in seconds.
    Status(u16, Option<&'static str>),
    /// No answer.
    Stall,
    /// The head of an answer, then nothing.
    Cut,
    /// A changed answer.
    Changed(fn(&mut Value)),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// What a kind of server does.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The page of a request that is no generation: status and body.
    fn control(&self, state: &State, seen: &Seen) -> Result<(u16, Value), String>;
    /// Whether a path generates.
    fn generates(&self, path: &str) -> bool;
    /// The answer to a generation.
    fn answer(&self, state: &State, seen: &Seen) -> Result<Value, String>;
}

/// What a server has in mind. A restart forgets all of it but what the test has planned and seen.
#[derive(Default)]
pub(crate) struct State {
    /// Faults of the next generations.
    pub(crate) plan: Mutex<VecDeque<Fault>>,
    /// All requests.
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// What a strict server complained of.
    pub(crate) complaints: Mutex<Vec<String>>,
    /// The weights' version.
    pub(crate) version: Mutex<String>,
    /// Adapters that are loaded.
    pub(crate) adapters: Mutex<Vec<String>>,
    /// When it was started.
    pub(crate) started: AtomicUsize,
    /// Generations wait until there are so many, and are then answered last first.
    pub(crate) hold: AtomicUsize,
    held: Mutex<Vec<Arc<Notify>>>,
    /// Generations with this seed wait until the test lets them go.
    pub(crate) gated: Mutex<Option<(u64, Arc<Notify>)>>,
}

impl State {
    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.plan.lock().expect("a lock").extend(faults);
    }

    /// The paths that were asked for, generations apart.
    pub(crate) fn calls(&self, generates: impl Fn(&str) -> bool) -> Vec<String> {
        self.seen.lock().expect("a lock").iter().map(|seen| seen.path.clone()).filter(|path| !generates(path)).collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen.lock().expect("a lock").iter().filter(|seen| seen.path == path).count()
    }

    /// Bodies that were sent to a path.
    pub(crate) fn bodies(&self, path: &str) -> Vec<Value> {
        self.seen
            .lock()
            .expect("a lock")
            .iter()
            .filter(|seen| seen.path == path)
            .map(|seen| seen.body.clone())
            .collect()
    }
}

/// A server on loopback.
pub(crate) struct Mock {
    pub(crate) state: Arc<State>,
    kind: Arc<dyn Kind>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Mock {
    pub(crate) fn start(kind: impl Kind) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("as planned");
        let address = listener.local_addr().expect("as planned");
        drop(listener);
        let mut mock = Self { state: Arc::default(), kind: Arc::new(kind), address, runtime: None };
        mock.restart();
        mock
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends the server and all its connections.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it anew: what it had loaded is gone.
    pub(crate) fn restart(&mut self) {
        self.stop();
        *self.state.version.lock().expect("a lock") = "default".to_owned();
        self.state.adapters.lock().expect("a lock").clear();
        self.state.started.fetch_add(1, Ordering::SeqCst);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("as planned");
        let (state, kind, address) = (Arc::clone(&self.state), Arc::clone(&self.kind), self.address);
        let listener = runtime.block_on(async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    // The one before is still letting go.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        let app = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let (state, kind) = (Arc::clone(&state), Arc::clone(&kind));
            async move { serve(&state, &*kind, method, &uri, &body).await }
        });
        runtime.spawn(async move { axum::serve(listener, app).await });
        self.runtime = Some(runtime);
    }

    /// That the server had nothing to complain of.
    pub(crate) fn content(&self) {
        assert_eq!(*self.state.complaints.lock().expect("a lock"), Vec::<String>::new());
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(state: &State, kind: &dyn Kind, method: Method, uri: &Uri, body: &[u8]) -> Response<Body> {
    let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(body).unwrap_or(Value::Bool(false)) };
    let seen = Seen { method, path, body };
    state.seen.lock().expect("a lock").push(seen.clone());
    let refused = |reason: String| {
        state.complaints.lock().expect("a lock").push(format!("{}: {reason}", seen.path));
        reply(400, Value::String(reason))
    };
    if !kind.generates(&seen.path) {
        return match kind.control(state, &seen) {
            Ok((status, page)) => reply(status, page),
            Err(reason) => refused(reason),
        };
    }
    let fault = state.plan.lock().expect("a lock").pop_front().unwrap_or(Fault::None);
    let mut answer = match kind.answer(state, &seen) {
        Ok(answer) => answer,
        Err(reason) => return refused(reason),
    };
    wait(state, &seen).await;
    match fault {
        Fault::None => reply(200, answer),
        Fault::Changed(change) => {
            change(&mut answer);
            reply(200, answer)
        }
        Fault::Status(status, after) => {
            let mut response = reply(status, Value::String("planned".to_owned()));
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.parse().expect("as planned"));
            }
            response
        }
        Fault::Stall => std::future::pending().await,
        Fault::Cut => {
            let half = answer.to_string().into_bytes();
            let half = Bytes::copy_from_slice(&half[..half.len() / 2]);
            let parts = futures_util::stream::iter([Ok(half), Err(std::io::Error::other("cut"))]);
            Response::new(Body::from_stream(parts))
        }
    }
}

/// Waits as the test has planned it.
async fn wait(state: &State, seen: &Seen) {
    let gate = state.gated.lock().expect("a lock").clone();
    if let Some((_, gate)) = gate.filter(|(seed, _)| seed_in(&seen.body) == Some(*seed)) {
        gate.notified().await;
    }
    let hold = state.hold.load(Ordering::SeqCst);
    if hold == 0 {
        return;
    }
    let own = Arc::new(Notify::new());
    let last = {
        let mut held = state.held.lock().expect("a lock");
        held.push(Arc::clone(&own));
        held.len() == hold
    };
    if last {
        own.notify_one();
    }
    own.notified().await;
    // The one before comes next.
    if let Some(before) = {
        let mut held = state.held.lock().expect("a lock");
        held.pop();
        held.last().cloned()
    } {
        before.notify_one();
    }
}

fn seed_in(body: &Value) -> Option<u64> {
    body["seed"].as_u64().or(body["sampling_params"]["sampling_seed"].as_u64())
}

fn reply(status: u16, page: Value) -> Response<Body> {
    let body = match page {
        Value::String(text) => text,
        page => page.to_string(),
    };
    Response::builder()
        .status(StatusCode::from_u16(status).expect("as planned"))
        .body(Body::from(body))
        .expect("as planned")
}

/// Refuses fields that are not on the list, and others than those types: by first letter: integer, number, bool, string, array,
/// object.
pub(crate) fn strict(body: &Value, known: &[(&str, char)], required: &[&str]) -> Result<(), String> {
    let known: BTreeMap<&str, char> = known.iter().copied().collect();
    let fields = body.as_object().ok_or("no object")?;
    for (key, value) in fields {
        let good = match known.get(key.as_str()) {
            None => return Err(format!("the field `{key}` is not known")),
            Some('i') => value.is_u64() || value.is_i64(),
            Some('n') => value.is_number(),
            Some('b') => value.is_boolean(),
            Some('s') => value.is_string(),
            Some('a') => value.is_array(),
            Some(_) => value.is_object(),
        };
        if !good {
            return Err(format!("the field `{key}` has a wrong type: {value}"));
        }
    }
    match required.iter().find(|key| !fields.contains_key(**key)) {
        Some(key) => Err(format!("the field `{key}` is missing")),
        None => Ok(()),
    }
}

/// What a scripted policy says to a prompt: the same for the same prompt and seed, and short of its limit it ends by `stop`.
pub(crate) fn said(prompt: &[u32], seed: u64, limit: usize, stop: u32) -> (Vec<u32>, Vec<f32>) {
    let mut hash = Sha256::new();
    prompt.iter().for_each(|id| hash.update(id.to_le_bytes()));
    hash.update(seed.to_le_bytes());
    let drawn = hash.finalize();
    let wanted = 2 + usize::from(drawn[0] % 6);
    let mut ids: Vec<u32> = (0..wanted).map(|at| 20 + u32::from(drawn[at + 1] % 60)).collect();
    *ids.last_mut().expect("as planned") = stop;
    ids.truncate(limit);
    let log_probs = (0..ids.len()).map(|at| -(f32::from(drawn[at + 8]) / 64.0)).collect();
    (ids, log_probs)
}
