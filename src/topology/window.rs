//! Windows of an aggregation, as data.

use super::{Aggregate, StoreId};
use crate::types::{WindowInfo, WindowKind};

/// The WINDOW clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// One after the other.
    Tumbling {
        /// Their size in milliseconds.
        size_ms: i64,
    },
    /// Overlapping.
    Hopping {
        /// Their size in milliseconds.
        size_ms: i64,
        /// From the start of one to the start of the next, in milliseconds; at most the size.
        advance_ms: i64,
    },
    /// From a key's first record to its last.
    Session {
        /// A record that comes later than this many milliseconds after the last one begins a new session.
        gap_ms: i64,
    },
}

/// Windows and how long they are open and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSpec {
    /// The windows.
    pub windows: Windows,
    /// How long after its end a window takes records that come late.
    pub grace_ms: i64,
    /// How long rows are kept, from the start of a time window and from the end of a session; at least until it is closed.
    pub retention_ms: i64,
    /// A session that ended longer ago takes no further records: Kafka Streams' retention of the store. Of time windows [`Self::retention_ms`].
    pub joinable_ms: i64,
}

impl WindowSpec {
    /// What the keys hold.
    pub fn info(&self) -> WindowInfo {
        let (kind, size_ms) = match self.windows {
            Windows::Tumbling { size_ms } => (WindowKind::Tumbling, Some(size_ms)),
            Windows::Hopping { size_ms, .. } => (WindowKind::Hopping, Some(size_ms)),
            Windows::Session { .. } => (WindowKind::Session, None),
        };
        WindowInfo { kind, size_ms }
    }

    /// The latest end of windows that are closed at a stream time: they take no record any more.
    pub fn closed_end(&self, stream_time: i64) -> i64 {
        let passed = stream_time.saturating_sub(self.grace_ms);
        match self.windows {
            Windows::Tumbling { .. } | Windows::Hopping { .. } => passed,
            // a session's end is that of its last record, which belongs to it
            Windows::Session { gap_ms } => passed.saturating_sub(gap_ms).saturating_sub(1),
        }
    }

    /// The latest end of windows whose rows are no longer kept at a stream time.
    pub fn expired_end(&self, stream_time: i64) -> i64 {
        let passed = stream_time.saturating_sub(self.retention_ms);
        match self.windows {
            Windows::Tumbling { size_ms } | Windows::Hopping { size_ms, .. } => passed.saturating_add(size_ms),
            Windows::Session { .. } => passed,
        }
        .min(self.closed_end(stream_time))
    }
}

impl std::fmt::Display for WindowSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.windows {
            Windows::Tumbling { size_ms } => write!(f, "tumbling windows of {size_ms} ms")?,
            Windows::Hopping { size_ms, advance_ms } => {
                write!(f, "hopping windows of {size_ms} ms every {advance_ms} ms")?;
            }
            Windows::Session { gap_ms } => write!(f, "sessions with gaps of at most {gap_ms} ms")?,
        }
        write!(f, ", grace {} ms, kept {} ms", self.grace_ms, self.retention_ms)
    }
}

/// GROUP BY with a WINDOW: the state's keys are those of the input, then start and end of the window.
///
/// Three stores of its own beside the state: how far stream time has come, the ends of the windows in order, and for EMIT FINAL
/// the state of the windows that are still open.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowAggregate {
    /// The calls; its store holds the rows that are shown: all windows, or for EMIT FINAL the closed ones.
    pub aggregate: Aggregate,
    /// The windows.
    pub spec: WindowSpec,
    /// Stream time: one row.
    pub time: StoreId,
    /// The windows by their ends: (end, key, start).
    pub ends: StoreId,
    /// EMIT FINAL: windows that are open; they are given out once, when they close.
    pub open: Option<StoreId>,
}

impl WindowAggregate {
    /// Its stores.
    pub fn stores(&self) -> Vec<StoreId> {
        let own = [self.aggregate.store, self.time, self.ends];
        own.into_iter()
            .chain(self.open)
            .chain(self.aggregate.elements)
            .collect()
    }
}
