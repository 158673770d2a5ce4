//! Stores in memory, for tests and simulation: they live as long as the factory, so that a task may crash and come back.
//!
//! With [`MemoryStores::lose_unflushed`] a crash behaves like RocksDB without its log: batches since the last flush may be gone, each wholly.
//! *Invariant*: a snapshot never changes; the map is copied when it is written while a snapshot holds it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Snapshot, Store, StoreError, StoreFactory, StorePosition, StoreReader, StoreResult, Write, checkpoint};

type Map = BTreeMap<Arc<[u8]>, Arc<[u8]>>;

/// One committed state.
#[derive(Clone, Default)]
struct Committed {
    rows: Arc<Map>,
    position: Option<StorePosition>,
}

impl Committed {
    fn apply(&mut self, writes: impl Iterator<Item = Write>, position: &StorePosition) {
        let rows = Arc::make_mut(&mut self.rows);
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key.into(), value.into()),
                None => rows.remove(key.as_slice()),
            };
        }
        self.position = Some(position.clone());
    }
}

#[derive(Default)]
struct Database {
    newest: Committed,
    /// What a crash leaves for sure; kept only where unflushed batches can be lost.
    flushed: Committed,
    unflushed: Vec<(Vec<Write>, StorePosition)>,
    /// Counts openings: readers of an earlier one are closed. Odd while open.
    opened: u64,
}

impl Database {
    /// Back to the last flush and the first `kept` batches after it.
    fn fall_back(&mut self, kept: usize) {
        let mut state = std::mem::take(&mut self.flushed);
        for (writes, position) in self.unflushed.drain(..).take(kept) {
            state.apply(writes.into_iter(), &position);
        }
        self.newest = state.clone();
        self.flushed = state;
    }
}

type Shared = Arc<Mutex<Database>>;

/// All stores of a process in memory.
#[derive(Default)]
pub struct MemoryStores {
    databases: Mutex<BTreeMap<String, Shared>>,
    lossy: bool,
}

impl MemoryStores {
    /// No stores yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether [`Self::crash`] may lose batches that were applied but not flushed. Set it before the first store is opened.
    #[must_use]
    pub fn lose_unflushed(mut self, lossy: bool) -> Self {
        self.lossy = lossy;
        self
    }

    /// The process dies: all stores are closed. `keep` says how many of a store's unflushed batches survive, given its name and their number.
    pub fn crash(&self, mut keep: impl FnMut(&str, usize) -> usize) {
        for (name, database) in self.databases.lock().iter() {
            let mut database = database.lock();
            database.opened += database.opened % 2;
            if !self.lossy {
                continue;
            }
            let kept = keep(name, database.unflushed.len());
            database.fall_back(kept);
        }
    }

    /// A closed store has lost batches that were applied but not flushed: its disk failed. `keep` says how many of them survive, given their number.
    pub fn lose(&self, name: &str, keep: impl FnOnce(usize) -> usize) {
        if let Some(database) = self.databases.lock().get(name).filter(|_| self.lossy) {
            let mut database = database.lock();
            let kept = keep(database.unflushed.len());
            database.fall_back(kept);
        }
    }
}

impl StoreFactory for MemoryStores {
    fn open(&self, task: &str) -> StoreResult<Box<dyn Store>> {
        let shared = self.databases.lock().entry(task.to_string()).or_default().clone();
        let mut database = shared.lock();
        if database.opened % 2 == 1 {
            return Err(StoreError {
                place: format!("memory:{task}"),
                message: "already open".into(),
            });
        }
        database.opened += 1;
        let opened = database.opened;
        drop(database);
        Ok(Box::new(MemoryStore {
            shared,
            opened,
            lossy: self.lossy,
            place: task.into(),
        }))
    }

    fn exists(&self, task: &str) -> bool {
        self.databases.lock().contains_key(task)
    }

    fn delete(&self, path: &str) -> StoreResult<()> {
        let below = format!("{path}/");
        self.databases.lock().retain(|name, database| {
            let delete = name == path || name.starts_with(&below);
            if delete {
                let mut database = database.lock();
                let opened = database.opened;
                *database = Database {
                    opened,
                    ..Database::default()
                };
            }
            !delete
        });
        Ok(())
    }

    fn import(&self, task: &str, directory: &Path) -> StoreResult<()> {
        let open = |database: &Shared| database.lock().opened % 2 == 1;
        if self.databases.lock().get(task).is_some_and(open) {
            return Err(StoreError {
                place: format!("memory:{task}"),
                message: "open: nothing can take its place".into(),
            });
        }
        self.delete(task)?;
        let (writes, position) = checkpoint::read(directory)?;
        let mut committed = Committed::default();
        committed.apply(writes.into_iter(), &position);
        let database = Database {
            newest: committed.clone(),
            flushed: committed,
            ..Database::default()
        };
        self.databases
            .lock()
            .insert(task.into(), Arc::new(Mutex::new(database)));
        Ok(())
    }
}

/// An open store in memory.
pub struct MemoryStore {
    shared: Shared,
    opened: u64,
    lossy: bool,
    place: Arc<str>,
}

impl MemoryStore {
    /// A store of its own, outside any factory.
    pub fn detached() -> Self {
        let database = Database {
            opened: 1,
            ..Database::default()
        };
        Self {
            shared: Arc::new(Mutex::new(database)),
            opened: 1,
            lossy: false,
            place: "detached".into(),
        }
    }

    /// Runs `f` on the database unless it has been closed by a crash.
    fn with<T>(&self, f: impl FnOnce(&mut Database) -> T) -> StoreResult<T> {
        let mut database = self.shared.lock();
        if database.opened != self.opened {
            return Err(closed(&self.place));
        }
        Ok(f(&mut database))
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut database = self.shared.lock();
        if database.opened == self.opened {
            database.opened += 1;
        }
    }
}

fn closed(place: &str) -> StoreError {
    StoreError {
        place: format!("memory:{place}"),
        message: "closed: its task has moved".into(),
    }
}

fn get(rows: &Map, key: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    rows.get(key).is_some_and(|value| {
        out.extend_from_slice(value);
        true
    })
}

/// The keys from `from` to `to`; an empty range where they are the wrong way round.
fn range<'a>(
    rows: &'a Map,
    from: &[u8],
    to: Option<&[u8]>,
) -> impl DoubleEndedIterator<Item = (&'a Arc<[u8]>, &'a Arc<[u8]>)> {
    let to = to.map(|to| to.max(from));
    rows.range::<[u8], _>((Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded)))
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        self.with(|database| get(&database.newest.rows, key, out))
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        let rows = self.with(|database| database.newest.rows.clone())?;
        for (key, value) in range(&rows, from, to) {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        let rows = self.with(|database| database.newest.rows.clone())?;
        for (key, value) in range(&rows, from, to).rev() {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write>, position: &StorePosition) -> StoreResult<()> {
        let lossy = self.lossy;
        self.with(|database| {
            if lossy {
                let batch: Vec<Write> = writes.collect();
                database.newest.apply(batch.iter().cloned(), position);
                database.unflushed.push((batch, position.clone()));
            } else {
                database.newest.apply(writes, position);
            }
        })
    }

    fn position(&self) -> StoreResult<Option<StorePosition>> {
        self.with(|database| database.newest.position.clone())
    }

    fn clear(&mut self) -> StoreResult<()> {
        self.with(|database| {
            database.newest = Committed::default();
            database.flushed = Committed::default();
            database.unflushed.clear();
        })
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        Arc::new(Reader {
            shared: self.shared.clone(),
            opened: self.opened,
            place: self.place.clone(),
        })
    }

    fn flush(&mut self) -> StoreResult<()> {
        let lossy = self.lossy;
        self.with(|database| {
            if lossy {
                database.flushed = database.newest.clone();
                database.unflushed.clear();
            }
        })
    }

    fn size(&self) -> (u64, u64) {
        let database = self.shared.lock();
        let rows = &database.newest.rows;
        let bytes: usize = rows.iter().map(|(k, v)| k.len() + v.len()).sum();
        (bytes as u64, rows.len() as u64)
    }
}

struct Reader {
    shared: Shared,
    opened: u64,
    place: Arc<str>,
}

impl StoreReader for Reader {
    fn snapshot(&self) -> StoreResult<Arc<dyn Snapshot>> {
        let database = self.shared.lock();
        if database.opened != self.opened {
            return Err(closed(&self.place));
        }
        Ok(Arc::new(Picture {
            rows: database.newest.rows.clone(),
            position: database.newest.position.clone().unwrap_or_default(),
        }))
    }

    fn checkpoint(&self, directory: &Path) -> StoreResult<()> {
        let snapshot = self.snapshot()?;
        checkpoint::write(&*snapshot, directory)
    }
}

struct Picture {
    rows: Arc<Map>,
    position: StorePosition,
}

impl Snapshot for Picture {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        Ok(get(&self.rows, key, out))
    }

    fn scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> StoreResult<()> {
        let mut rows = range(&self.rows, from, to);
        while let Some((key, value)) = if reverse { rows.next_back() } else { rows.next() } {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn position(&self) -> &StorePosition {
        &self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> StorePosition {
        StorePosition {
            applied_at: offset,
            ..StorePosition::default()
        }
    }

    fn put(store: &mut dyn Store, key: &str, value: Option<&str>, offset: i64) {
        let write = (key.as_bytes().to_vec(), value.map(|v| v.as_bytes().to_vec()));
        store.apply(&mut std::iter::once(write), &at(offset)).unwrap();
    }

    fn read(store: &dyn Store, key: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        store.get(key.as_bytes(), &mut out).unwrap().then_some(out)
    }

    #[test]
    fn a_store_outlives_its_task_and_opens_once_at_a_time() {
        let stores = MemoryStores::new();
        let mut store = stores.open("t/0_0").unwrap();
        assert_eq!(store.position().unwrap(), None);
        put(store.as_mut(), "a", Some("1"), 1);
        assert!(stores.open("t/0_0").is_err(), "opened twice");
        let reader = store.reader();
        let snapshot = reader.snapshot().unwrap();
        put(store.as_mut(), "a", None, 2);
        let mut out = Vec::new();
        assert!(
            snapshot.get(b"a", &mut out).unwrap() && out == b"1",
            "a snapshot changed"
        );
        assert_eq!(snapshot.position(), &at(1));
        drop(store);
        assert!(reader.snapshot().is_err(), "a closed store was read");
        let store = stores.open("t/0_0").unwrap();
        assert_eq!(
            (read(store.as_ref(), "a"), store.position().unwrap()),
            (None, Some(at(2)))
        );
        drop(store);
        stores.delete("t").unwrap();
        assert_eq!(stores.open("t/0_0").unwrap().position().unwrap(), None);
    }

    #[test]
    fn a_crash_loses_whole_batches_since_the_last_flush() {
        let stores = MemoryStores::new().lose_unflushed(true);
        let mut store = stores.open("t").unwrap();
        put(store.as_mut(), "a", Some("1"), 1);
        store.flush().unwrap();
        put(store.as_mut(), "b", Some("2"), 2);
        put(store.as_mut(), "a", None, 3);
        stores.crash(|name, batches| {
            assert_eq!((name, batches), ("t", 2));
            1
        });
        assert!(store.get(b"a", &mut Vec::new()).is_err(), "a crashed store was read");
        let store = stores.open("t").unwrap();
        assert_eq!(store.position().unwrap(), Some(at(2)));
        assert_eq!(
            (read(store.as_ref(), "a"), read(store.as_ref(), "b")),
            (Some(b"1".to_vec()), Some(b"2".to_vec()))
        );
    }

    #[test]
    fn scans_go_both_ways() {
        let mut store = MemoryStore::detached();
        for key in ["a", "b", "c", "d"] {
            put(&mut store, key, Some(key), 1);
        }
        let snapshot = store.reader().snapshot().unwrap();
        let mut keys = Vec::new();
        snapshot
            .scan(b"b", Some(b"d"), true, &mut |k, _| {
                keys.push(k[0]);
                true
            })
            .unwrap();
        assert_eq!(keys, b"cb");
        store
            .scan(b"d", Some(b"a"), &mut |_, _| panic!("an empty range"))
            .unwrap();
    }
}
