//! A source: records as they come; a table's source keeps its rows, since an update needs its old row, and its history if somebody looks back.

use crate::topology::{History, StoreId};
use crate::types::{Change, Value};

use super::history::Versions;
use super::{Context, OpError};

/// See the module.
pub struct Source {
    is_table: bool,
    keeps: Keeps,
}

/// What a source keeps of the rows that pass.
enum Keeps {
    Nothing,
    Rows(StoreId),
    History(Versions),
}

impl Source {
    pub(super) fn new(store: Option<StoreId>, history: Option<&History>, is_table: bool) -> Self {
        let keeps = match (store, history) {
            (None, _) => Keeps::Nothing,
            (Some(store), None) => Keeps::Rows(store),
            (Some(store), Some(history)) => Keeps::History(Versions::new(store, history.clone())),
        };
        Self { is_table, keeps }
    }

    pub(super) fn process(&mut self, mut change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if self.is_table {
            // a key of several columns may hold NULLs; one of nothing but NULLs is no key
            if change.key.iter().all(Value::is_null) {
                return Err(OpError::NullKey);
            }
            match &self.keeps {
                Keeps::Nothing => {}
                Keeps::Rows(store) => {
                    let slot = ctx.buffer.load(*store, &change.key)?;
                    if change.new.is_none() && ctx.buffer.row(slot).is_none() {
                        // the deletion of what was not there goes on, as in Kafka Streams: who reads the result may have it all the same
                        ctx.out.push(change);
                        return Ok(());
                    }
                    change.old_timestamp = ctx.buffer.timestamp(slot);
                    change.old = ctx.buffer.put(slot, change.new.clone(), change.timestamp);
                }
                Keeps::History(versions) => {
                    let changed = versions.put(change, ctx)?;
                    ctx.out.extend(changed);
                    return Ok(());
                }
            }
            if change.old.is_none() && change.new.is_none() {
                return Ok(());
            }
        }
        ctx.out.push(change);
        Ok(())
    }
}
