//! What a run of the jobs needs beside the process: names of its own on a broker that others may use, topologies, schemas and a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use millstream::dev::registry::{self, EmbeddedRegistry, MemoryLog};
use millstream::formats::{SchemaSource, SchemaText};
use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Fetched, FetcherConfig, Log};
use millstream::types::TopicPartition;

const WAIT: Duration = Duration::from_secs(60);

/// A record as it was read.
pub struct Read {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// Broker, registry and the files of a run.
pub struct Cluster {
    pub bootstrap: String,
    pub registry_url: String,
    /// The application id, also the suffix of all topics.
    pub app: String,
    pub directory: PathBuf,
    pub log: KafkaLog,
    pub registry: EmbeddedRegistry,
    /// Serves the registry for as long as it lives.
    _threads: (tokio::runtime::Runtime, registry::Handle),
}

impl Cluster {
    /// Prepares a run: registers the schemas, writes the topologies with topics of their own.
    pub fn new(bootstrap: &str) -> Self {
        let app = format!("jobs-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let directory = std::env::temp_dir().join(format!("millstream-{app}"));
        let registry = EmbeddedRegistry::open(Box::<MemoryLog>::default()).expect("a registry");
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("threads");
        let handle = threads.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            registry::serve(listener, registry.clone()).expect("the registry listens")
        });
        let settings = KafkaSettings {
            bootstrap_servers: bootstrap.into(),
            client_id: "jobs-test".into(),
            properties: Vec::new(),
        };
        let cluster = Self {
            bootstrap: bootstrap.into(),
            registry_url: format!("http://{}", handle.address()),
            app,
            directory,
            log: KafkaLog::new(settings).expect("valid settings"),
            registry,
            _threads: (threads, handle),
        };
        cluster.write_topologies();
        cluster.register_schemas();
        cluster
    }

    /// The name of a topic of the SQL files in this run.
    pub fn topic(&self, name: &str) -> String {
        format!("{name}-{}", self.app)
    }

    /// Where the SQL files of this run are.
    pub fn topologies(&self) -> PathBuf {
        self.directory.join("topologies")
    }

    fn write_topologies(&self) {
        std::fs::create_dir_all(self.topologies()).expect("a directory");
        for entry in std::fs::read_dir(root().join("topologies")).expect("topologies/") {
            let path = entry.expect("an entry").path();
            let sql = std::fs::read_to_string(&path).expect("a file");
            let mut renamed = String::new();
            let mut rest = sql.as_str();
            while let Some(at) = rest.find("KAFKA_TOPIC = '") {
                let (before, after) = rest.split_at(at + "KAFKA_TOPIC = '".len());
                let (name, behind) = after.split_once('\'').expect("a closing quote");
                renamed += before;
                renamed += &self.topic(name);
                renamed.push('\'');
                rest = behind;
            }
            renamed += rest;
            std::fs::write(self.topologies().join(path.file_name().expect("a name")), renamed).expect("written");
        }
    }

    fn register_schemas(&self) {
        for entry in std::fs::read_dir(root().join("schemas")).expect("schemas/") {
            let path = entry.expect("an entry").path();
            let subject = path.file_stem().and_then(|stem| stem.to_str()).expect("a subject");
            let (topic, side) = subject.rsplit_once('-').expect("TOPIC-value");
            let text = SchemaText {
                text: std::fs::read_to_string(&path).expect("a file"),
                ..SchemaText::default()
            };
            self.registry
                .register(&format!("{}-{side}", self.topic(topic)), &text)
                .expect("registered");
        }
    }

    /// The id and the schema of the values of a topic of the SQL files.
    pub fn schema(&self, topic: &str) -> (u32, apache_avro::Schema) {
        let subject = format!("{}-value", self.topic(topic));
        let found = self
            .registry
            .latest(&subject)
            .expect("the registry answers")
            .expect("a schema");
        (
            found.id,
            apache_avro::Schema::parse_str(&found.schema.text).expect("Avro"),
        )
    }

    /// All committed records of a topic, in order a partition.
    pub fn read(&self, topic: &str) -> Vec<Read> {
        let info = self.log.admin().topics(&[topic]).expect("an answer").remove(0);
        let Some(info) = info else { return Vec::new() };
        let config = FetcherConfig {
            committed_only: true,
            buffer_bytes: 16 << 20,
        };
        let mut fetcher = self.log.fetcher(&config).expect("a fetcher");
        let mut open: BTreeMap<u32, i32> = BTreeMap::new();
        for partition in 0..info.partitions {
            let (tp, slot) = (TopicPartition::new(topic, partition), partition as u32);
            let (low, _) = self.log.admin().watermarks(&tp).expect("an answer");
            fetcher.assign(slot, &tp, low).expect("assigned");
            open.insert(slot, partition);
        }
        let mut records = Vec::new();
        let end = Instant::now() + WAIT;
        while !open.is_empty() {
            assert!(Instant::now() < end, "{topic}: partitions {open:?} do not end");
            let mut sink = |fetched: Fetched<'_>| match fetched {
                Fetched::Record(record) => records.push(Read {
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                }),
                Fetched::End { slot } => drop(open.remove(&slot)),
                Fetched::Ahead { .. } => {}
            };
            fetcher
                .poll(10_000, Duration::from_millis(50), &mut sink)
                .expect("a poll");
        }
        records
    }

    /// The topics of this run that exist.
    fn topics(&self) -> Vec<String> {
        let mut names = self.log.admin().list_topics().expect("an answer");
        names.retain(|name| name.contains(&self.app));
        names
    }

    fn ends(&self, topic: &str) -> Vec<(TopicPartition, i64)> {
        let info = self.log.admin().topics(&[topic]).expect("an answer").remove(0);
        let partitions = info.map_or(0, |info| info.partitions);
        (0..partitions)
            .map(|partition| {
                let tp = TopicPartition::new(topic, partition);
                let (_, end) = self.log.admin().watermarks(&tp).expect("an answer");
                (tp, end)
            })
            .collect()
    }

    /// Partitions whose last stable offset is behind their end.
    pub fn open_transactions(&self) -> Vec<String> {
        let mut open = Vec::new();
        for topic in self.topics() {
            for (tp, end) in self.ends(&topic) {
                let stable = self.log.admin().stable_end(&tp).expect("an answer");
                if stable < end {
                    open.push(format!("{tp} ({stable} of {end})"));
                }
            }
        }
        open
    }

    /// The ends of all changelogs together.
    pub fn changelog_records(&self) -> i64 {
        let changelogs = self.topics().into_iter().filter(|topic| topic.ends_with(".changelog"));
        changelogs.flat_map(|topic| self.ends(&topic)).map(|(_, end)| end).sum()
    }

    /// Removes files and topics of a run that went well; those of another stay to be looked at.
    pub fn clean_up(&self) {
        drop(std::fs::remove_dir_all(&self.directory));
        let topics = self.topics();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        drop(self.log.admin().delete_topics(&names));
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
