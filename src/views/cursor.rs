//! Cursors: where the next page of a scan begins, as text that means nothing to its holder.
//!
//! ```text
//! | version 1 | request crc32c, 4 | partition, 4 | encoded key ... | crc32c of all before, 4 |   base64url
//! ```
//!
//! *Invariant*: a cursor names the last key looked at and nothing of the snapshot, so the next page reads the newest committed state and
//! goes strictly on from there: a key that does not change between two pages is neither skipped nor repeated.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::KeyRange;
use super::walk::After;
use super::{ViewError, ViewRef};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 4;
const TAIL: usize = 4;

/// Identifies the view, its key columns, the range and the direction, so that a cursor is not used with another request.
pub(super) fn request_id(view: &ViewRef, range: &KeyRange, reverse: bool) -> u32 {
    let columns = &view.view().schema.key;
    let types: Vec<String> = columns.iter().map(|c| c.sql_type.to_string()).collect();
    let text = format!(
        "{}\0{}\0{types:?}\0{reverse}\0{:?}\0{:?}",
        view.published.topology.name,
        view.view().name,
        range.from,
        range.to
    );
    crc32c::crc32c(text.as_bytes())
}

/// The text of a cursor.
pub(super) fn encode(request: u32, after: &After) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&request.to_be_bytes());
    bytes.extend_from_slice(&after.partition.to_be_bytes());
    bytes.extend_from_slice(&after.key);
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Where a cursor points to.
///
/// # Errors
/// [`ViewError::BadRequest`] for text that is no cursor, or the cursor of another request.
pub(super) fn decode(text: &str, request: u32) -> Result<After, ViewError> {
    let wrong = || {
        ViewError::bad(
            "the cursor is damaged",
            "Pass the cursor of the page before, unchanged.",
        )
    };
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
    if bytes.len() < HEAD + TAIL || bytes[0] != VERSION {
        return Err(wrong());
    }
    let (body, crc) = bytes.split_at(bytes.len() - TAIL);
    if crc32c::crc32c(body).to_be_bytes() != crc {
        return Err(wrong());
    }
    if body[1..5] != request.to_be_bytes() {
        return Err(ViewError::bad(
            "the cursor belongs to another request",
            "Repeat the request of the page before (view, key range and order) and change only the cursor.",
        ));
    }
    let mut partition = [0; 4];
    partition.copy_from_slice(&body[5..HEAD]);
    Ok(After {
        key: body[HEAD..].to_vec(),
        partition: i32::from_be_bytes(partition),
    })
}
