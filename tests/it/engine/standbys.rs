//! Two instances over the embedded broker and RocksDB: each follows the tasks of the other, and takes them over where they stand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use millstream::engine::{Engine, EngineParts, EngineSettings, PublishedTopology, TaskStatus, threads};
use millstream::formats::MemoryRegistry;
use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Fetched, FetcherConfig, Log, LogError, NewTopic, OutRecord, Producer, partition_for_key};
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::state::rocks::{RocksSettings, RocksStores};
use millstream::state::{META_PREFIX, Snapshot};
use millstream::topology::Topology;
use millstream::types::TopicPartition;

use super::cluster::started;
use crate::broker::TestBroker;
use crate::patience::until;

const PARTITIONS: i32 = 4;
const KEYS: i64 = 100;
const STEP: Duration = Duration::from_millis(50);

struct Shop {
    _broker: TestBroker,
    settings: KafkaSettings,
    log: KafkaLog,
    producer: Box<dyn Producer>,
    directory: PathBuf,
    run: String,
    /// Orders of each customer so far.
    orders: i64,
}

impl Shop {
    fn new() -> Self {
        let broker = TestBroker::start();
        let settings = KafkaSettings {
            bootstrap_servers: broker.address(),
            client_id: "it".into(),
            properties: Vec::new(),
        };
        let log = KafkaLog::new(settings.clone()).expect("valid settings");
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let topic = NewTopic {
            name: format!("orders-{run}"),
            partitions: PARTITIONS,
            replicas: 1,
            config: vec![("retention.ms".into(), "-1".into())],
        };
        log.admin().create_topics(&[topic]).expect("created");
        Self {
            _broker: broker,
            producer: log.producer().expect("a producer"),
            directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("standbys-{run}")),
            settings,
            log,
            run,
            orders: 0,
        }
    }

    fn topology(&self) -> Topology {
        let run = &self.run;
        let text = format!(
            "CREATE STREAM orders (customer BIGINT KEY, amount BIGINT)
               WITH (KAFKA_TOPIC = 'orders-{run}', FORMAT = 'JSON', PARTITIONS = {PARTITIONS});
             CREATE TABLE totals WITH (KAFKA_TOPIC = 'totals-{run}') AS
               SELECT customer, COUNT(*) AS n, SUM(amount) AS total FROM orders GROUP BY customer;"
        );
        let file = SourceFile {
            name: "shop.sql".into(),
            text,
        };
        compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// A process with its own clients and directory.
    fn start(&self, instance: &str) -> Engine {
        let stores = RocksStores::new(self.directory.join(instance), &RocksSettings::default());
        let parts = EngineParts {
            log: Arc::new(KafkaLog::new(self.settings.clone()).expect("valid settings")),
            schemas: Arc::new(MemoryRegistry::new()),
            stores: Arc::new(stores),
            settings: EngineSettings {
                app_id: format!("it-{}", self.run),
                commit_interval: Duration::from_millis(30),
                replication_factor: 1,
                standbys: 1,
                advertised_url: Some(format!("http://{instance}")),
                ..EngineSettings::default()
            },
            instance: instance.into(),
            snapshots: Default::default(),
        };
        let engine = Engine::start(parts, vec![Arc::new(self.topology())]).expect("threads");
        started(&engine);
        engine
    }

    /// An order of each customer.
    fn order(&mut self, rounds: i64) {
        for _ in 0..rounds {
            for customer in 0..KEYS {
                let topic = self.producer.topic(&format!("orders-{}", self.run)).expect("a topic");
                let (key, value) = (customer.to_string(), format!("{{\"AMOUNT\": {customer}}}"));
                let record = OutRecord {
                    topic,
                    partition: partition_for_key(key.as_bytes(), PARTITIONS),
                    key: Some(key.as_bytes()),
                    value: Some(value.as_bytes()),
                    timestamp: threads::now(),
                    headers: &None,
                };
                self.producer.send(record).expect("taken");
            }
            self.orders += 1;
        }
        until("the orders to be written", || match self.producer.flush(STEP) {
            Ok(_) => true,
            Err(LogError::Retry(_)) => false,
            Err(error) => panic!("{error}"),
        });
    }

    /// The newest result of each customer.
    fn totals(&self) -> BTreeMap<i64, (i64, i64)> {
        let mut fetcher = self.log.fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: 4 << 20,
        });
        let fetcher = fetcher.as_mut().expect("a fetcher");
        let mut totals = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new(format!("totals-{}", self.run), partition);
            let Ok(end) = self.log.admin().stable_end(&tp) else {
                return totals;
            };
            fetcher.assign(partition as u32, &tp, 0).expect("assigned");
            until("the end of the results", || {
                let mut sink = |fetched: Fetched<'_>| {
                    let Fetched::Record(record) = fetched else { return };
                    let key = std::str::from_utf8(record.key.expect("a key")).expect("text");
                    let row: serde_json::Value = serde_json::from_slice(record.value.expect("a value")).expect("a row");
                    let number = |name: &str| row[name].as_i64().expect("a number");
                    totals.insert(key.parse().expect("a number"), (number("N"), number("TOTAL")));
                };
                fetcher.poll(10_000, STEP, &mut sink).expect("read");
                fetcher.position(partition as u32).expect("a position") >= Some(end)
            });
            fetcher.unassign(partition as u32).expect("unassigned");
        }
        totals
    }

    fn expected(&self) -> BTreeMap<i64, (i64, i64)> {
        let n = self.orders;
        (0..KEYS).map(|customer| (customer, (n, n * customer))).collect()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // left behind otherwise, below the target directory
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn shown(engine: &Engine) -> Arc<PublishedTopology> {
    engine.published().topology("shop").expect("it runs")
}

fn running(engine: &Engine) -> usize {
    let tasks = shown(engine).tasks();
    tasks.iter().filter(|task| task.status() == TaskStatus::Running).count()
}

fn rows(snapshot: &dyn Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut rows = BTreeMap::new();
    let collect = &mut |key: &[u8], value: &[u8]| {
        rows.insert(key.to_vec(), value.to_vec());
        true
    };
    let end = META_PREFIX.to_be_bytes();
    snapshot.scan(&[], Some(&end), false, collect).expect("read");
    rows
}

/// Whether a follows all tasks of b, and has what b has.
fn follows(a: &Engine, b: &Engine) -> bool {
    let topology = shown(a);
    shown(b).tasks().iter().all(|task| {
        let (Some(own), Some(copy)) = (task.reader(), topology.standby(task.id)) else {
            return false;
        };
        match (own.snapshot(), copy.reader().snapshot()) {
            (Ok(own), Ok(copy)) => rows(&*own) == rows(&*copy),
            _ => false,
        }
    })
}

#[test]
fn two_instances_follow_each_other_and_take_over_without_a_restore() {
    let mut shop = Shop::new();
    shop.order(10);
    let (one, two) = (shop.start("one"), shop.start("two"));
    until("the results", || shop.totals() == shop.expected());
    until("a share of the tasks for both", || {
        running(&one) == 2 && running(&two) == 2
    });
    shop.order(10);
    until("the results", || shop.totals() == shop.expected());
    until("whole copies", || follows(&one, &two) && follows(&two, &one));
    let gone = shown(&one).tasks();
    let topology = shown(&two);
    for task in &gone {
        until("the owner to be known", || {
            let owner = two.cluster().owner("shop", 0, task.id, threads::moment());
            owner.is_some_and(|peer| peer.url == "http://one")
        });
        until("an input position", || {
            let snapshot = topology.standby(task.id).and_then(|copy| copy.reader().snapshot().ok());
            snapshot.is_some_and(|snapshot| {
                snapshot
                    .position()
                    .input(&format!("orders-{}", shop.run), task.id.partition)
                    > Some(0)
            })
        });
    }
    let restored = topology.metrics.restored.load(SeqCst);
    one.stop();
    // until the group notices, the copies are what there is
    until("the owner to be known as gone", || {
        gone.iter()
            .all(|task| two.cluster().owner("shop", 0, task.id, threads::moment()).is_none())
    });
    shop.order(1);
    until("all tasks in one place", || running(&two) == PARTITIONS as usize);
    until("the results", || shop.totals() == shop.expected());
    assert_eq!(
        topology.metrics.restored.load(SeqCst),
        restored,
        "nothing was to be replayed"
    );
    until("the copies to be nothing but stores", || topology.standbys().is_empty());
    // back again, it has its copies on its disk
    let one = shop.start("one");
    until("a share of the tasks for both", || {
        running(&one) == 2 && running(&two) == 2
    });
    until("whole copies", || follows(&one, &two) && follows(&two, &one));
    one.stop();
    two.stop();
}
