//! The soak: a load like the demo's for a long time, in bursts that come faster than they are processed. The process's memory is measured every few
//! seconds: it must stay within its budget and must not grow. `make soak` runs it (MINUTES=20), where `MILLSTREAM_SOAK_MINUTES` is set.
//!
//! `MILLSTREAM_TEST_KAFKA` names a Kafka to use instead of an embedded broker in a process of its own, `MILLSTREAM_SOAK_BIN` another binary.

use std::fs::read_to_string;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::sim::Rng;
use millstream::log::{Log, NewTopic, OutRecord, Producer, TopicHandle, partition_for_key};
use serde_json::{Value, json};

use super::ground::{Instance, again, start_broker};
use super::process::Process;
use crate::dev::process::{TempDir, ask, millstream, program};
use crate::patience::{eventually, until};

/// What the process may take, in MiB: 40 of RocksDB (rocksdb-memory), 8 of rows (buffer-bytes, cache-bytes), 64 of the producer's queue, 2 of fetched records and
/// what they cost in librdkafka beside, the clients' threads, the program itself.
const BUDGET_MIB: f64 = 256.0;
/// Growth from the second quarter of the run to the last that counts as noise, in MiB.
const NOISE_MIB: f64 = 16.0;
/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// Records of a burst: some hundred times what fits into the queues of the process.
const BURST: usize = 60_000;
/// From one burst to the next at least: quiet times are part of a load, too.
const BETWEEN: Duration = Duration::from_secs(15);
const PARTITIONS: i32 = 4;
const HOT_KEYS: u64 = 3;
const MOVIES: u64 = 20_000;
const USERS: u64 = 200_000;
const CUSTOMERS: u64 = 5_000;
const ORDERS: u64 = 50_000;
const STATES: [&str; 5] = ["CREATED", "VALIDATED", "FAILED", "SHIPPED", "CANCELLED"];

const SQL: &str = "\
CREATE STREAM ratings (user_id BIGINT KEY, movie BIGINT, rating DOUBLE) WITH (KAFKA_TOPIC = '{run}ratings', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE TABLE orders (order_id BIGINT PRIMARY KEY, customer BIGINT, state STRING, amount BIGINT) WITH (KAFKA_TOPIC = '{run}orders', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE STREAM clicks (user_id BIGINT KEY, page STRING) WITH (KAFKA_TOPIC = '{run}clicks', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE TABLE movies WITH (KAFKA_TOPIC = '{run}movies') AS SELECT movie, COUNT(*) AS n, SUM(rating) AS total FROM ratings GROUP BY movie;
CREATE TABLE users WITH (KAFKA_TOPIC = '{run}users') AS SELECT user_id, COUNT(*) AS n, MAX(rating) AS best FROM ratings GROUP BY user_id;
CREATE TABLE hot WITH (KAFKA_TOPIC = '{run}hot') AS SELECT movie % 2 AS half, COUNT(*) AS n FROM ratings GROUP BY movie % 2;
CREATE TABLE states WITH (KAFKA_TOPIC = '{run}states') AS SELECT state, COUNT(*) AS n, SUM(amount) AS amount FROM orders GROUP BY state;
CREATE TABLE customers WITH (KAFKA_TOPIC = '{run}customers') AS SELECT customer, COUNT(*) AS n FROM orders GROUP BY customer;
CREATE TABLE sessions WITH (KAFKA_TOPIC = '{run}sessions') AS SELECT user_id, COUNT(*) AS n FROM clicks WINDOW SESSION (30 SECONDS, RETENTION 10 MINUTES, GRACE PERIOD 1 MINUTE) GROUP BY user_id;
";

/// One look.
struct Look {
    at: Duration,
    rss_mib: f64,
    lag: f64,
    processed: f64,
}

struct Soak {
    log: KafkaLog,
    run: String,
    instance: Instance,
    producer: Box<dyn Producer>,
    topics: [TopicHandle; 3],
    rng: Rng,
    ratings: u64,
    sent: u64,
    orders: std::collections::BTreeSet<u64>,
    _data: TempDir,
    _broker: Option<Process>,
}

impl Soak {
    fn start() -> Self {
        let data = TempDir::new("soak");
        let run = format!("soak-{}-", &uuid::Uuid::new_v4().simple().to_string()[..6]);
        let (broker, address) = match std::env::var("MILLSTREAM_TEST_KAFKA") {
            Ok(address) => (None, address),
            Err(_) => {
                let (broker, address) = start_broker(&data.0, None);
                (Some(broker), address.to_string())
            }
        };
        let settings = KafkaSettings {
            bootstrap_servers: address.clone(),
            client_id: "soak".into(),
            properties: Vec::new(),
        };
        let log = KafkaLog::new(settings).expect("valid settings");
        let names = ["ratings", "orders", "clicks"].map(|name| format!("{run}{name}"));
        let topics = names.clone().map(|name| NewTopic {
            name,
            partitions: PARTITIONS,
            replicas: 1,
            // what is processed may go; a burst is far smaller
            config: [
                ("retention.ms", "-1"),
                ("retention.bytes", "67108864"),
                ("segment.bytes", "16777216"),
            ]
            .map(|(k, v)| (k.into(), v.into()))
            .to_vec(),
        });
        again("the topics", || log.admin().create_topics(&topics));
        let mut producer = log.producer().expect("a producer");
        let topics = names.map(|name| producer.topic(&name).expect("a handle"));
        Self {
            instance: start(&data, &run, &address),
            log,
            run,
            producer,
            topics,
            rng: Rng::new(1),
            ratings: 0,
            sent: 0,
            orders: std::collections::BTreeSet::new(),
            _data: data,
            _broker: broker,
        }
    }

    fn send(&mut self, topic: usize, key: u64, value: &Value) {
        let key = (key as i64).to_be_bytes();
        let value = value.to_string();
        let record = OutRecord {
            topic: self.topics[topic],
            partition: partition_for_key(&key, PARTITIONS),
            key: Some(&key),
            value: Some(value.as_bytes()),
            // event time goes on as the run does
            timestamp: millstream::engine::threads::now(),
            headers: &None,
        };
        again("room for a record", || self.producer.send(record));
        self.sent += 1;
    }

    /// Ratings by Zipf and uniform keys and of a few hot ones, orders that change state, clicks of sessions.
    fn burst(&mut self) {
        for n in 0..BURST {
            match n % 10 {
                0..=5 => {
                    let movie = match n % 6 {
                        0 => self.rng.below(HOT_KEYS as usize) as u64,
                        1 | 2 => self.rng.below(MOVIES as usize) as u64,
                        _ => zipf(&mut self.rng, MOVIES),
                    };
                    let user = self.rng.below(USERS as usize) as u64;
                    self.ratings += 1;
                    self.send(
                        0,
                        user,
                        &json!({"MOVIE": movie, "RATING": 0.5 * (self.ratings % 10) as f64}),
                    );
                }
                6 | 7 => {
                    let order = self.rng.below(ORDERS as usize) as u64;
                    let state = STATES[self.rng.below(STATES.len())];
                    self.orders.insert(order);
                    self.send(
                        1,
                        order,
                        &json!({"CUSTOMER": order % CUSTOMERS, "STATE": state, "AMOUNT": order}),
                    );
                }
                _ => {
                    let user = zipf(&mut self.rng, USERS);
                    self.send(2, user, &json!({"PAGE": format!("/page/{}", n % 100)}));
                }
            }
        }
        again("the acknowledgements", || self.producer.flush(Duration::from_secs(1)));
    }

    /// Input records whose results are committed.
    fn committed(&self) -> u64 {
        let inputs = ["ratings", "orders", "clicks"].map(|name| format!("topic=\"{}{name}\"", self.run));
        inputs
            .iter()
            // ratings are read by three statements of one task
            .map(|topic| self.instance.metric("millstream_committed_offset", &[topic]).max(0.0) as u64)
            .sum()
    }

    fn look(&self, begun: Instant) -> Look {
        let status = read_to_string(format!("/proc/{}/status", self.instance.process.id())).expect("it runs");
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: f64 = rss
            .and_then(|text| text.trim().strip_suffix("kB"))
            .and_then(|text| text.trim().parse().ok())
            .expect("a number");
        Look {
            at: begun.elapsed(),
            rss_mib: kib / 1024.0,
            lag: self.sent.saturating_sub(self.committed()) as f64,
            processed: self.instance.metric("millstream_records_in_total", &[]),
        }
    }

    fn query(&self, sql: &str) -> Option<Vec<Value>> {
        let (status, answer) = ask(&self.instance.http, "/v1/query", Some(&json!({ "sql": sql })));
        (status == 200).then(|| answer["rows"].as_array().cloned()).flatten()
    }

    /// The sum of a column.
    fn sum(&self, sql: &str) -> u64 {
        let rows = eventually("rows", || self.query(sql));
        rows.iter().filter_map(|row| row["N"].as_u64()).sum()
    }
}

fn start(data: &TempDir, run: &str, kafka: &str) -> Instance {
    let topologies = data.0.join("topologies");
    std::fs::create_dir_all(&topologies).expect("made");
    std::fs::write(topologies.join("soak.sql"), SQL.replace("{run}", run)).expect("written");
    let mut command = match std::env::var_os("MILLSTREAM_SOAK_BIN") {
        Some(binary) => program(binary.as_ref()),
        None => millstream(),
    };
    command
        .args(["run", "--http", "127.0.0.1:0", "--print-urls", "json", "--quiet"])
        .args([
            "--bootstrap-servers",
            kafka,
            "--application-id",
            run.trim_end_matches('-'),
        ])
        .arg("--topologies")
        .arg(&topologies)
        .arg("--data-dir")
        .arg(data.0.join("state"));
    Instance::ready(Process::start(command, &data.0.join("soak.log")))
}

/// A number below `n`, the small ones far more often.
fn zipf(rng: &mut Rng, n: u64) -> u64 {
    let u = (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    ((n as f64).powf(u) - 1.0) as u64
}

fn minutes() -> Option<f64> {
    std::env::var("MILLSTREAM_SOAK_MINUTES").ok()?.parse().ok()
}

#[test]
fn soak() {
    let Some(minutes) = minutes() else {
        println!("skipped: the soak takes 20 minutes; `make soak` runs it");
        return;
    };
    let mut soak = Soak::start();
    let (begun, end) = (Instant::now(), Duration::from_secs_f64(minutes * 60.0));
    let mut looks: Vec<Look> = Vec::new();
    // nobody ever says anything: the channel is a clock that can be waited for
    let (_never, ticks) = channel::<()>();
    let mut bursts = 0;
    while begun.elapsed() < end {
        if begun.elapsed() >= BETWEEN * bursts && soak.committed() >= soak.sent {
            soak.burst();
            bursts += 1;
        }
        soak.instance.process.must_live();
        looks.push(soak.look(begun));
        let last = looks.last().expect("one");
        println!(
            "{:>6.0} s  {:>6.1} MiB  {:>8.0} behind  {:>10.0} processed",
            last.at.as_secs_f64(),
            last.rss_mib,
            last.lag,
            last.processed
        );
        assert_eq!(ticks.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout));
    }
    until("all of it to be processed", || soak.committed() >= soak.sent);
    summary(&looks, bursts);
    let half = soak.sum("SELECT n FROM hot");
    assert_eq!(half, soak.ratings, "each rating is counted once");
    let orders = soak.sum("SELECT n FROM states");
    assert_eq!(orders, soak.orders.len() as u64, "each order counts in one state");
    judge(&looks);
    again("the topics", || soak.log.admin().list_topics());
    soak.instance.process.stop();
}

/// Quarters of the run: mean and peak of memory, peak of what was behind.
fn quarters(looks: &[Look]) -> Vec<(f64, f64, f64)> {
    let size = looks.len().div_ceil(4).max(1);
    let of = |part: &[Look]| {
        let mean = part.iter().map(|look| look.rss_mib).sum::<f64>() / part.len() as f64;
        let peak = part.iter().map(|look| look.rss_mib).fold(0.0, f64::max);
        let behind = part.iter().map(|look| look.lag).fold(0.0, f64::max);
        (mean, peak, behind)
    };
    looks.chunks(size).map(of).collect()
}

fn summary(looks: &[Look], bursts: u32) {
    let last = looks.last().expect("looks");
    println!("| quarter | mean MiB | peak MiB | most behind |\n|---|---|---|---|");
    for (number, (mean, peak, behind)) in quarters(looks).iter().enumerate() {
        println!("| {} | {mean:.1} | {peak:.1} | {behind:.0} |", number + 1);
    }
    println!(
        "{:.0} records processed in {:.0} s, {bursts} bursts of {BURST}, {} looks",
        last.processed,
        last.at.as_secs_f64(),
        looks.len()
    );
}

fn judge(looks: &[Look]) {
    let peak = looks.iter().map(|look| look.rss_mib).fold(0.0, f64::max);
    assert!(
        peak <= BUDGET_MIB,
        "{peak:.1} MiB are more than the budget of {BUDGET_MIB} MiB"
    );
    let behind = looks.iter().map(|look| look.lag).fold(0.0, f64::max);
    assert!(behind > 0.0, "the load was never ahead of the process");
    let quarters = quarters(looks);
    if let [_, (early, ..), .., (late, ..)] = quarters[..] {
        assert!(
            late <= early * 1.1 + NOISE_MIB,
            "memory grows: {early:.1} MiB in the second quarter, {late:.1} in the last"
        );
    }
}
