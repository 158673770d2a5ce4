//! Rows from the store into memory: one when it is used, or many ahead of that.

use crate::state::{StoreError, StoreResult, decode_stored, encode_full_key};
use crate::types::{Row, Timestamp};

use super::{Buffer, Slot, table, table_of};

/// Rows that are read in one call: the bound on the bytes of a preload is kept to so many rows.
const PRELOADED: usize = 128;

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

    /// Reads the rows of many keys that will be loaded soon: in the store's order, which reads a block once for all keys in it. How many
    /// were read because they were not in memory; it ends early when they take `most_bytes`.
    pub fn preload(&mut self, store: u16, keys: &[Row], most_bytes: usize) -> StoreResult<usize> {
        let table = table_of(&mut self.tables, store);
        let round = table.next_round();
        let missing = keys.iter().filter(|key| !table.contains(key));
        let mut missing: Vec<(Vec<u8>, &Row)> = missing
            .map(|key| {
                let mut full = Vec::new();
                encode_full_key(store, key, &mut full);
                (full, key)
            })
            .collect();
        missing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        missing.dedup_by(|(a, _), (b, _)| a == b);
        let (full, keys): (Vec<Vec<u8>>, Vec<&Row>) = missing.into_iter().unzip();
        let (mut bytes, mut read) = (0, 0);
        for (full, keys) in full.chunks(PRELOADED).zip(keys.chunks(PRELOADED)) {
            if bytes >= most_bytes {
                break;
            }
            self.store.get_many(full, &mut |at, value| {
                let (row, timestamp) = stored_row(value)?;
                let key = keys[at];
                bytes += table.insert((key.clone(), table::hash(key)), row, timestamp, round).1;
                Ok(())
            })?;
            read += keys.len();
        }
        self.total_bytes += bytes;
        self.loaded += read;
        Ok(read)
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
