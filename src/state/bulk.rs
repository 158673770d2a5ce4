//! Rows gathered for [`super::Store::load`]: bytes beside each other in one piece of memory, given out by ascending key, the last of each key only.
//!
//! A restore spends most of its time here and in the store: no row has memory of its own, and comparing two keys reads no other memory mostly.

use super::Write;

/// The bytes of a key that stand beside its place, so that sorting rarely has to look the key up.
const PREFIX: usize = size_of::<u128>();
/// In the place of a value's length: the row is deleted.
const DELETED: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Row {
    prefix: u128,
    at: usize,
    key: u32,
    value: u32,
}

/// Rows on their way into a store. See the module.
#[derive(Default)]
pub struct Bulk {
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// Rows are sorted, and each key is there once.
    sorted: bool,
}

impl Bulk {
    /// Adds a row of a store; `None` deletes it.
    pub fn push(&mut self, store: u16, key: &[u8], value: Option<&[u8]>) {
        self.push_parts([&store.to_be_bytes(), key], value);
    }

    /// The same by its full key.
    pub fn push_full(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.push_parts([key, &[]], value);
    }

    fn push_parts(&mut self, key: [&[u8]; 2], value: Option<&[u8]>) {
        let at = self.bytes.len();
        key.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let length = self.bytes.len() - at;
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let mut prefix = [0; PREFIX];
        let known = length.min(PREFIX);
        prefix[..known].copy_from_slice(&self.bytes[at..at + known]);
        self.rows.push(Row {
            prefix: u128::from_be_bytes(prefix),
            at,
            // No record of a log is longer than an i32 can say.
            key: length as u32,
            value: value.map_or(DELETED, |value| value.len() as u32),
        });
        self.sorted = false;
    }

    /// Memory in use, about.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<Row>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets all rows; the memory is kept for the next.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
    }

    /// The rows by ascending full key, each once: its last value, or `None` where it is deleted.
    pub fn sorted(&mut self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        if !std::mem::replace(&mut self.sorted, true) {
            self.sort();
        }
        let bytes = &self.bytes;
        self.rows.iter().map(|row| {
            let end = row.at + row.key as usize;
            let value = (row.value != DELETED).then(|| &bytes[end..end + row.value as usize]);
            (&bytes[row.at..end], value)
        })
    }

    /// The same as writes that own their bytes.
    pub fn writes(&mut self) -> impl Iterator<Item = Write> {
        self.sorted()
            .map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec)))
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |row: &Row| &bytes[row.at..row.at + row.key as usize];
        // The later of the same key first: it is the one that is kept.
        self.rows.sort_unstable_by(|a, b| {
            let keys = a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b)));
            keys.then(b.at.cmp(&a.at))
        });
        self.rows
            .dedup_by(|later, kept| later.prefix == kept.prefix && key(later) == key(kept));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Pushed = Vec<(u8, Vec<u8>, Option<Vec<u8>>)>;

    fn pushed() -> impl Strategy<Value = Pushed> {
        let key = prop_oneof![
            prop::collection::vec(0..3_u8, 0..4),
            // equal beyond what is kept beside the place, and zeros at its end
            prop::collection::vec(0..2_u8, 13..18),
        ];
        prop::collection::vec((0..3_u8, key, any::<Option<Vec<u8>>>()), 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn rows_come_out_in_order_with_their_last_values(batches in prop::collection::vec(pushed(), 1..3)) {
            let mut bulk = Bulk::default();
            for batch in batches {
                let mut model = BTreeMap::new();
                for (store, key, value) in &batch {
                    bulk.push(u16::from(*store), key, value.as_deref());
                    let mut full = u16::from(*store).to_be_bytes().to_vec();
                    full.extend_from_slice(key);
                    model.insert(full, value.clone());
                }
                let expected: Vec<Write> = model.into_iter().collect();
                prop_assert_eq!(bulk.writes().collect::<Vec<_>>(), expected.clone());
                prop_assert_eq!(bulk.writes().collect::<Vec<_>>(), expected, "a second time");
                prop_assert_eq!(bulk.is_empty(), batch.is_empty());
                bulk.clear();
            }
        }
    }
}
