//! Snapshots of tasks' state for other instances. Internal: between programs of one version, in no description of the interface.
//!
//! ```text
//!   GET    /internal/v1/snapshots/{topology}/{generation}/{task}   makes a checkpoint: {"id", "manifest"}
//!   GET    /internal/v1/snapshots/{id}/{file}                      a file of it
//!   DELETE /internal/v1/snapshots/{id}                             it is done with
//! ```

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use futures_util::stream;

use super::answer::json_response;
use super::{ApiError, App};
use crate::engine::TaskId;
use crate::engine::snapshots::{OfferError, OfferedFile, Offers};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Between two looks for checkpoints that nobody reads any more.
const SWEEP: Duration = Duration::from_secs(20);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/internal/v1/snapshots/{topology}/{generation}/{task}", get(open))
        .route("/internal/v1/snapshots/{id}/{file}", get(file))
        .route("/internal/v1/snapshots/{id}", delete(close))
}

async fn open(
    State(app): State<App>,
    Path((topology, generation, task)): Path<(String, u32, String)>,
) -> Result<Response, ApiError> {
    let offers = offers(&app)?;
    let task = parse_task(&task)
        .ok_or_else(|| ApiError::bad("no task is called so", "A task is SUBTOPOLOGY_PARTITION, such as 0_3."))?;
    let opened = {
        let offers = offers.clone();
        work(move || offers.open(&topology, generation, task)).await??
    };
    tokio::spawn(sweep(offers));
    let mut body = format!("{{\"id\":\"{}\",\"manifest\":", opened.id).into_bytes();
    body.extend_from_slice(&opened.manifest);
    body.push(b'}');
    Ok(json_response(StatusCode::OK, body))
}

/// Removes checkpoints that were left; those that are done with are gone already.
async fn sweep(offers: Arc<Offers>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let offers = offers.clone();
        match tokio::task::spawn_blocking(move || offers.sweep()).await {
            Ok(left) if left > 0 => {}
            _ => return,
        }
    }
}

async fn file(State(app): State<App>, Path((id, name)): Path<(String, String)>) -> Result<Response, ApiError> {
    let offers = offers(&app)?;
    let file = work(move || offers.file(&id, &name)).await??;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.size.to_string()),
    ];
    Ok((headers, Body::from_stream(stream::try_unfold(file, next_chunk))).into_response())
}

/// One chunk at a time: the next is read when the connection has taken the last.
async fn next_chunk(mut file: OfferedFile) -> std::io::Result<Option<(Bytes, OfferedFile)>> {
    let read = move || {
        let mut chunk = vec![0; CHUNK];
        let n = file.file.read(&mut chunk)?;
        chunk.truncate(n);
        Ok((n > 0).then(|| (Bytes::from(chunk), file)))
    };
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}

async fn close(State(app): State<App>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let offers = offers(&app)?;
    work(move || offers.close(&id)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn offers(app: &App) -> Result<Arc<Offers>, ApiError> {
    app.offers()
        .cloned()
        .ok_or_else(|| ApiError::not_found("no_snapshot", "this instance serves no snapshots", "Ask another one."))
}

async fn work<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)
}

fn parse_task(text: &str) -> Option<TaskId> {
    let (sub, partition) = text.split_once('_')?;
    Some(TaskId {
        sub: sub.parse().ok()?,
        partition: partition.parse().ok()?,
    })
}

impl From<OfferError> for ApiError {
    fn from(error: OfferError) -> Self {
        let message = error.to_string();
        match error {
            OfferError::NotHere(_) => Self::not_found("no_snapshot", message, "Ask another instance."),
            OfferError::Busy => Self::busy(message, "Try again later."),
            OfferError::Failed(reason) => Self::internal(reason),
        }
    }
}
