//! A source: records as they come; a table's source keeps its rows, since an update needs its old row.

use crate::topology::StoreId;
use crate::types::{Change, Value};

use super::{Context, OpError};

/// See the module.
pub struct Source {
    store: Option<StoreId>,
    is_table: bool,
}

impl Source {
    pub(super) fn new(store: Option<StoreId>, is_table: bool) -> Self {
        Self { store, is_table }
    }

    pub(super) fn process(&mut self, mut change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if self.is_table {
            // a key of several columns may hold NULLs; one of nothing but NULLs is no key
            if change.key.iter().all(Value::is_null) {
                return Err(OpError::NullKey);
            }
            if let Some(store) = self.store {
                let slot = ctx.buffer.load(store, &change.key)?;
                if change.new.is_none() && ctx.buffer.row(slot).is_none() {
                    return Ok(());
                }
                change.old_timestamp = ctx.buffer.timestamp(slot);
                change.old = ctx.buffer.put(slot, change.new.clone(), change.timestamp);
            }
            if change.old.is_none() && change.new.is_none() {
                return Ok(());
            }
        }
        ctx.out.push(change);
        Ok(())
    }
}
