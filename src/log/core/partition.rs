//! One partition: an index of where its batches are, its producers, its open and aborted transactions.
//!
//! The index holds some 40 bytes a batch; the batches themselves are in the journal. *Invariant*: the index is sorted by
//! base offset and does not overlap; offsets between two batches were compacted away and are skipped by readers.

use super::batch::BatchHeader;
use super::error::{ErrorCode, Result};
use super::journal::Location;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Batches whose sequence numbers are remembered a producer; Kafka's clients keep at most five in flight.
const REMEMBERED_BATCHES: usize = 5;

/// One batch of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchRef {
    pub(super) base: i64,
    pub(super) max_timestamp: i64,
    pub(super) last_delta: u32,
    pub(super) length: u32,
    pub(super) at: Location,
    pub(super) control: bool,
}

impl BatchRef {
    pub(super) fn new(header: &BatchHeader, at: Location) -> BatchRef {
        BatchRef {
            base: header.base_offset,
            max_timestamp: header.max_timestamp,
            last_delta: header.last_offset_delta.max(0) as u32,
            length: header.size as u32,
            at,
            control: header.is_control(),
        }
    }

    pub(super) fn last(&self) -> i64 {
        self.base + i64::from(self.last_delta)
    }
}

/// How far the partition is compacted, and by which compaction.
///
/// Below `upto` only batches written by compaction `job` count, from there on only those that producers wrote (job 0).
/// So an old version of a batch that is still somewhere in the journal is never mistaken for the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Clean {
    pub(super) upto: i64,
    pub(super) job: u32,
}

/// What is remembered of an idempotent producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProducerState {
    pub(super) epoch: i16,
    /// First sequence, last sequence and base offset of the last batches.
    pub(super) recent: VecDeque<(i32, i32, i64)>,
    /// When it last appended, milliseconds.
    pub(super) last_ms: i64,
}

/// A transaction that was aborted: readers of committed data skip the producer's batches from `first` to `marker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbortedTxn {
    /// The producer.
    pub producer_id: i64,
    /// Offset of its first batch in the transaction.
    pub first: i64,
    /// Offset of the abort marker.
    pub marker: i64,
}

/// A producer of a partition, as `DescribeProducers` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerInfo {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Last sequence number, -1 before the first.
    pub last_sequence: i32,
    /// When it last appended, milliseconds.
    pub last_ms: i64,
    /// Where its open transaction begins.
    pub open_from: Option<i64>,
}

/// One partition of a topic.
#[derive(Debug)]
pub struct Partition {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Number within the topic.
    pub index: i32,
    /// First offset that may be read.
    pub(super) start: i64,
    /// Offset of the next record.
    pub(super) next: i64,
    pub(super) batches: VecDeque<BatchRef>,
    pub(super) bytes: u64,
    pub(super) producers: FxHashMap<i64, ProducerState>,
    /// First offset of each producer's open transaction.
    pub(super) open: BTreeMap<i64, i64>,
    pub(super) aborted: Vec<AbortedTxn>,
    pub(super) clean: Clean,
    /// Output of a compaction that has not been made valid yet.
    pub(super) staged: Vec<(u32, BatchRef)>,
    /// Since when there is something to compact; not stored.
    pub(super) dirty_since_ms: Option<i64>,
}

/// The part of a partition that is in a snapshot.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct PartitionSnapshot {
    pub(super) id: u32,
    start: i64,
    next: i64,
    clean: Clean,
    producers: BTreeMap<i64, ProducerState>,
    open: BTreeMap<i64, i64>,
    aborted: Vec<AbortedTxn>,
}

impl Partition {
    pub(super) fn new(topic: Arc<str>, index: i32) -> Partition {
        Partition {
            topic,
            index,
            start: 0,
            next: 0,
            batches: VecDeque::new(),
            bytes: 0,
            producers: FxHashMap::default(),
            open: BTreeMap::new(),
            aborted: Vec::new(),
            clean: Clean::default(),
            staged: Vec::new(),
            dirty_since_ms: None,
        }
    }

    pub(super) fn snapshot(&self, id: u32) -> PartitionSnapshot {
        PartitionSnapshot {
            id,
            start: self.start,
            next: self.next,
            clean: self.clean,
            producers: self.producers.iter().map(|(id, state)| (*id, state.clone())).collect(),
            open: self.open.clone(),
            aborted: self.aborted.clone(),
        }
    }

    pub(super) fn restore(topic: Arc<str>, index: i32, snapshot: PartitionSnapshot) -> Partition {
        Partition {
            start: snapshot.start,
            next: snapshot.next,
            clean: snapshot.clean,
            producers: snapshot.producers.into_iter().collect(),
            open: snapshot.open,
            aborted: snapshot.aborted,
            ..Partition::new(topic, index)
        }
    }

    /// First offset that may be read.
    pub fn log_start(&self) -> i64 {
        self.start
    }

    /// Bytes of its batches.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Offset after the last record.
    pub fn high_watermark(&self) -> i64 {
        self.next
    }

    /// Offset up to which every transaction has ended.
    pub fn last_stable(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.next)
    }

    /// Its producers, by id.
    pub fn producers(&self) -> Vec<ProducerInfo> {
        let info = |(id, state): (&i64, &ProducerState)| ProducerInfo {
            producer_id: *id,
            epoch: state.epoch,
            last_sequence: state.recent.back().map_or(-1, |r| r.1),
            last_ms: state.last_ms,
            open_from: self.open.get(id).copied(),
        };
        let mut all: Vec<ProducerInfo> = self.producers.iter().map(info).collect();
        all.sort_by_key(|p| p.producer_id);
        all
    }

    /// Which version of a batch with this base offset counts.
    pub(super) fn expected_job(&self, base: i64) -> u32 {
        if base < self.clean.upto { self.clean.job } else { 0 }
    }

    /// Index of the first batch that ends at or after an offset.
    pub(super) fn position_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|b| b.last() < offset)
    }

    /// Checks an idempotent batch against what the producer sent before. `Some` is the offset of the batch that this
    /// one repeats.
    pub(super) fn check_sequence(&self, header: &BatchHeader) -> Result<Option<i64>> {
        let Some(state) = self.producers.get(&header.producer_id) else {
            return Ok(None);
        };
        if header.producer_epoch < state.epoch {
            return Err(ErrorCode::InvalidProducerEpoch);
        }
        if header.producer_epoch > state.epoch {
            return if header.base_sequence == 0 {
                Ok(None)
            } else {
                Err(ErrorCode::OutOfOrderSequence)
            };
        }
        let last = header.last_sequence();
        if let Some(same) = state.recent.iter().find(|r| r.0 == header.base_sequence && r.1 == last) {
            return Ok(Some(same.2));
        }
        match state.recent.back() {
            Some(&(_, i32::MAX, _)) if header.base_sequence == 0 => Ok(None),
            Some(&(_, before, _)) if header.base_sequence == before.wrapping_add(1) => Ok(None),
            None => Ok(None),
            Some(_) => Err(ErrorCode::OutOfOrderSequence),
        }
    }

    /// The sequence number that a producer's next batch has to have.
    pub(super) fn next_sequence(&self, producer_id: i64, epoch: i16) -> i32 {
        let state = self.producers.get(&producer_id).filter(|s| s.epoch == epoch);
        match state.and_then(|s| s.recent.back()) {
            Some(&(_, i32::MAX, _)) | None => 0,
            Some(&(_, last, _)) => last + 1,
        }
    }

    fn note_producer(&mut self, header: &BatchHeader, now_ms: i64) -> &mut ProducerState {
        let fresh = || ProducerState {
            epoch: header.producer_epoch,
            recent: VecDeque::new(),
            last_ms: now_ms,
        };
        let state = self.producers.entry(header.producer_id).or_insert_with(fresh);
        if state.epoch != header.producer_epoch {
            *state = fresh();
        }
        state.last_ms = now_ms;
        state
    }

    fn push(&mut self, batch: BatchRef) {
        self.next = batch.last() + 1;
        self.bytes += u64::from(batch.length);
        self.batches.push_back(batch);
    }

    /// Takes a batch of records at the end.
    pub(super) fn append(&mut self, header: &BatchHeader, at: Location, now_ms: i64) {
        if header.producer_id >= 0 {
            let state = self.note_producer(header, now_ms);
            state
                .recent
                .push_back((header.base_sequence, header.last_sequence(), header.base_offset));
            if state.recent.len() > REMEMBERED_BATCHES {
                state.recent.pop_front();
            }
            if header.is_transactional() {
                self.open.entry(header.producer_id).or_insert(header.base_offset);
            }
        }
        self.push(BatchRef::new(header, at));
    }

    /// Takes a transaction marker at the end.
    pub(super) fn append_marker(&mut self, header: &BatchHeader, at: Location, commit: bool, now_ms: i64) {
        self.note_producer(header, now_ms);
        if let Some(first) = self.open.remove(&header.producer_id)
            && !commit
        {
            self.aborted.push(AbortedTxn {
                producer_id: header.producer_id,
                first,
                marker: header.base_offset,
            });
        }
        self.push(BatchRef::new(header, at));
    }

    /// Whether the index still refers to this very copy of a batch.
    pub(super) fn is_at(&self, batch: &BatchRef) -> bool {
        let index = self.batches.partition_point(|b| b.base < batch.base);
        self.batches.get(index) == Some(batch)
    }

    /// Points the index at another copy of a batch; returns the copy that does not count (any more).
    ///
    /// While the journal is read at start, the copy before may be gone with its segment: then this one is the first.
    pub(super) fn place(&mut self, header: &BatchHeader, at: Location) -> Option<BatchRef> {
        let batch = BatchRef::new(header, at);
        if batch.last() < self.start {
            return Some(batch);
        }
        self.bytes += u64::from(batch.length);
        let index = self.batches.partition_point(|b| b.base < batch.base);
        match self.batches.get_mut(index).filter(|b| b.base == batch.base) {
            None => {
                self.batches.insert(index, batch);
                None
            }
            Some(slot) => {
                let old = std::mem::replace(slot, batch);
                self.bytes -= u64::from(old.length);
                Some(old)
            }
        }
    }

    /// Moves the start of the log; returns the batches that are gone.
    pub(super) fn advance_start(&mut self, offset: i64) -> Vec<BatchRef> {
        self.start = self.start.max(offset);
        let gone: Vec<BatchRef> = self.batches.drain(..self.position_of(self.start)).collect();
        self.bytes -= gone.iter().map(|b| u64::from(b.length)).sum::<u64>();
        let start = self.start;
        self.aborted.retain(|a| a.marker >= start);
        gone
    }

    /// Makes the staged output of a compaction the valid one; returns the batches that it replaces.
    pub(super) fn finish_compaction(&mut self, clean: Clean) -> Vec<BatchRef> {
        let keep = self.batches.partition_point(|b| b.base < clean.upto);
        let mut old: Vec<BatchRef> = self.batches.drain(..keep).collect();
        let mut new: Vec<BatchRef> = std::mem::take(&mut self.staged)
            .into_iter()
            .filter(|(job, _)| *job == clean.job)
            .map(|(_, b)| b)
            .collect();
        new.sort_by_key(|b| b.base);
        // Deleted while the compaction ran.
        let (dead, new): (Vec<_>, Vec<_>) = new.into_iter().partition(|b| b.last() < self.start);
        new.into_iter().rev().for_each(|b| self.batches.push_front(b));
        old.extend(dead);
        self.bytes = self.batches.iter().map(|b| u64::from(b.length)).sum();
        self.aborted.retain(|a| a.marker >= clean.upto);
        self.clean = clean;
        self.dirty_since_ms = None;
        old
    }

    /// Bytes from an offset on.
    pub(super) fn bytes_from(&self, offset: i64) -> u64 {
        self.batches
            .range(self.position_of(offset)..)
            .map(|b| u64::from(b.length))
            .sum()
    }
}
