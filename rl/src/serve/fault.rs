//! Why a request gets no answer: an HTTP status with OpenAI's error object.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Seconds after which a client may ask an overloaded server again.
const RETRY_AFTER_SECS: u16 = 1;

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

    /// A route that does not exist.
    pub(super) fn unknown_route(method: &str, path: &str) -> Self {
        let known = "POST /v1/chat/completions, GET /v1/models and GET /health";
        Self::new(StatusCode::NOT_FOUND, Some("unknown_url"), format!("there is no {method} {path}; known are {known}"))
    }

    /// A route that exists for another method.
    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let message = format!("{path} does not take {method}; chats are sent by POST, everything else is read by GET");
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

    /// This program failed, not the client.
    pub(super) fn internal(reason: &str) -> Self {
        let message = format!("internal fault: {reason}; please report it");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Some("internal"), message)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({"message": self.message, "type": kind, "param": self.param, "code": self.code});
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
        }
        response
    }
}
