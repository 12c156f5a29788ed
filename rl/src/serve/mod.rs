//! A server of one model: OpenAI's chat completions over HTTP, answered by one thread that owns the model.

mod chat;
mod fault;
mod fields;
mod queue;
mod reply;
mod routes;
mod worker;

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use burn::tensor::Device;
use sapo_policies::weights::Loading;
use sapo_policies::{Model, WeightFormat};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Result, RunError};
use queue::Queue;
use worker::Worker;

/// Requests that wait at most.
const MOST_WAITING: usize = 256;
/// Bytes of bodies that wait at most.
const MOST_WAITING_BYTES: usize = 256 << 20;
/// Random weights of a preset come from it.
const PRESET_SEED: u64 = 0;

/// What is served, where and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// A preset, a checkpoint of a run, or a folder in the Hugging Face layout.
    pub model: String,
    /// The format that its weights are kept in; all is computed in f32.
    pub format: WeightFormat,
    /// The model's name in requests.
    pub name: String,
    /// The address to listen on.
    pub host: String,
    /// The port; 0 takes any free one.
    pub port: u16,
    /// Requests that are answered together at most. With 1, a reply does not depend on what else is asked.
    pub batch: usize,
    /// Tokens of an answer at most, and when a request does not say.
    pub max_new_tokens: usize,
    /// Tokens of a prompt at most, pictures included; bounds memory.
    pub max_prompt_tokens: usize,
}

/// Bounds on one request.
#[derive(Clone, Copy, Debug)]
struct Limits {
    new_tokens: usize,
    prompt_tokens: usize,
}

/// A server that takes requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listening {
    /// Its base URL.
    pub url: String,
    /// The model's name in requests.
    pub model: String,
    /// Its process.
    pub pid: u32,
}

/// How a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After the requests in flight; a second time, at once.
    Gently,
    /// At once.
    Now,
}

/// A model's name when none is given: the last part of its path.
pub fn name_of(model: &str) -> String {
    Path::new(model).file_name().map_or_else(|| model.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Serves a model until `stops` says so; `listening` is called once, when requests are taken.
///
/// Routes: `POST /v1/chat/completions`, `GET /v1/models`, `GET /health`. When it returns by [`Stop::Now`], the thread
/// that owns the model may still be busy with its last answer; it ends after that, or with the process.
///
/// # Errors
/// When the options make no sense, the address cannot be listened on, or the model cannot be opened.
pub fn serve(
    options: &ServeOptions,
    device: &Device,
    stops: mpsc::UnboundedReceiver<Stop>,
    listening: &mut dyn FnMut(&Listening),
) -> Result<()> {
    options.check()?;
    let fault = |error: std::io::Error| RunError::Internal(format!("the server cannot run: {error}"));
    let listener = options.bind()?;
    let address = listener.local_addr().map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    let queue = Arc::new(Queue::new(MOST_WAITING, MOST_WAITING_BYTES));
    let revision = Arc::new(OnceLock::new());
    let opened = start_worker(options, device, Arc::clone(&queue), Arc::clone(&revision))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
    let told = Listening { url: format!("http://{address}"), model: options.name.clone(), pid: std::process::id() };
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(fault)?;
        let router = routes::router(options, Arc::clone(&queue), revision);
        run(listener, router, opened, stops, &mut || listening(&told)).await
    });
    queue.close();
    served
}

impl ServeOptions {
    fn check(&self) -> Result<()> {
        let least_one = [
            ("--batch", self.batch),
            ("--max-new-tokens", self.max_new_tokens),
            ("--max-prompt-tokens", self.max_prompt_tokens),
        ];
        match least_one.iter().find(|(_, value)| *value == 0) {
            Some((option, _)) => Err(RunError::User(format!("{option} must be at least 1"))),
            None if self.name.is_empty() => Err(RunError::User("--name must not be empty".to_owned())),
            None => Ok(()),
        }
    }

    fn limits(&self) -> Limits {
        Limits { new_tokens: self.max_new_tokens, prompt_tokens: self.max_prompt_tokens }
    }

    fn bind(&self) -> Result<TcpListener> {
        let (host, port) = (&self.host, self.port);
        TcpListener::bind((host.as_str(), port)).map_err(|error| {
            let remedy = match error.kind() {
                std::io::ErrorKind::AddrInUse => "it is in use; give another --port, or --port 0 for any free one",
                std::io::ErrorKind::PermissionDenied => "it is reserved; give a --port above 1023",
                _ => "give an address of this machine as --host",
            };
            RunError::User(format!("cannot listen on {host}, port {port}: {error}; {remedy}"))
        })
    }
}

/// Starts the thread that opens the model, says how that went, and then answers what waits.
fn start_worker(
    options: &ServeOptions,
    device: &Device,
    queue: Arc<Queue>,
    revision: Arc<OnceLock<String>>,
) -> Result<oneshot::Receiver<Result<()>>> {
    let (said, opened) = oneshot::channel();
    let (options, device) = (options.clone(), device.clone());
    let work = move || {
        let model = match Model::open_as(&options.model, PRESET_SEED, Loading::kept_in(options.format), &device) {
            Ok(model) => model,
            // Whoever waited for the model may have been told to stop meanwhile.
            Err(error) => return drop(said.send(Err(error.into()))),
        };
        // Nobody else sets it.
        revision.get_or_init(|| model.policy.weights_sha256());
        if said.send(Ok(())).is_ok() {
            Worker { model: &model, limits: options.limits(), batch: options.batch }.run(&queue);
        }
    };
    thread::Builder::new()
        .name("model".to_owned())
        .spawn(work)
        .map_err(|error| RunError::Internal(format!("no thread for the model: {error}")))?;
    Ok(opened)
}

async fn run(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    opened: oneshot::Receiver<Result<()>>,
    mut stops: mpsc::UnboundedReceiver<Stop>,
    listening: &mut dyn FnMut(),
) -> Result<()> {
    tokio::select! {
        opened = opened => opened.map_err(|_| RunError::Internal("opening the model failed".to_owned()))??,
        // Nothing is in flight yet, so that every stop is one at once.
        Some(_) = stops.recv() => return Ok(()),
    }
    listening();
    let (drain, drained) = oneshot::channel::<()>();
    let mut drain = Some(drain);
    let server = axum::serve(listener, router).with_graceful_shutdown(async { drop(drained.await) });
    let mut server = std::pin::pin!(server.into_future());
    loop {
        tokio::select! {
            ended = &mut server => {
                return ended.map_err(|error| RunError::Internal(format!("the server stopped: {error}")));
            }
            Some(stop) = stops.recv() => match drain.take().filter(|_| stop == Stop::Gently) {
                Some(drain) => drop(drain.send(())),
                None => return Ok(()),
            },
        }
    }
}
