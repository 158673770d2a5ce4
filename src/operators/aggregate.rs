//! GROUP BY and aggregates: a row of state a group, changed in place ([`super::group_state`]).
//!
//! The input's key is the group. Over a table, each change takes the old row out of the group and puts the new row in; the state then begins with
//! the number of rows, and a group without rows is deleted, or kept where the plan says so. The timestamp of a group is the largest that it has seen.
//!
//! Held back (the default), a group is forwarded once a commit, with the results of the last forwarded state as the old row. In `every change`
//! mode each step is forwarded, taking out and putting in as two changes.

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
    states: GroupStates,
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
            self.step(Step::TakeOut, slot, old, &change, ctx)?;
        }
        if let Some(new) = &change.new {
            self.step(Step::PutIn, slot, new, &change, ctx)?;
        }
        Ok(())
    }

    fn step(
        &mut self,
        step: Step,
        slot: Slot,
        row: &Row,
        change: &Change,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let old_timestamp = ctx.buffer.timestamp(slot);
        let old = if self.hold { None } else { self.newest(slot, ctx)? };
        let row_timestamp = match step {
            Step::PutIn => change.timestamp,
            Step::TakeOut => change.old_timestamp,
        };
        self.states.read(row, &change.key, row_timestamp, ctx.now)?;
        let done = match step {
            Step::PutIn => {
                self.states.put_in(slot, change.timestamp, ctx)?;
                true
            }
            Step::TakeOut => self.take_out(slot, change.timestamp, ctx)?,
        };
        if done && !self.hold {
            let new = self.newest(slot, ctx)?;
            ctx.out.push(Change {
                key: change.key.clone(),
                old,
                new,
                timestamp: ctx.buffer.timestamp(slot),
                old_timestamp,
                headers: None,
            });
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
    fn newest(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<Option<Row>> {
        let Some(state) = ctx.buffer.row(slot).cloned() else {
            return Ok(None);
        };
        let key = ctx.buffer.key(slot).clone();
        result_row(&self.plan, &key, &state, &mut Newest(ctx.buffer), ctx.scratch).map(Some)
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
            Some((state, _)) => Some(result_row(
                &self.plan,
                &key,
                state,
                &mut AtStart(ctx.buffer),
                ctx.scratch,
            )?),
            None => None,
        };
        let new = self.newest(slot, ctx)?;
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

/// The results for a group's state, as a row.
pub(super) fn result_row<R: RowReader>(
    plan: &topology::Aggregate,
    group: &Row,
    state: &Row,
    reader: &mut R,
    scratch: &mut Vec<Value>,
) -> StoreResult<Row> {
    let head = usize::from(plan.of_table);
    results(&plan.calls, head, plan.elements, (group, state), reader, scratch)
}
