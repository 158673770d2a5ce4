//! A new key: the changes it gives out go through an internal topic to the partition of that key.
//!
//! Of a table, the old row goes to its key and the new row to its own; where the two keys are the same, one change carries both, so that the
//! group is never seen without the row (KIP-904).

use crate::expr::{EvalError, Expr};
use crate::topology;
use crate::types::{Change, Row, Timestamp, Value};

use super::{Context, DropReason, OpError};

/// See the module.
pub struct Repartition {
    key: Vec<Expr>,
    value: Vec<Expr>,
    of_table: bool,
    /// What a stream's record without value has in its columns.
    no_value: Row,
}

impl Repartition {
    pub(super) fn new(plan: &topology::Repartition, of_table: bool, width: usize) -> Self {
        Self {
            key: plan.key.clone(),
            value: plan.value.clone(),
            of_table,
            no_value: vec![Value::Null; width].into(),
        }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if self.of_table {
            self.table(change, ctx)
        } else {
            self.stream(change, ctx)
        }
    }

    fn stream(&self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let columns = change.new.as_ref().unwrap_or(&self.no_value);
        let key = ctx.eval(&self.key, &change.key, columns, change.timestamp)?;
        let new = match &change.new {
            Some(new) => Some(ctx.eval(&self.value, &change.key, new, change.timestamp)?),
            None => None,
        };
        ctx.out.push(Change { key, new, ..change });
        Ok(())
    }

    fn table(&self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let old = change
            .old
            .as_ref()
            .map(|row| self.row(&change.key, row, change.old_timestamp, ctx));
        let old = old.and_then(Result::ok);
        let new = match &change.new {
            Some(row) => {
                let computed = self.row(&change.key, row, change.timestamp, ctx);
                ctx.or_absent(computed)?
            }
            None => None,
        };
        let mut grouped = |row: Option<(Row, Row)>| {
            let lost = row.as_ref().is_some_and(|(key, _)| key.has_null());
            if lost {
                ctx.dropped.push(DropReason::NullKey);
            }
            row.filter(|_| !lost)
        };
        let (old, new) = (grouped(old), grouped(new));
        let Change {
            timestamp,
            old_timestamp,
            headers,
            ..
        } = change;
        let send = |key, old, new, ctx: &mut Context<'_>| {
            ctx.out.push(Change {
                key,
                old,
                new,
                timestamp,
                old_timestamp,
                headers: headers.clone(),
            });
        };
        match (old, new) {
            (Some((old_key, old)), Some((new_key, new))) if old_key == new_key => {
                send(new_key, Some(old), Some(new), ctx);
            }
            (old, new) => {
                if let Some((key, row)) = old {
                    send(key, Some(row), None, ctx);
                }
                if let Some((key, row)) = new {
                    send(key, None, Some(row), ctx);
                }
            }
        }
        Ok(())
    }

    /// New key and carried columns of a table's row. One whose new key has a NULL belongs to no group.
    fn row(&self, key: &Row, row: &Row, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<(Row, Row), EvalError> {
        let new_key = ctx.eval(&self.key, key, row, timestamp)?;
        let value = ctx.eval(&self.value, key, row, timestamp)?;
        Ok((new_key, value))
    }
}
