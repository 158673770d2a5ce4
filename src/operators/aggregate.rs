//! GROUP BY and aggregates: a row of state a group, changed in place.
//!
//! The input's key is the group. Over a table, each change takes the old row out of the group and puts the new row in; the state then begins with
//! the number of rows, and a group without rows is deleted. The timestamp of a group is the largest that it has seen.
//!
//! Held back (the default), a group is forwarded once a commit, with the results of the last forwarded state as the old row. In `every change`
//! mode each step is forwarded, taking out and putting in as two changes.

use crate::expr::{EvalContext, EvalError};
use crate::state::buffer::Slot;
use crate::topology;
use crate::types::{Change, Row, Timestamp, Value};

use super::{Context, DropReason, Held, Mode, OpError};

/// See the module.
pub struct Aggregate {
    plan: topology::Aggregate,
    hold: bool,
    wants_old: bool,
    /// Argument values of all calls, side by side.
    args: Vec<Value>,
}

#[derive(Clone, Copy)]
enum Step {
    PutIn,
    TakeOut,
}

impl Aggregate {
    pub(super) fn new(plan: topology::Aggregate, mode: Mode) -> Self {
        Self {
            plan,
            hold: mode.hold,
            wants_old: mode.wants_old,
            args: Vec::new(),
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
        let old = match self.hold {
            true => None,
            false => ctx
                .buffer
                .row(slot)
                .map(|state| result_row(&self.plan, state, ctx.scratch)),
        };
        let row_timestamp = match step {
            Step::PutIn => change.timestamp,
            Step::TakeOut => change.old_timestamp,
        };
        self.eval_args(row, &change.key, row_timestamp, ctx.now)?;
        let done = match step {
            Step::PutIn => self.put_in(slot, change.timestamp, ctx)?,
            Step::TakeOut => self.take_out(slot, change.timestamp, ctx)?,
        };
        if done && !self.hold {
            let new = ctx
                .buffer
                .row(slot)
                .map(|state| result_row(&self.plan, state, ctx.scratch));
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

    fn eval_args(&mut self, row: &Row, key: &Row, timestamp: Timestamp, now: Timestamp) -> Result<(), EvalError> {
        let context = EvalContext {
            key,
            value: row,
            timestamp,
            now,
        };
        self.args.clear();
        for call in &self.plan.calls {
            for arg in &call.args {
                self.args.push(arg.eval(&context)?);
            }
        }
        Ok(())
    }

    fn put_in(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<bool, OpError> {
        if ctx.buffer.row(slot).is_some() {
            let timestamp = ctx.buffer.timestamp(slot).max(timestamp);
            ctx.buffer.modify(slot, timestamp, |state| self.add(state))?;
        } else {
            ctx.scratch.clear();
            ctx.scratch.resize(state_len(&self.plan), Value::Null);
            let mut at = head_len(&self.plan);
            if let Some(rows) = ctx.scratch[..at].first_mut() {
                *rows = Value::Bigint(0);
            }
            for call in &self.plan.calls {
                let end = at + call.state_len();
                call.init(&mut ctx.scratch[at..end]);
                at = end;
            }
            self.add(ctx.scratch)?;
            let state = Row::take(ctx.scratch);
            ctx.buffer.put(slot, Some(state), timestamp);
        }
        Ok(true)
    }

    fn take_out(&self, slot: Slot, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<bool, OpError> {
        let Some(state) = ctx.buffer.row(slot) else {
            ctx.dropped.push(DropReason::MissingGroup);
            return Ok(false);
        };
        let rows = row_count(state);
        let timestamp = ctx.buffer.timestamp(slot).max(timestamp);
        if rows <= 1 {
            ctx.buffer.put(slot, None, timestamp);
        } else {
            ctx.buffer.modify(slot, timestamp, |state| self.undo(state))?;
        }
        Ok(true)
    }

    fn add(&self, state: &mut [Value]) -> Result<(), EvalError> {
        let mut at = head_len(&self.plan);
        if at > 0 {
            state[0] = Value::Bigint(row_count(state) + 1);
        }
        let mut arg = 0;
        for call in &self.plan.calls {
            let (end, arg_end) = (at + call.state_len(), arg + call.args.len());
            call.add(&mut state[at..end], &self.args[arg..arg_end])?;
            (at, arg) = (end, arg_end);
        }
        Ok(())
    }

    fn undo(&self, state: &mut [Value]) -> Result<(), EvalError> {
        let mut at = head_len(&self.plan);
        state[0] = Value::Bigint(row_count(state) - 1);
        let mut arg = 0;
        for call in &self.plan.calls {
            let (end, arg_end) = (at + call.state_len(), arg + call.args.len());
            call.undo(&mut state[at..end], &self.args[arg..arg_end])?;
            (at, arg) = (end, arg_end);
        }
        Ok(())
    }

    pub(super) fn flush(&self, ctx: &mut Context<'_>, held: &mut Vec<Held>) {
        if self.hold {
            let mut slots = Vec::new();
            ctx.buffer.dirty_in_order(self.plan.store, &mut slots);
            held.extend(slots.into_iter().map(Held::Slot));
        }
    }

    pub(super) fn forward(&self, slot: Slot, ctx: &mut Context<'_>) {
        let buffer = &*ctx.buffer;
        let start = buffer.start_row(slot);
        let old = start.map(|(state, _)| match self.wants_old {
            true => result_row(&self.plan, state, ctx.scratch),
            false => Row::empty(),
        });
        let new = buffer.row(slot).map(|state| result_row(&self.plan, state, ctx.scratch));
        if old.is_some() || new.is_some() {
            ctx.out.push(Change {
                key: buffer.key(slot).clone(),
                old,
                new,
                timestamp: buffer.timestamp(slot),
                old_timestamp: start.map_or(Timestamp::MIN, |(_, timestamp)| timestamp),
                headers: None,
            });
        }
    }
}

/// Values before the first call's state: the number of rows, for tables.
fn head_len(plan: &topology::Aggregate) -> usize {
    usize::from(plan.of_table)
}

fn state_len(plan: &topology::Aggregate) -> usize {
    head_len(plan) + plan.calls.iter().map(|call| call.state_len()).sum::<usize>()
}

fn row_count(state: &[Value]) -> i64 {
    match state.first() {
        Some(Value::Bigint(n)) => *n,
        _ => 0,
    }
}

/// The results for a state, as a row.
pub(super) fn result_row(plan: &topology::Aggregate, state: &[Value], scratch: &mut Vec<Value>) -> Row {
    scratch.clear();
    let mut at = head_len(plan);
    for call in &plan.calls {
        let end = at + call.state_len();
        scratch.push(call.result(&state[at..end]));
        at = end;
    }
    Row::take(scratch)
}
