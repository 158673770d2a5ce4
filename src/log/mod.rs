//! The log: what the engine needs of Kafka, as traits, and its implementations.
//!
//! `core` is the deterministic log itself; `sim` calls it directly for tests and simulation; `kafka` is rdkafka, for
//! Apache Kafka and for the embedded broker alike. All calls are synchronous: a worker is a thread, and the simulator steps it.

pub mod core;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod sim;

use std::sync::Arc;
use std::time::Duration;

use crate::types::{Headers, Timestamp, TopicPartition};

/// What the caller can do about a failure of the log. Classified once, where it enters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The same call may succeed later: the broker is away, a coordinator moves, a time-out.
    #[error("{0}")]
    Retry(String),
    /// The fate of the call is not known (a commit that timed out): repeat exactly this call until it is.
    #[error("{0}")]
    Unknown(String),
    /// The transaction must be aborted; then processing goes on from the last commit.
    #[error("{0}")]
    Abort(String),
    /// As [`Self::Abort`], and it is something sent that the broker does not take: a record without key for a compacted topic.
    #[error("{0}")]
    Refused(String),
    /// Another producer or member has taken this one's place: drop everything, open anew and join again.
    #[error("{0}")]
    Fenced(String),
    /// An offset to read from is outside the partition.
    #[error("{tp}: offset {offset} is outside what the topic holds ({low} to {high})")]
    OutOfRange {
        /// The partition.
        tp: TopicPartition,
        /// What was asked for.
        offset: i64,
        /// The log's start.
        low: i64,
        /// The log's end.
        high: i64,
    },
    /// One record is larger than the topic takes.
    #[error(
        "a record of {bytes} bytes for topic {topic} is larger than the broker takes; raise max.message.bytes of the topic"
    )]
    TooLarge {
        /// The topic.
        topic: Arc<str>,
        /// Key and value together.
        bytes: usize,
    },
    /// The user must change something: authorization, an unknown topic, a wrong setting.
    #[error("{0}")]
    Fatal(String),
}

/// Result of a call to the log.
pub type LogResult<T> = Result<T, LogError>;

/// A process's access to the log.
pub trait Log: Send + Sync {
    /// Topics, offsets and groups.
    fn admin(&self) -> &dyn Admin;
    /// Joins a group over the tasks topic. See [`Membership`].
    fn membership(&self, config: &MembershipConfig) -> LogResult<Box<dyn Membership>>;
    /// A consumer without a group. `committed_only` hides what is not committed.
    fn fetcher(&self, config: &FetcherConfig) -> LogResult<Box<dyn Fetcher>>;
    /// A transactional producer. Nothing is sent before [`TransactionalProducer::init`].
    fn transactional_producer(&self, transactional_id: &str) -> LogResult<Box<dyn TransactionalProducer>>;
    /// An idempotent producer without transactions.
    fn producer(&self) -> LogResult<Box<dyn Producer>>;
    /// A producer for a few records that may be written twice, such as the last word about a key; it is ready sooner.
    fn quick_producer(&self) -> LogResult<Box<dyn Producer>> {
        self.producer()
    }
}

/// How a worker joins its topology's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipConfig {
    /// The consumer group.
    pub group: String,
    /// The topic whose partitions are the tasks.
    pub tasks_topic: String,
    /// `group.instance.id`: static membership, so that a restarted worker gets its tasks back at once.
    pub instance_id: Option<String>,
}

/// What the group says about tasks. Partitions of the tasks topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// These tasks are this worker's now.
    Assigned(Vec<i32>),
    /// These tasks go elsewhere: commit, close them, then call [`Membership::release`].
    Revoked(Vec<i32>),
    /// These tasks are gone already: drop what is uncommitted.
    Lost(Vec<i32>),
}

/// Membership in the group whose subscription is the tasks topic; Kafka assigns tasks, not input partitions.
pub trait Membership: Send {
    /// What has happened since the last call; must be called often, since it also keeps the membership alive. Does not wait.
    fn poll(&mut self) -> LogResult<Vec<MembershipEvent>>;
    /// Gives revoked tasks back, after their last commit. Until then the group waits.
    fn release(&mut self, tasks: &[i32]) -> LogResult<()>;
    /// The group's metadata as [`TransactionalProducer::send_offsets`] wants it.
    fn metadata(&self) -> LogResult<GroupMetadata>;
    /// Leaves the group at once (for static members: keeps the place).
    fn close(&mut self);
    /// Leaves the group for good, static members too: where the group comes to its end, nobody should have to wait for their sessions to.
    fn leave(&mut self);
}

/// A member's identity at one moment, for fencing offset commits in transactions (KIP-447).
#[derive(Clone)]
pub struct GroupMetadata {
    /// The group.
    pub group: String,
    /// What the implementation keeps.
    pub inner: Arc<dyn std::any::Any + Send + Sync>,
}

/// How a fetcher reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetcherConfig {
    /// Reads committed records only, and up to the last stable offset.
    pub committed_only: bool,
    /// A bound for fetched bytes waiting, over all partitions.
    pub buffer_bytes: usize,
}

/// A record as it is handed out: borrowed from the client's memory.
#[derive(Clone, Copy)]
pub struct RecordRef<'a> {
    /// The slot that [`Fetcher::assign`] was given.
    pub slot: u32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers, parsed when asked for.
    pub headers: HeadersRef<'a>,
}

/// Headers that are parsed only when somebody wants them.
#[derive(Clone, Copy)]
pub enum HeadersRef<'a> {
    /// None at all.
    None,
    /// In memory already.
    Owned(&'a Headers),
    /// Parsed on demand by the implementation.
    Lazy(&'a dyn LazyHeaders),
}

/// Headers still in the client's memory.
pub trait LazyHeaders {
    /// Parses them.
    fn parse(&self) -> Headers;
}

impl HeadersRef<'_> {
    /// The headers.
    pub fn to_headers(&self) -> Headers {
        match self {
            Self::None => None,
            Self::Owned(headers) => (*headers).clone(),
            Self::Lazy(lazy) => lazy.parse(),
        }
    }
}

/// What [`Fetcher::poll`] hands out.
pub enum Fetched<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// Keys of a slot's records that come next, of many at once, for who wants to prepare. A hint: they may be fewer, and come all the same.
    Ahead {
        /// The slot.
        slot: u32,
        /// The keys of those that have one.
        keys: &'a [&'a [u8]],
    },
    /// The end of the slot's partition was reached: nothing is left to read at this moment.
    End {
        /// The slot.
        slot: u32,
    },
}

/// A consumer that is told what to read. `auto.offset.reset` is `error`.
pub trait Fetcher: Send {
    /// Reads a partition from `offset` on; its records carry `slot`, which the caller chooses and must not use twice at a time.
    fn assign(&mut self, slot: u32, tp: &TopicPartition, offset: i64) -> LogResult<()>;
    /// Stops reading it; nothing of it is handed out any more.
    fn unassign(&mut self, slot: u32) -> LogResult<()>;
    /// Stops handing out its records for now; fetched ones may be kept or read again.
    fn pause(&mut self, slot: u32) -> LogResult<()>;
    /// Goes on after [`Self::pause`].
    fn resume(&mut self, slot: u32) -> LogResult<()>;
    /// Hands out what is there, at most `max` records, waiting up to `timeout` for the first. Returns how many.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`] names the partition; it is not read on.
    fn poll(&mut self, max: usize, timeout: Duration, sink: &mut dyn FnMut(Fetched<'_>)) -> LogResult<usize>;
    /// The offset after everything fetched so far, markers and compacted records included.
    fn position(&mut self, slot: u32) -> LogResult<Option<i64>>;
}

/// A record to send. The partition is always chosen by the caller (see [`partition_for_key`]).
#[derive(Clone, Copy)]
pub struct OutRecord<'a> {
    /// From [`TransactionalProducer::topic`].
    pub topic: TopicHandle,
    /// The partition.
    pub partition: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The timestamp in milliseconds.
    pub timestamp: Timestamp,
    /// Headers.
    pub headers: &'a Headers,
}

/// A topic that a producer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicHandle(pub u32);

/// The highest offset of what was delivered, a partition.
pub type Delivered = Vec<(TopicHandle, i32, i64)>;

/// A transactional producer: one transaction at a time.
pub trait TransactionalProducer: Send {
    /// Fences older producers of the same transactional id and ends their transactions. First call.
    fn init(&mut self, timeout: Duration) -> LogResult<()>;
    /// A handle for a topic's name.
    fn topic(&mut self, name: &str) -> LogResult<TopicHandle>;
    /// Begins a transaction.
    fn begin(&mut self) -> LogResult<()>;
    /// Hands a record over; it is sent in the background.
    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()>;
    /// Waits until everything sent in this transaction is acknowledged.
    fn flush(&mut self, timeout: Duration) -> LogResult<Delivered>;
    /// Adds input offsets (the next to read) to the transaction; fenced by the member's metadata.
    fn send_offsets(
        &mut self,
        offsets: &[(TopicPartition, i64)],
        group: &GroupMetadata,
        timeout: Duration,
    ) -> LogResult<()>;
    /// Commits. [`LogError::Unknown`]: call again.
    fn commit(&mut self, timeout: Duration) -> LogResult<()>;
    /// Aborts.
    fn abort(&mut self, timeout: Duration) -> LogResult<()>;
}

/// A producer without transactions.
pub trait Producer: Send {
    /// A handle for a topic's name.
    fn topic(&mut self, name: &str) -> LogResult<TopicHandle>;
    /// Hands a record over; it is sent in the background.
    fn send(&mut self, record: OutRecord<'_>) -> LogResult<()>;
    /// Waits until everything sent is acknowledged; the offsets of all records since the last flush, in the order they were sent.
    ///
    /// # Errors
    /// [`LogError::Retry`]: not all are acknowledged in time; nothing is forgotten, call again. Any other: some were not delivered, and the
    /// producer has forgotten all of them.
    fn flush(&mut self, timeout: Duration) -> LogResult<Vec<(TopicHandle, i32, i64)>>;
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Replicas; -1 for the broker's default.
    pub replicas: i16,
    /// Topic settings such as `cleanup.policy`.
    pub config: Vec<(String, String)>,
}

/// What there is to know of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its identity, which differs when it is deleted and made again; empty when the broker does not tell.
    pub id: String,
    /// Its partitions.
    pub partitions: i32,
}

/// Topics, offsets and groups.
pub trait Admin: Send + Sync {
    /// The topics with these names; missing ones are `None`. In the order asked for.
    fn topics(&self, names: &[&str]) -> LogResult<Vec<Option<TopicInfo>>>;
    /// The names of all topics.
    fn list_topics(&self) -> LogResult<Vec<String>>;
    /// One setting of topics, in the order asked for; `None` where the broker does not tell it.
    fn topic_setting(&self, topics: &[&str], key: &str) -> LogResult<Vec<Option<String>>>;
    /// Creates topics and waits until they can be used; one that exists already is left as it is.
    fn create_topics(&self, topics: &[NewTopic]) -> LogResult<()>;
    /// Raises a topic's partitions to `total` and waits until they can be used.
    fn add_partitions(&self, topic: &str, total: i32) -> LogResult<()>;
    /// Deletes topics; missing ones are no error.
    fn delete_topics(&self, names: &[&str]) -> LogResult<()>;
    /// Deletes the records below the offsets.
    fn delete_records(&self, before: &[(TopicPartition, i64)]) -> LogResult<()>;
    /// The first offset and the end (high watermark, uncommitted records included) of a partition.
    fn watermarks(&self, tp: &TopicPartition) -> LogResult<(i64, i64)>;
    /// The ends (high watermarks) of several partitions, in the order asked for; in one call where that can be asked.
    fn ends(&self, tps: &[TopicPartition]) -> LogResult<Vec<i64>> {
        tps.iter().map(|tp| Ok(self.watermarks(tp)?.1)).collect()
    }
    /// The last stable offset: the end of what is committed.
    fn stable_end(&self, tp: &TopicPartition) -> LogResult<i64>;
    /// The first offset whose timestamp is at least `timestamp`; the end where there is none.
    fn offset_for_time(&self, tp: &TopicPartition, timestamp: Timestamp) -> LogResult<i64>;
    /// A group's committed offsets, read stable: a pending transaction is waited for.
    fn committed(&self, group: &str, tps: &[TopicPartition]) -> LogResult<Vec<Option<i64>>>;
    /// Sets a group's offsets; the group must have no members.
    fn set_committed(&self, group: &str, offsets: &[(TopicPartition, i64)]) -> LogResult<()>;
    /// Deletes a group; a missing one is no error.
    fn delete_group(&self, group: &str) -> LogResult<()>;
    /// Members of a group right now.
    fn group_members(&self, group: &str) -> LogResult<usize>;
}

/// The partition of a key as Kafka's Java clients choose it: murmur2, positive, modulo. See `murmur2_random` in librdkafka.
pub fn partition_for_key(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ key.len() as u32;
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (i, byte) in rest.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^= h >> 15;
    ((h & 0x7fff_ffff) % partitions.max(1) as u32) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from Kafka's own `UtilsTest.testMurmur2`, made positive.
    #[test]
    fn murmur2_is_kafkas() {
        let positive = |n: i32| (n as u32 & 0x7fff_ffff) as i32;
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(
                partition_for_key(key.as_bytes(), i32::MAX),
                positive(hash) % i32::MAX,
                "{key}"
            );
        }
    }
}
