//! The control topic `<app>.control`: a record a topology says in which generation it runs and what was asked for.
//!
//! It is compacted and has one partition; the key is the topology's name. Commands write it, running instances follow it, and a command that
//! is given while nothing runs is carried out at the next start. *Invariant*: a reader that has reached the end knows the state of all topologies.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::fingerprint::StatePlan;
use super::super::{EngineSettings, Names, Numbering};
use crate::engine::deployment::new_topic;
use crate::log::{Fetched, Fetcher, FetcherConfig, Log, LogError, LogResult, OutRecord};
use crate::types::{Timestamp, TopicPartition};

/// Reading the few records of the topic takes no more than this, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Rounds of waiting for a record's delivery: each is [`ROUND`] long.
const ROUNDS: usize = 30;
const ROUND: Duration = Duration::from_millis(500);

/// What is to be done with a topology.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It processes.
    #[default]
    Running,
    /// It keeps its state and answers, but processes nothing.
    Paused,
    /// Topics, subjects, group and state are being removed.
    Undeploying,
}

/// What a replay does with stream outputs, whose readers would see everything twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamOutputs {
    /// There are none.
    #[default]
    Absent,
    /// They are written again, behind what is there.
    Append,
    /// They are not written until the new generation has taken over.
    None,
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayPhase {
    /// The new generation reads its inputs, the old one answers.
    #[default]
    Building,
    /// It has caught up: both stand still while the output tables are put right.
    Switching,
}

/// A replay that is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The generation being built.
    pub generation: u32,
    /// From this time on, in milliseconds since the epoch; `None`: from the first record there is.
    pub from: Option<Timestamp>,
    /// Stream outputs.
    pub outputs: StreamOutputs,
    /// Phase.
    pub phase: ReplayPhase,
    /// Fingerprint of the plan that is built: instances with other SQL leave it alone.
    pub fingerprint: String,
    /// The numbers of its stores and sub-topologies.
    #[serde(default)]
    pub numbering: Numbering,
}

/// A topic that a topology writes for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputTopic {
    /// Its name.
    pub topic: String,
    /// A table's changelog rather than a stream.
    pub is_table: bool,
}

/// What the control topic says about a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// The generation that answers.
    pub generation: u32,
    /// What is to be done.
    pub wanted: Wanted,
    /// The plan of its state, to be compared with edited SQL.
    pub state: StatePlan,
    /// Hash of it.
    pub fingerprint: String,
    /// The plan as `explain` prints it.
    pub explain: String,
    /// Tasks of each sub-topology.
    pub partitions: Vec<i32>,
    /// The numbers of its stores and sub-topologies.
    #[serde(default)]
    pub numbering: Numbering,
    /// From where the generation was built, if not from the start.
    pub from: Option<Timestamp>,
    /// A replay under way.
    pub replay: Option<Replay>,
    /// The topics it writes for others.
    #[serde(default)]
    pub outputs: Vec<OutputTopic>,
    /// Undeployment deletes them, too.
    #[serde(default)]
    pub delete_outputs: bool,
    /// Earlier generations whose topics, group and state still have to be removed.
    pub leftovers: Vec<u32>,
    /// The records of INSERT INTO ... VALUES that have been written: hashes of statements, see [`super::inserts`].
    #[serde(default)]
    pub inserted: Vec<String>,
    /// When the record was written, in milliseconds since the epoch.
    pub written_at: Timestamp,
}

/// The state of all topologies, by name.
pub type ControlState = BTreeMap<String, ControlRecord>;

/// Follows the control topic.
pub struct ControlReader {
    fetcher: Box<dyn Fetcher>,
    tp: TopicPartition,
    /// What has been read so far.
    pub state: ControlState,
    /// Topologies of which a record said that they are gone. One of which nothing is known is not among them.
    removed: BTreeSet<String>,
    /// Where this process has written itself: what stands before that is older news.
    own: BTreeMap<String, i64>,
}

/// Where the records are.
pub(super) fn partition(settings: &EngineSettings) -> TopicPartition {
    TopicPartition::new(Names::control_topic(&settings.app_id), 0)
}

impl ControlReader {
    /// Creates the topic where it is missing and reads it to its present end.
    ///
    /// # Errors
    /// Those of the log; a topic that cannot be read to its end in time is [`LogError::Retry`].
    pub fn open(log: &dyn Log, settings: &EngineSettings) -> LogResult<Self> {
        let tp = partition(settings);
        let mut config = vec![("cleanup.policy", "compact".to_string())];
        config.extend(
            settings
                .min_insync_replicas
                .map(|n| ("min.insync.replicas", n.to_string())),
        );
        log.admin()
            .create_topics(&[new_topic(tp.topic.to_string(), 1, settings.replication_factor, config)])?;
        let mut fetcher = log.fetcher(&FetcherConfig {
            committed_only: true,
            buffer_bytes: BUFFER_BYTES,
        })?;
        let (low, end) = log.admin().watermarks(&tp)?;
        fetcher.assign(0, &tp, low)?;
        let mut reader = Self {
            fetcher,
            tp,
            state: ControlState::new(),
            removed: BTreeSet::new(),
            own: BTreeMap::new(),
        };
        let mut rounds = 0;
        while reader.fetcher.position(0)?.unwrap_or(low) < end {
            reader.poll(ROUND)?;
            rounds += 1;
            if rounds > ROUNDS {
                return Err(LogError::Retry(format!("{} cannot be read to its end", reader.tp)));
            }
        }
        Ok(reader)
    }

    /// Reads what is new, waiting up to `timeout`; the names of topologies whose record has changed.
    ///
    /// # Errors
    /// Those of the log. A record that is none of ours is skipped with a warning.
    pub fn poll(&mut self, timeout: Duration) -> LogResult<Vec<String>> {
        let Self {
            state, removed, own, ..
        } = self;
        let mut changed = Vec::new();
        self.fetcher.poll(1_000, timeout, &mut |fetched| {
            let Fetched::Record(record) = fetched else { return };
            let Some(name) = record.key.and_then(|key| std::str::from_utf8(key).ok()) else {
                return;
            };
            if own.get(name).is_some_and(|own| record.offset < *own) {
                return;
            }
            match record.value.map(serde_json::from_slice::<ControlRecord>) {
                None => {
                    state.remove(name);
                    removed.insert(name.to_string());
                }
                Some(Ok(control)) => {
                    state.insert(name.to_string(), control);
                    removed.remove(name);
                }
                Some(Err(error)) => {
                    tracing::warn!(topology = name, offset = record.offset, %error, "a control record cannot be read");
                    return;
                }
            }
            changed.push(name.to_string());
        })?;
        changed.dedup();
        Ok(changed)
    }

    /// Knows at once what this process has written, at `offset`: what is read from before it no longer counts.
    pub fn wrote(&mut self, name: &str, record: ControlRecord, offset: i64) {
        self.removed.remove(name);
        self.state.insert(name.to_owned(), record);
        self.own.insert(name.to_owned(), offset);
    }

    /// Whether a topology was undeployed: a record says so. That there is no record of it is not enough to delete anything.
    pub fn is_removed(&self, name: &str) -> bool {
        self.removed.contains(name)
    }
}

/// Writes what is to be known of a topology; `None` forgets it. Waits until the log has it, and says at which offset.
///
/// # Errors
/// Those of the log.
pub fn write(
    log: &dyn Log,
    settings: &EngineSettings,
    topology: &str,
    record: Option<&ControlRecord>,
) -> LogResult<i64> {
    let json = |record| serde_json::to_vec(record).map_err(|e| LogError::Fatal(format!("control record: {e}")));
    let value = record.map(json).transpose()?;
    let mut producer = log.quick_producer()?;
    let tp = partition(settings);
    let topic = producer.topic(&tp.topic)?;
    producer.send(OutRecord {
        topic,
        partition: 0,
        key: Some(topology.as_bytes()),
        value: value.as_deref(),
        timestamp: record.map_or(0, |record| record.written_at),
        headers: &None,
    })?;
    let mut rounds = 0;
    loop {
        match producer.flush(ROUND) {
            Err(LogError::Retry(_)) if rounds < ROUNDS => rounds += 1,
            other => return other.map(|written| written.last().map_or(-1, |(_, _, offset)| *offset)),
        }
    }
}
