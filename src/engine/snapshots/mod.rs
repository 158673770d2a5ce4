//! Snapshots: the whole state of a task at one position, brought from elsewhere in the place of a long replay.
//!
//! A snapshot is a checkpoint of the task's store (`state`: [`crate::state::StoreReader::checkpoint`]) and a [`Manifest`]: whose it is, its position,
//! and each file with size and SHA-256. It comes from another instance that has the task's store open (over HTTP, see [`Offers`]) or from a
//! directory or object store to which owners put one now and then (see [`Keeper`]).
//!
//! ```text
//!   worker: long replay ahead --Wanted--> Bringer: a thread asks its sources, one after the other
//!     |  looks each step, never waits         | manifest: does it belong, is it worth it?   no: the next one
//!     |                                       | files into a directory, each hash checked   wrong: the next one
//!     +<---- a directory, or why not ---------+
//!   import, then the same take-over as with any store: its position is compared with the changelogs, the tail is replayed
//! ```
//!
//! *Is not* a second truth: the changelog is. Whatever is wrong with a snapshot is said in the log, and the state comes from the changelog.
//! *Invariant*: nothing here is on the way of records; no worker waits for anything here.

mod bring;
mod bucket;
mod directory;
#[cfg(any(feature = "kafka", feature = "object-store"))]
mod io;
mod keeper;
mod manifest;
mod offers;
mod pace;
#[cfg(feature = "kafka")]
mod peers;
#[cfg(feature = "object-store")]
mod s3;
#[cfg(test)]
mod tests;
mod wanted;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use bring::{Bringer, Offer, Source};
pub use bucket::{Bucket, BucketSource, Entry, bucket};
pub use directory::Directory;
pub use keeper::{Keeper, KeeperSettings, Rounds};
pub use manifest::{FileEntry, Known, Manifest, is_plain_name};
pub use offers::{OfferError, OfferedFile, Offers, Opened, Opening, QUESTION_TYPE};
pub use pace::Pace;
#[cfg(feature = "kafka")]
pub use peers::{PeerSource, PeersOf};
#[cfg(feature = "object-store")]
pub use s3::ObjectBucket;
pub use wanted::{Wanted, WantedLog};

/// What an engine has to do with snapshots; nothing unless told otherwise.
#[derive(Clone, Default)]
pub struct SnapshotParts {
    /// Where the state of tasks may come from, instead of their changelogs.
    pub from: Option<Arc<dyn Snapshots>>,
    /// What others may get from here.
    pub offers: Option<Arc<Offers>>,
}

/// Where workers ask for snapshots.
pub trait Snapshots: Send + Sync {
    /// Replays of fewer changelog offsets are not worth one.
    fn min_records(&self) -> u64;
    /// Begins to look for a snapshot of a task and to bring it to this disk. Does not wait.
    fn fetch(&self, wanted: Wanted) -> Box<dyn Fetch>;
}

/// A snapshot on its way. Dropping it gives it up.
pub trait Fetch: Send {
    /// How it stands. Does not wait.
    fn poll(&mut self) -> Fetched;
}

/// How a [`Fetch`] stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It is looked for, or comes.
    Pending,
    /// It is there, every hash checked.
    Ready {
        /// For [`crate::state::StoreFactory::import`].
        directory: PathBuf,
        /// Where it came from, for the log.
        from: String,
    },
    /// There is none that is of use. Why was said in the log.
    Nothing,
}

/// Removes a directory; one that is not there is no error.
fn clear(directory: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
