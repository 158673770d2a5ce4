//! From a task's outgoing records to topics and partitions, and into the open transaction.
//!
//! Partitions are murmur2 of the key's bytes, as Java clients choose them. A record re-keyed for a join with an external topic goes to the
//! partition that its key has *there*: its bytes in that topic's key format.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::deployment::{Deployment, TopicTarget};
use super::super::outbox::record_bytes;
use super::super::task::{Dest, Outgoing};
use super::OutputSwitches;
use super::trouble::Trouble;
use crate::formats::{self, Serializer};
use crate::log::{LogError, OutRecord, TopicHandle, TransactionalProducer, partition_for_key};
use crate::topology::{Op, StoreId};
use crate::types::{Headers, RelationKind, WindowInfo, decode_key};

struct Target {
    handle: TopicHandle,
    topic: Arc<str>,
    partitions: i32,
    max_bytes: usize,
    keyed_like: Option<Box<dyn Serializer>>,
    /// The windows in the keys, which have no part in the choice of a partition.
    window: Option<WindowInfo>,
    output: Output,
}

/// What a target is to the outside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// Only we read it.
    Internal,
    Stream,
    Table,
}

/// The header that names the generation which made a record of a table output, while a replay is under way.
pub const GENERATION_HEADER: &str = "millstream.generation";

/// The header of a generation.
fn generation_header(generation: u32) -> (Arc<str>, Option<Arc<[u8]>>) {
    (
        GENERATION_HEADER.into(),
        Some(Arc::from(generation.to_string().into_bytes())),
    )
}

/// Targets by node and by store, with the producer's handles.
pub(super) struct Router {
    nodes: Vec<Option<Target>>,
    stores: Vec<Option<Target>>,
    dead_letters: Target,
    key: Vec<u8>,
    mark: Headers,
}

impl Router {
    /// Resolves all targets of a deployment with a producer.
    pub fn new(deployment: &Deployment, producer: &mut dyn TransactionalProducer) -> Result<Self, Trouble> {
        let mut target = |topic: &TopicTarget| {
            Ok::<_, LogError>(Target {
                handle: producer.topic(&topic.topic)?,
                topic: topic.topic.clone(),
                partitions: topic.partitions,
                max_bytes: topic.max_message_bytes,
                keyed_like: None,
                window: None,
                output: Output::Internal,
            })
        };
        let mut nodes = Vec::with_capacity(deployment.outputs.len());
        for (node, output) in deployment.outputs.iter().enumerate() {
            let mut resolved = output.as_ref().map(&mut target).transpose()?;
            if let Some(resolved) = &mut resolved {
                let plan = &deployment.topology.nodes[node];
                resolved.output = match (&plan.op, plan.kind) {
                    (Op::Sink(_), RelationKind::Stream) => Output::Stream,
                    (Op::Sink(_), RelationKind::Table) => Output::Table,
                    _ => Output::Internal,
                };
                if let Op::Sink(sink) = &plan.op {
                    resolved.window = sink.window;
                }
                if let Some(like) = &deployment.keyed_like[node] {
                    let codec = formats::serializer(&like.format, &like.columns, true, like.schema.clone())?;
                    resolved.keyed_like = Some(codec);
                }
            }
            nodes.push(resolved);
        }
        let mut stores = Vec::new();
        stores.resize_with(deployment.topology.stores.len(), || None);
        for (store, changelog) in deployment.subs.iter().flat_map(|sub| &sub.changelogs) {
            stores[usize::from(*store)] = Some(target(changelog)?);
        }
        Ok(Self {
            nodes,
            stores,
            dead_letters: target(&deployment.dead_letters)?,
            key: Vec::new(),
            mark: Some(Arc::new(vec![generation_header(deployment.names.generation())])),
        })
    }

    /// The producer's handle of a store's changelog.
    pub fn changelog(&self, store: StoreId) -> Option<TopicHandle> {
        self.stores
            .get(usize::from(store))?
            .as_ref()
            .map(|target| target.handle)
    }

    /// Hands a record of a task over to the producer.
    pub fn send(
        &mut self,
        record: &Outgoing<'_>,
        task_partition: i32,
        switches: &OutputSwitches,
        producer: &mut dyn TransactionalProducer,
    ) -> Result<(), Trouble> {
        let target = match record.dest {
            Dest::Sink(node) | Dest::Repartition(node) => self.nodes[node].as_mut(),
            Dest::Changelog(store) => self.stores[usize::from(store)].as_mut(),
            Dest::DeadLetter => Some(&mut self.dead_letters),
        };
        let Some(target) = target else {
            return Err(Trouble::Stop(format!(
                "{:?} has no topic: the deployment does not fit the plan",
                record.dest
            )));
        };
        if target.output == Output::Stream && switches.mute_streams.load(Relaxed) {
            return Ok(());
        }
        let marked;
        let headers = match (
            record.headers,
            target.output == Output::Table && switches.mark_generation.load(Relaxed),
        ) {
            (headers, false) => headers,
            (None, true) => &self.mark,
            (Some(headers), true) => {
                let mark = self.mark.iter().flat_map(|mark| mark.iter().cloned());
                marked = Some(Arc::new(headers.iter().cloned().chain(mark).collect()));
                &marked
            }
        };
        if record_bytes(record.key, record.value, headers) > target.max_bytes {
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            let topic = target.topic.clone();
            return Err(LogError::TooLarge { topic, bytes }.into());
        }
        let partition = match (record.dest, record.key) {
            (Dest::Changelog(_), _) => task_partition,
            (Dest::DeadLetter, _) | (_, None) => task_partition % target.partitions.max(1),
            (Dest::Repartition(_), Some(key)) => match &mut target.keyed_like {
                None => partition_for_key(key, target.partitions),
                Some(codec) => {
                    let values = decode_key(key).map_err(|e| Trouble::Stop(format!("{}: {e}", target.topic)))?;
                    self.key.clear();
                    // A key that the topic's format cannot hold meets none there: any partition will do, always the same.
                    match codec.serialize(&values, &mut self.key) {
                        Ok(()) => partition_for_key(&self.key, target.partitions),
                        Err(_) => partition_for_key(key, target.partitions),
                    }
                }
            },
            (Dest::Sink(_), Some(key)) => partition_for_key(formats::unwindowed(key, target.window), target.partitions),
        };
        producer.send(OutRecord {
            topic: target.handle,
            partition,
            key: record.key,
            value: record.value,
            timestamp: record.timestamp,
            headers,
        })?;
        Ok(())
    }
}
