//! The snapshots that this instance serves: checkpoints of stores that are open here, made when somebody asks, gone when they are done with.
//!
//! Also a store that was just given back has one: who takes the task over asks its last owner. *Invariant*: at most [`AT_A_TIME`] checkpoints
//! are there, each for [`KEEP`] after it was last read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::super::{OpenStores, TaskId};
use super::manifest::{Known, Manifest, is_plain_name};
use super::wanted::task_path;

/// Checkpoints at a time.
const AT_A_TIME: usize = 4;
/// A checkpoint that nobody has read for this long is removed.
const KEEP: Duration = Duration::from_secs(60);

/// Why there is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The store is not open here, or the checkpoint or its file is not there.
    #[error("{0}")]
    NotHere(String),
    /// Enough others are being read.
    #[error("{AT_A_TIME} snapshots are being read already")]
    Busy,
    /// The disk.
    #[error("{0}")]
    Failed(String),
}

/// What [`Offers::open`] gives.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What its files are asked for by.
    pub id: String,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

struct Checkpoint {
    directory: PathBuf,
    read: Instant,
    /// Clones are with those who read.
    lease: Arc<()>,
}

/// A file being read; its checkpoint stays at least until this is dropped.
pub struct OfferedFile {
    /// The file.
    pub file: File,
    /// Its bytes.
    pub size: u64,
    _lease: Arc<()>,
}

/// The snapshots that this instance serves. See the module.
pub struct Offers {
    directory: PathBuf,
    stores: Mutex<Weak<OpenStores>>,
    open: Mutex<BTreeMap<String, Checkpoint>>,
    keep: Duration,
}

impl Offers {
    /// Checkpoints stand in `directory`, on the disk of the stores; what an earlier process has left there is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn new(directory: PathBuf) -> std::io::Result<Self> {
        super::clear(&directory)?;
        Ok(Self {
            directory,
            stores: Mutex::default(),
            open: Mutex::default(),
            keep: KEEP,
        })
    }

    /// How long an unread checkpoint stays.
    #[must_use]
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// Serves these stores from now on.
    pub fn serve(&self, stores: &Arc<OpenStores>) {
        *self.stores.lock() = Arc::downgrade(stores);
    }

    /// Makes a checkpoint of a task's store. Waits for the disk.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn open(&self, topology: &str, generation: u32, task: TaskId) -> Result<Opened, OfferError> {
        self.sweep();
        let path = task_path(topology, generation, task);
        let stores = self.stores.lock().upgrade();
        let reader = stores.and_then(|stores| stores.reader(&path));
        let not_here = || OfferError::NotHere(format!("the state of task {task} of {topology} is not open here"));
        let reader = reader.ok_or_else(not_here)?;
        let position = reader.snapshot().map_err(|_| not_here())?.position().clone();
        if position.changelogs.is_empty() {
            return Err(not_here());
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let directory = self.directory.join(&id);
        let lease = Arc::new(());
        {
            let mut open = self.open.lock();
            if open.len() >= AT_A_TIME {
                return Err(OfferError::Busy);
            }
            let checkpoint = Checkpoint {
                directory: directory.clone(),
                read: Instant::now(),
                lease: lease.clone(),
            };
            open.insert(id.clone(), checkpoint);
        }
        let make = || {
            fs::create_dir_all(&self.directory).map_err(|error| error.to_string())?;
            reader.checkpoint(&directory).map_err(|error| error.to_string())?;
            let of = (topology, generation, task);
            Manifest::describe(of, position, &directory, &mut Known::default()).map_err(|error| error.to_string())
        };
        match make() {
            Ok(manifest) => Ok(Opened {
                id,
                manifest: manifest.to_bytes(),
            }),
            Err(reason) => {
                self.close(&id);
                Err(OfferError::Failed(reason))
            }
        }
    }

    /// Opens a file of a checkpoint.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn file(&self, id: &str, name: &str) -> Result<OfferedFile, OfferError> {
        let not_here = || OfferError::NotHere("this snapshot is not there, or not any more".into());
        if !is_plain_name(name) {
            return Err(not_here());
        }
        let (path, lease) = {
            let mut open = self.open.lock();
            let checkpoint = open.get_mut(id).ok_or_else(not_here)?;
            checkpoint.read = Instant::now();
            (checkpoint.directory.join(name), checkpoint.lease.clone())
        };
        let open = |path: &Path| {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok::<_, std::io::Error>((file, size))
        };
        match open(&path) {
            Ok((file, size)) => Ok(OfferedFile {
                file,
                size,
                _lease: lease,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(not_here()),
            Err(error) => Err(OfferError::Failed(format!("{}: {error}", path.display()))),
        }
    }

    /// Nobody needs a checkpoint any more.
    pub fn close(&self, id: &str) {
        if let Some(checkpoint) = self.open.lock().remove(id) {
            remove(&checkpoint.directory);
        }
    }

    /// Removes what nobody has read for a while. How many are left.
    pub fn sweep(&self) -> usize {
        let mut open = self.open.lock();
        let keep = self.keep;
        open.retain(|_, checkpoint| {
            let used = Arc::strong_count(&checkpoint.lease) > 1 || checkpoint.read.elapsed() < keep;
            if !used {
                remove(&checkpoint.directory);
            }
            used
        });
        open.len()
    }
}

fn remove(directory: &Path) {
    if let Err(error) = super::clear(directory) {
        tracing::warn!(directory = %directory.display(), %error, "a checkpoint was not removed; the next start does it");
    }
}
