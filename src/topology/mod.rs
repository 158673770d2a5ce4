//! The plan as data: relations, nodes, sub-topologies, stores, internal topics and views.
//!
//! SQL lowers to a [`Topology`]; so can Rust code. Nothing here runs: `operators` and `engine` give the plan its life, `explain` prints it and
//! the fingerprints compare it with the state that an earlier run left behind.
//!
//! Names of stores and internal topics come from SQL names, so that they survive unrelated edits.

mod builder;
mod explain;
mod finish;
mod global;
mod history;
mod joins;
mod logical;
mod lookups;
mod number;
mod prune;
mod relation;
mod window;
mod wire;
mod wire_global;
mod wire_joins;
mod wire_sources;

use std::sync::Arc;

pub use builder::{Builder, EMPTY_GROUPS, JoinStep, NodeRef, RelationRef, Semantics};
pub use explain::{InternalNames, explain, explain_json};
pub use finish::same_partitioning;
pub use global::{GlobalJoin, GlobalTable};
pub use history::{AsOf, History};
pub use joins::{
    ForeignKeyAnswer, ForeignKeyJoin, ForeignKeySubscribe, JoinKind, JoinWindow, StreamStreamJoin, StreamTableJoin,
    TableTableJoin,
};
pub use logical::PSEUDO_COLUMNS;
pub use relation::{Assert, Asserted, HeaderColumn, Insert, Relation, TopicSpec};
pub use window::{WindowAggregate, WindowSpec, Windows};

use crate::expr::{AggregateCall, Expr, TableCall};
use crate::types::{RelationKind, RelationSchema, SerdeSpec, WindowInfo};

/// Index of a node in [`Topology::nodes`].
pub type NodeId = usize;
/// Index of a store in [`Topology::stores`]; also the two-byte key prefix of its rows in a task's database.
pub type StoreId = u16;
/// Index of a sub-topology in [`Topology::subs`].
pub type SubId = usize;

/// Everything that one SQL file asks for. The unit of deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    /// The file's stem; part of every internal name.
    pub name: Arc<str>,
    /// Streams and tables in the order of their statements.
    pub relations: Vec<Relation>,
    /// Operators, inputs before users.
    pub nodes: Vec<Node>,
    /// Connected parts between topics. A task is one of these for one partition.
    pub subs: Vec<SubTopology>,
    /// Stores, numbered in the order of their names' first use.
    pub stores: Vec<StoreSpec>,
    /// What readers can query.
    pub views: Vec<View>,
    /// `SET 'name' = 'value'` of the file.
    pub properties: Vec<(String, String)>,
    /// `INSERT INTO ... VALUES` of the file, in order: written once, when it is deployed first.
    pub inserts: Vec<Insert>,
    /// `ASSERT` of the file: what must hold before it is deployed.
    pub asserts: Vec<Assert>,
    /// Tables that every process holds whole.
    pub globals: Vec<GlobalTable>,
}

/// An operator, its inputs and what it gives out.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its own index.
    pub id: NodeId,
    /// A stable name from SQL names, for `explain` and metrics: `AVERAGE_RATINGS/aggregate`.
    pub name: Arc<str>,
    /// What it does.
    pub op: Op,
    /// Where its changes come from; for joins left, then right.
    pub inputs: Vec<NodeId>,
    /// Whether it gives out records or changes of rows.
    pub kind: RelationKind,
    /// The columns of what it gives out.
    pub schema: RelationSchema,
    /// The sub-topology it belongs to.
    pub sub: SubId,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Reads a topic.
    Source(Source),
    /// Lets rows pass whose predicate is TRUE. Of a table: a row that no longer passes is deleted downstream.
    Filter(Expr),
    /// Computes the value columns anew; the key stays.
    Project(Vec<Expr>),
    /// Makes records of the values that table functions give for a stream's record, behind its own value columns; the longest list decides how many.
    FlatMap(Vec<TableCall>),
    /// Makes a row of each of the rows in a table's only column, an ARRAY of STRUCTs: its place, from 1, stands behind the key.
    Rank,
    /// Computes a new key and new value columns of a stream's records, which stay where they are: only sinks follow, and the record that
    /// they write goes to the partition of its key.
    SelectKey(SelectKey),
    /// Computes a new key, and carries records to the partition that the key belongs to through an internal topic. Its user is an
    /// [`Op::Source`] with [`SourceTopic::Repartition`]. Of a table: the old row goes to the old key, the new row to the new key.
    Repartition(Repartition),
    /// Groups by the key of its input (grouping by anything else repartitions first) and aggregates into a store.
    Aggregate(Aggregate),
    /// The same, apart for each window of time: its key is the input's, then start and end of the window.
    WindowAggregate(WindowAggregate),
    /// Looks each record of the left stream up in the right table.
    StreamTableJoin(StreamTableJoin),
    /// Looks each row of the left stream or table up in a table that every process holds whole.
    GlobalJoin(GlobalJoin),
    /// Joins two tables of the same key.
    TableTableJoin(TableTableJoin),
    /// Joins two streams of the same key whose records are near in time.
    StreamStreamJoin(StreamStreamJoin),
    /// The left table of a foreign-key join asks the right table's tasks for rows.
    ForeignKeySubscribe(ForeignKeySubscribe),
    /// The right table of a foreign-key join answers, at once and whenever its rows change.
    ForeignKeyAnswer(ForeignKeyAnswer),
    /// Puts the left rows of a foreign-key join together with the answers.
    ForeignKeyJoin(ForeignKeyJoin),
    /// Writes to a topic.
    Sink(Sink),
}

impl Op {
    /// The expressions that it evaluates.
    pub fn exprs(&self) -> Vec<&Expr> {
        match self {
            Self::Source(_)
            | Self::Rank
            | Self::TableTableJoin(_)
            | Self::ForeignKeyAnswer(_)
            | Self::ForeignKeyJoin(_)
            | Self::Sink(_) => Vec::new(),
            Self::GlobalJoin(join) => join.key.iter().collect(),
            Self::StreamTableJoin(join) => join.as_of.iter().map(|as_of| &as_of.time).collect(),
            Self::StreamStreamJoin(join) => join.residual.iter().collect(),
            Self::ForeignKeySubscribe(subscribe) => subscribe.foreign_key.iter().collect(),
            Self::Filter(condition) => vec![condition],
            Self::Project(values) => values.iter().collect(),
            Self::FlatMap(calls) => calls.iter().map(|call| &call.arg).collect(),
            Self::SelectKey(select) => select.key.iter().chain(&select.value).collect(),
            Self::Repartition(repartition) => repartition.key.iter().chain(&repartition.value).collect(),
            Self::Aggregate(aggregate) | Self::WindowAggregate(WindowAggregate { aggregate, .. }) => {
                aggregate.calls.iter().flat_map(AggregateCall::exprs).collect()
            }
        }
    }
}

/// Which topic a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceTopic {
    /// A relation's topic, by its name.
    External(Arc<str>),
    /// What the [`Op::Repartition`] node writes; the records are our own codec.
    Repartition(NodeId),
}

/// A source: topic, decoding and, for a table, its store.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// What it reads.
    pub topic: SourceTopic,
    /// The SQL name of the relation it reads, or of the one that the repartition serves.
    pub relation: Arc<str>,
    /// All columns of the topic's records, in the relation's order. The node's `schema` holds the used ones only.
    pub columns: RelationSchema,
    /// Positions in `columns.value` that are decoded, ascending; the node's value columns begin with these.
    pub used: Vec<usize>,
    /// Pseudo columns appended after the used ones.
    pub pseudo: Vec<PseudoColumn>,
    /// How keys are written.
    pub key_format: SerdeSpec,
    /// How values are written.
    pub value_format: SerdeSpec,
    /// The event time: the record's own, or a column's.
    pub timestamp: TimestampFrom,
    /// The windows in the keys; `columns` does not list their bounds.
    pub window: Option<WindowInfo>,
    /// For a table: the store that keeps its rows (an update needs its old row). Its rows are the node's value columns.
    pub store: Option<StoreId>,
    /// The rows before the newest ones, for look-ups at a time.
    pub history: Option<History>,
}

/// Columns that come from the record's surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PseudoColumn {
    /// `ROWPARTITION`, INTEGER.
    Partition,
    /// `ROWOFFSET`, BIGINT.
    Offset,
    /// All headers: see [`HeaderColumn`].
    Headers,
    /// The last header of this name: see [`HeaderColumn`].
    Header(Arc<str>),
}

/// Where a record's event time comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TimestampFrom {
    /// The Kafka record's timestamp.
    Record,
    /// A BIGINT or TIMESTAMP column, by its position in [`Source::columns`] value columns; a record where it is NULL or negative is bad input.
    Column(usize),
    /// A STRING column parsed by a `TIMESTAMP_FORMAT` pattern: what computes it from the text, which stands in value column 0.
    Parsed(usize, Box<Expr>),
    /// As [`Self::Column`], of the key. A record without a value keeps its own time.
    Key(usize),
    /// As [`Self::Parsed`], of the key.
    ParsedKey(usize, Box<Expr>),
}

/// Re-keying on the way to a topic of the user's.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectKey {
    /// The new key's columns, over the input row.
    pub key: Vec<Expr>,
    /// The new value columns, over the input row.
    pub value: Vec<Expr>,
}

/// Re-keying through an internal topic `<app>.<topology>.<name>.repartition`.
#[derive(Clone, Debug, PartialEq)]
pub struct Repartition {
    /// The stable name: that of the derived relation, with a suffix where one relation needs several.
    pub name: Arc<str>,
    /// The new key's columns, over the input row.
    pub key: Vec<Expr>,
    /// The value columns to carry: what is used behind it.
    pub value: Vec<Expr>,
    /// `PARTITIONS` of the statement. `None`: that of the external topics that the sub-topology behind it reads, or else of its upstream.
    pub partitions: Option<i32>,
}

/// GROUP BY and aggregates. The node gives out the results, one value column a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The calls; their states stand side by side in the store's row.
    pub calls: Vec<AggregateCall>,
    /// The input is a table: changes are undone and redone, and a group without rows is deleted.
    pub of_table: bool,
    /// The state. For `of_table` the row begins with the number of rows of the group (BIGINT).
    pub store: StoreId,
    /// Where calls that keep elements keep them: a row an element, keyed by the group, the number of the call and what the call orders them by.
    pub elements: Option<StoreId>,
    /// A group whose last row is gone stays, with the results of no rows, as ksqlDB has it.
    pub keep_empty: bool,
}

impl Aggregate {
    /// The stores that the results are computed from: that of the state, and that of the elements where calls read them.
    pub fn read_stores(&self) -> impl Iterator<Item = StoreId> {
        let read = self.calls.iter().any(AggregateCall::reads_elements);
        [self.store].into_iter().chain(self.elements.filter(|_| read))
    }
}

/// How the current row of a table's key is computed from stores, for joins (through the buffer) and for views (over a
/// committed snapshot). Tables that need no store of their own are computed from their inputs'.
#[derive(Clone, Debug, PartialEq)]
pub enum TablePlan {
    /// The store's row is the table's row.
    Store(StoreId),
    /// The store's row is aggregate state; the table's row is the results. See [`Aggregate`].
    Aggregate(Aggregate),
    /// Rows whose predicate is TRUE.
    Filter(Box<TablePlan>, Expr),
    /// Other value columns.
    Project(Box<TablePlan>, Vec<Expr>),
    /// A join by key.
    Join(Box<TablePlan>, Box<TablePlan>, JoinKind, usize, usize),
}

/// Writes a relation's topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Sink {
    /// The relation's SQL name.
    pub relation: Arc<str>,
    /// The topic's name.
    pub topic: Arc<str>,
    /// How keys are written.
    pub key_format: SerdeSpec,
    /// How values are written.
    pub value_format: SerdeSpec,
    /// The windows in the keys.
    pub window: Option<WindowInfo>,
    /// The records' timestamps: those of their changes, or a column's.
    pub timestamp: TimestampFrom,
}

/// A connected part of the plan.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SubTopology {
    /// Its index.
    pub id: SubId,
    /// Its nodes, inputs before users.
    pub nodes: Vec<NodeId>,
    /// Its sources among them: their topics are co-partitioned.
    pub sources: Vec<NodeId>,
    /// Its stores.
    pub stores: Vec<StoreId>,
    /// How the partition of a key is found here, for records that a repartition sends here and for point reads of views: murmur2 of
    /// the key's bytes. `Some`: as in the topic of this relation, serialized by its key format (then records re-keyed for a join meet
    /// those of the topic). `None`: only repartition topics are read, the bytes are [`crate::types::encode_key`]'s.
    pub partitioned_like: Option<Arc<str>>,
}

impl Topology {
    /// The stream or table of this name.
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        self.relations.iter().find(|r| &*r.name == name)
    }

    /// The view of this name.
    pub fn view(&self, name: &str) -> Option<&View> {
        self.views.iter().find(|v| &*v.name == name)
    }

    /// The source that reads what a repartition node writes.
    pub fn source_of_repartition(&self, repartition: NodeId) -> Option<NodeId> {
        let reads = |n: &&Node| matches!(&n.op, Op::Source(s) if s.topic == SourceTopic::Repartition(repartition));
        self.nodes.iter().find(reads).map(|n| n.id)
    }
}

/// A store and its changelog topic `<app>.<topology>.<name>.changelog`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSpec {
    /// Its index and key prefix.
    pub id: StoreId,
    /// The stable name, from SQL names: `RATINGS_BY_MOVIE`.
    pub name: Arc<str>,
    /// Types of the key's columns.
    pub key: Vec<crate::types::SqlType>,
    /// Types of the row's columns: a table's columns, or an aggregation's state.
    pub value: Vec<crate::types::SqlType>,
    /// The sub-topology whose tasks own it.
    pub sub: SubId,
}

/// A table that readers can query by its SQL name.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The SQL name.
    pub name: Arc<str>,
    /// Its columns.
    pub schema: RelationSchema,
    /// How its rows are computed from a snapshot of the task's stores.
    pub plan: TablePlan,
    /// The sub-topology whose tasks hold its rows; a row is at the task of its key's partition.
    pub sub: SubId,
}

impl TablePlan {
    /// All stores that its rows are computed from: beside [`Self::stores`], whose keys are the table's, those of elements.
    pub fn all_stores(&self) -> Vec<StoreId> {
        match self {
            Self::Store(id) => vec![*id],
            Self::Aggregate(aggregate) => aggregate.read_stores().collect(),
            Self::Filter(input, _) | Self::Project(input, _) => input.all_stores(),
            Self::Join(left, right, ..) => [left.all_stores(), right.all_stores()].concat(),
        }
    }

    /// The stores it reads, first the one whose keys a scan walks.
    pub fn stores(&self) -> Vec<StoreId> {
        match self {
            Self::Store(id) => vec![*id],
            Self::Aggregate(aggregate) => vec![aggregate.store],
            Self::Filter(input, _) | Self::Project(input, _) => input.stores(),
            Self::Join(left, right, ..) => [left.stores(), right.stores()].concat(),
        }
    }
}
