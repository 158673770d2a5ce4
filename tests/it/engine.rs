//! The engine with its threads, on the simulated log in real time: start, stop, pause, resume, replay, edited plans, undeployment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use millstream::engine::deploy::control::StreamOutputs;
use millstream::engine::deploy::{DeployContext, operations};
use millstream::engine::golden::Case;
use millstream::engine::{Engine, EngineParts, EngineSettings, Startup, TopologyStatus, threads};
use millstream::expr::Expr;
use millstream::formats::{MemoryRegistry, SchemaSource, SchemaText};
use millstream::log::sim::{SimLog, SimProcess};
use millstream::log::{Log, partition_for_key};
use millstream::state::memory::MemoryStores;
use millstream::topology::{Op, Topology};
use millstream::types::{TopicPartition, Value, decode_row, encode_row};

use crate::simulation::plan::{self, MOVIES, RATED, RATINGS};

const PARTITIONS: i32 = 2;
const PATIENCE: Duration = Duration::from_secs(30);

/// The cluster's time runs so much faster than ours: sessions of members that have left end sooner.
const SPEED: i64 = 8;

/// A simulated cluster whose time follows the real one.
struct Cluster {
    log: SimLog,
    process: Arc<SimProcess>,
    schemas: Arc<dyn SchemaSource>,
    stores: Arc<MemoryStores>,
    settings: EngineSettings,
    stop: Arc<AtomicBool>,
}

impl Cluster {
    fn new() -> Self {
        let log = SimLog::new(1, threads::now()).unwrap();
        for topic in [RATINGS, MOVIES] {
            log.create_topic(topic, PARTITIONS, &[]).unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (clock, told, begin) = (log.clone(), stop.clone(), threads::now());
        std::thread::spawn(move || {
            while !told.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(2));
                let target = begin + (threads::now() - begin) * SPEED;
                clock.advance((target - clock.now()).max(0));
            }
        });
        Self {
            process: log.process(),
            log,
            schemas: Arc::new(MemoryRegistry::default()),
            stores: Arc::new(MemoryStores::new()),
            settings: EngineSettings {
                workers: 2,
                commit_interval: Duration::from_millis(10),
                partition_check_interval: Duration::from_millis(200),
                ..EngineSettings::default()
            },
            stop,
        }
    }

    fn start(&self, topology: &Topology) -> Engine {
        self.start_instance(topology, "one", self.stores.clone())
    }

    fn start_instance(&self, topology: &Topology, instance: &str, stores: Arc<MemoryStores>) -> Engine {
        let parts = EngineParts {
            log: self.process.clone(),
            schemas: self.schemas.clone(),
            stores,
            settings: self.settings.clone(),
            instance: instance.into(),
        };
        Engine::start(parts, vec![Arc::new(topology.clone())]).unwrap()
    }

    fn context<R>(&self, run: impl FnOnce(&DeployContext<'_>) -> R) -> R {
        run(&DeployContext {
            log: &*self.process,
            schemas: &self.schemas,
            settings: &self.settings,
        })
    }

    fn append(&self, topic: &str, key: i64, row: &[Value]) -> TopicPartition {
        let key = key.to_be_bytes();
        let mut bytes = Vec::new();
        encode_row(row, &mut bytes);
        let tp = TopicPartition::new(topic, partition_for_key(&key, PARTITIONS));
        self.log.append(&tp, Some(&key), Some(&bytes), threads::now()).unwrap();
        tp
    }

    fn rate(&self, movie: i64, rating: f64) -> TopicPartition {
        self.append(RATINGS, movie, &[movie.into(), rating.into()])
    }

    fn movie(&self, movie: i64) {
        self.append(MOVIES, movie, &["title".into(), 1_i64.into()]);
    }

    /// Number and sum of the ratings by movie, as the output says.
    fn rated(&self) -> BTreeMap<i64, (i64, f64)> {
        let mut rows = BTreeMap::new();
        for partition in 0..PARTITIONS {
            let Ok(records) = self.log.read(&TopicPartition::new(RATED, partition), true) else {
                continue;
            };
            for record in records {
                let key = i64::from_be_bytes(record.key.unwrap().try_into().unwrap());
                match record.value.map(|value| decode_row(&value).unwrap()) {
                    Some(row) => {
                        let (Value::Bigint(n), Value::Double(total)) = (&row[0], &row[1]) else {
                            panic!()
                        };
                        rows.insert(key, (*n, *total));
                    }
                    None => {
                        rows.remove(&key);
                    }
                }
            }
        }
        rows
    }

    fn topics(&self) -> Vec<String> {
        self.process.admin().list_topics().unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
    }
}

#[track_caller]
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !check() {
        assert!(begin.elapsed() < PATIENCE, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn started(engine: &Engine) {
    eventually("the start", || engine.startup() == Startup::Started);
}

fn status(engine: &Engine) -> TopologyStatus {
    engine
        .published()
        .topology("movies")
        .map_or(TopologyStatus::Starting, |topology| topology.status())
}

#[test]
fn it_starts_stops_and_goes_on() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    started(&engine);
    eventually("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    let published = engine.published().topology("movies").unwrap();
    eventually("all tasks", || published.all_running());
    assert_eq!(published.status(), TopologyStatus::Running);
    let begin = Instant::now();
    engine.stop();
    assert!(begin.elapsed() < Duration::from_secs(2), "it stops within two seconds");
    cluster.rate(1, 4.0);
    let engine = cluster.start(&plan::topology());
    eventually("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    engine.stop();
    assert_eq!(cluster.log.open_transactions(), Vec::<String>::new());
}

#[test]
fn a_pause_keeps_the_views_and_undeployment_removes_everything() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    started(&engine);
    eventually("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    cluster.context(|context| operations::pause(context, "movies")).unwrap();
    eventually("the pause", || status(&engine) == TopologyStatus::Paused);
    cluster.rate(1, 4.0);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(cluster.rated()[&1], (1, 3.0), "nothing is processed");
    let tasks = engine.published().topology("movies").unwrap().tasks();
    assert!(
        tasks
            .iter()
            .any(|task| task.reader().is_some_and(|reader| reader.snapshot().is_ok())),
        "views answer"
    );
    cluster
        .context(|context| operations::resume(context, "movies"))
        .unwrap();
    eventually("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    let missing = cluster
        .context(|context| operations::pause(context, "other"))
        .unwrap_err();
    assert!(missing.to_string().contains("deployed are: movies"), "{missing}");
    cluster
        .context(|context| operations::undeploy(context, "movies", true))
        .unwrap();
    eventually("the end", || engine.published().topology("movies").is_none());
    assert_eq!(cluster.topics(), ["millstream.control", MOVIES, RATINGS]);
    engine.stop();
}

#[test]
fn a_topology_paused_before_the_start_shows_its_state_and_processes_nothing() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    started(&engine);
    eventually("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    cluster.context(|context| operations::pause(context, "movies")).unwrap();
    eventually("the pause", || status(&engine) == TopologyStatus::Paused);
    engine.stop();
    cluster.rate(1, 4.0);

    // also with a disk that has nothing: the state comes from the changelogs
    let engine = cluster.start_instance(&plan::topology(), "two", Arc::new(MemoryStores::new()));
    started(&engine);
    let shown = || {
        let topology = engine.published().topology("movies")?;
        let tasks = topology.tasks();
        let all = tasks.len() == topology.partitions.iter().sum::<i32>() as usize;
        (all && tasks.iter().all(|task| task.reader().is_some())).then_some(())
    };
    eventually("all state to be shown", || shown().is_some());
    assert_eq!(status(&engine), TopologyStatus::Paused);
    let tasks = engine.published().topology("movies").unwrap().tasks();
    let taken: u64 = tasks.iter().map(|task| task.restore.records.load(SeqCst)).sum();
    assert!(taken > 0, "rows were restored");
    assert_eq!(cluster.rated()[&1], (1, 3.0), "nothing is processed");
    cluster
        .context(|context| operations::resume(context, "movies"))
        .unwrap();
    eventually("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    assert_eq!(status(&engine), TopologyStatus::Running);
    engine.stop();
}

#[test]
fn a_replay_is_built_beside_the_old_state_and_leaves_no_stale_keys() {
    let cluster = Cluster::new();
    for movie in 0..10 {
        cluster.movie(movie);
    }
    for n in 0..50 {
        cluster.rate(n % 10, 1.0);
    }
    let engine = cluster.start(&plan::topology());
    started(&engine);
    eventually("the result", || {
        cluster.rated().len() == 10 && cluster.rated().values().all(|row| *row == (5, 5.0))
    });
    // The ratings so far are gone: their movies must be gone from the output, too, unless they are rated again.
    let last: Vec<(TopicPartition, i64)> = (0..PARTITIONS)
        .map(|p| TopicPartition::new(RATINGS, p))
        .map(|tp| (tp.clone(), cluster.process.admin().watermarks(&tp).unwrap().1))
        .collect();
    eventually("commits", || {
        let tps: Vec<_> = last.iter().map(|(tp, _)| tp.clone()).collect();
        let committed = cluster.process.admin().committed("millstream.movies", &tps).unwrap();
        committed
            .iter()
            .zip(&last)
            .all(|(committed, (_, end))| committed.unwrap_or(0) >= *end)
    });
    cluster.process.admin().delete_records(&last).unwrap();
    let topology = Arc::new(plan::topology());
    let plan = cluster
        .context(|context| operations::plan_replay(context, &topology, None))
        .unwrap();
    assert!(plan.stream_outputs.is_empty() && plan.cut.len() == 2, "{plan:?}");
    cluster.rate(3, 2.0);
    let begin = cluster.context(|context| operations::begin_replay(context, &topology, None, None));
    assert_eq!(begin, Ok(1));
    eventually("the switch", || {
        engine.published().topology("movies").is_some_and(|t| t.generation == 1)
    });
    eventually("the right output", || {
        cluster.rated() == BTreeMap::from([(3, (1, 2.0))])
    });
    eventually("the removal of the old generation", || {
        cluster.topics().iter().all(|topic| {
            !topic.starts_with("millstream.movies.") || topic.contains(".g1.") || topic.ends_with("letters")
        })
    });
    cluster.rate(3, 2.0);
    eventually("the next result", || cluster.rated() == BTreeMap::from([(3, (2, 4.0))]));
    engine.stop();
    cluster.rate(4, 1.0);
    let engine = cluster.start(&plan::topology());
    eventually("a restart in the new generation", || {
        cluster.rated().get(&4) == Some(&(1, 1.0))
    });
    assert_eq!(engine.published().topology("movies").unwrap().generation, 1);
    engine.stop();
}

/// The plan with ratings counted double.
fn edited() -> Topology {
    let mut topology = plan::topology();
    for node in &mut topology.nodes {
        if let Op::Repartition(repartition) = &mut node.op
            && &*repartition.name == "AVERAGES"
        {
            repartition.value = vec![Expr::Literal(Value::Double(10.0))];
        }
    }
    topology
}

#[test]
fn an_edited_plan_is_refused_until_it_is_replayed() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    eventually("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    engine.stop();
    let topics = cluster.topics();
    let engine = cluster.start(&edited());
    eventually("the refusal", || matches!(engine.startup(), Startup::Failed(_)));
    let Startup::Failed(problems) = engine.startup() else {
        panic!()
    };
    let text = problems[0].to_string();
    assert!(
        text.contains("store AVERAGES has changed") && text.contains("millstream replay movies"),
        "{text}"
    );
    assert_eq!(cluster.topics(), topics, "nothing was changed");
    engine.stop();
    let topology = Arc::new(edited());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, Some(StreamOutputs::None)))
        .unwrap();
    let engine = cluster.start(&topology);
    eventually("the rebuilt result", || cluster.rated().get(&1) == Some(&(1, 10.0)));
    eventually("the switch", || {
        engine.published().topology("movies").is_some_and(|t| t.generation == 1)
    });
    engine.stop();
}

#[test]
fn what_is_missing_is_said_at_once() {
    let cluster = Cluster::new();
    cluster.process.admin().delete_topics(&[MOVIES]).unwrap();
    let engine = cluster.start(&plan::topology());
    eventually("the refusal", || matches!(engine.startup(), Startup::Failed(_)));
    assert_eq!(cluster.topics(), ["millstream.control", RATINGS]);
    engine.stop();
}

#[test]
fn an_interrupted_replay_goes_on_and_two_instances_switch_together() {
    let cluster = Cluster::new();
    for movie in 0..5 {
        cluster.movie(movie);
        cluster.rate(movie, 1.0);
    }
    let right = |n: i64| -> BTreeMap<i64, (i64, f64)> { (0..5).map(|movie| (movie, (n, n as f64))).collect() };
    let engine = cluster.start(&plan::topology());
    eventually("the result", || cluster.rated() == right(1));
    let topology = Arc::new(plan::topology());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap();
    std::thread::sleep(Duration::from_millis(50));
    engine.stop();
    let again = cluster.context(|context| operations::begin_replay(context, &topology, None, None));
    assert_eq!(again, Ok(1), "it is under way already");
    (0..5).for_each(|movie| drop(cluster.rate(movie, 1.0)));
    let other = Arc::new(MemoryStores::new());
    let engines = [
        cluster.start(&topology),
        cluster.start_instance(&topology, "two", other),
    ];
    for engine in &engines {
        eventually("the switch", || {
            engine.published().topology("movies").is_some_and(|t| t.generation == 1)
        });
    }
    (0..5).for_each(|movie| drop(cluster.rate(movie, 1.0)));
    eventually("the result", || cluster.rated() == right(3));
    engines.into_iter().for_each(Engine::stop);
}

/// A stream that is copied, uppercased, to another one.
fn copying(cluster: &Cluster) -> Topology {
    let sql = "sql\n  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);\n  CREATE STREAM loud WITH (KAFKA_TOPIC = 'loud', VALUE_FORMAT = 'KAFKA') AS \
               SELECT id, UCASE(word) AS word FROM words;\nend\n";
    crate::golden::compile_case("copying", &Case::parse(sql).unwrap(), &cluster.schemas).unwrap()
}

#[test]
fn stream_outputs_are_not_doubled_without_being_asked() {
    let cluster = Cluster::new();
    let topology = Arc::new(copying(&cluster));
    let engine = cluster.start(&topology);
    started(&engine);
    let say = |word: &str, timestamp: i64| {
        let tp = TopicPartition::new("words", 0);
        cluster
            .log
            .append(&tp, Some(&1_i64.to_be_bytes()), Some(word.as_bytes()), timestamp)
            .unwrap();
    };
    let heard = || -> Vec<String> {
        let read = |p| {
            cluster
                .log
                .read(&TopicPartition::new("loud", p), true)
                .unwrap_or_default()
        };
        (0..2)
            .flat_map(read)
            .map(|r| String::from_utf8(r.value.unwrap()).unwrap())
            .collect()
    };
    say("one", 1_000);
    say("two", 2_000);
    eventually("the copies", || heard() == ["ONE", "TWO"]);
    let refused = cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap_err();
    assert!(
        refused.to_string().contains("(loud) would hold everything twice"),
        "{refused}"
    );
    let replay = |generation: u32, from: Option<i64>, outputs: StreamOutputs| {
        let begun = cluster.context(|context| operations::begin_replay(context, &topology, from, Some(outputs)));
        assert_eq!(begun, Ok(generation));
        eventually("the switch", || {
            let shown = engine.published().topology("copying");
            shown.is_some_and(|t| t.generation == generation && t.replay.read().is_none())
        });
    };
    replay(1, None, StreamOutputs::None);
    say("three", 3_000);
    eventually("the next copy", || heard() == ["ONE", "TWO", "THREE"]);
    replay(2, Some(2_000), StreamOutputs::Append);
    eventually("the copies from a time on", || {
        heard() == ["ONE", "TWO", "THREE", "TWO", "THREE"]
    });
    engine.stop();
}

#[test]
fn an_input_that_gains_partitions_stops_the_topology_until_it_is_replayed() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 1.0);
    let engine = cluster.start(&plan::topology());
    eventually("the result", || cluster.rated() == BTreeMap::from([(1, (1, 1.0))]));
    cluster.log.add_partitions(RATINGS, 3).unwrap();
    eventually("the stop", || matches!(status(&engine), TopologyStatus::Stopped(_)));
    let TopologyStatus::Stopped(reason) = status(&engine) else {
        panic!()
    };
    assert!(
        reason.contains("topic ratings has 3 partitions") && reason.contains("millstream replay movies"),
        "{reason}"
    );
    let topology = Arc::new(plan::topology());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap();
    eventually("the switch", || {
        engine.published().topology("movies").is_some_and(|t| t.generation == 1)
    });
    assert_eq!(engine.published().topology("movies").unwrap().partitions, [3, 2, 2]);
    assert_eq!(status(&engine), TopologyStatus::Running);
    let tp = TopicPartition::new(RATINGS, 2);
    let mut bytes = Vec::new();
    encode_row(&[1_i64.into(), 2.0.into()], &mut bytes);
    cluster
        .log
        .append(&tp, Some(b"12345678"), Some(&bytes), threads::now())
        .unwrap();
    eventually("the result from the new partition", || {
        cluster.rated() == BTreeMap::from([(1, (2, 3.0))])
    });
    engine.stop();
}

#[test]
fn an_incompatible_schema_is_refused_before_anything_changes() {
    let cluster = Cluster::new();
    let before =
        SchemaText::avro(r#"{"type": "record", "name": "v", "fields": [{"name": "WORD", "type": "boolean"}]}"#);
    cluster.schemas.register("typed-value", &before).unwrap();
    let sql = "sql\n  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);\n  CREATE STREAM typed WITH (KAFKA_TOPIC = 'typed', VALUE_FORMAT = 'AVRO') AS \
               SELECT id, LEN(word) AS word FROM words;\nend\n";
    let topology = crate::golden::compile_case("typed", &Case::parse(sql).unwrap(), &cluster.schemas).unwrap();
    let engine = cluster.start(&topology);
    eventually("the refusal", || matches!(engine.startup(), Startup::Failed(_)));
    let Startup::Failed(problems) = engine.startup() else {
        panic!()
    };
    assert!(problems[0].message.contains("subject typed-value"), "{}", problems[0]);
    assert_eq!(cluster.topics(), ["millstream.control", MOVIES, RATINGS]);
    assert_eq!(cluster.schemas.latest("typed-value").unwrap().unwrap().version, 1);
    engine.stop();
}
