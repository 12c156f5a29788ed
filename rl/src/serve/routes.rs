//! The routes of the server: from HTTP to the line of waiting requests and back.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::chat::Chat;
use super::fault::Fault;
use super::queue::{Job, Queue};
use super::{Limits, ServeOptions, reply};

/// A body of more bytes is refused.
const MOST_BYTES: usize = 20 << 20;
/// So much of a refused body is read and forgotten: a client that is still sending would not read the refusal.
const MOST_FORGOTTEN_BYTES: usize = 256 << 20;

/// What the routes share.
struct Server {
    name: String,
    limits: Limits,
    queue: Arc<Queue>,
    started: i64,
    /// SHA-256 of the weights, as soon as they are read.
    revision: Arc<OnceLock<String>>,
    replies: AtomicU64,
}

/// All routes; every refusal is JSON.
pub(super) fn router(options: &ServeOptions, queue: Arc<Queue>, revision: Arc<OnceLock<String>>) -> Router {
    let server = Server {
        name: options.name.clone(),
        limits: options.limits(),
        queue,
        started: now(),
        revision,
        replies: AtomicU64::new(0),
    };
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .fallback(|method: Method, uri: Uri| async move { Fault::unknown_route(method.as_str(), uri.path()) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Fault::wrong_method(method.as_str(), uri.path())
        })
        .with_state(Arc::new(server))
}

async fn complete(State(server): State<Arc<Server>>, body: Body) -> Result<Json<Value>, Fault> {
    let body = read(body).await?;
    let chat = Chat::read(&body, &server.name, &server.limits)?;
    let (answer, answered) = oneshot::channel();
    server.queue.push(Job { chat, bytes: body.len(), answer })?;
    drop(body);
    // When the client goes away, this future is dropped here, and the request with it unless it was started.
    let answered = answered.await.map_err(|_| Fault::internal("the model failed on this request"))??;
    let id = format!("chatcmpl-{}", server.replies.fetch_add(1, Ordering::Relaxed));
    Ok(Json(reply::completion(&id, &server.name, now(), &answered)))
}

async fn models(State(server): State<Arc<Server>>) -> Json<Value> {
    let revision = server.revision.get().map_or("", String::as_str);
    Json(reply::models(&server.name, server.started, revision))
}

async fn health(State(server): State<Arc<Server>>) -> Json<Value> {
    let counts = server.queue.counts();
    Json(json!({
        "status": "ok",
        "model": server.name,
        "waiting": counts.waiting,
        "started": counts.taken,
        "abandoned": counts.abandoned,
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
