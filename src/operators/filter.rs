//! WHERE and HAVING: rows pass whose predicate is TRUE.
//!
//! Of a table, a row that passed and no longer passes is deleted downstream, and one that neither passed nor passes sends nothing. A stream's
//! record without value passes no predicate.

use crate::expr::Expr;
use crate::types::Change;

use super::{Context, DropReason, OpError, passes};

/// See the module.
pub struct Filter {
    predicate: Expr,
    of_table: bool,
}

impl Filter {
    pub(super) fn new(predicate: Expr, of_table: bool) -> Self {
        Self { predicate, of_table }
    }

    pub(super) fn process(&mut self, mut change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        change.old = change.old.filter(|row| {
            let passed = passes(&self.predicate, &change.key, row, change.old_timestamp, ctx.now);
            passed.unwrap_or(false)
        });
        if let Some(row) = &change.new {
            let mut passed = match &self.predicate {
                Expr::Try(predicate) => passes(predicate, &change.key, row, change.timestamp, ctx.now),
                predicate => passes(predicate, &change.key, row, change.timestamp, ctx.now),
            };
            if passed.is_err() && matches!(self.predicate, Expr::Try(_)) {
                ctx.dropped.push(DropReason::FailedExpression);
                passed = Ok(false);
            }
            if ctx.or_absent(passed)? != Some(true) {
                change.new = None;
            }
        }
        debug_assert!(self.of_table || change.old.is_none(), "a stream has no old rows");
        if change.old.is_some() || change.new.is_some() {
            ctx.out.push(change);
        }
        Ok(())
    }
}
