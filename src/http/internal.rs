//! What other instances ask of this one: the rows of partitions that are here, and only those, so that no question is passed on.
//!
//! It is not for users: it answers in frames ([`crate::views::FrameReader`]), and refuses whoever runs another release or plan. It runs on places of
//! its own, so that instances whose queries wait for each other do not wait for ever.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::{ApiError, App};
use crate::engine::threads::moment;
use crate::types::TopicPartition;
use crate::views::{
    FrameWriter, Limit, Need, QueryLimits, Refused, ShareRequest, ViewError, ViewParts, ViewRef, share, shared_parts,
    shared_view, speaks,
};

/// Where it is.
pub(super) const PATH: &str = "/internal/v1/rows";
/// The type of a question. No page in a browser can send it without being asked first.
pub(super) const QUESTION: &str = "application/x-millstream-question";
/// The type of an answer.
pub(super) const ANSWER: &str = "application/x-millstream-rows";
/// The code of the refusal that a wait for a token has ended.
pub(super) const BEHIND: &str = "behind";
/// Frames between the thread that reads rows and the socket: one being sent, one ready.
const FRAMES_AHEAD: usize = 2;
/// However long the asker would wait.
const LONGEST: Duration = Duration::from_secs(600);

pub(super) async fn rows(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    if headers.get(header::CONTENT_TYPE) != Some(&HeaderValue::from_static(QUESTION)) {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "internal",
            "this path is for other instances",
            "Read GET /v1/views/{name}/rows instead: any instance answers for all rows.",
        ));
    }
    let body = body.map_err(|rejection| ApiError::bad(rejection.body_text(), "See the log of the asking instance."))?;
    let request = parse(&body)?;
    let deadline = Instant::now() + Duration::from_millis(request.time_ms).min(LONGEST);
    let asked = request.clone();
    let instance = app.published().cluster().instance().to_string();
    let view = shared_view(app.published(), &instance, &asked).map_err(refused)?;
    let parts = open(&app, &view, &request).await?;
    let turn = match timeout_at(deadline, app.shares().acquire_owned()).await {
        Ok(Ok(turn)) => turn,
        Ok(Err(_)) | Err(_) => {
            return Err(ApiError::busy(
                "too many questions of other instances",
                "Try again later.",
            ));
        }
    };
    let (frames, receiver) = mpsc::channel::<Bytes>(FRAMES_AHEAD);
    let work = Work {
        app,
        view,
        parts,
        request,
        frames,
        deadline,
        runtime: Handle::current(),
    };
    // it ends by itself: at the deadline, or when nobody takes its frames any more
    drop(tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work.run();
    }));
    let body = stream::unfold(receiver, |mut frames| async move {
        let frame = frames.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), frames))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(ANSWER));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A question; one of another version is said to be one, whatever its shape.
fn parse(body: &[u8]) -> Result<ShareRequest, ApiError> {
    #[derive(serde::Deserialize)]
    struct Version {
        wire: u32,
    }
    let wrong = |error: serde_json::Error| {
        ApiError::bad(
            format!("the question cannot be read: {error}"),
            "Run the same release everywhere.",
        )
    };
    let version: Version = serde_json::from_slice(body).map_err(wrong)?;
    speaks(version.wire).map_err(refused)?;
    let mut request: ShareRequest = serde_json::from_slice(body).map_err(wrong)?;
    request.partitions.sort_unstable();
    request.partitions.dedup();
    Ok(request)
}

fn refused(refused: Refused) -> ApiError {
    ApiError::new(StatusCode::CONFLICT, "other_plan", refused.0, "See GET /v1/instances.")
}

/// Opens the partitions that are asked for, once they have passed what the asker needs. Those that are not here are said to be missing.
async fn open(app: &App, view: &ViewRef, request: &ShareRequest) -> Result<ViewParts, ApiError> {
    let needed = request.need.iter();
    let need =
        Need::new(needed.map(|(topic, partition, next)| (TopicPartition::new(topic.as_str(), *partition), *next)));
    let wait = Duration::from_millis(request.need_ms).min(LONGEST);
    let (read, partitions, staleness) = (view.clone(), request.partitions.clone(), request.max_staleness_ms);
    let open = move || {
        let mut parts = read.open_these(&partitions);
        // who owns a partition and has not passed the token will; a copy of it cannot promise to
        if parts.behind(&need).is_empty() {
            parts.take_standbys(&read, staleness, moment());
        }
        let behind = parts.behind(&need);
        if behind.is_empty() || !parts.standbys.is_empty() {
            parts.set_aside(&need);
            return Ok(parts);
        }
        Err(behind)
    };
    // most have passed what is needed: they take no place of those that wait
    let (first, open) = tokio::task::spawn_blocking(move || (open(), open))
        .await
        .map_err(ApiError::internal)?;
    match first {
        Ok(parts) => Ok(parts),
        Err(_) => app.wait_until(view, Instant::now() + wait, open).await,
    }
}

/// The reading of a share, on a blocking thread.
struct Work {
    app: App,
    view: ViewRef,
    parts: ViewParts,
    request: ShareRequest,
    frames: mpsc::Sender<Bytes>,
    deadline: Instant,
    runtime: Handle,
}

impl Work {
    fn run(self) {
        let limits = self.app.settings().limits;
        let limits = QueryLimits {
            scanned_rows: limits.scanned_rows.min(self.request.max_rows.max(1)),
            time: self.deadline.saturating_duration_since(Instant::now()),
            ..limits
        };
        let expired = || self.frames.is_closed() || Instant::now() >= self.deadline;
        let mut send = |frame: Vec<u8>| self.send(frame);
        let published = Arc::clone(self.app.published());
        let result = send(FrameWriter::parts(&shared_parts(&self.parts))).and_then(|()| {
            let mut budget = crate::views::Budget::new(limits, &expired);
            share(
                &published,
                &self.view,
                &self.parts,
                &self.request,
                &mut budget,
                &mut send,
            )
        });
        if let Err(error) = result {
            tracing::debug!(%error, "a share was not sent whole");
            // whoever has gone needs no error
            let _: Result<(), ViewError> = self.send(FrameWriter::error(&error));
        }
    }

    /// Waits for the socket, but not beyond the deadline: an asker that hangs does not hold a thread.
    fn send(&self, frame: Vec<u8>) -> Result<(), ViewError> {
        let sending = timeout_at(self.deadline, self.frames.send(Bytes::from(frame)));
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ViewError::Limit {
                which: Limit::Time,
                limit: self.request.time_ms,
            }),
        }
    }
}
