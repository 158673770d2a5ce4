//! Watches the progress of a transfer: a source that hangs, or drips, is given up.

use std::time::{Duration, Instant};

/// A window of time in which so many bytes, at least, have to come.
const WINDOW: Duration = Duration::from_secs(10);
/// Less than this a window is no progress: slower than any network that replays of changelogs would work over.
const LEAST_BYTES: u64 = 256 << 10;

/// The progress of one transfer.
#[derive(Debug)]
pub struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(WINDOW)
    }
}

impl Pace {
    /// The longest wait for any sign of life.
    pub const PATIENCE: Duration = WINDOW;

    /// A transfer that begins now.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Notes bytes that have come.
    ///
    /// # Errors
    /// When it is too slow to be waited for.
    pub fn moved(&mut self, bytes: usize) -> Result<(), String> {
        self.bytes += bytes as u64;
        if self.since.elapsed() < self.window {
            return Ok(());
        }
        if self.bytes < LEAST_BYTES {
            return Err(format!("only {} bytes came in {} s", self.bytes, self.window.as_secs()));
        }
        self.since = Instant::now();
        self.bytes = 0;
        Ok(())
    }
}
