//! Waiting until a view has caught up with a token, stage by stage.
//!
//! ```text
//! token: offsets of topics                        what the stage before has written          the view's own task
//!   | group's committed offsets reach them           | ends of its repartition topic            | the snapshot that is read
//!   v                                                v                                          v
//! stage 1 ------------------------------------> stage 2 -----------------------------------> rows
//! ```
//!
//! A stage is what leads to one topic between tasks: a repartition, or the topic that another topology of this application reads. Its outputs are
//! committed with its input offsets, so once these have passed the token, everything that follows from it lies below the ends of the topic; those
//! ends are what the next stage has to pass. Nothing is added to the records' own way.
//!
//! It does not wait itself: [`CatchUp::step`] says how far it is. Not covered: tables that every process holds whole, and the part of a large
//! foreign-key fan-out that its task has put off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::token::Token;
use super::{ViewError, ViewRef};
use crate::engine::{Progress, Published, PublishedTopology};
use crate::state::StorePosition;
use crate::topology::{NodeId, Op, SourceTopic, Topology};
use crate::types::TopicPartition;

/// What the inputs of a view's tasks must have passed: the next offset a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need(BTreeMap<TopicPartition, i64>);

impl Need {
    /// Whether nothing is needed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Needs that another instance has asked for.
    pub fn new(needed: impl IntoIterator<Item = (TopicPartition, i64)>) -> Self {
        Self(needed.into_iter().collect())
    }

    /// Those of the inputs of some tasks' partitions.
    pub fn of_partitions(&self, partitions: &[i32]) -> Vec<(TopicPartition, i64)> {
        let wanted = self.0.iter().filter(|(tp, _)| partitions.contains(&tp.partition));
        wanted.map(|(tp, next)| (tp.clone(), *next)).collect()
    }

    /// What the store of a partition's task does not reflect yet.
    pub fn uncovered(&self, partition: i32, position: &StorePosition) -> Vec<String> {
        let here = self.0.iter().filter(|(tp, _)| tp.partition == partition);
        here.filter_map(|(tp, next)| {
            let at = position.input(&tp.topic, tp.partition).unwrap_or(0);
            (at < *next).then(|| behind(tp, at, *next))
        })
        .collect()
    }
}

fn behind(tp: &TopicPartition, at: i64, wanted: i64) -> String {
    format!("{} partition {} is at offset {at} of {wanted}", tp.topic, tp.partition)
}

/// What leads to one topic between tasks.
struct Stage {
    /// The group of its topology.
    group: String,
    inputs: Vec<TopicPartition>,
    output: Vec<TopicPartition>,
}

/// The stages that are still to be passed, in order.
pub struct CatchUp {
    stages: VecDeque<Stage>,
    /// What must be passed, as far as it is known.
    need: BTreeMap<TopicPartition, i64>,
    view_inputs: Vec<TopicPartition>,
    /// The group of the view's own topology.
    group: String,
}

impl CatchUp {
    /// Of a view and a token.
    ///
    /// # Errors
    /// [`ViewError::BadRequest`] where the token has nothing to do with the view.
    pub fn new(
        published: &Published,
        progress: &dyn Progress,
        view: &ViewRef,
        token: &Token,
    ) -> Result<Self, ViewError> {
        let mut builder = Builder {
            all: published.topologies(),
            progress,
            seen: BTreeSet::new(),
            stages: VecDeque::new(),
        };
        let sources = &view.published.topology.subs[view.view().sub].sources;
        let view_inputs = builder.inputs(&view.published, sources);
        let stages = builder.stages;
        let read: BTreeSet<&TopicPartition> = stages.iter().flat_map(|s| &s.inputs).chain(&view_inputs).collect();
        let need: BTreeMap<TopicPartition, i64> = token.iter().filter(|(tp, _)| read.contains(tp)).collect();
        let known = |tp: &TopicPartition| {
            let same_topic = read.iter().any(|other| other.topic == tp.topic);
            !same_topic || need.contains_key(tp)
        };
        // a client may hand the token of its last write to everything that it reads; what somebody has typed is rather a mistake
        if (need.is_empty() && token.is_by_hand()) || !token.iter().all(|(tp, _)| known(&tp)) {
            let mut topics: Vec<&str> = read.iter().map(|tp| &*tp.topic).collect();
            topics.dedup();
            return Err(ViewError::bad(
                format!(
                    "the token has nothing to do with view {}: it names {}",
                    view.view().name,
                    token
                        .iter()
                        .map(|(tp, _)| tp.to_string())
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                format!("The view is made from {}.", topics.join(", ")),
            ));
        }
        Ok(Self {
            stages,
            need,
            view_inputs,
            group: progress
                .names(&view.published.topology.name, view.published.generation)
                .group(),
        })
    }

    /// Passes the stages that can be passed now; what the first of the others waits for. Nothing: only the view's own tasks are left.
    ///
    /// # Errors
    /// When the log is away: why.
    pub fn step(&mut self, progress: &dyn Progress) -> Result<Vec<String>, String> {
        while let Some(stage) = self.stages.front() {
            let wanted: Vec<&TopicPartition> = stage.inputs.iter().filter(|tp| self.need.contains_key(tp)).collect();
            if !wanted.is_empty() {
                let waits = self.waits(progress, &stage.group, &wanted)?;
                if !waits.is_empty() {
                    return Ok(waits);
                }
                let ends = progress.ends(&stage.output)?;
                for (tp, end) in stage.output.iter().zip(ends) {
                    let known = self.need.entry(tp.clone()).or_insert(end);
                    *known = (*known).max(end);
                }
            }
            self.stages.pop_front();
        }
        Ok(Vec::new())
    }

    /// What the view's own tasks wait for in some partitions, as far as others can tell: what they have committed, they show a moment later.
    ///
    /// # Errors
    /// When the log is away: why.
    pub fn own(&self, progress: &dyn Progress, partitions: &[i32]) -> Result<Vec<String>, String> {
        let wanted = |tp: &&TopicPartition| partitions.contains(&tp.partition) && self.need.contains_key(tp);
        let wanted: Vec<&TopicPartition> = self.view_inputs.iter().filter(wanted).collect();
        self.waits(progress, &self.group, &wanted)
    }

    fn waits(&self, progress: &dyn Progress, group: &str, inputs: &[&TopicPartition]) -> Result<Vec<String>, String> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let asked: Vec<TopicPartition> = inputs.iter().map(|tp| (*tp).clone()).collect();
        let committed = progress.committed(group, &asked)?;
        let waits = asked.iter().zip(committed).filter_map(|(tp, at)| {
            let (at, next) = (at.unwrap_or(0), self.need.get(tp).copied().unwrap_or(0));
            (at < next).then(|| behind(tp, at, next))
        });
        Ok(waits.collect())
    }

    /// What the view's own tasks have to pass, once [`Self::step`] waits for nothing more.
    pub fn need(&self) -> Need {
        let of = |tp: &TopicPartition| Some((tp.clone(), *self.need.get(tp)?));
        Need::new(self.view_inputs.iter().filter_map(of))
    }
}

struct Builder<'a> {
    all: Vec<Arc<PublishedTopology>>,
    progress: &'a dyn Progress,
    /// Nodes whose stages are noted, or being noted: topologies may read each other's topics in a circle.
    seen: BTreeSet<(Arc<str>, NodeId)>,
    stages: VecDeque<Stage>,
}

impl Builder<'_> {
    /// The topics of some sources; the stages that write them are noted first.
    fn inputs(&mut self, published: &Arc<PublishedTopology>, sources: &[NodeId]) -> Vec<TopicPartition> {
        let topology = &published.topology;
        let names = self.progress.names(&topology.name, published.generation);
        let mut inputs = Vec::new();
        for id in sources {
            let node = &topology.nodes[*id];
            let Op::Source(source) = &node.op else { continue };
            let topic: Arc<str> = match &source.topic {
                SourceTopic::External(relation) => match topology.relation(relation) {
                    Some(relation) => relation.topic.name.clone(),
                    None => continue,
                },
                SourceTopic::Repartition(from) => match &topology.nodes[*from].op {
                    Op::Repartition(repartition) => names.repartition(&repartition.name).into(),
                    _ => continue,
                },
            };
            let partitions = published.partitions.get(node.sub).copied().unwrap_or(0);
            let all: Vec<TopicPartition> = (0..partitions).map(|p| TopicPartition::new(topic.clone(), p)).collect();
            match &source.topic {
                SourceTopic::Repartition(from) => self.stage(published, *from, &all),
                SourceTopic::External(_) => {
                    for (published, sink) in self.sinks(&topic) {
                        self.stage(&published, sink, &all);
                    }
                }
            }
            inputs.extend(all);
        }
        inputs
    }

    /// The nodes that write a topic of the user's.
    fn sinks(&self, topic: &str) -> Vec<(Arc<PublishedTopology>, NodeId)> {
        let of = |published: &Arc<PublishedTopology>| {
            let writes = |op: &Op| matches!(op, Op::Sink(sink) if *sink.topic == *topic);
            let nodes = published.topology.nodes.iter().filter(|node| writes(&node.op));
            nodes.map(|node| (published.clone(), node.id)).collect::<Vec<_>>()
        };
        self.all.iter().flat_map(of).collect()
    }

    fn stage(&mut self, published: &Arc<PublishedTopology>, writer: NodeId, output: &[TopicPartition]) {
        let topology = &published.topology;
        if !self.seen.insert((topology.name.clone(), writer)) {
            return;
        }
        let mut sources = BTreeSet::new();
        upstream(topology, writer, &mut sources);
        let is_source = |id: &NodeId| matches!(topology.nodes[*id].op, Op::Source(_));
        let sources: Vec<NodeId> = sources.into_iter().filter(is_source).collect();
        let inputs = self.inputs(published, &sources);
        self.stages.push_back(Stage {
            group: self.progress.names(&topology.name, published.generation).group(),
            inputs,
            output: output.to_vec(),
        });
    }
}

/// A node and all that it gets its changes from inside its sub-topology.
fn upstream(topology: &Topology, node: NodeId, out: &mut BTreeSet<NodeId>) {
    if out.insert(node) {
        let inputs = &topology.nodes[node].inputs;
        inputs.iter().for_each(|input| upstream(topology, *input, out));
    }
}
