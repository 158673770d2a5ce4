//! Limits of one query: rows looked at, bytes held, time.

use std::time::Duration;

use super::{Limit, ViewError};

/// The limits of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryLimits {
    /// Rows looked at.
    pub scanned_rows: u64,
    /// Bytes of rows held for the answer.
    pub result_bytes: u64,
    /// Time.
    pub time: Duration,
}

/// Enough for a full look at a mid-sized view.
pub const DEFAULT_SCANNED_ROWS: u64 = 1_000_000;
/// Small beside the memory of the stores.
pub const DEFAULT_RESULT_BYTES: u64 = 16 << 20;
/// What a person waits for.
pub const DEFAULT_QUERY_TIME: Duration = Duration::from_secs(10);

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            scanned_rows: DEFAULT_SCANNED_ROWS,
            result_bytes: DEFAULT_RESULT_BYTES,
            time: DEFAULT_QUERY_TIME,
        }
    }
}

/// Rows between two looks at the clock.
const ROWS_PER_CLOCK: u64 = 128;

/// What a query has used of its limits.
pub struct Budget<'a> {
    limits: QueryLimits,
    expired: &'a dyn Fn() -> bool,
    scanned: u64,
    held: u64,
}

impl<'a> Budget<'a> {
    /// A fresh one. `expired` says whether the query's time is over (or nobody waits for it any more).
    pub fn new(limits: QueryLimits, expired: &'a dyn Fn() -> bool) -> Self {
        Self {
            limits,
            expired,
            scanned: 0,
            held: 0,
        }
    }

    /// Counts a row that was looked at.
    ///
    /// # Errors
    /// [`ViewError::Limit`] when rows or time are used up.
    pub fn scan(&mut self) -> Result<(), ViewError> {
        self.scanned += 1;
        if self.scanned > self.limits.scanned_rows {
            return Err(ViewError::Limit {
                which: Limit::ScannedRows,
                limit: self.limits.scanned_rows,
            });
        }
        if self.scanned.is_multiple_of(ROWS_PER_CLOCK) && (self.expired)() {
            return Err(ViewError::Limit {
                which: Limit::Time,
                limit: self.limits.time.as_millis() as u64,
            });
        }
        Ok(())
    }

    /// Counts bytes that are held for the answer.
    ///
    /// # Errors
    /// [`ViewError::Limit`] when there are too many.
    pub fn hold(&mut self, bytes: usize) -> Result<(), ViewError> {
        self.held += bytes as u64;
        if self.held > self.limits.result_bytes {
            return Err(ViewError::Limit {
                which: Limit::ResultBytes,
                limit: self.limits.result_bytes,
            });
        }
        Ok(())
    }

    /// Bytes that are no longer held.
    pub fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes as u64);
    }

    /// Rows looked at so far.
    pub fn scanned(&self) -> u64 {
        self.scanned
    }
}
