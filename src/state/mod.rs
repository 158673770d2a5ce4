//! Stores: committed rows of a task, and the buffer of uncommitted ones over it.
//!
//! *Invariant*: no byte reaches a [`Store`] before its transaction has committed; readers hold [`Snapshot`]s of it.
//!
//! Layout of a task's database, one column family: the key is the store's id (two bytes, big-endian) followed by the order-preserving key
//! encoding of `types`; the value is the row's timestamp (8 bytes, big-endian) and the row codec's bytes ([`encode_stored`]). Metadata keys begin with the reserved id [`META_PREFIX`].

pub mod buffer;
mod bulk;
mod checkpoint;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocks;
mod shared;
mod stored;
#[cfg(test)]
mod suite;

use std::path::Path;
use std::sync::Arc;

use crate::types::Timestamp;

pub use bulk::Bulk;
pub use shared::SharedRows;
pub use stored::{decode_stored, encode_full_key, encode_stored};

/// The reserved store id of metadata.
pub const META_PREFIX: u16 = u16::MAX;

/// A failure of the disk or of the database: retried by reopening, then shown to the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("state in {place}: {message}")]
pub struct StoreError {
    /// The directory, or `memory`.
    pub place: String,
    /// What failed.
    pub message: String,
}

impl StoreError {
    /// What the message of a damaged store begins with.
    pub const CORRUPT: &'static str = "damaged: ";

    /// Whether the files are damaged, so that the store must be deleted and rebuilt from its changelogs.
    pub fn is_corrupt(&self) -> bool {
        self.message.starts_with(Self::CORRUPT)
    }
}

/// Result of a call to a store.
pub type StoreResult<T> = Result<T, StoreError>;

/// How far the stores of a task have come: in the same atomic batch as the rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StorePosition {
    /// A changelog topic's name, its identity, and the offset after the last record applied; a changelog each.
    pub changelogs: Vec<ChangelogPosition>,
    /// Input topic, partition and the next offset to read.
    pub inputs: Vec<(Arc<str>, i32, i64)>,
    /// When the batch was applied, in milliseconds since the epoch.
    pub applied_at: Timestamp,
    /// Fingerprint of the plan and row layout of the stores.
    pub fingerprint: String,
}

impl StorePosition {
    /// The next offset to read of an input.
    pub fn input(&self, topic: &str, partition: i32) -> Option<i64> {
        let same = |(known, p, _): &&(Arc<str>, i32, i64)| **known == *topic && *p == partition;
        self.inputs.iter().find(same).map(|(.., offset)| *offset)
    }
}

/// Position in one changelog.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChangelogPosition {
    /// The topic.
    pub topic: Arc<str>,
    /// The topic's identity; another one means that it was made anew.
    pub topic_id: String,
    /// The offset after the last record applied.
    pub offset: i64,
}

/// One write: the full key and the row's bytes, or `None` to delete.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// Takes the value of the key at a place of a list, if there is one. False ends it.
pub type EachValue<'a> = &'a mut dyn FnMut(usize, Option<&[u8]>) -> StoreResult<bool>;

/// The committed rows of one task.
pub trait Store: Send {
    /// The value of a full key.
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool>;
    /// The values of many full keys, handed out in whatever order is the fastest.
    fn get_many(&self, keys: &[&[u8]], each: EachValue<'_>) -> StoreResult<()> {
        let mut value = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let found = self.get(key, &mut value)?;
            if !each(at, found.then_some(&value[..]))? {
                break;
            }
        }
        Ok(())
    }
    /// Walks keys from `from` (inclusive) to `to` (exclusive; `None`: no end) in order, until `each` returns false.
    fn scan(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()>;
    /// The same backwards: from the last key below `to` down to `from`.
    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()>;
    /// Applies writes and the position in one atomic batch.
    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write>, position: &StorePosition) -> StoreResult<()>;
    /// As [`Self::apply`] for the rows of a commit.
    fn commit(&mut self, rows: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        self.apply(&mut rows.writes(), position)
    }
    /// As [`Self::apply`] for the many rows of a restore, and they survive a crash no less than those.
    fn load(&mut self, rows: &mut Bulk, position: &StorePosition) -> StoreResult<()> {
        self.apply(&mut rows.writes(), position)
    }
    /// The position of the last batch; `None` for a new store.
    fn position(&self) -> StoreResult<Option<StorePosition>>;
    /// Deletes everything, position included.
    fn clear(&mut self) -> StoreResult<()>;
    /// A handle for readers on other threads; it stays valid while the store is open.
    fn reader(&self) -> Arc<dyn StoreReader>;
    /// Makes everything applied survive a crash of the process (a memtable flush).
    fn flush(&mut self) -> StoreResult<()>;
    /// Begins a [`Self::flush`] without waiting for it to end.
    fn flush_soon(&mut self) -> StoreResult<()> {
        self.flush()
    }
    /// Bytes on disk or in memory, and an estimate of the number of keys.
    fn size(&self) -> (u64, u64);
}

/// Lets other threads read what is committed, without disturbing the owner.
pub trait StoreReader: Send + Sync {
    /// An unchanging picture of what is committed now, with the position in the same batch.
    ///
    /// # Errors
    /// When the store has been closed: its task has moved.
    fn snapshot(&self) -> StoreResult<Arc<dyn Snapshot>>;

    /// Writes everything that is committed, position included, into a directory that is not there yet, while the owner goes on. What stands in
    /// it is for [`StoreFactory::import`]; files may be hard links of the store's own and must not be changed.
    ///
    /// # Errors
    /// The disk; or that stores of this kind have no files.
    fn checkpoint(&self, directory: &Path) -> StoreResult<()> {
        Err(StoreError {
            place: directory.display().to_string(),
            message: "stores of this kind make no checkpoints".into(),
        })
    }
}

/// An unchanging picture of a task's committed rows.
pub trait Snapshot: Send + Sync {
    /// The value of a full key.
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool>;
    /// Walks keys from `from` (inclusive) to `to` (exclusive), forwards or backwards, until `each` returns false.
    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> StoreResult<()>;
    /// The position it reflects.
    fn position(&self) -> &StorePosition;
}

/// Opens the store of a task.
pub trait StoreFactory: Send + Sync {
    /// Opens or creates the store named `task` (a relative path such as `ratings/0_3`).
    fn open(&self, task: &str) -> StoreResult<Box<dyn Store>>;
    /// The same for many, in their order; at the same time where that is faster.
    fn open_all(&self, tasks: &[String]) -> Vec<StoreResult<Box<dyn Store>>> {
        tasks.iter().map(|task| self.open(task)).collect()
    }
    /// Deletes the stores below a relative path.
    fn delete(&self, path: &str) -> StoreResult<()>;
    /// Whether there is a store of this name; where that cannot be said, there may be one.
    fn exists(&self, _task: &str) -> bool {
        true
    }
    /// Puts a checkpoint (see [`StoreReader::checkpoint`]) in the place of the store `task`, which must not be open. The directory is used up.
    ///
    /// # Errors
    /// When it is no whole store; then there is none in its place.
    fn import(&self, task: &str, checkpoint: &Path) -> StoreResult<()> {
        Err(StoreError {
            place: task.into(),
            message: format!(
                "stores of this kind take no checkpoint, such as {}",
                checkpoint.display()
            ),
        })
    }
}
