//! A relation's topic: what is written. Encoding is the task's.
//!
//! A table's deleted row becomes a tombstone. So does a change between no row and no row: somebody upstream wants the tombstone to be written.

use crate::types::Change;

use super::Context;

/// See the module.
pub struct Sink;

impl Sink {
    pub(super) fn process(&mut self, change: Change, ctx: &mut Context<'_>) {
        ctx.out.push(change);
    }
}
