//! What instances of one application say to each other when they gather a view's rows: the question as JSON, the answer as frames.
//!
//! ```text
//! frame: | kind 1 | length of the payload 4 | crc32c of the payload 4 | payload |
//! an answer: parts (JSON), rows ..., then end (JSON), or error (JSON) anywhere after the parts
//! a payload of rows: | range 4 | partition 4 | timestamp 8 | length 4, encoded key | length 4, encoded row | ...
//! ```
//!
//! Values travel in the codecs of `types`, so that every one arrives as it was: NaN, scale and all 64 bits.
//!
//! *Invariant*: an answer without its end frame is not whole, and never taken for one.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::stream::Item;
use super::{KeyRange, Limit, ViewError, ViewRow};
use crate::types::{decode_key, decode_row, encode_row};

/// What this version speaks; another one is refused.
pub const WIRE_VERSION: u32 = 1;
/// Bytes at which a frame of rows is sent.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes before a frame's payload.
const HEAD: usize = 1 + 4 + 4;

const PARTS: u8 = b'P';
const ROWS: u8 = b'R';
const END: u8 = b'E';
const ERROR: u8 = b'X';

/// Bytes as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// What is asked of another instance: rows of the partitions that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRequest {
    /// [`WIRE_VERSION`].
    pub wire: u32,
    /// The instance that is meant: an address may have passed to another one.
    pub instance: String,
    /// The topology.
    pub topology: String,
    /// Its generation.
    pub generation: u32,
    /// The view.
    pub view: String,
    /// What its rows are made from and by.
    pub fingerprint: String,
    /// The partitions.
    pub partitions: Vec<i32>,
    /// Which rows.
    pub what: What,
    /// How old a standby's state may be; 0: only an owner may answer.
    pub max_staleness_ms: i64,
    /// Topic, partition and the next offset that its tasks must have passed.
    pub need: Vec<(String, i32, i64)>,
    /// How long it may wait for that.
    pub need_ms: u64,
    /// Rows that may be looked at.
    pub max_rows: u64,
    /// Bytes of the largest frame that the asker takes.
    pub max_frame: u64,
    /// How long the asker waits.
    pub time_ms: u64,
}

/// Which rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The row of a key.
    Point {
        /// The encoded key.
        key: Blob,
    },
    /// Rows of a page.
    Rows {
        /// The first encoded key.
        from: Blob,
        /// Where the range ends.
        to: Option<Blob>,
        /// Greatest key first.
        descending: bool,
        /// Goes on behind this encoded key and partition.
        after: Option<(Blob, i32)>,
        /// Rows at most.
        limit: u64,
    },
    /// Rows that pass a query's filter.
    Select {
        /// The query.
        sql: String,
        /// The time of the asker's wall clock.
        now: i64,
    },
    /// No rows, but how many there are.
    Count,
}

/// A range as it is sent.
pub fn sent_range(range: &KeyRange) -> (Blob, Option<Blob>) {
    (Blob(range.from.clone()), range.to.clone().map(Blob))
}

/// What an answer begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SharedParts {
    /// Whose rows follow.
    pub parts: Vec<SharedPart>,
    /// Partitions that were asked for and cannot be read there, and why.
    pub missing: Vec<(i32, String)>,
}

/// One partition of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedPart {
    /// The partition.
    pub partition: i32,
    /// The input offsets that its rows reflect, as [`super::Positions::to_json`].
    pub position: serde_json::Value,
    /// A standby answers: how old its state is, at most.
    pub behind_ms: Option<i64>,
}

/// The end of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedEnd {
    /// A limit was reached behind this range, key and partition.
    pub cut: Option<(u32, Blob, i32)>,
    /// Rows counted.
    pub counted: u64,
    /// All of them were counted.
    pub exact: bool,
}

/// A failure on the way, as it is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SharedError {
    /// The name of a limit, or nothing.
    limit: Option<(String, u64)>,
    message: String,
}

const LIMITS: [(&str, Limit); 3] = [
    ("scanned_rows", Limit::ScannedRows),
    ("result_bytes", Limit::ResultBytes),
    ("time", Limit::Time),
];

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Whose rows follow.
    Parts(SharedParts),
    /// Rows.
    Rows(VecDeque<Item>),
    /// There is nothing more.
    End(SharedEnd),
    /// It failed.
    Error(ViewError),
}

/// Makes frames.
#[derive(Default)]
pub struct FrameWriter {
    rows: Vec<u8>,
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + payload.len());
    out.push(kind);
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&crc32c::crc32c(payload).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn json_frame(kind: u8, body: &impl Serialize) -> Vec<u8> {
    // none of these types can fail: no maps with odd keys, no own implementations that do
    framed(kind, &serde_json::to_vec(body).unwrap_or_default())
}

impl FrameWriter {
    /// The first frame.
    pub fn parts(parts: &SharedParts) -> Vec<u8> {
        json_frame(PARTS, parts)
    }

    /// Adds a row; a frame when enough have come together.
    ///
    /// # Errors
    /// [`ViewError::Limit`] for a row that alone is larger than `most` bytes.
    pub fn row(&mut self, item: &Item, most: u64) -> Result<Option<Vec<u8>>, ViewError> {
        let Some(row) = &item.row else { return Ok(None) };
        let before = self.rows.len();
        self.rows.extend_from_slice(&item.range.to_be_bytes());
        self.rows.extend_from_slice(&item.partition.to_be_bytes());
        self.rows.extend_from_slice(&row.timestamp.to_be_bytes());
        self.rows.extend_from_slice(&(item.key.len() as u32).to_be_bytes());
        self.rows.extend_from_slice(&item.key);
        let mut value = Vec::new();
        encode_row(&row.value, &mut value);
        self.rows.extend_from_slice(&(value.len() as u32).to_be_bytes());
        self.rows.extend_from_slice(&value);
        if (self.rows.len() - before) as u64 > most {
            return Err(ViewError::Limit {
                which: Limit::ResultBytes,
                limit: most,
            });
        }
        // the rows before it have their own frame, so that no frame is larger than its largest row
        let cut = match before {
            0 if self.rows.len() < FRAME_BYTES => return Ok(None),
            0 => self.rows.len(),
            _ if self.rows.len() < FRAME_BYTES => return Ok(None),
            before => before,
        };
        let rest = self.rows.split_off(cut);
        let frame = framed(ROWS, &self.rows);
        self.rows = rest;
        Ok(Some(frame))
    }

    /// What is left, and the end.
    pub fn end(self, end: &SharedEnd) -> Vec<u8> {
        let mut out = match self.rows.is_empty() {
            true => Vec::new(),
            false => framed(ROWS, &self.rows),
        };
        out.extend(json_frame(END, end));
        out
    }

    /// The end of an answer that failed.
    pub fn error(error: &ViewError) -> Vec<u8> {
        let limit = match error {
            ViewError::Limit { which, limit } => {
                let named = LIMITS.iter().find(|(_, known)| known == which);
                named.map(|(name, _)| ((*name).to_string(), *limit))
            }
            _ => None,
        };
        let message = error.to_string();
        json_frame(ERROR, &SharedError { limit, message })
    }
}

/// Bytes that are no answer of ours: what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireError(pub String);

fn garbage(what: &str) -> WireError {
    WireError(format!("its answer cannot be read: {what}"))
}

/// Takes frames out of bytes as they come.
pub struct FrameReader {
    bytes: Vec<u8>,
    most: usize,
}

impl FrameReader {
    /// Takes frames of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self {
            bytes: Vec::new(),
            most: most.saturating_add(FRAME_BYTES),
        }
    }

    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// [`WireError`] for bytes that no instance sends.
    pub fn take(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((head, _)) = self.bytes.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let [kind, a, b, c, d, crc @ ..] = *head;
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if ![PARTS, ROWS, END, ERROR].contains(&kind) {
            return Err(garbage("it does not consist of frames"));
        }
        if length > self.most {
            return Err(garbage("a frame is larger than what was asked for"));
        }
        let Some(payload) = self.bytes.get(HEAD..HEAD + length) else {
            return Ok(None);
        };
        if crc32c::crc32c(payload) != u32::from_be_bytes(crc) {
            return Err(garbage("a checksum does not fit"));
        }
        let frame = read_frame(kind, payload)?;
        self.bytes.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

fn read_frame(kind: u8, payload: &[u8]) -> Result<Frame, WireError> {
    let odd = |error: serde_json::Error| garbage(&error.to_string());
    Ok(match kind {
        PARTS => Frame::Parts(serde_json::from_slice(payload).map_err(odd)?),
        END => Frame::End(serde_json::from_slice(payload).map_err(odd)?),
        ERROR => {
            let error: SharedError = serde_json::from_slice(payload).map_err(odd)?;
            let limit = error.limit.and_then(|(name, limit)| {
                let which = LIMITS.iter().find(|(known, _)| *known == name)?.1;
                Some(ViewError::Limit { which, limit })
            });
            Frame::Error(limit.unwrap_or(ViewError::Peer(error.message)))
        }
        _ => Frame::Rows(read_rows(payload).ok_or_else(|| garbage("a row is damaged"))?),
    })
}

fn read_rows(mut rest: &[u8]) -> Option<VecDeque<Item>> {
    fn number<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (head, tail) = rest.split_first_chunk::<N>()?;
        *rest = tail;
        Some(*head)
    }
    fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(number(rest)?) as usize;
        let (head, tail) = rest.split_at_checked(length)?;
        *rest = tail;
        Some(head)
    }
    let mut items = VecDeque::new();
    while !rest.is_empty() {
        let range = u32::from_be_bytes(number(&mut rest)?);
        let partition = i32::from_be_bytes(number(&mut rest)?);
        let timestamp = i64::from_be_bytes(number(&mut rest)?);
        let encoded = bytes(&mut rest)?;
        let key = decode_key(encoded).ok()?;
        let value = decode_row(bytes(&mut rest)?).ok()?;
        items.push_back(Item {
            range,
            key: encoded.to_vec(),
            partition,
            row: Some(ViewRow { key, value, timestamp }),
        });
    }
    Some(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Decimal, Row, Value, encode_key};

    fn item(n: i64, value: Row) -> Item {
        let key = Row::from([Value::Bigint(n)]);
        let mut encoded = Vec::new();
        encode_key(&key, &mut encoded);
        Item {
            range: 2,
            key: encoded,
            partition: 7,
            row: Some(ViewRow {
                key,
                value,
                timestamp: -n,
            }),
        }
    }

    fn odd_values() -> Row {
        let big = Decimal::new(12_345_678_901_234_567_890_123_456_789_012_345_670, 2);
        let list = Value::Array(vec![Value::Null, Value::Bigint(i64::MIN)].into());
        Row::from([
            Value::Double(f64::NAN),
            Value::Double(-0.0),
            Value::Decimal(big),
            Value::Bytes([0, 255].as_slice().into()),
            list,
        ])
    }

    /// The frames of an answer that comes in pieces of `size` bytes.
    fn read(bytes: &[u8], size: usize, most: usize) -> Result<Vec<Frame>, WireError> {
        let mut reader = FrameReader::new(most);
        let mut frames = Vec::new();
        for piece in bytes.chunks(size) {
            reader.push(piece);
            while let Some(frame) = reader.take()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    #[test]
    fn rows_arrive_exactly_whatever_the_pieces() {
        let items: Vec<Item> = (0..3_000).map(|n| item(n, odd_values())).collect();
        let part = SharedPart {
            partition: 7,
            position: serde_json::json!({"t": {"7": 12}}),
            behind_ms: Some(3),
        };
        let end = SharedEnd {
            cut: Some((2, Blob(vec![1, 2]), 7)),
            counted: 3,
            exact: true,
        };
        let parts = SharedParts {
            parts: vec![part],
            missing: vec![(8, "elsewhere".into())],
        };
        let mut bytes = FrameWriter::parts(&parts);
        let mut writer = FrameWriter::default();
        for item in &items {
            bytes.extend(writer.row(item, 1 << 20).unwrap().unwrap_or_default());
        }
        bytes.extend(writer.end(&end));
        for size in [1, 1_000, usize::MAX] {
            let frames = read(&bytes, size, 0).unwrap();
            assert_eq!(frames.first(), Some(&Frame::Parts(parts.clone())));
            assert_eq!(frames.last(), Some(&Frame::End(end.clone())));
            assert!(frames.len() > 4, "several frames of rows");
            let got: Vec<Item> = frames
                .into_iter()
                .flat_map(|frame| match frame {
                    Frame::Rows(rows) => rows,
                    _ => VecDeque::new(),
                })
                .collect();
            // NaN is equal to itself among values
            assert_eq!(got, items);
        }
    }

    #[test]
    fn a_row_larger_than_the_asker_takes_is_an_error_that_names_the_limit() {
        let large = item(1, Row::from([Value::from("x".repeat(1_000).as_str())]));
        let error = FrameWriter::default().row(&large, 999).unwrap_err();
        let sent = FrameWriter::error(&error);
        assert_eq!(read(&sent, 7, 0).unwrap(), [Frame::Error(error)]);
        let other = ViewError::bad("odd", "hint");
        let frames = read(&FrameWriter::error(&other), 1, 0).unwrap();
        assert_eq!(frames, [Frame::Error(ViewError::Peer("odd".into()))]);
    }

    #[test]
    fn damaged_answers_are_never_rows() {
        let mut writer = FrameWriter::default();
        assert!(writer.row(&item(1, odd_values()), 1 << 20).unwrap().is_none());
        let good = writer.end(&SharedEnd::default());
        assert_eq!(read(&good, usize::MAX, 0).unwrap().len(), 2);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            let whole = read(&bad, usize::MAX, 0).is_ok_and(|frames| frames.len() == 2);
            assert!(!whole, "byte {at}");
            let cut = read(&good[..at], usize::MAX, 0).unwrap();
            assert!(!cut.iter().any(|frame| matches!(frame, Frame::End(_))), "cut at {at}");
        }
        assert!(read(b"HTTP/1.1 200 OK", usize::MAX, 0).is_err());
        let huge = [&[ROWS][..], &u32::MAX.to_be_bytes(), &[0; 4]].concat();
        assert!(read(&huge, usize::MAX, 1 << 20).is_err(), "not waited for");
    }
}
