//! Brings snapshots to this disk, on threads of its own: sources are asked in turn, files are written beside the stores, every hash is checked.
//!
//! *Invariant*: nobody waits longer for a snapshot than the replay would take that it is to spare (or some seconds, where that is shorter), waiting for a turn included;
//! nor is one of a task begun more than twice in an hour, whatever becomes of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::super::threads;
use super::manifest::{FileEntry, Hashed, Manifest};
use super::{Fetch, Fetched, Snapshots, Wanted};

/// Snapshots that come at the same time; others wait. More would only share the network and the disk.
const AT_A_TIME: usize = 2;
/// Changelog offsets that a replay goes through in a millisecond, as far as can be said beforehand. On the slow side: a snapshot may take longer, and still
/// spares the brokers a lot.
const REPLAYED_PER_MS: u64 = 100;
/// However short the replay, a snapshot has so long to come.
const LEAST_WAIT: Duration = Duration::from_secs(30);
/// A task's snapshots that are begun within [`TRIES_COUNT`]: a worker that begins anew throws away what has come so far.
const MOST_TRIES: u32 = 2;
/// After this time tries count no more.
const TRIES_COUNT: Duration = Duration::from_secs(3_600);

/// Time since some moment.
type Stopwatch = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A snapshot that a source has.
pub struct Offer {
    /// As it came: not checked yet.
    pub manifest: Vec<u8>,
    /// What the source finds its files by.
    pub id: String,
}

/// Somebody who may have snapshots. Its calls wait, at most as long as there is progress (see [`super::Pace`]).
pub trait Source: Send + Sync {
    /// For the log.
    fn name(&self) -> String;
    /// What there is of a task, the newest first.
    ///
    /// # Errors
    /// Why it cannot be asked.
    fn offers(&self, wanted: &Wanted) -> Result<Vec<Offer>, String>;
    /// Hands the bytes of a file of an offer to `sink`, which may end it with an error.
    ///
    /// # Errors
    /// Of the transfer, or the sink's.
    fn read(
        &self,
        wanted: &Wanted,
        offer: &Offer,
        file: &FileEntry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String>;
    /// Nothing of an offer is needed any more.
    fn close(&self, wanted: &Wanted, offer: &Offer);
}

/// Brings snapshots from its sources. See the module.
pub struct Bringer {
    sources: Vec<Arc<dyn Source>>,
    directory: PathBuf,
    min_records: u64,
    running: Arc<Running>,
    next: AtomicU64,
    stopwatch: Stopwatch,
    /// Begun a task, and when the first of them.
    tries: Mutex<BTreeMap<String, (u32, Duration)>>,
}

#[derive(Default)]
struct Running {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Bringer {
    /// `directory` is for the files meanwhile, on the disk of the stores; what an earlier process has left there is removed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn new(sources: Vec<Arc<dyn Source>>, directory: PathBuf, min_records: u64) -> std::io::Result<Self> {
        super::clear(&directory)?;
        Ok(Self {
            sources,
            directory,
            min_records,
            running: Arc::default(),
            next: AtomicU64::new(0),
            stopwatch: Arc::new(threads::stopwatch),
            tries: Mutex::default(),
        })
    }

    /// Another clock than this machine's.
    #[must_use]
    pub fn stopwatch(mut self, stopwatch: Stopwatch) -> Self {
        self.stopwatch = stopwatch;
        self
    }

    /// Whether one more may be begun; it counts.
    fn may_try(&self, task: String, now: Duration) -> bool {
        let mut tries = self.tries.lock();
        tries.retain(|_, (_, since)| now.saturating_sub(*since) < TRIES_COUNT);
        let (count, _) = tries.entry(task).or_insert((0, now));
        *count += 1;
        *count <= MOST_TRIES
    }
}

/// How long a snapshot may take to come in the place of a replay.
fn patience(replay: u64) -> Duration {
    Duration::from_millis(replay / REPLAYED_PER_MS).max(LEAST_WAIT)
}

impl Snapshots for Bringer {
    fn min_records(&self) -> u64 {
        self.min_records
    }

    fn fetch(&self, wanted: Wanted) -> Box<dyn Fetch> {
        let number = self.next.fetch_add(1, Relaxed);
        let directory = self.directory.join(format!("{}-{number}", wanted.task));
        let given_up = Arc::new(AtomicBool::new(false));
        let (sender, result) = channel();
        let (path, begun) = (wanted.path(), (self.stopwatch)());
        let ticket = Ticket {
            result,
            given_up: given_up.clone(),
            running: self.running.clone(),
            directory: directory.clone(),
            task: path.clone(),
            until: begun.saturating_add(patience(wanted.replay)),
            stopwatch: self.stopwatch.clone(),
        };
        if !self.may_try(path, begun) {
            tracing::info!(
                task = ticket.task,
                tries = MOST_TRIES,
                "no snapshot is looked for any more; the changelog is replayed"
            );
            // nobody will say anything
            return Box::new(ticket);
        }
        let job = Job {
            sources: self.sources.clone(),
            running: self.running.clone(),
            directory,
            given_up,
            wanted,
        };
        let name = format!("snapshot-{number}");
        let run = move || {
            // Nobody listens any more: the directory goes with the ticket.
            let _ = sender.send(job.run());
        };
        if let Err(error) = std::thread::Builder::new().name(name).spawn(run) {
            tracing::warn!(%error, "no thread to bring a snapshot");
        }
        Box::new(ticket)
    }
}

/// One of the few that run at a time; given back however the job ends.
struct Turn<'a>(&'a Running);

impl<'a> Turn<'a> {
    /// `None`: it is given up.
    fn wait(running: &'a Running, given_up: &AtomicBool) -> Option<Self> {
        let mut count = running.count.lock();
        while *count >= AT_A_TIME && !given_up.load(Relaxed) {
            running.changed.wait(&mut count);
        }
        if given_up.load(Relaxed) {
            // it may have been woken in the place of another one
            running.changed.notify_one();
            return None;
        }
        *count += 1;
        Some(Self(running))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.count.lock() -= 1;
        self.0.changed.notify_one();
    }
}

struct Ticket {
    result: Receiver<Option<String>>,
    given_up: Arc<AtomicBool>,
    running: Arc<Running>,
    directory: PathBuf,
    task: String,
    /// By the stopwatch.
    until: Duration,
    stopwatch: Stopwatch,
}

impl Ticket {
    fn give_up(&self) {
        // under the lock: who waits for a turn has not looked yet, or hears it
        let _count = self.running.count.lock();
        self.given_up.store(true, Relaxed);
        self.running.changed.notify_all();
    }
}

impl Fetch for Ticket {
    fn poll(&mut self) -> Fetched {
        if self.given_up.load(Relaxed) {
            return Fetched::Nothing;
        }
        match self.result.try_recv() {
            Ok(Some(from)) => Fetched::Ready {
                directory: self.directory.clone(),
                from,
            },
            Err(TryRecvError::Empty) if (self.stopwatch)() < self.until => Fetched::Pending,
            Err(TryRecvError::Empty) => {
                tracing::warn!(
                    task = self.task,
                    "no snapshot has come in the time that a replay takes; the changelog is replayed"
                );
                self.give_up();
                Fetched::Nothing
            }
            Ok(None) | Err(TryRecvError::Disconnected) => Fetched::Nothing,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
        // Not there any more where it was used. A thread that still writes removes it itself.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

struct Job {
    sources: Vec<Arc<dyn Source>>,
    running: Arc<Running>,
    directory: PathBuf,
    given_up: Arc<AtomicBool>,
    wanted: Wanted,
}

impl Job {
    /// Where the files came from, once they are there.
    fn run(&self) -> Option<String> {
        let turn = Turn::wait(&self.running, &self.given_up)?;
        let brought = self.ask_all();
        drop(turn);
        if brought.is_none() || self.given_up.load(Relaxed) {
            let _ = fs::remove_dir_all(&self.directory);
        }
        brought
    }

    fn ask_all(&self) -> Option<String> {
        for source in &self.sources {
            if self.given_up.load(Relaxed) {
                return None;
            }
            let offers = match source.offers(&self.wanted) {
                Ok(offers) => offers,
                Err(reason) => {
                    tracing::warn!(task = %self.wanted.path(), source = source.name(), reason, "no snapshot can be had from there");
                    continue;
                }
            };
            let mut found = None;
            for offer in &offers {
                if found.is_none() {
                    found = self.take(&**source, offer);
                }
                source.close(&self.wanted, offer);
            }
            if found.is_some() {
                return found;
            }
        }
        tracing::info!(task = %self.wanted.path(), offsets = self.wanted.replay, "there is no snapshot; the changelog is replayed from its beginning");
        None
    }

    fn take(&self, source: &dyn Source, offer: &Offer) -> Option<String> {
        let refused = |reason: String| {
            tracing::warn!(task = %self.wanted.path(), source = source.name(), snapshot = offer.id, reason, "a snapshot is refused");
        };
        let manifest = match Manifest::parse(&offer.manifest) {
            Ok(manifest) => manifest,
            Err(reason) => {
                refused(reason);
                return None;
            }
        };
        if let Some(reason) = self.wanted.refuse(&manifest) {
            refused(reason);
            return None;
        }
        match self.bring(source, offer, &manifest) {
            Ok(()) => {
                tracing::info!(task = %self.wanted.path(), source = source.name(), bytes = manifest.bytes(), "a snapshot is there");
                Some(source.name())
            }
            Err(_) if self.given_up.load(Relaxed) => None,
            Err(reason) => {
                refused(reason);
                None
            }
        }
    }

    fn bring(&self, source: &dyn Source, offer: &Offer, manifest: &Manifest) -> Result<(), String> {
        let io = |error: std::io::Error| format!("{}: {error}", self.directory.display());
        super::clear(&self.directory).map_err(io)?;
        fs::create_dir_all(&self.directory).map_err(io)?;
        (manifest.files.iter()).try_for_each(|file| self.bring_file(source, offer, file, &self.directory))
    }

    fn bring_file(&self, source: &dyn Source, offer: &Offer, file: &FileEntry, into: &Path) -> Result<(), String> {
        // A plain name: the manifest was checked.
        let path = into.join(&file.name);
        let mut out = File::create_new(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut hashed = Hashed::default();
        source.read(&self.wanted, offer, file, &mut |bytes| {
            if self.given_up.load(Relaxed) {
                return Err("given up".into());
            }
            hashed.update(bytes);
            if hashed.bytes() > file.size {
                return Err(format!("{} has more than its {} bytes", file.name, file.size));
            }
            out.write_all(bytes)
                .map_err(|error| format!("{}: {error}", path.display()))
        })?;
        let (size, sha256) = hashed.finish();
        if size != file.size {
            return Err(format!("{} has {size} of its {} bytes", file.name, file.size));
        }
        if sha256 != file.sha256 {
            return Err(format!(
                "{} is damaged: its SHA-256 is {sha256}, not {}",
                file.name, file.sha256
            ));
        }
        out.sync_all().map_err(|error| format!("{}: {error}", path.display()))
    }
}
