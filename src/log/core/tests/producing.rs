//! Producing and reading: checks, sequences, limits, look-ups, retention.

use super::super::batch::{BatchHeader, HEADER_LEN};
use super::super::records::{self, BatchMeta};
use super::super::*;
use super::*;

/// An idempotent batch with one record.
fn idempotent(producer_id: i64, epoch: i16, sequence: i32) -> Bytes {
    let meta = BatchMeta {
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchMeta::plain(0, 1)
    };
    records::encode(&meta, &[rec("k", &sequence.to_string())])
}

fn produce(core: &mut Core, data: Bytes) -> Result<i64> {
    let partition = core.partition_id("t", 0).unwrap();
    core.produce(&[ProduceBatch { partition, data }], None, T0)[0].map(|a| a.base_offset)
}

fn with_topic(pairs: &[(&str, &str)]) -> Core {
    let mut core = core();
    core.create_topic("t", 1, config(pairs)).unwrap();
    core
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
fn repeated_batches_get_the_first_answer_and_gaps_are_refused() {
    let mut core = with_topic(&[]);
    assert_eq!(produce(&mut core, idempotent(7, 0, 0)), Ok(0));
    assert_eq!(produce(&mut core, idempotent(7, 0, 1)), Ok(1));
    assert_eq!(produce(&mut core, idempotent(7, 0, 0)), Ok(0));
    assert_eq!(
        produce(&mut core, idempotent(7, 0, 3)),
        Err(ErrorCode::OutOfOrderSequence)
    );
    assert_eq!(
        produce(&mut core, idempotent(7, 1, 5)),
        Err(ErrorCode::OutOfOrderSequence)
    );
    assert_eq!(produce(&mut core, idempotent(7, 1, 0)), Ok(2));
    assert_eq!(
        produce(&mut core, idempotent(7, 0, 2)),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    // Nothing is known of this one: it may be one that was forgotten.
    assert_eq!(produce(&mut core, idempotent(8, 0, 41)), Ok(3));
    assert_eq!(values(&core, "t", Isolation::ReadUncommitted), ["0", "1", "0", "41"]);
}

#[test]
fn sequences_wrap_around() {
    let mut core = with_topic(&[]);
    assert_eq!(produce(&mut core, idempotent(7, 0, i32::MAX)), Ok(0));
    assert_eq!(produce(&mut core, idempotent(7, 0, 0)), Ok(1));
    let header = BatchHeader {
        record_count: 3,
        base_sequence: i32::MAX - 1,
        ..BatchHeader::parse(&idempotent(7, 0, 0)).unwrap()
    };
    assert_eq!(header.last_sequence(), 0);
}

#[test]
fn two_batches_of_one_request_for_one_partition_follow_each_other() {
    let mut core = with_topic(&[]);
    let partition = core.partition_id("t", 0).unwrap();
    let batch = |sequence| ProduceBatch {
        partition,
        data: idempotent(7, 0, sequence),
    };
    let answers = core.produce(&[batch(0), batch(1), batch(3), batch(2)], None, T0);
    let offsets: Vec<_> = answers.iter().map(|a| a.map(|a| a.base_offset)).collect();
    assert_eq!(offsets, [Ok(0), Ok(1), Err(ErrorCode::OutOfOrderSequence), Ok(2)]);
}

#[test]
fn damaged_batches_are_refused_and_never_panic() {
    let mut core = with_topic(&[]);
    let good = idempotent(7, 0, 0);
    for at in 0..good.len() {
        for bit in [1u8, 0x80] {
            let mut bad = good.to_vec();
            bad[at] ^= bit;
            // Offset and leader epoch are the log's to fill in; everything else is covered by length or checksum.
            let harmless = at < 8 || (12..16).contains(&at);
            if !harmless {
                assert!(produce(&mut core, bad.into()).is_err(), "byte {at}");
            }
        }
    }
    for length in 0..good.len() {
        assert!(produce(&mut core, good.slice(..length)).is_err());
    }
    assert_eq!(produce(&mut core, good), Ok(0));
}

#[test]
fn decoding_random_bytes_never_panics() {
    let mut dice = Dice::new(5);
    for _ in 0..3_000 {
        let mut bytes: Vec<u8> = (0..61 + dice.below(80)).map(|_| dice.below(256) as u8).collect();
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[22] = dice.below(6) as u8; // the codec
        bytes[57..61].copy_from_slice(&(dice.below(5) as i32).to_be_bytes());
        let bytes = Bytes::from(bytes);
        let _outcome = (
            records::decode(&bytes),
            records::all_have_keys(&bytes),
            records::marker_commits(&bytes),
        );
    }
}

#[test]
fn a_batch_that_is_too_large_is_refused() {
    let mut core = with_topic(&[("max.message.bytes", "200")]);
    assert_eq!(
        core.append("t", 0, vec![rec("k", &"v".repeat(300))], T0),
        Err(ErrorCode::MessageTooLarge)
    );
    assert_eq!(core.append("t", 0, vec![rec("k", "v")], T0), Ok(0));
}

#[test]
fn a_compacted_topic_takes_no_record_without_key() {
    let mut core = with_topic(&[("cleanup.policy", "compact")]);
    let keyless = Record::new(T0, None, Some(Bytes::from_static(b"v")));
    assert_eq!(
        core.append("t", 0, vec![rec("k", "v"), keyless], T0),
        Err(ErrorCode::InvalidRecord)
    );
}

#[test]
fn append_time_replaces_the_producers() {
    let mut core = with_topic(&[("message.timestamp.type", "LogAppendTime")]);
    core.append("t", 0, vec![rec("k", "v")], T0 + 77).unwrap();
    let read = core.read("t", 0, 0, 1, Isolation::ReadUncommitted).unwrap();
    assert_eq!(read.records[0].timestamp, T0 + 77);
    let plan = core
        .fetch(
            core.partition_id("t", 0).unwrap(),
            0,
            1,
            true,
            Isolation::ReadUncommitted,
        )
        .unwrap();
    assert!(batch::checksum_holds(&plan.slices[0].read().unwrap()));
}

#[test]
fn headers_and_missing_parts_survive() {
    let mut core = with_topic(&[]);
    let header = |name: &str, value: Option<&'static [u8]>| (name.to_string(), value.map(Bytes::from_static));
    let record = Record {
        headers: vec![header("a", Some(b"1")), header("a", None), header("", Some(b""))],
        ..Record::new(T0 - 5, None, None)
    };
    core.append("t", 0, vec![rec("k", "v"), record.clone()], T0).unwrap();
    let read = core.read("t", 0, 1, usize::MAX, Isolation::ReadUncommitted).unwrap();
    assert_eq!(read.records, [Record { offset: 1, ..record }]);
}

#[test]
fn fetches_keep_to_their_size_but_always_get_on() {
    let mut core = with_topic(&[]);
    for value in ["a", "b", "c"] {
        core.append("t", 0, vec![rec("k", value)], T0).unwrap();
    }
    let id = core.partition_id("t", 0).unwrap();
    let fetch = |offset, max, one| core.fetch(id, offset, max, one, Isolation::ReadUncommitted);
    let size = fetch(0, 1, true).unwrap().bytes;
    assert_eq!(fetch(0, 1, true).unwrap().slices.len(), 1);
    assert_eq!(fetch(0, 1, false).unwrap().slices.len(), 0);
    assert_eq!(fetch(0, size * 2, false).unwrap().next_offset, 2);
    assert_eq!(fetch(3, size, true).unwrap().slices.len(), 0);
    assert_eq!(fetch(4, size, true).unwrap_err(), ErrorCode::OffsetOutOfRange);
    assert_eq!(fetch(-1, size, true).unwrap_err(), ErrorCode::OffsetOutOfRange);
}

#[test]
fn offsets_are_found_by_time() {
    let mut core = with_topic(&[]);
    for batch in 0..5 {
        let record = |i: i64| Record::new(T0 + (batch * 2 + i) * 1000, None, Some(Bytes::from_static(b"v")));
        core.append("t", 0, vec![record(0), record(1)], T0).unwrap();
    }
    let id = core.partition_id("t", 0).unwrap();
    let find = |core: &Core, query| {
        core.find_offset(id, query, Isolation::ReadUncommitted)
            .unwrap()
            .resolve()
            .unwrap()
    };
    let at = |core: &Core, ms| find(core, OffsetQuery::AtOrAfter(T0 + ms)).map(|(_, offset)| offset);
    assert_eq!(at(&core, 4_500), Some(5));
    assert_eq!(at(&core, 4_000), Some(4));
    assert_eq!(at(&core, -1), Some(0));
    assert_eq!(at(&core, 9_001), None);
    assert_eq!(find(&core, OffsetQuery::MaxTimestamp), Some((T0 + 9_000, 9)));
    assert_eq!(find(&core, OffsetQuery::Latest), Some((-1, 10)));
    // In the middle of a batch: what is before the start is not found any more.
    core.delete_records("t", 0, 5).unwrap();
    assert_eq!(at(&core, 4_000), Some(5));
    assert_eq!(find(&core, OffsetQuery::Earliest), Some((-1, 5)));
}

#[test]
fn records_are_deleted_by_offset() {
    let mut core = with_topic(&[]);
    for value in ["a", "b", "c"] {
        core.append("t", 0, vec![rec("k", value)], T0).unwrap();
    }
    assert_eq!(core.delete_records("t", 0, 4), Err(ErrorCode::OffsetOutOfRange));
    assert_eq!(core.delete_records("t", 0, 1), Ok(1));
    assert_eq!(core.delete_records("t", 0, 0), Ok(1));
    assert_eq!(values(&core, "t", Isolation::ReadUncommitted), ["b", "c"]);
    assert_eq!(core.delete_records("t", 0, -1), Ok(3));
    assert_eq!(values(&core, "t", Isolation::ReadUncommitted), [""; 0]);
    assert_eq!(core.append("t", 0, vec![rec("k", "d")], T0), Ok(3));
}

#[test]
fn retention_by_time_and_by_size() {
    for (pairs, left) in [
        (&[("retention.ms", "1000")][..], vec!["c"]),
        (&[("retention.bytes", "140")][..], vec!["b", "c"]),
        (&[][..], vec!["a", "b", "c"]),
        (
            &[("cleanup.policy", "compact"), ("retention.ms", "1000")][..],
            vec!["a", "b", "c"],
        ),
    ] {
        let mut core = with_topic(pairs);
        for (age, value) in [(9_000, "a"), (5_000, "b"), (100, "c")] {
            let record = Record {
                timestamp: T0 - age,
                ..rec(value, value)
            };
            core.append("t", 0, vec![record], T0).unwrap();
        }
        let core = std::cell::RefCell::new(core);
        maintenance::run(&core, T0);
        assert_eq!(
            values(&core.borrow(), "t", Isolation::ReadUncommitted),
            left,
            "{pairs:?}"
        );
    }
}

#[test]
fn topics_have_rules() {
    let mut core = core();
    for name in ["", ".", "..", "a b", "ü", &"x".repeat(250)] {
        assert_eq!(
            core.create_topic(name, 1, BTreeMap::new()),
            Err(ErrorCode::InvalidTopic),
            "{name}"
        );
    }
    assert_eq!(
        core.create_topic("t", 0, BTreeMap::new()),
        Err(ErrorCode::InvalidPartitions)
    );
    assert_eq!(
        core.create_topic("t", 1, config(&[("no.such", "1")])),
        Err(ErrorCode::InvalidConfig)
    );
    let id = core.create_topic("t", 1, BTreeMap::new()).unwrap();
    assert_eq!(
        core.create_topic("t", 1, BTreeMap::new()),
        Err(ErrorCode::TopicAlreadyExists)
    );
    assert_eq!(core.create_partitions("t", 1, false), Err(ErrorCode::InvalidPartitions));
    core.create_partitions("t", 4, false).unwrap();
    assert_eq!(core.topic("t").unwrap().partition_count(), 4);
    core.delete_topic("t").unwrap();
    assert_eq!(core.delete_topic("t"), Err(ErrorCode::UnknownTopicOrPartition));
    let again = core.create_topic("t", 1, BTreeMap::new()).unwrap();
    assert_ne!(id, again, "a topic that is made again is another one");
    assert_eq!(core.topic_name(id), Err(ErrorCode::UnknownTopicId));
    assert_eq!(&**core.topic_name(again).unwrap(), "t");
}

#[test]
fn a_header_alone_is_as_long_as_it_says() {
    let empty = records::encode(&BatchMeta::plain(5, 1), &[]);
    assert_eq!(empty.len(), HEADER_LEN);
    assert!(batch::checksum_holds(&empty));
    assert_eq!(records::decode(&empty), Ok(Vec::new()));
}
