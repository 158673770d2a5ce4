//! What can go wrong in a step, by what the worker does about it.

use super::super::task::{Reason, TaskError};
use crate::formats::FormatError;
use crate::log::LogError;
use crate::state::StoreError;

/// Why a step could not go on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trouble {
    /// The same step may succeed later: wait and repeat it.
    Wait(String),
    /// Drop what is uncommitted and take the tasks over again.
    Recover(String),
    /// As that: the broker refuses something that was sent. Where it does so again and again, it is a record's fault.
    Refused(String),
    /// Drop everything, open all clients anew and join again.
    Reopen(String),
    /// A store cannot be read or written: open it anew.
    Store(StoreError),
    /// A record's results cannot be sent: find out which record's.
    Poison(Reason, String),
    /// The user has to act: the topology stops.
    Stop(String),
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        let text = error.to_string();
        match error {
            LogError::Retry(_) | LogError::Unknown(_) => Self::Wait(text),
            LogError::Abort(_) => Self::Recover(text),
            LogError::Refused(_) => Self::Refused(text),
            LogError::Fenced(_) => Self::Reopen(text),
            LogError::TooLarge { .. } => Self::Poison(Reason::TooLarge, text),
            LogError::OutOfRange { tp, offset, low, high } => Self::Stop(format!(
                "the next record to read of {tp} is offset {offset}, but the topic holds only offsets {low} to {high}: records were \
                 deleted before they were read, or the topic was made anew; rebuild from what is there with `millstream replay`"
            )),
            LogError::Fatal(_) => Self::Stop(text),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TaskError> for Trouble {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Retry(text) => Self::Wait(text),
            TaskError::Stop(stopped) => Self::Stop(format!(
                "{stopped}; correct the record's producer, or let bad records go to the dead-letter topic"
            )),
            TaskError::Store(error) => Self::Store(error),
        }
    }
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Self {
        if error.is_retryable() {
            Self::Wait(error.to_string())
        } else {
            Self::Stop(error.to_string())
        }
    }
}

/// Waiting times after failures: doubling from the first to the last.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

/// The first wait, in milliseconds: a lost packet.
const FIRST_WAIT_MS: i64 = 20;
/// The longest wait, in milliseconds: soon after the broker is back, everything goes on.
const LAST_WAIT_MS: i64 = 1_000;
/// From this many failures on, the status says that something is waited for.
const TELL_AFTER: u32 = 4;

impl Backoff {
    /// How long to wait after one more failure, in milliseconds.
    pub fn next_ms(&mut self) -> i64 {
        let wait = FIRST_WAIT_MS << self.failures.min(10);
        self.failures += 1;
        wait.min(LAST_WAIT_MS)
    }

    /// Whether it has gone on long enough to be told.
    pub fn is_notable(&self) -> bool {
        self.failures >= TELL_AFTER
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
