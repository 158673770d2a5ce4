//! What a restart finds: everything acknowledged, nothing half-done, whatever the end of the journal looks like.

use super::super::groups::{GroupMember, OffsetEntry};
use super::super::*;
use super::*;
use std::cell::RefCell;

fn small() -> CoreConfig {
    CoreConfig {
        journal: JournalLimits {
            segment_bytes: 3 << 10,
            event_bytes: 2 << 10,
        },
        ..CoreConfig::default()
    }
}

fn open(storage: &MemoryStorage, config: &CoreConfig) -> std::result::Result<(Core, OpenReport), OpenError> {
    Core::open(Box::new(storage.clone()), config.clone(), T0)
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let storage = MemoryStorage::default();
    let config = CoreConfig::default();
    let (mut core, _) = open(&storage, &config).unwrap();
    core.create_topic("t", 2, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    // The state after each of the last steps, and how long the journal was then.
    let length = |storage: &MemoryStorage| storage.list().unwrap()[0].1;
    let mut states = vec![(length(&storage), fingerprint(&core))];
    let mut step = |core: &mut Core, run: &mut dyn FnMut(&mut Core)| {
        run(core);
        states.push((length(&storage), fingerprint(core)));
    };
    step(&mut core, &mut |c| {
        whatever(c.append("t", 1, vec![rec("a", "1"), rec("b", "2")], T0).unwrap())
    });
    let partition = core.partition_id("t", 0).unwrap();
    step(&mut core, &mut |c| {
        c.add_partitions_to_txn(&p, &[partition], T0).unwrap()
    });
    step(&mut core, &mut |c| {
        whatever(c.append_as("t", 0, vec![rec("k", "v")], &p, T0).unwrap())
    });
    step(&mut core, &mut |c| c.add_offsets_to_txn(&p, "g", T0).unwrap());
    let offsets = || vec![OffsetEntry::new("t", 0, 5)];
    step(&mut core, &mut |c| {
        c.commit_txn_offsets(&p, "g", &GroupMember::none(), offsets()).unwrap()
    });
    step(&mut core, &mut |c| c.end_txn(&p, true, T0).unwrap());
    step(&mut core, &mut |c| whatever(c.delete_records("t", 1, 1).unwrap()));
    let whole = states.last().unwrap().0;
    for cut in states[0].0..=whole {
        let copy = storage.deep_copy();
        copy.damage(1, |bytes| bytes.truncate(cut as usize));
        let (core, report) = open(&copy, &config).unwrap();
        let (at, want) = states.iter().rev().find(|(at, _)| *at <= cut).unwrap();
        assert_eq!(&fingerprint(&core), want, "cut at {cut}");
        assert_eq!(report.cut.map(|c| c.0), (cut > *at).then_some(cut - at));
    }
    // A bit that falls over is found, too, wherever it is in the last segment's entries.
    for at in states[0].0..whole {
        let copy = storage.deep_copy();
        copy.damage(1, |bytes| bytes[at as usize] ^= 0x10);
        let (core, report) = open(&copy, &config).unwrap();
        assert!(report.cut.is_some(), "byte {at}");
        assert!(
            states.iter().any(|(_, state)| *state == fingerprint(&core)),
            "byte {at}"
        );
    }
}

#[test]
fn a_segment_that_was_torn_while_it_was_made_is_removed() {
    let storage = MemoryStorage::default();
    let (mut core, _) = open(&storage, &small()).unwrap();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    while storage.list().unwrap().len() < 3 {
        core.append("t", 0, vec![rec("k", &"v".repeat(100))], T0).unwrap();
    }
    let before = fingerprint(&core);
    let (last, length) = *storage.list().unwrap().last().unwrap();
    for cut in 0..length {
        let copy = storage.deep_copy();
        copy.damage(last, |bytes| bytes.truncate(cut as usize));
        let (core, report) = open(&copy, &small()).unwrap();
        assert!(report.cut.is_some());
        assert_eq!(fingerprint(&core), before, "cut at {cut}");
    }
}

#[test]
fn damage_in_an_older_segment_is_named_not_hidden() {
    let storage = MemoryStorage::default();
    let (mut core, _) = open(&storage, &small()).unwrap();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    while storage.list().unwrap().len() < 3 {
        core.append("t", 0, vec![rec("k", &"v".repeat(100))], T0).unwrap();
    }
    storage.damage(2, |bytes| bytes[20] ^= 1);
    let error = open(&storage, &small()).err().unwrap().to_string();
    assert!(error.contains("segment 2") && error.contains("restore"), "{error}");
}

#[test]
fn random_bytes_never_panic() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed);
        let mut storage = MemoryStorage::default();
        let (mut core, _) = open(&storage, &small()).unwrap();
        core.create_topic("t", 1, BTreeMap::new()).unwrap();
        for _ in 0..dice.below(30) {
            core.append("t", 0, vec![rec("k", &"v".repeat(dice.below(300) as usize))], T0)
                .unwrap();
        }
        drop(core);
        if dice.below(3) == 0 {
            storage.create(99).unwrap();
            let noise: Vec<u8> = (0..dice.below(200)).map(|_| dice.below(256) as u8).collect();
            storage.append(99, &[noise.into()]).unwrap();
        }
        for (segment, length) in storage.list().unwrap() {
            for _ in 0..dice.below(4).min(length) {
                storage.damage(segment, |bytes| {
                    bytes[dice.below(length) as usize] = dice.below(256) as u8
                });
            }
        }
        let _outcome = open(&storage, &small()).map(|(core, _)| core.journal_bytes());
    }
}

/// Random operations on a log with tiny segments; after any of them, a copy that is opened anew is the same log.
#[test]
fn a_reopened_log_equals_the_one_that_was_killed() {
    for seed in 0..12 {
        let mut dice = Dice::new(seed);
        let storage = MemoryStorage::default();
        let mut core = RefCell::new(open(&storage, &small()).unwrap().0);
        let mut now_ms = T0;
        for step in 0..120 {
            now_ms += dice.below(20) as i64;
            random_step(&core, &storage, &mut dice, now_ms);
            core.borrow_mut().take_outputs();
            if dice.below(12) == 0 {
                let copy = storage.deep_copy();
                let reopened = open(&copy, &small()).unwrap().0;
                assert_eq!(
                    fingerprint(&reopened),
                    fingerprint(&core.borrow()),
                    "seed {seed} step {step}"
                );
                // Opening may have started one more segment.
                for (segment, entry) in &core.borrow().journal.segments {
                    let live = reopened.journal.segments[segment].live;
                    assert_eq!(
                        live, entry.live,
                        "seed {seed} step {step}: live bytes of segment {segment}"
                    );
                }
            }
            if dice.below(60) == 0 {
                drop(core);
                core = RefCell::new(open(&storage, &small()).unwrap().0);
            }
        }
    }
}

/// Lets maintenance reach the core, and looks after every step whether a crash there would lose anything.
struct Watched<'a> {
    core: &'a RefCell<Core>,
    storage: &'a MemoryStorage,
}

impl maintenance::CoreAccess for Watched<'_> {
    fn with<R>(&self, step: impl FnOnce(&mut Core) -> R) -> R {
        let result = step(&mut self.core.borrow_mut());
        let reopened = open(&self.storage.deep_copy(), &small()).unwrap().0;
        assert_eq!(
            fingerprint(&reopened),
            fingerprint(&self.core.borrow()),
            "a crash in the middle of maintenance"
        );
        result
    }
}

/// A random operation may be refused; what counts is that the log is the same afterwards.
fn whatever<T>(_outcome: T) {}

fn random_step(core: &RefCell<Core>, storage: &MemoryStorage, dice: &mut Dice, now_ms: i64) {
    let topic = ["a", "b", "c"][dice.below(3) as usize];
    let partition = dice.below(2) as i32;
    let key = format!("k{}", dice.below(6));
    let kind = dice.below(14);
    if kind == 0 {
        whatever(maintenance::run(&Watched { core, storage }, now_ms));
        return;
    }
    let core = &mut *core.borrow_mut();
    match kind {
        1 => {
            let policy = ["compact", "delete", "compact,delete"][dice.below(3) as usize];
            let pairs = [
                ("cleanup.policy", policy),
                ("segment.ms", "5"),
                ("delete.retention.ms", "50"),
                ("retention.bytes", "2000"),
            ];
            // The topic may be there already; then nothing happens.
            whatever(core.create_topic(topic, 2, config(&pairs)));
        }
        2 if dice.below(8) == 0 => whatever(core.delete_topic(topic)),
        2 | 3 => whatever(core.delete_records(topic, partition, dice.below(40) as i64)),
        4 => core.tick(now_ms),
        5 => {
            let offsets = vec![OffsetEntry::new(topic, partition, dice.below(100) as i64)];
            whatever(core.commit_offsets("g", &GroupMember::none(), offsets, now_ms));
        }
        6 => {
            let tombstone = Record::new(now_ms, Some(key.into()), None);
            whatever(core.append(topic, partition, vec![tombstone], now_ms));
        }
        7..10 => {
            let record = |i: u64| Record {
                timestamp: now_ms,
                ..rec(&key, &"v".repeat(i as usize * 9))
            };
            let records = (0..1 + dice.below(4)).map(record).collect();
            whatever(core.append(topic, partition, records, now_ms));
        }
        _ => transactional_step(core, (topic, partition, &key), dice, now_ms),
    }
}

fn transactional_step(core: &mut Core, at: (&str, i32, &str), dice: &mut Dice, now_ms: i64) {
    let (topic, partition, key) = at;
    let id = ["x", "y"][dice.below(2) as usize];
    let Ok(txn) = core.transaction(id) else {
        whatever(core.init_producer_id(Some(id), 200, None, now_ms));
        return;
    };
    let transactional_id = Some(id.to_string());
    let producer = ProducerIdentity {
        id: txn.producer_id,
        epoch: txn.epoch,
        transactional_id,
        sequence: None,
    };
    match dice.below(6) {
        0 => whatever(core.init_producer_id(Some(id), 200, None, now_ms)),
        1 => whatever(core.end_txn(&producer, true, now_ms)),
        2 => whatever(core.end_txn(&producer, false, now_ms)),
        3 => {
            whatever(core.add_offsets_to_txn(&producer, "g", now_ms));
            let offsets = vec![OffsetEntry::new(topic, partition, dice.below(100) as i64)];
            whatever(core.commit_txn_offsets(&producer, "g", &GroupMember::none(), offsets));
        }
        _ => {
            let Ok(partition_id) = core.partition_id(topic, partition) else {
                return;
            };
            whatever(core.add_partitions_to_txn(&producer, &[partition_id], now_ms));
            whatever(core.append_as(topic, partition, vec![rec(key, "txn")], &producer, now_ms));
        }
    }
}

#[test]
fn a_directory_is_held_by_one_log_at_a_time() {
    let dir = std::env::temp_dir().join(format!("millstream-core-{}", std::process::id()));
    let _stale = std::fs::remove_dir_all(&dir);
    let open = || DirStorage::open(&dir).map(|storage| Core::open(Box::new(storage), small(), T0).unwrap().0);
    let mut core = open().unwrap();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    for i in 0..100 {
        core.append("t", 0, vec![rec("k", &i.to_string())], T0).unwrap();
    }
    let refused = open().err().unwrap();
    assert!(matches!(refused, DirError::InUse(_)), "{refused}");
    let before = fingerprint(&core);
    drop(core);
    let reopened = open().unwrap();
    assert_eq!(fingerprint(&reopened), before);
    assert!(reopened.journal.segments.len() > 2);
    drop(reopened);
    std::fs::remove_dir_all(&dir).unwrap();
}
