//! The clock of this room: deadlines of calls, short naps, and the word that the process is closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::log::{LogError, LogResult};

/// How long a wait may take before it looks again whether the process is closing.
const SLICE: Duration = Duration::from_millis(50);

/// Said once when the process closes, so that no call waits out its time for a broker that is away.
#[derive(Clone, Default)]
pub(super) struct Closing(Arc<AtomicBool>);

impl Closing {
    pub(super) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When the process is closing.
    pub(super) fn check(&self, what: &str) -> LogResult<()> {
        if self.is_closing() {
            return Err(LogError::Retry(format!("{what}: given up, the process is stopping")));
        }
        Ok(())
    }
}

/// A point in time until which a call may wait.
#[derive(Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    pub(super) fn passed(self) -> bool {
        self.remaining().is_zero()
    }

    pub(super) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The next step of a wait that is looked at in between.
    pub(super) fn slice(self) -> Duration {
        self.remaining().min(SLICE)
    }

    /// Sleeps for `nap`, but not beyond the deadline.
    pub(super) fn nap(self, nap: Duration) {
        std::thread::sleep(nap.min(self.remaining()));
    }
}
