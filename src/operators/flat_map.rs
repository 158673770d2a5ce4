//! Table functions: a stream's record becomes as many as the longest of its lists has values; shorter ones go on with NULL.

use std::sync::Arc;

use crate::expr::{EvalContext, EvalError, TableCall};
use crate::types::{Change, Row, Value};

use super::{Context, DropReason, OpError};

/// See the module.
pub struct FlatMap {
    calls: Vec<TableCall>,
}

impl FlatMap {
    pub(super) fn new(calls: Vec<TableCall>) -> Self {
        Self { calls }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let Some(row) = &change.new else {
            ctx.dropped.push(DropReason::NullValue);
            return Ok(());
        };
        let context = EvalContext {
            key: &change.key,
            value: row,
            timestamp: change.timestamp,
            now: ctx.now,
        };
        let lists = self.calls.iter().map(|call| call.values(&context));
        let lists = lists.collect::<Result<Vec<Arc<[Value]>>, EvalError>>()?;
        let longest = lists.iter().map(|list| list.len()).max().unwrap_or(0);
        for i in 0..longest {
            ctx.scratch.clear();
            ctx.scratch.extend_from_slice(row);
            ctx.scratch
                .extend(lists.iter().map(|list| list.get(i).cloned().unwrap_or_default()));
            ctx.out.push(Change {
                new: Some(Row::take(ctx.scratch)),
                ..change.clone()
            });
        }
        Ok(())
    }
}
