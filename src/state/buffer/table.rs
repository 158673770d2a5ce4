//! The rows of one store in memory: a slab of entries and an index of keys, so that lists of entries are lists of numbers.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::types::{Row, SqlType, Timestamp};

use super::TableSpec;

/// A key and its newest row.
pub(super) struct Entry {
    pub key: Row,
    hash: u64,
    /// The newest row; `None`: it has none (deleted, or never there).
    pub row: Option<Row>,
    /// Of the newest row or of its deletion.
    pub timestamp: Timestamp,
    /// The row at the start of the filling generation, once that has written the key.
    pub start: Option<(Row, Timestamp)>,
    /// The newest generation that wrote it; 0 for none.
    pub generation: u32,
    /// Used since the clock's hand came by, beyond what it was loaded for.
    touched: bool,
    /// The round in which it was loaded ahead of its first use, which is still to come; 0 for none.
    ahead: u32,
    /// On the free list.
    pub free: bool,
    /// What it was counted with.
    pub bytes: usize,
}

/// What an entry takes beside its rows: itself, and its place in the index at a typical load.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * size_of::<u32>();

/// A table of fewer entries keeps its memory.
const KEPT_ENTRIES: usize = 1024;

impl Entry {
    /// Counts its bytes anew.
    pub fn recount(&mut self) -> usize {
        let rows = [self.row.as_ref(), self.start.as_ref().map(|(row, _)| row)];
        let rows = rows.into_iter().flatten().map(Row::heap_bytes).sum::<usize>();
        self.bytes = ENTRY_BYTES + self.key.heap_bytes() + rows;
        self.bytes
    }
}

/// One store's rows in memory.
pub(super) struct Table {
    index: HashTable<u32>,
    pub entries: Vec<Entry>,
    free: Vec<u32>,
    /// Written by the filling generation, in the order first written.
    pub dirty: Vec<u32>,
    /// Written by the frozen generation.
    pub frozen: Vec<u32>,
    pub keep_start: bool,
    /// The uncommitted keys in order, encoded, where the store is scanned while records are processed.
    pub order: Option<BTreeMap<Vec<u8>, u32>>,
    /// No column has a size that varies, so that a change in place needs no counting.
    pub fixed_size: bool,
    hand: usize,
    /// Counts the calls of [`super::Buffer::preload`]: what the last one read is kept for its use.
    round: u32,
}

impl Table {
    pub fn new(spec: &TableSpec) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            frozen: Vec::new(),
            keep_start: spec.keep_start,
            order: spec.ordered.then(BTreeMap::new),
            fixed_size: spec.value.iter().all(has_fixed_size),
            hand: 0,
            round: 0,
        }
    }

    /// Begins a round of entries that are inserted ahead of their use; its number.
    pub fn next_round(&mut self) -> u32 {
        self.round = self.round.wrapping_add(1).max(1);
        self.round
    }

    /// About how many entries could be evicted.
    pub fn clean(&self) -> usize {
        self.index.len().saturating_sub(self.dirty.len() + self.frozen.len())
    }

    /// Whether a key of this hash has an entry.
    pub fn contains(&self, hash: u64, key: &Row) -> bool {
        self.place(hash, key).is_some()
    }

    /// The entry of a key, to be used; or the key's hash, for [`Self::insert`].
    pub fn use_entry(&mut self, key: &Row) -> Result<u32, u64> {
        let hash = hash(key);
        let index = self.place(hash, key).ok_or(hash)?;
        let entry = &mut self.entries[index as usize];
        entry.touched |= std::mem::take(&mut entry.ahead) == 0;
        Ok(index)
    }

    fn place(&self, hash: u64, key: &Row) -> Option<u32> {
        let is = |&index: &u32| {
            let entry = &self.entries[index as usize];
            entry.hash == hash && entry.key == *key
        };
        self.index.find(hash, is).copied()
    }

    /// Adds a clean entry of a key that has none, for a use now (`ahead` is 0) or later in a round; its index and bytes.
    pub fn insert(
        &mut self,
        (key, hash): (Row, u64),
        row: Option<Row>,
        timestamp: Timestamp,
        ahead: u32,
    ) -> (u32, usize) {
        let mut entry = Entry {
            key,
            hash,
            row,
            timestamp,
            start: None,
            generation: 0,
            // only a second use keeps a row: cold keys go at the hand's first round
            touched: false,
            ahead,
            free: false,
            bytes: 0,
        };
        let bytes = entry.recount();
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let entries = &self.entries;
        self.index
            .insert_unique(hash, index, |&index| entries[index as usize].hash);
        (index, bytes)
    }

    /// Removes an entry; the bytes it took.
    pub fn remove(&mut self, index: u32) -> usize {
        let entry = &mut self.entries[index as usize];
        if let Ok(place) = self.index.find_entry(entry.hash, |&other| other == index) {
            place.remove();
        }
        entry.key = Row::empty();
        entry.row = None;
        entry.start = None;
        entry.generation = 0;
        entry.free = true;
        self.free.push(index);
        std::mem::take(&mut entry.bytes)
    }

    /// Moves the clock's hand by one entry and evicts it when it is clean and was not used since the hand last came by; the bytes freed.
    pub fn step_clock(&mut self, committed: u32) -> usize {
        self.hand = if self.hand + 1 < self.entries.len() {
            self.hand + 1
        } else {
            0
        };
        match self.entries.get_mut(self.hand) {
            Some(entry) if !entry.free && entry.generation <= committed => {
                let awaited = entry.ahead != 0 && entry.ahead == self.round;
                if awaited || std::mem::take(&mut entry.touched) {
                    0
                } else {
                    self.remove(self.hand as u32)
                }
            }
            _ => 0,
        }
    }

    /// Gives memory back after a burst. Indices change: nobody but the table's own lists may hold one.
    pub fn shrink(&mut self) {
        let live = self.entries.len() - self.free.len();
        if self.entries.len() < KEPT_ENTRIES || live > self.entries.len() / 4 {
            return;
        }
        let mut moved = vec![u32::MAX; self.entries.len()];
        let mut kept = Vec::with_capacity(2 * live);
        for (old, entry) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if !entry.free {
                moved[old] = kept.len() as u32;
                kept.push(entry);
            }
        }
        self.entries = kept;
        self.free = Vec::new();
        self.hand = 0;
        self.index.iter_mut().for_each(|index| *index = moved[*index as usize]);
        let entries = &self.entries;
        self.index.shrink_to(2 * live, |&index| entries[index as usize].hash);
        for list in [&mut self.dirty, &mut self.frozen] {
            list.iter_mut().for_each(|index| *index = moved[*index as usize]);
            list.shrink_to(2 * live);
        }
        if let Some(order) = &mut self.order {
            order.values_mut().for_each(|index| *index = moved[*index as usize]);
        }
    }

    /// Drops all entries; nothing of it is dirty.
    pub fn clear(&mut self) {
        debug_assert!(self.dirty.is_empty() && self.frozen.is_empty());
        if let Some(order) = &mut self.order {
            order.clear();
        }
        self.index.clear();
        self.entries.clear();
        self.free.clear();
        self.hand = 0;
    }
}

/// The hash of a key: taken once a look-up, kept for the rest.
pub(super) fn hash(key: &Row) -> u64 {
    FxBuildHasher.hash_one(key)
}

fn has_fixed_size(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Boolean
        | SqlType::Integer
        | SqlType::Bigint
        | SqlType::Double
        | SqlType::Decimal { .. }
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp => true,
        SqlType::String | SqlType::Bytes | SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_) => false,
    }
}
