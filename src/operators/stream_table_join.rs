//! A stream's records enriched by the table's row of their key: the newest one, or with `FOR SYSTEM_TIME AS OF` the one that was valid at the record's time.
//! Changes of the table send nothing.
//!
//! Without key a record meets nothing: a left join gives it out alone, as Kafka Streams does since 3.7 (KIP-962); an inner join passes it over and counts it, and either does so
//! with a record without value. A record from before the table's history meets nothing, and is
//! counted as late.

use crate::expr::EvalError;
use crate::topology::{self, JoinKind};
use crate::types::{Change, Row, Timestamp, Value};

use super::history::AtTime;
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
        let keyless = change.key.has_null();
        if keyless && self.plan.kind == JoinKind::Inner {
            ctx.dropped.push(DropReason::NullKey);
            return Ok(());
        }
        let Some(left) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        let right = match keyless {
            true => None,
            false => self.right(&change.key, left, change.timestamp, ctx)?,
        };
        let widths = (self.left_width, self.right_width);
        if let Some(new) = join_rows(self.plan.kind, Some(left), right.as_ref(), widths) {
            ctx.out.push(Change {
                new: Some(new),
                ..change
            });
        }
        Ok(())
    }

    /// The table's row for a record.
    fn right(
        &self,
        key: &Row,
        left: &Row,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<Option<Row>, OpError> {
        let Some(as_of) = &self.plan.as_of else {
            return Ok(row_of(&self.plan.right, &mut Newest(ctx.buffer), key, ctx.now)?.row);
        };
        let time = ctx.eval(std::slice::from_ref(&as_of.time), key, left, timestamp)?;
        let time = match time[0] {
            Value::Bigint(time) | Value::Timestamp(time) => time,
            // no time, no row: counted, since the user meant one
            Value::Null => {
                ctx.dropped.push(DropReason::NullTime);
                return Ok(None);
            }
            _ => return Err(EvalError::new("the time of FOR SYSTEM_TIME AS OF is none").into()),
        };
        let mut reader = AtTime::new(ctx.buffer, as_of, time);
        let found = row_of(&self.plan.right, &mut reader, key, ctx.now)?;
        if reader.too_old {
            ctx.dropped.push(DropReason::Late);
        }
        Ok(found.row)
    }
}
