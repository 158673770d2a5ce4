//! The header of a Kafka record batch (magic 2), read and patched in place.
//!
//! A batch is stored and served as the producer sent it; only offset and leader epoch (not covered by its checksum) are
//! filled in. Reading what is inside is `records`' business.
//!
//! ```text
//!  0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 crc32c u32 (of all that follows)
//! 21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//! 43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 record count i32 | 61 records
//! ```

use super::error::{ErrorCode, Result};

/// Bytes of a batch before its records.
pub const HEADER_LEN: usize = 61;
/// Where the part covered by the checksum starts.
const CRC_FROM: usize = 21;

/// Attribute bits of a batch.
pub const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
/// The batch belongs to a transaction.
pub const TRANSACTIONAL: i16 = 0x10;
/// The batch is a transaction marker.
pub const CONTROL: i16 = 0x20;
/// The base timestamp is the time from which tombstones may go (KIP-534).
pub const DELETE_HORIZON: i16 = 0x40;

/// A parsed batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (or where it was before compaction).
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub size: usize,
    /// The checksum that the batch claims.
    pub crc: u32,
    /// Compression, transactional, control and horizon bits.
    pub attributes: i16,
    /// Last offset of the batch, from its first.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to.
    pub base_timestamp: i64,
    /// The largest timestamp of the batch, milliseconds.
    pub max_timestamp: i64,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    /// Records inside.
    pub record_count: i32,
}

/// Big-endian reads that cannot run over the end: the caller has checked the length.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads a header; the checksum is not verified here.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader> {
        if bytes.len() < HEADER_LEN || bytes[16] != 2 {
            return Err(ErrorCode::InvalidRecord);
        }
        let length = i32::from_be_bytes(array(bytes, 8));
        if length < (HEADER_LEN - 12) as i32 {
            return Err(ErrorCode::InvalidRecord);
        }
        Ok(BatchHeader {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            size: length as usize + 12,
            crc: u32::from_be_bytes(array(bytes, 17)),
            attributes: i16::from_be_bytes(array(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, 35)),
            producer_id: i64::from_be_bytes(array(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            record_count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Whether the batch is a transaction marker.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Compression codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn codec(&self) -> i16 {
        self.attributes & COMPRESSION_MASK
    }

    /// Sequence number of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.record_count.max(1)) - 1;
        (last % (i64::from(i32::MAX) + 1)) as i32
    }
}

/// Checks a batch as a producer sent it: one whole batch, sound checksum, no marker, offsets that count its records.
pub fn check_produced(bytes: &[u8]) -> Result<BatchHeader> {
    let header = BatchHeader::parse(bytes)?;
    if header.size != bytes.len() {
        return Err(ErrorCode::InvalidRecord);
    }
    if crc32c::crc32c(&bytes[CRC_FROM..]) != header.crc {
        return Err(ErrorCode::CorruptMessage);
    }
    let counted = header.record_count >= 1 && header.last_offset_delta == header.record_count - 1;
    let producer_fits = (header.producer_id < 0) || (header.producer_epoch >= 0 && header.base_sequence >= 0);
    let transaction_fits = !header.is_transactional() || header.producer_id >= 0;
    if header.is_control() || !counted || !producer_fits || !transaction_fits || header.codec() > 4 {
        return Err(ErrorCode::InvalidRecord);
    }
    Ok(header)
}

/// The header with the offset that the log assigned.
pub fn with_base_offset(header: &[u8], base_offset: i64) -> [u8; HEADER_LEN] {
    let mut out: [u8; HEADER_LEN] = array(header, 0);
    out[..8].copy_from_slice(&base_offset.to_be_bytes());
    out[12..16].fill(0);
    out
}

/// Stamps the header with the log's time (`message.timestamp.type=LogAppendTime`) and renews the checksum.
pub fn stamp_append_time(header: &mut [u8; HEADER_LEN], records: &[u8], now_ms: i64) {
    let attributes = i16::from_be_bytes(array(header, 21)) | LOG_APPEND_TIME;
    header[21..23].copy_from_slice(&attributes.to_be_bytes());
    header[35..43].copy_from_slice(&now_ms.to_be_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[CRC_FROM..]), records);
    header[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Whether a stored batch still has the bytes that its checksum was made of.
pub fn checksum_holds(bytes: &[u8]) -> bool {
    BatchHeader::parse(bytes).is_ok_and(|h| h.size == bytes.len() && crc32c::crc32c(&bytes[CRC_FROM..]) == h.crc)
}
