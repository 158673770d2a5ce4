//! A stream joined with a global table of several partitions by an expression, over the wire and in RocksDB: a process that stops in mid-flow and goes on,
//! one that has lost its disk, and bad records of the table. Each order must have exactly one result, with the row of its moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::engine::snapshots::SnapshotParts;
use millstream::engine::{BadRecord, Engine, EngineParts, EngineSettings, TopologyStatus};
use millstream::formats::MemoryRegistry;
use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{
    Fetched, Fetcher, FetcherConfig, Log, LogError, NewTopic, OutRecord, Producer, partition_for_key,
};
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::state::rocks::{RocksSettings, RocksStores};
use millstream::topology::Topology;
use millstream::types::TopicPartition;

use crate::broker::TestBroker;
use crate::patience::{self, PATIENCE};

/// The longest wait of one call.
const STEP: Duration = Duration::from_millis(20);
const COUNTRIES: i64 = 120;
const ORDER_PARTITIONS: i32 = 3;
const COUNTRY_PARTITIONS: i32 = 4;

/// A record as it is read: partition, key, value and headers as text.
type Read = (Option<String>, Option<String>, BTreeMap<String, String>);

struct Test {
    _broker: TestBroker,
    settings: KafkaSettings,
    log: KafkaLog,
    producer: Box<dyn Producer>,
    /// Makes names unique on a broker that several tests share.
    run: String,
    directory: PathBuf,
    countries: BTreeMap<String, String>,
    orders: i64,
    /// The result of each order by its number.
    expected: BTreeMap<i64, Option<String>>,
}

impl Test {
    fn new() -> Self {
        let broker = TestBroker::start();
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let settings = KafkaSettings {
            bootstrap_servers: broker.address(),
            client_id: "globals".into(),
            properties: Vec::new(),
        };
        let log = KafkaLog::new(settings.clone()).expect("valid settings");
        let topic = |name: &str, partitions| NewTopic {
            name: format!("{name}-{run}"),
            partitions,
            replicas: 1,
            config: vec![("retention.ms".into(), "-1".into())],
        };
        let topics = [
            topic("orders", ORDER_PARTITIONS),
            topic("countries", COUNTRY_PARTITIONS),
        ];
        log.admin().create_topics(&topics).expect("created");
        Self {
            producer: log.producer().expect("a producer"),
            directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("globals-{run}")),
            _broker: broker,
            settings,
            log,
            run,
            countries: BTreeMap::new(),
            orders: 0,
            expected: BTreeMap::new(),
        }
    }

    fn topology(&self) -> Topology {
        let run = &self.run;
        let text = format!(
            "CREATE STREAM orders (id BIGINT KEY, country STRING)
               WITH (KAFKA_TOPIC = 'orders-{run}', FORMAT = 'JSON', PARTITIONS = {ORDER_PARTITIONS});
             CREATE TABLE countries (code STRING PRIMARY KEY, name STRING)
               WITH (KAFKA_TOPIC = 'countries-{run}', FORMAT = 'JSON', PARTITIONS = {COUNTRY_PARTITIONS}, GLOBAL = TRUE);
             CREATE STREAM sent WITH (KAFKA_TOPIC = 'sent-{run}') AS
               SELECT o.id, c.name AS name FROM orders o LEFT JOIN countries c ON UCASE(o.country) = c.code;"
        );
        let file = SourceFile {
            name: "shop.sql".into(),
            text,
        };
        compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// A process with its own clients and the state in a directory of this name.
    fn start(&self, state: &str, bad_record: BadRecord) -> Engine {
        let parts = EngineParts {
            log: Arc::new(KafkaLog::new(self.settings.clone()).expect("valid settings")),
            schemas: Arc::new(MemoryRegistry::new()),
            stores: Arc::new(RocksStores::new(self.directory.join(state), &RocksSettings::default())),
            settings: EngineSettings {
                app_id: format!("it-{}", self.run),
                workers: 2,
                commit_interval: Duration::from_millis(30),
                replication_factor: 1,
                bad_record,
                ..EngineSettings::default()
            },
            instance: "one".into(),
            snapshots: SnapshotParts::default(),
        };
        Engine::start(parts, vec![Arc::new(self.topology())]).expect("threads")
    }

    fn send(&mut self, name: &str, partitions: i32, key: Option<&str>, value: Option<&str>) {
        let topic = self.producer.topic(&format!("{name}-{}", self.run)).expect("a topic");
        let record = OutRecord {
            topic,
            partition: key.map_or(0, |key| partition_for_key(key.as_bytes(), partitions)),
            key: key.map(str::as_bytes),
            value: value.map(str::as_bytes),
            timestamp: 1_000,
            headers: &None,
        };
        self.producer.send(record).expect("taken");
    }

    fn flush(&mut self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.producer.flush(STEP) {
            assert!(matches!(error, LogError::Retry(_)) && Instant::now() < end, "{error}");
        }
    }

    /// A change of the table, which tasks see from some moment on.
    fn country(&mut self, code: &str, name: Option<String>) {
        let value = name.as_ref().map(|name| format!("{{\"NAME\": \"{name}\"}}"));
        self.send(
            "countries",
            COUNTRY_PARTITIONS,
            Some(&format!("\"{code}\"")),
            value.as_deref(),
        );
        match name {
            Some(name) => self.countries.insert(code.into(), name),
            None => self.countries.remove(code),
        };
    }

    /// An order; its number.
    fn order(&mut self, code: &str) -> i64 {
        let id = self.orders;
        self.orders += 1;
        let value = format!("{{\"COUNTRY\": \"{}\"}}", code.to_lowercase());
        self.send("orders", ORDER_PARTITIONS, Some(&id.to_string()), Some(&value));
        id
    }

    /// Orders from everywhere, twice, and from nowhere, that see the table as it is.
    fn order_all(&mut self) {
        for number in (0..2 * COUNTRIES).chain([COUNTRIES + 7]) {
            let code = code(number % (COUNTRIES + 8));
            let id = self.order(&code);
            self.expected.insert(id, self.countries.get(&code).cloned());
        }
        self.flush();
    }

    fn read(&self, topic: &str) -> Vec<Read> {
        let config = FetcherConfig {
            committed_only: true,
            buffer_bytes: 4 << 20,
        };
        let mut fetcher = self.log.fetcher(&config).expect("a fetcher");
        let Some(info) = self.log.admin().topics(&[topic]).expect("an answer").pop().flatten() else {
            return Vec::new();
        };
        let mut records = Vec::new();
        for partition in 0..info.partitions {
            let tp = TopicPartition::new(topic, partition);
            let end = self.log.admin().stable_end(&tp).expect("an end");
            read_to(&mut *fetcher, &tp, partition as u32, end, &mut records);
        }
        records
    }

    fn dead_letters(&self) -> Vec<Read> {
        self.read(&format!("it-{}.shop.dead-letters", self.run))
    }

    /// Results of all orders so far.
    fn results(&self) -> BTreeMap<i64, Vec<Option<String>>> {
        let mut results: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for (key, value, _) in self.read(&format!("sent-{}", self.run)) {
            let row: serde_json::Value = serde_json::from_str(&value.expect("a value")).expect("JSON");
            let id = key.expect("a key").parse().expect("a number");
            results
                .entry(id)
                .or_default()
                .push(row["NAME"].as_str().map(str::to_owned));
        }
        results
    }

    /// Waits until each order has a result, and compares.
    #[track_caller]
    fn check(&self, engine: &Engine) {
        let expected = self.expected.iter().map(|(id, name)| (*id, vec![name.clone()]));
        let expected: BTreeMap<_, _> = expected.collect();
        let all = || Some(self.results()).filter(|results| results.len() >= expected.len());
        let Some(results) = patience::within(PATIENCE, all) else {
            panic!(
                "{} of {} orders have results; {:?}, {:?}",
                self.results().len(),
                expected.len(),
                engine.startup(),
                status(engine)
            );
        };
        let wrong = results.iter().filter(|(id, names)| expected.get(id) != Some(names));
        assert_eq!(wrong.collect::<Vec<_>>(), vec![], "wrong results");
    }

    /// Orders from there until one sees the change: what it saw before is not seen again after it.
    #[track_caller]
    fn until_seen(&mut self, code: &str, before: Option<String>) {
        let after = self.countries.get(code).cloned();
        patience::until("the change to be seen", || {
            let id = self.order(code);
            self.flush();
            let seen = patience::eventually("the order's result", || self.results().remove(&id))[0].clone();
            assert!(seen == after || seen == before, "{code}: {seen:?}");
            self.expected.insert(id, seen.clone());
            seen == after
        });
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn read_to(fetcher: &mut dyn Fetcher, tp: &TopicPartition, slot: u32, end: i64, records: &mut Vec<Read>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let until = Instant::now() + PATIENCE;
    fetcher.assign(slot, tp, 0).expect("assigned");
    while fetcher.position(slot).expect("a position").unwrap_or(0) < end {
        assert!(Instant::now() < until, "{tp} cannot be read to {end}");
        let polled = fetcher.poll(10_000, STEP, &mut |fetched| {
            let Fetched::Record(record) = fetched else { return };
            let headers = record.headers.to_headers();
            let headers = headers.iter().flat_map(|headers| headers.iter());
            let headers = headers.map(|(name, value)| (name.to_string(), text(value.as_deref().unwrap_or_default())));
            records.push((record.key.map(text), record.value.map(text), headers.collect()));
        });
        match polled {
            Ok(_) | Err(LogError::Retry(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    fetcher.unassign(slot).expect("unassigned");
}

fn code(number: i64) -> String {
    format!("C{number:03}")
}

fn status(engine: &Engine) -> Option<TopologyStatus> {
    engine.published().topology("shop").map(|topology| topology.status())
}

/// Dead letters that this process has counted, by reason.
fn counted(engine: &Engine) -> BTreeMap<&'static str, u64> {
    let topology = engine.published().topology("shop").expect("it runs");
    let reasons = topology.metrics.dead_letter_reasons.read();
    reasons.clone()
}

#[test]
fn each_order_sees_the_global_table_of_its_moment_across_restarts() {
    let mut test = Test::new();
    for number in 0..COUNTRIES {
        test.country(&code(number), Some(format!("first {number}")));
    }
    test.send("countries", COUNTRY_PARTITIONS, Some("\"C001\""), Some("no JSON"));
    test.send("countries", COUNTRY_PARTITIONS, None, Some("{\"NAME\": \"nobody\"}"));
    test.order_all();
    let engine = test.start("kept", BadRecord::DeadLetter);
    test.check(&engine);
    let both = BTreeMap::from([("null-key", 1), ("value", 1)]);
    assert_eq!(counted(&engine), both);
    let mut letters = test.dead_letters();
    letters.sort();
    let countries = format!("countries-{}", test.run);
    let reasons: Vec<&str> = (letters.iter().map(|(.., headers)| &*headers["millstream.reason"])).collect();
    assert!(
        reasons.len() == 2 && reasons[0].starts_with("null-key: ") && reasons[1].starts_with("value: "),
        "{reasons:?}"
    );
    for (_, value, headers) in &letters {
        assert_eq!(headers["millstream.topic"], countries);
        assert!(value.as_deref() == Some("no JSON") || value.as_deref().is_some_and(|v| v.contains("nobody")));
    }

    // while it runs: a change, a deletion and a new row, in whatever partitions they are
    test.country("C000", Some("second 0".into()));
    test.country("C002", None);
    test.country("C121", Some("new".into()));
    test.until_seen("C000", Some("first 0".into()));
    test.until_seen("C002", Some("first 2".into()));
    test.until_seen("C121", None);

    // it stops in mid-flow; the table changes only after the orders before it are through
    test.order_all();
    engine.stop();
    let engine = test.start("kept", BadRecord::DeadLetter);
    test.check(&engine);
    engine.stop();
    for number in (0..COUNTRIES).step_by(3) {
        test.country(&code(number), Some(format!("third {number}")));
    }
    for number in (1..COUNTRIES).step_by(6) {
        test.country(&code(number), None);
    }
    test.order_all();
    let engine = test.start("kept", BadRecord::DeadLetter);
    test.check(&engine);
    assert_eq!(counted(&engine), BTreeMap::new(), "it has gone on where it stood");
    assert_eq!(test.dead_letters().len(), 2);
    engine.stop();

    // a disk that has nothing: all is read again, the bad records too
    test.order_all();
    let engine = test.start("lost", BadRecord::DeadLetter);
    test.check(&engine);
    assert_eq!(counted(&engine), both);
    assert_eq!(test.dead_letters().len(), 4, "at least once");
    engine.stop();

    // and where bad records are to stop it, they do
    let engine = test.start("third", BadRecord::Stop);
    let reason = patience::eventually("its stop", || match status(&engine) {
        Some(TopologyStatus::Stopped(reason)) => Some(reason),
        _ => None,
    });
    assert!(reason.contains(&countries), "{reason}");
    engine.stop();
}
