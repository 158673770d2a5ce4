use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::state::memory::{MemoryStore, MemoryStores};
use crate::state::{StorePosition, Write};

/// A store whose writes say that they have begun, and end when they are told to.
struct Slow {
    inner: Box<dyn Store>,
    begun: Sender<()>,
    end: Receiver<()>,
}

impl Store for Slow {
    fn get(&self, key: &[u8], out: &mut Vec<u8>) -> StoreResult<bool> {
        self.inner.get(key, out)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.inner.scan(from, to, each)
    }

    fn scan_back(&self, from: &[u8], to: Option<&[u8]>, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> StoreResult<()> {
        self.inner.scan_back(from, to, each)
    }

    fn apply(&mut self, writes: &mut dyn Iterator<Item = Write>, position: &StorePosition) -> StoreResult<()> {
        self.begun.send(()).unwrap();
        self.end.recv().unwrap();
        self.inner.apply(writes, position)
    }

    fn position(&self) -> StoreResult<Option<StorePosition>> {
        self.inner.position()
    }

    fn clear(&mut self) -> StoreResult<()> {
        self.inner.clear()
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.inner.reader()
    }

    fn flush(&mut self) -> StoreResult<()> {
        self.inner.flush()
    }

    fn size(&self) -> (u64, u64) {
        self.inner.size()
    }
}

fn detached() -> Box<dyn Store> {
    Box::new(MemoryStore::detached())
}

fn stores() -> OpenStores {
    OpenStores::new(Arc::new(MemoryStores::new()))
}

#[test]
fn nobody_waits_for_a_standby_that_is_writing() {
    let stores = stores();
    let ((begun, has_begun), (end, is_to_end)) = (channel(), channel());
    let slow = Slow {
        inner: detached(),
        begun,
        end: is_to_end,
    };
    stores.put("t/0_0", Box::new(slow), 0);
    let lent = stores.lend("t/0_0").unwrap().unwrap();
    let of_standby = lent.clone();
    let standby = std::thread::spawn(move || {
        let mut store = of_standby.lock();
        let none = &mut std::iter::empty();
        store.as_mut().unwrap().apply(none, &StorePosition::default())
    });
    has_begun.recv().unwrap();
    // all of it would wait for the write, which ends only after it
    assert!(stores.take("t/0_0").unwrap().is_none());
    stores.put("t/0_1", detached(), 0);
    stores.close_idle(KEEP_OPEN_MS);
    assert!(!stores.places.lock().contains_key("t/0_1"), "it was idle");
    assert!(stores.delete("t").is_err(), "a standby has one");
    end.send(()).unwrap();
    standby.join().unwrap().unwrap();
    assert!(stores.take("t/0_0").unwrap().is_some(), "the worker asks again");
    assert!(lent.lock().is_none());
}

/// Stores that are opened when they are told to be.
struct SlowDisk {
    inner: MemoryStores,
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl StoreFactory for SlowDisk {
    fn open(&self, task: &str) -> StoreResult<Box<dyn Store>> {
        self.begun.send(()).unwrap();
        self.go_on.lock().recv().unwrap();
        self.inner.open(task)
    }

    fn delete(&self, path: &str) -> StoreResult<()> {
        self.begun.send(()).unwrap();
        self.go_on.lock().recv().unwrap();
        self.inner.delete(path)
    }
}

#[test]
fn a_slow_disk_keeps_nobody_from_another_store() {
    let ((begun, has_begun), (go_on, may_go_on)) = (channel(), channel());
    let disk = SlowDisk {
        inner: MemoryStores::new(),
        begun,
        go_on: Mutex::new(may_go_on),
    };
    let stores = Arc::new(OpenStores::new(Arc::new(disk)));
    let of_worker = stores.clone();
    let worker = std::thread::spawn(move || of_worker.take("t/0_0").map(|store| store.is_some()));
    has_begun.recv().unwrap();
    assert!(stores.take("t/0_0").unwrap().is_none(), "it is being opened");
    stores.put("u/0_0", detached(), 0);
    assert!(stores.take("u/0_0").unwrap().is_some());
    assert!(stores.delete("t").is_err(), "it is in use");
    go_on.send(()).unwrap();
    assert_eq!(worker.join().unwrap(), Ok(true));
    assert!(stores.reader("t/0_0").is_some());
    // what is being deleted is not opened meanwhile
    stores.put("t/0_0", detached(), 0);
    let of_supervisor = stores.clone();
    let supervisor = std::thread::spawn(move || of_supervisor.delete("t"));
    has_begun.recv().unwrap();
    assert!(stores.take("t/0_1").unwrap().is_none());
    stores.put("u/0_0", detached(), 0);
    assert!(stores.take("u/0_0").unwrap().is_some());
    go_on.send(()).unwrap();
    supervisor.join().unwrap().unwrap();
    assert!(stores.reader("t/0_0").is_none());
}

#[test]
fn many_are_taken_in_their_order_whatever_becomes_of_each() {
    let stores = stores();
    let written = |offset| {
        let mut store = detached();
        let position = StorePosition {
            applied_at: offset,
            ..StorePosition::default()
        };
        store.apply(&mut std::iter::empty(), &position).unwrap();
        store
    };
    stores.put("t/0_1", written(1), 0);
    stores.put("t/0_2", written(2), 0);
    let _held = stores.take("t/0_1").unwrap().unwrap();
    let paths = ["t/0_0", "t/0_1", "t/0_2", "t/0_3"].map(str::to_owned);
    let applied_at = |store: Box<dyn Store>| store.position().unwrap().map(|position| position.applied_at);
    let taken = stores.take_all(&paths).into_iter();
    let taken: Vec<_> = taken.map(|store| store.unwrap().map(applied_at)).collect();
    assert_eq!(taken, [Some(None), None, Some(Some(2)), Some(None)]);
    assert!(stores.reader("t/0_0").is_some(), "opened here");
    let again = stores.take_all(&paths);
    assert!(
        again.iter().all(|store| matches!(store, Ok(None))),
        "all of them are taken"
    );
}

#[test]
fn one_that_cannot_be_opened_is_tried_again_and_keeps_no_other_back() {
    struct Broken(MemoryStores);
    impl StoreFactory for Broken {
        fn open(&self, task: &str) -> StoreResult<Box<dyn Store>> {
            match task {
                "t/0_1" => Err(crate::state::StoreError {
                    place: task.into(),
                    message: "broken".into(),
                }),
                _ => self.0.open(task),
            }
        }

        fn delete(&self, path: &str) -> StoreResult<()> {
            self.0.delete(path)
        }
    }
    let stores = OpenStores::new(Arc::new(Broken(MemoryStores::new())));
    let paths = ["t/0_0", "t/0_1", "t/0_2"].map(str::to_owned);
    let words = |store: StoreResult<Option<Box<dyn Store>>>| store.map(|store| store.is_some()).map_err(|e| e.message);
    let taken: Vec<_> = stores.take_all(&paths).into_iter().map(words).collect();
    assert_eq!(taken, [Ok(true), Err("broken".to_owned()), Ok(true)]);
    let again: Vec<_> = stores.take_all(&paths).into_iter().map(words).collect();
    assert_eq!(again, [Ok(false), Err("broken".to_owned()), Ok(false)]);
}
