//! A relation's topic: what is written. Encoding is the task's.
//!
//! A table's deleted row becomes a tombstone; a change between no row and no row is not written.

use crate::types::Change;

use super::Context;

/// See the module.
pub struct Sink {
    is_table: bool,
}

impl Sink {
    pub(super) fn new(is_table: bool) -> Self {
        Self { is_table }
    }

    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) {
        if !self.is_table || change.old.is_some() || change.new.is_some() {
            ctx.out.push(change);
        }
    }
}
