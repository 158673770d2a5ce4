//! Waiting for what another thread or process does. Where an event says that it is done, tests wait for that; this is the one place that looks,
//! naps and looks again, always with an end.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use millstream::engine::threads;
use millstream::log::sim::SimLog;

/// The longest wait for anything: many times what it takes when all tests run at once.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at something that has to become true.
const LOOK: Duration = Duration::from_millis(10);
/// Between two steps of a simulated cluster's time.
const TICK: Duration = Duration::from_millis(2);

/// Looks until there is something; `None` when the time is over.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        std::thread::sleep(LOOK.min(left));
    }
}

/// Looks until there is something.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, look) {
        Some(found) => found,
        None => panic!("waited in vain for {what}"),
    }
}

/// Looks until it holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    eventually(what, || holds().then_some(()));
}

/// Lets a simulated cluster's time go on as the clock does, until it is dropped.
pub struct RealTime {
    /// Its end is what the clock's thread hears.
    _stop: Sender<()>,
}

impl RealTime {
    pub fn of(log: &SimLog) -> Self {
        let (stop, stopped) = channel();
        let log = log.clone();
        std::thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                log.advance((threads::now() - log.now()).max(0));
            }
        });
        Self { _stop: stop }
    }
}
