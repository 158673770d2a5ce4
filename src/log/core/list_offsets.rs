//! Finding offsets: ends of the log, and records by time.
//!
//! A look-up by time names the batch to open; opening it (reading, perhaps decompressing) happens without the core's lock.

use super::Core;
use super::error::Result;
use super::fetch::{BatchSlice, Isolation};
use super::records;

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The first offset.
    Earliest,
    /// The offset after the last record that the isolation allows.
    Latest,
    /// The first record at or after this time, milliseconds.
    AtOrAfter(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

/// Where the answer is.
#[derive(Debug, Clone)]
pub enum OffsetLookup {
    /// Timestamp (-1 for an end of the log) and offset.
    Found(i64, i64),
    /// No such record.
    Nothing,
    /// In these batches: the first record at or after the time, at or after the offset.
    Inside {
        /// The batches to open (a second one where the first may lie before the log's start).
        slices: Vec<BatchSlice>,
        /// The time asked for, milliseconds.
        timestamp: i64,
        /// Offsets before this are gone.
        from_offset: i64,
    },
}

impl OffsetLookup {
    /// Opens the batch where needed: the timestamp and offset found.
    pub fn resolve(self) -> Result<Option<(i64, i64)>> {
        match self {
            OffsetLookup::Found(timestamp, offset) => Ok(Some((timestamp, offset))),
            OffsetLookup::Nothing => Ok(None),
            OffsetLookup::Inside {
                slices,
                timestamp,
                from_offset,
            } => {
                for slice in slices {
                    let records = records::decode(&slice.read()?)?;
                    let hit = records
                        .iter()
                        .find(|r| r.timestamp >= timestamp && r.offset >= from_offset);
                    if let Some(record) = hit {
                        return Ok(Some((record.timestamp, record.offset)));
                    }
                }
                Ok(None)
            }
        }
    }
}

impl Core {
    /// Looks for an offset.
    pub fn find_offset(&self, partition: u32, query: OffsetQuery, isolation: Isolation) -> Result<OffsetLookup> {
        let partition = self.partition(partition)?;
        let end = match isolation {
            Isolation::ReadUncommitted => partition.next,
            Isolation::ReadCommitted => partition.last_stable(),
        };
        let data = || partition.batches.iter().filter(|b| !b.control && b.last() < end);
        let timestamp = match query {
            OffsetQuery::Earliest => return Ok(OffsetLookup::Found(-1, partition.start)),
            OffsetQuery::Latest => return Ok(OffsetLookup::Found(-1, end)),
            OffsetQuery::AtOrAfter(time) => time,
            OffsetQuery::MaxTimestamp => match data().map(|b| b.max_timestamp).max() {
                Some(newest) => newest,
                None => return Ok(OffsetLookup::Nothing),
            },
        };
        let hits = data().filter(|b| b.max_timestamp >= timestamp).take(2);
        let slices = hits.map(|b| self.slice(b)).collect::<Result<Vec<_>>>()?;
        if slices.is_empty() {
            return Ok(OffsetLookup::Nothing);
        }
        Ok(OffsetLookup::Inside {
            slices,
            timestamp,
            from_offset: partition.start,
        })
    }
}
