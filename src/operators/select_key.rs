//! A new key on the way to a sink: the record stays in its task, and the sink's topic has it where the new key belongs.

use crate::expr::Expr;
use crate::topology;
use crate::types::{Change, Row, Value};

use super::{Context, OpError};

/// See the module.
pub struct SelectKey {
    key: Vec<Expr>,
    value: Vec<Expr>,
    /// What a record without value has in its columns.
    no_value: Row,
}

impl SelectKey {
    pub(super) fn new(plan: &topology::SelectKey, width: usize) -> Self {
        Self {
            key: plan.key.clone(),
            value: plan.value.clone(),
            no_value: vec![Value::Null; width].into(),
        }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let columns = change.new.as_ref().unwrap_or(&self.no_value);
        let key = ctx.eval(&self.key, &change.key, columns, change.timestamp)?;
        let new = match &change.new {
            Some(new) => Some(ctx.eval(&self.value, &change.key, new, change.timestamp)?),
            None => None,
        };
        ctx.out.push(Change { key, new, ..change });
        Ok(())
    }
}
