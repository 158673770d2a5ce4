//! What a task wants to send: records in one flat arena of bytes, so that a record costs no allocation of its own.
//!
//! It is *not* a queue with threads: the task appends, the worker reads, in turns. The partition is the worker's to choose, from destination and key.

use crate::topology::{NodeId, StoreId};
use crate::types::{Headers, Timestamp};

/// Where a record goes. Topic names are the worker's ([`crate::engine::Names`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dest {
    /// The topic of a sink node.
    Sink(NodeId),
    /// The internal topic of a repartition node.
    Repartition(NodeId),
    /// The changelog of a store; the partition is the task's.
    Changelog(StoreId),
    /// The topology's dead-letter topic; any partition.
    DeadLetter,
}

/// A record to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outgoing<'a> {
    /// Where to.
    pub dest: Dest,
    /// The key's bytes.
    pub key: Option<&'a [u8]>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The timestamp in milliseconds.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

/// What a record costs in a batch beside its bytes: lengths, attributes, offsets, at most.
const OVERHEAD_BYTES: usize = 128;
/// What a header costs beside its bytes, at most.
const HEADER_BYTES: usize = 8;

/// An upper bound of what a record takes of its topic's `max.message.bytes`.
pub fn record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &Headers) -> usize {
    let headers = headers.iter().flat_map(|headers| headers.iter());
    let headers: usize = headers
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len()) + HEADER_BYTES)
        .sum();
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + headers + OVERHEAD_BYTES
}

/// Length that stands for "no bytes at all", which differs from no length.
const ABSENT: u32 = u32::MAX;

/// Bytes that a record costs beside its key and value.
const RECORD_BYTES: usize = size_of::<Record>();

struct Record {
    dest: Dest,
    /// Start of the key; the value follows it.
    start: usize,
    key_len: u32,
    value_len: u32,
    timestamp: Timestamp,
    headers: Headers,
}

/// Records in the order in which they were made.
#[derive(Default)]
pub struct Outbox {
    arena: Vec<u8>,
    records: Vec<Record>,
}

/// How full an outbox was, to go back to.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxMark {
    records: usize,
    bytes: usize,
}

/// Writes a key or value into the arena; `None` for no bytes. On an error nothing of the record stays.
pub type Encode<'a, E> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<(), E>;

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record whose key and value are written straight into the arena.
    ///
    /// # Errors
    /// What the encoders answer; the outbox is then as before.
    pub fn push_with<E>(
        &mut self,
        dest: Dest,
        timestamp: Timestamp,
        headers: Headers,
        key: Option<Encode<'_, E>>,
        value: Option<Encode<'_, E>>,
    ) -> Result<(), E> {
        let start = self.arena.len();
        let result = (|| {
            let key_len = self.part(key)?;
            let value_len = self.part(value)?;
            Ok((key_len, value_len))
        })();
        match result {
            Ok((key_len, value_len)) => {
                self.records.push(Record {
                    dest,
                    start,
                    key_len,
                    value_len,
                    timestamp,
                    headers,
                });
                Ok(())
            }
            Err(e) => {
                self.arena.truncate(start);
                Err(e)
            }
        }
    }

    fn part<E>(&mut self, encode: Option<Encode<'_, E>>) -> Result<u32, E> {
        let Some(encode) = encode else { return Ok(ABSENT) };
        let start = self.arena.len();
        encode(&mut self.arena)?;
        // Kafka's records are bounded far below this; the assertion keeps a length from being taken for `ABSENT`.
        let len = u32::try_from(self.arena.len() - start).unwrap_or(ABSENT);
        assert!(len != ABSENT, "a record part of 4 GiB");
        Ok(len)
    }

    /// Appends a record from bytes.
    pub fn push(
        &mut self,
        dest: Dest,
        timestamp: Timestamp,
        headers: Headers,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let start = self.arena.len();
        let mut part = |bytes: Option<&[u8]>| {
            bytes.map_or(ABSENT, |bytes| {
                self.arena.extend_from_slice(bytes);
                bytes.len() as u32
            })
        };
        let (key_len, value_len) = (part(key), part(value));
        self.records.push(Record {
            dest,
            start,
            key_len,
            value_len,
            timestamp,
            headers,
        });
    }

    /// The records, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Outgoing<'_>> {
        self.records.iter().map(|record| self.outgoing(record))
    }

    fn outgoing<'a>(&'a self, record: &'a Record) -> Outgoing<'a> {
        let part = |start: usize, len: u32| (len != ABSENT).then(|| &self.arena[start..start + len as usize]);
        let value_start = record.start
            + match record.key_len {
                ABSENT => 0,
                len => len as usize,
            };
        Outgoing {
            dest: record.dest,
            key: part(record.start, record.key_len),
            value: part(value_start, record.value_len),
            timestamp: record.timestamp,
            headers: &record.headers,
        }
    }

    /// What the last record takes of its topic's `max.message.bytes`; 0 where there is none.
    pub fn last_bytes(&self) -> usize {
        let last = self.records.last().map(|record| self.outgoing(record));
        last.map_or(0, |record| record_bytes(record.key, record.value, record.headers))
    }

    /// How many records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.records.len() * RECORD_BYTES
    }

    /// Bytes that it holds, in use or not.
    pub fn capacity_bytes(&self) -> usize {
        self.arena.capacity() + self.records.capacity() * RECORD_BYTES
    }

    /// Forgets the records; keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.records.clear();
    }

    /// Moves all records of `other` behind its own.
    pub fn append(&mut self, other: &mut Self) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        let shift = self.arena.len();
        self.arena.append(&mut other.arena);
        self.records.extend(other.records.drain(..).map(|record| Record {
            start: record.start + shift,
            ..record
        }));
    }

    /// Where it stands now.
    pub fn mark(&self) -> OutboxMark {
        OutboxMark {
            records: self.records.len(),
            bytes: self.arena.len(),
        }
    }

    /// Drops what was appended after `mark`.
    pub fn truncate(&mut self, mark: OutboxMark) {
        self.records.truncate(mark.records);
        self.arena.truncate(mark.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in() {
        let mut out = Outbox::new();
        out.push(Dest::DeadLetter, 5, None, None, Some(b"v"));
        let mark = out.mark();
        out.push(Dest::Sink(3), 6, None, Some(b"k"), None);
        out.push(Dest::Changelog(1), 7, None, Some(b""), Some(b""));
        let parts: Vec<_> = out.iter().map(|r| (r.dest, r.key, r.value, r.timestamp)).collect();
        assert_eq!(
            parts,
            [
                (Dest::DeadLetter, None, Some(&b"v"[..]), 5),
                (Dest::Sink(3), Some(&b"k"[..]), None, 6),
                (Dest::Changelog(1), Some(&b""[..]), Some(&b""[..]), 7),
            ]
        );
        let mut more = Outbox::new();
        more.push(Dest::Repartition(2), 1, None, Some(b"x"), None);
        more.append(&mut out);
        assert_eq!((more.len(), more.iter().nth(2).unwrap().key), (4, Some(&b"k"[..])));
        assert!(out.is_empty());
        more.truncate(mark);
        assert_eq!(more.len(), 1);
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_nothing_behind() {
        let mut out = Outbox::new();
        let mut key = |arena: &mut Vec<u8>| {
            arena.push(1);
            Ok(())
        };
        let result = out.push_with(Dest::DeadLetter, 0, None, Some(&mut key), Some(&mut |_| Err("no")));
        assert_eq!((result, out.len(), out.bytes()), (Err("no"), 0, 0));
    }
}
