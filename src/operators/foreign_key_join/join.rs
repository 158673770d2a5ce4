//! The results: a left row and the answer to it.

use crate::topology::{self, JoinKind};
use crate::types::{Change, Row, Timestamp};

use super::super::{Context, DropReason, OpError, Side, join_rows};
use super::{is_true, number, part};

/// See the module above.
pub struct Join {
    plan: topology::ForeignKeyJoin,
    widths: (usize, usize),
}

impl Join {
    pub(in crate::operators) fn new(plan: topology::ForeignKeyJoin, left_width: usize, right_width: usize) -> Self {
        Self {
            plan,
            widths: (left_width, right_width),
        }
    }

    pub(in crate::operators) fn process(
        &mut self,
        side: Side,
        change: Change,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let slot = ctx.buffer.load(self.plan.rows, &change.key)?;
        let left_timestamp = ctx.buffer.timestamp(slot);
        let kept = ctx.buffer.row(slot).cloned();
        let first = 1 + self.plan.foreign_key;
        match (side, kept) {
            // the left row is gone; as Kafka Streams, an inner join says so even where it had no result
            (0, None) => {
                let inner = self.plan.kind == JoinKind::Inner;
                self.give(&change.key, None, change.timestamp, inner, ctx)
            }
            (0, Some(kept)) if part(&kept, 1, first).has_null() => {
                if self.plan.kind == JoinKind::Inner {
                    ctx.dropped.push(DropReason::NullKey);
                }
                let row = self.joined(&kept, None);
                self.give(&change.key, row, change.timestamp, false, ctx)
            }
            // the answer will come
            (0, Some(_)) => Ok(()),
            (_, Some(kept)) => {
                let Some(answer) = change.new.as_ref().filter(|a| number(a, 0) == number(&kept, 0)) else {
                    // to an older version: another answer is on its way, or has come
                    return Ok(());
                };
                let right = is_true(answer, 1).then(|| part(answer, 2, answer.len()));
                let row = self.joined(&kept, right.as_ref());
                self.give(&change.key, row, left_timestamp.max(change.timestamp), false, ctx)
            }
            (_, None) => Ok(()),
        }
    }

    fn joined(&self, kept: &Row, right: Option<&Row>) -> Option<Row> {
        let left = part(kept, 1 + self.plan.foreign_key, kept.len());
        join_rows(self.plan.kind, Some(&left), right, self.widths)
    }

    /// Replaces the result. A deletion of nothing is given out when `always`.
    fn give(
        &self,
        key: &Row,
        new: Option<Row>,
        timestamp: Timestamp,
        always: bool,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let slot = ctx.buffer.load(self.plan.results, key)?;
        let old_timestamp = ctx.buffer.timestamp(slot);
        let nothing = new.is_none() && ctx.buffer.row(slot).is_none();
        if nothing && !always {
            return Ok(());
        }
        let old = match nothing {
            true => None,
            false => ctx.buffer.put(slot, new.clone(), timestamp),
        };
        ctx.out.push(Change {
            key: key.clone(),
            old,
            new,
            timestamp,
            old_timestamp,
            headers: None,
        });
        Ok(())
    }
}
