//! What can be set about the engine, as plain data: the settings table of the command line makes it.

use std::time::Duration;

use crate::types::Timestamp;

/// What happens with a record that cannot be decoded or processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRecord {
    /// It goes to the topology's dead-letter topic with its reason, and processing goes on.
    #[default]
    DeadLetter,
    /// The topology stops and says why.
    Stop,
}

/// When operators that keep rows forward their changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// Each dirty key once a commit.
    #[default]
    HoldUntilCommit,
    /// Every change.
    EveryChange,
}

/// Where a topology without committed offsets begins to read its inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The first record that the topic still has.
    #[default]
    Earliest,
    /// The first record of this time or later, in milliseconds since the epoch.
    Time(Timestamp),
}

/// Settings of the engine; one value for all topologies of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineSettings {
    /// The application: prefix of groups, internal topics and transactional ids.
    pub app_id: String,
    /// Worker threads a topology.
    pub workers: usize,
    /// Time between commits while there is something to commit.
    pub commit_interval: Duration,
    /// Bytes of uncommitted rows, over all workers of a topology; a full buffer commits early.
    pub buffer_bytes: usize,
    /// Bytes of decoded rows that are kept in memory, over all workers of a topology.
    pub cache_bytes: usize,
    /// Records waiting a partition, where a task chooses between several inputs; above it the partition is paused.
    pub queue_records: usize,
    /// Their bytes a partition; above it the partition is paused.
    pub queue_bytes: usize,
    /// Fetched bytes waiting, a worker.
    pub fetch_bytes: usize,
    /// Replicas of topics that the engine creates; -1 for the broker's default.
    pub replication_factor: i16,
    /// `min.insync.replicas` of internal topics; `None` for the broker's default.
    pub min_insync_replicas: Option<i32>,
    /// Bad input.
    pub bad_record: BadRecord,
    /// Emission mode.
    pub emit: Emit,
    /// `delete.retention.ms` of changelogs. A store that was not updated for longer may have missed deletes and is built anew.
    pub delete_retention: Duration,
    /// How often the offsets of idle inputs are committed again: a group's offsets expire after 7 days (KIP-211).
    pub idle_commit_interval: Duration,
    /// How often stores are flushed to disk, so that the tail to replay after a crash stays small.
    pub store_flush_interval: Duration,
    /// Least time between two purges of a repartition topic behind the commit.
    pub purge_interval: Duration,
    /// How often the partitions of inputs are counted: a topology whose input has gained some stops.
    pub partition_check_interval: Duration,
    /// Answers of a foreign-key join that one change of a right row gives at once; more subscribers are told in chunks of this size, over several commits.
    pub fan_out: usize,
    /// Where a topology without committed offsets begins.
    pub start_from: StartFrom,
    /// Other instances that follow each task and its state.
    pub standbys: usize,
    /// Longest time for which a new instance follows large state before it joins a topology's group; zero: it joins at once.
    pub warm_up_timeout: Duration,
    /// State of no more changelog offsets is not large.
    pub warm_up_records: u64,
    /// Where other instances reach this one's HTTP; `None`: nowhere.
    pub advertised_url: Option<String>,
}

/// The bound of records waiting a partition: enough to choose by time, small beside the fetch buffer.
pub const DEFAULT_QUEUE_RECORDS: usize = 1_000;
/// Seven days: what Kafka keeps a group's offsets for, so that state and offsets grow stale together.
pub const DEFAULT_DELETE_RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// Time for a hundred million rows and more.
pub const DEFAULT_WARM_UP: Duration = Duration::from_secs(600);
/// What a restore goes through in less than a second.
pub const DEFAULT_WARM_UP_RECORDS: u64 = 100_000;
/// Well below the seven days after which Kafka forgets a group's offsets.
pub const DEFAULT_IDLE_COMMIT: Duration = Duration::from_secs(24 * 3600);

const _: () = assert!(DEFAULT_IDLE_COMMIT.as_secs() * 2 < DEFAULT_DELETE_RETENTION.as_secs());

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            app_id: "millstream".into(),
            workers: 1,
            commit_interval: Duration::from_millis(100),
            buffer_bytes: 4 << 20,
            cache_bytes: 4 << 20,
            queue_records: DEFAULT_QUEUE_RECORDS,
            queue_bytes: 1 << 20,
            fetch_bytes: 2 << 20,
            replication_factor: -1,
            min_insync_replicas: None,
            bad_record: BadRecord::default(),
            emit: Emit::default(),
            delete_retention: DEFAULT_DELETE_RETENTION,
            idle_commit_interval: DEFAULT_IDLE_COMMIT,
            store_flush_interval: Duration::from_secs(10),
            purge_interval: Duration::from_secs(5),
            partition_check_interval: Duration::from_secs(10),
            fan_out: super::task::FAN_OUT,
            start_from: StartFrom::default(),
            standbys: 0,
            warm_up_timeout: DEFAULT_WARM_UP,
            warm_up_records: DEFAULT_WARM_UP_RECORDS,
            advertised_url: None,
        }
    }
}
