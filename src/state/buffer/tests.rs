use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::state::memory::MemoryStore;

const STORE: u16 = 2;

fn buffer(cache_bytes: usize) -> Buffer {
    buffer_in_order(cache_bytes, false)
}

fn buffer_in_order(cache_bytes: usize, ordered: bool) -> Buffer {
    let spec = TableSpec {
        store: STORE,
        keep_start: true,
        value: vec![SqlType::Bigint],
        ordered,
    };
    Buffer::new(Box::new(MemoryStore::detached()), &[spec], 1, cache_bytes)
}

fn key(n: i64) -> Row {
    Row::from([Value::Bigint(n)])
}

fn read(buffer: &mut Buffer, n: i64) -> Option<i64> {
    let slot = buffer.load(STORE, &key(n)).unwrap();
    buffer.row(slot).map(|row| match row[0] {
        Value::Bigint(n) => n,
        _ => panic!("not a BIGINT"),
    })
}

fn write(buffer: &mut Buffer, n: i64, value: Option<i64>) {
    let slot = buffer.load(STORE, &key(n)).unwrap();
    match (value, buffer.row(slot).is_some()) {
        (Some(value), true) => buffer
            .modify(slot, value, |values| {
                values[0] = Value::Bigint(value);
                Ok::<(), ()>(())
            })
            .unwrap(),
        (value, _) => {
            buffer.put(slot, value.map(|v| Row::from([Value::Bigint(v)])), value.unwrap_or(0));
        }
    }
}

fn commit(buffer: &mut Buffer) {
    let mut writes = freeze(buffer);
    buffer.committed(&mut writes, &StorePosition::default()).unwrap();
}

fn freeze(buffer: &mut Buffer) -> Bulk {
    let mut writes = Bulk::default();
    buffer.freeze(&mut |store, key, value, _| writes.push(store, key, value));
    writes
}

#[test]
fn a_record_that_fails_leaves_nothing_behind() {
    let mut buffer = buffer(usize::MAX);
    buffer.begin();
    write(&mut buffer, 1, Some(10));
    let bytes = buffer.buffered_bytes();
    buffer.begin();
    write(&mut buffer, 1, Some(11));
    write(&mut buffer, 1, None);
    write(&mut buffer, 1, Some(12));
    write(&mut buffer, 2, Some(20));
    buffer.mark_pending(0, &key(7));
    buffer.rollback();
    assert_eq!((read(&mut buffer, 1), read(&mut buffer, 2)), (Some(10), None));
    assert_eq!((buffer.pending(0).len(), buffer.buffered_bytes()), (0, bytes));
    assert_eq!(
        freeze(&mut buffer).writes().count(),
        1,
        "only the first record's key is in the generation"
    );
}

#[test]
fn the_start_of_the_generation_is_the_last_row_forwarded() {
    let mut buffer = buffer(usize::MAX);
    buffer.begin();
    write(&mut buffer, 1, Some(10));
    let start = |buffer: &mut Buffer| {
        let slot = buffer.load(STORE, &key(1)).unwrap();
        buffer.start_row(slot).map(|(row, _)| row[0].clone())
    };
    assert_eq!(start(&mut buffer), None);
    let mut first = freeze(&mut buffer);
    assert_eq!(start(&mut buffer), Some(Value::Bigint(10)));
    buffer.begin();
    write(&mut buffer, 1, Some(11));
    write(&mut buffer, 1, Some(12));
    assert_eq!(start(&mut buffer), Some(Value::Bigint(10)));
    buffer.committed(&mut first, &StorePosition::default()).unwrap();
    assert_eq!(
        (start(&mut buffer), read(&mut buffer, 1)),
        (Some(Value::Bigint(10)), Some(12))
    );
}

#[test]
fn an_abort_drops_both_generations() {
    let mut buffer = buffer(usize::MAX);
    buffer.begin();
    write(&mut buffer, 1, Some(1));
    write(&mut buffer, 2, Some(1));
    commit(&mut buffer);
    buffer.begin();
    write(&mut buffer, 1, Some(2));
    freeze(&mut buffer);
    buffer.begin();
    write(&mut buffer, 1, Some(3));
    write(&mut buffer, 3, Some(3));
    assert!(buffer.is_frozen() && !buffer.is_clean());
    buffer.abort();
    assert!(buffer.is_clean());
    assert_eq!(buffer.buffered_bytes(), 0);
    assert_eq!([1, 2, 3].map(|n| read(&mut buffer, n)), [Some(1), Some(1), None]);
}

#[test]
fn clean_rows_are_evicted_and_dirty_ones_stay() {
    let mut buffer = buffer(0);
    buffer.begin();
    for n in 0..100 {
        write(&mut buffer, n, Some(n));
    }
    let all = buffer.total_bytes();
    for _ in 0..10 {
        buffer.begin();
    }
    assert_eq!(buffer.total_bytes(), all, "an uncommitted row was evicted");
    commit(&mut buffer);
    for _ in 0..10 {
        buffer.begin();
    }
    assert_eq!((buffer.total_bytes(), buffer.buffered_bytes()), (0, 0));
    assert_eq!((0..100).filter_map(|n| read(&mut buffer, n)).sum::<i64>(), 99 * 50);
}

#[test]
fn the_cache_keeps_its_bound_whatever_a_record_loads() {
    let mut buffer = buffer(100_000);
    for record in 0..2_000 {
        buffer.begin();
        for n in 0..60 {
            write(&mut buffer, record * 60 + n, Some(n));
        }
        if record % 100 == 99 {
            commit(&mut buffer);
        }
    }
    let most = 4 * 100 * 60 * 300;
    assert!(
        buffer.total_bytes() < most,
        "{} bytes of clean rows",
        buffer.total_bytes()
    );
}

#[test]
fn what_is_read_ahead_is_bounded() {
    let mut buffer = buffer(1 << 20);
    for n in 0..10_000 {
        buffer.begin();
        write(&mut buffer, n, Some(n));
        if n % 1_000 == 999 {
            commit(&mut buffer);
        }
    }
    (0..10_000).for_each(|_| buffer.begin());
    let before = buffer.total_bytes();
    let keys: Vec<Row> = (0..10_000).map(key).collect();
    let read = buffer.preload(STORE, &keys, 50_000).unwrap();
    assert!(read > 0 && read < 1_000, "{read} rows");
    assert!(buffer.total_bytes() < before + 100_000);
}

#[derive(Clone, Debug)]
enum Step {
    Write(i64, Option<i64>),
    FailedRecord(Vec<(i64, Option<i64>)>),
    Preload(Vec<i64>),
    Freeze,
    Committed,
    Abort,
}

#[test]
fn a_burst_gives_its_memory_back() {
    let mut buffer = buffer(0);
    for n in 0..10_000 {
        buffer.begin();
        write(&mut buffer, n, Some(n));
    }
    assert!(buffer.table(STORE).entries.capacity() >= 10_000);
    commit(&mut buffer);
    for n in 0..1_000 {
        buffer.begin();
        write(&mut buffer, 20_000 + n, Some(n));
    }
    assert!(buffer.table(STORE).entries.capacity() < 5_000);
    commit(&mut buffer);
    for (n, value) in [(0, 0), (9_999, 9_999), (20_000, 0), (20_999, 999)] {
        assert_eq!(read(&mut buffer, n), Some(value));
    }
}

#[test]
fn a_scan_sees_what_is_uncommitted_after_a_burst_gave_its_memory_back() {
    let mut buffer = buffer_in_order(0, true);
    for n in 0..10_000 {
        buffer.begin();
        write(&mut buffer, n, Some(n));
    }
    commit(&mut buffer);
    let mut expected: Vec<(i64, i64)> = (0..10_000).map(|n| (n, n)).collect();
    for n in 0..1_000 {
        buffer.begin();
        write(&mut buffer, 20_000 + n, Some(-n));
        expected.push((20_000 + n, -n));
    }
    assert!(buffer.table(STORE).entries.capacity() < 5_000);
    let mut seen = Vec::new();
    let each = &mut |key: &Row, row: &Row, _| {
        if let (Value::Bigint(key), Value::Bigint(value)) = (&key[0], &row[0]) {
            seen.push((*key, *value));
        }
        true
    };
    buffer.scan(STORE, &[], None, each).unwrap();
    assert_eq!(seen, expected);
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = || (0..12i64, proptest::option::weighted(0.8, 0..1000i64));
    let step = prop_oneof![
        8 => write().prop_map(|(k, v)| Step::Write(k, v)),
        2 => proptest::collection::vec(write(), 1..5).prop_map(Step::FailedRecord),
        2 => proptest::collection::vec(0..12i64, 1..5).prop_map(Step::Preload),
        2 => Just(Step::Freeze),
        2 => Just(Step::Committed),
        1 => Just(Step::Abort),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What the rows should be: committed, plus a frozen generation, plus the filling one.
#[derive(Default)]
struct Model {
    committed: BTreeMap<i64, i64>,
    frozen: Option<(BTreeMap<i64, i64>, Bulk)>,
    newest: BTreeMap<i64, i64>,
    start: BTreeMap<i64, i64>,
}

impl Model {
    fn step(&mut self, buffer: &mut Buffer, step: &Step) {
        match step {
            Step::Write(k, v) => {
                buffer.begin();
                write(buffer, *k, *v);
                match v {
                    Some(v) => self.newest.insert(*k, *v),
                    None => self.newest.remove(k),
                };
            }
            Step::FailedRecord(writes) => {
                buffer.begin();
                for (k, v) in writes {
                    write(buffer, *k, *v);
                }
                buffer.rollback();
            }
            Step::Preload(keys) => {
                buffer.begin();
                let keys: Vec<Row> = keys.iter().map(|n| key(*n)).collect();
                buffer.preload(STORE, &keys, usize::MAX).unwrap();
                assert_eq!(buffer.preload(STORE, &keys, usize::MAX).unwrap(), 0, "read twice");
            }
            Step::Freeze if self.frozen.is_none() => {
                self.frozen = Some((self.newest.clone(), freeze(buffer)));
                self.start = self.newest.clone();
            }
            Step::Committed => {
                if let Some((rows, mut writes)) = self.frozen.take() {
                    self.committed = rows;
                    buffer.committed(&mut writes, &StorePosition::default()).unwrap();
                }
            }
            Step::Abort => {
                self.frozen = None;
                self.newest = self.committed.clone();
                self.start = self.committed.clone();
                buffer.abort();
            }
            Step::Freeze => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn it_is_a_map_with_generations(steps in steps(), cache in prop_oneof![Just(0usize), Just(1500), Just(usize::MAX)], ordered: bool) {
        let mut buffer = buffer_in_order(cache, ordered);
        let mut model = Model::default();
        for step in &steps {
            model.step(&mut buffer, step);
            let mut scanned = BTreeMap::new();
            buffer.scan(STORE, &[], None, &mut |key, row, _| {
                if let (Value::Bigint(k), Value::Bigint(v)) = (&key[0], &row[0]) {
                    scanned.insert(*k, *v);
                }
                true
            }).unwrap();
            prop_assert_eq!(&scanned, &model.newest, "scan after {:?}", step);
            let (from, to) = ([Value::Bigint(3)], [Value::Bigint(9)]);
            let mut back = Vec::new();
            buffer.scan_back(STORE, &encoded(&from.into()), Some(&encoded(&to.into())), &mut |key, _, _| {
                back.push(key[0].clone());
                back.len() < 4
            }).unwrap();
            let expected: Vec<Value> = model.newest.range(3..9).rev().take(4).map(|(k, _)| Value::Bigint(*k)).collect();
            prop_assert_eq!(back, expected, "backwards after {:?}", step);
            for n in 0..12 {
                prop_assert_eq!(read(&mut buffer, n), model.newest.get(&n).copied(), "key {} after {:?}", n, step);
                let slot = buffer.load(STORE, &key(n)).unwrap();
                let start = buffer.start_row(slot).map(|(row, _)| row[0].clone());
                prop_assert_eq!(start, model.start.get(&n).map(|v| Value::Bigint(*v)), "start of {} after {:?}", n, step);
            }
        }
        buffer.abort();
        let clean = buffer.total_bytes();
        prop_assert_eq!(buffer.buffered_bytes(), 0);
        let counted: usize = buffer.table(STORE).entries.iter().map(|e| e.bytes).sum();
        prop_assert_eq!(clean, counted);
    }
}
