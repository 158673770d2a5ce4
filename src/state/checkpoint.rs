//! The checkpoint of a store in memory: one file of rows, and one of the position. For tests and simulation, whose stores have no files of their own.
//!
//! *Invariant*: what cannot be read whole is an error, never a part of the rows.

use std::fs;
use std::path::Path;

use super::{Snapshot, StoreError, StorePosition, StoreResult, Write};

/// The rows: each with the lengths of key and value before it.
const ROWS: &str = "rows";
/// The position, as JSON.
const POSITION: &str = "position";

/// Writes a picture into a directory, which is made.
pub(super) fn write(picture: &dyn Snapshot, directory: &Path) -> StoreResult<()> {
    let failed = |error: std::io::Error| failure(directory, &error.to_string());
    let mut rows = Vec::new();
    picture.scan(&[], None, false, &mut |key, value| {
        for part in [key, value] {
            rows.extend_from_slice(&(part.len() as u64).to_be_bytes());
            rows.extend_from_slice(part);
        }
        true
    })?;
    let position = serde_json::to_vec(picture.position()).map_err(|error| failure(directory, &error.to_string()))?;
    fs::create_dir(directory).map_err(failed)?;
    fs::write(directory.join(ROWS), rows).map_err(failed)?;
    fs::write(directory.join(POSITION), position).map_err(failed)
}

/// Reads what [`write`] wrote; the directory is used up.
pub(super) fn read(directory: &Path) -> StoreResult<(Vec<Write>, StorePosition)> {
    let failed = |error: std::io::Error| failure(directory, &error.to_string());
    let position = fs::read(directory.join(POSITION)).map_err(failed)?;
    let position: StorePosition =
        serde_json::from_slice(&position).map_err(|error| failure(directory, &error.to_string()))?;
    if position == StorePosition::default() {
        return Err(failure(directory, "it has no position"));
    }
    let bytes = fs::read(directory.join(ROWS)).map_err(failed)?;
    let mut rest = &bytes[..];
    let mut writes = Vec::new();
    while !rest.is_empty() {
        let cut = || failure(directory, "the rows are cut off");
        let key = part(&mut rest).ok_or_else(cut)?;
        let value = part(&mut rest).ok_or_else(cut)?;
        writes.push((key.to_vec(), Some(value.to_vec())));
    }
    fs::remove_dir_all(directory).map_err(failed)?;
    Ok((writes, position))
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, behind) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
    let (part, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    Some(part)
}

fn failure(directory: &Path, message: &str) -> StoreError {
    StoreError {
        place: directory.display().to_string(),
        message: format!("checkpoint: {message}"),
    }
}
