//! What the handlers share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
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
/// Queries that wait for other instances at a time, for each that runs here: they hold snapshots and connections, but no thread.
const ELSEWHERE_PER_QUERY: usize = 32;
/// Readers that wait for a view to catch up, at a time; each holds a thread.
pub(super) const MOST_WAITS: usize = 64;
/// Reads that take longer on average show a slow disk, for so long; a few of them show threads that had to wait for their turn.
const SLOW_READS: Duration = Duration::from_millis(2);
const SLOW_FOR: Duration = Duration::from_secs(1);
/// The weight of the last read in the average: one in so many.
const READS_OF_AVERAGE: u64 = 32;
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
    waits: Arc<Semaphore>,
    elsewhere: Arc<Semaphore>,
    peers: Peers,
    progress: OnceLock<Arc<dyn Progress>>,
    feeds: AtomicUsize,
    /// Threads of the runtime that read rows, see [`App::read_few`].
    reading_here: AtomicUsize,
    /// The average time of such reads, in nanoseconds.
    read_time: AtomicU64,
    /// When that was last too long.
    disk_was_slow: Mutex<Option<Instant>>,
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
            waits: Arc::new(Semaphore::new(MOST_WAITS)),
            elsewhere: Arc::new(Semaphore::new(queries * ELSEWHERE_PER_QUERY)),
            peers: Peers::new(),
            progress: OnceLock::new(),
            parts,
            feeds: AtomicUsize::new(0),
            reading_here: AtomicUsize::new(0),
            read_time: AtomicU64::new(0),
            disk_was_slow: Mutex::default(),
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
        let mut turn = self.turn().await?;
        self.read_in(&mut turn, work).await
    }

    /// A place among the queries that run at a time.
    pub(super) async fn turn(&self) -> Result<Turn, ApiError> {
        let time = self.settings().limits.time;
        let place = self.place(tokio::time::Instant::now() + time).await?;
        Ok(Turn {
            place: Some(place),
            elsewhere: None,
            deadline: Instant::now() + time,
        })
    }

    async fn place(&self, by: tokio::time::Instant) -> Result<Arc<OwnedSemaphorePermit>, ApiError> {
        match timeout_at(by, self.0.queries.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Arc::new(place)),
            Ok(Err(_)) | Err(_) => {
                let HttpSettings {
                    concurrent_queries,
                    limits,
                    ..
                } = self.settings();
                Err(ApiError::busy(
                    format!(
                        "{concurrent_queries} queries have been running for {} ms",
                        limits.time.as_millis()
                    ),
                    "Try again later, and narrow the queries.",
                ))
            }
        }
    }

    /// Gives the place to others while this query waits for instances. It takes one again with [`Self::read_in`].
    pub(super) fn wait_elsewhere(&self, turn: &mut Turn) -> Result<(), ApiError> {
        turn.place = None;
        if turn.elsewhere.is_none() {
            let place = self.0.elsewhere.clone().try_acquire_owned();
            turn.elsewhere = Some(place.map_err(|_| {
                ApiError::busy(
                    "too many queries are waiting for other instances",
                    "Try again later; GET /v1/instances shows the instances.",
                )
            })?);
        }
        Ok(())
    }

    /// A step of a query that has its turn, as [`Self::read`].
    pub(super) async fn read_in<T: Send + 'static>(
        &self,
        turn: &mut Turn,
        work: impl FnOnce(&mut Budget<'_>) -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (limits, deadline) = (self.settings().limits, turn.deadline);
        let place = match &turn.place {
            Some(place) => place.clone(),
            None => self.place(deadline.into()).await?,
        };
        turn.place = Some(place.clone());
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

    /// As [`Self::read_in`], for so little that another thread costs more than the reading. Where the disk turns out to be slow, and where all threads but one
    /// read already, it is done on a blocking thread after all: the others must be answered.
    pub(super) async fn read_few<T: Send + 'static>(
        &self,
        turn: &mut Turn,
        work: impl FnOnce() -> Result<T, ViewError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let begin = Instant::now();
        let is_slow = self.0.disk_was_slow.lock().is_some_and(|seen| begin - seen < SLOW_FOR);
        let here = (!is_slow && turn.place.is_some()).then(|| ReadsHere::begin(self));
        let Some(_here) = here.flatten() else {
            return self.read_in(turn, |_| work()).await;
        };
        // as on a blocking thread: a mistake of ours is an answer, too
        let found = catch_unwind(AssertUnwindSafe(work)).map_err(|_| ApiError::internal("a read panicked"))?;
        self.note_read(begin.elapsed());
        Ok(found?)
    }

    fn note_read(&self, took: Duration) {
        let average = average(self.0.read_time.load(Relaxed), took);
        let is_slow = Duration::from_nanos(average) > SLOW_READS;
        // of two at the same time one may be lost: it is an average
        self.0.read_time.store(if is_slow { 0 } else { average }, Relaxed);
        if is_slow {
            *self.0.disk_was_slow.lock() = Some(Instant::now());
        }
    }

    /// Looks, again and again on a blocking thread, until there is something; at the deadline the view is said to be behind, and where it is. A look
    /// that takes longer (Kafka is away) is not waited for: its thread ends alone, and keeps its place until then.
    pub(super) async fn wait_until<T: Send + 'static>(
        &self,
        view: &ViewRef,
        deadline: tokio::time::Instant,
        mut look: impl FnMut() -> Result<T, Vec<String>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let Ok(Ok(place)) = timeout_at(deadline, self.0.waits.clone().acquire_owned()).await else {
            return Err(ApiError::busy(
                format!("{MOST_WAITS} readers are waiting already"),
                "Try again later.",
            ));
        };
        let waiting = Waiting(Arc::new(AtomicBool::new(true)));
        let wanted = waiting.0.clone();
        let said = Arc::new(Mutex::new(vec![
            "Kafka has not said yet how far it is: it is slow, or away".to_string(),
        ]));
        let (reasons, published) = (said.clone(), view.published.clone());
        let wait = move || {
            let _place = place;
            let mut seen = 0;
            loop {
                match look() {
                    Ok(found) => return Some(found),
                    Err(waits) => *reasons.lock() = waits,
                }
                if !wanted.load(Relaxed) || tokio::time::Instant::now() >= deadline {
                    return None;
                }
                seen = published.wait_for_commit(seen, LOOK);
            }
        };
        // whoever gives little time is told of one look at least, unless that hangs
        let found = timeout_at(deadline + LOOK, tokio::task::spawn_blocking(wait)).await;
        drop(waiting);
        match found {
            Ok(Err(error)) => Err(ApiError::internal(error)),
            Ok(Ok(Some(found))) => Ok(found),
            Ok(Ok(None)) | Err(_) => Err(ViewError::Behind {
                view: view.view().name.to_string(),
                reasons: said.lock().clone(),
            }
            .into()),
        }
    }
}

/// The average time of reads in nanoseconds, with one more.
fn average(before: u64, took: Duration) -> u64 {
    before - before / READS_OF_AVERAGE + took.as_nanos() as u64 / READS_OF_AVERAGE
}

/// A query's place, and when it has to be done.
pub(super) struct Turn {
    /// Kept by a thread that still runs when nobody waits any more; given to others while instances are waited for.
    place: Option<Arc<OwnedSemaphorePermit>>,
    /// Its place among those that wait for instances.
    elsewhere: Option<OwnedSemaphorePermit>,
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

/// A thread of the runtime that reads rows.
struct ReadsHere<'a>(&'a App);

impl<'a> ReadsHere<'a> {
    /// Unless too few would be left.
    fn begin(app: &'a App) -> Option<Self> {
        let most = tokio::runtime::Handle::current().metrics().num_workers() - 1;
        let may = |n: usize| (n < most).then_some(n + 1);
        let taken = app.0.reading_here.fetch_update(Relaxed, Relaxed, may);
        taken.ok().map(|_| Self(app))
    }
}

impl Drop for ReadsHere<'_> {
    fn drop(&mut self) {
        self.0.0.reading_here.fetch_sub(1, Relaxed);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SLOW_READS, average};

    #[test]
    fn many_slow_reads_show_a_slow_disk_and_a_few_do_not() {
        let after = |reads: &[u64]| {
            reads
                .iter()
                .fold(0, |before, ms| average(before, Duration::from_millis(*ms)))
        };
        let is_slow = |reads: &[u64]| Duration::from_nanos(after(reads)) > SLOW_READS;
        assert!(!is_slow(&[0, 20, 0, 20, 0]));
        assert!(!is_slow(&[1; 1_000]));
        assert!(is_slow(&[10; 10]));
        assert!(!is_slow(&[&[10; 10][..], &[0; 100]].concat()), "it passes");
    }
}
