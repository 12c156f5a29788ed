//! Why a request gets no answer: an HTTP status with OpenAI's error object.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// Seconds after which a client may ask an overloaded server again.
const RETRY_AFTER_SECS: u16 = 1;

/// Characters of a header that a message repeats at most.
const LONGEST_SHOWN: usize = 80;

/// A request that gets no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    status: StatusCode,
    message: String,
    /// The field of the body that is wrong.
    param: Option<String>,
    code: Option<&'static str>,
}

impl Fault {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code }
    }

    /// A body that is no request.
    pub(super) fn body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, None, message)
    }

    /// A field of the body that cannot be used; the message begins with its name.
    pub(super) fn field(param: impl Into<String>, reason: impl AsRef<str>) -> Self {
        let param = param.into();
        let message = format!("`{param}`: {}", reason.as_ref());
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, Some("invalid_value"), message) }
    }

    /// Another model is asked for than the one that is served.
    pub(super) fn unknown_model(asked: &str, served: &str) -> Self {
        let message = format!("there is no model `{asked}` here; `{served}` is served");
        Self { param: Some("model".to_owned()), ..Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), message) }
    }

    /// A prompt that leaves no room within the model's context.
    pub(super) fn too_long(param: &str, reason: impl AsRef<str>) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::field(param, reason) }
    }

    /// A request that was meant for another machine, or comes from a page of one.
    pub(super) fn foreign(header: &str, value: &str) -> Self {
        let shown: String = value.chars().take(LONGEST_SHOWN).collect();
        let message = format!(
            "this server answers this machine alone, and `{header}` is `{shown}`; ask for localhost or 127.0.0.1, or start it with \
             a key (--api-key), which then opens it by any name"
        );
        Self::new(StatusCode::FORBIDDEN, Some("forbidden"), message)
    }

    /// A body that does not say that it is JSON.
    pub(super) fn no_json_type(kind: &str) -> Self {
        let said = if kind.is_empty() { "nothing".to_owned() } else { format!("`{kind}`") };
        let message = format!(
            "the body must be said to be JSON, and is said to be {said}; send `content-type: application/json`"
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("unsupported_media_type"), message)
    }

    /// A body that did not come in time.
    pub(super) fn too_slow(secs: u64) -> Self {
        let message = format!("the body was not there within {secs} s (--read-timeout); send it faster, or less of it");
        Self::new(StatusCode::REQUEST_TIMEOUT, Some("request_timeout"), message)
    }

    /// No key, or another one than the server's.
    pub(super) fn wrong_key() -> Self {
        let message = "the API key is missing or wrong; send the server's as `Authorization: Bearer KEY`";
        Self::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key"), message)
    }

    /// An answer that was asked to be JSON and is none, in all tries.
    pub(super) fn no_json(reason: &str, tries: usize) -> Self {
        let tries = if tries == 1 { "1 try".to_owned() } else { format!("{tries} tries") };
        let message = format!("`response_format`: the model gave no such JSON in {tries}; the last: {reason}");
        let param = Some("response_format".to_owned());
        Self { param, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, Some("no_valid_json"), message) }
    }

    /// A route that does not exist.
    pub(super) fn unknown_route(method: &str, path: &str) -> Self {
        let known = "POST /v1/chat/completions, POST /v1/completions, GET /v1/models, GET /health and GET /metrics";
        Self::new(StatusCode::NOT_FOUND, Some("unknown_url"), format!("there is no {method} {path}; known are {known}"))
    }

    /// A route that exists for another method.
    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!(
            "{path} does not take {method}; what is asked of the model is sent by POST, everything else is read by GET"
        );
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Some("method_not_allowed"), message)
    }

    /// A body beyond the limit.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the body has more than {limit} bytes; send fewer or smaller pictures");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Some("request_too_large"), message)
    }

    /// Too much is waiting already.
    pub(super) fn overloaded() -> Self {
        let message = "too many requests are waiting; ask again later, or ask fewer at a time";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"), message)
    }

    /// The server ends before the answer does.
    pub(super) fn stopping() -> Self {
        let message = "the server is stopping; ask another one, or again when it is back";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("stopping"), message)
    }

    /// This program failed, not the client.
    pub(super) fn internal(reason: &str) -> Self {
        let message = format!("internal fault: {reason}; please report it");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Some("internal"), message)
    }
}

impl Fault {
    /// The body that says it.
    pub(super) fn body_of_reply(&self) -> Value {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }

    /// Whether the client is to blame.
    pub(super) fn is_refusal(&self) -> bool {
        self.status.is_client_error()
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body_of_reply())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
        }
        response
    }
}
