//! SELECT: other value columns; the key stays. Of a table, the old row is computed as well.

use crate::expr::Expr;
use crate::types::Change;

use super::{Context, OpError};

/// See the module.
pub struct Project {
    exprs: Vec<Expr>,
    wants_old: bool,
}

impl Project {
    pub(super) fn new(exprs: Vec<Expr>, wants_old: bool) -> Self {
        Self { exprs, wants_old }
    }

    pub(super) fn process(&mut self, mut change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if self.wants_old
            && let Some(row) = change.old.take()
        {
            change.old = ctx.eval(&self.exprs, &change.key, &row, change.old_timestamp).ok();
        }
        if let Some(row) = change.new.take() {
            let computed = ctx.eval(&self.exprs, &change.key, &row, change.timestamp);
            change.new = ctx.or_absent(computed)?;
            if change.new.is_none() && change.old.is_none() {
                return Ok(());
            }
        }
        ctx.out.push(change);
        Ok(())
    }
}
