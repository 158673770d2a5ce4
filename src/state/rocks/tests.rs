//! The suite of all stores over RocksDB, and what only a database on disk has: crashes, locks, damage.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::super::suite::{self, Model, Step, apply, contents, position};
use super::super::{Bulk, Snapshot};
use super::*;

/// A directory that is gone with the test.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("millstream-rocks-{}", uuid::Uuid::new_v4())))
    }

    fn stores(&self) -> RocksStores {
        let settings = RocksSettings {
            memory_bytes: 8 << 20,
            write_buffer_bytes: 1 << 20,
            ..RocksSettings::default()
        };
        RocksStores::new(&self.0, &settings)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// What the disk holds at this moment: what a crash of the process leaves.
///
/// RocksDB removes obsolete files in the background; a copy during which a file came or went is no picture of one moment, and is made again.
fn crash_image(from: &Path, to: &Path) {
    let listed = || {
        let names = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name != "LOCK")
            .collect::<std::collections::BTreeSet<_>>()
    };
    for _ in 0..100 {
        drop(std::fs::remove_dir_all(to));
        std::fs::create_dir_all(to).unwrap();
        let before = listed();
        let whole = before
            .iter()
            .all(|name| std::fs::copy(from.join(name), to.join(name)).is_ok());
        if whole && listed() == before {
            return;
        }
    }
    panic!("{}: files come and go", from.display());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rocksdb_behaves(steps in prop::collection::vec(suite::step(), 1..40)) {
        let temp = Temp::new();
        suite::run(&temp.stores(), &steps);
    }

    /// After a crash a store is at one of its positions, not before the last flush, with exactly the rows of then.
    #[test]
    fn a_crash_leaves_a_whole_earlier_state(steps in prop::collection::vec(suite::step(), 1..30)) {
        let (temp, image) = (Temp::new(), Temp::new());
        let stores = temp.stores();
        let mut store = stores.open("t/0_0").unwrap();
        let mut states = vec![Model::default()];
        let mut flushed = 0;
        for (batch, step) in steps.iter().enumerate() {
            match step {
                Step::Apply(writes) => {
                    let mut next = states.last().cloned().unwrap_or_default();
                    apply(store.as_mut(), writes, &position(batch as i64));
                    next.apply(writes, position(batch as i64));
                    states.push(next);
                }
                Step::Flush => {
                    store.flush().unwrap();
                    flushed = states.len() - 1;
                }
                Step::Commit(_)
                | Step::Load(_)
                | Step::Read(_)
                | Step::Clear
                | Step::Snapshot
                | Step::Reopen
                | Step::Checkpoint => {}
            }
        }
        crash_image(&temp.0.join("t/0_0"), &image.0.join("t/0_0"));
        let found = contents(image.stores().open("t/0_0").unwrap().as_ref());
        prop_assert!(states[flushed..].contains(&found), "{found:?}");
    }
}

#[test]
fn a_database_passes_from_owner_to_owner_while_a_reader_looks() {
    let temp = Temp::new();
    let stores = temp.stores();
    let mut store = stores.open("t/0_1").unwrap();
    apply(store.as_mut(), &[(1, Some(1))], &position(1));
    assert!(stores.open("t/0_1").is_err(), "opened twice");
    assert!(stores.delete("t").is_err(), "deleted while open");
    let snapshot = store.reader().snapshot().unwrap();
    drop(store);
    let mut store = stores.open("t/0_1").unwrap();
    apply(store.as_mut(), &[(1, None)], &position(2));
    let mut out = Vec::new();
    assert!(snapshot.get(&suite::key(1), &mut out).unwrap(), "the old picture stays");
    assert!(!store.get(&suite::key(1), &mut out).unwrap());
    drop((store, snapshot));
    stores.delete("t").unwrap();
    assert_eq!(stores.open("t/0_1").unwrap().position().unwrap(), None);
    assert!(stores.open("../outside").is_err() && stores.open("/etc/x").is_err() && stores.open("").is_err());
}

#[test]
fn a_flush_makes_a_crash_harmless_at_once_or_soon() {
    let (temp, image) = (Temp::new(), Temp::new());
    let stores = temp.stores();
    let mut store = stores.open("t/0_0").unwrap();
    apply(store.as_mut(), &[(7, Some(7))], &position(1));
    store.flush_soon().unwrap();
    // waiting for the next one waits for that one, too
    store.flush().unwrap();
    crash_image(&temp.0.join("t/0_0"), &image.0.join("t/0_0"));
    let found = image.stores().open("t/0_0").unwrap().position().unwrap();
    assert_eq!(found, Some(position(1)));
    assert!(store.size().0 > 0);
}

/// A table of its own for many rows, and the rows of batches before it, which only the memtable had.
#[test]
fn a_crash_after_a_load_loses_nothing_from_before_it() {
    let (temp, image) = (Temp::new(), Temp::new());
    let stores = temp.stores();
    let mut store = stores.open("t/0_0").unwrap();
    apply(
        store.as_mut(),
        &[(1, Some(1)), (2, Some(2)), (3, Some(3))],
        &position(1),
    );
    let mut rows = Bulk::default();
    for n in 0..60_000_u32 {
        rows.push(7, &(n % 50_000).to_be_bytes(), Some(&n.to_be_bytes()));
    }
    rows.push(0, &suite::key(2)[2..], None);
    rows.push(1, &suite::key(3)[2..], Some(b"new"));
    let mut out = Vec::new();
    assert!(store.get(&suite::key(2), &mut out).unwrap() && store.get(&suite::key(3), &mut out).unwrap());
    store.load(&mut rows, &position(2)).unwrap();
    assert!(
        !store.get(&suite::key(2), &mut out).unwrap(),
        "as it was before the load"
    );
    assert!(store.get(&suite::key(3), &mut out).unwrap() && out == b"new");
    crash_image(&temp.0.join("t/0_0"), &image.0.join("t/0_0"));
    let (live, crashed) = (
        contents(store.as_ref()),
        contents(image.stores().open("t/0_0").unwrap().as_ref()),
    );
    assert_eq!(live.position, Some(position(2)));
    assert_eq!(live.rows.len(), 50_000 + 2);
    assert_eq!(live.rows[&suite::key(3)], b"new");
    assert!(live.rows.contains_key(&suite::key(1)) && !live.rows.contains_key(&suite::key(2)));
    let newest = [&7_u16.to_be_bytes()[..], &9_u32.to_be_bytes()].concat();
    assert_eq!(live.rows[&newest], 50_009_u32.to_be_bytes());
    assert!(live == crashed, "the crash lost something");
    // a small one goes the way of a batch, over what the table says
    rows.clear();
    rows.push(1, &suite::key(3)[2..], None);
    store.load(&mut rows, &position(3)).unwrap();
    assert!(!contents(store.as_ref()).rows.contains_key(&suite::key(3)));
    assert_eq!(store.position().unwrap(), Some(position(3)));
}

#[test]
fn damage_is_named_and_can_be_cleared_away() {
    let temp = Temp::new();
    let stores = temp.stores();
    let mut store = stores.open("t/0_0").unwrap();
    apply(store.as_mut(), &[(1, Some(1)), (2, Some(2))], &position(1));
    store.flush().unwrap();
    drop(store);
    let directory = temp.0.join("t/0_0");
    for entry in std::fs::read_dir(&directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sst") {
            std::fs::write(path, b"no table").unwrap();
        }
    }
    let error = match stores.open("t/0_0") {
        Err(error) => error,
        Ok(store) => store
            .get(&suite::key(1), &mut Vec::new())
            .expect_err("a damaged file was read"),
    };
    assert!(error.is_corrupt() && error.place.contains("0_0"), "{error}");
    stores.delete("t/0_0").unwrap();
    assert_eq!(stores.open("t/0_0").unwrap().position().unwrap(), None);
}

#[test]
fn readers_share_a_picture_until_the_next_write() {
    let temp = Temp::new();
    let stores = temp.stores();
    let mut store = stores.open("t/0_0").unwrap();
    let reader = store.reader();
    let row = |snapshot: &dyn Snapshot| {
        let mut out = Vec::new();
        snapshot.get(&suite::key(2), &mut out).unwrap().then_some(out)
    };
    for n in 0..3u8 {
        suite::apply(store.as_mut(), &[(2, Some(n))], &position(i64::from(n)));
        let (one, other) = (reader.snapshot().unwrap(), reader.snapshot().unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(
            (row(&*one), one.position()),
            (Some(vec![n; 3]), &position(i64::from(n)))
        );
    }
    let before = reader.snapshot().unwrap();
    store.clear().unwrap();
    assert_eq!(
        (row(&*before), row(&*reader.snapshot().unwrap())),
        (Some(vec![2; 3]), None)
    );
    drop(store);
    assert!(reader.snapshot().is_err());
    drop(before);
    // nobody keeps the database open: else its directory would be locked
    temp.stores().open("t/0_0").unwrap();
}

#[test]
fn many_are_opened_in_their_order_and_one_that_is_damaged_alone_fails() {
    let temp = Temp::new();
    let names: Vec<String> = (0..7).map(|i| format!("t/0_{i}")).collect();
    {
        let stores = temp.stores();
        for (i, store) in stores.open_all(&names).into_iter().enumerate() {
            let mut store = store.unwrap();
            apply(&mut *store, &[(1, Some(i as u8))], &position(1));
            store.flush().unwrap();
        }
    }
    std::fs::write(temp.0.join("t/0_4/CURRENT"), "nothing").unwrap();
    for (i, store) in temp.stores().open_all(&names).into_iter().enumerate() {
        assert_eq!(store.is_err(), i == 4, "{i}");
        match store {
            Ok(store) => {
                let mut model = Model::default();
                model.apply(&[(1, Some(i as u8))], position(1));
                assert_eq!(contents(&*store), model, "{i}");
            }
            Err(error) => assert!(error.is_corrupt(), "{error}"),
        }
    }
}
