//! What keeps a log bounded: retention, compaction, and giving disk space back.
//!
//! [`run`] is one round. It takes the core only for short steps and reads and writes the bulk in between, so callers
//! keep going beside it. One round at a time: callers see to that.

use super::Core;
use super::batch::{self, BatchHeader, HEADER_LEN};
use super::compaction;
use super::error::Result;
use super::events::Event;
use super::fetch::BatchSlice;
use super::journal::{Draft, Location};
use super::partition::{BatchRef, Partition};
use super::storage::ReadSegment;
use bytes::Bytes;
use std::sync::Arc;

/// Bytes that are moved under the lock at once.
const MOVE_BYTES: usize = 1 << 20;

/// Reaches the core for one short step.
pub trait CoreAccess {
    /// Runs a step with the core.
    fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R;
}

impl CoreAccess for std::cell::RefCell<Core> {
    fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R {
        step(&mut self.borrow_mut())
    }
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaintenanceReport {
    /// Partitions whose start moved by retention.
    pub retained: usize,
    /// Partitions that were compacted.
    pub compacted: usize,
    /// Journal segments that were removed.
    pub removed_segments: usize,
}

/// One round of maintenance.
pub fn run(access: &impl CoreAccess, now_ms: i64) -> MaintenanceReport {
    let mut report = MaintenanceReport {
        retained: access.with(|core| core.apply_retention(now_ms)),
        ..MaintenanceReport::default()
    };
    for partition in access.with(|core| core.partitions_to_compact(now_ms)) {
        match compaction::run(access, partition, now_ms) {
            Ok(None) => {}
            Ok(Some((before, after))) => {
                report.compacted += 1;
                tracing::debug!(partition, before, after, "compacted");
            }
            Err(error) => {
                let why = compaction::explain(error);
                tracing::warn!(partition, %error, why, "a partition cannot be compacted");
            }
        }
    }
    sync_closed_segments(access);
    for segment in access.with(|core| core.segments_to_collect()) {
        match collect(access, segment, now_ms) {
            Ok(removed) => report.removed_segments += usize::from(removed),
            Err(error) => tracing::warn!(segment, %error, "a journal segment cannot be emptied"),
        }
    }
    report
}

/// Segments that are full reach the disk here, not when an append happens to fill them.
fn sync_closed_segments(access: &impl CoreAccess) {
    for (id, reader) in access.with(|core| core.closed_unsynced_segments()) {
        match reader.sync() {
            Ok(()) => access.with(|core| core.note_synced(id)),
            Err(error) => tracing::warn!(segment = id, %error, "a journal segment cannot be forced to disk"),
        }
    }
}

/// Moves what is live in a segment to the end of the journal and removes the segment.
fn collect(access: &impl CoreAccess, segment: u32, now_ms: i64) -> Result<bool> {
    let mut group: Vec<(u32, BatchRef, Bytes)> = Vec::new();
    let mut bytes = 0;
    for (partition, batch, slice) in access.with(|core| core.live_in(segment)) {
        bytes += slice.length();
        group.push((partition, batch, slice.read()?));
        if bytes >= MOVE_BYTES {
            access.with(|core| core.move_batches(&group, now_ms))?;
            group.clear();
            bytes = 0;
        }
    }
    access.with(|core| core.move_batches(&group, now_ms))?;
    // What was moved has to be on the disk before its old place goes.
    if let Some(reader) = access.with(|core| core.active_reader())
        && let Err(error) = reader.sync()
    {
        tracing::warn!(%error, "the journal cannot be forced to disk; old segments stay");
        return Ok(false);
    }
    sync_closed_segments(access);
    Ok(access.with(|core| core.remove_if_dead(segment)))
}

impl Core {
    /// Moves the start of partitions whose topics limit their age or size; returns how many.
    fn apply_retention(&mut self, now_ms: i64) -> usize {
        let mut moves = Vec::new();
        for topic in self.topics.values().filter(|t| t.settings.delete) {
            for id in &topic.partitions {
                let Some(partition) = self.partitions.get(id) else {
                    continue;
                };
                let oldest_ms = topic.settings.retention_ms.map(|age| now_ms.saturating_sub(age));
                let start = retained_from(partition, oldest_ms, topic.settings.retention_bytes);
                if start > partition.start {
                    moves.push((*id, start));
                }
            }
        }
        let count = moves.len();
        for (partition, offset) in moves {
            if self.record(Event::LogStart { partition, offset }).is_err() {
                return 0;
            }
        }
        count
    }

    /// Closed segments that are at least half dead.
    fn segments_to_collect(&self) -> Vec<u32> {
        let segments = self.journal.segments.iter();
        let sparse = segments.filter(|(id, s)| **id != self.journal.active && s.live * 2 <= s.length);
        sparse.map(|(id, _)| *id).collect()
    }

    fn closed_unsynced_segments(&self) -> Vec<(u32, Arc<dyn ReadSegment>)> {
        let segments = self.journal.segments.iter();
        let due = segments.filter(|(id, s)| **id != self.journal.active && s.unsynced && s.live > 0);
        due.map(|(id, s)| (*id, Arc::clone(&s.reader))).collect()
    }

    fn note_synced(&mut self, id: u32) {
        if let Some(segment) = self.journal.segments.get_mut(&id) {
            segment.unsynced = false;
        }
    }

    fn active_reader(&self) -> Option<Arc<dyn ReadSegment>> {
        self.journal
            .segments
            .get(&self.journal.active)
            .map(|s| Arc::clone(&s.reader))
    }

    fn live_in(&self, segment: u32) -> Vec<(u32, BatchRef, BatchSlice)> {
        let mut out = Vec::new();
        for id in self.topics.values().flat_map(|t| &t.partitions) {
            let Some(partition) = self.partitions.get(id) else {
                continue;
            };
            let here = partition.batches.iter().filter(|b| b.at.segment == segment);
            out.extend(here.filter_map(|b| Some((*id, *b, self.slice(b).ok()?))));
        }
        out
    }

    fn move_batches(&mut self, group: &[(u32, BatchRef, Bytes)], now_ms: i64) -> Result<()> {
        let mut draft = Draft::default();
        let mut placed = Vec::with_capacity(group.len());
        for (id, batch, data) in group {
            let Some(partition) = self.partitions.get(id).filter(|p| p.is_at(batch)) else {
                continue;
            };
            let header = BatchHeader::parse(data)?;
            let stored = batch::with_base_offset(&data[..HEADER_LEN], header.base_offset);
            let to = (*id, partition.expected_job(header.base_offset));
            placed.push((to, header, draft.batch(to, now_ms, &stored, data.slice(HEADER_LEN..))));
        }
        if draft.length() == 0 {
            return Ok(());
        }
        let at = self.journal.write(&draft)?;
        for (to, header, position) in placed {
            self.apply_batch(
                to,
                &header,
                Location {
                    segment: at.segment,
                    position: at.position + position,
                },
                now_ms,
            );
        }
        self.roll_if_full(now_ms);
        Ok(())
    }

    fn remove_if_dead(&mut self, segment: u32) -> bool {
        let dead = segment != self.journal.active && self.journal.segments.get(&segment).is_some_and(|s| s.live == 0);
        if dead {
            self.journal.remove(segment);
        }
        dead
    }

    /// Bytes of the whole journal, on disk.
    pub fn journal_bytes(&self) -> u64 {
        self.journal.segments.values().map(|s| s.length).sum()
    }
}

/// The first offset that the limits allow to stay.
fn retained_from(partition: &Partition, oldest_ms: Option<i64>, max_bytes: Option<u64>) -> i64 {
    let stable = partition.last_stable();
    let mut start = partition.start;
    let mut bytes = partition.bytes;
    for batch in partition.batches.iter().take_while(|b| b.last() < stable) {
        let too_old = oldest_ms.is_some_and(|oldest| batch.max_timestamp >= 0 && batch.max_timestamp < oldest);
        let too_many = max_bytes.is_some_and(|max| bytes - u64::from(batch.length) >= max);
        if !too_old && !too_many {
            break;
        }
        bytes -= u64::from(batch.length);
        start = batch.last() + 1;
    }
    start
}
