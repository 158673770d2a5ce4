//! Ordered scans over buffer and store, in either direction.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::state::{StoreError, StoreResult, decode_stored};
use crate::types::{Row, Timestamp, decode_key};

use super::{Buffer, Slot, encoded};

/// What a scan hands each row to; false ends it.
pub type EachRow<'a> = &'a mut dyn FnMut(&Row, &Row, Timestamp) -> bool;

/// Which row of a key a scan hands out.
#[derive(Clone, Copy)]
enum Which {
    Newest,
    Start,
}

/// Encoded keys and their entries.
type Overlay<'a> = Box<dyn Iterator<Item = (Cow<'a, [u8]>, Slot)> + 'a>;

impl Buffer {
    /// Walks the newest rows of a store in the order of their encoded keys, from `from` (inclusive) to `to` (exclusive), until `each` returns false.
    ///
    /// Of a store that keeps no order ([`super::TableSpec::ordered`]) all uncommitted keys are looked at.
    pub fn scan(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        self.walk(Which::Newest, store, (from, to), false, each)
    }

    /// The same over the rows at the start of the generation, as [`Self::start_row`] of a key.
    pub fn scan_start(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        debug_assert!(self.table(store).keep_start, "the store was not told to keep it");
        self.walk(Which::Start, store, (from, to), false, each)
    }

    /// The same backwards: from the last key below `to` down to `from`.
    pub fn scan_back(&self, store: u16, from: &[u8], to: Option<&[u8]>, each: EachRow<'_>) -> StoreResult<()> {
        self.walk(Which::Newest, store, (from, to), true, each)
    }

    fn walk(
        &self,
        which: Which,
        store: u16,
        (from, to): (&[u8], Option<&[u8]>),
        back: bool,
        each: EachRow<'_>,
    ) -> StoreResult<()> {
        let overlay = self.uncommitted(store, from, to, back);
        let before = |a: &[u8], b: &[u8]| if back { a > b } else { a < b };
        let mut overlay = overlay.peekable();
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
                if !self.give(which, slot, each) {
                    ended = true;
                    return false;
                }
            }
            if let Some((_, slot)) = overlay.next_if(|(dirty, _)| **dirty == *key) {
                ended = !self.give(which, slot, each);
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
            ended = !self.give(which, slot, each);
        }
        Ok(())
    }

    /// Hands out a row of the buffer; a deleted one is passed over.
    fn give(&self, which: Which, slot: Slot, each: EachRow<'_>) -> bool {
        let entry = self.entry(slot);
        let row = match which {
            Which::Start => self.start_row(slot),
            Which::Newest => entry.row.as_ref().map(|row| (row, entry.timestamp)),
        };
        row.is_none_or(|(row, timestamp)| each(&entry.key, row, timestamp))
    }

    /// The uncommitted keys of a range, in order or in reverse. From a store that keeps them in order they come one by one: a scan that ends early
    /// looks at no more.
    fn uncommitted<'a>(&'a self, store: u16, from: &'a [u8], to: Option<&'a [u8]>, back: bool) -> Overlay<'a> {
        let table = self.table(store);
        let slot = move |index| Slot { store, index };
        if to.is_some_and(|to| to <= from) {
            return Box::new(std::iter::empty());
        }
        if let Some(order) = &table.order {
            let range = (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded));
            let range = order.range::<[u8], _>(range);
            let of = move |(key, index): (&'a Vec<u8>, &u32)| (Cow::Borrowed(key.as_slice()), slot(*index));
            return match back {
                true => Box::new(range.rev().map(of)),
                false => Box::new(range.map(of)),
            };
        }
        let mut found = BTreeMap::new();
        for &index in table.frozen.iter().chain(&table.dirty) {
            let key = encoded(&self.entry(slot(index)).key);
            if key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to) {
                found.insert(key, slot(index));
            }
        }
        let found = found.into_iter().map(|(key, slot)| (Cow::Owned(key), slot));
        match back {
            true => Box::new(found.rev()),
            false => Box::new(found),
        }
    }
}
