//! The bytes of a stored row: its timestamp, then the row.
//!
//! ```text
//! | timestamp, 8 bytes big-endian | row codec of `types` |
//! ```
//!
//! The same bytes are the value of a changelog record. A row's timestamp is part of it because it has to survive a restart: joins and views show it.

use crate::types::{CodecError, Row, Timestamp, Value, decode_row, encode_row};

use super::StoreError;

const TIMESTAMP_BYTES: usize = 8;

/// Appends a stored row.
pub fn encode_stored(timestamp: Timestamp, row: &[Value], out: &mut Vec<u8>) {
    out.extend_from_slice(&timestamp.to_be_bytes());
    encode_row(row, out);
}

/// Reads a stored row.
///
/// # Errors
/// When the bytes were not made by [`encode_stored`].
pub fn decode_stored(bytes: &[u8]) -> Result<(Row, Timestamp), CodecError> {
    let (timestamp, row) = bytes
        .split_first_chunk::<TIMESTAMP_BYTES>()
        .ok_or(CodecError { what: "row", at: 0 })?;
    let row = decode_row(row).map_err(|e| CodecError {
        at: e.at + TIMESTAMP_BYTES,
        ..e
    })?;
    Ok((row, Timestamp::from_be_bytes(*timestamp)))
}

/// Appends the full key of a store's row: the store's id and the encoded key.
pub fn encode_full_key(store: u16, key: &[Value], out: &mut Vec<u8>) {
    out.extend_from_slice(&store.to_be_bytes());
    crate::types::encode_key(key, out);
}

impl StoreError {
    /// Bytes in a store that are no row of this version.
    pub fn undecodable(what: &CodecError) -> Self {
        Self {
            place: "stored row".into(),
            message: format!("{what}; the state was written by another version: rebuild it with `millstream replay`"),
        }
    }

    /// A row that reads well, but is not what an operator has written.
    pub fn unexpected(what: &str) -> Self {
        Self {
            place: "stored row".into(),
            message: format!("{what} is not as it was written: rebuild the state with `millstream replay`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_row_keeps_its_timestamp() {
        let row = [Value::Bigint(1), "x".into()];
        let mut bytes = Vec::new();
        encode_stored(-5, &row, &mut bytes);
        let (decoded, timestamp) = decode_stored(&bytes).unwrap();
        assert_eq!((&*decoded, timestamp), (&row[..], -5));
        for cut in 0..bytes.len() {
            assert!(decode_stored(&bytes[..cut]).is_err());
        }
    }
}
