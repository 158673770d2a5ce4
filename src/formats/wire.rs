//! The registry's wire format: a zero byte and the schema id (4 bytes, big-endian) before the record itself.

use crate::types::Format;

use super::FormatError;

/// A zero byte and the schema id.
pub(super) const HEADER_BYTES: usize = 5;

/// Appends the header of a schema's records.
pub(super) fn header(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// The schema id, and what stands behind it.
///
/// # Errors
/// [`FormatError::Data`] when the bytes do not start so.
#[inline]
pub(super) fn split(format: Format, bytes: &[u8]) -> Result<(u32, &[u8]), FormatError> {
    match bytes.split_first_chunk::<HEADER_BYTES>() {
        Some(([0, id @ ..], rest)) => Ok((u32::from_be_bytes(*id), rest)),
        _ => Err(not_wire_format(format, bytes)),
    }
}

#[cold]
fn not_wire_format(format: Format, bytes: &[u8]) -> FormatError {
    let found = match bytes {
        [b'{' | b'[' | b'"', ..] => "text that looks like JSON".to_string(),
        [0, ..] => format!("{} bytes in all", bytes.len()),
        [first, ..] => format!("a first byte of {first}"),
        [] => "no bytes".to_string(),
    };
    FormatError::data(
        format,
        "a zero byte and a schema id (the registry's wire format)",
        found,
    )
    .at(0)
}
