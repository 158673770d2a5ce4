//! Compaction and the space it gives back, checked against a model of the topic.

use super::super::*;
use super::*;
use std::cell::RefCell;

const EAGER: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("segment.ms", "1"),
    ("min.cleanable.dirty.ratio", "0"),
    ("delete.retention.ms", "1000"),
];

fn eager(partitions: i32) -> RefCell<Core> {
    let mut core = core();
    core.create_topic("t", partitions, config(EAGER)).unwrap();
    RefCell::new(core)
}

/// The first round notices what there is to do, the second one does it.
fn compact(core: &RefCell<Core>, now_ms: i64) {
    maintenance::run(core, now_ms);
    maintenance::run(core, now_ms + 5);
}

fn put(core: &RefCell<Core>, key: &str, value: &str) {
    core.borrow_mut().append("t", 0, vec![rec(key, value)], T0).unwrap();
}

fn delete(core: &RefCell<Core>, key: &str) {
    let tombstone = Record::new(T0, Some(Bytes::from(key.to_string())), None);
    core.borrow_mut().append("t", 0, vec![tombstone], T0).unwrap();
}

fn all(core: &RefCell<Core>) -> Vec<(i64, String, Option<String>)> {
    let text = |b: &Bytes| String::from_utf8(b.to_vec()).unwrap();
    let read = core
        .borrow()
        .read("t", 0, 0, usize::MAX, Isolation::ReadCommitted)
        .unwrap();
    assert_eq!(read.next_offset, read.last_stable, "a reader always gets to the end");
    read.records
        .iter()
        .map(|r| (r.offset, text(r.key.as_ref().unwrap()), r.value.as_ref().map(text)))
        .collect()
}

fn row(offset: i64, key: &str, value: Option<&str>) -> (i64, String, Option<String>) {
    (offset, key.to_string(), value.map(str::to_string))
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let core = eager(1);
    for i in 0..30 {
        put(&core, &format!("k{}", i % 3), &i.to_string());
    }
    put(&core, "last", "x");
    compact(&core, T0);
    let want = [
        row(27, "k0", Some("27")),
        row(28, "k1", Some("28")),
        row(29, "k2", Some("29")),
        row(30, "last", Some("x")),
    ];
    assert_eq!(all(&core), want);
    // And again, now with a part that is compacted already.
    put(&core, "k1", "new");
    put(&core, "end", "y");
    compact(&core, T0 + 100);
    let keys: Vec<String> = all(&core).into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, ["k0", "k2", "last", "k1", "end"]);
}

#[test]
fn the_last_batch_is_never_touched() {
    let core = eager(1);
    core.borrow_mut()
        .append("t", 0, vec![rec("k", "1"), rec("k", "2")], T0)
        .unwrap();
    compact(&core, T0);
    assert_eq!(all(&core).len(), 2);
}

#[test]
fn tombstones_stay_for_their_time_and_then_go() {
    let core = eager(1);
    put(&core, "k", "v");
    delete(&core, "k");
    put(&core, "end", "x");
    compact(&core, T0);
    assert_eq!(all(&core), [row(1, "k", None), row(2, "end", Some("x"))]);
    put(&core, "end", "y");
    compact(&core, T0 + 900);
    assert_eq!(
        all(&core)[0],
        row(1, "k", None),
        "the time-stamp survives being written again"
    );
    put(&core, "end", "z");
    compact(&core, T0 + 1_100);
    assert_eq!(all(&core), [row(3, "end", Some("y")), row(4, "end", Some("z"))]);
}

#[test]
fn timestamps_of_kept_records_are_unchanged_by_the_delete_horizon() {
    let core = eager(1);
    core.borrow_mut()
        .append(
            "t",
            0,
            vec![
                Record::new(T0 - 9, Some("a".into()), None),
                Record {
                    timestamp: T0 - 7,
                    ..rec("b", "1")
                },
            ],
            T0,
        )
        .unwrap();
    put(&core, "end", "x");
    compact(&core, T0);
    let read = core
        .borrow()
        .read("t", 0, 0, usize::MAX, Isolation::ReadCommitted)
        .unwrap();
    let times: Vec<i64> = read.records.iter().map(|r| r.timestamp - T0).collect();
    assert_eq!(times, [-9, -7, 0]);
}

#[test]
fn compaction_stops_at_an_open_transaction() {
    let core = eager(1);
    put(&core, "k", "1");
    put(&core, "k", "2");
    let p = producer(&mut core.borrow_mut(), "x");
    send(&mut core.borrow_mut(), &p, "t", "open").unwrap();
    put(&core, "k", "3");
    put(&core, "k", "4");
    compact(&core, T0);
    assert_eq!(
        values(&core.borrow(), "t", Isolation::ReadUncommitted),
        ["2", "open", "3", "4"]
    );
    assert_eq!(committed(&core.borrow(), "t"), ["2"]);
}

#[test]
fn aborted_records_and_their_markers_go() {
    let core = eager(1);
    let p = producer(&mut core.borrow_mut(), "x");
    put(&core, "k", "kept");
    send(&mut core.borrow_mut(), &p, "t", "aborted").unwrap();
    core.borrow_mut().end_txn(&p, false, T0).unwrap();
    put(&core, "end", "x");
    put(&core, "end", "y");
    compact(&core, T0);
    assert_eq!(
        values(&core.borrow(), "t", Isolation::ReadUncommitted),
        ["kept", "x", "y"]
    );
    let id = core.borrow().partition_id("t", 0).unwrap();
    assert!(core.borrow().partition(id).unwrap().aborted.is_empty());
    // What the producer commits later is not taken for aborted.
    send(&mut core.borrow_mut(), &p, "t", "committed").unwrap();
    core.borrow_mut().end_txn(&p, true, T0).unwrap();
    assert_eq!(
        committed(&core.borrow(), "t"),
        ["x", "y", "committed"][..]
            .to_vec()
            .as_slice()
            .iter()
            .fold(vec!["kept"], |mut v, s| {
                v.push(s);
                v
            })
    );
}

#[test]
fn young_records_wait_for_the_lag() {
    let core = eager(1);
    let change = ConfigChange::Set("min.compaction.lag.ms".into(), "10000".into());
    core.borrow_mut().alter_topic_config("t", &[change], false).unwrap();
    for i in 0..5 {
        put(&core, "k", &i.to_string());
    }
    compact(&core, T0 + 5_000);
    assert_eq!(all(&core).len(), 5);
    compact(&core, T0 + 20_000);
    assert_eq!(all(&core).len(), 2);
}

#[test]
fn disk_space_is_bounded_by_what_is_live() {
    let storage = MemoryStorage::default();
    let limits = JournalLimits {
        segment_bytes: 8 << 10,
        event_bytes: 4 << 10,
    };
    let config_small = CoreConfig {
        journal: limits,
        ..CoreConfig::default()
    };
    let core = Core::open(Box::new(storage.clone()), config_small.clone(), T0)
        .unwrap()
        .0;
    let core = RefCell::new(core);
    core.borrow_mut().create_topic("t", 1, config(EAGER)).unwrap();
    core.borrow_mut().create_topic("other", 1, BTreeMap::new()).unwrap();
    for round in 0..60 {
        for i in 0..20 {
            put(&core, &format!("k{}", i % 7), &format!("{round}-{i}"));
        }
        core.borrow_mut()
            .append("other", 0, vec![rec("k", "long-lived")], T0)
            .unwrap();
        let offsets = vec![groups::OffsetEntry::new("t", 0, round)];
        core.borrow_mut()
            .commit_offsets("g", &groups::GroupMember::none(), offsets, T0)
            .unwrap();
        maintenance::run(&core, T0 + round * 10);
    }
    let bytes = core.borrow().journal_bytes();
    assert!(bytes < 80 << 10, "{bytes} bytes for some 70 live records");
    let before = fingerprint(&core.borrow());
    let reopened = Core::open(Box::new(storage), config_small, T0).unwrap().0;
    assert_eq!(fingerprint(&reopened), before);
    assert_eq!(
        reopened
            .read("other", 0, 0, usize::MAX, Isolation::ReadCommitted)
            .unwrap()
            .records
            .len(),
        60
    );
}

#[test]
fn a_deleted_topic_gives_its_space_back() {
    let limits = JournalLimits {
        segment_bytes: 4 << 10,
        event_bytes: 4 << 10,
    };
    let config_small = CoreConfig {
        journal: limits,
        ..CoreConfig::default()
    };
    let core = RefCell::new(Core::open(Box::<MemoryStorage>::default(), config_small, T0).unwrap().0);
    core.borrow_mut().create_topic("t", 1, BTreeMap::new()).unwrap();
    for i in 0..200 {
        put(&core, "k", &format!("{i} {}", "x".repeat(100)));
    }
    assert!(core.borrow().journal_bytes() > 30 << 10);
    core.borrow_mut().delete_topic("t").unwrap();
    let report = maintenance::run(&core, T0);
    assert!(report.removed_segments > 5, "{report:?}");
    assert!(core.borrow().journal_bytes() < 8 << 10);
}
