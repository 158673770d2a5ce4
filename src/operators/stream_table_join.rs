//! A stream's records enriched by the table's newest row of their key. Changes of the table send nothing.
//!
//! Records without key or value are passed over and counted, as Kafka Streams does.

use crate::topology::{self, JoinKind};
use crate::types::Change;

use super::{Context, DropReason, Newest, OpError, Side, join_rows, table_plan::row_of};

/// See the module.
pub struct StreamTableJoin {
    plan: topology::StreamTableJoin,
    left_width: usize,
    right_width: usize,
}

impl StreamTableJoin {
    pub(super) fn new(plan: topology::StreamTableJoin, left_width: usize, right_width: usize) -> Self {
        debug_assert!(matches!(plan.kind, JoinKind::Inner | JoinKind::Left));
        Self {
            plan,
            left_width,
            right_width,
        }
    }

    pub(super) fn process(&mut self, side: Side, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if side != 0 {
            return Ok(());
        }
        if change.key.has_null() {
            ctx.dropped.push(DropReason::NullKey);
            return Ok(());
        }
        let Some(left) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        let right = row_of(&self.plan.right, &mut Newest(ctx.buffer), &change.key, ctx.now)?;
        let widths = (self.left_width, self.right_width);
        if let Some(new) = join_rows(self.plan.kind, Some(left), right.row.as_ref(), widths) {
            ctx.out.push(Change {
                new: Some(new),
                ..change
            });
        }
        Ok(())
    }
}
