//! How large the topics of `dev`'s sample become: its generator against the embedded broker's own retention and compaction, in accelerated time.
//! README.md states the limit.

use std::cell::RefCell;
use std::collections::BTreeMap;

use bytes::Bytes;
use millstream::dev::sample::{ORDERS, Sample, SampleRecord, TICK_MS, TOPICS};
use millstream::log::core::{Core, CoreConfig, MemoryStorage, Record, maintenance};
use millstream::log::partition_for_key;

/// What README.md says.
const LIMIT: u64 = 64_000_000;
/// Enough for order numbers to begin anew, and for the shortest partition of ratings to be cut.
const TICKS: u64 = 90_000;
/// Ticks between two rounds of maintenance: a minute. The broker makes one a second.
const ROUND: u64 = 600;

struct Topic {
    name: &'static str,
    partitions: i32,
}

/// Topic and partitions of a relation, as the SQL of this repository says.
fn topic_of(relation: &str) -> Topic {
    let name: &'static str = match relation {
        "RAW_MOVIES" => "raw-movies",
        "RAW_RATINGS" => "raw-ratings",
        "MOVIES" => "movies",
        "RATINGS" => "ratings",
        "CUSTOMERS" => "customers",
        "ORDERS" => "orders",
        "PAYMENTS" => "payments",
        "ORDERS_OF_CUSTOMER" => "orders-of-customer",
        other => panic!("a topic of the sample that is not weighed: {other}"),
    };
    let sql = concat!(
        include_str!("../../topologies/ratings.sql"),
        include_str!("../../topologies/orders.sql")
    );
    let line = sql
        .lines()
        .find(|line| line.contains(&format!("KAFKA_TOPIC = '{name}'")));
    let count = line.and_then(|line| {
        line.split_once("PARTITIONS = ")?
            .1
            .split(|c: char| !c.is_ascii_digit())
            .next()
    });
    Topic {
        name,
        partitions: count
            .and_then(|count| count.parse().ok())
            .expect("PARTITIONS in the SQL"),
    }
}

struct Broker {
    core: RefCell<Core>,
    topics: BTreeMap<&'static str, Topic>,
    now: i64,
    appended: u64,
}

impl Broker {
    fn new() -> Self {
        let storage = Box::<MemoryStorage>::default();
        let (mut core, _) = Core::open(storage, CoreConfig::default(), 0).expect("empty");
        let topics: BTreeMap<_, _> = TOPICS
            .iter()
            .map(|topic| (topic.relation, topic_of(topic.relation)))
            .collect();
        for topic in TOPICS {
            let of = &topics[topic.relation];
            let config = topic.config.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            core.create_topic(of.name, of.partitions, config).expect("created");
        }
        Self {
            core: RefCell::new(core),
            topics,
            now: 0,
            appended: 0,
        }
    }

    /// One record in a batch of its own, which is the most that it can take. A value's JSON is longer than its Avro.
    fn append(&mut self, relation: &str, key: &str, value: &str) {
        let topic = &self.topics[relation];
        let partition = match key {
            "" => 0,
            key => partition_for_key(key.as_bytes(), topic.partitions),
        };
        let key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes()));
        let record = Record::new(self.now, key, Some(Bytes::copy_from_slice(value.as_bytes())));
        let done = self
            .core
            .borrow_mut()
            .append(topic.name, partition, vec![record], self.now);
        done.expect("appended");
        self.appended += 1;
    }

    /// A record of the sample, and what the topologies write into topics of the sample because of it.
    fn take(&mut self, record: &SampleRecord) {
        let text = record.columns.to_string();
        let number = |name: &str| record.columns[name].to_string();
        match record.relation {
            "RAW_MOVIES" => {
                self.append("RAW_MOVIES", "", &text);
                let id = text.split([':', '"']).find(|part| part.parse::<u64>().is_ok());
                self.append("MOVIES", id.expect("a movie's number"), &text);
            }
            "RAW_RATINGS" => {
                self.append("RAW_RATINGS", "", &text);
                if let Some(movie) = text.split("::").nth(1) {
                    self.append("RATINGS", movie, &text);
                }
            }
            "CUSTOMERS" => self.append("CUSTOMERS", &number("CUSTOMER_ID"), &text),
            "ORDERS" => {
                let (customer, order) = (number("CUSTOMER_ID"), number("ORDER_ID"));
                self.append("ORDERS", &order, &text);
                self.append("ORDERS_OF_CUSTOMER", &format!("[{customer},{order}]"), &text);
            }
            "PAYMENTS" => self.append("PAYMENTS", &number("ORDER_ID"), &text),
            other => panic!("a relation of the sample that is not weighed: {other}"),
        }
    }

    /// Bytes of a topic's partitions, and the smallest of their first offsets.
    fn size(&self, relation: &str) -> (u64, i64) {
        let (core, topic) = (self.core.borrow(), &self.topics[relation]);
        let partitions = (0..topic.partitions).map(|number| {
            let id = core.partition_id(topic.name, number).expect("a partition");
            core.partition(id).expect("a partition")
        });
        let sizes: Vec<(u64, i64)> = partitions
            .map(|partition| (partition.bytes(), partition.log_start()))
            .collect();
        (
            sizes.iter().map(|(bytes, _)| bytes).sum(),
            sizes.iter().map(|(_, start)| *start).min().unwrap_or(0),
        )
    }
}

#[test]
fn the_topics_of_the_sample_stay_below_64_mb() {
    assert!(
        include_str!("../../README.md").contains("below 64 MB"),
        "the README says something else"
    );
    let (mut sample, mut broker, mut most) = (Sample::new(0), Broker::new(), 0);
    for tick in 1..=TICKS {
        sample.step().iter().for_each(|record| broker.take(record));
        broker.now += TICK_MS as i64;
        if tick % ROUND == 0 {
            let total: u64 = TOPICS.iter().map(|topic| broker.size(topic.relation).0).sum();
            most = total.max(most);
            assert!(total < LIMIT, "{total} bytes after {tick} ticks");
            maintenance::run(&broker.core, broker.now);
        }
    }
    println!("{} records in {TICKS} ticks, {most} bytes at most", broker.appended);
    // it is the settings that keep it so: what is not a table has been cut everywhere, and tables hold a record a key and a rest
    for relation in ["RAW_RATINGS", "RATINGS"] {
        assert!(broker.size(relation).1 > 0, "{relation} was not cut");
    }
    let orders = broker.size("ORDERS").0;
    assert!(orders / ORDERS < 400, "{orders} bytes of {ORDERS} orders");
    assert!(broker.appended * 60 > LIMIT, "that few records prove nothing");
}
