//! Reading: the core says where the bytes are; they are read without its lock.

use super::Core;
use super::error::{ErrorCode, Result};
use super::partition::{AbortedTxn, BatchRef, Partition};
use super::storage::ReadSegment;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;

/// Who may see records of transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Everything up to the high watermark.
    ReadUncommitted,
    /// What is below the last stable offset, with the list of aborted transactions.
    ReadCommitted,
}

/// One stored batch, readable from any thread.
#[derive(Clone)]
pub struct BatchSlice {
    reader: Arc<dyn ReadSegment>,
    position: u64,
    length: usize,
}

impl BatchSlice {
    /// Bytes of the batch.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Reads the batch into a buffer of exactly its length.
    pub fn read_into(&self, buffer: &mut [u8]) -> Result<()> {
        self.reader.read_at(self.position, buffer).map_err(|error| {
            tracing::error!(position = self.position, length = self.length, %error, "a stored batch cannot be read");
            ErrorCode::StorageError
        })
    }

    /// Reads the batch.
    pub fn read(&self) -> Result<Bytes> {
        let mut buffer = BytesMut::zeroed(self.length);
        self.read_into(&mut buffer)?;
        Ok(buffer.freeze())
    }
}

impl std::fmt::Debug for BatchSlice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSlice")
            .field("position", &self.position)
            .field("length", &self.length)
            .finish()
    }
}

/// What a fetch of one partition gives.
#[derive(Debug, Clone)]
pub struct FetchPlan {
    /// Offset after the last record.
    pub high_watermark: i64,
    /// Offset up to which every transaction has ended.
    pub last_stable: i64,
    /// First offset that may be read.
    pub log_start: i64,
    /// Transactions that a reader of committed data has to skip.
    pub aborted: Vec<AbortedTxn>,
    /// The batches, in order.
    pub slices: Vec<BatchSlice>,
    /// Bytes of all slices.
    pub bytes: usize,
    /// Offset after the last slice (the fetch offset where there is none).
    pub next_offset: i64,
}

impl Core {
    pub(super) fn slice(&self, batch: &BatchRef) -> Result<BatchSlice> {
        let segment = self
            .journal
            .segments
            .get(&batch.at.segment)
            .ok_or(ErrorCode::StorageError)?;
        let position = u64::from(batch.at.position);
        Ok(BatchSlice {
            reader: Arc::clone(&segment.reader),
            position,
            length: batch.length as usize,
        })
    }

    /// The batches from an offset on, up to `max_bytes`. With `at_least_one`, the first batch is given however large it
    /// is, so that a reader always gets on.
    pub fn fetch(
        &self,
        partition: u32,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
        isolation: Isolation,
    ) -> Result<FetchPlan> {
        let partition = self.partition(partition)?;
        if offset < partition.start || offset > partition.next {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let upper = match isolation {
            Isolation::ReadUncommitted => partition.next,
            Isolation::ReadCommitted => partition.last_stable(),
        };
        let mut plan = FetchPlan {
            high_watermark: partition.next,
            last_stable: partition.last_stable(),
            log_start: partition.start,
            aborted: Vec::new(),
            slices: Vec::new(),
            bytes: 0,
            next_offset: offset,
        };
        for batch in partition.batches.range(partition.position_of(offset)..) {
            let fits = plan.bytes + batch.length as usize <= max_bytes;
            if batch.last() >= upper || !(fits || (at_least_one && plan.slices.is_empty())) {
                break;
            }
            plan.slices.push(self.slice(batch)?);
            plan.bytes += batch.length as usize;
            plan.next_offset = batch.last() + 1;
        }
        if isolation == Isolation::ReadCommitted {
            plan.aborted = aborted_between(partition, offset, plan.next_offset);
        }
        Ok(plan)
    }
}

/// Aborted transactions with a batch in `[from, to)`; the list is in the order of the markers.
fn aborted_between(partition: &Partition, from: i64, to: i64) -> Vec<AbortedTxn> {
    let first = partition.aborted.partition_point(|a| a.marker < from);
    partition.aborted[first..]
        .iter()
        .filter(|a| a.first < to)
        .copied()
        .collect()
}
