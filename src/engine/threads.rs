//! Worker threads: the home of the clock. A thread steps its worker until it is told to stop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::TopologyStatus;
use super::worker::{Activity, Worker, WorkerShared};
use crate::types::Timestamp;

/// Longest wait for records in a step: a stop is heard this soon.
const WAIT: Duration = Duration::from_millis(50);
/// Longest nap where a step had nothing to wait for: commits under way and tasks being taken over are looked after this soon.
const NAP: Duration = Duration::from_millis(2);
/// A thread that has not ended this long after it was told is left behind; its session and transaction time out.
const JOIN: Duration = Duration::from_millis(1_900);

const RUN: u8 = 0;
const STOP: u8 = 1;
const STOP_KEEPING_READERS: u8 = 2;

/// Milliseconds since the epoch.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as Timestamp)
}

/// Time since the first call, for measuring.
pub fn stopwatch() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// The worker threads of one generation of a topology.
pub struct Generation {
    /// What the workers share.
    pub shared: Arc<WorkerShared>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicU8>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Generation {
    /// Starts the workers.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(shared: Arc<WorkerShared>) -> std::io::Result<Self> {
        let mut generation = Self {
            shared: shared.clone(),
            threads: Vec::new(),
            stop: Arc::new(AtomicU8::new(RUN)),
            failure: Arc::default(),
        };
        for index in 0..shared.settings.workers.max(1) {
            let (shared, stop, failure) = (shared.clone(), generation.stop.clone(), generation.failure.clone());
            let name = format!("{}-{index}", shared.deployment.topology.name);
            let run = move || {
                let outcome = catch_unwind(AssertUnwindSafe(|| drive(&shared, index, &stop)));
                let failed = outcome.unwrap_or_else(|panic| Some(describe(&*panic)));
                if let Some(reason) = failed {
                    shared.published.set_status(TopologyStatus::Stopped(reason.clone()));
                    failure.lock().get_or_insert(reason);
                    // One worker's failure is the topology's.
                    let _ = stop.compare_exchange(RUN, STOP_KEEPING_READERS, SeqCst, SeqCst);
                }
            };
            generation
                .threads
                .push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(generation)
    }

    /// Tells the workers to commit, close and stop. `keep_readers`: the stores stay visible.
    pub fn tell_to_stop(&self, keep_readers: bool) {
        let wanted = if keep_readers { STOP_KEEPING_READERS } else { STOP };
        self.stop.store(wanted, SeqCst);
    }

    /// Waits for the workers' end, at most two seconds after [`Self::tell_to_stop`].
    pub fn join(&mut self) {
        let begin = Instant::now();
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && begin.elapsed() < JOIN {
                std::thread::sleep(Duration::from_millis(2));
            }
            if thread.is_finished() {
                // What it has to say is in `failure` already.
                let _ = thread.join();
            } else {
                tracing::warn!("a worker does not stop; it is left behind");
            }
        }
    }

    /// Why the topology stopped by itself.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Whether workers are running.
    pub fn is_running(&self) -> bool {
        self.threads.iter().any(|thread| !thread.is_finished())
    }
}

/// Steps a worker until it stops; the reason when the user has to act.
fn drive(shared: &Arc<WorkerShared>, index: usize, stop: &AtomicU8) -> Option<String> {
    let mut worker = Worker::new(shared.clone(), index, now());
    loop {
        match stop.load(SeqCst) {
            RUN => {}
            told => worker.request_stop(now(), told == STOP_KEEPING_READERS),
        }
        let begin = Instant::now();
        match worker.step(now(), WAIT) {
            Activity::Busy => {}
            Activity::Idle { until } => {
                // A step that waited for records has waited enough.
                if begin.elapsed() < NAP {
                    let wait = Duration::from_millis((until - now()).max(0) as u64);
                    std::thread::sleep(wait.min(NAP));
                }
            }
            Activity::Stopped => return None,
            Activity::Failed(reason) => return Some(reason),
        }
    }
}

fn describe(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("unknown");
    format!(
        "a worker panicked, which is a bug: {text}; please report it. Nothing committed is lost: a restart goes on from the last commit"
    )
}
