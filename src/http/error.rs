//! Errors as clients see them: `{"error": {"code", "message", "hint"}}` with a fitting status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};

use super::answer::json_response;
use super::control::ControlError;
use super::internal;
use super::json_in::Problem;
use crate::engine::IngestError;
use crate::views::{Positions, ViewError};

/// Seconds after which what is not there now may be: rows move within a few.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An error answer.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// The status.
    pub status: StatusCode,
    /// A stable word for programs.
    pub code: &'static str,
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// What few errors have.
    pub details: Option<Box<Details>>,
}

/// What few errors have.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// Each problem of a request, by its JSON path.
    pub problems: Vec<Problem>,
    /// The input offsets that the answer reflects, for a row that does not exist.
    pub position: Option<Positions>,
}

impl ApiError {
    /// An error.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            hint: hint.into(),
            details: None,
        }
    }

    /// A wrong request.
    pub fn bad(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message, hint)
    }

    /// Something that does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message, hint)
    }

    /// Too much at a time.
    pub(super) fn busy(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message, hint)
    }

    /// A request whose parts are wrong: all of them at once.
    pub(super) fn problems(problems: Vec<Problem>) -> Self {
        let message = match &problems[..] {
            [one] => format!("{}: {}", one.path, one.message),
            many => format!("{} problems; nothing was written", many.len()),
        };
        Self {
            details: Some(Box::new(Details {
                problems,
                position: None,
            })),
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_record",
                message,
                "GET /v1/streams shows the columns and their types.",
            )
        }
    }

    /// Our own fault; the details go to the log, not to the client.
    pub(super) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed inside");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the request failed inside Millstream",
            "See the log of the server; please report it.",
        )
    }

    /// As JSON.
    pub fn to_json(&self) -> Json {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.clone().into());
        error.insert("hint".into(), self.hint.clone().into());
        let details = self.details.as_deref();
        if let Some(details) = details.filter(|d| !d.problems.is_empty()) {
            let problem = |p: &Problem| json!({"path": p.path, "message": p.message});
            error.insert("problems".into(), details.problems.iter().map(problem).collect());
        }
        let mut body = Map::new();
        body.insert("error".into(), error.into());
        if let Some(position) = details.and_then(|d| d.position.as_ref()) {
            body.insert("position".into(), position.to_json());
        }
        body.into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, self.to_json().to_string().into_bytes());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl From<ViewError> for ApiError {
    fn from(error: ViewError) -> Self {
        let (status, code) = match &error {
            ViewError::UnknownView { .. } => (StatusCode::NOT_FOUND, "unknown_view"),
            ViewError::AmbiguousView { .. } => (StatusCode::CONFLICT, "ambiguous_view"),
            ViewError::NotReady { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
            ViewError::Behind { .. } => (StatusCode::GATEWAY_TIMEOUT, internal::BEHIND),
            ViewError::Peer(_) => (StatusCode::SERVICE_UNAVAILABLE, "peer"),
            ViewError::BadRequest { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            ViewError::Limit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "query_limit"),
            ViewError::Sql(_) => (StatusCode::BAD_REQUEST, "sql"),
            ViewError::Row { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "row"),
            ViewError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "store"),
        };
        Self::new(status, code, error.to_string(), error.hint())
    }
}

impl From<IngestError> for ApiError {
    fn from(error: IngestError) -> Self {
        let (status, code, hint) = match &error {
            IngestError::Record { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "invalid_record",
                "Nothing was written. GET /v1/streams shows the columns and their types.",
            ),
            IngestError::TooLarge(_) => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "Send smaller records, or raise max.message.bytes of the topic.",
            ),
            IngestError::Refused(_) => (
                StatusCode::CONFLICT,
                "refused",
                "Nothing was written. Correct the topic, its schema or the permissions, then try again.",
            ),
            IngestError::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "log_unavailable",
                "Nothing was written; try again.",
            ),
            IngestError::Unknown(_) => (
                StatusCode::GATEWAY_TIMEOUT,
                "unknown_outcome",
                "Some or all of the records may have been written, or may be written yet.",
            ),
        };
        Self::new(status, code, error.to_string(), hint)
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::Unknown(_) => {
                Self::not_found("unknown_topology", message, "GET /v1/topologies lists the topologies.")
            }
            ControlError::Refused(_) => Self::new(StatusCode::CONFLICT, "refused", message, "See its status."),
            ControlError::Unavailable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "log_unavailable",
                message,
                "Try again.",
            ),
        }
    }
}
