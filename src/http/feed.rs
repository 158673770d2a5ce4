//! Push: a view's rows, then each committed change, as server-sent events or WebSocket messages.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::{Notify, mpsc};

use super::answer::ObjectWriter;
use super::json_out::Numbers;
use super::params::Params;
use super::views::all_columns;
use super::{ApiError, App};
use crate::engine::cluster::TopologyRecord;
use crate::engine::threads::moment;
use crate::types::Column;
use crate::views::{Feed, FeedError, PageRequest, ViewRef, find_view};

/// Events between a feed and its socket: one being sent, one ready.
const EVENTS_AHEAD: usize = 2;
/// Rows of one snapshot event.
const SNAPSHOT_ROWS: usize = 500;
/// How often a feed looks whether its rows are still here.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A comment or ping after so long without events, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Outgoing {
    kind: &'static str,
    json: String,
}

struct Options {
    view: ViewRef,
    snapshot: bool,
    numbers: Numbers,
}

impl Options {
    fn new(app: &App, name: &str, params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            view: find_view(app.published(), name)?,
            snapshot: params.choice("snapshot", &[("true", true), ("false", false)])?,
            numbers: params.numbers()?,
        })
    }
}

pub(super) async fn changes(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let options = Options::new(&app, &name, &params)?;
    let events = start(&app, options).await?;
    let events = stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((
            Ok::<_, Infallible>(Event::default().event(event.kind).data(event.json)),
            events,
        ))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response())
}

pub(super) async fn socket(
    State(app): State<App>,
    Path(name): Path<String>,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let options = Options::new(&app, &name, &params)?;
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "not_a_websocket",
            rejection.body_text(),
            "Open it as a WebSocket, or read /changes as server-sent events.",
        )
    })?;
    let events = start(&app, options).await?;
    Ok(upgrade.on_upgrade(move |socket| run_socket(socket, events)))
}

async fn run_socket(mut socket: WebSocket, mut events: mpsc::Receiver<Outgoing>) {
    loop {
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { break };
                // {"type":"changes", and the event's members
                let text = format!("{{\"type\":\"{}\",{}", event.kind, &event.json[1..]);
                if socket.send(Message::Text(Utf8Bytes::from(text))).await.is_err() {
                    return;
                }
            }
            received = socket.recv() => match received {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
            },
            () = tokio::time::sleep(KEEP_ALIVE) => {
                if socket.send(Message::Ping(axum::body::Bytes::new())).await.is_err() {
                    return;
                }
            }
        }
    }
    // the peer may be gone already; then there is nobody to tell
    let _: Result<(), axum::Error> = socket.send(Message::Close(None)).await;
}

/// Starts a feed whose events come out of the receiver; it ends when that is dropped.
async fn start(app: &App, options: Options) -> Result<mpsc::Receiver<Outgoing>, ApiError> {
    let place = app.open_feed()?;
    let wake = Arc::new(Notify::new());
    let waker = wake.clone();
    let view = options.view.clone();
    let feed = app
        .read(move |_| Feed::start(view, Box::new(move || waker.notify_one())))
        .await
        .map_err(|error| spread(app, &options.view).unwrap_or(error))?;
    let (events, receiver) = mpsc::channel(EVENTS_AHEAD);
    let columns = all_columns(&options.view);
    let mut runner = Runner {
        app: app.clone(),
        feed: Some(feed),
        options,
        columns,
        wake,
        events,
    };
    tokio::spawn(async move {
        let _place = place;
        if let Err(Some(error)) = runner.run().await {
            let json = error.to_json().to_string();
            // a reader who has gone needs no error
            let _: Result<(), _> = runner.events.send(Outgoing { kind: "error", json }).await;
        }
    });
    Ok(receiver)
}

/// Where other instances have partitions of a view, that is the answer: no other try here will end better.
fn spread(app: &App, view: &ViewRef) -> Option<ApiError> {
    let (cluster, published) = (app.published().cluster(), &view.published);
    let mut elsewhere = BTreeMap::new();
    for record in cluster.instances(moment()) {
        if record.instance == cluster.instance() {
            continue;
        }
        let same = |known: &&TopologyRecord| {
            *known.topology == *published.topology.name && known.generation == published.generation
        };
        let tasks = record.topologies.iter().filter(same).flat_map(|known| &known.tasks);
        let missing = tasks.filter(|task| task.sub == view.view().sub && published.task(task.id()).is_none());
        for task in missing {
            let place = record.url.as_deref().unwrap_or("an address that it does not say");
            let partition = task.partition;
            elsewhere.insert(
                partition,
                format!("partition {partition} is at instance {} ({place})", record.instance),
            );
        }
    }
    if elsewhere.is_empty() {
        return None;
    }
    let places: Vec<String> = elsewhere.into_values().collect();
    Some(ApiError::new(
        StatusCode::CONFLICT,
        "spread_view",
        format!(
            "a feed needs all partitions of view {} on this instance: {}",
            view.view().name,
            places.join(", ")
        ),
        "Read GET /v1/views/{name}/rows now and then instead: it gathers the rows of all instances.",
    ))
}

struct Runner {
    app: App,
    /// Away only while a blocking thread has it.
    feed: Option<Feed>,
    options: Options,
    columns: Vec<Column>,
    wake: Arc<Notify>,
    events: mpsc::Sender<Outgoing>,
}

/// Why a runner ended: `None`: nobody reads any more.
type Ended = Option<ApiError>;

impl Runner {
    async fn run(&mut self) -> Result<(), Ended> {
        if self.options.snapshot {
            self.send_snapshot().await?;
        }
        let mut stopping = self.app.stopping();
        loop {
            while let Some(event) = self.next_changes().await? {
                self.send(event).await?;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(CHECK_INTERVAL) => self.check()?,
                () = self.events.closed() => return Err(None),
                _ = stopping.wait_for(|stop| *stop) => return Err(Some(ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "stopping",
                    "the server stops",
                    "Connect again.",
                ))),
            }
        }
    }

    async fn send(&self, event: Outgoing) -> Result<(), Ended> {
        self.events.send(event).await.map_err(|_| None)
    }

    /// Runs `work` with the feed on a blocking thread.
    async fn with_feed<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Feed, &mut crate::views::Budget<'_>) -> Result<T, FeedError> + Send + 'static,
    ) -> Result<T, Ended> {
        let Some(mut feed) = self.feed.take() else {
            return Err(Some(ApiError::internal("the feed is in use")));
        };
        let (feed, result) = self
            .app
            .read(move |budget| {
                let result = work(&mut feed, budget);
                Ok((feed, result))
            })
            .await
            .map_err(Some)?;
        self.feed = Some(feed);
        result.map_err(|error| Some(feed_error(error)))
    }

    async fn send_snapshot(&mut self) -> Result<(), Ended> {
        let mut request = PageRequest {
            limit: SNAPSHOT_ROWS,
            ..PageRequest::default()
        };
        loop {
            let asked = request.clone();
            let page = self
                .with_feed(move |feed, budget| Ok(feed.snapshot_page(&asked, budget)?))
                .await?;
            let complete = page.cursor.is_none();
            let body = ObjectWriter::new()
                .view_rows("rows", &page.rows, &self.columns, self.options.numbers)
                .json("complete", &complete)
                .position(&page.positions)
                .finish();
            self.send(event("snapshot", body)).await?;
            request.cursor = page.cursor;
            if complete {
                return Ok(());
            }
        }
    }

    async fn next_changes(&mut self) -> Result<Option<Outgoing>, Ended> {
        // most wake-ups of a quiet view have nothing for it: no thread for those
        if !self.feed.as_ref().is_some_and(Feed::has_waiting) {
            return Ok(None);
        }
        let batch = self.with_feed(|feed, _| feed.next_batch()).await?;
        Ok(batch.map(|batch| {
            let body = ObjectWriter::new()
                .changes("changes", &batch.changes, &self.columns, self.options.numbers)
                .position(&batch.positions)
                .finish();
            event("changes", body)
        }))
    }

    fn check(&self) -> Result<(), Ended> {
        let feed = self.feed.as_ref();
        feed.map_or(Ok(()), |feed| feed.check(self.app.published()))
            .map_err(|error| Some(feed_error(error)))
    }
}

fn event(kind: &'static str, body: Vec<u8>) -> Outgoing {
    Outgoing {
        kind,
        json: String::from_utf8_lossy(&body).into_owned(),
    }
}

fn feed_error(error: FeedError) -> ApiError {
    let message = error.to_string();
    match error {
        FeedError::Slow => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            message,
            "Connect again (a new snapshot comes first), and read faster.",
        ),
        FeedError::Moved(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "moved", message, "Connect again."),
        FeedError::View(error) => error.into(),
    }
}
