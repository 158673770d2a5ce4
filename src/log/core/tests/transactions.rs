//! Transactions: isolation, fencing, offsets, time-outs.

use super::super::groups::{GroupMember, OffsetEntry};
use super::super::*;
use super::*;

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

#[test]
fn ending_twice_is_no_error_but_changing_ones_mind_is() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    assert_eq!(core.end_txn(&p, true, T0), Err(ErrorCode::InvalidTxnState));
    send(&mut core, &p, "t", "v").unwrap();
    core.end_txn(&p, true, T0).unwrap();
    assert_eq!(core.end_txn(&p, true, T0), Ok(()));
    assert_eq!(core.end_txn(&p, false, T0), Err(ErrorCode::InvalidTxnState));
}

#[test]
fn a_batch_outside_a_transaction_is_refused() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    assert_eq!(
        core.append_as("t", 0, vec![rec("k", "v")], &p, T0),
        Err(ErrorCode::InvalidTxnState)
    );
    let stranger = ProducerIdentity { id: 99, ..p };
    let refused = core.append_as("t", 0, vec![rec("k", "v")], &stranger, T0);
    assert_eq!(refused, Err(ErrorCode::InvalidProducerIdMapping));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_under_the_next_epoch() {
    let mut core = core();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    send(&mut core, &p, "t", "late").unwrap();
    core.tick(T0 + 9_999);
    assert!(core.transaction("x").unwrap().is_open());
    core.tick(T0 + 10_000);
    assert!(!core.transaction("x").unwrap().is_open());
    assert_eq!(core.end_txn(&p, true, T0 + 10_001), Err(ErrorCode::ProducerFenced));
    assert_eq!(committed(&core, "t"), [""; 0]);
    // KIP-588: the producer that was late may go on, under the epoch that the time-out made.
    let again = core
        .init_producer_id(Some("x"), 10_000, Some((p.id, p.epoch)), T0 + 10_002)
        .unwrap();
    assert_eq!(again, (p.id, p.epoch + 1));
}

#[test]
fn a_producer_that_names_an_epoch_of_the_past_is_fenced() {
    let mut core = core();
    let first = producer(&mut core, "x");
    let bumped = core
        .init_producer_id(Some("x"), 10_000, Some((first.id, first.epoch)), T0)
        .unwrap();
    assert_eq!(bumped, (first.id, first.epoch + 1));
    // The answer was lost: asking again gives the same.
    assert_eq!(
        core.init_producer_id(Some("x"), 10_000, Some((first.id, first.epoch)), T0),
        Ok(bumped)
    );
    let _other = producer(&mut core, "x");
    let late = core.init_producer_id(Some("x"), 10_000, Some(bumped), T0);
    assert_eq!(late, Err(ErrorCode::ProducerFenced));
}

#[test]
fn epochs_that_run_out_give_a_new_producer_id() {
    let mut core = core();
    let first = producer(&mut core, "x");
    core.txns.get_mut("x").unwrap().epoch = i16::MAX - 2;
    let next = core.init_producer_id(Some("x"), 10_000, None, T0).unwrap();
    assert_ne!(next.0, first.id);
    assert_eq!(next.1, 0);
}

#[test]
fn time_outs_have_a_limit() {
    let mut core = core();
    for timeout in [0, -1, 15 * 60 * 1000 + 1] {
        let refused = core.init_producer_id(Some("x"), timeout, None, T0);
        assert_eq!(refused, Err(ErrorCode::InvalidTransactionTimeout));
    }
}

#[test]
fn one_transaction_over_partitions_and_groups_ends_everywhere_at_once() {
    let mut core = core();
    core.create_topic("t", 3, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    let partitions: Vec<u32> = (0..3).map(|i| core.partition_id("t", i).unwrap()).collect();
    core.add_partitions_to_txn(&p, &partitions, T0).unwrap();
    for index in 0..3 {
        core.append_as("t", index, vec![rec("k", "v")], &p, T0).unwrap();
    }
    core.add_offsets_to_txn(&p, "g", T0).unwrap();
    let offsets = (0..3).map(|i| OffsetEntry::new("t", i, 10 + i64::from(i))).collect();
    core.commit_txn_offsets(&p, "g", &GroupMember::none(), offsets).unwrap();
    core.end_txn(&p, true, T0).unwrap();
    for index in 0..3 {
        let partition = core.partition(partitions[index as usize]).unwrap();
        assert_eq!((partition.last_stable(), partition.high_watermark()), (2, 2));
        let offset = core.committed_offset("g", "t", index, true).unwrap().unwrap().offset;
        assert_eq!(offset, 10 + i64::from(index));
    }
}

#[test]
fn a_topic_deleted_in_a_transaction_does_not_disturb_its_end() {
    let mut core = core();
    core.create_topic("gone", 1, BTreeMap::new()).unwrap();
    core.create_topic("t", 1, BTreeMap::new()).unwrap();
    let p = producer(&mut core, "x");
    send(&mut core, &p, "gone", "v").unwrap();
    send(&mut core, &p, "t", "v").unwrap();
    core.delete_topic("gone").unwrap();
    core.end_txn(&p, true, T0).unwrap();
    assert_eq!(committed(&core, "t"), ["v"]);
}
