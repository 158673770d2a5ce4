//! Two tables of the same key.
//!
//! Where both inputs forward at once, a change of one side meets the other side's current row (Kafka Streams' KTable join). Where an input is
//! held back until commit, so is the join: it notes the keys that changed and forwards each once, after both inputs, from the rows at the start of the
//! generation (the last ones forwarded) to the newest. So a join of two aggregates of one stream never pairs the new state of one with the old state
//! of the other (KAFKA-7595).
//!
//! The timestamp of a joined row is the larger of its sides'.

use crate::state::StoreResult;
use crate::topology::{self, JoinKind};
use crate::types::{Change, Row, Timestamp};

use super::{AtStart, Context, Held, Looked, Mode, Newest, OpError, Side, join_rows, table_plan::row_of};

/// See the module.
pub struct TableTableJoin {
    plan: topology::TableTableJoin,
    widths: (usize, usize),
    mode: Mode,
}

impl TableTableJoin {
    pub(super) fn new(plan: topology::TableTableJoin, left_width: usize, right_width: usize, mode: Mode) -> Self {
        Self {
            plan,
            widths: (left_width, right_width),
            mode,
        }
    }

    pub(super) fn process(&mut self, side: Side, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        // the deletion of what was not there changes no joined row
        if change.old.is_none() && change.new.is_none() {
            return Ok(());
        }
        if self.mode.hold {
            ctx.buffer.mark_pending(self.mode.pending, &change.key);
            return Ok(());
        }
        let other_plan = if side == 0 { &self.plan.right } else { &self.plan.left };
        let other = row_of(other_plan, &mut Newest(ctx.buffer), &change.key, ctx.now)?;
        let joined = |row: Option<&Row>| {
            let other = other.row.as_ref();
            let (left, right) = if side == 0 { (row, other) } else { (other, row) };
            join_rows(self.plan.kind, left, right, self.widths)
        };
        let (old, new) = (joined(change.old.as_ref()), joined(change.new.as_ref()));
        if old.is_some() || new.is_some() {
            let of_other = match &other.row {
                Some(_) => other.timestamp,
                None => Timestamp::MIN,
            };
            ctx.out.push(Change {
                old,
                new,
                timestamp: change.timestamp.max(of_other),
                old_timestamp: change.old_timestamp.max(of_other),
                ..change
            });
        }
        Ok(())
    }

    pub(super) fn flush(&self, ctx: &mut Context<'_>, held: &mut Vec<Held>) -> StoreResult<()> {
        if !self.mode.hold {
            return Ok(());
        }
        let keys = ctx.buffer.pending(self.mode.pending).to_vec();
        for store in [self.plan.left.stores(), self.plan.right.stores()].concat() {
            // each is looked at in this flush, whatever it takes
            ctx.buffer.preload(store, &keys, usize::MAX)?;
        }
        let mut changes: Vec<Change> = Vec::with_capacity(keys.len());
        for key in &keys {
            changes.extend(self.held_change(key, ctx)?);
        }
        changes.sort_by_key(|change| change.timestamp);
        held.extend(changes.into_iter().map(Held::Change));
        Ok(())
    }

    /// From the joined row at the start of the generation to the newest one.
    fn held_change(&self, key: &Row, ctx: &mut Context<'_>) -> StoreResult<Option<Change>> {
        let now = ctx.now;
        let left = row_of(&self.plan.left, &mut Newest(ctx.buffer), key, now)?;
        let right = row_of(&self.plan.right, &mut Newest(ctx.buffer), key, now)?;
        let new = self.join(left.row.as_ref(), right.row.as_ref());
        let (old, old_timestamp) = if new.is_some() && !self.mode.wants_old {
            // a row that may have been there: a delete too many does no harm, should the new one fail on its way
            (Some(Row::empty()), Timestamp::MIN)
        } else {
            let left = row_of(&self.plan.left, &mut AtStart(ctx.buffer), key, now)?;
            let right = row_of(&self.plan.right, &mut AtStart(ctx.buffer), key, now)?;
            (self.join(left.row.as_ref(), right.row.as_ref()), larger(&left, &right))
        };
        if old.is_none() && new.is_none() {
            return Ok(None);
        }
        let timestamp = match &new {
            Some(_) => larger(&left, &right),
            None => left.timestamp.max(right.timestamp),
        };
        Ok(Some(Change {
            key: key.clone(),
            old,
            new,
            timestamp,
            old_timestamp,
            headers: None,
        }))
    }

    fn join(&self, left: Option<&Row>, right: Option<&Row>) -> Option<Row> {
        join_rows(self.plan.kind, left, right, self.widths)
    }
}

/// The larger timestamp of the rows that are there: a deletion's does not count, so that it does not depend on when a commit fell.
pub(super) fn larger(left: &Looked, right: &Looked) -> Timestamp {
    match (&left.row, &right.row) {
        (Some(_), None) => left.timestamp,
        (None, Some(_)) => right.timestamp,
        (Some(_), Some(_)) | (None, None) => left.timestamp.max(right.timestamp),
    }
}

/// Whether a join kind keeps a row that has only a left, and only a right side.
pub(super) fn keeps_alone(kind: JoinKind) -> (bool, bool) {
    match kind {
        JoinKind::Inner => (false, false),
        JoinKind::Left => (true, false),
        JoinKind::Right => (false, true),
        JoinKind::Full => (true, true),
    }
}
