//! Opening a log: the state is read back from the journal.
//!
//! The last segment starts with a snapshot; its entries are applied with the code that runs live. Of older segments only
//! batch headers are read, to fill the index. A torn end of the last segment (a write that a crash cut short) is cut;
//! damage anywhere else is an error that names the place, never a panic and never a silent loss.

use super::batch::{self, BatchHeader, HEADER_LEN};
use super::events::{Event, TxnEnd};
use super::journal::{self, BATCH_PREFIX, FRAME_LEN, Journal, Kind, Location};
use super::partition::BatchRef;
use super::snapshot::Snapshot;
use super::storage::{ReadSegment, Storage};
use super::{Core, CoreConfig, Counters};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Bytes read ahead while scanning headers.
const WINDOW: usize = 64 << 10;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The storage cannot be read or written.
    #[error("the log's storage fails while {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// A part of the journal that was complete once is damaged.
    #[error(
        "journal segment {segment} is damaged at byte {position}: {reason}; restore the data directory from a copy, or \
         move it away to start empty"
    )]
    Damaged {
        /// Which segment.
        segment: u32,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Segments that are there.
    pub segments: usize,
    /// Batches in the index.
    pub batches: usize,
    /// Bytes cut from the end of the last segment, and why.
    pub cut: Option<(u64, &'static str)>,
}

enum Entry {
    Batch {
        to: (u32, u32),
        now_ms: i64,
        header: BatchHeader,
        position: u32,
    },
    Event(Bytes),
    TxnEnd {
        json: Bytes,
        markers: Vec<(u32, BatchHeader, u32)>,
    },
    Snapshot(Bytes),
}

struct Bad {
    position: u64,
    reason: &'static str,
}

/// Walks the entries of one segment.
struct Scanner {
    reader: Arc<dyn ReadSegment>,
    length: u64,
    position: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Scanner {
    fn new(reader: Arc<dyn ReadSegment>, length: u64) -> Scanner {
        Scanner {
            reader,
            length,
            position: 0,
            window: Vec::new(),
            window_at: 0,
        }
    }

    fn bytes(&mut self, at: u64, count: usize) -> io::Result<&[u8]> {
        let have = at >= self.window_at && at + count as u64 <= self.window_at + self.window.len() as u64;
        if !have {
            let size = (count.max(WINDOW) as u64).min(self.length.saturating_sub(at)) as usize;
            self.window.resize(size, 0);
            self.window_at = at;
            self.reader.read_at(at, &mut self.window)?;
        }
        let from = (at - self.window_at) as usize;
        self.window
            .get(from..from + count)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next entry; `whole` also checks the records of batches. The outer error is the storage's.
    fn next(&mut self, whole: bool) -> io::Result<Result<Option<Entry>, Bad>> {
        let at = self.position;
        let bad = |reason| Ok(Err(Bad { position: at, reason }));
        if at == self.length {
            return Ok(Ok(None));
        }
        if self.length - at < FRAME_LEN as u64 {
            return bad("an entry is cut short");
        }
        let frame: [u8; FRAME_LEN] = self.bytes(at, FRAME_LEN)?.try_into().unwrap_or_default();
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        let crc = u32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
        let Some(kind) = Kind::parse(frame[8]) else {
            return bad("an entry is of no known kind");
        };
        let body_at = at + FRAME_LEN as u64;
        if u64::from(length) > self.length - body_at {
            return bad("an entry is cut short");
        }
        let checked = match kind {
            Kind::Batch if (length as usize) < BATCH_PREFIX + HEADER_LEN => return bad("a batch is too short"),
            Kind::Batch if !whole => BATCH_PREFIX + HEADER_LEN,
            Kind::Batch | Kind::Event | Kind::TxnEnd | Kind::Snapshot => length as usize,
        };
        let body = self.bytes(body_at, checked)?;
        let sealed = if kind == Kind::Batch {
            &body[..BATCH_PREFIX + HEADER_LEN]
        } else {
            body
        };
        if journal::entry_crc(length, kind, &[sealed]) != crc {
            return bad("an entry fails its checksum");
        }
        if kind == Kind::Batch && whole && !batch::checksum_holds(&body[BATCH_PREFIX..]) {
            return bad("a record batch fails its checksum");
        }
        let entry = parse_body(kind, body, length, body_at);
        self.position = body_at + u64::from(length);
        Ok(entry.map(Some).ok_or(Bad {
            position: at,
            reason: "an entry makes no sense",
        }))
    }
}

fn parse_body(kind: Kind, body: &[u8], length: u32, body_at: u64) -> Option<Entry> {
    Some(match kind {
        Kind::Batch => {
            let number = |at: usize| Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?));
            let header = BatchHeader::parse(&body[BATCH_PREFIX..]).ok()?;
            if header.size + BATCH_PREFIX != length as usize {
                return None;
            }
            Entry::Batch {
                to: (number(0)?, number(4)?),
                now_ms: i64::from_be_bytes(body.get(8..16)?.try_into().ok()?),
                header,
                position: u32::try_from(body_at).ok()? + BATCH_PREFIX as u32,
            }
        }
        Kind::Event => Entry::Event(Bytes::copy_from_slice(body)),
        Kind::Snapshot => Entry::Snapshot(Bytes::copy_from_slice(body)),
        Kind::TxnEnd => {
            let (json, mut markers) = journal::split_txn_end(&Bytes::copy_from_slice(body))?;
            let body_at = u32::try_from(body_at).ok()?;
            markers.iter_mut().for_each(|marker| marker.2 += body_at);
            Entry::TxnEnd { json, markers }
        }
    })
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::Io { doing, source }
}

impl Core {
    /// Opens the log of a storage, or makes an empty one.
    pub fn open(storage: Box<dyn Storage>, config: CoreConfig, now_ms: i64) -> Result<(Core, OpenReport), OpenError> {
        let mut core = Core {
            journal: Journal::new(storage, config.journal),
            config,
            counters: Counters::default(),
            topics: BTreeMap::new(),
            topic_names: BTreeMap::new(),
            partitions: FxHashMap::default(),
            groups: BTreeMap::new(),
            txns: BTreeMap::new(),
            outputs: Vec::new(),
            members_named: 0,
        };
        let mut report = OpenReport::default();
        for (id, length) in core.journal.storage.list().map_err(io_error("listing segments"))? {
            core.journal.adopt(id, length).map_err(io_error("opening a segment"))?;
        }
        match core.read_last_snapshot(&mut report)? {
            Some(mut last) => {
                core.index_older_segments()?;
                core.replay(&mut last, &mut report)?;
            }
            None => core.start_segment()?,
        }
        core.partitions.values_mut().for_each(|p| p.staged.clear());
        core.outputs.clear();
        report.segments = core.journal.segments.len();
        report.batches = core.partitions.values().map(|p| p.batches.len()).sum();
        let opened = Event::Opened {
            incarnation: core.counters.incarnation + 1,
        };
        core.record(opened)
            .map_err(|_| io_error("writing the first entry")(io::ErrorKind::Other.into()))?;
        core.roll_if_full(now_ms);
        Ok((core, report))
    }

    fn start_segment(&mut self) -> Result<(), OpenError> {
        let json = serde_json::to_vec(&self.snapshot()).map_err(|e| io_error("encoding a snapshot")(e.into()))?;
        self.journal.roll(json).map_err(io_error("making the first segment"))
    }

    fn scanner(&self, id: u32) -> Option<Scanner> {
        self.journal
            .segments
            .get(&id)
            .map(|s| Scanner::new(Arc::clone(&s.reader), s.length))
    }

    /// Reads the snapshot of the last segment; one that was torn while it was being made is removed first.
    fn read_last_snapshot(&mut self, report: &mut OpenReport) -> Result<Option<Scanner>, OpenError> {
        while let Some(id) = self.journal.segments.keys().next_back().copied() {
            self.journal.active = id;
            let Some(mut scanner) = self.scanner(id) else { break };
            let reading = io_error("reading the last segment");
            match scanner.next(true).map_err(reading)? {
                Ok(Some(Entry::Snapshot(json))) => {
                    let unreadable = |_| OpenError::Damaged {
                        segment: id,
                        position: 0,
                        reason: "its snapshot cannot be decoded",
                    };
                    self.restore(serde_json::from_slice::<Snapshot>(&json).map_err(unreadable)?);
                    return Ok(Some(scanner));
                }
                // Nothing is written to a segment before its snapshot is whole.
                Ok(None)
                | Err(Bad {
                    reason: "an entry is cut short",
                    ..
                }) => {
                    tracing::warn!(segment = id, "removing a journal segment that a crash left unfinished");
                    report.cut = Some((scanner.length, "an unfinished segment"));
                    self.journal.remove(id);
                    self.journal.active = 0;
                }
                Ok(Some(_)) => {
                    return Err(OpenError::Damaged {
                        segment: id,
                        position: 0,
                        reason: "it has no snapshot",
                    });
                }
                Err(bad) => {
                    return Err(OpenError::Damaged {
                        segment: id,
                        position: bad.position,
                        reason: bad.reason,
                    });
                }
            }
        }
        Ok(None)
    }

    /// Finds the batches of all segments but the last that the snapshot's state still refers to.
    fn index_older_segments(&mut self) -> Result<(), OpenError> {
        let older: Vec<u32> = self
            .journal
            .segments
            .keys()
            .copied()
            .filter(|id| *id != self.journal.active)
            .collect();
        let mut found: BTreeMap<u32, Vec<BatchRef>> = BTreeMap::new();
        for segment in older {
            let Some(mut scanner) = self.scanner(segment) else {
                continue;
            };
            loop {
                match scanner.next(false).map_err(io_error("reading an older segment"))? {
                    Ok(None) => break,
                    Ok(Some(Entry::Batch {
                        to, header, position, ..
                    })) => {
                        self.note_older(&mut found, to, &header, Location { segment, position });
                    }
                    Ok(Some(Entry::TxnEnd { markers, .. })) => {
                        for (partition, header, position) in markers {
                            self.note_older(&mut found, (partition, 0), &header, Location { segment, position });
                        }
                    }
                    Ok(Some(Entry::Event(_) | Entry::Snapshot(_))) => {}
                    Err(bad) => {
                        return Err(OpenError::Damaged {
                            segment,
                            position: bad.position,
                            reason: bad.reason,
                        });
                    }
                }
            }
        }
        for (id, mut batches) in found {
            let Some(partition) = self.partitions.get_mut(&id) else {
                continue;
            };
            // Of several copies of one batch the last one written counts; the others are free to go.
            batches.sort_by_key(|b| (b.base, std::cmp::Reverse(b.at)));
            batches.dedup_by_key(|b| b.base);
            batches
                .iter()
                .for_each(|b| self.journal.count(b.at.segment, i64::from(b.length)));
            partition.bytes = batches.iter().map(|b| u64::from(b.length)).sum();
            partition.batches = batches.into();
        }
        Ok(())
    }

    fn note_older(
        &mut self,
        found: &mut BTreeMap<u32, Vec<BatchRef>>,
        to: (u32, u32),
        header: &BatchHeader,
        at: Location,
    ) {
        let (id, job) = to;
        self.counters.next_job = self.counters.next_job.max(job + 1);
        let Some(partition) = self.partitions.get_mut(&id) else {
            return;
        };
        let batch = BatchRef::new(header, at);
        if batch.last() < partition.start || batch.base >= partition.next {
            return;
        }
        if job == partition.expected_job(batch.base) {
            found.entry(id).or_default().push(batch);
        } else if job > partition.clean.job {
            partition.staged.push((job, batch));
        }
    }

    /// Applies the entries of the last segment, and cuts its torn end.
    fn replay(&mut self, scanner: &mut Scanner, report: &mut OpenReport) -> Result<(), OpenError> {
        let segment = self.journal.active;
        loop {
            let at = scanner.position;
            let undecodable = OpenError::Damaged {
                segment,
                position: at,
                reason: "an entry cannot be decoded",
            };
            match scanner.next(true).map_err(io_error("reading the last segment"))? {
                Ok(None) => break,
                Ok(Some(Entry::Batch {
                    to,
                    now_ms,
                    header,
                    position,
                })) => {
                    self.apply_batch(to, &header, Location { segment, position }, now_ms);
                }
                Ok(Some(Entry::Event(json))) => {
                    self.apply_event(serde_json::from_slice(&json).map_err(|_| undecodable)?);
                    self.note_events(segment, json.len());
                }
                Ok(Some(Entry::TxnEnd { json, markers })) => {
                    let end: TxnEnd = serde_json::from_slice(&json).map_err(|_| undecodable)?;
                    let place = |(partition, header, position)| (partition, header, Location { segment, position });
                    self.apply_txn_end(end, &markers.into_iter().map(place).collect::<Vec<_>>());
                    self.note_events(segment, json.len());
                }
                Ok(Some(Entry::Snapshot(_))) => {}
                Err(bad) => return self.cut(segment, scanner.length, bad, report),
            }
            self.outputs.clear();
        }
        Ok(())
    }

    fn note_events(&mut self, segment: u32, bytes: usize) {
        if let Some(segment) = self.journal.segments.get_mut(&segment) {
            segment.events += (FRAME_LEN + bytes) as u64;
        }
    }

    fn cut(&mut self, segment: u32, length: u64, bad: Bad, report: &mut OpenReport) -> Result<(), OpenError> {
        let bytes = length - bad.position;
        tracing::warn!(
            segment,
            position = bad.position,
            bytes,
            reason = bad.reason,
            "cutting the torn end of the journal: a crash interrupted its last write"
        );
        self.journal
            .storage
            .truncate(segment, bad.position)
            .map_err(io_error("cutting a torn end"))?;
        if let Some(segment) = self.journal.segments.get_mut(&segment) {
            segment.length = bad.position;
        }
        report.cut = Some((bytes, bad.reason));
        Ok(())
    }
}
