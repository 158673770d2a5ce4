//! Ordered scans over buffer and store.

use std::collections::BTreeMap;

use crate::state::{StoreError, StoreResult, decode_stored};
use crate::types::{Row, Timestamp, decode_key};

use super::{Buffer, Slot};

/// What a scan hands each row to; false ends it.
pub type EachRow<'a> = &'a mut dyn FnMut(&Row, &Row, Timestamp) -> bool;

impl Buffer {
    /// Walks the newest rows of a store in the order of their encoded keys, from `from` (inclusive) to `to` (exclusive), until `each` returns false.
    ///
    /// Uncommitted keys in the range are sorted first, so a scan costs what is dirty beside what it yields.
    pub fn scan(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        let overlay = self.uncommitted(store, from, to);
        let mut overlay = overlay.iter().peekable();
        let prefix = store.to_be_bytes();
        let full = |key: &[u8]| [&prefix[..], key].concat();
        let end = match to {
            Some(to) => Some(full(to)),
            None => store.checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        };
        let mut failed = None;
        let mut ended = false;
        self.store.scan(&full(from), end.as_deref(), &mut |key, value| {
            let key = &key[prefix.len()..];
            while let Some((dirty, slot)) = overlay.next_if(|(dirty, _)| dirty.as_slice() < key) {
                debug_assert!(dirty.as_slice() < key);
                if !self.give(*slot, each) {
                    ended = true;
                    return false;
                }
            }
            if let Some((_, slot)) = overlay.next_if(|(dirty, _)| dirty.as_slice() == key) {
                ended = !self.give(*slot, each);
                return !ended;
            }
            match (decode_key(key), decode_stored(value)) {
                (Ok(key), Ok((row, timestamp))) => ended = !each(&key, &row, timestamp),
                (Err(e), _) | (_, Err(e)) => failed = Some(StoreError::undecodable(&e)),
            }
            !ended && failed.is_none()
        })?;
        if let Some(e) = failed {
            return Err(e);
        }
        while !ended && let Some((_, slot)) = overlay.next() {
            ended = !self.give(*slot, each);
        }
        Ok(())
    }

    /// Hands out a row of the buffer; a deleted one is passed over.
    fn give(&self, slot: Slot, each: EachRow<'_>) -> bool {
        let entry = self.entry(slot);
        entry
            .row
            .as_ref()
            .is_none_or(|row| each(&entry.key, row, entry.timestamp))
    }

    fn uncommitted(&self, store: u16, from: &[u8], to: Option<&[u8]>) -> BTreeMap<Vec<u8>, Slot> {
        let table = self.table(store);
        let mut found = BTreeMap::new();
        for &index in table.frozen.iter().chain(&table.dirty) {
            let slot = Slot { store, index };
            let mut key = Vec::new();
            crate::types::encode_key(&self.entry(slot).key, &mut key);
            if key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to) {
                found.insert(key, slot);
            }
        }
        found
    }
}
