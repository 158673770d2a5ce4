//! The history of a table, as data: what lets a stream's record see the row of its own time.

use super::StoreId;
use crate::expr::Expr;

/// The older rows of a table's source, beside the store of its newest ones.
///
/// Rows have their places by their timestamps, as in Kafka Streams' versioned stores (KIP-889): a record that is older than the newest row of its key goes into its
/// place in the history and leaves the newest row alone; one that is older than the whole history is late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// How far back rows can be looked up from the largest timestamp of the table's records, in milliseconds.
    pub retention_ms: i64,
    /// Rows that were replaced, and deletions: (key, time) to (whether there is a row, its value columns).
    pub versions: StoreId,
    /// When these are needed no longer: (end, key, time).
    pub ends: StoreId,
    /// The largest timestamp of the table's records: one row.
    pub time: StoreId,
}

impl History {
    /// Its stores.
    pub fn stores(&self) -> [StoreId; 3] {
        [self.versions, self.ends, self.time]
    }
}

/// `FOR SYSTEM_TIME AS OF`: at which time a table is looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct AsOf {
    /// The time (BIGINT or TIMESTAMP), over the left row.
    pub time: Expr,
    /// The histories of the stores that the table's rows are computed from.
    pub histories: Vec<(StoreId, History)>,
}
