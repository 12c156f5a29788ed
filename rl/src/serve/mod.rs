//! A server of one model: OpenAI's chat completions and completions over HTTP, answered by one thread that owns the model.

mod answer;
mod asked;
mod chat;
mod completion;
mod connections;
mod counts;
mod door;
mod encode;
mod fault;
mod fields;
mod form;
mod gate;
mod held;
mod key;
mod known;
mod pictures;
mod reply;
mod routes;
mod stalled;
mod stream;
mod worker;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Duration;

use burn::tensor::Device;
use sapo_policies::processor::Processor;
use sapo_policies::weights::Loading;
use sapo_policies::{Model, WeightFormat};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use self::counts::Counts;
pub(crate) use self::door::Door;
use self::encode::Encoder;
use self::gate::Gate;
use self::key::Key;
use self::pictures::PictureSource;
use self::routes::{Entrance, Server};
use self::worker::{Order, Worker};
use crate::error::{Result, RunError};
use crate::sample::local_engine;

/// A body, and a local picture, of more bytes is refused.
const MOST_BYTES: usize = 20 << 20;
/// Requests in flight at most.
const MOST_REQUESTS: usize = 1024;
/// Bytes that requests in flight hold at most, pictures as the model sees them.
const MOST_HELD_BYTES: usize = 1 << 30;
/// Random weights of a preset come from it.
const PRESET_SEED: u64 = 0;
/// How long a server that is told to stop lets requests end by themselves, and how long it then takes to say that they do
/// not.
const DRAINING: Duration = Duration::from_secs(7);
const CUTTING: Duration = Duration::from_secs(1);

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
    /// Answers that are decoded together at most.
    pub batch: usize,
    /// Keys and values in MiB at most.
    pub cache_mib: usize,
    /// Tokens of an answer at most, where the context is not the only bound.
    pub max_new_tokens: Option<usize>,
    /// Tokens of a prompt at most, pictures included, where the context is not the only bound.
    pub max_prompt_tokens: Option<usize>,
    /// The key that clients must have; beyond loopback there must be one.
    pub api_key: Option<String>,
    /// The folder whose pictures requests may name.
    pub local_images: Option<PathBuf>,
    /// Seconds in which a request must have come as a whole, and in which a client takes some of its reply.
    pub read_timeout_secs: u64,
}

/// Bounds on one request.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Tokens of an answer, where there is a bound of its own.
    new_tokens: Option<usize>,
    /// Tokens of a prompt.
    prompt_tokens: usize,
    /// Tokens of prompt and answer together.
    context: usize,
    /// Token ids are below it.
    vocabulary: usize,
    /// Tokens that a message has beside its text.
    frame_tokens: usize,
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

/// A model's name when none is given: that of its folder.
pub fn name_of(model: &str) -> String {
    let last = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
    let path = Path::new(model);
    // `.` and `..` have no name of their own.
    last(path).or_else(|| last(&path.canonicalize().ok()?)).unwrap_or_else(|| model.to_owned())
}

/// What the thread of the model says when it is open.
struct Opened {
    processor: Arc<Processor>,
    context: usize,
    vocabulary: usize,
    placeholders: [u32; 2],
    revision: String,
    /// What of the model's files is switched off.
    notes: Vec<String>,
}

/// Serves a model until `stops` says so; `listening` is called once, when requests are taken.
///
/// Routes: `POST /v1/chat/completions`, `POST /v1/completions`, `GET /v1/models`, `GET /health`, `GET /metrics`. Told to stop
/// gently, it takes no more requests, lets those in flight end for some seconds, and cuts what is left. When it returns, the
/// thread that owns the model may still be busy with its last step; it ends after that, or with the process.
///
/// # Errors
/// When the options make no sense, the address cannot be listened on, or the model cannot be opened.
pub fn serve(
    options: &ServeOptions,
    device: &Device,
    stops: mpsc::UnboundedReceiver<Stop>,
    listening: &mut dyn FnMut(&Listening, &[String]),
) -> Result<()> {
    options.check()?;
    let pictures = PictureSource::new(options.local_images.as_deref())?;
    let fault = |error: std::io::Error| RunError::Internal(format!("the server cannot run: {error}"));
    let listener = options.bind()?;
    let address = listener.local_addr().map_err(fault)?;
    if !address.ip().is_loopback() && options.api_key.is_none() {
        return Err(RunError::User(format!(
            "--host {}: whoever reaches it could ask; give a key as SAPO_API_KEY or --api-key, or stay on 127.0.0.1",
            options.host
        )));
    }
    listener.set_nonblocking(true).map_err(fault)?;
    let counts = Arc::new(Counts::default());
    let (orders, taken) = std_mpsc::channel();
    let opened = start_worker(options, device, taken, Arc::clone(&counts))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fault)?;
    let told = Listening { url: format!("http://{address}"), model: options.name.clone(), pid: std::process::id() };
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(fault)?;
        let mut stops = stops;
        let opened = tokio::select! {
            opened = opened => opened.map_err(|_| RunError::Internal("opening the model failed".to_owned()))??,
            // Nothing is in flight yet, so that every stop is one at once.
            Some(_) = stops.recv() => return Ok(()),
        };
        let (revision, notes) = (opened.revision.clone(), opened.notes.clone());
        let gate = Gate::new(MOST_REQUESTS, MOST_HELD_BYTES);
        let encoder = options.encoder(opened, pictures);
        let entrance = options.entrance(address.ip().is_loopback());
        let patience = entrance.patience;
        let router = Server::new(encoder, entrance, orders.clone(), gate, counts, revision).router();
        listening(&told, &notes);
        run(listener, router, patience, stops, &orders).await
    });
    // A request that is still being read must not hold the process up.
    runtime.shutdown_background();
    served
}

impl ServeOptions {
    fn check(&self) -> Result<()> {
        let least_one = [
            ("--batch", Some(self.batch)),
            ("--max-new-tokens", self.max_new_tokens),
            ("--max-prompt-tokens", self.max_prompt_tokens),
            ("--read-timeout", usize::try_from(self.read_timeout_secs).ok()),
        ];
        match least_one.iter().find(|(_, value)| *value == Some(0)) {
            Some((option, _)) => Err(RunError::User(format!("{option} must be at least 1"))),
            None if self.name.is_empty() => Err(RunError::User("--name must not be empty".to_owned())),
            None if self.api_key.as_deref() == Some("") => {
                Err(RunError::User("the API key must not be empty".to_owned()))
            }
            None => Ok(()),
        }
    }

    /// Who is let in. A page in a browser has no key, so that with one it does not matter which machine is meant.
    fn entrance(&self, is_loopback: bool) -> Entrance {
        let door = match &self.api_key {
            None if is_loopback => Door::of_this_machine(&self.host),
            _ => Door::of_everybody(),
        };
        let patience = Duration::from_secs(self.read_timeout_secs);
        Entrance { door, key: self.api_key.as_deref().map(Key::new), patience }
    }

    fn encoder(&self, opened: Opened, pictures: PictureSource) -> Encoder {
        let Opened { processor, context, vocabulary, placeholders, .. } = opened;
        let limits = Limits {
            new_tokens: self.max_new_tokens,
            prompt_tokens: self.max_prompt_tokens.unwrap_or(context).min(context),
            context,
            vocabulary,
            frame_tokens: encode::frame_tokens(&processor),
        };
        Encoder { name: self.name.clone(), processor, limits, pictures, placeholders }
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

/// Starts the thread that opens the model, says how that went, and then answers what comes.
fn start_worker(
    options: &ServeOptions,
    device: &Device,
    orders: std_mpsc::Receiver<Order>,
    counts: Arc<Counts>,
) -> Result<oneshot::Receiver<Result<Opened>>> {
    let (said, opened) = oneshot::channel();
    let (options, device) = (options.clone(), device.clone());
    let work = move || {
        let model = match Model::open_as(&options.model, PRESET_SEED, Loading::kept_in(options.format), &device) {
            Ok(model) => model,
            // Whoever waited for the model may have been told to stop meanwhile.
            Err(error) => return drop(said.send(Err(error.into()))),
        };
        let config = &model.policy.config;
        let opened = Opened {
            processor: Arc::clone(&model.processor),
            context: model.context(),
            vocabulary: config.text.vocab_size,
            placeholders: [config.image_token_id, config.video_token_id],
            revision: model.policy.weights_sha256(),
            notes: model.processor.tokenizer().notes().to_vec(),
        };
        if said.send(Ok(opened)).is_ok() {
            let engine = local_engine(&model, options.batch, options.cache_mib);
            Worker { model: &model, engine, counts }.run(&orders);
        }
    };
    thread::Builder::new()
        .name("model".to_owned())
        .spawn(work)
        .map_err(|error| RunError::Internal(format!("no thread for the model: {error}")))?;
    Ok(opened)
}

/// Serves until it is told to stop, and what is in flight has ended or is cut.
async fn run(
    listener: tokio::net::TcpListener,
    router: axum::Router,
    patience: Duration,
    mut stops: mpsc::UnboundedReceiver<Stop>,
    orders: &std_mpsc::Sender<Order>,
) -> Result<()> {
    let (drain, drained) = oneshot::channel::<()>();
    let mut server = std::pin::pin!(connections::serve(listener, router, patience, drained));
    let ended =
        |ended: std::io::Result<()>| ended.map_err(|error| RunError::Internal(format!("the server stopped: {error}")));
    tokio::select! {
        how = &mut server => return ended(how),
        stop = stops.recv() => if stop == Some(Stop::Now) {
            return Ok(());
        },
    }
    // An error means that the server has ended already.
    _ = drain.send(());
    for (time, is_last) in [(DRAINING, false), (CUTTING, true)] {
        tokio::select! {
            how = &mut server => return ended(how),
            Some(_) = stops.recv() => return Ok(()),
            () = tokio::time::sleep(time) => {}
        }
        if !is_last {
            // An error means that the model's thread has ended already.
            drop(orders.send(Order::Cut));
        }
    }
    Ok(())
}
