//! Asking other instances: one client whose connections are kept, answers that are read frame by frame.
//!
//! An answer is never believed beyond its checks: each frame has a checksum and a bound, rows must be of the partitions that were asked for, and
//! only the end frame makes it whole. Every wait ends at the deadline of the reader who is waited for.

use std::collections::VecDeque;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderValue, Request, StatusCode, header};
use futures_util::StreamExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use super::internal;
use crate::engine::cluster::Peer;
use crate::views::{
    Budget, Frame, FrameReader, Item, Limit, RowStream, ShareRequest, SharedEnd, SharedPart, SharedParts, ViewError,
};

/// Longest wait for a connection: an instance that is up answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections to one instance that are kept while nobody uses them.
const IDLE_CONNECTIONS: usize = 8;
/// How long they are kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of a refusal that are read.
const MOST_REFUSAL: usize = 16 << 10;

/// The client.
pub(super) struct Peers {
    client: Client<HttpConnector, Body>,
}

/// Why an instance gives no answer.
#[derive(Debug)]
pub(super) struct PeerError {
    /// What to tell the reader.
    pub reason: String,
    /// It has not caught up with the token: asking another one is no use.
    pub behind: bool,
    /// The connection broke before anything of an answer came.
    broken: bool,
}

impl PeerError {
    fn new(peer: &Peer, what: impl std::fmt::Display) -> Self {
        Self {
            reason: format!("instance {} at {}: {what}", peer.instance, peer.url),
            behind: false,
            broken: false,
        }
    }
}

impl PeerError {
    /// Of an answer that failed on its way.
    pub fn because(error: ViewError) -> Self {
        let reason = match error {
            ViewError::Peer(reason) => reason,
            other => other.to_string(),
        };
        Self {
            reason,
            behind: false,
            broken: false,
        }
    }
}

impl Peers {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { client }
    }

    /// Asks, and waits for the first frame until `begin_by`; the rest has to come before the deadline. A kept connection that the other side has closed meanwhile is opened again.
    pub async fn ask(
        &self,
        peer: &Peer,
        request: &ShareRequest,
        authorization: Option<&HeaderValue>,
        (begin_by, deadline): (Instant, Instant),
    ) -> Result<Answer, PeerError> {
        let times = (begin_by, deadline);
        match self.ask_once(peer, request, authorization, times).await {
            Err(error) if error.broken => self.ask_once(peer, request, authorization, times).await,
            answer => answer,
        }
    }

    async fn ask_once(
        &self,
        peer: &Peer,
        request: &ShareRequest,
        authorization: Option<&HeaderValue>,
        (begin_by, deadline): (Instant, Instant),
    ) -> Result<Answer, PeerError> {
        let body = serde_json::to_vec(request).map_err(|error| PeerError::new(peer, error))?;
        let url = format!("{}{}", peer.url.trim_end_matches('/'), internal::PATH);
        let mut builder = Request::post(url).header(header::CONTENT_TYPE, internal::QUESTION);
        if let Some(value) = authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        let sent = builder.body(Body::from(body));
        let sent = sent.map_err(|error| PeerError::new(peer, format!("its address cannot be used: {error}")))?;
        let response = match timeout_at(begin_by, self.client.request(sent)).await {
            Err(_) => return Err(PeerError::new(peer, "it has not answered in time")),
            Ok(Err(error)) => {
                return Err(PeerError {
                    broken: !error.is_connect(),
                    ..PeerError::new(peer, format!("it cannot be reached: {}", causes(&error)))
                });
            }
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        let ours = response.headers().get(header::CONTENT_TYPE) == Some(&HeaderValue::from_static(internal::ANSWER));
        let mut body = Body::new(response.into_body()).into_data_stream();
        if status != StatusCode::OK {
            return Err(refusal(peer, status, &mut body, begin_by).await);
        }
        if !ours {
            return Err(PeerError::new(
                peer,
                "what answers there is no instance of this application",
            ));
        }
        let mut answer = Answer {
            said: Said {
                peer: peer.clone(),
                parts: Vec::new(),
                missing: Vec::new(),
            },
            body,
            frames: FrameReader::new(usize::try_from(request.max_frame).unwrap_or(usize::MAX)),
            deadline: begin_by,
        };
        match answer.frame().await {
            Ok(Frame::Parts(SharedParts { parts, missing })) => {
                let mut said: Vec<i32> = parts.iter().map(|part| part.partition).collect();
                said.extend(missing.iter().map(|(partition, _)| *partition));
                said.sort_unstable();
                if said != request.partitions {
                    return Err(PeerError::new(
                        peer,
                        "it answers for other partitions than it was asked for",
                    ));
                }
                answer.said.parts = parts;
                answer.said.missing = missing;
                answer.deadline = deadline;
                Ok(answer)
            }
            Ok(Frame::Error(error)) => Err(PeerError::new(peer, error)),
            Ok(Frame::Rows(_) | Frame::End(_)) => Err(PeerError::new(peer, "its answer does not begin as one")),
            Err(reason) => Err(PeerError::new(peer, reason)),
        }
    }
}

/// The innermost cause is what a person understands: "connection refused".
fn causes(error: &dyn std::error::Error) -> String {
    let last = std::iter::successors(error.source(), |error| error.source()).last();
    last.map_or_else(|| error.to_string(), ToString::to_string)
}

/// What an instance says that refuses, in the form of all our errors.
async fn refusal(peer: &Peer, status: StatusCode, body: &mut BodyDataStream, deadline: Instant) -> PeerError {
    let mut text = Vec::new();
    while let Ok(Some(Ok(piece))) = timeout_at(deadline, body.next()).await {
        text.extend_from_slice(&piece);
        if text.len() > MOST_REFUSAL {
            text.truncate(MOST_REFUSAL);
            break;
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let said = |member: &str| json["error"][member].as_str().unwrap_or_default().to_string();
    let what = match said("message") {
        message if message.is_empty() => format!("it answers with status {status}"),
        message => message,
    };
    PeerError {
        behind: said("code") == internal::BEHIND,
        ..PeerError::new(peer, what)
    }
}

/// What an answer begins with.
#[derive(Clone)]
pub(super) struct Said {
    /// Who answers.
    pub peer: Peer,
    /// Whose rows they are.
    pub parts: Vec<SharedPart>,
    /// Partitions that are not there, and why.
    pub missing: Vec<(i32, String)>,
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
enum NoFrame {
    /// The reader's time has ended.
    #[error("it has not sent all of its rows in time")]
    Late,
    /// The answer is broken.
    #[error("{0}")]
    Wrong(String),
}

/// An answer that is being read.
pub(super) struct Answer {
    /// What it begins with.
    pub said: Said,
    body: BodyDataStream,
    frames: FrameReader,
    deadline: Instant,
}

impl Answer {
    /// The next frame.
    async fn frame(&mut self) -> Result<Frame, NoFrame> {
        let wrong = |what: String| Err(NoFrame::Wrong(what));
        loop {
            match self.frames.take() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(error) => return wrong(error.to_string()),
            }
            match timeout_at(self.deadline, self.body.next()).await {
                Err(_) => return Err(NoFrame::Late),
                Ok(None) => return wrong("its answer ends before its end".into()),
                Ok(Some(Err(error))) => return wrong(format!("its answer broke off: {}", causes(&error))),
                Ok(Some(Ok(bytes))) => self.frames.push(&bytes),
            }
        }
    }

    fn failed(&self, reason: impl std::fmt::Display) -> ViewError {
        ViewError::Peer(PeerError::new(&self.said.peer, reason).reason)
    }

    /// All of its rows; for answers that are small.
    pub async fn all(mut self) -> Result<(VecDeque<Item>, SharedEnd), ViewError> {
        let mut all = VecDeque::new();
        loop {
            match self.frame().await {
                Ok(Frame::Rows(rows)) => all.extend(self.checked(rows)?),
                Ok(Frame::End(end)) => return Ok((all, end)),
                Ok(Frame::Error(error)) => return Err(named(&self.said.peer, error)),
                Ok(Frame::Parts(_)) => return Err(self.failed("its answer begins twice")),
                Err(reason) => return Err(self.failed(reason)),
            }
        }
    }

    fn checked(&self, rows: VecDeque<Item>) -> Result<VecDeque<Item>, ViewError> {
        let asked = |item: &Item| self.said.parts.iter().any(|part| part.partition == item.partition);
        match rows.iter().all(asked) {
            true => Ok(rows),
            false => Err(self.failed("it sends rows of partitions that it was not asked for")),
        }
    }
}

/// An error of an instance, with its name where the text does not say whose it is.
fn named(peer: &Peer, error: ViewError) -> ViewError {
    match error {
        ViewError::Peer(message) => ViewError::Peer(PeerError::new(peer, message).reason),
        other => other,
    }
}

/// The rows of an answer, for a thread that may wait.
pub(super) struct RemoteStream {
    answer: Answer,
    runtime: Handle,
    rows: VecDeque<Item>,
    /// A limit of ours ends it with an item that says so.
    lenient: bool,
    /// The reader's time, for its error.
    time_ms: u64,
    /// The place of the row that was given last.
    last: Option<Item>,
    ended: bool,
}

impl RemoteStream {
    /// Reads an answer. Where it is `lenient`, a limit is the end and no error.
    pub fn new(answer: Answer, runtime: Handle, lenient: bool, time_ms: u64) -> Self {
        Self {
            answer,
            runtime,
            rows: VecDeque::new(),
            lenient,
            time_ms,
            last: None,
            ended: false,
        }
    }

    /// Its time has ended: where it is lenient, behind the row that was given last.
    fn late(&mut self) -> Result<(), ViewError> {
        let Some(last) = self.last.take().filter(|_| self.lenient) else {
            return Err(ViewError::Limit {
                which: Limit::Time,
                limit: self.time_ms,
            });
        };
        self.ended = true;
        self.rows.push_back(last);
        Ok(())
    }
}

/// Where an item stands, as an end of its stream.
fn cut_at(item: &Item) -> Item {
    Item {
        row: None,
        range: item.range,
        key: item.key.clone(),
        partition: item.partition,
    }
}

impl RowStream for RemoteStream {
    fn next(&mut self, budget: &mut Budget<'_>) -> Result<Option<Item>, ViewError> {
        loop {
            if let Some(item) = self.rows.pop_front() {
                match item.row.as_ref().map_or(Ok(()), |_| budget.scan()) {
                    Ok(()) => {}
                    // this row is given out yet; what is behind it is not looked at
                    Err(ViewError::Limit { .. }) if self.lenient => {
                        self.ended = true;
                        self.rows = [cut_at(&item)].into();
                    }
                    Err(error) => return Err(error),
                }
                if self.lenient && self.rows.is_empty() {
                    self.last = Some(cut_at(&item));
                }
                return Ok(Some(item));
            }
            if self.ended {
                return Ok(None);
            }
            match self.runtime.block_on(self.answer.frame()) {
                Ok(Frame::Rows(rows)) => self.rows = self.answer.checked(rows)?,
                Ok(Frame::End(end)) => {
                    self.ended = true;
                    let cut = |(range, key, partition): (u32, crate::views::Blob, i32)| Item {
                        range,
                        key: key.0,
                        partition,
                        row: None,
                    };
                    self.rows.extend(end.cut.map(cut));
                }
                Ok(Frame::Error(error)) => return Err(named(&self.answer.said.peer, error)),
                Ok(Frame::Parts(_)) => return Err(self.answer.failed("its answer begins twice")),
                Err(NoFrame::Late) => self.late()?,
                Err(NoFrame::Wrong(reason)) => return Err(self.answer.failed(reason)),
            }
        }
    }
}
