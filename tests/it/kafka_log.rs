//! `log::kafka` over the wire: against the embedded broker, or against the broker that `MILLSTREAM_TEST_KAFKA=HOST:PORT` names.

mod membership;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{
    Fetched, Fetcher, FetcherConfig, GroupMetadata, Log, LogError, Membership, MembershipConfig, MembershipEvent,
    NewTopic, OutRecord, TransactionalProducer,
};
use millstream::types::{Headers, TopicPartition};

use crate::broker::TestBroker;
use crate::patience::until;

const WAIT: Duration = Duration::from_secs(10);
/// Longer than a session: what waits for a rebalance.
const LONG: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(20);

struct Setup {
    log: KafkaLog,
    /// Makes names unique on a broker that several tests share.
    run: String,
    broker: TestBroker,
}

impl Setup {
    fn new() -> Self {
        let broker = TestBroker::start();
        Self {
            log: connect(&broker, &[]),
            run: uuid::Uuid::new_v4().simple().to_string()[..8].to_owned(),
            broker,
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{name}-{}", self.run)
    }

    fn topic(&self, name: &str, partitions: i32, config: &[(&str, &str)]) -> String {
        let name = self.name(name);
        let mut all = vec![("retention.ms".to_owned(), "-1".to_owned())];
        all.extend(config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let topic = NewTopic {
            name: name.clone(),
            partitions,
            replicas: 1,
            config: all,
        };
        self.log
            .admin()
            .create_topics(std::slice::from_ref(&topic))
            .expect("created");
        self.log
            .admin()
            .create_topics(&[topic])
            .expect("one that exists is left as it is");
        name
    }

    fn fetcher(&self, committed_only: bool) -> Box<dyn Fetcher> {
        let config = FetcherConfig {
            committed_only,
            buffer_bytes: 4 << 20,
        };
        self.log.fetcher(&config).expect("a fetcher")
    }

    fn transactions(&self, id: &str) -> Box<dyn TransactionalProducer> {
        let mut producer = self.log.transactional_producer(&self.name(id)).expect("a producer");
        retry(|| producer.init(WAIT));
        producer
    }
}

fn connect(broker: &TestBroker, properties: &[(&str, &str)]) -> KafkaLog {
    let settings = KafkaSettings {
        bootstrap_servers: broker.address(),
        client_id: "it".into(),
        properties: properties
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    KafkaLog::new(settings).expect("valid settings")
}

fn retry<T>(mut call: impl FnMut() -> Result<T, LogError>) -> T {
    let end = Instant::now() + LONG;
    loop {
        match call() {
            Ok(value) => return value,
            Err(LogError::Retry(message) | LogError::Unknown(message)) => {
                assert!(Instant::now() < end, "still failing: {message}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn send(producer: &mut dyn TransactionalProducer, topic: &str, partition: i32, value: &str) {
    send_with(producer, topic, partition, Some(value.as_bytes()), &None).expect("taken");
}

fn send_with(
    producer: &mut dyn TransactionalProducer,
    topic: &str,
    partition: i32,
    value: Option<&[u8]>,
    headers: &Headers,
) -> Result<(), LogError> {
    let topic = producer.topic(topic)?;
    producer.send(OutRecord {
        topic,
        partition,
        key: Some(b"key"),
        value,
        timestamp: 1_700_000_000_123,
        headers,
    })
}

/// Values and ends of partition, as they come, until `done`.
fn read(fetcher: &mut dyn Fetcher, mut done: impl FnMut(&[String], usize) -> bool) -> Vec<String> {
    let (mut values, mut ends) = (Vec::new(), 0);
    let end = Instant::now() + LONG;
    while !done(&values, ends) {
        assert!(Instant::now() < end, "only {values:?} and {ends} ends came");
        let mut sink = |fetched: Fetched<'_>| match fetched {
            Fetched::Record(record) => {
                values.push(String::from_utf8(record.value.unwrap_or(b"-").to_vec()).expect("text"))
            }
            Fetched::End { .. } => ends += 1,
            Fetched::Ahead { .. } => {}
        };
        fetcher.poll(1000, STEP, &mut sink).expect("poll");
    }
    values
}

#[test]
fn topics_and_offsets_of_the_admin() {
    let setup = Setup::new();
    let admin = setup.log.admin();
    let name = setup.topic(
        "admin",
        3,
        &[("cleanup.policy", "compact"), ("max.message.bytes", "2000000")],
    );
    let missing = setup.name("missing");
    let found = admin.topics(&[&missing, &name]).expect("answer");
    assert!(found[0].is_none());
    let info = found[1].clone().expect("exists");
    assert_eq!(
        (info.name.as_str(), info.partitions, info.id.is_empty()),
        (name.as_str(), 3, false)
    );
    assert!(admin.list_topics().expect("answer").contains(&name));
    let setting = |topics: &[&str], key| admin.topic_setting(topics, key).expect("answer");
    let plain = setup.topic("plain", 1, &[]);
    let policies = ["delete", "compact"].map(|policy| Some(policy.to_owned()));
    assert_eq!(setting(&[&plain, &name], "cleanup.policy"), policies);
    assert_eq!(setting(&[&name], "max.message.bytes"), [Some("2000000".to_owned())]);
    assert_eq!(setting(&[&name], "no.such.setting"), [None]);

    let tp = TopicPartition::new(name.as_str(), 1);
    assert_eq!(admin.watermarks(&tp).expect("answer"), (0, 0));
    let group = setup.name("group");
    let other = TopicPartition::new(name.as_str(), 2);
    assert_eq!(
        admin.committed(&group, &[tp.clone(), other.clone()]).expect("answer"),
        [None, None]
    );
    admin.set_committed(&group, &[(tp.clone(), 7)]).expect("set");
    assert_eq!(admin.committed(&group, &[other, tp]).expect("answer"), [None, Some(7)]);
    assert_eq!(admin.group_members(&group).expect("answer"), 0);
    admin.delete_group(&group).expect("deleted");
    admin.delete_group(&group).expect("a missing group is no error");

    admin.delete_topics(&[&name, &missing]).expect("deleted");
    assert!(admin.topics(&[&name]).expect("answer")[0].is_none());
    let again = setup.topic("admin", 3, &[]);
    assert_ne!(
        admin.topics(&[&again]).expect("answer")[0].clone().expect("exists").id,
        info.id
    );
}

#[test]
fn a_transaction_is_seen_when_it_is_committed_and_not_when_it_is_aborted() {
    let setup = Setup::new();
    let topic = setup.topic("txn", 2, &[]);
    let mut producer = setup.transactions("t");
    let headers: Headers = Some(Arc::new(vec![
        ("h".into(), Some(Arc::from(&b"1"[..]))),
        ("empty".into(), None),
    ]));

    producer.begin().expect("begun");
    send(&mut *producer, &topic, 0, "aborted");
    producer.flush(WAIT).expect("acknowledged");
    let tp = TopicPartition::new(topic.as_str(), 0);
    let admin = setup.log.admin();
    assert_eq!(admin.watermarks(&tp).expect("answer").1, 1);
    let other = TopicPartition::new(topic.as_str(), 1);
    let ends = admin.ends(&[other, tp.clone()]).expect("answer");
    assert_eq!(ends, [0, 1], "in the order asked for");
    assert_eq!(admin.ends(&[]).expect("answer"), [0i64; 0]);
    assert_eq!(admin.stable_end(&tp).expect("answer"), 0);
    producer.abort(WAIT).expect("aborted");

    producer.begin().expect("begun");
    send_with(&mut *producer, &topic, 0, Some(b"committed"), &headers).expect("taken");
    send_with(&mut *producer, &topic, 1, None, &None).expect("taken");
    let mut delivered = producer.flush(WAIT).expect("acknowledged");
    delivered.sort();
    // the aborted record and its marker come before
    assert_eq!(
        delivered.iter().map(|(_, p, o)| (*p, *o)).collect::<Vec<_>>(),
        [(0, 2), (1, 0)]
    );
    producer.commit(WAIT).expect("committed");
    // markers are written after the answer to the commit
    let end = Instant::now() + LONG;
    while admin.stable_end(&tp).expect("answer") < 4 {
        assert!(Instant::now() < end, "no marker came");
    }
    assert_eq!(admin.offset_for_time(&tp, 1_700_000_000_123).expect("answer"), 0);
    assert_eq!(admin.offset_for_time(&tp, 1_800_000_000_000).expect("answer"), 4);

    let mut fetcher = setup.fetcher(true);
    fetcher.assign(5, &tp, 0).expect("assigned");
    let (mut seen, mut ended) = (Vec::new(), false);
    let end = Instant::now() + LONG;
    while !ended {
        assert!(Instant::now() < end, "no end of partition came");
        let mut sink = |fetched: Fetched<'_>| match fetched {
            Fetched::Record(r) => {
                seen.push((
                    r.slot,
                    r.offset,
                    r.timestamp,
                    r.key.map(<[u8]>::to_vec),
                    r.value.map(<[u8]>::to_vec),
                    r.headers.to_headers(),
                ));
            }
            Fetched::End { slot } => ended = slot == 5,
            Fetched::Ahead { .. } => {}
        };
        fetcher.poll(100, STEP, &mut sink).expect("poll");
    }
    let expected = (
        5,
        2,
        1_700_000_000_123,
        Some(b"key".to_vec()),
        Some(b"committed".to_vec()),
        headers,
    );
    assert_eq!(seen, [expected]);
    assert_eq!(
        fetcher.position(5).expect("position"),
        Some(4),
        "the position passes markers"
    );
}

#[test]
fn reading_goes_on_after_pauses_and_again_from_where_it_is_told() {
    let setup = Setup::new();
    let topic = setup.topic("read", 1, &[]);
    let tp = TopicPartition::new(topic.as_str(), 0);
    let mut producer = setup.transactions("t");
    producer.begin().expect("begun");
    let count = 3000;
    for i in 0..count {
        send(&mut *producer, &topic, 0, &i.to_string());
    }
    producer.flush(WAIT).expect("acknowledged");
    producer.commit(WAIT).expect("committed");

    let mut fetcher = setup.fetcher(true);
    fetcher.assign(1, &tp, 0).expect("assigned");
    assert!(fetcher.assign(1, &tp, 0).is_err(), "a slot twice");
    let mut values = Vec::new();
    let end = Instant::now() + LONG;
    while values.len() < count {
        assert!(Instant::now() < end, "only {} came", values.len());
        let mut sink = |fetched: Fetched<'_>| {
            if let Fetched::Record(record) = fetched {
                values.push(
                    std::str::from_utf8(record.value.expect("a value"))
                        .expect("text")
                        .parse::<usize>()
                        .expect("a number"),
                );
            }
        };
        let before = fetcher.poll(100, STEP, &mut sink).expect("poll");
        assert!(before <= 100, "more than asked for");
        fetcher.pause(1).expect("paused");
        let given = fetcher
            .poll(100, Duration::from_millis(1), &mut |_| panic!("paused"))
            .expect("poll");
        assert_eq!(given, 0);
        fetcher.resume(1).expect("resumed");
    }
    assert_eq!(values, (0..count).collect::<Vec<_>>());

    fetcher.unassign(1).expect("unassigned");
    assert_eq!(fetcher.position(1).expect("position"), None);
    fetcher.assign(2, &tp, count as i64 - 2).expect("assigned");
    assert_eq!(
        read(&mut *fetcher, |_, ends| ends > 0),
        [(count - 2).to_string(), (count - 1).to_string()]
    );
    // assigned at the very end: the end is told again
    fetcher.unassign(2).expect("unassigned");
    let position = setup.log.admin().stable_end(&tp).expect("answer");
    fetcher.assign(3, &tp, position).expect("assigned");
    assert!(read(&mut *fetcher, |_, ends| ends > 0).is_empty());
    assert_eq!(fetcher.position(3).expect("position"), Some(position));
}

#[test]
fn an_offset_outside_the_topic_is_told_with_its_range() {
    let setup = Setup::new();
    let topic = setup.topic("range", 1, &[]);
    let tp = TopicPartition::new(topic.as_str(), 0);
    let mut producer = setup.transactions("t");
    producer.begin().expect("begun");
    for i in 0..10 {
        send(&mut *producer, &topic, 0, &i.to_string());
    }
    producer.flush(WAIT).expect("acknowledged");
    producer.commit(WAIT).expect("committed");
    setup.log.admin().delete_records(&[(tp.clone(), 5)]).expect("deleted");
    for offset in [2, 1000] {
        let mut fetcher = setup.fetcher(true);
        fetcher.assign(0, &tp, offset).expect("assigned");
        let end = Instant::now() + LONG;
        let error = loop {
            assert!(Instant::now() < end, "no error came");
            if let Err(error) = fetcher.poll(10, STEP, &mut |_| ()) {
                break error;
            }
        };
        assert_eq!(
            error,
            LogError::OutOfRange {
                tp: tp.clone(),
                offset,
                low: 5,
                high: 11
            }
        );
    }
}

/// Brokers of several hear of a new topic one after the other; the one that is asked may be the last.
#[test]
fn a_topic_that_is_not_known_yet_is_waited_for() {
    let setup = Setup::new();
    let admin = setup.log.admin();
    // a broker that is busy may make the topic after it was waited for long enough: then it is asked for another one
    let mut tries = 0;
    until("a topic to be known while it is asked for", || {
        tries += 1;
        let later = setup.name(&format!("later-{tries}"));
        let topic = NewTopic {
            name: later.clone(),
            partitions: 1,
            replicas: 1,
            config: Vec::new(),
        };
        std::thread::scope(|scope| {
            let ends = scope.spawn(|| admin.watermarks(&TopicPartition::new(later.as_str(), 0)));
            let settings = scope.spawn(|| admin.topic_setting(&[&later], "cleanup.policy"));
            std::thread::sleep(STEP * 10);
            admin.create_topics(&[topic]).expect("created");
            let known = ends.join().expect("no panic").is_ok_and(|ends| ends == (0, 0));
            settings.join().expect("no panic").is_ok_and(|found| found[0].is_some()) && known
        })
    });
    let never = admin.watermarks(&TopicPartition::new(setup.name("never"), 0));
    assert!(never.is_err(), "{never:?}");
}

/// A broker that has just started may take longer than any patience; whoever asks for settings has seen the topic on another one.
#[test]
fn settings_of_a_topic_that_a_broker_does_not_know_are_asked_for_again() {
    let setup = Setup::new();
    let settings = setup
        .log
        .admin()
        .topic_setting(&[&setup.name("never")], "cleanup.policy");
    assert!(matches!(settings, Err(LogError::Retry(_))), "{settings:?}");
}

#[test]
fn a_second_producer_of_an_id_fences_the_first_and_ends_its_transaction() {
    let setup = Setup::new();
    let topic = setup.topic("fence", 1, &[]);
    let mut first = setup.transactions("same");
    first.begin().expect("begun");
    send(&mut *first, &topic, 0, "zombie");
    first.flush(WAIT).expect("acknowledged");
    let mut second = setup.transactions("same");
    let fate = first.commit(WAIT);
    assert!(matches!(fate, Err(LogError::Fenced(_))), "{fate:?}");
    second.begin().expect("begun");
    send(&mut *second, &topic, 0, "mine");
    second.flush(WAIT).expect("acknowledged");
    second.commit(WAIT).expect("committed");
    let mut fetcher = setup.fetcher(true);
    fetcher
        .assign(0, &TopicPartition::new(topic.as_str(), 0), 0)
        .expect("assigned");
    assert_eq!(read(&mut *fetcher, |_, ends| ends > 0), ["mine"]);
}

#[test]
fn a_record_that_is_too_large_is_named() {
    let setup = Setup::new();
    let topic = setup.topic("large", 1, &[("max.message.bytes", "2000")]);
    let mut producer = setup.transactions("t");
    producer.begin().expect("begun");
    // bytes that do not compress
    let value: Vec<u8> = (0..250).flat_map(|_| uuid::Uuid::new_v4().into_bytes()).collect();
    let result = send_with(&mut *producer, &topic, 0, Some(&value), &None).and_then(|()| producer.flush(WAIT));
    assert!(
        matches!(&result, Err(LogError::TooLarge { topic: t, bytes: 4003 }) if **t == *topic),
        "{result:?}"
    );
    retry(|| producer.abort(WAIT));
    // librdkafka skips the refused record's sequence number: the broker refuses the next transaction as well, and the one behind that works
    let small = |producer: &mut dyn TransactionalProducer| {
        producer.begin()?;
        send_with(producer, &topic, 0, Some(b"small"), &None)?;
        producer.flush(WAIT)?;
        producer.commit(WAIT)
    };
    if let Err(error) = small(&mut *producer) {
        assert!(matches!(error, LogError::Abort(_)), "{error:?}");
        retry(|| producer.abort(WAIT));
        small(&mut *producer).expect("committed");
    }
}

#[test]
fn a_plain_producer_tells_the_offset_of_every_record() {
    let setup = Setup::new();
    let topic = setup.topic("plain", 2, &[]);
    let mut producer = setup.log.producer().expect("a producer");
    let handle = producer.topic(&topic).expect("a handle");
    for round in 0..2 {
        for i in 0..5 {
            let record = OutRecord {
                topic: handle,
                partition: i % 2,
                key: None,
                value: Some(b"v"),
                timestamp: 1,
                headers: &None,
            };
            producer.send(record).expect("taken");
        }
        let offsets = producer.flush(WAIT).expect("acknowledged");
        let expected = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)];
        let expected: Vec<_> = expected
            .iter()
            .map(|(p, o)| (handle, *p, o + round * (3 - i64::from(*p))))
            .collect();
        assert_eq!(offsets, expected);
    }
}
