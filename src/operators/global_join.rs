//! Rows of a stream or table enriched by a global table's newest row of a key that is computed from them. Changes of the global table send nothing.
//!
//! As Kafka Streams' GlobalKTable it is not synchronised in time: a record sees what its process has loaded, and one that is processed again after a crash may see newer
//! rows. What was committed is not changed by that. Of a left table the results are kept, so that what is taken back is what was given out.
//!
//! Without key a left row meets nothing: a left join gives it out alone, as Kafka Streams does since 3.7 (KIP-962); an inner join passes it over and counts it.

use std::sync::Arc;

use crate::state::{SharedRows, StoreResult};
use crate::topology::{self, JoinKind};
use crate::types::{Change, Row, Timestamp};

use super::{Committed, Context, DropReason, OpError, join_rows, table_plan::row_of};

/// See the module.
pub struct GlobalJoin {
    plan: topology::GlobalJoin,
    left_width: usize,
    globals: Arc<SharedRows>,
}

impl GlobalJoin {
    pub(super) fn new(plan: topology::GlobalJoin, left_width: usize, globals: Arc<SharedRows>) -> Self {
        debug_assert!(matches!(plan.kind, JoinKind::Inner | JoinKind::Left));
        Self {
            plan,
            left_width,
            globals,
        }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if self.plan.results.is_some() {
            return self.table(change, ctx);
        }
        let Some(left) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        let (joined, keyless) = self.join(&change.key, left, change.timestamp, ctx)?;
        match joined {
            Some(new) => ctx.out.push(Change {
                new: Some(new),
                ..change
            }),
            None if keyless => ctx.dropped.push(DropReason::NullKey),
            None => {}
        }
        Ok(())
    }

    /// From the result that was given out to the new one.
    fn table(&self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let new = match &change.new {
            Some(left) => {
                let joined = self.join(&change.key, left, change.timestamp, ctx);
                let joined = match joined {
                    Err(OpError::Eval(e)) => ctx.or_absent(Err(e))?,
                    joined => Some(joined?),
                };
                let (row, keyless) = joined.unwrap_or_default();
                if row.is_none() && keyless {
                    ctx.dropped.push(DropReason::NullKey);
                }
                row
            }
            None => None,
        };
        let slot = ctx.buffer.load(self.plan.results.unwrap_or_default(), &change.key)?;
        if new.is_none() && ctx.buffer.row(slot).is_none() {
            return Ok(());
        }
        let old_timestamp = ctx.buffer.timestamp(slot);
        let old = ctx.buffer.put(slot, new.clone(), change.timestamp);
        ctx.out.push(Change {
            old,
            new,
            old_timestamp,
            ..change
        });
        Ok(())
    }

    /// The joined row, and whether the left row has no key for the global table.
    fn join(
        &self,
        key: &Row,
        left: &Row,
        timestamp: Timestamp,
        ctx: &mut Context<'_>,
    ) -> Result<(Option<Row>, bool), OpError> {
        let wanted = ctx.eval(&self.plan.key, key, left, timestamp)?;
        let keyless = wanted.has_null();
        let right = match keyless {
            true => None,
            false => self.find(&wanted, ctx.now)?,
        };
        let widths = (self.left_width, self.plan.right_width);
        Ok((join_rows(self.plan.kind, Some(left), right.as_ref(), widths), keyless))
    }

    fn find(&self, key: &Row, now: Timestamp) -> StoreResult<Option<Row>> {
        let snapshot = self.globals.newest()?;
        Ok(row_of(&self.plan.right, &mut Committed::new(snapshot.as_ref()), key, now)?.row)
    }
}
