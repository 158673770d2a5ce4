//! Ordered scans over buffer and store, in either direction.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::state::{StoreError, StoreResult, decode_stored};
use crate::types::{Row, Timestamp, decode_key};

use super::{Buffer, Slot, encoded};

/// What a scan hands each row to; false ends it.
pub type EachRow<'a> = &'a mut dyn FnMut(&Row, &Row, Timestamp) -> bool;

impl Buffer {
    /// Walks the newest rows of a store in the order of their encoded keys, from `from` (inclusive) to `to` (exclusive), until `each` returns false.
    ///
    /// Of a store that keeps no order ([`super::TableSpec::ordered`]) all uncommitted keys are looked at.
    pub fn scan(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        self.walk(store, (from, to), false, each)
    }

    /// The same backwards: from the last key below `to` down to `from`.
    pub fn scan_back(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        self.walk(store, (from, to), true, each)
    }

    fn walk(&self, store: u16, (from, to): (&[u8], Option<&[u8]>), back: bool, each: EachRow<'_>) -> StoreResult<()> {
        let mut overlay = self.uncommitted(store, from, to);
        if back {
            overlay.reverse();
        }
        let before = |a: &[u8], b: &[u8]| if back { a > b } else { a < b };
        let mut overlay = overlay.iter().peekable();
        let prefix = store.to_be_bytes();
        let full = |key: &[u8]| [&prefix[..], key].concat();
        let start = full(from);
        let end = match to {
            Some(to) => Some(full(to)),
            None => store.checked_add(1).map(|next| next.to_be_bytes().to_vec()),
        };
        let mut failed = None;
        let mut ended = false;
        let mut merge = |key: &[u8], value: &[u8]| {
            let key = &key[prefix.len()..];
            while let Some((_, slot)) = overlay.next_if(|(dirty, _)| before(dirty, key)) {
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
        };
        if back {
            self.store.scan_back(&start, end.as_deref(), &mut merge)?;
        } else {
            self.store.scan(&start, end.as_deref(), &mut merge)?;
        }
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

    /// The uncommitted keys of a range, in order.
    fn uncommitted(&self, store: u16, from: &[u8], to: Option<&[u8]>) -> Vec<(Vec<u8>, Slot)> {
        let table = self.table(store);
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        if let Some(order) = &table.order {
            let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
            let slots = order.range::<[u8], _>(range);
            return slots
                .map(|(key, &index)| (key.clone(), Slot { store, index }))
                .collect();
        }
        let mut found = BTreeMap::new();
        for &index in table.frozen.iter().chain(&table.dirty) {
            let slot = Slot { store, index };
            let key = encoded(&self.entry(slot).key);
            if key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to) {
                found.insert(key, slot);
            }
        }
        found.into_iter().collect()
    }
}
