//! The buffer over a task's store: uncommitted rows, and the cache of hot rows, in one hash map a store.
//!
//! ```text
//!            put, modify                freeze                  committed
//!   entry ----------------> generation N+1 ------> generation N ----------> clean: as in the store, may be evicted
//!     ^                       (filling)              (frozen)
//!     '-- load: a miss reads the store     abort: both generations are dropped, later loads read the store
//! ```
//!
//! An entry holds the newest row of its key, so a read needs one look-up: N+1, N, cache and store are one place. Which generation wrote it
//! last is a number in the entry; it is clean when that generation has been committed, so that a commit does not walk the entries.
//!
//! - *Savepoint*: [`Buffer::begin`] starts a record, [`Buffer::rollback`] takes back everything since. Rows changed in place are logged value by value,
//!   which costs no allocation.
//! - *Start of the generation*: for stores that hold their changes back until commit, an entry keeps the row that it had at the last flush,
//!   which is the last one forwarded.
//! - *Pending keys*: sets of keys that an operator forwards at the flush; part of the generation as rows are.
//!
//! It is *not* shared between threads; readers see the store alone. *Invariant*: no byte of it reaches the store before [`Buffer::committed`].

mod load;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod undo;

use crate::types::{Row, SqlType, Timestamp, Value};

use self::table::{Entry, Table};
use self::undo::{Undo, Was};
use super::{Bulk, Store, StorePosition, StoreResult, encode_stored};

/// A store that the buffer serves.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// The store's id.
    pub store: u16,
    /// Keep the row that a key had at the start of the generation ([`Buffer::start_row`]).
    pub keep_start: bool,
    /// Types of the row's columns.
    pub value: Vec<SqlType>,
    /// Keep uncommitted keys in order, for a store that is scanned while records are processed.
    pub ordered: bool,
}

/// A loaded key of a store. Valid until the next [`Buffer::begin`] or [`Buffer::abort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    store: u16,
    index: u32,
}

/// What a frozen generation is handed to: store, encoded key, stored row (`None`: deleted), timestamp.
pub type EachWritten<'a> = &'a mut dyn FnMut(u16, &[u8], Option<&[u8]>, Timestamp);

/// Index of a set of pending keys.
pub type PendingId = usize;

#[derive(Default)]
struct Pending {
    keys: rustc_hash::FxHashSet<Row>,
    order: Vec<Row>,
}

/// The buffer. See the module.
pub struct Buffer {
    store: Box<dyn Store>,
    /// By store id; stores of other sub-topologies are `None`.
    tables: Vec<Option<Table>>,
    pending: Vec<Pending>,
    /// The generation that is being filled.
    filling: u32,
    /// The newest generation that is in the store. `filling` is one more, or two while one is frozen.
    committed: u32,
    filling_bytes: usize,
    frozen_bytes: usize,
    total_bytes: usize,
    cache_bytes: usize,
    /// Entries loaded since the last [`Self::begin`].
    loaded: usize,
    undo: Vec<Undo>,
    undo_values: Vec<Value>,
    key_scratch: Vec<u8>,
    value_scratch: Vec<u8>,
}

/// Entries looked at for eviction before each record: at least so many, and so many for each that was loaded, so that the bound holds whatever a
/// record loads.
const EVICTION_STEPS: usize = 16;
const STEPS_A_LOAD: usize = 4;

impl Buffer {
    /// An empty buffer over a store. Decoded rows take up to about `cache_bytes`; uncommitted ones are never evicted, see [`Self::buffered_bytes`].
    pub fn new(store: Box<dyn Store>, specs: &[TableSpec], pending_sets: usize, cache_bytes: usize) -> Self {
        let mut tables: Vec<Option<Table>> = Vec::new();
        for spec in specs {
            let index = usize::from(spec.store);
            if tables.len() <= index {
                tables.resize_with(index + 1, || None);
            }
            tables[index] = Some(Table::new(spec));
        }
        Self {
            store,
            tables,
            pending: (0..pending_sets).map(|_| Pending::default()).collect(),
            filling: 1,
            committed: 0,
            filling_bytes: 0,
            frozen_bytes: 0,
            total_bytes: 0,
            cache_bytes,
            loaded: 0,
            undo: Vec::new(),
            undo_values: Vec::new(),
            key_scratch: Vec::new(),
            value_scratch: Vec::new(),
        }
    }

    fn table(&self, store: u16) -> &Table {
        self.tables[usize::from(store)]
            .as_ref()
            .expect("a store of this sub-topology")
    }

    fn entry(&self, slot: Slot) -> &Entry {
        &self.table(slot.store).entries[slot.index as usize]
    }

    /// Starts a record: what follows can be taken back by [`Self::rollback`] until the next `begin`. All slots become invalid.
    pub fn begin(&mut self) {
        self.undo.clear();
        self.undo_values.clear();
        let steps = EVICTION_STEPS.max(STEPS_A_LOAD * std::mem::take(&mut self.loaded));
        if self.clean_bytes() > self.cache_bytes {
            self.evict(steps);
        }
    }

    /// The newest row.
    pub fn row(&self, slot: Slot) -> Option<&Row> {
        self.entry(slot).row.as_ref()
    }

    /// The timestamp of the newest row, or of its deletion while that is not committed; [`Timestamp::MIN`] where nothing is known.
    pub fn timestamp(&self, slot: Slot) -> Timestamp {
        self.entry(slot).timestamp
    }

    /// The key.
    pub fn key(&self, slot: Slot) -> &Row {
        &self.entry(slot).key
    }

    /// Whether this generation has written the key.
    pub fn is_dirty(&self, slot: Slot) -> bool {
        self.entry(slot).generation == self.filling
    }

    /// The row at the start of the generation: of a store that holds its changes back, the last one forwarded.
    pub fn start_row(&self, slot: Slot) -> Option<(&Row, Timestamp)> {
        debug_assert!(self.table(slot.store).keep_start, "the store was not told to keep it");
        let entry = self.entry(slot);
        if entry.generation == self.filling {
            entry.start.as_ref().map(|(row, timestamp)| (row, *timestamp))
        } else {
            entry.row.as_ref().map(|row| (row, entry.timestamp))
        }
    }

    /// Marks the entry as written by this generation and returns its table and the generation before.
    fn dirty(&mut self, slot: Slot) -> u32 {
        let (filling, committed) = (self.filling, self.committed);
        let table = table_of(&mut self.tables, slot.store);
        let entry = &mut table.entries[slot.index as usize];
        let generation = entry.generation;
        if generation != filling {
            entry.generation = filling;
            if generation <= committed
                && let Some(order) = &mut table.order
            {
                order.insert(encoded(&entry.key), slot.index);
            }
            if table.keep_start {
                entry.start = entry.row.clone().map(|row| (row, entry.timestamp));
            }
            table.dirty.push(slot.index);
            self.filling_bytes += entry.bytes;
        }
        generation
    }

    /// Replaces the row (`None` deletes it) and returns the one before.
    pub fn put(&mut self, slot: Slot, row: Option<Row>, timestamp: Timestamp) -> Option<Row> {
        let generation = self.dirty(slot);
        let entry = &mut table_of(&mut self.tables, slot.store).entries[slot.index as usize];
        let old = std::mem::replace(&mut entry.row, row);
        let old_timestamp = std::mem::replace(&mut entry.timestamp, timestamp);
        let before = entry.bytes;
        let after = entry.recount();
        self.filling_bytes = self.filling_bytes - before + after;
        self.total_bytes = self.total_bytes - before + after;
        self.undo.push(Undo {
            slot,
            generation,
            timestamp: old_timestamp,
            was: Was::Row(old.clone()),
        });
        old
    }

    /// Changes the values of a row that exists, in place unless somebody else holds the row.
    ///
    /// # Errors
    /// What `change` answers; the row may then be half changed, and the caller rolls back.
    ///
    /// # Panics
    /// When the key has no row: the caller has looked.
    pub fn modify<E>(
        &mut self,
        slot: Slot,
        timestamp: Timestamp,
        change: impl FnOnce(&mut [Value]) -> Result<(), E>,
    ) -> Result<(), E> {
        let generation = self.dirty(slot);
        let table = table_of(&mut self.tables, slot.store);
        let entry = &mut table.entries[slot.index as usize];
        let row = entry.row.as_mut().expect("a row to modify");
        let start = self.undo_values.len();
        self.undo_values.extend_from_slice(row);
        self.undo.push(Undo {
            slot,
            generation,
            timestamp: std::mem::replace(&mut entry.timestamp, timestamp),
            was: Was::Values(start),
        });
        let result = change(row.make_mut());
        if !table.fixed_size || generation != self.filling {
            let before = entry.bytes;
            let after = entry.recount();
            self.filling_bytes = self.filling_bytes - before + after;
            self.total_bytes = self.total_bytes - before + after;
        }
        result
    }

    /// Puts a key into a set of pending keys, unless it is there.
    pub fn mark_pending(&mut self, id: PendingId, key: &Row) {
        let pending = &mut self.pending[id];
        if pending.keys.insert(key.clone()) {
            pending.order.push(key.clone());
            self.filling_bytes += pending_bytes(key);
            self.undo.push(Undo {
                slot: Slot { store: 0, index: 0 },
                generation: 0,
                timestamp: 0,
                was: Was::NotPending(id),
            });
        }
    }

    /// The pending keys of a set, in the order in which they were put. They stay until the generation is frozen.
    pub fn pending(&self, id: PendingId) -> &[Row] {
        &self.pending[id].order
    }

    /// Appends the keys of a store that this generation has written, by (timestamp, first written).
    pub fn dirty_in_order(&self, store: u16, out: &mut Vec<Slot>) {
        let table = self.table(store);
        let start = out.len();
        out.extend(table.dirty.iter().map(|&index| Slot { store, index }));
        out[start..].sort_by_key(|slot| table.entries[slot.index as usize].timestamp);
    }

    /// Bytes of rows that are not committed: what an early commit would free.
    pub fn buffered_bytes(&self) -> usize {
        self.filling_bytes + self.frozen_bytes
    }

    /// Bytes of rows that are as in the store, at least: a row of both generations counts twice as uncommitted.
    fn clean_bytes(&self) -> usize {
        self.total_bytes.saturating_sub(self.filling_bytes + self.frozen_bytes)
    }

    /// Bytes of all rows in memory.
    pub fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    /// Whether nothing is uncommitted.
    pub fn is_clean(&self) -> bool {
        !self.is_frozen()
            && self.tables.iter().flatten().all(|table| table.dirty.is_empty())
            && self.pending.iter().all(|pending| pending.order.is_empty())
    }

    /// Whether a generation is frozen and not yet committed.
    pub fn is_frozen(&self) -> bool {
        self.filling != self.committed + 1
    }

    /// Ends the generation: hands out the last row of each key it wrote (store, encoded key, stored row, timestamp) in the order first
    /// written, and starts the next one.
    ///
    /// # Panics
    /// When the generation before is not yet committed: the worker commits one at a time.
    pub fn freeze(&mut self, each: EachWritten<'_>) {
        assert!(!self.is_frozen(), "a generation is being committed");
        for (id, table) in self.tables.iter_mut().enumerate() {
            let Some(table) = table else { continue };
            for &index in &table.dirty {
                let entry = &mut table.entries[index as usize];
                self.key_scratch.clear();
                crate::types::encode_key(&entry.key, &mut self.key_scratch);
                self.value_scratch.clear();
                if let Some(row) = &entry.row {
                    encode_stored(entry.timestamp, row, &mut self.value_scratch);
                }
                let value = entry.row.is_some().then_some(self.value_scratch.as_slice());
                each(id as u16, &self.key_scratch, value, entry.timestamp);
                if entry.start.take().is_some() {
                    let before = entry.bytes;
                    self.total_bytes = self.total_bytes - before + entry.recount();
                }
            }
            debug_assert!(table.frozen.is_empty());
            std::mem::swap(&mut table.frozen, &mut table.dirty);
        }
        for pending in &mut self.pending {
            let room = 2 * pending.order.len();
            pending.keys.clear();
            pending.order.clear();
            pending.keys.shrink_to(room);
            pending.order.shrink_to(room);
        }
        self.undo.clear();
        self.undo_values.clear();
        self.frozen_bytes = std::mem::take(&mut self.filling_bytes);
        self.filling += 1;
    }

    /// The frozen generation's transaction has committed: its writes go to the store in one batch with the position.
    pub fn committed(&mut self, writes: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        assert!(self.is_frozen(), "nothing was frozen");
        self.store.commit(writes, position)?;
        self.committed += 1;
        self.frozen_bytes = 0;
        let committed = self.committed;
        for table in self.tables.iter_mut().flatten() {
            let frozen = std::mem::take(&mut table.frozen);
            if let Some(order) = &mut table.order {
                for &index in &frozen {
                    let entry = &table.entries[index as usize];
                    if entry.generation <= committed {
                        order.remove(encoded(&entry.key).as_slice());
                    }
                }
            }
            // its memory is used again
            table.frozen = frozen;
            table.frozen.clear();
        }
        Ok(())
    }

    /// Drops everything that is not committed.
    pub fn abort(&mut self) {
        self.undo.clear();
        self.undo_values.clear();
        for table in self.tables.iter_mut().flatten() {
            if let Some(order) = &mut table.order {
                order.clear();
            }
            let dirty = std::mem::take(&mut table.dirty);
            let frozen = std::mem::take(&mut table.frozen);
            for index in frozen.into_iter().chain(dirty) {
                // a key written by both generations stands in both lists
                if table.entries[index as usize].generation > self.committed {
                    self.total_bytes -= table.remove(index);
                }
            }
        }
        for pending in &mut self.pending {
            pending.keys.clear();
            pending.order.clear();
        }
        self.filling = self.committed + 1;
        self.filling_bytes = 0;
        self.frozen_bytes = 0;
    }

    /// Applies changelog records to the store; everything in memory is dropped, since it may be older.
    pub fn apply_restored(&mut self, rows: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        self.abort();
        for table in self.tables.iter_mut().flatten() {
            table.clear();
        }
        self.total_bytes = 0;
        self.store.load(rows, position)
    }

    fn evict(&mut self, steps: usize) {
        let committed = self.committed;
        let enough = self.cache_bytes + self.filling_bytes + self.frozen_bytes;
        let cleanest = self.tables.iter_mut().flatten().max_by_key(|table| table.clean());
        let Some(table) = cleanest else { return };
        for _ in 0..steps {
            if self.total_bytes <= enough {
                break;
            }
            self.total_bytes -= table.step_clock(committed);
        }
        self.tables.iter_mut().flatten().for_each(Table::shrink);
    }

    /// The store below.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The store below, to flush or clear it while nothing is buffered.
    pub fn store_mut(&mut self) -> &mut dyn Store {
        self.store.as_mut()
    }

    /// Drops the buffer and gives the store back.
    pub fn into_store(self) -> Box<dyn Store> {
        self.store
    }
}

/// The table of a store; a function of its own, so that the other fields can be borrowed beside it.
fn table_of(tables: &mut [Option<Table>], store: u16) -> &mut Table {
    tables[usize::from(store)]
        .as_mut()
        .expect("a store of this sub-topology")
}

/// The encoded key.
fn encoded(key: &Row) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::types::encode_key(key, &mut bytes);
    bytes
}

fn pending_bytes(key: &Row) -> usize {
    2 * (size_of::<Row>() + size_of::<u64>()) + key.heap_bytes()
}
