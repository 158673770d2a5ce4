//! Rows from the store into memory: one when it is used, or many ahead of that.

use crate::state::{StoreError, StoreResult, decode_stored, encode_full_key};
use crate::types::{Row, Timestamp};

use super::{Buffer, Slot, table, table_of};

impl Buffer {
    /// Makes a key's row available, from memory or from the store.
    pub fn load(&mut self, store: u16, key: &Row) -> StoreResult<Slot> {
        let table = table_of(&mut self.tables, store);
        let hash = match table.use_entry(key) {
            Ok(index) => return Ok(Slot { store, index }),
            Err(hash) => hash,
        };
        self.key_scratch.clear();
        encode_full_key(store, key, &mut self.key_scratch);
        self.value_scratch.clear();
        let found = self.store.get(&self.key_scratch, &mut self.value_scratch)?;
        let (row, timestamp) = stored_row(found.then_some(&self.value_scratch[..]))?;
        let (index, bytes) = table.insert((key.clone(), hash), row, timestamp, 0);
        self.total_bytes += bytes;
        self.loaded += 1;
        Ok(Slot { store, index })
    }

    /// Reads the rows of many keys that will be loaded soon, in the order in which that is the fastest. How many were read because they were not in
    /// memory; it ends early when they take `most_bytes`.
    pub fn preload(&mut self, store: u16, keys: &[Row], most_bytes: usize) -> StoreResult<usize> {
        let table = table_of(&mut self.tables, store);
        let round = table.next_round();
        let (mut full, mut missing) = (Vec::new(), Vec::new());
        for key in keys {
            let hash = table::hash(key);
            if !table.contains(hash, key) {
                encode_full_key(store, key, &mut full);
                missing.push((key, hash, full.len()));
            }
        }
        let mut start = 0;
        let full: Vec<&[u8]> = (missing.iter())
            .map(|(.., end)| &full[std::mem::replace(&mut start, *end)..*end])
            .collect();
        let (mut bytes, mut read) = (0, 0);
        let all = self.store.get_many(&full, &mut |at, value| {
            let (key, hash, _) = missing[at];
            // a key may stand in the list twice
            if !table.contains(hash, key) {
                let (row, timestamp) = stored_row(value)?;
                bytes += table.insert((key.clone(), hash), row, timestamp, round).1;
                read += 1;
            }
            Ok(bytes < most_bytes)
        });
        self.total_bytes += bytes;
        self.loaded += read;
        all.map(|()| read)
    }
}

/// A stored value's row and timestamp.
fn stored_row(value: Option<&[u8]>) -> StoreResult<(Option<Row>, Timestamp)> {
    match value.map(decode_stored) {
        Some(Ok((row, timestamp))) => Ok((Some(row), timestamp)),
        Some(Err(e)) => Err(StoreError::undecodable(&e)),
        None => Ok((None, Timestamp::MIN)),
    }
}
