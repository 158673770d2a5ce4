//! One generation of a topology with its topics resolved: what a worker needs to know beside the plan. Plain data, made by `engine::deploy`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::task::{SinkSchemas, TaskOptions, TaskPlan};
use super::{EngineSettings, Names, TaskId};
use crate::formats::{FormatError, RegisteredSchema, SchemaSource};
use crate::log::{Admin, LogResult, NewTopic};
use crate::state::SharedRows;
use crate::topology::{NodeId, StoreId, SubId, Topology};
use crate::types::{Column, SerdeSpec, TopicPartition};

/// However many tasks there are, each keeps this many bytes of hot rows.
const MIN_CACHE_BYTES: usize = 256 << 10;

/// Kafka's default of `max.message.bytes`, for a broker that does not tell.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// What each topic takes.
///
/// # Errors
/// That Kafka is away.
pub(super) fn max_message_bytes(admin: &dyn Admin, topics: &[&str]) -> LogResult<Vec<usize>> {
    let settings = admin.topic_setting(topics, "max.message.bytes")?;
    let bytes = |setting: Option<String>| setting.and_then(|bytes| bytes.parse().ok());
    let found = settings.into_iter().map(bytes);
    Ok(found.map(|bytes| bytes.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)).collect())
}

/// A topic to write to, as it is on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTarget {
    /// Its name.
    pub topic: Arc<str>,
    /// Its identity; another one means that it was made anew.
    pub id: String,
    /// Its partitions.
    pub partitions: i32,
    /// `max.message.bytes`: checked before sending.
    pub max_message_bytes: usize,
}

/// A topic that the tasks of a sub-topology read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputTopic {
    /// Its name.
    pub topic: Arc<str>,
    /// The source nodes that read it; each record goes to all of them.
    pub sources: Vec<NodeId>,
    /// A repartition topic of this topology: purged behind the commit.
    pub internal: bool,
    /// Its records are a stream's.
    pub is_stream: bool,
}

/// A sub-topology with its topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubDeployment {
    /// Partitions of its inputs: the number of its tasks.
    pub partitions: i32,
    /// What its tasks read.
    pub inputs: Vec<InputTopic>,
    /// The changelogs of its stores.
    pub changelogs: Vec<(StoreId, TopicTarget)>,
    /// Fingerprint of plan and row layout of its stores.
    pub fingerprint: String,
}

/// How the partition of a re-keyed record is found: by the bytes that its key has in an external topic, so that both meet.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyLike {
    /// The topic's key format.
    pub format: SerdeSpec,
    /// The topic's key columns.
    pub columns: Vec<Column>,
    /// The schema that the topic's keys are written with.
    pub schema: Option<RegisteredSchema>,
}

/// A deployed generation of a topology.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// The plan.
    pub topology: Arc<Topology>,
    /// The names of this generation.
    pub names: Names,
    /// Its sub-topologies, by their index.
    pub subs: Vec<SubDeployment>,
    /// Where sink and repartition nodes write, by node; `None` for other nodes.
    pub outputs: Vec<Option<TopicTarget>>,
    /// What sink nodes write with, by node.
    pub schemas: Vec<SinkSchemas>,
    /// How records of repartition nodes find their partition, by node; `None`: by the bytes of our own key encoding.
    pub keyed_like: Vec<Option<KeyLike>>,
    /// The dead-letter topic.
    pub dead_letters: TopicTarget,
}

impl Deployment {
    /// All tasks, in the order of the tasks topic's partitions.
    pub fn tasks(&self) -> Vec<TaskId> {
        let of_sub = |(sub, deployed): (usize, &SubDeployment)| {
            (0..deployed.partitions)
                .map(move |partition| TaskId { sub, partition })
                .collect::<Vec<_>>()
        };
        self.subs.iter().enumerate().flat_map(of_sub).collect()
    }

    /// The task that a partition of the tasks topic stands for.
    pub fn task(&self, index: i32) -> Option<TaskId> {
        let mut rest = index;
        for (sub, deployed) in self.subs.iter().enumerate() {
            if rest < deployed.partitions {
                return (rest >= 0).then_some(TaskId { sub, partition: rest });
            }
            rest -= deployed.partitions;
        }
        None
    }

    /// The partition of the tasks topic that stands for a task.
    pub fn index(&self, task: TaskId) -> i32 {
        self.subs[..task.sub].iter().map(|sub| sub.partitions).sum::<i32>() + task.partition
    }

    /// Partitions of each sub-topology.
    pub fn partitions(&self) -> Vec<i32> {
        self.subs.iter().map(|sub| sub.partitions).collect()
    }

    /// The inputs of a task.
    pub fn inputs(&self, task: TaskId) -> Vec<TopicPartition> {
        let inputs = &self.subs[task.sub].inputs;
        inputs
            .iter()
            .map(|input| TopicPartition::new(input.topic.clone(), task.partition))
            .collect()
    }

    /// The changelog partition of a task's store.
    pub fn changelog(&self, task: TaskId, store: StoreId) -> Option<&TopicTarget> {
        self.subs[task.sub]
            .changelogs
            .iter()
            .find(|(id, _)| *id == store)
            .map(|(_, target)| target)
    }

    /// The relative path of a task's store.
    pub fn store_path(&self, task: TaskId) -> String {
        self.names.store(task.sub, task.partition)
    }

    /// External inputs of all tasks: what a replay has to go through.
    pub fn external_inputs(&self) -> Vec<TopicPartition> {
        let of_sub = |sub: &SubDeployment| {
            let topics = sub
                .inputs
                .iter()
                .filter(|input| !input.internal)
                .map(|input| input.topic.clone());
            topics
                .flat_map(|topic| (0..sub.partitions).map(move |p| TopicPartition::new(topic.clone(), p)))
                .collect::<Vec<_>>()
        };
        self.subs.iter().flat_map(of_sub).collect()
    }

    /// The plans of its sub-topologies, by their index: what tasks are made of.
    ///
    /// # Errors
    /// When a format cannot hold its columns, or the registry is away.
    pub fn plans(
        &self,
        settings: &EngineSettings,
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Vec<Arc<TaskPlan>>, FormatError> {
        let tasks = self.tasks().len().max(1);
        let options = TaskOptions {
            emit: settings.emit,
            bad_record: settings.bad_record,
            fan_out: settings.fan_out,
            cache_bytes: (settings.cache_bytes / tasks).max(MIN_CACHE_BYTES),
        };
        let of_node = |(node, schemas): (NodeId, &SinkSchemas)| {
            let max_bytes = self.outputs[node].as_ref().map(|target| target.max_message_bytes);
            (
                node,
                SinkSchemas {
                    max_bytes,
                    ..schemas.clone()
                },
            )
        };
        let sinks: BTreeMap<NodeId, SinkSchemas> = self.schemas.iter().enumerate().map(of_node).collect();
        let globals = Arc::new(SharedRows::default());
        let plan = |sub: usize| {
            let (topology, globals) = (self.topology.clone(), globals.clone());
            TaskPlan::with_globals(topology, sub, options, schemas.clone(), sinks.clone(), globals)
        };
        (0..self.subs.len()).map(plan).collect()
    }

    /// All inputs of a sub-topology.
    pub fn sub_inputs(&self, sub: SubId) -> Vec<TopicPartition> {
        let deployed = &self.subs[sub];
        let partitions = |input: &InputTopic| {
            let topic = input.topic.clone();
            (0..deployed.partitions)
                .map(move |p| TopicPartition::new(topic.clone(), p))
                .collect::<Vec<_>>()
        };
        deployed.inputs.iter().flat_map(partitions).collect()
    }
}

/// A new topic's description with the engine's usual settings.
pub(super) fn new_topic(name: String, partitions: i32, replicas: i16, config: Vec<(&str, String)>) -> NewTopic {
    NewTopic {
        name,
        partitions,
        replicas,
        config: config
            .into_iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect(),
    }
}
