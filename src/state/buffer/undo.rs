//! Taking back what a record has done to the buffer.
//!
//! *Invariant*: undone in reverse order, so that a key written twice ends with what it was at the savepoint, and the list of written keys
//! loses its last items only.

use crate::types::{Row, Timestamp};

use super::table::Entry;
use super::{Buffer, PendingId, Slot, encoded, pending_bytes, table_of};

/// What a record did, to take it back.
pub(super) struct Undo {
    pub slot: Slot,
    pub generation: u32,
    pub timestamp: Timestamp,
    pub was: Was,
}

pub(super) enum Was {
    /// The row before it was replaced.
    Row(Option<Row>),
    /// The values before they were changed in place: in [`Buffer::undo_values`] from here on.
    Values(usize),
    /// The key was not pending.
    NotPending(PendingId),
}

impl Buffer {
    /// Takes back everything since [`Self::begin`].
    pub fn rollback(&mut self) {
        self.rollback_to(0);
    }

    /// A point since [`Self::begin`] to go back to.
    pub fn savepoint(&self) -> usize {
        self.undo.len()
    }

    /// Takes back everything since a [`Self::savepoint`].
    pub fn rollback_to(&mut self, savepoint: usize) {
        while self.undo.len() > savepoint
            && let Some(undo) = self.undo.pop()
        {
            match undo.was {
                Was::NotPending(id) => self.unmark_pending(id),
                Was::Row(row) => self.unwrite(undo.slot, undo.generation, undo.timestamp, |entry| entry.row = row),
                Was::Values(start) => {
                    let mut values = std::mem::take(&mut self.undo_values);
                    self.unwrite(undo.slot, undo.generation, undo.timestamp, |entry| {
                        if let Some(row) = &mut entry.row {
                            row.make_mut().clone_from_slice(&values[start..]);
                        }
                    });
                    values.truncate(start);
                    self.undo_values = values;
                }
            }
        }
    }

    fn unmark_pending(&mut self, id: PendingId) {
        let pending = &mut self.pending[id];
        if let Some(key) = pending.order.pop() {
            self.filling_bytes -= pending_bytes(&key);
            pending.keys.remove(&key);
        }
    }

    fn unwrite(&mut self, slot: Slot, generation: u32, timestamp: Timestamp, restore: impl FnOnce(&mut Entry)) {
        let (filling, committed) = (self.filling, self.committed);
        let table = table_of(&mut self.tables, slot.store);
        let entry = &mut table.entries[slot.index as usize];
        restore(entry);
        entry.timestamp = timestamp;
        let before = entry.bytes;
        if generation != filling {
            // this write was the first of the generation, so it stands last in the list
            entry.generation = generation;
            entry.start = None;
            if generation <= committed
                && let Some(order) = &mut table.order
            {
                order.remove(encoded(&entry.key).as_slice());
            }
            let undone = table.dirty.pop();
            debug_assert_eq!(undone, Some(slot.index));
            self.filling_bytes -= before;
            self.total_bytes = self.total_bytes - before + entry.recount();
        } else {
            let after = entry.recount();
            self.filling_bytes = self.filling_bytes - before + after;
            self.total_bytes = self.total_bytes - before + after;
        }
    }
}
