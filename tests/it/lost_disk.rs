//! State in RocksDB over the wire: a disk that is lost, and an instance that joins with an empty one. Both come up with a snapshot and the tail of the
//! changelog, and have the same rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use millstream::engine::snapshots::{
    Bringer, BucketSource, Directory, KeeperSettings, Offers, PeerSource, Rounds, SnapshotParts, Source, Wanted,
};
use millstream::engine::{Engine, EngineParts, EngineSettings, Startup, TaskId};
use millstream::formats::MemoryRegistry;
use millstream::http::{App, AppParts, EngineControl, HttpSettings, bind, serve};
use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Log, LogError, NewTopic, OutRecord, Producer, partition_for_key};
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::state::rocks::{RocksSettings, RocksStores};
use millstream::topology::Topology;

use crate::broker::TestBroker;
use crate::patience::{PATIENCE, until};

const STEP: Duration = Duration::from_millis(20);
const PARTITIONS: i32 = 2;
const KEYS: i64 = 1_500;
const TAIL: i64 = 20;
/// A snapshot is looked for where a replay would be at least this long; what is replayed behind one is shorter.
const MIN_RECORDS: u64 = 200;

type Rows = BTreeMap<(TaskId, Vec<u8>), Vec<u8>>;

struct Test {
    broker: TestBroker,
    producer: Box<dyn Producer>,
    /// Makes names unique on a broker that several tests share.
    run: String,
    directory: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// An instance with its own clients, state and HTTP.
struct Instance {
    engine: Engine,
    url: String,
    stop: tokio::sync::oneshot::Sender<()>,
}

impl Test {
    fn new() -> Self {
        let broker = TestBroker::start();
        let run = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let log = KafkaLog::new(kafka(&broker)).expect("valid settings");
        let topic = NewTopic {
            name: format!("visits-{run}"),
            partitions: PARTITIONS,
            replicas: 1,
            config: vec![("retention.ms".into(), "-1".into())],
        };
        log.admin().create_topics(&[topic]).expect("created");
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        Self {
            producer: log.producer().expect("a producer"),
            directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lost-disk-{run}")),
            runtime: threads.worker_threads(2).enable_all().build().expect("threads"),
            broker,
            run,
        }
    }

    fn topology(&self) -> Topology {
        let run = &self.run;
        let text = format!(
            "CREATE STREAM visits (page BIGINT KEY, spent BIGINT)
               WITH (KAFKA_TOPIC = 'visits-{run}', FORMAT = 'JSON', PARTITIONS = {PARTITIONS});
             CREATE TABLE pages WITH (KAFKA_TOPIC = 'pages-{run}') AS
               SELECT page, COUNT(*) AS visits, SUM(spent) AS spent FROM visits GROUP BY page;"
        );
        let file = SourceFile {
            name: "site.sql".into(),
            text,
        };
        compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn visit(&mut self, pages: i64) {
        let topic = self.producer.topic(&format!("visits-{}", self.run)).expect("a topic");
        for page in 0..pages {
            let (key, value) = (page.to_string(), format!("{{\"SPENT\": {page}}}"));
            let record = OutRecord {
                topic,
                partition: partition_for_key(key.as_bytes(), PARTITIONS),
                key: Some(key.as_bytes()),
                value: Some(value.as_bytes()),
                timestamp: 1_000,
                headers: &None,
            };
            self.producer.send(record).expect("taken");
        }
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.producer.flush(STEP) {
            assert!(matches!(error, LogError::Retry(_)) && Instant::now() < end, "{error}");
        }
    }

    fn start(&self, name: &str, source: Option<Arc<dyn Source>>) -> Instance {
        let directory = self.directory.join(name);
        let offers = Arc::new(Offers::new(directory.join("out")).expect("a directory"));
        let bringer = Bringer::new(source.into_iter().collect(), directory.join("in"), MIN_RECORDS);
        let parts = EngineParts {
            log: Arc::new(KafkaLog::new(kafka(&self.broker)).expect("valid settings")),
            schemas: Arc::new(MemoryRegistry::new()),
            stores: Arc::new(RocksStores::new(directory.join("state"), &RocksSettings::default())),
            settings: EngineSettings {
                app_id: format!("it-{}", self.run),
                commit_interval: Duration::from_millis(30),
                replication_factor: 1,
                ..EngineSettings::default()
            },
            instance: name.into(),
            snapshots: SnapshotParts {
                from: Some(Arc::new(bringer.expect("a directory"))),
                offers: Some(offers.clone()),
            },
        };
        let engine = Engine::start(parts.clone(), vec![Arc::new(self.topology())]).expect("threads");
        let app = App::new(AppParts {
            published: engine.published(),
            ingest: None,
            control: Arc::new(EngineControl(parts)),
            app_id: "it".into(),
            settings: HttpSettings::default(),
        });
        app.serve_snapshots(offers);
        app.set_deployed();
        let (listener, address) = self.runtime.block_on(bind("127.0.0.1:0")).expect("a port");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        self.runtime.spawn(serve(listener, app, async move {
            let _: Result<(), _> = stopped.await;
        }));
        until("the start", || match engine.startup() {
            Startup::Failed(problems) => panic!("{problems:?}"),
            startup => startup == Startup::Started,
        });
        Instance {
            engine,
            url: format!("http://{address}"),
            stop,
        }
    }

    fn bucket(&self) -> Arc<Directory> {
        Arc::new(Directory::new(self.directory.join("bucket")))
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Instance {
    /// The stored rows of its tasks, once these are all that it has to have and have read everything.
    fn rows(&self, visits: i64) -> Rows {
        let published = self.engine.published().topology("site").expect("deployed");
        until("all tasks", || published.all_running());
        until("all records", || {
            let positions = published.tasks().into_iter().map(|task| {
                let of_input = |input: &millstream::engine::InputProgress| input.committed.load(SeqCst).max(0);
                task.inputs.iter().map(of_input).sum::<i64>()
            });
            positions.sum::<i64>() >= visits
        });
        stored(&self.engine)
    }

    fn restored(&self) -> u64 {
        let published = self.engine.published().topology("site").expect("deployed");
        published.metrics.restored.load(SeqCst)
    }

    fn stop(self) {
        drop(self.stop);
        self.engine.stop();
    }
}

fn kafka(broker: &TestBroker) -> KafkaSettings {
    KafkaSettings {
        bootstrap_servers: broker.address(),
        client_id: "lost-disk".into(),
        properties: Vec::new(),
    }
}

fn stored(engine: &Engine) -> Rows {
    let published = engine.published().topology("site").expect("deployed");
    let mut rows = Rows::new();
    for task in published.tasks() {
        let Some(reader) = task.reader() else { continue };
        let Ok(snapshot) = reader.snapshot() else { continue };
        let mut each = |key: &[u8], value: &[u8]| rows.insert((task.id, key.to_vec()), value.to_vec()).is_none();
        snapshot.scan(&[], None, false, &mut each).expect("read");
    }
    rows
}

#[test]
fn a_lost_disk_and_a_new_instance_come_up_by_snapshot_and_tail() {
    let mut test = Test::new();
    test.visit(KEYS);
    let one = test.start("one", None);
    assert_eq!(one.rows(KEYS).len(), KEYS as usize);
    let keeper = KeeperSettings {
        app: "it".into(),
        instance: "one".into(),
        interval: Duration::from_secs(3_600),
        keep: 1,
        grace: Duration::ZERO,
        directory: test.directory.join("one/put"),
    };
    let mut rounds = Rounds::new(keeper, one.engine.published(), test.bucket()).expect("a directory");
    assert_eq!(rounds.put_all(&|| false), PARTITIONS as usize);
    test.visit(TAIL);
    let rows = one.rows(KEYS + TAIL);
    drop(rounds);
    one.stop();

    std::fs::remove_dir_all(test.directory.join("one")).expect("the disk is lost");
    let one = test.start("one", Some(Arc::new(BucketSource::new("it", test.bucket()))));
    assert_eq!(one.rows(KEYS + TAIL), rows);
    assert!(one.restored() < MIN_RECORDS, "{} records were replayed", one.restored());

    let url = one.url.clone();
    let peers = PeerSource::new(Arc::new(move |_: &Wanted| vec![("one".to_owned(), url.clone())]));
    let two = test.start("two", Some(Arc::new(peers.expect("a client"))));
    let published = two.engine.published().topology("site").expect("deployed");
    until("a task that moved", || {
        let tasks = published.tasks();
        tasks
            .iter()
            .any(|task| task.reader().is_some_and(|reader| reader.snapshot().is_ok()))
    });
    until("all rows on both", || {
        let mut both = stored(&one.engine);
        both.extend(stored(&two.engine));
        both == rows
    });
    let moved = stored(&two.engine).len();
    assert!(moved > MIN_RECORDS as usize, "{moved} rows moved");
    assert!(two.restored() < MIN_RECORDS, "{} records were replayed", two.restored());
    two.stop();
    one.stop();
}

#[test]
fn a_peer_that_is_away_or_answers_nonsense_is_passed_by() {
    let mut test = Test::new();
    test.visit(KEYS);
    let one = test.start("one", None);
    let rows = one.rows(KEYS);
    one.stop();
    std::fs::remove_dir_all(test.directory.join("one")).expect("the disk is lost");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let away = closed.local_addr().expect("an address");
    drop(closed);
    let nonsense = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let noise = nonsense.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in nonsense.incoming().flatten() {
            let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"id\": 1}");
        }
    });
    let peers = move |_: &Wanted| [away, noise].map(|a| (a.to_string(), format!("http://{a}"))).to_vec();
    let source = PeerSource::new(Arc::new(peers)).expect("a client");
    let one = test.start("one", Some(Arc::new(source)));
    assert_eq!(one.rows(KEYS), rows);
    assert!(one.restored() >= KEYS as u64, "all of it was replayed");
    one.stop();
}
