//! The open stores of the process: workers take them and put them back.
//!
//! A database can be open once only (RocksDB's LOCK), so a task that moves from one worker of this process to another takes its
//! open store along. *Invariants*: a store is owned by one worker or lies here; what lies here holds committed rows only; whoever asks for a store never
//! waits for the disk, nor for the work of somebody else on another one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::snapshots::Snapshots;
use crate::state::{Store, StoreFactory, StoreReader, StoreResult};
use crate::types::Timestamp;

/// A store that nobody has taken for this long is closed, in milliseconds: longer than a rebalance, short enough not to hoard files.
const KEEP_OPEN_MS: i64 = 60_000;

/// A store that a standby has for as long as no worker wants it; empty once one has taken it.
pub type Lent = Arc<Mutex<Option<Box<dyn Store>>>>;

enum Place {
    /// A worker has it, or it is being opened, closed or brought.
    Taken,
    /// Everything below it is being deleted.
    Going,
    /// A standby has it; a worker takes it away.
    Lent(Lent),
    /// Open, unused since then.
    Idle(Box<dyn Store>, Timestamp),
}

/// What becomes of a wish for a store.
enum Found {
    /// It is open, and the caller's now.
    Open(Box<dyn Store>),
    /// Somebody else has it, or it is being deleted.
    Elsewhere,
    /// The caller is to open it.
    Closed,
}

/// The stores that are open in this process.
pub struct OpenStores {
    factory: Arc<dyn StoreFactory>,
    /// Locked before `readers`.
    places: Mutex<BTreeMap<String, Place>>,
    /// Of every store that is open here, with a worker or not.
    readers: Mutex<BTreeMap<String, Arc<dyn StoreReader>>>,
    snapshots: Option<Arc<dyn Snapshots>>,
}

impl OpenStores {
    /// None open yet.
    pub fn new(factory: Arc<dyn StoreFactory>) -> Self {
        Self {
            factory,
            places: Mutex::new(BTreeMap::new()),
            readers: Mutex::default(),
            snapshots: None,
        }
    }

    /// Where the state of tasks may come from instead of their changelogs.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Option<Arc<dyn Snapshots>>) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// See [`Self::with_snapshots`].
    pub fn snapshots(&self) -> Option<&Arc<dyn Snapshots>> {
        self.snapshots.as_ref()
    }

    /// A reader of a store that is open in this process, whoever has it.
    pub fn reader(&self, path: &str) -> Option<Arc<dyn StoreReader>> {
        self.readers.lock().get(path).cloned()
    }

    /// Puts a checkpoint in the place of a store that its worker has taken and dropped; the next one opens it.
    ///
    /// # Errors
    /// When it is no whole store; the next worker opens an empty one.
    pub fn import(&self, path: &str, checkpoint: &Path) -> StoreResult<()> {
        self.places.lock().insert(path.to_string(), Place::Taken);
        self.readers.lock().remove(path);
        let imported = self.factory.import(path, checkpoint);
        self.places.lock().remove(path);
        imported
    }

    /// Takes or opens the store of a task; `None` while another worker of this process still has it, or a standby is writing to it.
    ///
    /// # Errors
    /// The disk.
    pub fn take(&self, path: &str) -> StoreResult<Option<Box<dyn Store>>> {
        match self.look(path) {
            Found::Open(store) => Ok(Some(store)),
            Found::Elsewhere => Ok(None),
            Found::Closed => self.opened(path, self.factory.open(path)).map(Some),
        }
    }

    /// [`Self::take`] of many, in their order.
    pub fn take_all(&self, paths: &[String]) -> Vec<StoreResult<Option<Box<dyn Store>>>> {
        let found: Vec<Found> = paths.iter().map(|path| self.look(path)).collect();
        let closed = paths
            .iter()
            .zip(&found)
            .filter(|(_, found)| matches!(found, Found::Closed));
        let closed: Vec<String> = closed.map(|(path, _)| path.clone()).collect();
        let mut opened = self.factory.open_all(&closed).into_iter();
        let taken = paths.iter().zip(found).map(|(path, found)| match found {
            Found::Open(store) => Ok(Some(store)),
            Found::Elsewhere => Ok(None),
            Found::Closed => opened.next().map(|store| self.opened(path, store)).transpose(),
        });
        taken.collect()
    }

    /// Takes what is open here, and the place of what is not.
    fn look(&self, path: &str) -> Found {
        let mut places = self.places.lock();
        let is_going = |(name, place): (&String, &Place)| matches!(place, Place::Going) && is_below(path, name);
        if places.iter().any(is_going) {
            return Found::Elsewhere;
        }
        match places.insert(path.to_string(), Place::Taken) {
            Some(Place::Taken | Place::Going) => Found::Elsewhere,
            // between two batches it lies there; a standby that gives it back at this moment puts it here
            Some(Place::Lent(lent)) => match lent.try_lock().and_then(|mut store| store.take()) {
                Some(store) => Found::Open(store),
                None => {
                    places.insert(path.to_string(), Place::Lent(lent));
                    Found::Elsewhere
                }
            },
            Some(Place::Idle(store, _)) => Found::Open(store),
            None => Found::Closed,
        }
    }

    fn opened(&self, path: &str, store: StoreResult<Box<dyn Store>>) -> StoreResult<Box<dyn Store>> {
        match &store {
            Ok(store) => drop(self.readers.lock().insert(path.to_string(), store.reader())),
            Err(_) => drop(self.places.lock().remove(path)),
        }
        store
    }

    /// Opens a store for a standby; `None` while somebody else has it.
    ///
    /// # Errors
    /// The disk.
    pub fn lend(&self, path: &str) -> StoreResult<Option<Lent>> {
        if matches!(self.places.lock().get(path), Some(Place::Lent(_))) {
            return Ok(None);
        }
        let Some(store) = self.take(path)? else { return Ok(None) };
        let lent = Arc::new(Mutex::new(Some(store)));
        self.places.lock().insert(path.to_string(), Place::Lent(lent.clone()));
        Ok(Some(lent))
    }

    /// A standby gives a store back, still open; nothing where a worker has taken it.
    pub fn give_back(&self, path: &str, lent: &Lent, now: Timestamp) {
        let mut places = self.places.lock();
        let known = matches!(places.get(path), Some(Place::Lent(known)) if Arc::ptr_eq(known, lent));
        if let (true, Some(store)) = (known, lent.lock().take()) {
            places.insert(path.to_string(), Place::Idle(store, now));
        }
    }

    /// Whether there is a store, open or on the disk.
    pub fn exists(&self, path: &str) -> bool {
        let is_open = self.places.lock().contains_key(path);
        is_open || self.factory.exists(path)
    }

    /// Gives a store back, still open.
    pub fn put(&self, path: &str, store: Box<dyn Store>, now: Timestamp) {
        self.places.lock().insert(path.to_string(), Place::Idle(store, now));
    }

    /// A worker gave its store up by dropping it (after an error of the disk): the next one opens it anew.
    pub fn forget(&self, path: &str) {
        self.places.lock().remove(path);
        self.readers.lock().remove(path);
    }

    /// Closes what nobody has used for a while.
    pub fn close_idle(&self, now: Timestamp) {
        let is_idle =
            |place: &Place| matches!(place, Place::Idle(_, since) if now.saturating_sub(*since) >= KEEP_OPEN_MS);
        let mut closing = Vec::new();
        for (path, place) in self.places.lock().iter_mut().filter(|(_, place)| is_idle(place)) {
            closing.push((path.clone(), std::mem::replace(place, Place::Taken)));
        }
        // closing waits for the disk
        for (path, place) in closing {
            self.readers.lock().remove(&path);
            drop(place);
            self.places.lock().remove(&path);
        }
    }

    /// Closes and deletes the stores below a relative path. Stores that a worker has stay.
    ///
    /// # Errors
    /// When a worker or a standby has one of them; the disk.
    pub fn delete(&self, path: &str) -> StoreResult<()> {
        let closing: BTreeMap<String, Place>;
        {
            let mut places = self.places.lock();
            let in_use = |(name, place): (&String, &Place)| is_below(name, path) && !matches!(place, Place::Idle(..));
            if places.iter().any(in_use) {
                return Err(crate::state::StoreError {
                    place: path.into(),
                    message: "still in use by a worker".into(),
                });
            }
            let (going, others) = std::mem::take(&mut *places)
                .into_iter()
                .partition(|(name, _)| is_below(name, path));
            (*places, closing) = (others, going);
            self.readers.lock().retain(|name, _| places.contains_key(name));
            places.insert(path.to_string(), Place::Going);
        }
        drop(closing);
        let deleted = self.factory.delete(path);
        self.places.lock().remove(path);
        deleted
    }
}

/// Whether a relative path is another one or below it.
fn is_below(name: &str, path: &str) -> bool {
    let rest = name.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
