//! The snapshots that this instance serves: checkpoints of stores that are open here, made when somebody asks, gone when they are done with.
//!
//! Also a store that was just given back has one: who takes the task over asks its last owner. *Invariant*: at most [`AT_A_TIME`] checkpoints
//! are there, each for [`KEEP`] after it was last read, whether anybody asks for anything or not: a thread looks after them as long as there are any.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::super::{OpenStores, TaskId};
use super::manifest::{Known, Manifest, is_plain_name};
use super::wanted::task_path;
use crate::state::{StorePosition, StoreReader};

/// Checkpoints at a time.
const AT_A_TIME: usize = 4;
/// A checkpoint that nobody has read for this long is removed.
const KEEP: Duration = Duration::from_secs(60);
/// Longest time between two looks for such, while there are any.
const SWEEP: Duration = Duration::from_secs(20);
/// The least time between them.
const LEAST_PAUSE: Duration = Duration::from_millis(10);
/// Tasks whose hashes are remembered; beyond that they are forgotten and read again.
const MOST_KNOWN: usize = 1_000;
/// The type of the body of a request for a checkpoint. No page in a browser can send it without being asked first.
pub const QUESTION_TYPE: &str = "application/x-millstream-question";

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

/// A checkpoint that has its place and is to be made. Dropping it gives the place back.
pub struct Opening<'a> {
    offers: &'a Offers,
    id: String,
    path: String,
    topology: String,
    generation: u32,
    task: TaskId,
    reader: Arc<dyn StoreReader>,
    position: StorePosition,
    /// Not swept while it is made.
    _lease: Arc<()>,
    made: bool,
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
    places: Arc<Places>,
    /// Hashes of the files of earlier checkpoints, by the task's path: tables do not change, and whoever asks again does not wait again.
    known: Mutex<BTreeMap<String, Known>>,
}

/// What the sweeper shares.
#[derive(Default)]
struct Places {
    open: Mutex<Open>,
    changed: Condvar,
}

struct Open {
    checkpoints: BTreeMap<String, Checkpoint>,
    keep: Duration,
    /// The offers are gone, and the sweeper with them.
    over: bool,
}

impl Default for Open {
    fn default() -> Self {
        Self {
            checkpoints: BTreeMap::new(),
            keep: KEEP,
            over: false,
        }
    }
}

impl Open {
    fn sweep(&mut self) -> usize {
        let keep = self.keep;
        self.checkpoints.retain(|_, checkpoint| {
            let used = Arc::strong_count(&checkpoint.lease) > 1 || checkpoint.read.elapsed() < keep;
            if !used {
                remove(&checkpoint.directory);
            }
            used
        });
        self.checkpoints.len()
    }
}

impl Places {
    /// Removes checkpoints that were left, until the offers are gone.
    fn look_after(&self) {
        let mut open = self.open.lock();
        while !open.over {
            if open.checkpoints.is_empty() {
                self.changed.wait(&mut open);
            } else {
                let pause = (open.keep / 3).clamp(LEAST_PAUSE, SWEEP);
                self.changed.wait_for(&mut open, pause);
                open.sweep();
            }
        }
    }
}

impl Offers {
    /// Checkpoints stand in `directory`, on the disk of the stores; what an earlier process has left there is removed.
    ///
    /// # Errors
    /// When it cannot be removed, or the system gives no thread.
    pub fn new(directory: PathBuf) -> std::io::Result<Self> {
        super::clear(&directory)?;
        let places = Arc::new(Places::default());
        let swept = places.clone();
        let sweeper = std::thread::Builder::new().name("snapshots-out".into());
        // It ends by itself: when this is dropped.
        drop(sweeper.spawn(move || swept.look_after())?);
        Ok(Self {
            directory,
            stores: Mutex::default(),
            places,
            known: Mutex::default(),
        })
    }

    /// How long an unread checkpoint stays.
    #[must_use]
    pub fn keep(self, keep: Duration) -> Self {
        self.places.open.lock().keep = keep;
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
        self.begin(topology, generation, task)?.finish(&mut || true)
    }

    /// Takes a place for a checkpoint of a task's store, as far as that can be had at once.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn begin(&self, topology: &str, generation: u32, task: TaskId) -> Result<Opening<'_>, OfferError> {
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
        let lease = Arc::new(());
        let mut open = self.places.open.lock();
        if open.sweep() >= AT_A_TIME {
            return Err(OfferError::Busy);
        }
        let checkpoint = Checkpoint {
            directory: self.directory.join(&id),
            read: Instant::now(),
            lease: lease.clone(),
        };
        open.checkpoints.insert(id.clone(), checkpoint);
        self.places.changed.notify_all();
        Ok(Opening {
            offers: self,
            id,
            path,
            topology: topology.to_owned(),
            generation,
            task,
            reader,
            position,
            _lease: lease,
            made: false,
        })
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
            let mut open = self.places.open.lock();
            let checkpoint = open.checkpoints.get_mut(id).ok_or_else(not_here)?;
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
        let checkpoint = self.places.open.lock().checkpoints.remove(id);
        if let Some(checkpoint) = checkpoint {
            remove(&checkpoint.directory);
        }
    }

    /// Removes what nobody has read for a while. How many are left.
    pub fn sweep(&self) -> usize {
        self.places.open.lock().sweep()
    }

    fn remember(&self, path: &str, hashes: Known) {
        let mut known = self.known.lock();
        if known.len() >= MOST_KNOWN && !known.contains_key(path) {
            known.clear();
        }
        known.insert(path.to_owned(), hashes);
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        self.places.open.lock().over = true;
        self.places.changed.notify_all();
    }
}

impl Opening<'_> {
    /// Makes it, and reads its files for their hashes. Asks now and then whether anybody still waits for it.
    ///
    /// # Errors
    /// See [`OfferError`].
    pub fn finish(mut self, is_waited_for: &mut dyn FnMut() -> bool) -> Result<Opened, OfferError> {
        let offers = self.offers;
        let failed = |error: std::io::Error| OfferError::Failed(error.to_string());
        let directory = offers.directory.join(&self.id);
        fs::create_dir_all(&offers.directory).map_err(failed)?;
        self.reader
            .checkpoint(&directory)
            .map_err(|error| OfferError::Failed(error.to_string()))?;
        let mut known = offers.known.lock().get(&self.path).cloned().unwrap_or_default();
        let of = (self.topology.as_str(), self.generation, self.task);
        let described =
            Manifest::describe_telling(
                of,
                self.position.clone(),
                &directory,
                &mut known,
                &mut || match is_waited_for() {
                    true => Ok(()),
                    false => Err(std::io::Error::other("nobody waits for it any more")),
                },
            );
        offers.remember(&self.path, known);
        let manifest = described.map_err(failed)?;
        let mut open = offers.places.open.lock();
        let checkpoint = open.checkpoints.get_mut(&self.id);
        let left = || OfferError::NotHere("it was closed while it was made".into());
        checkpoint.ok_or_else(left)?.read = Instant::now();
        self.made = true;
        Ok(Opened {
            id: self.id.clone(),
            manifest: manifest.to_bytes(),
        })
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.offers.close(&self.id);
        }
    }
}

fn remove(directory: &Path) {
    if let Err(error) = super::clear(directory) {
        tracing::warn!(directory = %directory.display(), %error, "a checkpoint was not removed; the next start does it");
    }
}
