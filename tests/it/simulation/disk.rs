//! A simulated disk: stores in memory that lose what was not flushed, and everything that can go wrong with one: slow, full, failing, damaged, torn.
//!
//! *Invariant*: what a dead process does has no effect on its disk.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use millstream::log::sim::{Rng, SimLog, SimProcess};
use millstream::state::memory::MemoryStores;
use millstream::state::{Store, StoreError, StoreFactory, StorePosition, StoreReader, StoreResult, Write};

/// What ails a disk.
struct Ails {
    rng: Rng,
    /// Paths of stores whose files are damaged, until they are deleted.
    damaged: BTreeSet<String>,
    /// Stores that lose batches when they are opened again.
    loses: BTreeSet<String>,
    full_until: i64,
    /// Until when every write takes how many milliseconds.
    slow: (i64, i64),
    /// Writes before the one that fails.
    failing: Option<usize>,
    /// Writes before the one in which the process dies, and whether it is done by then.
    crash: Option<(usize, bool)>,
    /// Looks at what is going on when a store is about to be cleared.
    on_clear: Option<OnClear>,
}

type OnClear = Arc<dyn Fn(&str) + Send + Sync>;

struct Shared {
    stores: MemoryStores,
    log: SimLog,
    owner: Mutex<Option<Arc<SimProcess>>>,
    ails: Mutex<Ails>,
}

/// A disk with the stores of one process, which may come and go.
pub struct Disk(Arc<Shared>);

fn failed(path: &str, message: &str) -> StoreError {
    StoreError {
        place: path.into(),
        message: message.into(),
    }
}

impl Shared {
    fn is_dead(&self) -> bool {
        let owner = self.owner.lock().unwrap();
        owner.as_ref().is_none_or(|process| process.is_dead())
    }

    fn kill(&self) {
        if let Some(process) = &*self.owner.lock().unwrap() {
            process.kill();
        }
    }

    /// What a write meets; true when the process dies once it is done.
    fn before_write(&self, path: &str) -> StoreResult<bool> {
        if self.is_dead() {
            return Err(failed(path, "this process was killed"));
        }
        let (slow, crash) = {
            let mut ails = self.ails.lock().unwrap();
            let now = self.log.now();
            if ails.full_until > now {
                self.log.strike("full disk");
                ails.loses.insert(path.into());
                return Err(failed(path, "no space left on device"));
            }
            if let Some(left) = ails.failing.take() {
                if left == 0 {
                    self.log.strike("failed store write");
                    ails.loses.insert(path.into());
                    return Err(failed(path, "input/output error"));
                }
                ails.failing = Some(left - 1);
            }
            let slow = (ails.slow.0 > now).then_some(ails.slow.1);
            let crash = ails.crash.take();
            ails.crash = crash
                .filter(|(left, _)| *left > 0)
                .map(|(left, after)| (left - 1, after));
            (slow, crash.filter(|(left, _)| *left == 0).map(|(_, after)| after))
        };
        if let Some(ms) = slow {
            self.log.strike("slow disk");
            self.log.advance(ms);
        }
        if crash.is_some() {
            self.log.strike("torn store write");
        }
        if crash == Some(false) {
            self.kill();
            return Err(failed(path, "this process was killed"));
        }
        Ok(crash == Some(true))
    }

    fn write(&self, path: &str, run: impl FnOnce() -> StoreResult<()>) -> StoreResult<()> {
        let dies = self.before_write(path)?;
        run()?;
        if dies {
            self.kill();
            return Err(failed(path, "this process was killed"));
        }
        Ok(())
    }

    fn before_read(&self, path: &str) -> StoreResult<()> {
        if self.ails.lock().unwrap().damaged.contains(path) {
            self.log.strike("corrupted store");
            return Err(failed(path, &format!("{}a checksum differs", StoreError::CORRUPT)));
        }
        Ok(())
    }
}

impl Disk {
    pub fn new(log: &SimLog, seed: u64) -> Self {
        Self(Arc::new(Shared {
            stores: MemoryStores::new().lose_unflushed(true),
            log: log.clone(),
            owner: Mutex::default(),
            ails: Mutex::new(Ails {
                rng: Rng::new(seed),
                damaged: BTreeSet::new(),
                loses: BTreeSet::new(),
                full_until: 0,
                slow: (0, 0),
                failing: None,
                crash: None,
                on_clear: None,
            }),
        }))
    }

    /// From now on it belongs to this process.
    pub fn own(&self, process: Arc<SimProcess>) {
        *self.0.owner.lock().unwrap() = Some(process);
    }

    /// The process is gone. Of a store's batches that were not flushed so many survive.
    pub fn crash(&self, mut keep: impl FnMut(usize) -> usize) {
        self.0.ails.lock().unwrap().loses.clear();
        self.0.stores.crash(|_, batches| keep(batches));
    }

    /// The files of a store are damaged.
    pub fn damage(&self, path: &str) {
        self.0.ails.lock().unwrap().damaged.insert(path.into());
    }

    /// Writes fail until then.
    pub fn fill(&self, until: i64) {
        let ails = &mut self.0.ails.lock().unwrap();
        ails.full_until = until.max(ails.full_until);
    }

    /// Until then each write takes so long.
    pub fn slow_down(&self, until: i64, ms: i64) {
        self.0.ails.lock().unwrap().slow = (until, ms);
    }

    /// A write fails, after so many that do not.
    pub fn fail_write(&self, after: usize) {
        self.0.ails.lock().unwrap().failing = Some(after);
    }

    /// The process dies in a write, after so many; `done` says whether the write is by then.
    pub fn crash_in_write(&self, after: usize, done: bool) {
        self.0.ails.lock().unwrap().crash = Some((after, done));
    }

    /// Calls this with the path of each store that is about to be cleared.
    pub fn on_clear(&self, look: impl Fn(&str) + Send + Sync + 'static) {
        self.0.ails.lock().unwrap().on_clear = Some(Arc::new(look));
    }

    /// There is space, writes are quick again and do not fail. What is damaged stays so.
    pub fn heal(&self) {
        let ails = &mut self.0.ails.lock().unwrap();
        ails.full_until = 0;
        ails.slow = (0, 0);
        ails.failing = None;
        ails.crash = None;
    }
}

impl StoreFactory for Disk {
    fn open(&self, task: &str) -> StoreResult<Box<dyn Store>> {
        let shared = &self.0;
        shared.before_read(task)?;
        if shared.before_write(task)? {
            shared.kill();
        }
        {
            let mut ails = shared.ails.lock().unwrap();
            if ails.loses.remove(task) {
                let rng = &mut ails.rng;
                shared.stores.lose(task, |batches| rng.below(batches + 1));
            }
        }
        Ok(Box::new(DiskStore {
            inner: shared.stores.open(task)?,
            shared: shared.clone(),
            path: task.into(),
        }))
    }

    fn delete(&self, path: &str) -> StoreResult<()> {
        self.0.ails.lock().unwrap().damaged.remove(path);
        self.0.stores.delete(path)
    }
}

struct DiskStore {
    inner: Box<dyn Store>,
    shared: Arc<Shared>,
    path: String,
}

impl Store for DiskStore {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        self.shared.before_read(&self.path)?;
        self.inner.get(key, out)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.shared.before_read(&self.path)?;
        self.inner.scan(from, to, each)
    }

    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.shared.before_read(&self.path)?;
        self.inner.scan_back(from, to, each)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write>, position: &StorePosition) -> StoreResult<()> {
        let (shared, path) = (self.shared.clone(), self.path.clone());
        let offsets: i64 = position.changelogs.iter().map(|changelog| changelog.offset).sum();
        shared.log.note(&path, offsets);
        shared.write(&path, || self.inner.apply(writes, position))
    }

    fn position(&self) -> StoreResult<Option<StorePosition>> {
        self.shared.before_read(&self.path)?;
        self.inner.position()
    }

    fn clear(&mut self) -> StoreResult<()> {
        let (shared, path) = (self.shared.clone(), self.path.clone());
        let look = shared.ails.lock().unwrap().on_clear.clone();
        if let Some(look) = look {
            look(&path);
        }
        shared.write(&path, || self.inner.clear())
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.reader()
    }

    fn flush(&mut self) -> StoreResult<()> {
        let (shared, path) = (self.shared.clone(), self.path.clone());
        shared.write(&path, || self.inner.flush())
    }

    fn size(&self) -> (u64, u64) {
        self.inner.size()
    }
}
