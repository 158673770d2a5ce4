//! How many partitions everything has: inputs must be there and co-partitioned, repartition topics follow.
//!
//! The number of a sub-topology is that of its external inputs, which must agree; where it reads repartition topics only, the largest of what
//! feeds them. All problems are collected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::Names;
use super::super::deployment::InputTopic;
use super::{DeployContext, DeployError, GenerationPlan, Problem, written_by};
use crate::log::TopicInfo;
use crate::topology::{NodeId, Op, Relation, Source, SourceTopic, SubTopology, Topology};
use crate::types::RelationKind;

/// The partitions of a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionPlan {
    /// Of each sub-topology.
    pub subs: Vec<i32>,
    /// Of topics by name, internal ones too; and whether they exist already.
    pub topics: BTreeMap<Arc<str>, (i32, bool)>,
    /// How many partitions the tasks topic needs, where it is there and has fewer.
    pub more_tasks: Option<i32>,
}

fn source(topology: &Topology, id: NodeId) -> Option<&Source> {
    match &topology.nodes[id].op {
        Op::Source(source) => Some(source),
        Op::Filter(_)
        | Op::Project(_)
        | Op::FlatMap(_)
        | Op::Rank
        | Op::SelectKey(_)
        | Op::Repartition(_)
        | Op::Aggregate(_)
        | Op::WindowAggregate(_)
        | Op::StreamTableJoin(_)
        | Op::GlobalJoin(_)
        | Op::TableTableJoin(_)
        | Op::StreamStreamJoin(_)
        | Op::ForeignKeySubscribe(_)
        | Op::ForeignKeyAnswer(_)
        | Op::ForeignKeyJoin(_)
        | Op::Sink(_) => None,
    }
}

fn relation<'a>(topology: &'a Topology, name: &str) -> Option<&'a Relation> {
    topology.relations.iter().find(|relation| &*relation.name == name)
}

/// The topics that the tasks of a sub-topology read, a topic once, in the order of its sources.
pub(super) fn inputs(topology: &Topology, names: &Names, sub: &SubTopology) -> Vec<InputTopic> {
    let mut inputs: Vec<InputTopic> = Vec::new();
    for &id in &sub.sources {
        let Some(source) = source(topology, id) else { continue };
        let (topic, internal): (Arc<str>, bool) = match &source.topic {
            SourceTopic::External(name) => match relation(topology, name) {
                Some(relation) => (relation.topic.name.clone(), false),
                None => continue,
            },
            SourceTopic::Repartition(from) => match &topology.nodes[*from].op {
                Op::Repartition(repartition) => (names.repartition(&repartition.name).into(), true),
                _ => continue,
            },
        };
        let is_stream = topology.nodes[id].kind == RelationKind::Stream;
        match inputs.iter_mut().find(|input| input.topic == topic) {
            Some(input) => {
                input.sources.push(id);
                input.is_stream &= is_stream;
            }
            None => inputs.push(InputTopic {
                topic,
                sources: vec![id],
                internal,
                is_stream,
            }),
        }
    }
    inputs
}

/// Whether a source carries a foreign-key join's questions or answers. Those go where the tables are, which decide the partitions.
fn goes_back(topology: &Topology, source: NodeId) -> bool {
    topology.nodes.iter().any(|node| match node.op {
        Op::ForeignKeyAnswer(_) => node.inputs[0] == source,
        Op::ForeignKeyJoin(_) => node.inputs[1] == source,
        _ => false,
    })
}

struct Planner<'a> {
    topology: &'a Topology,
    names: &'a Names,
    /// Of the sub-topologies that the generation has already.
    before: &'a [i32],
    existing: BTreeMap<Arc<str>, TopicInfo>,
    subs: Vec<Option<i32>>,
    problems: &'a mut Vec<Problem>,
}

/// Plans, and adds what is wrong to `problems`.
pub(super) fn plan(
    context: &DeployContext<'_>,
    generation: &GenerationPlan,
    names: &Names,
    problems: &mut Vec<Problem>,
) -> Result<PartitionPlan, DeployError> {
    let topology: &Topology = &generation.topology;
    let mut wanted: BTreeSet<Arc<str>> = topology.relations.iter().map(|r| r.topic.name.clone()).collect();
    let written = topology.nodes.iter().filter_map(|node| written_by(node, names));
    wanted.extend(written.map(Arc::from));
    wanted.extend(topology.stores.iter().map(|store| names.changelog(&store.name).into()));
    wanted.insert(names.tasks_topic().into());
    let asked: Vec<&str> = wanted.iter().map(|name| &**name).collect();
    let found = context
        .log
        .admin()
        .topics(&asked)
        .map_err(|e| DeployError::log(&topology.name, e))?;
    let existing = wanted
        .iter()
        .cloned()
        .zip(found)
        .filter_map(|(name, info)| Some((name, info?)))
        .collect();
    let mut planner = Planner {
        topology,
        names,
        before: &generation.before,
        existing,
        subs: vec![None; topology.subs.len()],
        problems,
    };
    Ok(planner.plan())
}

impl Planner<'_> {
    fn problem(&mut self, message: String, hint: impl Into<String>) {
        self.problems.push(Problem {
            topology: self.topology.name.clone(),
            message,
            hint: hint.into(),
        });
    }

    fn plan(&mut self) -> PartitionPlan {
        self.check_missing();
        self.check_one_reader();
        // Each round settles at least one sub-topology, or none can be settled any more.
        while (0..self.subs.len()).any(|sub| self.subs[sub].is_none() && self.settle(sub)) {}
        let unsettled: Vec<usize> = (0..self.subs.len()).filter(|sub| self.subs[*sub].is_none()).collect();
        if !unsettled.is_empty() && self.problems.is_empty() {
            self.problem(
                format!("the partitions of sub-topologies {unsettled:?} depend on each other"),
                "state PARTITIONS in the WITH clause of one of the streams concerned",
            );
        }
        let subs: Vec<i32> = self.subs.iter().map(|sub| sub.unwrap_or(1)).collect();
        let mut plan = PartitionPlan {
            subs,
            topics: BTreeMap::new(),
            more_tasks: None,
        };
        plan.more_tasks = self.more_tasks(&plan);
        self.topics(&mut plan);
        self.check_internal(&plan);
        plan
    }

    /// The partitions of a relation's topic, once they are known.
    fn external(&self, relation: &Relation) -> Option<i32> {
        if let Some(info) = self.existing.get(&relation.topic.name) {
            return Some(info.partitions);
        }
        relation.topic.partitions.or_else(|| {
            let writes =
                |node: &&crate::topology::Node| matches!(&node.op, Op::Sink(s) if s.topic == relation.topic.name);
            self.topology
                .nodes
                .iter()
                .find(writes)
                .and_then(|node| self.subs[node.sub])
        })
    }

    /// Decides a sub-topology's partitions where its inputs are decided; true when it could.
    fn settle(&mut self, sub: usize) -> bool {
        let topology = self.topology;
        let asked = topology.subs[sub]
            .sources
            .iter()
            .filter(|id| !goes_back(topology, **id));
        let sources = asked.filter_map(|id| source(topology, *id));
        let (mut external, mut upstream) = (Vec::new(), Vec::new());
        for source in sources {
            match &source.topic {
                SourceTopic::External(name) => match relation(topology, name) {
                    Some(relation) => external.push((relation, self.external(relation))),
                    None => return false,
                },
                SourceTopic::Repartition(from) => {
                    let fixed = match &topology.nodes[*from].op {
                        Op::Repartition(repartition) => repartition.partitions,
                        _ => None,
                    };
                    upstream.push(fixed.or(self.subs[topology.nodes[*from].sub]));
                }
            }
        }
        let decided = if external.is_empty() {
            upstream
                .into_iter()
                .collect::<Option<Vec<i32>>>()
                .and_then(|counts| counts.into_iter().max())
        } else {
            external
                .iter()
                .map(|(_, count)| *count)
                .collect::<Option<Vec<i32>>>()
                .and_then(|c| c.into_iter().max())
        };
        let Some(count) = decided else { return false };
        self.subs[sub] = Some(count);
        if external.iter().any(|(_, other)| *other != Some(count)) {
            self.not_co_partitioned(&external);
        }
        true
    }

    fn not_co_partitioned(&mut self, inputs: &[(&Relation, Option<i32>)]) {
        let text = |(relation, count): &(&Relation, Option<i32>)| {
            format!(
                "{} (topic {}: {})",
                relation.name,
                relation.topic.name,
                count.unwrap_or(0)
            )
        };
        let mut all: Vec<String> = inputs.iter().map(text).collect();
        all.dedup();
        let smallest = inputs
            .iter()
            .min_by_key(|(_, count)| *count)
            .map_or("one", |(relation, _)| &relation.name);
        let hint = format!(
            "joined inputs need the same number of partitions: re-key {smallest} with PARTITION BY into a stream of the same number \
             (WITH (PARTITIONS = n)), or create its topic anew with that number"
        );
        self.problem(format!("partitions do not match: {}", all.join(", ")), hint);
    }

    /// Every topic that is read must be there, or be one that this file makes.
    fn check_missing(&mut self) {
        let read: BTreeSet<Arc<str>> = (self.topology.nodes.iter())
            .filter_map(|node| match &node.op {
                Op::Source(Source {
                    topic: SourceTopic::External(name),
                    ..
                }) => Some(name.clone()),
                _ => None,
            })
            .collect();
        let topology = self.topology;
        let globals = topology.globals.iter().map(|global| global.source.relation.clone());
        let read = read.into_iter().chain(globals);
        let made: BTreeSet<&Arc<str>> = (topology.nodes.iter())
            .filter_map(|node| match &node.op {
                Op::Sink(sink) => Some(&sink.topic),
                _ => None,
            })
            .collect();
        for name in read {
            let Some(relation) = relation(topology, &name) else {
                continue;
            };
            let topic = &relation.topic;
            if topic.partitions.is_none() && !made.contains(&topic.name) && !self.existing.contains_key(&topic.name) {
                self.problem(
                    format!("{name} reads topic {}, which does not exist", topic.name),
                    "create the topic, or let it be created by giving PARTITIONS in the WITH clause",
                );
            }
        }
    }

    /// Offsets belong to the group, so a topic can be read by one sub-topology only.
    fn check_one_reader(&mut self) {
        let mut readers: BTreeMap<Arc<str>, BTreeSet<usize>> = BTreeMap::new();
        for sub in &self.topology.subs {
            for input in inputs(self.topology, self.names, sub) {
                readers.entry(input.topic).or_default().insert(sub.id);
            }
        }
        for (topic, subs) in readers.into_iter().filter(|(_, subs)| subs.len() > 1) {
            self.problem(
                format!(
                    "topic {topic} is read by {} parts of the file that are not connected",
                    subs.len()
                ),
                "put the queries of one of them into a file of their own",
            );
        }
    }

    fn topics(&self, plan: &mut PartitionPlan) {
        let mut add = |name: Arc<str>, partitions: i32| {
            let existing = self.existing.get(&name);
            let entry = (existing.map_or(partitions, |info| info.partitions), existing.is_some());
            plan.topics.entry(name).or_insert(entry);
        };
        for relation in &self.topology.relations {
            if let Some(partitions) = relation.topic.partitions {
                add(relation.topic.name.clone(), partitions);
            }
        }
        for node in &self.topology.nodes {
            match &node.op {
                Op::Sink(sink) => add(sink.topic.clone(), plan.subs[node.sub]),
                Op::Repartition(repartition) => {
                    let reads = |other: &&crate::topology::Node| {
                        source(self.topology, other.id).is_some_and(|s| s.topic == SourceTopic::Repartition(node.id))
                    };
                    let reader = self.topology.nodes.iter().find(reads);
                    let partitions = reader.map_or(plan.subs[node.sub], |reader| plan.subs[reader.sub]);
                    add(self.names.repartition(&repartition.name).into(), partitions);
                }
                Op::Source(_)
                | Op::Filter(_)
                | Op::Project(_)
                | Op::FlatMap(_)
                | Op::Rank
                | Op::SelectKey(_)
                | Op::Aggregate(_)
                | Op::WindowAggregate(_)
                | Op::StreamTableJoin(_)
                | Op::GlobalJoin(_)
                | Op::TableTableJoin(_)
                | Op::StreamStreamJoin(_)
                | Op::ForeignKeySubscribe(_)
                | Op::ForeignKeyAnswer(_)
                | Op::ForeignKeyJoin(_) => {}
            }
        }
        for store in &self.topology.stores {
            add(self.names.changelog(&store.name).into(), plan.subs[store.sub]);
        }
        add(self.names.tasks_topic().into(), tasks(&plan.subs));
    }

    /// Sub-topologies that the generation did not have yet bring tasks, behind those that there are.
    fn more_tasks(&self, plan: &PartitionPlan) -> Option<i32> {
        let existing = self.existing.get(&*self.names.tasks_topic())?.partitions;
        let (before, now) = (self.before, tasks(&plan.subs));
        let added = !before.is_empty() && before.len() < plan.subs.len() && plan.subs.starts_with(before);
        (added && (tasks(before)..now).contains(&existing)).then_some(now)
    }

    /// Internal topics of an earlier start must have the partitions that they would get now.
    fn check_internal(&mut self, plan: &PartitionPlan) {
        let mut wanted: Vec<(Arc<str>, i32)> = Vec::new();
        if plan.more_tasks.is_none() {
            wanted.push((self.names.tasks_topic().into(), tasks(&plan.subs)));
        }
        let stores = self.topology.stores.iter();
        wanted.extend(stores.map(|store| (self.names.changelog(&store.name).into(), plan.subs[store.sub])));
        for sub in &self.topology.subs {
            let internal = inputs(self.topology, self.names, sub)
                .into_iter()
                .filter(|input| input.internal);
            wanted.extend(internal.map(|input| (input.topic, plan.subs[sub.id])));
        }
        let differs =
            |(topic, count): &(Arc<str>, i32)| self.existing.get(topic).is_some_and(|info| info.partitions != *count);
        let differing: Vec<String> = wanted
            .iter()
            .filter(|w| differs(w))
            .map(|(topic, _)| topic.to_string())
            .collect();
        if !differing.is_empty() {
            let name = self.topology.name.clone();
            self.problem(
                format!(
                    "its inputs now have {:?} partitions a sub-topology, but its state was built for other numbers ({})",
                    plan.subs,
                    differing.join(", ")
                ),
                format!("rebuild it for the new partitions with `millstream replay {name}`"),
            );
        }
    }
}

/// Partitions of the tasks topic. A file that only declares streams and tables has no task, and a topic has at least one partition.
fn tasks(subs: &[i32]) -> i32 {
    subs.iter().sum::<i32>().max(1)
}
