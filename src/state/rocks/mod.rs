//! Stores in RocksDB: one database a task, one column family, no write-ahead log. The only home of rocksdb.
//!
//! The changelog is the log: rows and position are one batch, so after a crash a database is at its last flush, whole. What is lost is
//! replayed: flushes ([`super::Store::flush_soon`]) bound it in time, the write buffers in bytes.
//!
//! All databases of the process share one block cache and one budget of write buffers, charged to that cache: [`RocksSettings::memory_bytes`]
//! bounds all of it.
//!
//! *Invariants*: RocksDB locks a directory, so a database belongs to the process: it is opened once, by one store at a time, and a snapshot
//! that outlives its store keeps it open, to be taken over by the next store of that name. No byte of it is changed outside of a batch.

mod options;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::{ColumnFamilyDescriptor, DB};

pub use options::RocksSettings;

use self::options::Shared;
use self::store::{Database, RocksStore};
use super::{Store, StoreError, StoreFactory, StoreResult};

/// The only column family: named, so that there is a handle of it.
const FAMILY: &str = "default";
/// How often opening is tried again while another thread is still closing the same database.
const LOCK_TRIES: u32 = 500;
/// Between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The databases of a process below one directory.
pub struct RocksStores {
    root: PathBuf,
    shared: Shared,
    open: Mutex<BTreeMap<String, Weak<Database>>>,
}

impl RocksStores {
    /// Stores below `root`, which is made when the first store is.
    pub fn new(root: impl Into<PathBuf>, settings: &RocksSettings) -> Self {
        Self {
            root: root.into(),
            shared: Shared::new(settings),
            open: Mutex::default(),
        }
    }

    /// Bytes in the shared block cache, write buffers included.
    pub fn memory_bytes(&self) -> usize {
        self.shared.memory_bytes()
    }

    fn directory(&self, task: &str) -> StoreResult<PathBuf> {
        let path = Path::new(task);
        let plain = |component| matches!(component, Component::Normal(_));
        if task.is_empty() || !path.components().all(plain) {
            return Err(failure(&self.root.join(task), "not a relative path of names"));
        }
        Ok(self.root.join(path))
    }

    fn open_database(&self, directory: &Path) -> StoreResult<DB> {
        std::fs::create_dir_all(directory).map_err(|error| failure(directory, &error.to_string()))?;
        let mut tries = 0;
        loop {
            let family = ColumnFamilyDescriptor::new(FAMILY, self.shared.options.clone());
            match DB::open_cf_descriptors(&self.shared.options, directory, [family]) {
                Ok(db) => return Ok(db),
                // the store before it, or a reader's last snapshot, is being closed by another thread of this process
                Err(error) if tries < LOCK_TRIES && is_locked_here(&error) => std::thread::sleep(LOCK_PAUSE),
                Err(error) if is_locked(&error) => {
                    let message = "another process uses this directory; give each instance a --data-dir of its own";
                    return Err(failure(directory, message));
                }
                Err(error) => return Err(store::failed(directory, "opening", &error)),
            }
            tries += 1;
        }
    }
}

fn is_locked(error: &rocksdb::Error) -> bool {
    error.to_string().contains("lock")
}

fn is_locked_here(error: &rocksdb::Error) -> bool {
    let message = error.to_string();
    message.contains("lock hold by current process") || message.contains("lock held by current process")
}

fn failure(place: &Path, message: &str) -> StoreError {
    StoreError {
        place: place.display().to_string(),
        message: message.into(),
    }
}

impl StoreFactory for RocksStores {
    fn open(&self, task: &str) -> StoreResult<Box<dyn Store>> {
        let directory = self.directory(task)?;
        {
            let mut open = self.open.lock();
            open.retain(|_, database| database.strong_count() > 0);
            if let Some(database) = open.get(task).and_then(Weak::upgrade) {
                return Ok(Box::new(RocksStore::take_over(database)?));
            }
        }
        let db = self.open_database(&directory)?;
        let database = Arc::new(Database::new(db, directory, self.shared.options.clone()));
        self.open.lock().insert(task.into(), Arc::downgrade(&database));
        Ok(Box::new(RocksStore::take_over(database)?))
    }

    /// To open one is mostly to wait for small files: as many at a time as there are cores.
    fn open_all(&self, tasks: &[String]) -> Vec<StoreResult<Box<dyn Store>>> {
        let open = |tasks: &[String]| -> Vec<_> { tasks.iter().map(|task| self.open(task)).collect() };
        if tasks.len() < 2 {
            return open(tasks);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let beside = |tasks| {
                let thread = std::thread::Builder::new().name("open".into());
                (tasks, thread.spawn_scoped(scope, move || open(tasks)))
            };
            let mut shares = tasks.chunks(tasks.len().div_ceil(cores));
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares.map(beside).collect();
            let mut stores = open(first);
            for (tasks, thread) in others {
                stores.extend(match thread.map(std::thread::ScopedJoinHandle::join) {
                    Ok(Ok(opened)) => opened,
                    Ok(Err(panic)) => std::panic::resume_unwind(panic),
                    // the system gives no thread
                    Err(_) => open(tasks),
                });
            }
            stores
        })
    }

    fn exists(&self, task: &str) -> bool {
        self.directory(task)
            .is_ok_and(|directory| directory.join("CURRENT").exists())
    }

    fn delete(&self, path: &str) -> StoreResult<()> {
        let directory = self.directory(path)?;
        let below = format!("{path}/");
        let open = self.open.lock();
        let is_open = |(name, database): (&String, &Weak<Database>)| {
            (name == path || name.starts_with(&below)) && database.strong_count() > 0
        };
        if open.iter().any(is_open) {
            return Err(failure(
                &directory,
                "in use: stop its topology before deleting its state",
            ));
        }
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failure(&directory, &error.to_string())),
            _ => Ok(()),
        }
    }

    fn import(&self, task: &str, checkpoint: &Path) -> StoreResult<()> {
        let directory = self.directory(task)?;
        self.delete(task)?;
        let io = |error: std::io::Error| failure(&directory, &format!("taking a checkpoint: {error}"));
        if let Some(parent) = directory.parent() {
            std::fs::create_dir_all(parent).map_err(io)?;
        }
        std::fs::rename(checkpoint, &directory).map_err(io)?;
        // Opened once: a directory that is no whole database would else fail again and again in the hands of its task.
        let position = self.open(task).and_then(|store| store.position());
        match position {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.delete(task)?;
                Err(failure(&directory, "the checkpoint has no position"))
            }
            Err(error) => {
                self.delete(task)?;
                Err(error)
            }
        }
    }
}
