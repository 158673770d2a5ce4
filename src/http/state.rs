//! What the handlers share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout_at;

use super::ApiError;
use super::control::Control;
use super::metrics::RouteCounters;
use super::peers::Peers;
use crate::engine::snapshots::Offers;
use crate::engine::{Ingest, Progress, Published};
use crate::views::{Budget, QueryLimits, ViewError, ViewRef};

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

/// Questions of other instances that are answered at a time, for each query that runs at a time here.
const SHARES_PER_QUERY: usize = 4;
/// Readers that wait for a view to catch up, at a time; each holds a thread.
const MOST_WAITS: usize = 64;
/// Between two looks at something that is waited for, unless a commit comes first.
pub(super) const LOOK: Duration = Duration::from_millis(50);

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
    shares: Arc<Semaphore>,
    waits: Semaphore,
    peers: Peers,
    progress: OnceLock<Arc<dyn Progress>>,
    feeds: AtomicUsize,
    counters: RouteCounters,
    /// Why nothing is deployed yet.
    starting: Mutex<Option<String>>,
    stop: watch::Sender<bool>,
    offers: OnceLock<Arc<Offers>>,
}

impl App {
    /// State over these parts.
    pub fn new(parts: AppParts) -> Self {
        let queries = parts.settings.concurrent_queries.max(1);
        Self(Arc::new(Inner {
            queries: Arc::new(Semaphore::new(queries)),
            shares: Arc::new(Semaphore::new(queries * SHARES_PER_QUERY)),
            waits: Semaphore::new(MOST_WAITS),
            peers: Peers::new(),
            progress: OnceLock::new(),
            parts,
            feeds: AtomicUsize::new(0),
            counters: RouteCounters::new(),
            starting: Mutex::new(Some("the topologies are being compiled and deployed".into())),
            stop: watch::Sender::new(false),
            offers: OnceLock::new(),
        }))
    }

    /// Says where committed offsets can be asked for, so that readers can wait for what was written. Once.
    #[must_use]
    pub fn with_progress(self, progress: Arc<dyn Progress>) -> Self {
        // a second one would say the same
        let _: Result<(), _> = self.0.progress.set(progress);
        self
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

    pub(super) fn peers(&self) -> &Peers {
        &self.0.peers
    }

    pub(super) fn progress(&self) -> Option<&Arc<dyn Progress>> {
        self.0.progress.get()
    }

    /// Places for questions of other instances.
    pub(super) fn shares(&self) -> Arc<Semaphore> {
        self.0.shares.clone()
    }

    /// Serves snapshots of the state that is open here to other instances; said once.
    pub fn serve_snapshots(&self, offers: Arc<Offers>) {
        self.0.offers.get_or_init(|| offers);
    }

    pub(super) fn offers(&self) -> Option<&Arc<Offers>> {
        self.0.offers.get()
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
        let turn = self.turn().await?;
        self.read_in(&turn, work).await
    }

    /// A place among the queries that run at a time.
    pub(super) async fn turn(&self) -> Result<Turn, ApiError> {
        let limits = self.settings().limits;
        let turn = tokio::time::timeout(limits.time, self.0.queries.clone().acquire_owned()).await;
        let Ok(Ok(place)) = turn else {
            let most = self.settings().concurrent_queries;
            return Err(ApiError::busy(
                format!("{most} queries have been running for {} ms", limits.time.as_millis()),
                "Try again later, and narrow the queries.",
            ));
        };
        Ok(Turn {
            place: Arc::new(place),
            deadline: Instant::now() + limits.time,
        })
    }

    /// A step of a query that has its turn, as [`Self::read`].
    pub(super) async fn read_in<T: Send + 'static>(
        &self,
        turn: &Turn,
        work: impl FnOnce(&mut Budget<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let limits = self.settings().limits;
        let (place, deadline) = (turn.place.clone(), turn.deadline);
        let waiting = Waiting(Arc::new(AtomicBool::new(true)));
        let wanted = waiting.0.clone();
        let read = move || {
            let _place = place;
            let expired = || !wanted.load(Relaxed) || Instant::now() >= deadline;
            work(&mut Budget::new(limits, &expired))
        };
        let answer = tokio::task::spawn_blocking(read).await;
        drop(waiting);
        Ok(answer.map_err(ApiError::internal)??)
    }

    /// Looks, again and again on a blocking thread, until there is something; at the deadline the view is said to be behind, and where it is.
    pub(super) async fn wait_until<T: Send + 'static>(
        &self,
        deadline: tokio::time::Instant,
        mut look: impl FnMut() -> Result<T, (ViewRef, Vec<String>)> + Send + 'static,
    ) -> Result<T, ApiError> {
        let first = tokio::task::spawn_blocking(move || (look(), look)).await;
        let mut look = match first.map_err(ApiError::internal)? {
            (Ok(found), _) => return Ok(found),
            (Err(_), look) => look,
        };
        let Ok(Ok(_place)) = timeout_at(deadline, self.0.waits.acquire()).await else {
            return Err(ApiError::busy(
                format!("{MOST_WAITS} readers are waiting already"),
                "Try again later.",
            ));
        };
        let waiting = Waiting(Arc::new(AtomicBool::new(true)));
        let wanted = waiting.0.clone();
        let wait = move || {
            let mut seen = 0;
            loop {
                match look() {
                    Ok(found) => return Ok(found),
                    Err((view, reasons)) if !wanted.load(Relaxed) || tokio::time::Instant::now() >= deadline => {
                        let view = view.view().name.to_string();
                        return Err(ViewError::Behind { view, reasons });
                    }
                    Err((view, _)) => seen = view.published.wait_for_commit(seen, LOOK),
                }
            }
        };
        let found = tokio::task::spawn_blocking(wait).await;
        drop(waiting);
        Ok(found.map_err(ApiError::internal)??)
    }
}

/// A query's place, and when it has to be done.
pub(super) struct Turn {
    /// Kept by a thread that still runs when nobody waits any more.
    place: Arc<OwnedSemaphorePermit>,
    /// Its end.
    pub deadline: Instant,
}

impl Turn {
    /// With more time, for what is waited for first.
    pub fn until(mut self, deadline: Instant) -> Self {
        self.deadline = self.deadline.max(deadline);
        self
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
