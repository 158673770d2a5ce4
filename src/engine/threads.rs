//! Worker threads: the home of the clock. A thread steps its worker until it is told to stop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::cluster::agent::Agent;
use super::worker::{Activity, Standbys, Worker, WorkerShared};
use super::{Moment, TopologyStatus};
use crate::types::Timestamp;

/// Longest wait for records in a step: a stop is heard this soon.
const WAIT: Duration = Duration::from_millis(50);
/// Longest nap where a step had nothing to wait for: commits under way and tasks being taken over are looked after this soon.
const NAP: Duration = Duration::from_millis(2);
/// Between two steps of who keeps in touch with other instances, where a step did not wait.
const BEAT: Duration = Duration::from_millis(20);
/// Longest wait for the last word to other instances.
const LAST_WORD: Duration = Duration::from_millis(700);
/// A thread that has not ended this long after it was told is left behind; its session and transaction time out.
const JOIN: Duration = Duration::from_millis(1_900);

/// Not told anything; otherwise it is the place in [`Stop::ALL`], and one more.
const RUN: u8 = 0;

/// What a stop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The process ends, or the workers are started again: they keep their places in the group, and get their tasks back at once.
    Restart,
    /// As that, and the stores stay open and visible.
    Pause,
    /// Another generation takes over: the places are given up, the stores stay visible until it does.
    HandOver,
    /// The generation comes to its end: the places are given up, so that its group is empty at once.
    Remove,
}

impl Stop {
    const ALL: [Self; 4] = [Self::Restart, Self::Pause, Self::HandOver, Self::Remove];

    /// Whether readers go on seeing the stores.
    pub fn keeps_readers(self) -> bool {
        match self {
            Self::Pause | Self::HandOver => true,
            Self::Restart | Self::Remove => false,
        }
    }

    /// Whether static members give up their places.
    pub fn leaves(self) -> bool {
        match self {
            Self::HandOver | Self::Remove => true,
            Self::Restart | Self::Pause => false,
        }
    }

    fn code(self) -> u8 {
        self as u8 + 1
    }

    fn of_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stop| stop.code() == code)
    }
}

/// Milliseconds since the epoch.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as Timestamp)
}

/// Now, by both clocks.
pub fn moment() -> Moment {
    Moment {
        wall: now(),
        steady: stopwatch().as_millis() as Timestamp,
    }
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
        generation.start_standbys(&shared)?;
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
                    if stop.compare_exchange(RUN, Stop::Pause.code(), SeqCst, SeqCst).is_err() {
                        tracing::debug!("the workers were told to stop already");
                    }
                }
            };
            generation
                .threads
                .push(std::thread::Builder::new().name(name).spawn(run)?);
        }
        Ok(generation)
    }

    /// Starts the thread of the standbys, before the workers: it may hold them back for a warm-up. It ends by itself where there is nothing to follow.
    fn start_standbys(&mut self, shared: &Arc<WorkerShared>) -> std::io::Result<()> {
        let mut standbys = Standbys::new(shared.clone(), moment());
        let (stop, shared) = (self.stop.clone(), shared.clone());
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                while stop.load(SeqCst) == RUN {
                    let begin = Instant::now();
                    match standbys.step(moment(), WAIT) {
                        Activity::Busy => {}
                        Activity::Idle { .. } if begin.elapsed() >= NAP => {}
                        Activity::Idle { .. } => std::thread::sleep(BEAT),
                        Activity::Stopped | Activity::Failed(_) => break,
                    }
                }
                standbys.close(moment());
            }));
            if let Err(panic) = outcome {
                tracing::error!(reason = describe(&*panic), "standbys are followed no more");
                shared.gate.set_closed(false);
            }
        };
        let name = format!("{}-standbys", self.shared.deployment.topology.name);
        self.threads.push(std::thread::Builder::new().name(name).spawn(run)?);
        Ok(())
    }

    /// Tells the workers to commit, close and stop.
    pub fn tell_to_stop(&self, stop: Stop) {
        self.stop.store(stop.code(), SeqCst);
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

/// The thread that keeps instances in touch with each other. Dropping it ends it, with a last word to the others.
pub struct Heartbeat {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut agent: Agent) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let run = move || {
            while !told.load(SeqCst) {
                let begin = Instant::now();
                // A step that failed did not wait, nor does one that finds many records.
                if !agent.step(moment(), WAIT) || begin.elapsed() < NAP {
                    std::thread::sleep(BEAT);
                }
            }
            agent.leave(moment());
        };
        let thread = std::thread::Builder::new().name("instances".into()).spawn(run)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Tells it to say its last word and to end.
    pub fn tell_to_stop(&self) {
        self.stop.store(true, SeqCst);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.tell_to_stop();
        let begin = Instant::now();
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && begin.elapsed() < LAST_WORD {
                std::thread::sleep(NAP);
            }
            if thread.is_finished() {
                // A panic of it was reported by the runtime.
                let _ = thread.join();
            }
        }
    }
}

/// Steps a worker until it stops; the reason when the user has to act.
fn drive(shared: &Arc<WorkerShared>, index: usize, stop: &AtomicU8) -> Option<String> {
    let mut worker = Worker::new(shared.clone(), index, now());
    loop {
        if let Some(stop) = Stop::of_code(stop.load(SeqCst)) {
            worker.request_stop(now(), stop);
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
