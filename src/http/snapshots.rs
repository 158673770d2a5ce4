//! Snapshots of tasks' state for other instances. Internal: between programs of one version, in no description of the interface.
//!
//! ```text
//!   POST   /internal/v1/snapshots/{topology}/{generation}/{task}   makes a checkpoint: {"id", "manifest"}, behind a blank now and then while it is hashed
//!   GET    /internal/v1/snapshots/{id}/{file}                      a file of it
//!   DELETE /internal/v1/snapshots/{id}                             it is done with
//! ```
//! *Invariant*: what costs something has a content type that no page in a browser can send by itself; who goes away leaves nothing behind.

use std::io::{self, Read};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use futures_util::stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::{ApiError, App};
use crate::engine::TaskId;
use crate::engine::snapshots::{OfferError, OfferedFile, Offers, QUESTION_TYPE};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Parts of an answer between the thread that makes a checkpoint and the socket: a blank more says nothing more.
const PARTS_AHEAD: usize = 2;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/internal/v1/snapshots/{topology}/{generation}/{task}", post(open))
        .route("/internal/v1/snapshots/{id}/{file}", get(file))
        .route("/internal/v1/snapshots/{id}", delete(close))
}

async fn open(
    State(app): State<App>,
    Path((topology, generation, task)): Path<(String, u32, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if headers
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind != QUESTION_TYPE)
    {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "internal",
            "this path is for other instances",
            "Set `snapshots` to keep copies of the state in a directory or bucket.",
        ));
    }
    let offers = offers(&app)?;
    let task = parse_task(&task)
        .ok_or_else(|| ApiError::bad("no task is called so", "A task is SUBTOPOLOGY_PARTITION, such as 0_3."))?;
    let (begun, has_begun) = oneshot::channel();
    let (parts, receiver) = mpsc::channel(PARTS_AHEAD);
    // It ends by itself: with the last part, or when nobody takes parts any more.
    drop(tokio::task::spawn_blocking(move || {
        make(&offers, &topology, generation, task, begun, &parts)
    }));
    has_begun.await.map_err(ApiError::internal)??;
    let body = stream::unfold(receiver, |mut parts| async move {
        let part: io::Result<Bytes> = parts.recv().await?;
        Some((part, parts))
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, Body::from_stream(body)).into_response())
}

/// Makes a checkpoint: says whether it has a place, then that it goes on, then what it is.
fn make(
    offers: &Offers,
    topology: &str,
    generation: u32,
    task: TaskId,
    begun: oneshot::Sender<Result<(), OfferError>>,
    parts: &mpsc::Sender<io::Result<Bytes>>,
) {
    let opening = match offers.begin(topology, generation, task) {
        Ok(opening) => opening,
        // who has gone away does not need to know
        Err(error) => return drop(begun.send(Err(error))),
    };
    if begun.send(Ok(())).is_err() {
        return;
    }
    let made = opening.finish(&mut || {
        let sent = parts.try_send(Ok(Bytes::from_static(b" ")));
        !matches!(sent, Err(TrySendError::Closed(_)))
    });
    match made {
        Ok(opened) => {
            let mut body = format!("{{\"id\":\"{}\",\"manifest\":", opened.id).into_bytes();
            body.extend_from_slice(&opened.manifest);
            body.push(b'}');
            if parts.blocking_send(Ok(body.into())).is_err() {
                offers.close(&opened.id);
            }
        }
        Err(error) => {
            tracing::info!(topology, %task, %error, "a checkpoint for another instance was not made");
            // the answer has begun: it is cut off
            let _ = parts.blocking_send(Err(io::Error::other(error)));
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
async fn next_chunk(mut file: OfferedFile) -> io::Result<Option<(Bytes, OfferedFile)>> {
    let read = move || {
        let mut chunk = vec![0; CHUNK];
        let n = file.file.read(&mut chunk)?;
        chunk.truncate(n);
        Ok((n > 0).then(|| (Bytes::from(chunk), file)))
    };
    tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
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
