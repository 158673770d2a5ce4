//! What all tasks of a sub-topology share: the plan and what follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::engine::{BadRecord, Emit};
use crate::formats::{FormatError, RegisteredSchema, SchemaSource};
use crate::operators::{Mode, Side};
use crate::state::SharedRows;
use crate::state::buffer::TableSpec;
use crate::topology::{Node, NodeId, Op, StoreId, SubId, TableTableJoin, Topology};

use super::decode::SourceCodec;
use super::encode::SinkCodec;

/// See [`TaskOptions::fan_out`]: a hundred kilobytes of answers, some milliseconds of work.
pub const FAN_OUT: usize = 1_000;

/// How tasks work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskOptions {
    /// When held-back operators forward.
    pub emit: Emit,
    /// What happens with a record that cannot be processed.
    pub bad_record: BadRecord,
    /// Bytes of decoded rows that a task keeps (uncommitted ones beyond it, see [`super::Task::buffered_bytes`]).
    pub cache_bytes: usize,
    /// Rows that one change of a foreign-key join's right side makes at once, at most; the others come in chunks of this size, over several commits.
    pub fan_out: usize,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            emit: Emit::default(),
            bad_record: BadRecord::default(),
            cache_bytes: 16 << 20,
            fan_out: FAN_OUT,
        }
    }
}

/// What deployment knows of a node's topic: the registered schemas that a sink writes with (`None` for formats without registry), and how much
/// the topic takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkSchemas {
    /// Of the keys.
    pub key: Option<RegisteredSchema>,
    /// Of the values.
    pub value: Option<RegisteredSchema>,
    /// `max.message.bytes` of a sink's or repartition's topic, where it is known.
    pub max_bytes: Option<usize>,
}

/// What the tasks of one sub-topology share. Made once, see the fields of [`super::Task`] for what is a task's own.
pub struct TaskPlan {
    pub(super) topology: Arc<Topology>,
    pub(super) sub: SubId,
    pub(super) options: TaskOptions,
    pub(super) schemas: Arc<dyn SchemaSource>,
    pub(super) sinks: BTreeMap<NodeId, SinkSchemas>,
    /// How each node of the sub-topology runs, and who uses what it gives out (as positions in this list, and the side).
    pub(super) nodes: Vec<PlanNode>,
    pub(super) tables: Vec<TableSpec>,
    pub(super) pending_sets: usize,
    pub(super) globals: Arc<SharedRows>,
}

pub(super) struct PlanNode {
    pub id: NodeId,
    pub mode: Mode,
    pub users: Vec<(usize, Side)>,
    /// Somebody downstream sends the headers of its changes on.
    pub headers: bool,
    /// Of a source: the stores that are read at the key of each record.
    pub keyed: Vec<StoreId>,
}

impl TaskPlan {
    /// The plan of a sub-topology. `sinks` holds the schemas that deployment has registered, by sink node.
    ///
    /// # Errors
    /// When a format cannot hold its columns, or the registry cannot be reached for a schema that the SQL names by id.
    pub fn new(
        topology: Arc<Topology>,
        sub: SubId,
        options: TaskOptions,
        schemas: Arc<dyn SchemaSource>,
        sinks: BTreeMap<NodeId, SinkSchemas>,
    ) -> Result<Arc<Self>, FormatError> {
        Self::with_globals(topology, sub, options, schemas, sinks, Arc::default())
    }

    /// The same, with the rows of global tables that all tasks of the process read.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_globals(
        topology: Arc<Topology>,
        sub: SubId,
        options: TaskOptions,
        schemas: Arc<dyn SchemaSource>,
        sinks: BTreeMap<NodeId, SinkSchemas>,
        globals: Arc<SharedRows>,
    ) -> Result<Arc<Self>, FormatError> {
        let held = held_nodes(&topology, options.emit);
        let position = |id: NodeId| topology.subs[sub].nodes.iter().position(|&n| n == id);
        let mut nodes: Vec<PlanNode> = Vec::new();
        let mut pending_sets = 0;
        for &id in &topology.subs[sub].nodes {
            let users = |user: &Node| {
                let inputs = user.inputs.iter().enumerate().filter(move |(_, input)| **input == id);
                let at = position(user.id);
                inputs
                    .filter_map(move |(side, _)| Some((at?, side as Side)))
                    .collect::<Vec<_>>()
            };
            let pending = pending_sets;
            if held[id] && matches!(topology.nodes[id].op, Op::TableTableJoin(_)) {
                pending_sets += 1;
            }
            nodes.push(PlanNode {
                id,
                mode: Mode {
                    hold: held[id],
                    pending,
                    wants_old: false,
                    right_holds: topology.nodes[id].inputs.get(1).is_some_and(|&right| held[right]),
                    fan_out: options.fan_out,
                },
                users: topology.nodes.iter().flat_map(users).collect(),
                headers: false,
                keyed: Vec::new(),
            });
        }
        for at in (0..nodes.len()).rev() {
            let reaches = match topology.nodes[nodes[at].id].op {
                Op::Sink(_) | Op::Repartition(_) => true,
                Op::Aggregate(_) | Op::WindowAggregate(_) => false,
                Op::Source(_)
                | Op::Filter(_)
                | Op::Project(_)
                | Op::FlatMap(_)
                | Op::Rank
                | Op::SelectKey(_)
                | Op::StreamTableJoin(_)
                | Op::GlobalJoin(_)
                | Op::TableTableJoin(_)
                | Op::StreamStreamJoin(_)
                | Op::ForeignKeySubscribe(_)
                | Op::ForeignKeyAnswer(_)
                | Op::ForeignKeyJoin(_) => nodes[at].users.iter().any(|&(user, _)| nodes[user].headers),
            };
            nodes[at].headers = reaches;
            nodes[at].mode.wants_old = nodes[at]
                .users
                .iter()
                .any(|&(user, _)| reads_old(&topology, &nodes[user]));
        }
        for at in 0..nodes.len() {
            if let Op::Source(source) = &topology.nodes[nodes[at].id].op {
                let mut keyed: Vec<StoreId> = source.store.into_iter().collect();
                keyed_stores(&topology, &nodes, at, &mut keyed);
                nodes[at].keyed = keyed;
            }
        }
        let plan = Self {
            tables: table_specs(&topology, sub, &held),
            topology,
            sub,
            options,
            schemas,
            sinks,
            nodes,
            pending_sets,
            globals,
        };
        plan.check()?;
        Ok(Arc::new(plan))
    }

    /// Makes every (de)serializer once, so that what is wrong with a format shows before any task starts.
    fn check(&self) -> Result<(), FormatError> {
        for at in 0..self.nodes.len() {
            let _: Option<SourceCodec> = self.source_codec(at)?;
            let _: Option<SinkCodec> = self.sink_codec(at)?;
        }
        Ok(())
    }

    pub(super) fn node(&self, at: usize) -> &Node {
        &self.topology.nodes[self.nodes[at].id]
    }

    pub(super) fn source_codec(&self, at: usize) -> Result<Option<SourceCodec>, FormatError> {
        let node = self.node(at);
        let Op::Source(source) = &node.op else { return Ok(None) };
        SourceCodec::new(source, node.kind, self.nodes[at].headers, &self.schemas).map(Some)
    }

    pub(super) fn sink_codec(&self, at: usize) -> Result<Option<SinkCodec>, FormatError> {
        let node = self.node(at);
        let Op::Sink(sink) = &node.op else { return Ok(None) };
        let schemas = self.sinks.get(&node.id).cloned().unwrap_or_default();
        SinkCodec::new(sink, &node.schema, schemas).map(Some)
    }

    /// The rows of global tables that its tasks read.
    pub fn globals(&self) -> &Arc<SharedRows> {
        &self.globals
    }

    /// What the topic of a node takes.
    pub(super) fn max_bytes(&self, at: usize) -> usize {
        let known = self.sinks.get(&self.nodes[at].id).and_then(|sink| sink.max_bytes);
        known.unwrap_or(usize::MAX)
    }

    /// The sub-topology.
    pub fn sub(&self) -> SubId {
        self.sub
    }

    /// The topology.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }
}

/// Which nodes give out changes at the flush only, by node: aggregates, joins of a
/// table with itself, and what stands behind them up to the next store or topic.
fn held_nodes(topology: &Topology, emit: Emit) -> Vec<bool> {
    let mut held = vec![false; topology.nodes.len()];
    // a table joined with itself is held back in either mode: its two sides change at once
    let holds = emit == Emit::HoldUntilCommit;
    for node in &topology.nodes {
        held[node.id] = match node.op {
            Op::Aggregate(_) => holds,
            // a closed window is given out once, at once
            Op::WindowAggregate(ref windows) => holds && windows.open.is_none(),
            // the stream's side decides; the table is looked up
            Op::StreamTableJoin(_) | Op::GlobalJoin(_) | Op::SelectKey(_) | Op::FlatMap(_) => held[node.inputs[0]],
            // it is the answers that make results, and they come when they come
            Op::StreamStreamJoin(_) | Op::ForeignKeySubscribe(_) | Op::ForeignKeyAnswer(_) | Op::ForeignKeyJoin(_) => {
                false
            }
            Op::TableTableJoin(ref join) => node.inputs.iter().any(|&input| held[input]) || shares_store(join),
            Op::Filter(_) | Op::Project(_) | Op::Rank => node.inputs.iter().any(|&input| held[input]),
            Op::Source(_) | Op::Repartition(_) | Op::Sink(_) => false,
        };
    }
    held
}

/// Whether a node reads the old rows of the changes that come in, for itself or for those behind it.
fn reads_old(topology: &Topology, node: &PlanNode) -> bool {
    match topology.nodes[node.id].op {
        // a delete is written where there was a row, whatever it held; records in windows have no old row
        Op::Sink(_) | Op::WindowAggregate(_) => false,
        // each has the row that it gave out last in a store
        Op::ForeignKeySubscribe(_) | Op::ForeignKeyAnswer(_) | Op::ForeignKeyJoin(_) | Op::GlobalJoin(_) => false,
        Op::Project(_) => node.mode.wants_old,
        // held back, it reads the rows of its inputs by itself
        Op::TableTableJoin(_) => !node.mode.hold,
        Op::Filter(_)
        | Op::FlatMap(_)
        | Op::Rank
        | Op::SelectKey(_)
        | Op::Repartition(_)
        | Op::Aggregate(_)
        | Op::StreamTableJoin(_)
        | Op::StreamStreamJoin(_)
        | Op::Source(_) => true,
    }
}

/// The stores that the users of a node read at the key of each change, as long as the key stays the same.
fn keyed_stores(topology: &Topology, nodes: &[PlanNode], at: usize, stores: &mut Vec<StoreId>) {
    for &(user, side) in &nodes[at].users {
        match &topology.nodes[nodes[user].id].op {
            Op::Filter(_) | Op::Project(_) => {}
            Op::StreamTableJoin(join) if side == 0 => stores.extend(join.right.stores()),
            Op::TableTableJoin(join) if !nodes[user].mode.hold => {
                stores.extend(if side == 0 {
                    join.right.stores()
                } else {
                    join.left.stores()
                });
            }
            Op::Aggregate(aggregate) => {
                stores.push(aggregate.store);
                continue;
            }
            // it reads at the flush, or by other keys
            _ => continue,
        }
        keyed_stores(topology, nodes, user, stores);
    }
    stores.sort_unstable();
    stores.dedup();
}

/// Whether one record can change both sides of a join: each side's change would then meet the other side as it was or as it will be, whichever
/// comes first. Held back, the join goes from the rows before to the rows after at once.
fn shares_store(join: &TableTableJoin) -> bool {
    let right = join.right.all_stores();
    join.left.all_stores().iter().any(|store| right.contains(store))
}

/// The stores that operators scan for each record.
fn scanned_stores(topology: &Topology, sub: SubId) -> FxHashSet<StoreId> {
    let mut scanned = FxHashSet::default();
    for node in topology.nodes.iter().filter(|node| node.sub == sub) {
        match &node.op {
            Op::Source(source) => scanned.extend(
                source
                    .history
                    .iter()
                    .flat_map(|history| [history.versions, history.ends]),
            ),
            Op::Aggregate(aggregate) => scanned.extend(aggregate.elements),
            Op::WindowAggregate(windows) => scanned.extend(windows.stores()),
            Op::StreamStreamJoin(join) => scanned.extend([join.left, join.right].into_iter().chain(join.unmatched)),
            Op::ForeignKeyAnswer(answer) => {
                scanned.extend([answer.subscribers, answer.fan_outs]);
            }
            _ => {}
        }
    }
    scanned
}

/// The stores of the sub-topology. Those keep the row at the start of a generation that are forwarded at the flush, or that a join looks up there.
fn table_specs(topology: &Topology, sub: SubId, held: &[bool]) -> Vec<TableSpec> {
    let mut keep: FxHashSet<StoreId> = FxHashSet::default();
    for node in topology.nodes.iter().filter(|node| node.sub == sub && held[node.id]) {
        match &node.op {
            Op::Aggregate(aggregate) => keep.extend(aggregate.read_stores()),
            Op::WindowAggregate(windows) => keep.extend(windows.aggregate.read_stores()),
            Op::TableTableJoin(join) => keep.extend([join.left.all_stores(), join.right.all_stores()].concat()),
            Op::Source(_)
            | Op::Filter(_)
            | Op::Project(_)
            | Op::FlatMap(_)
            | Op::Rank
            | Op::SelectKey(_)
            | Op::Repartition(_)
            | Op::StreamTableJoin(_)
            | Op::GlobalJoin(_)
            | Op::StreamStreamJoin(_)
            | Op::ForeignKeySubscribe(_)
            | Op::ForeignKeyAnswer(_)
            | Op::ForeignKeyJoin(_)
            | Op::Sink(_) => {}
        }
    }
    let ordered = scanned_stores(topology, sub);
    let spec = |&store: &StoreId| TableSpec {
        store,
        keep_start: keep.contains(&store),
        value: topology.stores[usize::from(store)].value.clone(),
        ordered: ordered.contains(&store),
    };
    topology.subs[sub].stores.iter().map(spec).collect()
}
