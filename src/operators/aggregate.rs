//! GROUP BY and aggregates: a row of state a group, changed in place ([`super::group_state`]).
//!
//! The input's key is the group. Over a table, each change takes the old row out of the group and puts the new row in; the state then begins with
//! the number of rows, and a group without rows is deleted, or kept where the plan says so. The timestamp of a group is the largest that it has seen.
//!
//! *Over a table, whether a row is in its group depends on the row alone*, never on the group, or it could be taken out of a group that it was never
//! put into: a row whose arguments cannot be computed is in none (it is bad, and its old row is taken out all the same), and every other is, since
//! nothing in a group refuses it. A group whose results cannot be computed, such as a sum that does not fit its type, is an error of that result, and
//! is absent (deleted downstream, absent in views and joins) until a later row brings it back.
//!
//! Held back (the default), a group is forwarded once a commit, with the results of the last forwarded state as the old row. In `every change`
//! mode each step is forwarded, taking out and putting in as two changes.

use crate::expr::EvalError;
use crate::state::StoreResult;
use crate::state::buffer::Slot;
use crate::topology;
use crate::types::{Change, Row, Timestamp, Value};

use super::group_state::{GroupStates, results, row_count};
use super::{AtStart, Context, DropReason, Held, Mode, Newest, OpError, RowReader};

/// See the module.
pub struct Aggregate {
    plan: topology::Aggregate,
    hold: bool,
    wants_old: bool,
    /// The groups, to change.
    pub(super) states: GroupStates,
}

#[derive(Clone, Copy)]
enum Step {
    PutIn,
    TakeOut,
}

impl Aggregate {
    pub(super) fn new(plan: topology::Aggregate, mode: Mode) -> Self {
        Self {
            states: GroupStates::new(plan.calls.clone(), plan.of_table, plan.elements),
            plan,
            hold: mode.hold,
            wants_old: mode.wants_old,
        }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if change.key.has_null() {
            ctx.dropped.push(DropReason::NullKey);
            return Ok(());
        }
        if change.new.is_none() && !self.plan.of_table {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        }
        let slot = ctx.buffer.load(self.plan.store, &change.key)?;
        if let (Some(old), true) = (&change.old, self.plan.of_table) {
            // one that cannot be computed was never put in
            if self.read(old, change.old_timestamp, &change, ctx.now).is_ok() {
                self.step(Step::TakeOut, slot, &change, ctx)?;
            }
        }
        if let Some(new) = &change.new {
            let read = self.read(new, change.timestamp, &change, ctx.now);
            if ctx.or_absent(read)?.is_some() {
                self.step(Step::PutIn, slot, &change, ctx)?;
            }
        }
        Ok(())
    }

    /// Evaluates the arguments over a row of the change.
    fn read(&mut self, row: &Row, timestamp: Timestamp, change: &Change, now: Timestamp) -> Result<(), EvalError> {
        self.states.read(row, &change.key, timestamp, now)
    }

    /// Puts in or takes out the row that was read.
    fn step(&mut self, step: Step, slot: Slot, change: &Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let old_timestamp = ctx.buffer.timestamp(slot);
        let old = match self.hold {
            true => None,
            false => self.newest(slot, ctx)?.ok().flatten(),
        };
        let done = match step {
            Step::PutIn => {
                self.states.put_in(slot, change.timestamp, ctx)?;
                true
            }
            Step::TakeOut => self.take_out(slot, change.timestamp, ctx)?,
        };
        if done && !self.hold {
            let new = self.newest(slot, ctx)?;
            let new = match step {
                // it may fit again with the row that comes instead
                Step::TakeOut if change.new.is_some() => new.ok(),
                Step::TakeOut | Step::PutIn => ctx.or_absent(new)?,
            };
            let new = new.flatten();
            if old.is_some() || new.is_some() {
                ctx.out.push(Change {
                    key: change.key.clone(),
                    old,
                    new,
                    timestamp: ctx.buffer.timestamp(slot),
                    old_timestamp,
                    headers: None,
                });
            }
        }
        Ok(())
    }

    fn take_out(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<bool, OpError> {
        let Some(state) = ctx.buffer.row(slot) else {
            ctx.dropped.push(DropReason::MissingGroup);
            return Ok(false);
        };
        if row_count(state) <= 1 && !self.plan.keep_empty {
            let timestamp = ctx.buffer.timestamp(slot).max(timestamp);
            self.states.delete(slot, timestamp, ctx)?;
        } else {
            self.states.take_out(slot, timestamp, ctx)?;
        }
        Ok(true)
    }

    /// The results of a group's newest state.
    fn newest(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<Result<Option<Row>, EvalError>> {
        let Some(state) = ctx.buffer.row(slot).cloned() else {
            return Ok(Ok(None));
        };
        let key = ctx.buffer.key(slot).clone();
        let results = result_row(&self.plan, &key, &state, &mut Newest(ctx.buffer), ctx.scratch)?;
        Ok(results.map(Some))
    }

    pub(super) fn flush(&self, ctx: &mut Context<'_>, held: &mut Vec<Held>) {
        if self.hold {
            let mut slots = Vec::new();
            ctx.buffer.dirty_in_order(self.plan.store, &mut slots);
            held.extend(slots.into_iter().map(Held::Slot));
        }
    }

    pub(super) fn forward(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<()> {
        let key = ctx.buffer.key(slot).clone();
        let start = ctx
            .buffer
            .start_row(slot)
            .map(|(state, timestamp)| (state.clone(), timestamp));
        let old = match &start {
            Some(_) if !self.wants_old => Some(Row::empty()),
            Some((state, _)) => {
                let reader = &mut AtStart(ctx.buffer);
                result_row(&self.plan, &key, state, reader, ctx.scratch)?.ok()
            }
            None => None,
        };
        let new = self.newest(slot, ctx)?;
        let new = ctx.absent_unless(new).flatten();
        if old.is_some() || new.is_some() {
            ctx.out.push(Change {
                key,
                old,
                new,
                timestamp: ctx.buffer.timestamp(slot),
                old_timestamp: start.map_or(Timestamp::MIN, |(_, timestamp)| timestamp),
                headers: None,
            });
        }
        Ok(())
    }
}

/// The results for a group's state, as a row, or why the group has none.
pub(super) fn result_row<R: RowReader>(
    plan: &topology::Aggregate,
    group: &Row,
    state: &Row,
    reader: &mut R,
    scratch: &mut Vec<Value>,
) -> StoreResult<Result<Row, EvalError>> {
    let head = usize::from(plan.of_table);
    results(&plan.calls, head, plan.elements, (group, state), reader, scratch)
}
