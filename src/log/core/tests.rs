//! The core in process: producing, transactions, recovery, compaction.

use super::groups::{GroupMember, OffsetEntry};
use super::*;
use bytes::Bytes;

const T0: i64 = 1_700_000_000_000;

fn open_on(storage: &MemoryStorage) -> Core {
    Core::open(Box::new(storage.clone()), CoreConfig::default(), T0)
        .unwrap()
        .0
}

fn core() -> Core {
    open_on(&MemoryStorage::default())
}

fn rec(key: &str, value: &str) -> Record {
    Record::new(
        T0,
        Some(Bytes::from(key.to_string())),
        Some(Bytes::from(value.to_string())),
    )
}

fn values(core: &Core, topic: &str, isolation: Isolation) -> Vec<String> {
    let read = core.read(
        topic,
        0,
        core.partition(core.partition_id(topic, 0).unwrap())
            .unwrap()
            .log_start(),
        usize::MAX,
        isolation,
    );
    read.unwrap()
        .records
        .iter()
        .map(|r| String::from_utf8(r.value.as_deref().unwrap_or(b"-").to_vec()).unwrap())
        .collect()
}

fn committed(core: &Core, topic: &str) -> Vec<String> {
    values(core, topic, Isolation::ReadCommitted)
}

fn producer(core: &mut Core, id: &str) -> ProducerIdentity {
    let (producer, epoch) = core.init_producer_id(Some(id), 10_000, None, T0).unwrap();
    ProducerIdentity {
        id: producer,
        epoch,
        transactional_id: Some(id.to_string()),
        sequence: None,
    }
}

fn send(core: &mut Core, producer: &ProducerIdentity, topic: &str, value: &str) -> Result<i64> {
    let partition = core.partition_id(topic, 0)?;
    core.add_partitions_to_txn(producer, &[partition], T0)?;
    core.append_as(topic, 0, vec![rec("k", value)], producer, T0)
}

#[test]
fn what_was_appended_is_read_also_after_a_restart() {
    let storage = MemoryStorage::default();
    let mut core = open_on(&storage);
    core.create_topic("t", 2, BTreeMap::new()).unwrap();
    assert_eq!(core.append("t", 0, vec![rec("a", "1"), rec("b", "2")], T0), Ok(0));
    assert_eq!(core.append("t", 0, vec![rec("c", "3")], T0), Ok(2));
    assert_eq!(committed(&core, "t"), ["1", "2", "3"]);
    let core = open_on(&storage);
    assert_eq!(committed(&core, "t"), ["1", "2", "3"]);
    assert_eq!(
        core.read("t", 0, 1, 1, Isolation::ReadCommitted).unwrap().records[0].offset,
        1
    );
}

#[test]
fn readers_of_committed_data_see_neither_open_nor_aborted_transactions() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    send(&mut core, &p, "t", "c1").unwrap();
    core.append("t", 0, vec![rec("k", "plain")], T0).unwrap();
    assert_eq!(committed(&core, "t"), [""; 0]);
    core.end_txn(&p, true, T0).unwrap();
    assert_eq!(committed(&core, "t"), ["c1", "plain"]);
    send(&mut core, &p, "t", "a1").unwrap();
    core.end_txn(&p, false, T0).unwrap();
    send(&mut core, &p, "t", "c2").unwrap();
    core.end_txn(&p, true, T0).unwrap();
    assert_eq!(committed(&core, "t"), ["c1", "plain", "c2"]);
    assert_eq!(
        values(&core, "t", Isolation::ReadUncommitted),
        ["c1", "plain", "a1", "c2"]
    );
}

#[test]
fn a_new_producer_fences_the_old_one_and_aborts_its_transaction() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let old = producer(&mut core, "x");
    send(&mut core, &old, "t", "zombie").unwrap();
    let new = producer(&mut core, "x");
    assert_eq!(
        core.append_as("t", 0, vec![rec("k", "zombie")], &old, T0),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    assert_eq!(core.end_txn(&old, true, T0), Err(ErrorCode::ProducerFenced));
    send(&mut core, &new, "t", "good").unwrap();
    core.end_txn(&new, true, T0).unwrap();
    assert_eq!(committed(&core, "t"), ["good"]);
}

#[test]
fn offsets_of_a_transaction_are_unstable_until_it_ends() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    for (commit, want) in [(true, Some(7)), (false, Some(7))] {
        core.add_offsets_to_txn(&p, "g", T0).unwrap();
        let offset = if commit { 7 } else { 9 };
        core.commit_txn_offsets(&p, "g", &GroupMember::none(), vec![OffsetEntry::new("t", 0, offset)])
            .unwrap();
        assert_eq!(
            core.committed_offset("g", "t", 0, true),
            Err(ErrorCode::UnstableOffsetCommit)
        );
        core.end_txn(&p, commit, T0).unwrap();
        assert_eq!(
            core.committed_offset("g", "t", 0, true).unwrap().map(|o| o.offset),
            want
        );
    }
}
