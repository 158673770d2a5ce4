//! What running topologies show to others: readers of the tasks' committed rows, status, progress and counters.
//!
//! Workers write here, `views` and `http` read. *Invariant*: nothing here is read by the data path, and a reader never holds a lock
//! while it reads rows: it clones an `Arc` first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};

use super::metrics::Histogram;
use super::watch::Watchers;
use super::{Cluster, Moment};
use crate::log::partition_for_key;
use crate::state::StoreReader;
use crate::topology::{SubId, Topology};
use crate::types::Value;

/// A task: a sub-topology for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The sub-topology.
    pub sub: SubId,
    /// The partition of its inputs.
    pub partition: i32,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.sub, self.partition)
    }
}

/// How a topology fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopologyStatus {
    /// Workers are joining the group.
    Starting,
    /// Tasks process records (some may still be restoring: see [`TaskStatus`]).
    Running,
    /// Kafka or the registry is away: the reason, while it is being tried again.
    Waiting(String),
    /// Asked to pause: state is kept and answers queries, nothing is consumed.
    Paused,
    /// Stopped until the user acts: why, and what to do.
    Stopped(String),
}

impl TopologyStatus {
    /// A word for it, as the HTTP interface and metrics say it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting(_) => "waiting",
            Self::Paused => "paused",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Why, where there is a reason.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Starting | Self::Running | Self::Paused => None,
            Self::Waiting(reason) | Self::Stopped(reason) => Some(reason),
        }
    }
}

/// How a task fares in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskStatus {
    /// Offsets are read and the store is opened.
    Opening,
    /// The changelog's tail is replayed.
    Restoring,
    /// Records are processed.
    Running,
}

/// How far the restore of a task has come.
#[derive(Debug, Default)]
pub struct RestoreProgress {
    /// Records restored since the task was taken over.
    pub records: AtomicU64,
    /// Offsets to go through in all (an upper bound of the records).
    pub total: AtomicU64,
    /// Offsets gone through so far.
    pub done: AtomicU64,
    /// Records a second, lately.
    pub records_per_second: AtomicU64,
}

/// One input partition of a task.
#[derive(Debug)]
pub struct InputProgress {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The next offset to process.
    pub position: AtomicI64,
    /// The next offset as committed.
    pub committed: AtomicI64,
    /// The end of the partition when it was last looked at.
    pub end: AtomicI64,
}

impl InputProgress {
    /// Offsets that are not processed yet (an upper bound of the records).
    pub fn lag(&self) -> i64 {
        (self.end.load(Relaxed) - self.position.load(Relaxed)).max(0)
    }
}

/// A task that this process owns.
pub struct PublishedTask {
    /// Which one.
    pub id: TaskId,
    /// Its inputs.
    pub inputs: Vec<InputProgress>,
    /// The restore.
    pub restore: RestoreProgress,
    /// Bytes of its store, and an estimate of its keys; refreshed now and then.
    pub store_bytes: AtomicU64,
    /// See [`Self::store_bytes`].
    pub store_keys: AtomicU64,
    status: RwLock<TaskStatus>,
    reader: RwLock<Option<Arc<dyn StoreReader>>>,
}

impl PublishedTask {
    /// A task that is being opened.
    pub fn new(id: TaskId, inputs: Vec<(Arc<str>, i32)>) -> Self {
        let input = |(topic, partition)| InputProgress {
            topic,
            partition,
            position: AtomicI64::new(0),
            committed: AtomicI64::new(0),
            end: AtomicI64::new(0),
        };
        Self {
            id,
            inputs: inputs.into_iter().map(input).collect(),
            restore: RestoreProgress::default(),
            store_bytes: AtomicU64::new(0),
            store_keys: AtomicU64::new(0),
            status: RwLock::new(TaskStatus::Opening),
            reader: RwLock::new(None),
        }
    }

    /// How it fares.
    pub fn status(&self) -> TaskStatus {
        *self.status.read()
    }

    /// Said by the owner.
    pub fn set_status(&self, status: TaskStatus) {
        *self.status.write() = status;
    }

    /// Its committed rows; `None` while it has no store open.
    pub fn reader(&self) -> Option<Arc<dyn StoreReader>> {
        self.reader.read().clone()
    }

    /// Said by the owner.
    pub fn set_reader(&self, reader: Option<Arc<dyn StoreReader>>) {
        *self.reader.write() = reader;
    }

    /// Offsets behind, over all inputs.
    pub fn lag(&self) -> i64 {
        self.inputs.iter().map(InputProgress::lag).sum()
    }
}

/// A task that another process owns, and this one follows: a copy of its committed rows.
pub struct PublishedStandby {
    /// Which one.
    pub id: TaskId,
    lag: AtomicU64,
    /// When all that was committed by then had been taken in; `None`: never yet.
    whole_at: RwLock<Option<Moment>>,
    reader: Arc<dyn StoreReader>,
}

impl PublishedStandby {
    /// A copy of which nothing is known but its rows.
    pub fn new(id: TaskId, reader: Arc<dyn StoreReader>) -> Self {
        Self {
            id,
            lag: AtomicU64::new(u64::MAX),
            whole_at: RwLock::new(None),
            reader,
        }
    }

    /// Its rows: committed ones, some moments old. The input offsets of their position are a lower bound: the rows may reflect more.
    pub fn reader(&self) -> Arc<dyn StoreReader> {
        self.reader.clone()
    }

    /// Changelog offsets that it is behind, when they were last looked at; [`u64::MAX`]: not known yet.
    pub fn lag(&self) -> u64 {
        self.lag.load(Relaxed)
    }

    /// The age of the committed state that it shows, in milliseconds: whatever was committed so long ago is in it. [`i64::MAX`]: not known yet.
    /// Whichever clock is put, it is never said to be younger than it is.
    pub fn behind_ms(&self, now: Moment) -> i64 {
        self.whole_at.read().map_or(i64::MAX, |whole_at| now.age_of(whole_at))
    }

    /// Said by who follows.
    pub fn set_lag(&self, lag: u64) {
        self.lag.store(lag, Relaxed);
    }

    /// Said by who follows: all that was committed by then is taken in.
    pub fn set_whole_at(&self, moment: Moment) {
        *self.whole_at.write() = Some(moment);
    }
}

/// Counters of a topology in this process, since it started.
#[derive(Debug, Default)]
pub struct TopologyMetrics {
    /// Records processed.
    pub records: AtomicU64,
    /// Their bytes, keys and values.
    pub bytes: AtomicU64,
    /// Records sent to output and repartition topics.
    pub sent: AtomicU64,
    /// Changelog records sent.
    pub changelog: AtomicU64,
    /// Records sent to the dead-letter topic.
    pub dead_letters: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Aborted or fenced transactions.
    pub aborts: AtomicU64,
    /// Changelog records restored.
    pub restored: AtomicU64,
    /// Changelog records of other instances' tasks taken in.
    pub followed: AtomicU64,
    /// Time from the begin of a commit until the stores hold it.
    pub commit_time: Histogram,
    /// Dead letters by reason.
    pub dead_letter_reasons: RwLock<BTreeMap<&'static str, u64>>,
    /// Records dropped by rule (late, null key, ...): by node and reason.
    pub dropped: RwLock<BTreeMap<(Arc<str>, &'static str), u64>>,
}

/// The progress of a replay: a new generation being built beside the one that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayProgress {
    /// The generation being built.
    pub generation: u32,
    /// Offsets of external inputs gone through.
    pub done: u64,
    /// Offsets in all, as of now.
    pub total: u64,
    /// Offsets a second, lately.
    pub per_second: u64,
}

/// One generation of a topology that runs here and answers queries.
pub struct PublishedTopology {
    /// The plan.
    pub topology: Arc<Topology>,
    /// The generation that answers.
    pub generation: u32,
    /// Partitions (tasks) of each sub-topology.
    pub partitions: Vec<i32>,
    /// Counters.
    pub metrics: TopologyMetrics,
    /// Push queries that want to know what is committed.
    pub watchers: Watchers,
    /// A replay that runs beside it.
    pub replay: RwLock<Option<ReplayProgress>>,
    status: RwLock<TopologyStatus>,
    tasks: RwLock<BTreeMap<TaskId, Arc<PublishedTask>>>,
    standbys: RwLock<BTreeMap<TaskId, Arc<PublishedStandby>>>,
    commits: Mutex<u64>,
    committed: Condvar,
}

impl PublishedTopology {
    /// A topology that is about to start.
    pub fn new(topology: Arc<Topology>, generation: u32, partitions: Vec<i32>) -> Self {
        Self {
            topology,
            generation,
            partitions,
            metrics: TopologyMetrics::default(),
            watchers: Watchers::default(),
            replay: RwLock::new(None),
            status: RwLock::new(TopologyStatus::Starting),
            tasks: RwLock::new(BTreeMap::new()),
            standbys: RwLock::new(BTreeMap::new()),
            commits: Mutex::new(0),
            committed: Condvar::new(),
        }
    }

    /// How it fares.
    pub fn status(&self) -> TopologyStatus {
        self.status.read().clone()
    }

    /// Said by the engine. What stopped stays stopped.
    pub fn set_status(&self, status: TopologyStatus) {
        let mut now = self.status.write();
        if !matches!(*now, TopologyStatus::Stopped(_)) {
            *now = status;
        }
    }

    /// The tasks that this process owns, in order.
    pub fn tasks(&self) -> Vec<Arc<PublishedTask>> {
        self.tasks.read().values().cloned().collect()
    }

    /// The tasks of a sub-topology that this process owns, by partition.
    pub fn tasks_of(&self, sub: SubId) -> Vec<Arc<PublishedTask>> {
        self.tasks
            .read()
            .values()
            .filter(|task| task.id.sub == sub)
            .cloned()
            .collect()
    }

    /// One task, if this process owns it.
    pub fn task(&self, id: TaskId) -> Option<Arc<PublishedTask>> {
        self.tasks.read().get(&id).cloned()
    }

    /// Shows a task; said by its owner.
    pub fn insert_task(&self, task: Arc<PublishedTask>) {
        self.tasks.write().insert(task.id, task);
    }

    /// Hides a task, unless another worker shows it already.
    pub fn remove_task(&self, task: &Arc<PublishedTask>) {
        let mut tasks = self.tasks.write();
        if tasks.get(&task.id).is_some_and(|shown| Arc::ptr_eq(shown, task)) {
            tasks.remove(&task.id);
        }
    }

    /// The tasks that this process follows, in order.
    pub fn standbys(&self) -> Vec<Arc<PublishedStandby>> {
        self.standbys.read().values().cloned().collect()
    }

    /// One task, if this process follows it.
    pub fn standby(&self, id: TaskId) -> Option<Arc<PublishedStandby>> {
        self.standbys.read().get(&id).cloned()
    }

    /// Shows a copy; said by who follows.
    pub fn insert_standby(&self, standby: Arc<PublishedStandby>) {
        self.standbys.write().insert(standby.id, standby);
    }

    /// Hides a copy.
    pub fn remove_standby(&self, id: TaskId) {
        self.standbys.write().remove(&id);
    }

    /// Whether every task of the topology runs in this process.
    pub fn all_running(&self) -> bool {
        let tasks = self.tasks.read();
        let wanted: i32 = self.partitions.iter().sum();
        tasks.len() == wanted.max(0) as usize && tasks.values().all(|t| t.status() == TaskStatus::Running)
    }

    /// Said by a worker after the stores hold a commit.
    pub fn note_commit(&self, took: Duration) {
        self.metrics.commits.fetch_add(1, Relaxed);
        self.metrics.commit_time.record(took);
        *self.commits.lock() += 1;
        self.committed.notify_all();
    }

    /// Waits until something was committed after `seen` commits, at most `timeout`; returns the number of commits now.
    pub fn wait_for_commit(&self, seen: u64, timeout: Duration) -> u64 {
        let mut commits = self.commits.lock();
        if *commits == seen {
            self.committed.wait_for(&mut commits, timeout);
        }
        *commits
    }
}

/// All topologies that run in this process, by name, and what is known of other processes.
#[derive(Default)]
pub struct Published {
    cluster: Arc<Cluster>,
    kafka_away: RwLock<Option<String>>,
    topologies: RwLock<BTreeMap<Arc<str>, Arc<PublishedTopology>>>,
}

impl Published {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing yet, beside what is known of other instances.
    pub fn of(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            ..Self::default()
        }
    }

    /// What is known of the other instances.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Why Kafka does not answer, while it does not.
    pub fn kafka_away(&self) -> Option<String> {
        self.kafka_away.read().clone()
    }

    /// Said by the engine; what was said before.
    pub fn set_kafka_away(&self, reason: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.kafka_away.write(), reason)
    }

    /// All of them, by name.
    pub fn topologies(&self) -> Vec<Arc<PublishedTopology>> {
        self.topologies.read().values().cloned().collect()
    }

    /// One by name.
    pub fn topology(&self, name: &str) -> Option<Arc<PublishedTopology>> {
        self.topologies.read().get(name).cloned()
    }

    /// Shows a topology in place of one with the same name: how a replay's generation takes over.
    pub fn insert(&self, topology: Arc<PublishedTopology>) {
        self.topologies.write().insert(topology.topology.name.clone(), topology);
    }

    /// Hides a topology.
    pub fn remove(&self, name: &str) {
        self.topologies.write().remove(name);
    }
}

/// Where the row of a key most likely is: where clients put a record with this key in the KAFKA format, unless they choose otherwise. `None`: nothing is
/// likelier.
pub fn likely_partition(key: &[Value], partitions: i32) -> Option<i32> {
    match key {
        [Value::Integer(n)] => Some(partition_for_key(&n.to_be_bytes(), partitions)),
        [Value::Bigint(n)] => Some(partition_for_key(&n.to_be_bytes(), partitions)),
        [Value::String(s)] => Some(partition_for_key(s.as_bytes(), partitions)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_partition_is_that_of_a_key_in_the_kafka_format() {
        for (key, bytes) in [
            (Value::Integer(-7), &[255, 255, 255, 249][..]),
            (Value::Bigint(258), &[0, 0, 0, 0, 0, 0, 1, 2]),
            (Value::String("kafka".into()), b"kafka"),
        ] {
            let expected = partition_for_key(bytes, 50);
            assert_eq!(likely_partition(&[key], 50), Some(expected));
        }
        assert_eq!(likely_partition(&[1.into(), 2.into()], 50), None);
        assert_eq!(likely_partition(&[Value::Null], 50), None);
    }
}
