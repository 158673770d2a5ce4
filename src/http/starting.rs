//! Until the topologies are deployed nothing is answered but whether the process lives and what it waits for.
//!
//! HTTP is up before Kafka and the registry are, so that whoever watches the process is told why it is not ready.

use axum::extract::Request;
use axum::http::StatusCode;

use super::{ApiError, App};

/// Paths that answer from the first moment on.
const ALWAYS: &str = "/health/";

/// # Errors
/// 503 with what is waited for.
pub(super) fn check(app: &App, request: &Request) -> Result<(), ApiError> {
    match app.starting() {
        Some(reason) if !request.uri().path().starts_with(ALWAYS) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "starting",
            format!("not ready yet: {reason}"),
            "Try again; GET /health/ready says when everything is there.",
        )),
        _ => Ok(()),
    }
}
