//! Names of its own on a broker that others may use, the SQL files of a run, and what the broker holds of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Fetched, FetcherConfig, Log, LogError, LogResult, NewTopic};
use millstream::types::{Timestamp, TopicPartition};
use serde_json::Value as Json;

use crate::broker::TestBroker;
use crate::patience::{PATIENCE, eventually, until, within};

const POLL: Duration = Duration::from_millis(50);
/// Records of one poll.
const MANY: usize = 10_000;

/// A record as it was read.
pub struct Read {
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

impl Read {
    /// Its key as text.
    pub fn text_key(&self) -> String {
        String::from_utf8(self.key.clone().expect("a key")).expect("text")
    }

    /// Its key as the format KAFKA writes a BIGINT.
    pub fn number_key(&self) -> i64 {
        let bytes = self.key.as_deref().expect("a key");
        i64::from_be_bytes(bytes.try_into().expect("eight bytes"))
    }

    /// Its JSON value; `Null` for a deletion.
    pub fn json(&self) -> Json {
        let value = self.value.as_deref();
        value.map_or(Json::Null, |bytes| serde_json::from_slice(bytes).expect("JSON"))
    }
}

/// A call that may meet a broker that is away for a moment.
pub fn patiently<T>(what: &str, mut call: impl FnMut() -> LogResult<T>) -> T {
    eventually(what, || match call() {
        Ok(value) => Some(value),
        Err(LogError::Retry(_) | LogError::Unknown(_)) => None,
        Err(error) => panic!("{what}: {error}"),
    })
}

/// Broker and files of a run.
pub struct Cluster {
    pub bootstrap: String,
    /// The application id, also the suffix of all topics.
    pub app: String,
    pub directory: PathBuf,
    pub log: KafkaLog,
    _broker: TestBroker,
}

impl Cluster {
    /// Prepares a run on the broker that the environment names, else on an embedded one.
    pub fn new(name: &str) -> Self {
        let broker = TestBroker::start();
        let app = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let directory = std::env::temp_dir().join(format!("millstream-{app}"));
        std::fs::create_dir_all(directory.join("topologies")).expect("a directory");
        let settings = KafkaSettings {
            bootstrap_servers: broker.address(),
            client_id: "jobs-test".into(),
            // a broker that is killed comes back; the load waits until then
            properties: ["message.timeout.ms", "transaction.timeout.ms"]
                .map(|name| (format!("producer.{name}"), "120000".into()))
                .into(),
        };
        Self {
            bootstrap: broker.address(),
            app,
            directory,
            log: KafkaLog::new(settings).expect("valid settings"),
            _broker: broker,
        }
    }

    /// The name of a topic of the SQL files in this run.
    pub fn topic(&self, name: &str) -> String {
        format!("{name}-{}", self.app)
    }

    /// Where the SQL files of this run are.
    pub fn topologies(&self) -> PathBuf {
        self.directory.join("topologies")
    }

    /// The group of a topology.
    pub fn group(&self, topology: &str) -> String {
        format!("{}.{topology}", self.app)
    }

    /// Writes a SQL file; its topics get this run's names.
    pub fn write_sql(&self, file: &str, sql: &str) {
        const NAMED: &str = "KAFKA_TOPIC = '";
        let mut renamed = String::new();
        let mut rest = sql;
        while let Some(at) = rest.find(NAMED) {
            let (before, after) = rest.split_at(at + NAMED.len());
            let (name, behind) = after.split_once('\'').expect("a closing quote");
            renamed += before;
            renamed += &self.topic(name);
            renamed.push('\'');
            rest = behind;
        }
        renamed += rest;
        std::fs::write(self.topologies().join(file), renamed).expect("written");
    }

    /// Creates topics, which keep everything.
    pub fn create_topics(&self, topics: &[(&str, i32)], config: &[(&str, &str)]) {
        let mut all = vec![("retention.ms".to_owned(), "-1".to_owned())];
        all.extend(config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let topic = |(name, partitions): &(&str, i32)| NewTopic {
            name: self.topic(name),
            partitions: *partitions,
            replicas: -1,
            config: all.clone(),
        };
        let topics: Vec<NewTopic> = topics.iter().map(topic).collect();
        patiently("topics to be created", || self.log.admin().create_topics(&topics));
    }

    /// All committed records of a topic, in order a partition.
    pub fn read(&self, topic: &str) -> Vec<Read> {
        patiently("a topic to be read", || self.try_read(topic))
    }

    fn try_read(&self, topic: &str) -> LogResult<Vec<Read>> {
        let info = self.log.admin().topics(&[topic])?.remove(0);
        let Some(info) = info else { return Ok(Vec::new()) };
        let config = FetcherConfig {
            committed_only: true,
            buffer_bytes: 16 << 20,
        };
        let mut fetcher = self.log.fetcher(&config)?;
        let mut open: BTreeMap<u32, i32> = BTreeMap::new();
        for partition in 0..info.partitions {
            let (tp, slot) = (TopicPartition::new(topic, partition), partition as u32);
            let (low, _) = self.log.admin().watermarks(&tp)?;
            fetcher.assign(slot, &tp, low)?;
            open.insert(slot, partition);
        }
        let mut records = Vec::new();
        let end = Instant::now() + PATIENCE;
        while !open.is_empty() {
            assert!(Instant::now() < end, "{topic}: partitions {open:?} do not end");
            let mut sink = |fetched: Fetched<'_>| match fetched {
                Fetched::Record(record) => records.push(Read {
                    partition: record.slot as i32,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    key: record.key.map(<[u8]>::to_vec),
                    value: record.value.map(<[u8]>::to_vec),
                }),
                Fetched::End { slot } => drop(open.remove(&slot)),
                Fetched::Ahead { .. } => {}
            };
            fetcher.poll(MANY, POLL, &mut sink)?;
        }
        Ok(records)
    }

    /// The same, by partition.
    pub fn read_partitions(&self, topic: &str) -> BTreeMap<i32, Vec<Read>> {
        let mut partitions: BTreeMap<i32, Vec<Read>> = BTreeMap::new();
        for record in self.read(&self.topic(topic)) {
            partitions.entry(record.partition).or_default().push(record);
        }
        partitions
    }

    /// The last value of every key of a table's topic; deleted keys are not there.
    pub fn table<K: Ord>(&self, topic: &str, key: impl Fn(&Read) -> K) -> BTreeMap<K, Json> {
        let mut rows = BTreeMap::new();
        for record in self.read(&self.topic(topic)) {
            match record.json() {
                Json::Null => drop(rows.remove(&key(&record))),
                row => drop(rows.insert(key(&record), row)),
            }
        }
        rows
    }

    /// The topics of this run that exist.
    pub fn topics(&self) -> Vec<String> {
        let mut names = patiently("a list of topics", || self.log.admin().list_topics());
        names.retain(|name| name.contains(&self.app));
        names
    }

    fn partitions(&self, topic: &str) -> Vec<TopicPartition> {
        let info = patiently("a topic's partitions", || self.log.admin().topics(&[topic])).remove(0);
        let partitions = info.map_or(0, |info| info.partitions);
        (0..partitions).map(|p| TopicPartition::new(topic, p)).collect()
    }

    fn end(&self, tp: &TopicPartition) -> i64 {
        patiently("an end", || self.log.admin().watermarks(tp)).1
    }

    /// The next offset of each partition of an input that a topology has committed; 0 where none.
    pub fn committed(&self, topology: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.committed_of(topology, &self.partitions(&self.topic(topic)))
    }

    fn committed_of(&self, topology: &str, tps: &[TopicPartition]) -> BTreeMap<i32, i64> {
        let group = self.group(topology);
        let committed = patiently("committed offsets", || self.log.admin().committed(&group, tps));
        let pairs = tps.iter().zip(committed);
        pairs.map(|(tp, offset)| (tp.partition, offset.unwrap_or(0))).collect()
    }

    /// Partitions of an input that a topology has not read to their ends.
    pub fn unread(&self, topology: &str, topic: &str) -> Vec<String> {
        self.unread_topic(topology, &self.topic(topic))
    }

    /// The same for a topic by its whole name.
    pub fn unread_topic(&self, topology: &str, topic: &str) -> Vec<String> {
        let tps = self.partitions(topic);
        let committed = self.committed_of(topology, &tps);
        let ends = tps.iter().map(|tp| (tp, committed[&tp.partition], self.end(tp)));
        let behind = ends.filter(|(_, committed, end)| committed < end);
        behind
            .map(|(tp, committed, end)| format!("{topology} {tp}: {committed} of {end}"))
            .collect()
    }

    /// Partitions whose last stable offset is behind their end.
    fn open_transactions(&self) -> Vec<String> {
        let mut open = Vec::new();
        for tp in self.topics().iter().flat_map(|topic| self.partitions(topic)) {
            let end = self.end(&tp);
            let stable = patiently("a stable end", || self.log.admin().stable_end(&tp));
            if stable < end {
                open.push(format!("{tp} ({stable} of {end})"));
            }
        }
        open
    }

    /// Waits until every transaction has ended. Those of dead producers time out.
    pub fn must_end_transactions(&self) {
        let mut open = Vec::new();
        let ended = within(PATIENCE, || {
            open = self.open_transactions();
            open.is_empty().then_some(())
        });
        assert!(ended.is_some(), "transactions were left open in {open:?}");
    }

    /// The ends of all changelogs together.
    pub fn changelog_records(&self) -> i64 {
        let changelogs = self.topics().into_iter().filter(|topic| topic.ends_with(".changelog"));
        let tps: Vec<TopicPartition> = changelogs.flat_map(|topic| self.partitions(&topic)).collect();
        tps.iter().map(|tp| self.end(tp)).sum()
    }

    /// Waits until a topology has read so far into an input, by the sum of the partitions' offsets.
    pub fn wait_for(&self, topology: &str, topic: &str, offsets: i64) {
        until("records to be read", || {
            self.committed(topology, topic).values().sum::<i64>() >= offsets
        });
    }

    /// Removes files and topics of a run that went well; those of another stay to be looked at.
    pub fn clean_up(&self) {
        drop(std::fs::remove_dir_all(&self.directory));
        let topics = self.topics();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        drop(self.log.admin().delete_topics(&names));
    }
}
