//! The voice and the ear of an instance: writes what it does to `<app>.instances`, and takes in what others write.
//!
//! A synchronous state machine: a thread of its own steps it (`engine::threads`), or the simulator. *Is not* in the way of data: while Kafka is away it tries again,
//! and nothing waits for it. *Invariant*: what it reads is only ever taken into [`Cluster`].
//!
//! What stands in the topic when it is opened tells who else there is before their next heartbeats, so that a start can route and decide at once. Its age is taken
//! from the times of day, never below two heartbeats short of [`LIVE_MS`]: who is dead is gone after six seconds, whatever its record says.

use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, HEARTBEAT_MS, InstanceRecord, LIVE_MS};
use crate::engine::deployment::new_topic;
use crate::engine::{EngineSettings, Moment, Names};
use crate::log::{Fetched, Fetcher, FetcherConfig, Log, LogError, LogResult, OutRecord, Producer};
use crate::types::{Timestamp, TopicPartition};

/// After a failure it is tried again after this, in milliseconds.
const RETRY_MS: i64 = 1_000;
/// Failures in a row after which they are worth a warning.
const NOTABLE: u32 = 5;
/// Least time between two records: many tasks that change at once are said together, in milliseconds.
const GAP_MS: i64 = 100;
/// What is older says nothing about who is live, in milliseconds; longer than that, since the clocks of instances differ.
const LOOK_BACK_MS: i64 = 6 * LIVE_MS;
/// What stood in the topic when it was opened is taken to be at least so old, in milliseconds: who has said it is live for two heartbeats more, unless it is heard.
const STOOD_MS: i64 = LIVE_MS - 2 * HEARTBEAT_MS;
/// Fetched records waiting, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Records taken from the fetcher at a time.
const STEP_RECORDS: usize = 1_000;
/// Records live this long in the topic, in milliseconds: each is written again with the next heartbeat.
const RETENTION_MS: i64 = 3_600_000;
/// Segments of this age are closed, so that they can be dropped, in milliseconds.
const SEGMENT_MS: i64 = 600_000;
/// The least that a broker takes, in bytes.
const SEGMENT_BYTES: i64 = 1 << 20;
/// Longest wait for the acknowledgement of one step's record.
const ACK_WAIT: Duration = Duration::from_millis(5);
/// Longest wait for the last word of an instance that stops.
const LEAVE_WAIT: Duration = Duration::from_millis(500);

/// What is open while Kafka is there.
struct Open {
    fetcher: Box<dyn Fetcher>,
    producer: Box<dyn Producer>,
    /// What stood in the topic when it was opened: its age is not known here, only what it says.
    end: i64,
    /// A record is on its way.
    unacknowledged: bool,
}

/// See the module.
pub struct Agent {
    log: Arc<dyn Log>,
    cluster: Arc<Cluster>,
    tp: TopicPartition,
    replicas: i16,
    min_isr: Option<i32>,
    open: Option<Open>,
    /// Steady times, this one and those below.
    retry_at: Timestamp,
    failures: u32,
    /// The last record, with what changes all the time left out.
    said: Option<InstanceRecord>,
    said_at: Timestamp,
}

impl Agent {
    /// One that has said and heard nothing yet.
    pub fn new(log: Arc<dyn Log>, cluster: Arc<Cluster>, settings: &EngineSettings) -> Self {
        Self {
            log,
            cluster,
            tp: TopicPartition::new(Names::instances_topic(&settings.app_id), 0),
            replicas: settings.replication_factor,
            min_isr: settings.min_insync_replicas,
            open: None,
            retry_at: Timestamp::MIN,
            failures: 0,
            said: None,
            said_at: Timestamp::MIN,
        }
    }

    /// Reads what is new, waiting up to `wait` for it, and writes what is due. False: Kafka is away, and nothing is tried before some time has passed.
    pub fn step(&mut self, now: Moment, wait: Duration) -> bool {
        if now.steady < self.retry_at {
            return false;
        }
        match self.work(now, wait) {
            Ok(()) => {
                self.failures = 0;
                true
            }
            Err(error) => {
                self.failures += 1;
                if self.failures == NOTABLE {
                    tracing::warn!(topic = &*self.tp.topic, %error, "this instance does not hear of the others; trying again");
                } else {
                    tracing::debug!(topic = &*self.tp.topic, %error, "the topic of instances");
                }
                self.open = None;
                self.said = None;
                self.retry_at = now.steady + RETRY_MS;
                false
            }
        }
    }

    /// The last word of an instance that stops: others need not wait until it is silent for long.
    pub fn leave(&mut self, now: Moment) {
        if now.steady < self.retry_at {
            return;
        }
        let key = self.cluster.instance().to_owned();
        let Some(open) = self.open.as_mut().filter(|_| self.said.is_some()) else {
            return;
        };
        let sent = send(&mut *open.producer, &self.tp, &key, None, now.wall);
        if let Err(error) = sent.and_then(|()| open.producer.flush(LEAVE_WAIT)) {
            tracing::debug!(%error, "the others were not told that this instance stops; they will notice");
        }
        self.open = None;
        self.said = None;
    }

    fn work(&mut self, now: Moment, wait: Duration) -> LogResult<()> {
        if self.open.is_none() {
            self.open = Some(self.open(now)?);
        }
        self.speak(now)?;
        self.listen(now, wait)
    }

    fn open(&self, now: Moment) -> LogResult<Open> {
        let mut config = vec![
            ("cleanup.policy", "compact,delete".to_string()),
            ("retention.ms", RETENTION_MS.to_string()),
            ("segment.ms", SEGMENT_MS.to_string()),
            ("segment.bytes", SEGMENT_BYTES.to_string()),
        ];
        config.extend(self.min_isr.map(|n| ("min.insync.replicas", n.to_string())));
        let admin = self.log.admin();
        admin.create_topics(&[new_topic(self.tp.topic.to_string(), 1, self.replicas, config)])?;
        let mut fetcher = self.log.fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: BUFFER_BYTES,
        })?;
        let from = admin.offset_for_time(&self.tp, now.wall.saturating_sub(LOOK_BACK_MS))?;
        let (low, end) = admin.watermarks(&self.tp)?;
        fetcher.assign(0, &self.tp, from.max(low))?;
        Ok(Open {
            fetcher,
            producer: self.log.quick_producer()?,
            end,
            unacknowledged: false,
        })
    }

    fn listen(&mut self, now: Moment, wait: Duration) -> LogResult<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let wait = if self.cluster.is_known() {
            wait
        } else {
            wait.min(ACK_WAIT)
        };
        let (cluster, end) = (&self.cluster, open.end);
        open.fetcher.poll(STEP_RECORDS, wait, &mut |fetched| {
            let Fetched::Record(record) = fetched else { return };
            let Some(instance) = record.key.and_then(|key| std::str::from_utf8(key).ok()) else {
                return;
            };
            match record.value.map(InstanceRecord::parse) {
                None => cluster.forget(instance),
                Some(Ok(said)) if said.instance == instance => {
                    let age = if record.offset < end { stood_for(&said, now) } else { 0 };
                    cluster.learn(said, now + -age);
                }
                Some(Ok(said)) => {
                    tracing::debug!(
                        key = instance,
                        names = said.instance,
                        "a record of another instance's key"
                    );
                }
                Some(Err(reason)) => {
                    tracing::debug!(
                        instance,
                        offset = record.offset,
                        reason,
                        "a record of an instance cannot be read"
                    );
                }
            }
        })?;
        if open.fetcher.position(0)?.unwrap_or(0) >= open.end {
            self.cluster.set_known();
        }
        Ok(())
    }

    /// Writes what this instance does: at each change, and now and then.
    fn speak(&mut self, now: Moment) -> LogResult<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.unacknowledged {
            match open.producer.flush(ACK_WAIT) {
                Ok(_) => open.unacknowledged = false,
                Err(LogError::Retry(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let since = now.steady.saturating_sub(self.said_at);
        if since < GAP_MS && self.said.is_some() {
            return Ok(());
        }
        let own = self.cluster.own(now);
        let outline = outline(&own);
        if self.said.as_ref() == Some(&outline) && since < HEARTBEAT_MS {
            return Ok(());
        }
        let value = serde_json::to_vec(&own).map_err(|e| LogError::Fatal(format!("record of an instance: {e}")))?;
        send(&mut *open.producer, &self.tp, &own.instance, Some(&value), now.wall)?;
        open.unacknowledged = true;
        self.said = Some(outline);
        self.said_at = now.steady;
        match open.producer.flush(ACK_WAIT) {
            Ok(_) => open.unacknowledged = false,
            Err(LogError::Retry(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// How long ago something was said that stood in the topic, in milliseconds. The broker does not say it; the times of day of both sides do, as far as they agree.
/// Where theirs is ahead, or senseless, it brings nobody to life for long: see [`STOOD_MS`]. Where it is behind, who lives is heard with the next heartbeat.
fn stood_for(said: &InstanceRecord, now: Moment) -> i64 {
    now.wall.saturating_sub(said.written_at).max(STOOD_MS)
}

fn send(
    producer: &mut dyn Producer,
    tp: &TopicPartition,
    key: &str,
    value: Option<&[u8]>,
    wall: Timestamp,
) -> LogResult<()> {
    let topic = producer.topic(&tp.topic)?;
    producer.send(OutRecord {
        topic,
        partition: tp.partition,
        key: Some(key.as_bytes()),
        value,
        timestamp: wall,
        headers: &None,
    })
}

/// What is worth a record of its own when it changes: not the time, nor by how much a standby is behind.
fn outline(record: &InstanceRecord) -> InstanceRecord {
    let mut outline = record.clone();
    outline.written_at = 0;
    for standby in outline
        .topologies
        .iter_mut()
        .flat_map(|topology| &mut topology.standbys)
    {
        (standby.lag, standby.behind_ms) = (0, 0);
    }
    outline
}
