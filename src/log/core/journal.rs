//! The journal: one ordered file of everything that happened, cut into segments.
//!
//! ```text
//! entry    = length u32 | crc32c u32 | kind u8 | body          (crc over length, kind and the checked part of the body)
//! BATCH    = partition u32 | job u32 | appended at i64 | record batch      (checked: up to the end of the batch header;
//!                                                                          the records have the batch's own checksum)
//! EVENT    = JSON                                                          (checked whole)
//! TXN_END  = json length u32 | JSON | (partition u32 | marker batch)*      (checked whole: all markers or none)
//! SNAPSHOT = JSON, the first entry of every segment                        (checked whole)
//! ```
//!
//! A segment starts with a snapshot of everything but the batches, so in older segments only batches matter, and a
//! segment without a live batch can go. `job` tells versions of a batch apart, see `partition::Clean`.
//!
//! *Invariant*: an entry is in the storage before the state that it describes is seen by anyone. A failed write leaves
//! the storage as it was, or the journal refuses everything from then on.

use super::batch::{BatchHeader, HEADER_LEN};
use super::error::{ErrorCode, Result};
use super::storage::{ReadSegment, Storage};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes of an entry before its body.
pub(super) const FRAME_LEN: usize = 9;
/// Bytes of a batch entry's body before the batch.
pub(super) const BATCH_PREFIX: usize = 16;
const TXN_PREFIX: usize = 4;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Batch = 1,
    Event = 2,
    TxnEnd = 3,
    Snapshot = 4,
}

impl Kind {
    pub(super) fn parse(byte: u8) -> Option<Kind> {
        [Kind::Batch, Kind::Event, Kind::TxnEnd, Kind::Snapshot]
            .into_iter()
            .find(|k| *k as u8 == byte)
    }
}

/// Where a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) position: u32,
}

/// Sizes that the journal goes by.
#[derive(Debug, Clone, Copy)]
pub struct JournalLimits {
    /// A segment is closed when it is larger than this, bytes.
    pub segment_bytes: u64,
    /// ... or when this much of it is not batches, so that a start never replays more, bytes.
    pub event_bytes: u64,
}

impl Default for JournalLimits {
    fn default() -> JournalLimits {
        JournalLimits {
            segment_bytes: 64 << 20,
            event_bytes: 8 << 20,
        }
    }
}

pub(super) struct Segment {
    pub(super) reader: Arc<dyn ReadSegment>,
    pub(super) length: u64,
    /// Bytes of batches that the index refers to.
    pub(super) live: u64,
    /// Bytes of entries that are not batches.
    pub(super) events: u64,
    /// Whether it was written since it was last forced to disk.
    pub(super) unsynced: bool,
}

/// Entries on their way to the storage, in one write.
#[derive(Default)]
pub(super) struct Draft {
    chunks: Vec<Bytes>,
    length: u64,
    events: u64,
}

pub(super) fn entry_crc(length: u32, kind: Kind, checked: &[&[u8]]) -> u32 {
    let mut head = [0; 5];
    head[..4].copy_from_slice(&length.to_be_bytes());
    head[4] = kind as u8;
    checked
        .iter()
        .fold(crc32c::crc32c(&head), |crc, part| crc32c::crc32c_append(crc, part))
}

impl Draft {
    fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len() as u64;
        self.chunks.push(chunk);
    }

    fn frame(kind: Kind, body_length: usize, checked: &[&[u8]], capacity: usize) -> BytesMut {
        let mut out = BytesMut::with_capacity(FRAME_LEN + capacity);
        out.put_u32(body_length as u32);
        out.put_u32(entry_crc(body_length as u32, kind, checked));
        out.put_u8(kind as u8);
        out
    }

    /// Adds a batch; returns where it will be, from the start of the write.
    pub(super) fn batch(&mut self, to: (u32, u32), now_ms: i64, header: &[u8; HEADER_LEN], records: Bytes) -> u32 {
        let mut prefix = [0; BATCH_PREFIX];
        prefix[..4].copy_from_slice(&to.0.to_be_bytes());
        prefix[4..8].copy_from_slice(&to.1.to_be_bytes());
        prefix[8..].copy_from_slice(&now_ms.to_be_bytes());
        let body_length = BATCH_PREFIX + HEADER_LEN + records.len();
        let mut out = Draft::frame(Kind::Batch, body_length, &[&prefix, header], BATCH_PREFIX + HEADER_LEN);
        out.put_slice(&prefix);
        let position = self.length + out.len() as u64;
        out.put_slice(header);
        self.push(out.freeze());
        self.push(records);
        position as u32
    }

    /// Adds an entry of JSON.
    pub(super) fn json(&mut self, kind: Kind, json: Vec<u8>) {
        let out = Draft::frame(kind, json.len(), &[&json], 0);
        self.events += (FRAME_LEN + json.len()) as u64;
        self.push(out.freeze());
        self.push(json.into());
    }

    /// Adds the end of a transaction with its markers; returns where each marker will be.
    pub(super) fn txn_end(&mut self, json: &[u8], markers: &[(u32, Bytes)]) -> Vec<u32> {
        let mut body = BytesMut::with_capacity(TXN_PREFIX + json.len() + markers.len() * 96);
        body.put_u32(json.len() as u32);
        body.put_slice(json);
        let mut positions = Vec::with_capacity(markers.len());
        for (partition, marker) in markers {
            body.put_u32(*partition);
            positions.push((self.length + (FRAME_LEN + body.len()) as u64) as u32);
            body.put_slice(marker);
        }
        self.events += (FRAME_LEN + TXN_PREFIX + json.len()) as u64;
        self.push(Draft::frame(Kind::TxnEnd, body.len(), &[&body], 0).freeze());
        self.push(body.freeze());
        positions
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }
}

/// Takes the body of a TXN_END entry apart: its JSON, and each marker's partition, header and place in the body.
pub(super) fn split_txn_end(body: &Bytes) -> Option<(Bytes, Vec<(u32, BatchHeader, u32)>)> {
    let json_length = u32::from_be_bytes(body.get(..TXN_PREFIX)?.try_into().ok()?) as usize;
    let json_end = TXN_PREFIX.checked_add(json_length)?;
    body.get(TXN_PREFIX..json_end)?;
    let mut markers = Vec::new();
    let mut at = json_end;
    while at < body.len() {
        let partition = u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?);
        let header = BatchHeader::parse(body.get(at + 4..)?).ok()?;
        markers.push((partition, header, (at + 4) as u32));
        at = at.checked_add(4 + header.size)?;
    }
    (at == body.len()).then(|| (body.slice(TXN_PREFIX..json_end), markers))
}

/// The segments, and the one being written.
pub(super) struct Journal {
    pub(super) storage: Box<dyn Storage>,
    pub(super) segments: BTreeMap<u32, Segment>,
    pub(super) active: u32,
    pub(super) limits: JournalLimits,
    broken: bool,
}

impl Journal {
    pub(super) fn new(storage: Box<dyn Storage>, limits: JournalLimits) -> Journal {
        Journal {
            storage,
            segments: BTreeMap::new(),
            active: 0,
            limits,
            broken: false,
        }
    }

    /// Registers a segment that exists.
    pub(super) fn adopt(&mut self, id: u32, length: u64) -> io::Result<()> {
        let reader = self.storage.reader(id)?;
        self.segments.insert(
            id,
            Segment {
                reader,
                length,
                live: 0,
                events: 0,
                unsynced: true,
            },
        );
        self.active = self.active.max(id);
        Ok(())
    }

    /// Starts a new segment with a snapshot. On failure the old one stays the active one.
    pub(super) fn roll(&mut self, snapshot: Vec<u8>) -> io::Result<()> {
        let id = self.active + 1;
        let mut draft = Draft::default();
        draft.json(Kind::Snapshot, snapshot);
        self.storage.create(id)?;
        if let Err(error) = self
            .storage
            .append(id, &draft.chunks)
            .and_then(|()| self.adopt(id, draft.length))
        {
            self.segments.remove(&id);
            self.active = id - 1;
            self.storage.remove(id)?;
            return Err(error);
        }
        Ok(())
    }

    /// Whether the active segment is full.
    pub(super) fn wants_roll(&self) -> bool {
        self.segments
            .get(&self.active)
            .is_some_and(|s| s.length >= self.limits.segment_bytes || s.events >= self.limits.event_bytes)
    }

    /// Writes a draft; returns the segment and where in it the draft starts.
    pub(super) fn write(&mut self, draft: &Draft) -> Result<Location> {
        let Some(segment) = self.segments.get_mut(&self.active).filter(|_| !self.broken) else {
            return Err(ErrorCode::StorageError);
        };
        if let Err(error) = self.storage.append(self.active, &draft.chunks) {
            tracing::error!(segment = self.active, %error, "the log cannot be written; nothing was acknowledged");
            if let Err(error) = self.storage.truncate(self.active, segment.length) {
                tracing::error!(segment = self.active, %error, "and the torn part cannot be cut; no more writes until a restart");
                self.broken = true;
            }
            return Err(ErrorCode::StorageError);
        }
        let at = Location {
            segment: self.active,
            position: segment.length as u32,
        };
        segment.length += draft.length;
        segment.events += draft.events;
        segment.unsynced = true;
        Ok(at)
    }

    /// Counts a batch as used (positive) or no longer used (negative).
    pub(super) fn count(&mut self, segment: u32, bytes: i64) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live = segment.live.saturating_add_signed(bytes);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        self.segments.remove(&id);
        if let Err(error) = self.storage.remove(id) {
            tracing::warn!(segment = id, %error, "a segment without live data cannot be removed; it will be tried again at the next start");
        }
    }
}
