//! Two streams of the same key, joined where their records are near in time. Semantics are Kafka Streams' (`KStreamKStreamJoin`).
//!
//! Each side keeps its records, by (segment of time, key, timestamp, number), for as long as the window and its grace period ask, by the time
//! that *its own* records have reached. A new record meets those of the other side in time order, then is kept itself.
//!
//! A record of an outer side that meets none waits in a store of its own until stream time, that of both sides, is beyond its window's end and
//! the grace period; then it is given out without partner. Without a grace period it is given out at once, and again when a partner comes.
//!
//! A record of an outer side that has no key can have no partner: it is given out without one at once, and is no part of the join's time (KIP-962). Of an inner side it is
//! passed over and counted.
//!
//! A record that is older than what its side still keeps meets partners that are there, but is not kept; when it meets none and gives no result, it
//! is counted as late. Old records are deleted some at a time, so that no record pays for many; what still waits for that is not seen.

use crate::state::buffer::Slot;
use crate::state::{StoreError, StoreResult};
use crate::topology::{self, JoinKind, StoreId};
use crate::types::{Change, Row, Timestamp, Value, encode_key};

use super::table_table_join::keeps_alone;
use super::{Context, DropReason, OpError, Side, join_rows, passes};

/// Old records deleted for each new one: more than come, so that all are gone in the end.
const DELETED_AT_ONCE: usize = 64;

/// See the module.
pub struct StreamStreamJoin {
    plan: topology::StreamStreamJoin,
    widths: (usize, usize),
    /// Whether left, right records are given out without partner.
    outer: [bool; 2],
    segment: i64,
    retention: i64,
}

/// How far the join has come: the row of its `progress` store.
#[derive(Clone, Copy, Debug)]
struct Progress {
    /// The largest timestamp of each side.
    time: [Timestamp; 2],
    /// The number of the next record.
    number: i64,
    /// Below this segment all records of the side are deleted.
    deleted: [i64; 2],
    /// No window of a waiting record has closed before stream time is beyond this.
    next_close: Timestamp,
}

/// A record of the other side.
struct Partner {
    timestamp: Timestamp,
    number: Value,
    row: Row,
}

impl Progress {
    fn start() -> Self {
        Self {
            time: [Timestamp::MIN; 2],
            number: 0,
            deleted: [i64::MIN; 2],
            next_close: Timestamp::MAX,
        }
    }

    fn of(row: &Row) -> Result<Self, StoreError> {
        let number = |i: usize| match row.get(i) {
            Some(Value::Bigint(n)) => Ok(*n),
            _ => Err(StoreError::unexpected("the progress of a join")),
        };
        Ok(Self {
            time: [number(0)?, number(1)?],
            number: number(2)?,
            deleted: [number(3)?, number(4)?],
            next_close: number(5)?,
        })
    }

    fn row(self) -> Row {
        let Self {
            time,
            number,
            deleted,
            next_close,
        } = self;
        Row::from([time[0], time[1], number, deleted[0], deleted[1], next_close].map(Value::Bigint))
    }

    fn stream_time(&self) -> Timestamp {
        self.time[0].max(self.time[1])
    }
}

impl StreamStreamJoin {
    pub(super) fn new(plan: topology::StreamStreamJoin, left_width: usize, right_width: usize) -> Self {
        let (left, right) = keeps_alone(plan.kind);
        Self {
            widths: (left_width, right_width),
            outer: [left, right],
            segment: plan.window.segment(),
            retention: plan.window.retention(),
            plan,
        }
    }

    pub(super) fn process(&mut self, side: Side, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let side = usize::from(side.min(1));
        let keyless = change.key.has_null();
        if keyless && !self.outer[side] {
            ctx.dropped.push(DropReason::NullKey);
            return Ok(());
        }
        let Some(row) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        if keyless {
            let alone = self.alone(side, &change.key, row, change.timestamp);
            ctx.out.push(Change {
                headers: change.headers,
                ..alone
            });
            return Ok(());
        }
        let at = ctx.buffer.load(self.plan.progress, &Row::from([Value::Integer(0)]))?;
        let mut progress = match ctx.buffer.row(at) {
            Some(row) => Progress::of(row)?,
            None => Progress::start(),
        };
        progress.time[side] = progress.time[side].max(change.timestamp);
        if progress.stream_time() > progress.next_close {
            self.close(&mut progress, ctx)?;
        }
        let partners = self.partners(side, &change, &progress, ctx)?;
        let mut met = false;
        for partner in partners {
            met |= self.meet(side, &change, row, partner, ctx)?;
        }
        self.keep(side, &change, row, met, &mut progress, ctx)?;
        for side in 0..2 {
            self.delete_old(side, &mut progress, ctx)?;
        }
        let stream_time = progress.stream_time();
        ctx.buffer.put(at, Some(progress.row()), stream_time);
        Ok(())
    }

    /// How long after a record of this side its partner may come.
    fn ahead(&self, side: usize) -> i64 {
        [self.plan.window.after, self.plan.window.before][side]
    }

    /// The first segment of a side that is still kept.
    fn first_kept(&self, side: usize, progress: &Progress) -> i64 {
        progress.time[side]
            .saturating_sub(self.retention)
            .div_euclid(self.segment)
    }

    fn store(&self, side: usize) -> StoreId {
        [self.plan.left, self.plan.right][side]
    }

    /// The other side's records of the key within the window, in order.
    fn partners(
        &self,
        side: usize,
        change: &Change,
        progress: &Progress,
        ctx: &Context<'_>,
    ) -> Result<Vec<Partner>, OpError> {
        let other = 1 - side;
        let from = change.timestamp.saturating_sub(self.ahead(other));
        let to = change.timestamp.saturating_add(self.ahead(side));
        let first = from.div_euclid(self.segment).max(self.first_kept(other, progress));
        let (mut start, mut end, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for segment in first..=to.div_euclid(self.segment) {
            for (bytes, time) in [(&mut start, from), (&mut end, to.saturating_add(1))] {
                bytes.clear();
                encode_key(&[Value::Bigint(segment)], bytes);
                encode_key(&change.key, bytes);
                encode_key(&[Value::Bigint(time)], bytes);
            }
            ctx.buffer
                .scan(self.store(other), &start, Some(&end), &mut |key, row, timestamp| {
                    found.push(Partner {
                        timestamp,
                        number: key.last().cloned().unwrap_or_default(),
                        row: row.clone(),
                    });
                    true
                })?;
        }
        Ok(found)
    }

    /// Gives out a pair, unless the further condition says that it is none.
    fn meet(
        &self,
        side: usize,
        change: &Change,
        row: &Row,
        partner: Partner,
        ctx: &mut Context<'_>,
    ) -> Result<bool, OpError> {
        let (left, right) = match side {
            0 => (row, &partner.row),
            _ => (&partner.row, row),
        };
        let Some(joined) = join_rows(JoinKind::Inner, Some(left), Some(right), self.widths) else {
            return Ok(false);
        };
        let timestamp = change.timestamp.max(partner.timestamp);
        if let Some(condition) = &self.plan.residual
            && !passes(condition, &change.key, &joined, timestamp, ctx.now)?
        {
            return Ok(false);
        }
        if let Some(store) = self.plan.unmatched
            && self.outer[1 - side]
        {
            let key = waiting_key(1 - side, partner.timestamp, &change.key, partner.number);
            let slot = ctx.buffer.load(store, &key)?;
            if ctx.buffer.row(slot).is_some() {
                ctx.buffer.put(slot, None, partner.timestamp);
            }
        }
        ctx.out.push(Change {
            headers: change.headers.clone(),
            ..Change::record(change.key.clone(), Some(joined), timestamp)
        });
        Ok(true)
    }

    /// Keeps a record for partners to come, and sees to one that has met none.
    fn keep(
        &self,
        side: usize,
        change: &Change,
        row: &Row,
        met: bool,
        progress: &mut Progress,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let timestamp = change.timestamp;
        let segment = timestamp.div_euclid(self.segment);
        let late = segment < self.first_kept(side, progress);
        let number = progress.number;
        if !late {
            progress.number += 1;
            let key = record_key(segment, &change.key, timestamp, Value::Bigint(number));
            let slot = ctx.buffer.load(self.store(side), &key)?;
            ctx.buffer.put(slot, Some(row.clone()), timestamp);
        }
        if met {
            return Ok(());
        }
        if !self.outer[side] {
            if late {
                ctx.dropped.push(DropReason::Late);
            }
            return Ok(());
        }
        let close = self.close_of(side, timestamp);
        match self.plan.unmatched {
            Some(store) if !late && close >= progress.stream_time() => {
                let key = waiting_key(side, timestamp, &change.key, Value::Bigint(number));
                let slot = ctx.buffer.load(store, &key)?;
                ctx.buffer.put(slot, Some(Row::empty()), timestamp);
                progress.next_close = progress.next_close.min(close);
            }
            _ => {
                let alone = self.alone(side, &change.key, row, timestamp);
                ctx.out.push(Change {
                    headers: change.headers.clone(),
                    ..alone
                });
            }
        }
        Ok(())
    }

    /// The window of a record is closed when stream time is beyond this.
    fn close_of(&self, side: usize, timestamp: Timestamp) -> Timestamp {
        let grace = self.plan.window.grace.unwrap_or(0);
        timestamp.saturating_add(self.ahead(side)).saturating_add(grace)
    }

    fn alone(&self, side: usize, key: &Row, row: &Row, timestamp: Timestamp) -> Change {
        let (left, right) = if side == 0 {
            (Some(row), None)
        } else {
            (None, Some(row))
        };
        let joined = join_rows(JoinKind::Full, left, right, self.widths);
        Change::record(key.clone(), joined, timestamp)
    }

    /// Gives out the waiting records whose window has closed: by time, right ones first, as Kafka Streams does.
    fn close(&self, progress: &mut Progress, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let Some(store) = self.plan.unmatched else {
            return Ok(());
        };
        let stream_time = progress.stream_time();
        let (mut closed, mut next) = (Vec::new(), Timestamp::MAX);
        ctx.buffer.scan(store, &[], None, &mut |key, _, timestamp| {
            let side = side_of(key);
            if self.close_of(side, timestamp) < stream_time {
                closed.push(key.clone());
                return true;
            }
            next = next.min(self.close_of(side, timestamp));
            // what comes later may close earlier, if the other side's window is shorter
            let earliest = self.close_of(0, timestamp).min(self.close_of(1, timestamp));
            next = next.min(earliest);
            earliest < stream_time
        })?;
        progress.next_close = next;
        for key in closed {
            let slot = ctx.buffer.load(store, &key)?;
            let side = side_of(&key);
            let (Some(Value::Bigint(timestamp)), Some(number)) = (key.first(), key.last()) else {
                continue;
            };
            let (timestamp, number) = (*timestamp, number.clone());
            ctx.buffer.put(slot, None, timestamp);
            let joined: Row = key[2..key.len() - 1].iter().cloned().collect();
            let record = record_key(timestamp.div_euclid(self.segment), &joined, timestamp, number);
            let slot = ctx.buffer.load(self.store(side), &record)?;
            if let Some(row) = ctx.buffer.row(slot) {
                ctx.out.push(self.alone(side, &joined, row, timestamp));
            }
        }
        Ok(())
    }

    /// Deletes some of the records that are no longer kept.
    fn delete_old(&self, side: usize, progress: &mut Progress, ctx: &mut Context<'_>) -> StoreResult<()> {
        let first = self.first_kept(side, progress);
        if progress.deleted[side] >= first {
            return Ok(());
        }
        let mut end = Vec::new();
        encode_key(&[Value::Bigint(first)], &mut end);
        let mut old = Vec::new();
        ctx.buffer
            .scan(self.store(side), &[], Some(&end), &mut |key, _, timestamp| {
                old.push((key.clone(), timestamp));
                old.len() < DELETED_AT_ONCE
            })?;
        if old.len() < DELETED_AT_ONCE {
            progress.deleted[side] = first;
        }
        for (key, timestamp) in old {
            let slot: Slot = ctx.buffer.load(self.store(side), &key)?;
            ctx.buffer.put(slot, None, timestamp);
        }
        Ok(())
    }
}

fn record_key(segment: i64, key: &Row, timestamp: Timestamp, number: Value) -> Row {
    let head = [Value::Bigint(segment)].into_iter().chain(key.iter().cloned());
    head.chain([Value::Bigint(timestamp), number]).collect()
}

fn waiting_key(side: usize, timestamp: Timestamp, key: &Row, number: Value) -> Row {
    let left = Value::Integer(i32::from(side == 0));
    let head = [Value::Bigint(timestamp), left].into_iter().chain(key.iter().cloned());
    head.chain([number]).collect()
}

/// The side of a waiting record, from its key.
fn side_of(key: &Row) -> usize {
    usize::from(key.get(1) != Some(&Value::Integer(1)))
}
