//! The simulated consumer without a group.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Access, Call, Part, classify, headers_of, isolation};
use crate::log::core::{ErrorCode, Record};
use crate::log::{Fetched, Fetcher, FetcherConfig, HeadersRef, LogError, LogResult, RecordRef};
use crate::types::TopicPartition;

/// Bytes that one read takes at most, so that partitions take turns.
const READ_BYTES: usize = 16 << 10;

struct Slot {
    tp: TopicPartition,
    /// Where the next read begins: after everything in `fetched`.
    next: i64,
    fetched: VecDeque<Record>,
    paused: bool,
    /// The end that was last reported.
    ended_at: Option<i64>,
}

impl Slot {
    fn position(&self) -> i64 {
        self.fetched.front().map_or(self.next, |record| record.offset)
    }
}

pub(super) struct SimFetcher {
    access: Access,
    committed_only: bool,
    slots: BTreeMap<u32, Slot>,
}

impl SimFetcher {
    pub(super) fn new(access: Access, config: &FetcherConfig) -> Self {
        Self {
            access,
            committed_only: config.committed_only,
            slots: BTreeMap::new(),
        }
    }

    /// Reads on where nothing is left of the last read; true when the end is reached and was not reported yet.
    fn fill(&mut self, slot: u32) -> LogResult<bool> {
        let Some(at) = self.slots.get(&slot) else {
            return Ok(false);
        };
        if !at.fetched.is_empty() || at.paused {
            return Ok(false);
        }
        let (tp, from, committed_only) = (at.tp.clone(), at.next, self.committed_only);
        if self.access.is_unavailable(&tp) {
            return Ok(false);
        }
        let part = Part::Partition(&tp.topic, tp.partition);
        let read = self.access.call(Call::Fetch, part, (&tp.topic, from), |state| {
            let read = state
                .core
                .read(&tp.topic, tp.partition, from, READ_BYTES, isolation(committed_only));
            read.map_err(|error| match error {
                ErrorCode::OffsetOutOfRange => out_of_range(&state.core, &tp, from),
                other => classify(other, &tp.topic),
            })
        });
        if matches!(read, Err(LogError::OutOfRange { .. })) {
            self.slots.remove(&slot);
        }
        let read = read?;
        let end = if committed_only {
            read.last_stable
        } else {
            read.high_watermark
        };
        let Some(at) = self.slots.get_mut(&slot) else {
            return Ok(false);
        };
        at.next = read.next_offset.max(at.next);
        at.fetched.extend(read.records);
        let ended = at.fetched.is_empty() && at.next >= end && at.ended_at != Some(at.next);
        if ended {
            at.ended_at = Some(at.next);
        }
        Ok(ended)
    }

    /// The order in which partitions are looked at, and how many records at most: seeded.
    fn plan(&self, max: usize) -> (Vec<u32>, usize) {
        let mut order: Vec<u32> = self.slots.keys().copied().collect();
        let mut state = self.access.peek();
        let shift = state.rng.below(order.len());
        order.rotate_left(shift);
        let slow_fetch = state.faults.slow_fetch;
        let max = if state.rng.chance(slow_fetch) {
            state.rng.below(max.min(4) + 1)
        } else {
            max
        };
        (order, max)
    }
}

fn out_of_range(core: &super::Core, tp: &TopicPartition, offset: i64) -> LogError {
    let partition = core
        .partition_id(&tp.topic, tp.partition)
        .and_then(|id| core.partition(id));
    let (low, high) = partition.map_or((0, 0), |p| (p.log_start(), p.high_watermark()));
    LogError::OutOfRange {
        tp: tp.clone(),
        offset,
        low,
        high,
    }
}

impl Fetcher for SimFetcher {
    fn assign(&mut self, slot: u32, tp: &TopicPartition, offset: i64) -> LogResult<()> {
        let new = Slot {
            tp: tp.clone(),
            next: offset,
            fetched: VecDeque::new(),
            paused: false,
            ended_at: None,
        };
        assert!(self.slots.insert(slot, new).is_none(), "slot {slot} is in use");
        Ok(())
    }

    fn unassign(&mut self, slot: u32) -> LogResult<()> {
        self.slots.remove(&slot);
        Ok(())
    }

    fn pause(&mut self, slot: u32) -> LogResult<()> {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.paused = true;
        }
        Ok(())
    }

    fn resume(&mut self, slot: u32) -> LogResult<()> {
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.paused = false;
        }
        Ok(())
    }

    fn poll(&mut self, max: usize, _timeout: Duration, sink: &mut dyn FnMut(Fetched<'_>)) -> LogResult<usize> {
        let (order, max) = self.plan(max);
        let mut given = 0;
        for slot in order {
            if given >= max {
                break;
            }
            if self.fill(slot)? {
                sink(Fetched::End { slot });
            }
            let Some(at) = self.slots.get_mut(&slot) else { continue };
            if at.paused {
                continue;
            }
            let keys: Vec<&[u8]> = at.fetched.iter().filter_map(|record| record.key.as_deref()).collect();
            if !keys.is_empty() {
                sink(Fetched::Ahead { slot, keys: &keys });
            }
            while given < max
                && let Some(record) = at.fetched.pop_front()
            {
                let headers = headers_of(&record);
                sink(Fetched::Record(RecordRef {
                    slot,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers: if headers.is_some() {
                        HeadersRef::Owned(&headers)
                    } else {
                        HeadersRef::None
                    },
                }));
                given += 1;
            }
        }
        Ok(given)
    }

    fn position(&mut self, slot: u32) -> LogResult<Option<i64>> {
        Ok(self.slots.get(&slot).map(Slot::position))
    }
}
