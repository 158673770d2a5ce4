//! GROUP BY with WINDOW TUMBLING or HOPPING: a row of state a group and window.
//!
//! A record belongs to every window that holds its timestamp, and is late for those that are closed: stream time has passed their end by the grace
//! period. Results are given out as those of other aggregations: each change at once, or a window once a commit. With EMIT FINAL a window is
//! given out when it closes, once, in the order (end, key); its row is shown from then on.
//!
//! Rows whose retention has passed are deleted, a few for each record, and nothing is said downstream: the results stay in the topic. One that this
//! generation has changed waits for the next, so that its last change is given out.

use crate::topology::{self, Windows};
use crate::types::{Change, Row, Timestamp, Value};

use super::aggregate::{Aggregate, result_row};
use super::window_clock::{Clock, MAX_EXPIRED_PER_RECORD, Reading};
use super::{Context, DropReason, Held, Mode, Newest, OpError};
use crate::expr::EvalError;
use crate::state::StoreResult;
use crate::state::buffer::Slot;

/// See the module.
pub struct WindowAggregate {
    pub(super) plan: topology::WindowAggregate,
    pub(super) groups: Aggregate,
    pub(super) clock: Clock,
    pub(super) hold: bool,
    pub(super) wants_old: bool,
}

impl WindowAggregate {
    pub(super) fn new(plan: topology::WindowAggregate, mode: Mode) -> Self {
        Self {
            groups: Aggregate::new(plan.aggregate.clone(), mode),
            clock: Clock::new(&plan),
            hold: mode.hold && plan.open.is_none(),
            wants_old: mode.wants_old,
            plan,
        }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if change.key.has_null() {
            ctx.dropped.push(DropReason::NullKey);
            return Ok(());
        }
        let Some(row) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        if change.timestamp < 0 {
            ctx.dropped.push(DropReason::NegativeTime);
            return Ok(());
        }
        let mut reading = self.clock.observe(change.timestamp, ctx)?;
        self.groups.states.read(row, &change.key, change.timestamp, ctx.now)?;
        match self.plan.spec.windows {
            Windows::Tumbling { size_ms } => self.time_windows(&change, (size_ms, size_ms), &mut reading, ctx)?,
            Windows::Hopping { size_ms, advance_ms } => {
                self.time_windows(&change, (size_ms, advance_ms), &mut reading, ctx)?;
            }
            Windows::Session { gap_ms } => self.session(&change, gap_ms, &mut reading, ctx)?,
        }
        self.close(&mut reading, ctx)?;
        self.expire(&mut reading, ctx)?;
        self.clock.keep(&reading, ctx);
        Ok(())
    }

    /// The store of windows that take records.
    pub(super) fn store(&self) -> topology::StoreId {
        self.plan.open.unwrap_or(self.plan.aggregate.store)
    }

    fn time_windows(
        &mut self,
        change: &Change,
        (size, advance): (i64, i64),
        reading: &mut Reading,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let closed = self.plan.spec.closed_end(reading.stream_time);
        let mut late = false;
        for start in starts(change.timestamp, size, advance) {
            let end = start.saturating_add(size);
            if end <= closed {
                late = true;
                continue;
            }
            let key = windowed(&change.key, start, end);
            let slot = ctx.buffer.load(self.store(), &key)?;
            if ctx.buffer.row(slot).is_none() {
                self.clock.add(&key, reading, ctx)?;
            }
            self.put_in(slot, change.timestamp, ctx)?;
        }
        if late {
            ctx.dropped.push(DropReason::Late);
        }
        Ok(())
    }

    /// Puts the record into a window, and gives the change out where each change is.
    pub(super) fn put_in(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let old_timestamp = ctx.buffer.timestamp(slot);
        let old = self.given_out(slot, ctx)?;
        self.groups.states.put_in(slot, timestamp, ctx)?;
        self.give_out(slot, (old, old_timestamp), ctx)
    }

    /// Whether each change is given out as it happens.
    pub(super) fn gives_out_changes(&self) -> bool {
        !self.hold && self.plan.open.is_none()
    }

    /// What was given out of a window last, where each change is.
    pub(super) fn given_out(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<Option<Row>> {
        match ctx.buffer.row(slot) {
            Some(_) if !self.gives_out_changes() => Ok(None),
            Some(_) if !self.wants_old => Ok(Some(Row::empty())),
            Some(_) => Ok(self.results(slot, ctx)?.ok().flatten()),
            None => Ok(None),
        }
    }

    /// The results of a window as it is.
    fn results(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<Result<Option<Row>, EvalError>> {
        let Some(state) = ctx.buffer.row(slot).cloned() else {
            return Ok(Ok(None));
        };
        let key = ctx.buffer.key(slot).clone();
        let aggregate = &self.plan.aggregate;
        let results = result_row(aggregate, &key, &state, &mut Newest(ctx.buffer), ctx.scratch)?;
        Ok(results.map(Some))
    }

    /// Gives the change of a window out, where each change is.
    pub(super) fn give_out(
        &self,
        slot: Slot,
        (old, old_timestamp): (Option<Row>, Timestamp),
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        if !self.gives_out_changes() {
            return Ok(());
        }
        let new = self.results(slot, ctx)?;
        let new = ctx.or_absent(new)?.flatten();
        ctx.out.push(Change {
            key: ctx.buffer.key(slot).clone(),
            old,
            new,
            timestamp: ctx.buffer.timestamp(slot),
            old_timestamp,
            headers: None,
        });
        Ok(())
    }

    /// EMIT FINAL: the windows that stream time has closed are given out and become what is shown.
    fn close(&mut self, reading: &mut Reading, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let Some(open) = self.plan.open else { return Ok(()) };
        let closed = self.plan.spec.closed_end(reading.stream_time);
        if reading.next_close > closed {
            return Ok(());
        }
        let (ended, next) = self.clock.ended((reading.next_close, closed), usize::MAX, ctx)?;
        reading.next_close = next;
        for ending in ended {
            let slot = ctx.buffer.load(open, &ending.key)?;
            let timestamp = ctx.buffer.timestamp(slot);
            let new = self.results(slot, ctx)?;
            let state = ctx.buffer.put(slot, None, timestamp);
            let shown = ctx.buffer.load(self.plan.aggregate.store, &ending.key)?;
            ctx.buffer.put(shown, state, timestamp);
            // the record at hand is not to blame for what a window of others holds
            let Ok(new @ Some(_)) = new else {
                ctx.dropped.push(DropReason::FailedExpression);
                continue;
            };
            ctx.out.push(Change {
                key: ending.key,
                old: None,
                new,
                timestamp,
                old_timestamp: Timestamp::MIN,
                headers: None,
            });
        }
        Ok(())
    }

    /// Deletes rows that are no longer kept, a few at a time.
    fn expire(&mut self, reading: &mut Reading, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let expired = self.plan.spec.expired_end(reading.stream_time);
        if reading.next_expiry > expired {
            return Ok(());
        }
        let (ended, next) = self
            .clock
            .ended((reading.next_expiry, expired), MAX_EXPIRED_PER_RECORD, ctx)?;
        reading.next_expiry = next;
        for ending in ended {
            let slot = ctx.buffer.load(self.plan.aggregate.store, &ending.key)?;
            if self.hold && ctx.buffer.is_dirty(slot) {
                // the windows before it are gone, this one and the others wait for the commit
                reading.next_expiry = ending.end;
                break;
            }
            if ctx.buffer.row(slot).is_some() {
                // later than the window's end, which tells it from a session that became part of another
                self.groups.states.delete(slot, reading.stream_time, ctx)?;
            }
            self.clock.remove(&ending.key, ctx)?;
        }
        Ok(())
    }

    pub(super) fn flush(&self, ctx: &mut Context<'_>, held: &mut Vec<Held>) -> StoreResult<()> {
        if !self.hold {
            return Ok(());
        }
        let mut slots = Vec::new();
        ctx.buffer.dirty_in_order(self.plan.aggregate.store, &mut slots);
        let sessions = self.plan.spec.info().is_session();
        // what has expired is deleted here only
        let given_out = |slot: &Slot| {
            let merged = || sessions && ctx.buffer.timestamp(*slot) == end_of(ctx.buffer.key(*slot));
            ctx.buffer.row(*slot).is_some() || merged()
        };
        held.extend(slots.into_iter().filter(given_out).map(Held::Slot));
        Ok(())
    }

    pub(super) fn forward(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<()> {
        self.groups.forward(slot, ctx)
    }
}

/// The starts of the windows that hold a timestamp, ascending: multiples of the advance, none before 0.
fn starts(timestamp: Timestamp, size: i64, advance: i64) -> impl Iterator<Item = i64> {
    let (size, advance) = (size.max(1), advance.max(1));
    // the first multiple of the advance after `timestamp - size`
    let first = match timestamp.checked_sub(size) {
        Some(before) if before >= 0 => (before / advance + 1) * advance,
        _ => 0,
    };
    (0..)
        .map_while(move |n: i64| first.checked_add(n.checked_mul(advance)?))
        .take_while(move |start| *start <= timestamp)
}

/// A key row with its window.
pub(super) fn windowed(key: &[Value], start: i64, end: i64) -> Row {
    key.iter()
        .cloned()
        .chain([Value::Bigint(start), Value::Bigint(end)])
        .collect()
}

/// The end of a windowed key row.
pub(super) fn end_of(key: &[Value]) -> i64 {
    match key.last() {
        Some(Value::Bigint(end)) => *end,
        _ => i64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_in_every_window_that_begins_by_then_and_ends_later() {
        for (size, advance) in [(10, 10), (10, 5), (10, 3), (10, 1), (7, 7), (1, 1)] {
            for timestamp in 0..50 {
                let expected: Vec<i64> = (0..=timestamp)
                    .filter(|s| s % advance == 0 && timestamp < s + size)
                    .collect();
                assert_eq!(
                    starts(timestamp, size, advance).collect::<Vec<_>>(),
                    expected,
                    "{timestamp} {size} {advance}"
                );
            }
        }
        assert_eq!(starts(i64::MAX, 10, 10).count(), 1);
    }
}
