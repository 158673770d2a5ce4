//! Compaction: of the records of one key only the last one stays.
//!
//! Works like Kafka's cleaner: the keys of the dirty part (or as much of it as the key map may hold) are read, then
//! everything below its end is written again without the records that a later one replaces, without aborted
//! transactions and without tombstones whose time is over. Reading and filtering happen without the core's lock; the new
//! batches are staged in the journal in steps, and one last entry makes them valid.
//!
//! *Invariants*: never beyond the last stable offset; never the last batch, and the end of the compacted part stays as an
//! (empty) batch, so that a reader's position always reaches the end; offsets never change.

use super::Core;
use super::batch::{self, BatchHeader, HEADER_LEN};
use super::error::{ErrorCode, Result};
use super::events::Event;
use super::fetch::BatchSlice;
use super::journal::{Draft, Location};
use super::maintenance::CoreAccess;
use super::partition::BatchRef;
use super::records::{self, BatchMeta, Record};
use bytes::Bytes;
use rustc_hash::FxHashMap;

/// Bytes of keys (and overhead) that one pass may hold in memory.
const KEY_MAP_BYTES: usize = 64 << 20;
const KEY_OVERHEAD: usize = 56;
/// Bytes that are staged under the lock at once.
const STAGE_BYTES: usize = 1 << 20;
/// New data beyond this many bytes is worth a compaction whatever `segment.bytes` says.
const DIRTY_ENOUGH_BYTES: u64 = 4 << 20;

/// What one compaction works on.
struct Plan {
    job: u32,
    start: i64,
    dirty_from: i64,
    batches: Vec<(BatchRef, BatchSlice)>,
    /// First offset and marker of aborted transactions, by producer.
    aborted: FxHashMap<i64, Vec<(i64, i64)>>,
    delete_retention_ms: i64,
}

impl Core {
    /// Partitions that have enough to compact.
    pub(super) fn partitions_to_compact(&mut self, now_ms: i64) -> Vec<u32> {
        let compacted: Vec<u32> = self
            .topics
            .values()
            .filter(|t| t.settings.compact)
            .flat_map(|t| t.partitions.iter().copied())
            .collect();
        compacted
            .into_iter()
            .filter(|id| self.is_dirty_enough(*id, now_ms))
            .collect()
    }

    fn is_dirty_enough(&mut self, id: u32, now_ms: i64) -> bool {
        let Ok(settings) = self.settings_of(id).copied() else {
            return false;
        };
        let Some(end) = self.compaction_end(id, now_ms) else {
            return false;
        };
        let Some(partition) = self.partitions.get_mut(&id) else {
            return false;
        };
        if end <= partition.clean.upto {
            partition.dirty_since_ms = None;
            return false;
        }
        let waited = now_ms - *partition.dirty_since_ms.get_or_insert(now_ms);
        let dirty = partition.bytes_from(partition.clean.upto.max(partition.start));
        let ratio = dirty as f64 / partition.bytes.max(1) as f64;
        let much = dirty >= settings.segment_bytes.min(DIRTY_ENOUGH_BYTES) || waited >= settings.segment_ms;
        waited >= settings.max_lag_ms || (much && ratio >= settings.min_dirty_ratio)
    }

    /// Up to where a partition may be compacted: not its last batch, no open transaction, nothing younger than the lag.
    fn compaction_end(&self, id: u32, now_ms: i64) -> Option<i64> {
        let settings = self.settings_of(id).ok()?;
        let partition = self.partitions.get(&id)?;
        let last_batch = partition.batches.back()?.base;
        let end = partition.last_stable().min(last_batch);
        if settings.min_lag_ms == 0 {
            return Some(end);
        }
        let dirty = partition.position_of(partition.clean.upto);
        let young = partition
            .batches
            .range(dirty..)
            .find(|b| b.max_timestamp > now_ms - settings.min_lag_ms);
        Some(young.map_or(end, |b| end.min(b.base)))
    }

    fn plan_compaction(&mut self, id: u32, now_ms: i64) -> Option<Plan> {
        let delete_retention_ms = self.settings_of(id).ok()?.delete_retention_ms;
        let end = self.compaction_end(id, now_ms)?;
        let job = self.counters.next_job;
        self.counters.next_job += 1;
        let partition = self.partitions.get_mut(&id)?;
        partition.staged.clear();
        let partition = self.partitions.get(&id)?;
        let slice = |batch: &BatchRef| Some((*batch, self.slice(batch).ok()?));
        let batches = partition
            .batches
            .iter()
            .take_while(|b| b.last() < end)
            .filter_map(slice)
            .collect();
        let mut aborted: FxHashMap<i64, Vec<(i64, i64)>> = FxHashMap::default();
        for txn in &partition.aborted {
            aborted
                .entry(txn.producer_id)
                .or_default()
                .push((txn.first, txn.marker));
        }
        let dirty_from = partition.clean.upto.max(partition.start);
        Some(Plan {
            job,
            start: partition.start,
            dirty_from,
            batches,
            aborted,
            delete_retention_ms,
        })
    }

    /// Puts a part of a compaction's output into the journal; it does not count yet.
    fn stage(&mut self, partition: u32, job: u32, batches: &[Bytes], now_ms: i64) -> Result<()> {
        self.partition(partition)?;
        let mut draft = Draft::default();
        let mut placed = Vec::with_capacity(batches.len());
        for data in batches {
            let header = BatchHeader::parse(data)?;
            let stored = batch::with_base_offset(&data[..HEADER_LEN], header.base_offset);
            placed.push((
                header,
                draft.batch((partition, job), now_ms, &stored, data.slice(HEADER_LEN..)),
            ));
        }
        let at = self.journal.write(&draft)?;
        for (header, position) in placed {
            let at = Location {
                segment: at.segment,
                position: at.position + position,
            };
            self.apply_batch((partition, job), &header, at, now_ms);
        }
        self.roll_if_full(now_ms);
        Ok(())
    }
}

impl Plan {
    fn is_aborted(&self, header: &BatchHeader) -> bool {
        let inside = |range: &(i64, i64)| header.base_offset >= range.0 && header.base_offset < range.1;
        header.is_transactional()
            && self
                .aborted
                .get(&header.producer_id)
                .is_some_and(|r| r.iter().any(inside))
    }

    /// The last offset of each key of the dirty part, and the end of the part that was read.
    fn latest_of_keys(&self) -> Result<(FxHashMap<Bytes, i64>, i64)> {
        let mut latest: FxHashMap<Bytes, i64> = FxHashMap::default();
        let mut held = 0;
        let mut end = self.dirty_from;
        for (batch, slice) in self.batches.iter().filter(|(b, _)| b.last() >= self.dirty_from) {
            if held > KEY_MAP_BYTES {
                break;
            }
            end = batch.last() + 1;
            if batch.control {
                continue;
            }
            let data = slice.read()?;
            if self.is_aborted(&BatchHeader::parse(&data)?) {
                continue;
            }
            for record in records::decode(&data)? {
                let Some(key) = record.key else { continue };
                match latest.get_mut(&key) {
                    Some(offset) => *offset = record.offset,
                    None => {
                        held += key.len() + KEY_OVERHEAD;
                        // A copy, so that a key does not keep its whole batch in memory.
                        latest.insert(Bytes::copy_from_slice(&key), record.offset);
                    }
                }
            }
        }
        Ok((latest, end))
    }

    /// What stays of a batch; `None` when nothing does.
    fn clean_batch(
        &self,
        data: Bytes,
        latest: &FxHashMap<Bytes, i64>,
        hold: bool,
        now_ms: i64,
    ) -> Result<Option<Bytes>> {
        let header = BatchHeader::parse(&data)?;
        let all = if header.is_control() || self.is_aborted(&header) {
            Vec::new()
        } else {
            records::decode(&data)?
        };
        let count = all.len();
        let horizon = (header.attributes & batch::DELETE_HORIZON != 0).then_some(header.base_timestamp);
        let expired = horizon.is_some_and(|time| time <= now_ms);
        let stays = |record: &Record| {
            let Some(key) = &record.key else { return true };
            let newest = latest.get(key).is_none_or(|offset| record.offset >= *offset);
            newest && !(expired && record.value.is_none())
        };
        let kept: Vec<Record> = all.into_iter().filter(|r| r.offset >= self.start && stays(r)).collect();
        let tombstones = kept.iter().any(|r| r.value.is_none());
        if kept.is_empty() && !hold {
            return Ok(None);
        }
        if kept.len() == count && count > 0 && (!tombstones || horizon.is_some()) {
            return Ok(Some(data));
        }
        let horizon = horizon.unwrap_or(now_ms.saturating_add(self.delete_retention_ms));
        let mut attributes = header.attributes & !(batch::DELETE_HORIZON | batch::CONTROL);
        if tombstones {
            attributes |= batch::DELETE_HORIZON;
        }
        let meta = BatchMeta {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            attributes,
            base_timestamp: tombstones.then_some(horizon),
            max_timestamp: None,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        };
        Ok(Some(records::encode(&meta, &kept)))
    }
}

/// Compacts one partition; returns the bytes before and after, or `None` where there was nothing to do.
pub(super) fn run(access: &impl CoreAccess, partition: u32, now_ms: i64) -> Result<Option<(u64, u64)>> {
    let Some(plan) = access.with(|core| core.plan_compaction(partition, now_ms)) else {
        return Ok(None);
    };
    let (latest, end) = plan.latest_of_keys()?;
    if end <= plan.dirty_from {
        return Ok(None);
    }
    let (mut before, mut after) = (0, 0);
    let mut ready: Vec<Bytes> = Vec::new();
    let mut ready_bytes = 0;
    for (batch, slice) in plan.batches.iter().take_while(|(b, _)| b.last() < end) {
        before += u64::from(batch.length);
        let Some(data) = plan.clean_batch(slice.read()?, &latest, batch.last() + 1 == end, now_ms)? else {
            continue;
        };
        after += data.len() as u64;
        ready_bytes += data.len();
        ready.push(data);
        if ready_bytes >= STAGE_BYTES {
            access.with(|core| core.stage(partition, plan.job, &ready, now_ms))?;
            ready.clear();
            ready_bytes = 0;
        }
    }
    access.with(|core| {
        if !ready.is_empty() {
            core.stage(partition, plan.job, &ready, now_ms)?;
        }
        core.record(Event::Compacted {
            partition,
            upto: end,
            job: plan.job,
        })
    })?;
    Ok(Some((before, after)))
}

/// A partition that cannot be compacted because a batch of it cannot be decoded stays as it is.
pub(super) fn explain(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::InvalidRecord | ErrorCode::CorruptMessage | ErrorCode::MessageTooLarge => {
            "a batch in it cannot be decoded; the topic stays as it is"
        }
        ErrorCode::UnknownTopicOrPartition => "the topic was deleted meanwhile",
        _ => "the log cannot be read or written",
    }
}
