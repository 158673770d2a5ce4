//! What every kind of store must do, run over each of them against a model: an ordered map and its position.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Bulk, ChangelogPosition, Snapshot, Store, StoreFactory, StorePosition};

/// One step of a random history.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A batch of writes.
    Apply(Vec<(u8, Option<u8>)>),
    /// The same as rows of a commit.
    Commit(Vec<(u8, Option<u8>)>),
    /// The same as rows of a restore.
    Load(Vec<(u8, Option<u8>)>),
    /// Read some rows.
    Read(Vec<u8>),
    /// Flush.
    Flush,
    /// Take a snapshot, to be compared at the end.
    Snapshot,
    /// Close and open again.
    Reopen,
    /// Delete everything.
    Clear,
    /// Make a checkpoint, to be imported and compared at the end.
    Checkpoint,
}

/// Random steps; keys are few, so that they are overwritten and deleted.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let writes = || prop::collection::vec((any::<u8>(), any::<Option<u8>>()), 0..20);
    prop_oneof![
        8 => writes().prop_map(Step::Apply),
        8 => writes().prop_map(Step::Commit),
        2 => writes().prop_map(Step::Load),
        6 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Step::Read),
        2 => Just(Step::Flush),
        2 => Just(Step::Snapshot),
        2 => Just(Step::Reopen),
        1 => Just(Step::Clear),
        1 => Just(Step::Checkpoint),
    ]
}

/// The key of a small number: of two stores, some of them long.
pub(super) fn key(n: u8) -> Vec<u8> {
    let mut key = vec![0, n % 2];
    key.extend(std::iter::repeat_n(n, usize::from(n % 5)));
    key.push(n);
    key
}

/// A position that tells which batch it belongs to.
pub(super) fn position(batch: i64) -> StorePosition {
    StorePosition {
        changelogs: vec![ChangelogPosition {
            topic: "app.t.STORE.changelog".into(),
            topic_id: "id".into(),
            offset: batch * 10,
        }],
        inputs: vec![("orders".into(), 3, batch)],
        applied_at: 1_700_000_000_000 + batch,
        fingerprint: "f".into(),
    }
}

/// What a store should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) position: Option<StorePosition>,
}

impl Model {
    pub(super) fn apply(&mut self, writes: &[(u8, Option<u8>)], at: StorePosition) {
        for (n, value) in writes {
            match value {
                Some(value) => self.rows.insert(key(*n), vec![*value; 3]),
                None => self.rows.remove(&key(*n)),
            };
        }
        self.position = Some(at);
    }
}

/// Applies the writes of a step to a store.
pub(super) fn apply(store: &mut dyn Store, writes: &[(u8, Option<u8>)], at: &StorePosition) {
    let mut writes = writes.iter().map(|(n, value)| (key(*n), value.map(|v| vec![v; 3])));
    store.apply(&mut writes, at).expect("apply");
}

fn bulk(writes: &[(u8, Option<u8>)]) -> Bulk {
    let mut rows = Bulk::default();
    for (n, value) in writes {
        let (store, key) = (u16::from(n % 2), key(*n));
        rows.push(
            store,
            &key[2..],
            value.map(|v| [v; 3]).as_ref().map(<[u8; 3]>::as_slice),
        );
    }
    rows
}

/// Everything that a store shows, by scan.
pub(super) fn contents(store: &dyn Store) -> Model {
    let mut rows = BTreeMap::new();
    let mut each = |key: &[u8], value: &[u8]| rows.insert(key.to_vec(), value.to_vec()).is_none();
    store.scan(&[], None, &mut each).expect("scan");
    Model {
        rows,
        position: store.position().expect("position"),
    }
}

fn check_snapshot(snapshot: &dyn Snapshot, model: &Model) {
    for reverse in [false, true] {
        let mut seen = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            seen.push((key.to_vec(), value.to_vec()));
            true
        };
        snapshot.scan(&[], None, reverse, &mut each).expect("scan");
        if reverse {
            seen.reverse();
        }
        let expected: Vec<_> = model.rows.clone().into_iter().collect();
        assert_eq!(
            seen, expected,
            "a snapshot changed or is out of order (reverse: {reverse})"
        );
    }
    assert_eq!(*snapshot.position(), model.position.clone().unwrap_or_default());
}

/// An import takes the place of what was there; one without a position is none.
fn check_checkpoint(stores: &dyn StoreFactory, directory: &std::path::Path, then: &Model) {
    let mut before = stores.open("suite/imported").expect("open");
    apply(before.as_mut(), &[(3, Some(9))], &position(-1));
    assert!(stores.import("suite/imported", directory).is_err(), "it is open");
    drop(before);
    let imported = stores.import("suite/imported", directory);
    if then.position.is_some() {
        imported.expect("import");
        assert_eq!(contents(stores.open("suite/imported").expect("open").as_ref()), *then);
    } else {
        assert!(imported.is_err(), "without a position");
        let empty = stores.open("suite/imported").expect("open");
        assert_eq!(contents(empty.as_ref()), Model::default());
    }
    drop(std::fs::remove_dir_all(directory));
}

/// Reads rows one by one, then together.
fn check_rows(store: &dyn Store, numbers: &[u8], model: &Model) {
    let mut out = Vec::new();
    for n in numbers {
        let found = store.get(&key(*n), &mut out).expect("get").then(|| out.clone());
        assert_eq!(found.as_ref(), model.rows.get(&key(*n)), "row {n}");
    }
    let keys: Vec<Vec<u8>> = numbers.iter().rev().map(|n| key(*n)).collect();
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut given = vec![false; keys.len()];
    let mut each = |at: usize, value: Option<&[u8]>| {
        assert_eq!(value, model.rows.get(keys[at]).map(Vec::as_slice), "{:?}", keys[at]);
        assert!(!std::mem::replace(&mut given[at], true), "given twice");
        Ok(true)
    };
    store.get_many(&keys, &mut each).expect("get many");
    assert!(given.iter().all(|given| *given));
    let mut calls = 0;
    let mut first = |_: usize, _: Option<&[u8]>| {
        calls += 1;
        Ok(false)
    };
    store.get_many(&keys, &mut first).expect("get one of many");
    assert_eq!(calls, keys.len().min(1), "it went on");
}

fn check_reads(store: &dyn Store, model: &Model) {
    check_rows(store, &(0..=u8::MAX).collect::<Vec<_>>(), model);
    let (from, to) = (key(40), key(91));
    let mut seen = Vec::new();
    let mut each = |key: &[u8], _: &[u8]| {
        seen.push(key.to_vec());
        seen.len() < 7
    };
    store.scan(&from, Some(&to), &mut each).expect("scan");
    let expected: Vec<_> = if from < to {
        model.rows.range(from..to).map(|(k, _)| k.clone()).take(7).collect()
    } else {
        vec![]
    };
    assert_eq!(seen, expected);
}

/// Runs a history over a new store of `stores` and compares everything with the model.
pub(super) fn run(stores: &dyn StoreFactory, steps: &[Step]) {
    let mut store = stores.open("suite/0_0").expect("open");
    let mut model = Model::default();
    let mut snapshots: Vec<(Arc<dyn Snapshot>, Model)> = Vec::new();
    let mut checkpoints: Vec<(std::path::PathBuf, Model)> = Vec::new();
    for (batch, step) in steps.iter().enumerate() {
        match step {
            Step::Apply(writes) => {
                let at = position(batch as i64);
                apply(store.as_mut(), writes, &at);
                model.apply(writes, at);
            }
            Step::Commit(writes) | Step::Load(writes) => {
                let (at, mut rows) = (position(batch as i64), bulk(writes));
                match step {
                    Step::Commit(_) => store.commit(&mut rows, &at).expect("commit"),
                    _ => store.load(&mut rows, &at).expect("load"),
                }
                model.apply(writes, at);
            }
            Step::Read(numbers) => check_rows(store.as_ref(), numbers, &model),
            Step::Flush => store.flush().expect("flush"),
            Step::Snapshot => snapshots.push((store.reader().snapshot().expect("snapshot"), model.clone())),
            Step::Reopen => {
                let reader = store.reader();
                drop(store);
                assert!(reader.snapshot().is_err(), "a closed store was read");
                store = stores.open("suite/0_0").expect("open again");
            }
            Step::Clear => {
                store.clear().expect("clear");
                model = Model::default();
            }
            Step::Checkpoint => {
                let directory = std::env::temp_dir().join(format!("millstream-checkpoint-{}", uuid::Uuid::new_v4()));
                store.reader().checkpoint(&directory).expect("checkpoint");
                checkpoints.push((directory, model.clone()));
            }
        }
    }
    assert_eq!(contents(store.as_ref()), model);
    check_reads(store.as_ref(), &model);
    for (directory, then) in checkpoints {
        check_checkpoint(stores, &directory, &then);
    }
    for (snapshot, then) in &snapshots {
        check_snapshot(snapshot.as_ref(), then);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn memory_stores_behave(steps in prop::collection::vec(step(), 1..40)) {
        run(&super::memory::MemoryStores::new(), &steps);
    }
}
