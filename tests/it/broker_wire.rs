//! The embedded broker over TCP, with a small client of our own: what librdkafka does with it is tested elsewhere.

mod client;

use bytes::Bytes;
use client::{Client, default_request};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use millstream::dev::broker::{Broker, BrokerConfig, BrokerError, BrokerHandle};
use millstream::log::core::records::{self, BatchMeta};
use millstream::log::core::{ErrorCode, Record, batch};
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_string())
}

fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}

fn config(dir: Option<PathBuf>) -> BrokerConfig {
    BrokerConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data_dir: dir,
        ..BrokerConfig::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

/// Runs a blocking test beside a broker in memory.
fn with_broker(test: impl FnOnce(&BrokerHandle) + Send) {
    block_on(async {
        let broker = Broker::start(config(None)).await.unwrap();
        tokio::task::block_in_place(|| test(&broker));
        broker.shutdown().await;
    });
}

struct TempDir(PathBuf);

impl TempDir {
    fn new(name: &str) -> TempDir {
        let path = std::env::temp_dir().join(format!("millstream-wire-{name}-{}", std::process::id()));
        let _stale = std::fs::remove_dir_all(&path);
        TempDir(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn create(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let value = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(value).collect());
    let answer = client.call(CreateTopicsRequest::default().with_topics(vec![topic]), 7);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
}

fn encode(values: &[&str], meta: BatchMeta) -> Bytes {
    let record = |(i, value): (usize, &&str)| Record {
        offset: i as i64,
        ..Record::new(
            1_700_000_000_000,
            Some(Bytes::from_static(b"k")),
            Some(Bytes::from(value.to_string())),
        )
    };
    records::encode(&meta, &values.iter().enumerate().map(record).collect::<Vec<_>>())
}

fn produce(client: &mut Client, topic: &str, data: Bytes, txn: Option<&str>, version: i16) -> (i16, i64) {
    let partition = PartitionProduceData::default().with_records(Some(data));
    let topic = TopicProduceData::default()
        .with_name(topic_name(topic))
        .with_partition_data(vec![partition]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_transactional_id(txn.map(|t| TransactionalId(text(t))))
        .with_topic_data(vec![topic]);
    let answer = client.call(request, version);
    let partition = &answer.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}

fn produce_plain(client: &mut Client, topic: &str, values: &[&str]) -> i64 {
    let (error, offset) = produce(
        client,
        topic,
        encode(values, BatchMeta::plain(0, values.len())),
        None,
        9,
    );
    assert_eq!(error, 0);
    offset
}

fn fetch_request(topic: &str, offset: i64, max_wait_ms: i32, committed: bool) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_isolation_level(i8::from(committed))
        .with_topics(vec![
            FetchTopic::default()
                .with_topic(topic_name(topic))
                .with_partitions(vec![partition]),
        ])
}

fn fetch(client: &mut Client, topic: &str, offset: i64, committed: bool, version: i16) -> PartitionData {
    let answer = client.call(fetch_request(topic, offset, 0, committed), version);
    answer.responses[0].partitions[0].clone()
}

/// The values of the batches of an answer, markers and aborted ones included.
fn values(partition: &PartitionData) -> Vec<String> {
    let mut data = partition.records.clone().unwrap_or_default();
    let mut out = Vec::new();
    while !data.is_empty() {
        let header = batch::BatchHeader::parse(&data).unwrap();
        let one = data.split_to(header.size);
        assert!(batch::checksum_holds(&one));
        if !header.is_control() {
            out.extend(
                records::decode(&one)
                    .unwrap()
                    .iter()
                    .map(|r| String::from_utf8(r.value.as_ref().unwrap().to_vec()).unwrap()),
            );
        }
    }
    out
}

#[test]
fn every_announced_request_is_answered_in_every_version() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        let announced = client.call(ApiVersionsRequest::default(), 3);
        assert!(announced.api_keys.len() > 30);
        for api in &announced.api_keys {
            let key = ApiKey::try_from(api.api_key).unwrap();
            for version in api.min_version..=api.max_version {
                let request = default_request(key);
                client.call_kind(key, &request, version);
            }
        }
    });
}

#[test]
fn records_go_in_and_come_out_in_all_fetch_versions() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 1, &[]);
        for (at, version) in (3..=10).enumerate() {
            let (error, offset) = produce(
                &mut client,
                "t",
                encode(&["a", "b"], BatchMeta::plain(0, 2)),
                None,
                version,
            );
            assert_eq!((error, offset), (0, at as i64 * 2));
        }
        for version in 4..=12 {
            let partition = fetch(&mut client, "t", 14, false, version);
            assert_eq!((partition.error_code, partition.high_watermark), (0, 16));
            assert_eq!(values(&partition), ["a", "b"], "v{version}");
            let beyond = fetch(&mut client, "t", 17, false, version);
            assert_eq!(beyond.error_code, ErrorCode::OffsetOutOfRange.code());
            let nowhere = fetch(&mut client, "no-such-topic", 0, false, version);
            assert_eq!(nowhere.error_code, ErrorCode::UnknownTopicOrPartition.code());
        }
    });
}

#[test]
fn a_waiting_fetch_is_woken_by_an_append() {
    with_broker(|broker| {
        let addr = broker.addr();
        let mut producer = Client::connect(addr);
        create(&mut producer, "t", 1, &[]);
        let mut reader = Client::connect(addr);
        reader.send(&fetch_request("t", 0, 20_000, true), 11);
        let started = Instant::now();
        produce_plain(&mut producer, "t", &["now"]);
        let answer = reader.receive::<FetchRequest>(11);
        assert_eq!(values(&answer.responses[0].partitions[0]), ["now"]);
        assert!(started.elapsed() < Duration::from_secs(10));
        // In this process, too.
        reader.send(&fetch_request("t", 1, 20_000, true), 11);
        broker
            .log()
            .append("t", 0, None, Some(Bytes::from_static(b"inside")))
            .unwrap();
        assert_eq!(
            values(&reader.receive::<FetchRequest>(11).responses[0].partitions[0]),
            ["inside"]
        );
        assert_eq!(broker.log().read("t", 0, 0, usize::MAX).unwrap().records.len(), 2);
    });
}

#[test]
fn a_request_behind_a_waiting_fetch_does_not_wait() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 1, &[]);
        let started = Instant::now();
        client.send(&fetch_request("t", 0, 30_000, false), 11);
        client.send(&MetadataRequest::default(), 9);
        assert_eq!(
            values(&client.receive::<FetchRequest>(11).responses[0].partitions[0]),
            [""; 0]
        );
        assert_eq!(client.receive::<MetadataRequest>(9).brokers.len(), 1);
        assert!(started.elapsed() < Duration::from_secs(10));
    });
}

#[test]
fn malformed_requests_close_their_connection_only() {
    with_broker(|broker| {
        let addr = broker.addr();
        let mut witness = Client::connect(addr);
        create(&mut witness, "t", 1, &[]);
        let frame = |body: &[u8]| [&(body.len() as i32).to_be_bytes()[..], body].concat();
        for bytes in [
            vec![0xff, 0xff, 0xff, 0xff],                     // a negative length
            0x7fff_ffffi32.to_be_bytes().to_vec(),            // a length beyond the limit
            frame(&[0, 1]),                                   // too short for a header
            frame(&[0x7f, 0, 0, 0, 0, 0, 0, 1, 0, 0]),        // no such request
            frame(&[0, 0, 0x7f, 0, 0, 0, 0, 1, 0, 0]),        // no such version
            frame(&[0, 1, 0, 11, 0, 0, 0, 1, 0xff, 0xff, 9]), // a fetch that ends in the middle
        ] {
            assert!(Client::connect(addr).is_closed_after(&bytes), "{bytes:?}");
        }
        let mut seed = 42u64;
        for _ in 0..300 {
            let mut next = || {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (seed >> 33) as u8
            };
            let mut body: Vec<u8> = vec![0, next() % 76, 0, next() % 13, 0, 0, 0, 1, 0xff, 0xff];
            body.extend((0..next()).map(|_| next() % 4));
            let mut client = Client::connect(addr);
            client.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            // Answered, closed or waiting: all the same, as long as the broker lives.
            let _whatever = client.is_closed_after(&frame(&body));
        }
        assert_eq!(produce_plain(&mut witness, "t", &["still here"]), 0);
    });
}

#[test]
fn a_damaged_batch_is_refused_over_the_wire() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 1, &[("max.message.bytes", "500")]);
        let good = encode(&["v"], BatchMeta::plain(0, 1));
        let mut bad = good.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(
            produce(&mut client, "t", bad.into(), None, 9).0,
            ErrorCode::CorruptMessage.code()
        );
        let large = encode(&[&"v".repeat(600)], BatchMeta::plain(0, 1));
        assert_eq!(
            produce(&mut client, "t", large, None, 9).0,
            ErrorCode::MessageTooLarge.code()
        );
        assert_eq!(produce(&mut client, "t", good, None, 9), (0, 0));
    });
}

/// Opens a transaction with one record and one group offset in it.
fn open_transaction(client: &mut Client, sequence: i32) -> (ProducerId, i16) {
    let id = || TransactionalId(text("tx"));
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000);
    let init = client.call(init.with_producer_id(ProducerId(-1)).with_producer_epoch(-1), 4);
    assert_eq!(init.error_code, 0);
    let (producer, epoch) = (init.producer_id, init.producer_epoch);
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(producer)
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call(add, 3);
    assert_eq!(
        added.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code,
        0
    );
    let meta = BatchMeta {
        attributes: batch::TRANSACTIONAL,
        producer_id: producer.0,
        producer_epoch: epoch,
        base_sequence: sequence,
        ..BatchMeta::plain(0, 1)
    };
    assert_eq!(produce(client, "t", encode(&["txn"], meta), Some("tx"), 9).0, 0);
    let group = || GroupId(text("g"));
    let offsets = AddOffsetsToTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(producer)
        .with_producer_epoch(epoch)
        .with_group_id(group());
    assert_eq!(client.call(offsets, 3).error_code, 0);
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(7);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic_name("t"))
        .with_partitions(vec![partition]);
    let commit = TxnOffsetCommitRequest::default()
        .with_transactional_id(id())
        .with_group_id(group())
        .with_producer_id(producer)
        .with_producer_epoch(epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    assert_eq!(client.call(commit, 3).topics[0].partitions[0].error_code, 0);
    (producer, epoch)
}

fn end_transaction(client: &mut Client, producer: (ProducerId, i16), commit: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("tx")))
        .with_producer_id(producer.0)
        .with_producer_epoch(producer.1)
        .with_committed(commit);
    client.call(request, 3).error_code
}

fn committed_offset(client: &mut Client) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("t"))
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    let answer = client.call(
        OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(true),
        9,
    );
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

#[test]
fn transactions_are_seen_when_they_commit_and_can_be_looked_at_before() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 1, &[]);
        let producer = open_transaction(&mut client, 0);
        assert_eq!(values(&fetch(&mut client, "t", 0, true, 11)), [""; 0]);
        assert_eq!(fetch(&mut client, "t", 0, true, 11).last_stable_offset, 0);
        assert_eq!(committed_offset(&mut client).0, ErrorCode::UnstableOffsetCommit.code());
        let open = ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing")]);
        assert_eq!(client.call(open.clone(), 0).transaction_states.len(), 1);
        assert_eq!(end_transaction(&mut client, producer, true), 0);
        assert_eq!(values(&fetch(&mut client, "t", 0, true, 11)), ["txn"]);
        assert_eq!(committed_offset(&mut client), (0, 7));
        assert_eq!(client.call(open, 0).transaction_states.len(), 0);
        // Aborted: the data is there, with the note that it does not count.
        let producer = open_transaction(&mut client, 0);
        assert_eq!(end_transaction(&mut client, producer, false), 0);
        for version in 4..=12 {
            let partition = fetch(&mut client, "t", 0, true, version);
            let aborted = partition.aborted_transactions.clone().unwrap();
            assert_eq!(aborted.len(), 1, "v{version}");
            assert_eq!((aborted[0].producer_id, aborted[0].first_offset), (producer.0, 2));
        }
        // A newer producer fences this one.
        let newer = open_transaction(&mut client, 0);
        assert_eq!(
            end_transaction(&mut client, producer, true),
            ErrorCode::ProducerFenced.code()
        );
        assert_eq!(end_transaction(&mut client, newer, true), 0);
        let latest = ListOffsetsPartition::default().with_timestamp(-1);
        let topic = ListOffsetsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![latest]);
        let ends = client.call(
            ListOffsetsRequest::default()
                .with_isolation_level(1)
                .with_topics(vec![topic]),
            7,
        );
        assert_eq!(ends.topics[0].partitions[0].offset, 6);
    });
}

fn join_request(member: &str, session_ms: i32) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_member_id(text(member))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(30_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

#[test]
fn members_wait_for_each_other_and_a_closed_connection_is_noticed() {
    with_broker(|broker| {
        let mut a = Client::connect(broker.addr());
        let first = a.call(join_request("", 30_000), 3);
        assert_eq!((first.error_code, first.members.len()), (0, 1));
        let mut b = Client::connect(broker.addr());
        b.send(&join_request("", 30_000), 3);
        let mut gone = Client::connect(broker.addr());
        gone.send(&join_request("", 1), 3);
        drop(gone);
        // The heartbeat says that there is a rebalance; the member joins again, and all get their answer.
        let beat = HeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_generation_id(first.generation_id)
            .with_member_id(first.member_id.clone());
        while a.call(beat.clone(), 3).error_code == 0 {
            std::thread::yield_now();
        }
        let again = a.call(join_request(&first.member_id, 30_000), 3);
        let other = b.receive::<JoinGroupRequest>(3);
        assert_eq!((again.error_code, other.error_code), (0, 0));
        assert_eq!(again.generation_id, other.generation_id);
        assert_eq!(again.leader, first.member_id);
        assert!(again.members.len() >= 2 && other.members.is_empty());
    });
}

#[test]
fn a_consumer_group_is_assigned_by_the_broker() {
    with_broker(|broker| {
        let mut client = Client::connect(broker.addr());
        create(&mut client, "t", 4, &[]);
        let join = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text("m1"))
            .with_rebalance_timeout_ms(10_000)
            .with_subscribed_topic_names(Some(vec![topic_name("t")]))
            .with_topic_partitions(Some(Vec::new()));
        let joined = client.call(join.clone(), 1);
        assert_eq!((joined.error_code, joined.member_epoch), (0, 1));
        assert_eq!(joined.assignment.unwrap().topic_partitions[0].partitions, [0, 1, 2, 3]);
        let described = client.call(
            ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text("g"))]),
            1,
        );
        assert_eq!(described.groups[0].group_state, text("Stable"));
        assert_eq!(
            described.groups[0].members[0].assignment.topic_partitions[0].topic_name,
            topic_name("t")
        );
        let older = client.call(
            DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]),
            5,
        );
        assert_eq!(older.groups[0].members.len(), 1);
        let wrong = client.call(join.clone().with_member_epoch(5), 1);
        assert_eq!(wrong.error_code, ErrorCode::FencedMemberEpoch.code());
        let regex = client.call(join.with_subscribed_topic_regex(Some(text("t.*"))), 1);
        assert_eq!(regex.error_code, ErrorCode::InvalidRegularExpression.code());
        let listed = client.call(ListGroupsRequest::default(), 5);
        assert_eq!(listed.groups[0].group_type, text("Consumer"));
    });
}

#[test]
fn a_directory_survives_and_is_held_by_one_broker() {
    let dir = TempDir::new("restart");
    block_on(async {
        let broker = Broker::start(config(Some(dir.0.clone()))).await.unwrap();
        let addr = broker.addr();
        tokio::task::block_in_place(|| {
            let mut client = Client::connect(addr);
            create(&mut client, "t", 1, &[]);
            produce_plain(&mut client, "t", &["kept"]);
        });
        let busy = Broker::start(config(Some(dir.0.clone()))).await.err().unwrap();
        assert!(matches!(busy, BrokerError::Directory(_)), "{busy}");
        let taken = Broker::start(BrokerConfig {
            listen: addr,
            ..config(None)
        })
        .await
        .err()
        .unwrap();
        assert!(
            taken.to_string().contains(&addr.to_string()) && taken.to_string().contains("--kafka"),
            "{taken}"
        );
        let started = Instant::now();
        broker.shutdown().await;
        assert!(started.elapsed() < Duration::from_secs(2));
        let broker = Broker::start(config(Some(dir.0.clone()))).await.unwrap();
        let again = broker.addr();
        tokio::task::block_in_place(|| {
            assert_eq!(values(&fetch(&mut Client::connect(again), "t", 0, true, 12)), ["kept"]);
        });
        broker.shutdown().await;
    });
}
