//! The routes of the server: from HTTP to the model's thread and back.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::MOST_BYTES;
use super::answer::{Answers, Piece};
use super::counts::{Counts, Flight, Outcome};
use super::door::Door;
use super::encode::{Api, Encoder, Ready};
use super::fault::Fault;
use super::gate::{Gate, Pass};
use super::key::Key;
use super::reply::{Frame, model};
use super::stream::{Source, Stream};
use super::worker::Order;

/// So much of a refused body is read and forgotten: a client that is still sending would not read the refusal.
const MOST_FORGOTTEN_BYTES: usize = 256 << 20;
/// Tries for an answer of the form that is asked for.
const MOST_TRIES: usize = 8;
/// Requests whose pictures and text are made into prompts at a time; bounds memory.
const MOST_ENCODED: usize = 2;

/// Who is let in, and how long is waited for them.
pub(super) struct Entrance {
    /// By what a request says of itself.
    pub(super) door: Door,
    /// By a key, where one is wanted.
    pub(super) key: Option<Key>,
    /// A request has come as a whole within so long.
    pub(super) patience: Duration,
}

/// What the routes share.
pub(super) struct Server {
    encoder: Arc<Encoder>,
    entrance: Entrance,
    orders: Sender<Order>,
    gate: Arc<Gate>,
    encoding: Semaphore,
    counts: Arc<Counts>,
    started: i64,
    /// SHA-256 of the weights.
    revision: String,
}

impl Server {
    /// A server of an opened model.
    pub(super) fn new(
        encoder: Encoder,
        entrance: Entrance,
        orders: Sender<Order>,
        gate: Arc<Gate>,
        counts: Arc<Counts>,
        revision: String,
    ) -> Self {
        let (encoder, encoding) = (Arc::new(encoder), Semaphore::new(MOST_ENCODED));
        Self { encoder, entrance, orders, gate, encoding, counts, started: now(), revision }
    }

    /// All routes; every refusal is JSON.
    pub(super) fn router(self) -> Router {
        let server = Arc::new(self);
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/completions", post(complete))
            .route("/v1/models", get(models))
            .route("/v1/models/{id}", get(one_model))
            .route("/metrics", get(metrics))
            .route_layer(from_fn_with_state(Arc::clone(&server), keyed));
        router
            .route("/health", get(health))
            .fallback(|method: Method, uri: Uri| async move { Fault::unknown_route(method.as_str(), uri.path()) })
            .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
                Fault::wrong_method(method.as_str(), uri.path())
            })
            .layer(from_fn_with_state(Arc::clone(&server), admitted))
            .with_state(server)
    }

    /// Reads a request and makes its prompts, and the room for both.
    async fn ready(&self, api: Api, body: Body, flight: &Flight) -> Result<(Ready, Pass), Fault> {
        let patience = self.entrance.patience;
        let read = tokio::time::timeout(patience, read(body)).await;
        let body = read.unwrap_or_else(|_| Err(Fault::too_slow(patience.as_secs())))?;
        let mut pass = self.gate.enter(body.len())?;
        let (encoder, number) = (Arc::clone(&self.encoder), flight.number);
        let permit = self.encoding.acquire().await.map_err(|_| Fault::stopping())?;
        let made = tokio::task::spawn_blocking(move || encoder.ready(api, &body, number)).await;
        drop(permit);
        let ready = made.map_err(|_| Fault::internal("the request could not be read"))??;
        let pixels = |prompt: &super::encode::Prompt| {
            prompt.input.pictures().iter().map(|picture| picture.pixels.len()).sum::<usize>()
        };
        pass.holds(
            ready.prompts.iter().map(|prompt| size_of::<f32>() * (pixels(prompt) + prompt.input.ids().len())).sum(),
        )?;
        self.counts.prompted.add(ready.prompt_tokens() as u64);
        Ok((ready, pass))
    }

    async fn reply(&self, api: Api, body: Body, flight: &mut Option<Flight>) -> Result<Response, Fault> {
        let Some(own) = flight.as_ref() else { return Err(Fault::internal("a request without a number")) };
        let (ready, pass) = self.ready(api, body, own).await?;
        let ready = Arc::new(ready);
        let choices: Vec<usize> = (0..ready.choices()).collect();
        if ready.asked.stream {
            let pieces = match ready.asked.form.is_text() {
                true => Source::Answers(Box::new(self.ask(&ready, &choices, 0)?)),
                // What must have a form is known to have it only as a whole.
                false => Source::of(self.whole(&ready, choices).await?),
            };
            let stream = Stream::new(pieces, ready, &self.encoder.name, now(), flight.take(), pass);
            return Ok(stream.response());
        }
        let (answers, tokens) = self.whole(&ready, choices).await?;
        let frame = Frame { model: &self.encoder.name, created: now(), ready: &ready };
        Ok(Json(frame.whole(&answers, tokens)).into_response())
    }

    fn ask(&self, ready: &Arc<Ready>, choices: &[usize], attempt: usize) -> Result<Answers, Fault> {
        Answers::ask(ready, &self.encoder.processor, &self.orders, choices, attempt)
    }

    /// Whole answers, each of the form that is asked for: one that is not is sampled again with another seed, a few times.
    async fn whole(&self, ready: &Arc<Ready>, mut choices: Vec<usize>) -> Result<(Vec<(usize, Piece)>, usize), Fault> {
        let asked = &ready.asked;
        // The likeliest tokens are the same in every try.
        let tries = if asked.sampling.temperature > 0.0 { MOST_TRIES } else { 1 };
        let (mut good, mut tokens, mut last) = (Vec::new(), 0, String::new());
        for attempt in 0..tries {
            let mut answers = self.ask(ready, &choices, attempt)?;
            let mut left = Vec::new();
            for (choice, piece) in answers.whole().await? {
                match asked.form.fault(&piece.text) {
                    Some(reason) => {
                        left.push(choice);
                        last = reason;
                    }
                    None => good.push((choice, piece)),
                }
            }
            tokens += answers.tokens;
            choices = left;
            if choices.is_empty() {
                good.sort_by_key(|(choice, _)| *choice);
                return Ok((good, tokens));
            }
        }
        Err(Fault::no_json(&last, tries))
    }
}

/// Lets in those who mean this server.
async fn admitted(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    match server.entrance.door.admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(fault) => fault.into_response(),
    }
}

/// Lets in those who have the key, where one is wanted.
async fn keyed(State(server): State<Arc<Server>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match &server.entrance.key {
        Some(key) if !key.opens(given) => Fault::wrong_key().into_response(),
        _ => next.run(request).await,
    }
}

async fn chat(State(server): State<Arc<Server>>, body: Body) -> Response {
    answered(&server, Api::Chat, body).await
}

async fn complete(State(server): State<Arc<Server>>, body: Body) -> Response {
    answered(&server, Api::Completions, body).await
}

async fn answered(server: &Server, api: Api, body: Body) -> Response {
    // When the client goes away, this future is dropped here, and with it whatever was asked for.
    let mut flight = Some(server.counts.flight());
    let reply = server.reply(api, body, &mut flight).await;
    let outcome = match &reply {
        Ok(_) => Outcome::Answered,
        Err(fault) if fault.is_refusal() => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    if let Some(flight) = &mut flight {
        flight.ends(outcome);
    }
    reply.unwrap_or_else(Fault::into_response)
}

async fn models(State(server): State<Arc<Server>>) -> Json<Value> {
    Json(json!({"object": "list", "data": [server.model()]}))
}

async fn one_model(State(server): State<Arc<Server>>, Path(id): Path<String>) -> Result<Json<Value>, Fault> {
    if id == server.encoder.name {
        Ok(Json(server.model()))
    } else {
        Err(Fault::unknown_model(&id, &server.encoder.name))
    }
}

impl Server {
    fn model(&self) -> Value {
        model(&self.encoder.name, self.started, &self.revision, self.encoder.limits.context)
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], server.counts.text()).into_response()
}

async fn health(State(server): State<Arc<Server>>) -> Json<Value> {
    let load = server.counts.load();
    Json(json!({
        "status": "ok",
        "model": server.encoder.name,
        "in_flight": server.counts.in_flight(),
        "running": load.running,
        "waiting": load.waiting,
    }))
}

/// Reads a body within the limit.
async fn read(mut body: Body) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| Fault::body(format!("the body breaks off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= MOST_BYTES {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
        if length > MOST_FORGOTTEN_BYTES {
            break;
        }
    }
    if length > MOST_BYTES { Err(Fault::too_large(MOST_BYTES)) } else { Ok(bytes) }
}

/// Seconds since 1970, as OpenAI's replies carry them. Nothing depends on it.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
