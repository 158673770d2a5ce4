//! What a reader may ask for beside rows: how old a copy's state may be, and what the rows must reflect.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::answer::ObjectWriter;
use super::gather::ReadOptions;
use super::params::Params;
use super::{ApiError, App};
use crate::views::{CatchUp, Need, StandbyPart, Token, ViewRef};

/// How long a token is waited for unless told otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for a token.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The oldest state that may be asked for: anything that a copy can show.
const OLDEST: Duration = Duration::from_secs(24 * 3600);
/// The header of an answer with rows of copies.
const STANDBY: &str = "millstream-standby";

/// What a request says of its sender.
pub(super) struct Sender(Option<HeaderValue>);

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get(header::AUTHORIZATION).cloned()))
    }
}

impl Sender {
    /// For other instances.
    pub fn into_header(self) -> Option<HeaderValue> {
        self.0
    }
}

/// Reads the parameters, and waits until the view has caught up with the token that they name.
pub(super) async fn options(
    app: &App,
    view: &ViewRef,
    params: &Params,
    sender: Sender,
) -> Result<ReadOptions, ApiError> {
    let staleness = params.duration("max-staleness", Duration::ZERO, OLDEST)?;
    let wait = params.duration("timeout", DEFAULT_WAIT, LONGEST_WAIT)?;
    let need_by = Instant::now() + wait;
    let need = match params.get("after") {
        None => Need::default(),
        Some(text) => catch_up(app, view, Token::parse(text)?, need_by).await?,
    };
    Ok(ReadOptions {
        max_staleness_ms: staleness.as_millis() as i64,
        need,
        need_by,
        authorization: sender.0,
    })
}

/// Waits until everything before the view's own tasks has passed the token, and these too, as far as can be seen from here.
async fn catch_up(app: &App, view: &ViewRef, token: Token, need_by: Instant) -> Result<Need, ApiError> {
    let Some(progress) = app.progress().cloned() else {
        return Err(ApiError::bad(
            "this instance cannot tell how far views are",
            "Ask another instance.",
        ));
    };
    let mut stages = CatchUp::new(app.published(), &*progress, view, &token)?;
    let read = view.clone();
    app.wait_until(view, need_by, move || {
        let away = |reason: String| vec![reason];
        let waits = stages.step(&*progress).map_err(away)?;
        if !waits.is_empty() {
            return Err(waits);
        }
        let need = stages.need();
        let parts = read.open_available();
        let waits = parts.behind(&need);
        if !waits.is_empty() {
            return Err(waits);
        }
        let elsewhere: Vec<i32> = parts.missing.iter().filter_map(|missing| missing.partition).collect();
        let waits = stages.own(&*progress, &elsewhere).map_err(away)?;
        match waits.is_empty() {
            true => Ok(need),
            false => Err(waits),
        }
    })
    .await
}

/// `[{"partition": 1, "behind_ms": 40}]`.
fn standbys_json(standbys: &[StandbyPart]) -> Json {
    let part = |standby: &StandbyPart| json!({"partition": standby.partition, "behind_ms": standby.behind_ms});
    standbys.iter().map(part).collect()
}

/// 200 with the object; copies whose rows are in it are named in it and in a header.
pub(super) fn answer(writer: ObjectWriter, standbys: &[StandbyPart]) -> Response {
    if standbys.is_empty() {
        return writer.ok();
    }
    let mut response = writer.json("standby", &standbys_json(standbys)).ok();
    let part = |standby: &StandbyPart| format!("partition={};behind_ms={}", standby.partition, standby.behind_ms);
    let text = standbys.iter().map(part).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(STANDBY, value);
    }
    response
}
