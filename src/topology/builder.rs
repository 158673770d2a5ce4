//! Builds a [`super::Topology`]: describe relations and operators with all their columns, and [`Builder::build`] leaves out what nobody reads, wires
//! repartition topics, numbers stores and finds the sub-topologies. SQL lowers through it; so can Rust code.
//!
//! A node's inputs are made before it, so ids only grow along the edges. Expressions are over the columns of a node's input, all of them;
//! the builder translates positions when it drops columns.
//!
//! What is kept: of a stream the columns that some operator or sink reads; of a table all declared columns, since every table is a view that
//! people query, and the layout of its store must not change when another query is edited.

use std::sync::Arc;

use super::logical::{Logical, LogicalNode, LogicalWindow, surroundings};
use super::{JoinKind, JoinWindow, Relation, TimestampFrom, WindowSpec};
use crate::expr::{AggregateCall, Expr, TableCall};
use crate::types::{Column, RelationKind, RelationSchema, WindowInfo, window_columns};

/// A node under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRef(pub(super) usize);

/// A relation under construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationRef(pub(super) usize);

/// What becomes of a group of a table when its last row is gone: 'delete' (the default) deletes it downstream, 'keep' leaves it with the results of
/// no rows (a count of 0), as ksqlDB does.
pub const EMPTY_GROUPS: &str = "millstream.empty.groups";

/// Which join of which relation: what its node, stores and topics are called after.
#[derive(Clone, Copy, Debug)]
pub struct JoinStep<'a> {
    /// The relation that is being made.
    pub relation: &'a str,
    /// `join`, `join2` and so on.
    pub step: &'a str,
}

/// Where the user chooses between SQL's way and ksqlDB's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Semantics {
    /// An expression that fails gives NULL and is counted, rather than making its record bad.
    pub null_on_error: bool,
    /// A comparison with NULL is FALSE rather than NULL.
    pub false_for_null: bool,
    /// Integers wrap around rather than fail.
    pub wrapping: bool,
}

/// Collects relations, operators and views.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) name: Arc<str>,
    pub(super) relations: Vec<Relation>,
    pub(super) nodes: Vec<LogicalNode>,
    pub(super) views: Vec<(usize, usize)>,
    pub(super) properties: Vec<(String, String)>,
    semantics: Semantics,
    pub(super) inserts: Vec<super::Insert>,
    pub(super) asserts: Vec<super::Assert>,
}

impl Builder {
    /// An empty topology of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            relations: Vec::new(),
            nodes: Vec::new(),
            views: Vec::new(),
            properties: Vec::new(),
            semantics: Semantics::default(),
            inserts: Vec::new(),
            asserts: Vec::new(),
        }
    }

    /// How expressions of the operators added from here on behave.
    pub fn semantics(&mut self, semantics: Semantics) {
        self.semantics = semantics;
    }

    pub(super) fn guarded(&self, expr: Expr) -> Expr {
        let expr = if self.semantics.wrapping {
            expr.with_wrapping()
        } else {
            expr
        };
        let expr = if self.semantics.false_for_null {
            expr.with_false_for_null()
        } else {
            expr
        };
        if self.semantics.null_on_error {
            expr.or_null()
        } else {
            expr
        }
    }

    pub(super) fn all_guarded(&self, exprs: Vec<Expr>) -> Vec<Expr> {
        exprs.into_iter().map(|expr| self.guarded(expr)).collect()
    }

    /// A record to write once, at the first deployment.
    pub fn insert(&mut self, insert: super::Insert) {
        self.inserts.push(insert);
    }

    /// Something that must hold before a deployment.
    pub fn assert(&mut self, assert: super::Assert) {
        self.asserts.push(assert);
    }

    /// `SET` properties of the file.
    pub fn properties(&mut self, properties: Vec<(String, String)>) {
        self.properties = properties;
    }

    /// Adds a stream or table.
    pub fn relation(&mut self, relation: Relation) -> RelationRef {
        self.relations.push(relation);
        RelationRef(self.relations.len() - 1)
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node yet.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Forgets the nodes after the first `nodes`; no view may stand on them.
    pub fn truncate(&mut self, nodes: usize) {
        debug_assert!(self.views.iter().all(|(_, node)| *node < nodes));
        self.nodes.truncate(nodes);
    }

    /// A relation as added.
    pub fn relation_of(&self, relation: RelationRef) -> &Relation {
        &self.relations[relation.0]
    }

    /// The columns that a node gives out; of a source also its pseudo columns.
    pub fn schema(&self, node: NodeRef) -> &RelationSchema {
        &self.nodes[node.0].schema
    }

    /// Whether a node gives out records or changes of rows.
    pub fn kind(&self, node: NodeRef) -> RelationKind {
        self.nodes[node.0].kind
    }

    pub(super) fn push(
        &mut self,
        name: String,
        op: Logical,
        inputs: &[NodeRef],
        kind: RelationKind,
        schema: RelationSchema,
    ) -> NodeRef {
        self.nodes.push(LogicalNode {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|n| n.0).collect(),
            kind,
            schema,
        });
        NodeRef(self.nodes.len() - 1)
    }

    /// Reads a relation's topic. Call it once a relation: all its readers share the node, and a table's store. `store` names the store where
    /// it is not the relation's own name.
    pub fn source(&mut self, relation: RelationRef, timestamp: TimestampFrom, store: Option<Arc<str>>) -> NodeRef {
        let of = &self.relations[relation.0];
        let (name, kind, mut schema) = (of.name.clone(), of.kind, of.schema.clone());
        if of.window.is_some() {
            schema.key.extend(window_columns());
        }
        schema
            .value
            .extend(surroundings(of).into_iter().map(|(_, column)| column));
        let store = (kind == RelationKind::Table).then(|| store.unwrap_or_else(|| name.clone()));
        let op = Logical::Source {
            relation: relation.0,
            timestamp,
            store,
            history_ms: None,
            global: false,
        };
        self.push(format!("{name}/source"), op, &[], kind, schema)
    }

    /// Lets pass what satisfies a condition. `name` is that of the relation being made, as in all that follow.
    pub fn filter(&mut self, name: &str, input: NodeRef, condition: Expr) -> NodeRef {
        let (kind, schema) = (self.kind(input), self.schema(input).clone());
        let condition = self.guarded(condition);
        self.push(
            format!("{name}/filter"),
            Logical::Filter(condition),
            &[input],
            kind,
            schema,
        )
    }

    /// The same for HAVING, which comes after an aggregation.
    pub fn having(&mut self, name: &str, input: NodeRef, condition: Expr) -> NodeRef {
        let (kind, schema) = (self.kind(input), self.schema(input).clone());
        let condition = self.guarded(condition);
        self.push(
            format!("{name}/having"),
            Logical::Filter(condition),
            &[input],
            kind,
            schema,
        )
    }

    /// New value columns; the key stays, `schema` may rename it.
    pub fn project(
        &mut self,
        name: &str,
        step: &str,
        input: NodeRef,
        schema: RelationSchema,
        values: Vec<Expr>,
    ) -> NodeRef {
        let kind = self.kind(input);
        let values = self.all_guarded(values);
        self.push(
            format!("{name}/{step}"),
            Logical::Project(values),
            &[input],
            kind,
            schema,
        )
    }

    /// Table functions over a stream: the input's value columns, then one a call.
    pub fn flat_map(&mut self, name: &str, input: NodeRef, calls: Vec<TableCall>) -> NodeRef {
        let (kind, mut schema) = (self.kind(input), self.schema(input).clone());
        let columns = calls.iter().enumerate();
        let columns = columns.map(|(i, call)| Column::new(format!("KSQL_ROWS_{i}"), call.sql_type.clone()));
        schema.value.extend(columns);
        self.push(format!("{name}/rows"), Logical::FlatMap(calls), &[input], kind, schema)
    }

    /// A new key, through an internal topic called `topic`.
    pub fn repartition(
        &mut self,
        name: &str,
        topic: String,
        input: NodeRef,
        (schema, key, value): (RelationSchema, Vec<Expr>, Vec<Expr>),
        partitions: Option<i32>,
    ) -> NodeRef {
        let kind = self.kind(input);
        let (key, value) = (self.all_guarded(key), self.all_guarded(value));
        let op = Logical::Repartition {
            name: topic.clone().into(),
            relation: name.into(),
            key,
            value,
            partitions,
            store: None,
        };
        self.push(topic, op, &[input], kind, schema)
    }

    /// A table whose only column is an ARRAY of STRUCTs: a row for each of these, its place behind the key. `schema` is that of the rows. They go
    /// through an internal topic to the partitions of their keys, where a store of the relation's name keeps them.
    pub fn ranked(&mut self, name: &str, input: NodeRef, schema: RelationSchema, partitions: Option<i32>) -> NodeRef {
        let ranks = self.push(
            format!("{name}/rank"),
            Logical::Rank,
            &[input],
            RelationKind::Table,
            schema.clone(),
        );
        let topic = format!("{name}-rank");
        let op = Logical::Repartition {
            name: topic.clone().into(),
            relation: name.into(),
            key: (0..schema.key.len()).map(Expr::Key).collect(),
            value: (0..schema.value.len()).map(Expr::Value).collect(),
            partitions,
            store: Some(name.into()),
        };
        self.push(topic, op, &[ranks], RelationKind::Table, schema)
    }

    /// Groups by the input's key; one value column a call. `name` is the store's name, too.
    pub fn aggregate(&mut self, name: &str, input: NodeRef, calls: Vec<AggregateCall>) -> NodeRef {
        self.aggregate_in(name, input, calls, None)
    }

    /// Groups a stream's records by its key, apart for each window they are in. `emit_final`: results wait until their window closes.
    pub fn window_aggregate(
        &mut self,
        name: &str,
        input: NodeRef,
        calls: Vec<AggregateCall>,
        (spec, emit_final): (WindowSpec, bool),
    ) -> NodeRef {
        self.aggregate_in(name, input, calls, Some(LogicalWindow { spec, emit_final }))
    }

    fn aggregate_in(
        &mut self,
        name: &str,
        input: NodeRef,
        calls: Vec<AggregateCall>,
        window: Option<LogicalWindow>,
    ) -> NodeRef {
        let calls: Vec<AggregateCall> = calls
            .into_iter()
            .map(|call| AggregateCall {
                args: self.all_guarded(call.args.clone()),
                ..call
            })
            .collect();
        let results = calls.iter().enumerate();
        let value = results.map(|(i, call)| Column::new(format!("KSQL_AGG_{i}"), call.sql_type.clone()));
        let mut key = self.schema(input).key.clone();
        if window.is_some() {
            key.extend(window_columns());
        }
        let schema = RelationSchema {
            key,
            value: value.collect(),
        };
        let op = Logical::Aggregate {
            calls,
            store: name.into(),
            window,
        };
        self.push(format!("{name}/aggregate"), op, &[input], RelationKind::Table, schema)
    }

    /// Joins by key: a table on the right, a stream or table on the left. Left value columns, then right ones.
    pub fn join(&mut self, name: &str, step: &str, left: NodeRef, right: NodeRef, kind: JoinKind) -> NodeRef {
        let mut schema = self.schema(left).clone();
        schema.value.extend(self.schema(right).value.iter().cloned());
        let of = self.kind(left);
        let op = match of {
            RelationKind::Stream => Logical::StreamTableJoin { kind, as_of: None },
            RelationKind::Table => Logical::TableTableJoin(kind),
        };
        self.push(format!("{name}/{step}"), op, &[left, right], of, schema)
    }

    /// Joins two streams by key and time. Left value columns, then right ones; `residual` is over those.
    pub fn stream_stream_join(
        &mut self,
        at: JoinStep<'_>,
        (left, right): (NodeRef, NodeRef),
        kind: JoinKind,
        window: JoinWindow,
        residual: Option<Expr>,
    ) -> NodeRef {
        let mut schema = self.schema(left).clone();
        schema.value.extend(self.schema(right).value.iter().cloned());
        let op = Logical::StreamStreamJoin {
            kind,
            window,
            residual: residual.map(|condition| self.guarded(condition)),
            stores: format!("{}-{}", at.relation, at.step).into(),
        };
        let name = format!("{}/{}", at.relation, at.step);
        self.push(name, op, &[left, right], RelationKind::Stream, schema)
    }

    /// Joins two tables where columns of the left one are the right one's key. The key is the left one's; left value columns, then right ones.
    pub fn foreign_key_join(
        &mut self,
        at: JoinStep<'_>,
        (left, right): (NodeRef, NodeRef),
        kind: JoinKind,
        foreign_key: Vec<Expr>,
    ) -> NodeRef {
        let mut schema = self.schema(left).clone();
        schema.value.extend(self.schema(right).value.iter().cloned());
        let op = Logical::ForeignKeyJoin {
            kind,
            foreign_key: self.all_guarded(foreign_key),
            stores: format!("{}-{}", at.relation, at.step).into(),
        };
        let name = format!("{}/{}", at.relation, at.step);
        self.push(name, op, &[left, right], RelationKind::Table, schema)
    }

    /// Writes a relation's topic.
    pub fn sink(&mut self, name: &str, input: NodeRef, relation: RelationRef) -> NodeRef {
        self.sink_at(name, input, relation, TimestampFrom::Record)
    }

    /// The same with the records' timestamps from a column of the relation.
    pub fn sink_at(&mut self, name: &str, input: NodeRef, relation: RelationRef, timestamp: TimestampFrom) -> NodeRef {
        let (kind, schema) = (self.kind(input), self.schema(input).clone());
        let op = Logical::Sink {
            relation: relation.0,
            timestamp,
        };
        self.push(format!("{name}/sink"), op, &[input], kind, schema)
    }

    /// Lets readers query a table.
    pub fn view(&mut self, relation: RelationRef, node: NodeRef) {
        self.views.push((relation.0, node.0));
    }

    /// The windows in the keys of what a node gives out.
    pub fn window(&self, node: NodeRef) -> Option<WindowInfo> {
        let node = &self.nodes[node.0];
        match &node.op {
            Logical::Source { relation, .. } => self.relations[*relation].window,
            Logical::Aggregate { window, .. } => window.map(|window| window.spec.info()),
            Logical::Repartition { .. } => None,
            _ => node.inputs.first().and_then(|input| self.window(NodeRef(*input))),
        }
    }

    /// The external relation by whose key format the node's records are partitioned; `None` behind a repartition.
    pub fn partitioned_like(&self, node: NodeRef) -> Option<&Relation> {
        let node = &self.nodes[node.0];
        match &node.op {
            Logical::Source { relation, .. } => {
                let relation = &self.relations[*relation];
                (!relation.schema.key.is_empty()).then_some(relation)
            }
            Logical::Repartition { .. } => None,
            Logical::ForeignKeyJoin { .. } | Logical::GlobalJoin { .. } => {
                self.partitioned_like(NodeRef(node.inputs[0]))
            }
            _ => node.inputs.iter().find_map(|i| self.partitioned_like(NodeRef(*i))),
        }
    }

    /// Whether a group of a table stays when its last row is gone: the property [`EMPTY_GROUPS`].
    pub(super) fn keeps_empty_groups(&self) -> bool {
        self.properties
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case(EMPTY_GROUPS) && value.eq_ignore_ascii_case("keep"))
    }
}
