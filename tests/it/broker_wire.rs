//! The embedded broker over TCP, with a small client of our own: what librdkafka does with it is tested elsewhere.

mod client;
mod groups;

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
