//! What is inside a record batch: decoding (all codecs), encoding (uncompressed), transaction markers.
//!
//! Only in-process callers, compaction and look-ups by time come here; produce and fetch move batches unopened.
//! *Invariant*: bytes from outside never panic and never make an allocation that the bytes themselves do not bear out,
//! except that a compressed batch may expand, up to `expand::MAX_EXPANDED_BYTES`.

use super::batch::{self, BatchHeader};
use super::error::{ErrorCode, Result};
use super::expand::expand;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Position in the partition; assigned by the log when appending.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key; a compacted topic needs one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; names may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl Record {
    /// A record without headers, to append.
    pub fn new(timestamp: i64, key: Option<Bytes>, value: Option<Bytes>) -> Record {
        Record {
            timestamp,
            key,
            value,
            ..Record::default()
        }
    }
}

/// What the header of a batch to encode says, beside its records.
#[derive(Debug, Clone, Copy)]
pub struct BatchMeta {
    /// Offset that the records' own offsets are relative to.
    pub base_offset: i64,
    /// Last offset that the batch covers (kept when compaction removes the last record).
    pub last_offset: i64,
    /// Attribute bits; the compression bits are cleared.
    pub attributes: i16,
    /// Base timestamp; the first record's when `None`.
    pub base_timestamp: Option<i64>,
    /// Largest timestamp; taken from the records when `None`.
    pub max_timestamp: Option<i64>,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
}

impl BatchMeta {
    /// A batch of no producer in particular, starting at `base_offset`.
    pub fn plain(base_offset: i64, records: usize) -> BatchMeta {
        BatchMeta {
            base_offset,
            last_offset: base_offset + records.max(1) as i64 - 1,
            attributes: 0,
            base_timestamp: None,
            max_timestamp: None,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.put_u8(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.put_u8(zigzag as u8);
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i64);
            out.put_slice(bytes);
        }
    }
}

/// Encodes an uncompressed batch; an empty one (what compaction leaves to hold a place) has a count of 0.
pub fn encode(meta: &BatchMeta, records: &[Record]) -> Bytes {
    let first_timestamp = records.first().map_or(0, |r| r.timestamp);
    let base_timestamp = meta.base_timestamp.unwrap_or(first_timestamp);
    let max_timestamp = meta
        .max_timestamp
        .or_else(|| records.iter().map(|r| r.timestamp).max())
        .unwrap_or(-1);
    let payload: usize = records
        .iter()
        .map(|r| r.key.as_ref().map_or(0, Bytes::len) + r.value.as_ref().map_or(0, Bytes::len))
        .sum();
    let mut out = BytesMut::with_capacity(batch::HEADER_LEN + payload + records.len() * 24);
    out.put_i64(meta.base_offset);
    out.put_i32(0); // length, below
    out.put_i32(0); // leader epoch
    out.put_u8(2);
    out.put_u32(0); // checksum, below
    out.put_i16(meta.attributes & !batch::COMPRESSION_MASK);
    out.put_i32((meta.last_offset - meta.base_offset) as i32);
    out.put_i64(base_timestamp);
    out.put_i64(max_timestamp);
    out.put_i64(meta.producer_id);
    out.put_i16(meta.producer_epoch);
    out.put_i32(meta.base_sequence);
    out.put_i32(records.len() as i32);
    let mut body = BytesMut::new();
    for record in records {
        body.clear();
        body.put_u8(0);
        put_varint(&mut body, record.timestamp.wrapping_sub(base_timestamp));
        put_varint(&mut body, record.offset - meta.base_offset);
        put_bytes(&mut body, record.key.as_deref());
        put_bytes(&mut body, record.value.as_deref());
        put_varint(&mut body, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_bytes(&mut body, Some(name.as_bytes()));
            put_bytes(&mut body, value.as_deref());
        }
        put_varint(&mut out, body.len() as i64);
        out.put_slice(&body);
    }
    seal(&mut out);
    out.freeze()
}

/// Fills in length and checksum.
fn seal(out: &mut BytesMut) {
    let length = (out.len() - 12) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The marker that ends a producer's transaction in one partition.
pub fn encode_marker(offset: i64, producer_id: i64, producer_epoch: i16, commit: bool, now_ms: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(4);
    key.put_i16(0);
    key.put_i16(i16::from(commit));
    let mut value = BytesMut::with_capacity(6);
    value.put_i16(0);
    value.put_i32(0); // coordinator epoch
    let record = Record {
        offset,
        ..Record::new(now_ms, Some(key.freeze()), Some(value.freeze()))
    };
    let meta = BatchMeta {
        attributes: batch::TRANSACTIONAL | batch::CONTROL,
        producer_id,
        producer_epoch,
        ..BatchMeta::plain(offset, 1)
    };
    encode(&meta, &[record])
}

fn bad() -> ErrorCode {
    ErrorCode::InvalidRecord
}

fn get_varint(bytes: &mut Bytes) -> Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        if !bytes.has_remaining() {
            return Err(bad());
        }
        let byte = bytes.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    Err(bad())
}

fn get_bytes(bytes: &mut Bytes) -> Result<Option<Bytes>> {
    let length = get_varint(bytes)?;
    if length < 0 {
        return Ok(None);
    }
    take(bytes, length).map(Some)
}

fn take(bytes: &mut Bytes, length: i64) -> Result<Bytes> {
    let length = usize::try_from(length).map_err(|_| bad())?;
    if length > bytes.len() {
        return Err(bad());
    }
    Ok(bytes.split_to(length))
}

/// The records' bytes of a batch, decompressed.
fn payload(header: &BatchHeader, data: &Bytes) -> Result<Bytes> {
    expand(header.codec(), data.slice(batch::HEADER_LEN..))
}

/// Decodes every record of a stored batch, markers included.
pub fn decode(data: &Bytes) -> Result<Vec<Record>> {
    let header = BatchHeader::parse(data)?;
    if header.size > data.len() {
        return Err(bad());
    }
    let mut body = payload(&header, &data.slice(..header.size))?;
    let mut records = Vec::with_capacity((header.record_count.max(0) as usize).min(body.len() / 6 + 1));
    for _ in 0..header.record_count {
        records.push(decode_one(&header, &mut body)?);
    }
    Ok(records)
}

fn decode_one(header: &BatchHeader, body: &mut Bytes) -> Result<Record> {
    let length = get_varint(body)?;
    let mut bytes = take(body, length)?;
    take(&mut bytes, 1)?; // attributes, unused
    let timestamp = header.base_timestamp.wrapping_add(get_varint(&mut bytes)?);
    let offset = header.base_offset.wrapping_add(get_varint(&mut bytes)?);
    let key = get_bytes(&mut bytes)?;
    let value = get_bytes(&mut bytes)?;
    let count = get_varint(&mut bytes)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = get_bytes(&mut bytes)?.ok_or_else(bad)?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| bad())?;
        headers.push((name, get_bytes(&mut bytes)?));
    }
    let timestamp = if header.attributes & 0x08 != 0 {
        header.max_timestamp
    } else {
        timestamp
    };
    Ok(Record {
        offset,
        timestamp,
        key,
        value,
        headers,
    })
}

/// Whether every record of a produced batch has a key, which a compacted topic requires.
pub fn all_have_keys(data: &Bytes) -> Result<bool> {
    let header = BatchHeader::parse(data)?;
    let mut body = payload(&header, data)?;
    for _ in 0..header.record_count {
        let length = get_varint(&mut body)?;
        let mut bytes = take(&mut body, length)?;
        take(&mut bytes, 1)?;
        get_varint(&mut bytes)?;
        get_varint(&mut bytes)?;
        if get_varint(&mut bytes)? < 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a marker batch commits (else it aborts).
pub fn marker_commits(data: &Bytes) -> Result<bool> {
    let records = decode(data)?;
    let key = records.first().and_then(|r| r.key.as_ref()).ok_or_else(bad)?;
    Ok(key.len() >= 4 && key[3] == 1)
}
