//! A topology at work inside one call stack: a task for each sub-topology and partition, topics as vectors, stores in memory.
//!
//! For golden cases and the oracles of operators. It is *not* the simulation: there are no groups, transactions or faults beyond a crash between
//! two steps of a commit; but the order of those steps, and recovery from the changelogs, are the worker's.

mod recover;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::globals::LocalGlobals;
use crate::engine::Names;
use crate::engine::outbox::{Dest, Outgoing};
use crate::engine::task::{GlobalRows, InputRecord, SinkSchemas, Task, TaskError, TaskOptions, TaskPlan};
use crate::formats::{FormatError, SchemaSource, unwindowed};
use crate::log::{HeadersRef, partition_for_key};
use crate::operators::{KeyRange, OpError, scan};
use crate::state::memory::MemoryStores;
use crate::state::{ChangelogPosition, SharedRows, StorePosition};
use crate::topology::{NodeId, Op, SourceTopic, SubId, Topology};
use crate::types::{Headers, Row, Timestamp};

/// A record in a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalRecord {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value.
    pub value: Option<Vec<u8>>,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its headers.
    pub headers: Headers,
}

impl LocalRecord {
    pub(super) fn new(record: &Outgoing<'_>) -> Self {
        Self {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: record.timestamp,
            headers: record.headers.clone(),
        }
    }
}

pub(super) type Partitions = Vec<Vec<LocalRecord>>;

struct Input {
    topic: Arc<str>,
    /// The sources that read it.
    sources: Vec<NodeId>,
    next: usize,
    committed: usize,
}

struct LocalTask {
    sub: SubId,
    partition: i32,
    /// `None` only inside [`LocalRun::crash`].
    task: Option<Task>,
    inputs: Vec<Input>,
    /// Whether the frozen generation has been published and waits to be applied.
    published: bool,
}

/// A running topology. See the module.
pub struct LocalRun {
    topology: Arc<Topology>,
    names: Names,
    plans: Vec<Arc<TaskPlan>>,
    partitions: i32,
    tasks: Vec<LocalTask>,
    stores: MemoryStores,
    topics: BTreeMap<Arc<str>, Partitions>,
    globals: LocalGlobals,
    now: Timestamp,
}

/// Why a local run ends early.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LocalError {
    /// A task.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A store.
    #[error(transparent)]
    Store(#[from] crate::state::StoreError),
    /// A view's row.
    #[error(transparent)]
    View(#[from] OpError),
    /// A name that the topology does not have.
    #[error("no view named {0}")]
    NoView(String),
}

impl LocalRun {
    /// A topology with empty topics of `partitions` partitions each. `sinks` as for [`TaskPlan::new`].
    ///
    /// # Errors
    /// When a format cannot hold its columns.
    pub fn new(
        topology: Arc<Topology>,
        options: TaskOptions,
        schemas: &Arc<dyn SchemaSource>,
        sinks: &BTreeMap<NodeId, SinkSchemas>,
        partitions: i32,
    ) -> Result<Self, LocalError> {
        let names = Names::new("millstream", &topology.name, 0);
        let shown = Arc::new(SharedRows::default());
        let plan = |sub: &crate::topology::SubTopology| {
            let (topology, shown) = (topology.clone(), shown.clone());
            TaskPlan::with_globals(topology, sub.id, options, schemas.clone(), sinks.clone(), shown)
        };
        let plans = topology.subs.iter().map(plan).collect::<Result<Vec<_>, _>>()?;
        let mut run = Self {
            names,
            plans,
            partitions,
            tasks: Vec::new(),
            stores: MemoryStores::new(),
            topics: BTreeMap::new(),
            globals: LocalGlobals::new(
                &topology,
                GlobalRows::new(&topology, options.bad_record, schemas, shown)?,
            ),
            now: 0,
            topology,
        };
        for sub in 0..run.topology.subs.len() {
            for partition in 0..partitions {
                let inputs = run.inputs(sub);
                run.tasks.push(LocalTask {
                    sub,
                    partition,
                    task: None,
                    inputs,
                    published: false,
                });
            }
        }
        run.open_all()?;
        Ok(run)
    }

    fn inputs(&self, sub: SubId) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        for &source in &self.topology.subs[sub].sources {
            let topic = self.source_topic(source);
            match inputs.iter_mut().find(|input| input.topic == topic) {
                Some(input) => input.sources.push(source),
                None => inputs.push(Input {
                    topic,
                    sources: vec![source],
                    next: 0,
                    committed: 0,
                }),
            }
        }
        inputs
    }

    fn source_topic(&self, source: NodeId) -> Arc<str> {
        let Op::Source(source) = &self.topology.nodes[source].op else {
            unreachable!("listed as a source")
        };
        match &source.topic {
            SourceTopic::Repartition(node) => self.output_topic(Dest::Repartition(*node)),
            SourceTopic::External(name) => {
                let relation = self.topology.relations.iter().find(|relation| relation.name == *name);
                relation.map_or_else(|| name.clone(), |relation| relation.topic.name.clone())
            }
        }
    }

    fn output_topic(&self, dest: Dest) -> Arc<str> {
        match dest {
            Dest::DeadLetter => self.names.dead_letters().into(),
            Dest::Changelog(store) => self
                .names
                .changelog(&self.topology.stores[usize::from(store)].name)
                .into(),
            Dest::Sink(node) | Dest::Repartition(node) => match &self.topology.nodes[node].op {
                Op::Sink(sink) => sink.topic.clone(),
                Op::Repartition(repartition) => self.names.repartition(&repartition.name).into(),
                _ => unreachable!("only sinks and repartitions send"),
            },
        }
    }

    /// The wall clock of what follows.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Appends a record to a topic. `partition_key` chooses the partition: the key in our own encoding, so that topics of any format meet.
    pub fn send(&mut self, topic: &str, partition_key: Option<&[u8]>, record: LocalRecord) {
        let partition = partition_key.map_or(0, |key| partition_for_key(key, self.partitions));
        self.append(topic, partition, record);
    }

    fn append(&mut self, topic: &str, partition: i32, record: LocalRecord) {
        let count = self.partitions as usize;
        let partitions = self
            .topics
            .entry(topic.into())
            .or_insert_with(|| vec![Vec::new(); count]);
        partitions[partition as usize].push(record);
    }

    /// The records of a topic, a partition after the other.
    pub fn topic(&self, name: &str) -> impl Iterator<Item = &LocalRecord> {
        self.topics.get(name).into_iter().flatten().flatten()
    }

    /// The records of a topic's first partition from a position on: all of them, where there is one partition.
    pub fn records_from(&self, topic: &str, position: usize) -> &[LocalRecord] {
        self.records(topic, 0).get(position..).unwrap_or_default()
    }

    /// The topics from outside that the topology reads, in the order of its sources.
    pub fn source_topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = Vec::new();
        for source in self.topology.subs.iter().flat_map(|sub| &sub.sources) {
            let Op::Source(of) = &self.topology.nodes[*source].op else {
                continue;
            };
            if let SourceTopic::External(_) = of.topic {
                let topic = self.source_topic(*source);
                if !topics.contains(&topic) {
                    topics.push(topic);
                }
            }
        }
        let globals = self.globals.topics().filter(|topic| !topics.contains(topic)).cloned();
        let globals: Vec<Arc<str>> = globals.collect();
        topics.extend(globals);
        topics
    }

    /// The topics that its sinks write, in the order of the sinks.
    pub fn sink_topics(&self) -> Vec<Arc<str>> {
        let mut topics: Vec<Arc<str>> = Vec::new();
        for node in &self.topology.nodes {
            if let Op::Sink(sink) = &node.op
                && !topics.contains(&sink.topic)
            {
                topics.push(sink.topic.clone());
            }
        }
        topics
    }

    /// The name of the dead-letter topic.
    pub fn dead_letters(&self) -> String {
        self.names.dead_letters()
    }

    /// Processes what the tasks can read, each by (timestamp, order of its sources). How many records that was.
    ///
    /// # Errors
    /// What a task answers.
    pub fn process_all(&mut self) -> Result<usize, LocalError> {
        self.process_some(usize::MAX)
    }

    /// Processes at most `limit` records a task.
    ///
    /// # Errors
    /// What a task answers.
    pub fn process_some(&mut self, limit: usize) -> Result<usize, LocalError> {
        self.globals.read(&self.topics, self.now)?;
        let mut letters = Vec::new();
        self.globals.dead_letters(|letter| letters.push(letter));
        for letter in letters {
            self.append(&self.names.dead_letters(), 0, letter);
        }
        let mut processed = 0;
        for at in 0..self.tasks.len() {
            for _ in 0..limit {
                if !self.process_one(at)? {
                    break;
                }
                processed += 1;
            }
        }
        Ok(processed)
    }

    fn process_one(&mut self, at: usize) -> Result<bool, LocalError> {
        let LocalTask {
            partition,
            task,
            inputs,
            ..
        } = &mut self.tasks[at];
        let record = |input: &Input| self.topics.get(&input.topic)?.get(*partition as usize)?.get(input.next);
        let next = inputs
            .iter()
            .enumerate()
            .filter_map(|(i, input)| Some((record(input)?.timestamp, i)))
            .min();
        let Some(task) = task.as_mut() else {
            return Ok(false);
        };
        let Some((_, i)) = next else {
            return Ok(task.go_on(self.now)?);
        };
        let input = &inputs[i];
        if let Some(record) = record(input) {
            let input_record = InputRecord {
                topic: &input.topic,
                partition: *partition,
                offset: input.next as i64,
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: HeadersRef::Owned(&record.headers),
            };
            for &source in &input.sources {
                task.process(source, &input_record, self.now)?;
            }
        }
        inputs[i].next += 1;
        Ok(true)
    }

    /// Commits all tasks: prepare, publish, apply.
    ///
    /// # Errors
    /// What a task or store answers.
    pub fn commit(&mut self) -> Result<(), LocalError> {
        self.prepare()?;
        self.publish();
        self.apply()
    }

    /// Freezes what all tasks have done. Processing may go on.
    ///
    /// # Errors
    /// What a task answers.
    pub fn prepare(&mut self) -> Result<(), LocalError> {
        for local in &mut self.tasks {
            if let Some(task) = &mut local.task {
                task.prepare_commit(self.now)?;
                for input in &mut local.inputs {
                    input.committed = input.next;
                }
            }
        }
        Ok(())
    }

    /// Commits the transactions: what was frozen is in the topics, with the input positions.
    pub fn publish(&mut self) {
        for at in 0..self.tasks.len() {
            let local = &mut self.tasks[at];
            let partition = local.partition;
            local.published = true;
            let Some(task) = local.task.take() else { continue };
            for record in task.frozen().into_iter().flat_map(|outbox| outbox.iter()) {
                self.deliver(partition, &record);
            }
            self.tasks[at].task = Some(task);
        }
    }

    fn deliver(&mut self, from: i32, record: &Outgoing<'_>) {
        let topic = self.output_topic(record.dest);
        let partition = match (record.dest, record.key) {
            (Dest::Changelog(_), _) => from,
            (Dest::DeadLetter, _) => 0,
            (Dest::Sink(node) | Dest::Repartition(node), Some(key)) => {
                let window = match &self.topology.nodes[node].op {
                    Op::Sink(sink) => sink.window,
                    _ => None,
                };
                partition_for_key(unwindowed(key, window), self.partitions)
            }
            (Dest::Sink(_) | Dest::Repartition(_), None) => from % self.partitions,
        };
        self.append(&topic, partition, LocalRecord::new(record));
    }

    /// Puts what was published into the stores.
    ///
    /// # Errors
    /// The store.
    pub fn apply(&mut self) -> Result<(), LocalError> {
        for at in 0..self.tasks.len() {
            let position = self.position(&self.tasks[at]);
            let local = &mut self.tasks[at];
            local.published = false;
            if let Some(task) = &mut local.task {
                task.committed(&position)?;
            }
        }
        Ok(())
    }

    fn position(&self, local: &LocalTask) -> StorePosition {
        let changelogs = self.topology.subs[local.sub].stores.iter().map(|&store| {
            let topic = self.output_topic(Dest::Changelog(store));
            let offset = self.records(&topic, local.partition).len() as i64;
            ChangelogPosition {
                topic,
                topic_id: String::new(),
                offset,
            }
        });
        let inputs = local.inputs.iter();
        StorePosition {
            changelogs: changelogs.collect(),
            inputs: inputs
                .map(|i| (i.topic.clone(), local.partition, i.committed as i64))
                .collect(),
            applied_at: self.now,
            fingerprint: String::new(),
        }
    }

    fn records(&self, topic: &str, partition: i32) -> &[LocalRecord] {
        self.topics
            .get(topic)
            .map_or(&[], |partitions| &partitions[partition as usize])
    }

    /// Processes and commits until nothing is left to do, re-keyed records included.
    ///
    /// # Errors
    /// What a task or store answers.
    pub fn settle(&mut self) -> Result<(), LocalError> {
        loop {
            self.process_all()?;
            self.commit()?;
            // a commit may have given re-keyed records to other tasks
            if self.process_all()? == 0 {
                return Ok(());
            }
        }
    }

    /// The committed rows of a view, in the order of their encoded keys: key, row, timestamp.
    ///
    /// # Errors
    /// When there is no such view, or a row cannot be computed.
    pub fn view(&self, name: &str) -> Result<Vec<(Row, Row, Timestamp)>, LocalError> {
        let view = self.topology.views.iter().find(|view| &*view.name == name);
        let view = view.ok_or_else(|| LocalError::NoView(name.into()))?;
        let mut rows = BTreeMap::new();
        for local in self.tasks.iter().filter(|local| local.sub == view.sub) {
            let Some(task) = &local.task else { continue };
            let snapshot = task.store().reader().snapshot()?;
            let range = KeyRange::default();
            scan(
                &view.plan,
                snapshot.as_ref(),
                &range,
                self.now,
                &mut |bytes, key, row, timestamp| {
                    rows.insert(bytes.to_vec(), (key.clone(), row.clone(), timestamp));
                    true
                },
            )?;
        }
        Ok(rows.into_values().collect())
    }

    /// The tasks, to look at their counters.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter_map(|local| local.task.as_ref())
    }
}
