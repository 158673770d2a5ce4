//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::ApiError;
use super::control::Control;
use super::metrics::RouteCounters;
use crate::engine::{Ingest, Published};
use crate::views::{Budget, QueryLimits, ViewError};

/// Limits of the interface.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Limits of one query or page.
    pub limits: QueryLimits,
    /// Queries and pages that run at a time; others wait their turn. Bounds threads and memory.
    pub concurrent_queries: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// Records of one request.
    pub records: usize,
    /// Feeds (SSE and WebSocket) at a time; each holds snapshots open.
    pub feeds: usize,
    /// Answers requests only that name this machine: the defence of a loopback address against pages of other sites (DNS rebinding).
    pub local_only: bool,
}

/// As many as answer quickly on a few cores.
pub const DEFAULT_CONCURRENT_QUERIES: usize = 8;
/// Room for a batch of 10,000 records of some hundred bytes.
pub const DEFAULT_BODY_BYTES: usize = 8 << 20;
/// One request is one flush of the producer.
pub const DEFAULT_RECORDS: usize = 10_000;
/// Browsers keep one a page.
pub const DEFAULT_FEEDS: usize = 256;

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            limits: QueryLimits::default(),
            concurrent_queries: DEFAULT_CONCURRENT_QUERIES,
            body_bytes: DEFAULT_BODY_BYTES,
            records: DEFAULT_RECORDS,
            feeds: DEFAULT_FEEDS,
            local_only: true,
        }
    }
}

/// What the interface is made of.
pub struct AppParts {
    /// What runs.
    pub published: Arc<Published>,
    /// Takes records; `None`: writing is switched off.
    pub ingest: Option<Arc<dyn Ingest>>,
    /// Pauses and resumes.
    pub control: Arc<dyn Control>,
    /// The application's id, which internal names begin with.
    pub app_id: String,
    /// Limits.
    pub settings: HttpSettings,
}

/// The state behind [`super::app`]; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    parts: AppParts,
    queries: Arc<Semaphore>,
    feeds: AtomicUsize,
    counters: RouteCounters,
    /// Why nothing is deployed yet.
    starting: Mutex<Option<String>>,
    stop: watch::Sender<bool>,
}

impl App {
    /// State over these parts.
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(Inner {
            queries: Arc::new(Semaphore::new(parts.settings.concurrent_queries.max(1))),
            parts,
            feeds: AtomicUsize::new(0),
            counters: RouteCounters::new(),
            starting: Mutex::new(Some("the topologies are being compiled and deployed".into())),
            stop: watch::Sender::new(false),
        }))
    }

    /// Said once the topologies are deployed; until then the process is not ready, and nothing but its health is answered.
    pub fn set_deployed(&self) {
        *self.0.starting.lock() = None;
    }

    /// Says why nothing is deployed yet (Kafka or the registry is away).
    pub fn set_starting(&self, reason: impl Into<String>) {
        *self.0.starting.lock() = Some(reason.into());
    }

    pub(super) fn starting(&self) -> Option<String> {
        self.0.starting.lock().clone()
    }

    /// Ends feeds, so that a graceful shutdown does not wait for them.
    pub fn stop(&self) {
        self.0.stop.send_replace(true);
    }

    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stop.subscribe()
    }

    pub(super) fn published(&self) -> &Arc<Published> {
        &self.0.parts.published
    }

    pub(super) fn ingest(&self) -> Option<&Arc<dyn Ingest>> {
        self.0.parts.ingest.as_ref()
    }

    pub(super) fn control(&self) -> &Arc<dyn Control> {
        &self.0.parts.control
    }

    pub(super) fn app_id(&self) -> &str {
        &self.0.parts.app_id
    }

    pub(super) fn settings(&self) -> &HttpSettings {
        &self.0.parts.settings
    }

    pub(super) fn counters(&self) -> &RouteCounters {
        &self.0.counters
    }

    pub(super) fn feeds(&self) -> usize {
        self.0.feeds.load(Relaxed)
    }

    /// A place for a feed, given back when dropped.
    pub(super) fn open_feed(&self) -> Result<FeedPlace, ApiError> {
        let most = self.settings().feeds;
        let taken = self
            .0
            .feeds
            .fetch_update(Relaxed, Relaxed, |n| (n < most).then_some(n + 1));
        match taken {
            Ok(_) => Ok(FeedPlace(self.clone())),
            Err(_) => Err(ApiError::busy(
                format!("{most} feeds are open"),
                "Close one of them first.",
            )),
        }
    }

    /// Reads rows on a blocking thread, within the limits; stops when nobody waits for the answer any more.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Budget<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let limits = self.settings().limits;
        let turn = tokio::time::timeout(limits.time, self.0.queries.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let most = self.settings().concurrent_queries;
            return Err(ApiError::busy(
                format!("{most} queries have been running for {} ms", limits.time.as_millis()),
                "Try again later, and narrow the queries.",
            ));
        };
        let waiting = Waiting(Arc::new(AtomicBool::new(true)));
        let wanted = waiting.0.clone();
        let read = move || {
            let _turn = turn;
            let deadline = Instant::now() + limits.time;
            let expired = || !wanted.load(Relaxed) || Instant::now() >= deadline;
            work(&mut Budget::new(limits, &expired))
        };
        let answer = tokio::task::spawn_blocking(read).await;
        drop(waiting);
        Ok(answer.map_err(ApiError::internal)??)
    }
}

/// Says, when dropped, that nobody waits any more.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// A place among the feeds.
pub(super) struct FeedPlace(App);

impl Drop for FeedPlace {
    fn drop(&mut self) {
        self.0.0.feeds.fetch_sub(1, Relaxed);
    }
}

/// Milliseconds since the epoch.
pub(super) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_millis() as i64
}
