//! A simulated cluster in real time, and what the tests of the engine ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millstream::engine::deploy::{DeployContext, Problem, operations};
use millstream::engine::snapshots::SnapshotParts;
use millstream::engine::{Engine, EngineParts, EngineSettings, Startup, TopologyStatus, threads};
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::sim::{SimLog, SimProcess};
use millstream::log::{Log, partition_for_key};
use millstream::state::memory::MemoryStores;
use millstream::topology::Topology;
use millstream::types::{TopicPartition, Value, decode_row, encode_row};

use crate::patience::{PATIENCE, RealTime, until};
use crate::simulation::plan::{self, MOVIES, RATED, RATINGS};

pub const PARTITIONS: i32 = 2;

/// A simulated cluster whose time follows the real one.
pub struct Cluster {
    pub log: SimLog,
    pub process: Arc<SimProcess>,
    pub schemas: Arc<dyn SchemaSource>,
    pub stores: Arc<MemoryStores>,
    pub settings: EngineSettings,
    pub snapshots: SnapshotParts,
    _time: RealTime,
}

impl Cluster {
    pub fn new() -> Self {
        let log = SimLog::new(1, threads::now()).unwrap();
        for topic in [RATINGS, MOVIES] {
            log.create_topic(topic, PARTITIONS, &[]).unwrap();
        }
        Self {
            _time: RealTime::of(&log),
            process: log.process(),
            log,
            schemas: Arc::new(MemoryRegistry::default()),
            stores: Arc::new(MemoryStores::new()),
            snapshots: SnapshotParts::default(),
            settings: EngineSettings {
                workers: 2,
                commit_interval: Duration::from_millis(10),
                partition_check_interval: Duration::from_millis(200),
                ..EngineSettings::default()
            },
        }
    }

    pub fn start(&self, topology: &Topology) -> Engine {
        self.start_instance(topology, "one", self.stores.clone())
    }

    pub fn start_instance(&self, topology: &Topology, instance: &str, stores: Arc<MemoryStores>) -> Engine {
        Engine::start(self.parts(instance, stores), vec![Arc::new(topology.clone())]).unwrap()
    }

    pub fn parts(&self, instance: &str, stores: Arc<MemoryStores>) -> EngineParts {
        EngineParts {
            log: self.process.clone(),
            schemas: self.schemas.clone(),
            stores,
            settings: self.settings.clone(),
            instance: instance.into(),
            snapshots: self.snapshots.clone(),
        }
    }

    pub fn context<R>(&self, run: impl FnOnce(&DeployContext<'_>) -> R) -> R {
        run(&DeployContext {
            log: &*self.process,
            schemas: &self.schemas,
            settings: &self.settings,
        })
    }

    pub fn append(&self, topic: &str, key: i64, row: &[Value]) -> TopicPartition {
        let key = key.to_be_bytes();
        let mut bytes = Vec::new();
        encode_row(row, &mut bytes);
        let tp = TopicPartition::new(topic, partition_for_key(&key, PARTITIONS));
        self.log.append(&tp, Some(&key), Some(&bytes), threads::now()).unwrap();
        tp
    }

    pub fn rate(&self, movie: i64, rating: f64) -> TopicPartition {
        self.append(RATINGS, movie, &[movie.into(), rating.into()])
    }

    pub fn movie(&self, movie: i64) {
        self.append(MOVIES, movie, &["title".into(), 1_i64.into()]);
    }

    /// Number and sum of the ratings by movie, as the output says.
    pub fn rated(&self) -> BTreeMap<i64, (i64, f64)> {
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

    pub fn topics(&self) -> Vec<String> {
        let all = self.process.admin().list_topics().unwrap();
        // it comes and goes with no relation to what is deployed
        all.into_iter()
            .filter(|topic| topic != "millstream.instances")
            .collect()
    }
}

pub fn started(engine: &Engine) {
    let end = Instant::now() + PATIENCE;
    let mut seen = engine.startup();
    while seen != Startup::Started {
        assert!(Instant::now() < end, "it does not start: {seen:?}");
        seen = engine.wait_started(&seen, PATIENCE);
    }
}

pub fn status(engine: &Engine) -> TopologyStatus {
    engine
        .published()
        .topology("movies")
        .map_or(TopologyStatus::Starting, |topology| topology.status())
}

/// Why it did not start.
pub fn refused(engine: &Engine) -> Vec<Problem> {
    until("the refusal", || matches!(engine.startup(), Startup::Failed(_)));
    match engine.startup() {
        Startup::Failed(problems) => problems,
        other => panic!("{other:?}"),
    }
}

/// An engine that has given the first result, and is paused.
pub fn paused(cluster: &Cluster) -> Engine {
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    started(&engine);
    until("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    cluster.context(|context| operations::pause(context, "movies")).unwrap();
    until("the pause", || status(&engine) == TopologyStatus::Paused);
    engine
}

/// Waits until readers see this generation.
pub fn switched(engine: &Engine, generation: u32) {
    until("the switch", || {
        let shown = engine.published().topology("movies");
        shown.is_some_and(|topology| topology.generation == generation)
    });
}
