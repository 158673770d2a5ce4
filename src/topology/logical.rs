//! Operators as the builder holds them: with all their columns, before anything is left out or wired.

use std::sync::Arc;

use super::{JoinKind, JoinWindow, PseudoColumn, Relation, TimestampFrom, WindowSpec};
use crate::expr::{AggregateCall, Expr, TableCall};
use crate::types::{Column, RelationKind, RelationSchema, SqlType};

/// Names and types of the pseudo columns that every source offers after its own.
pub const PSEUDO_COLUMNS: [(PseudoColumn, &str, SqlType); 2] = [
    (PseudoColumn::Partition, "ROWPARTITION", SqlType::Integer),
    (PseudoColumn::Offset, "ROWOFFSET", SqlType::Bigint),
];

/// What a source of a relation offers behind its value columns: columns of headers, then [`PSEUDO_COLUMNS`].
pub(super) fn surroundings(relation: &Relation) -> Vec<(PseudoColumn, Column)> {
    let headers = relation.headers.iter().map(|column| {
        let from = column
            .header
            .clone()
            .map_or(PseudoColumn::Headers, PseudoColumn::Header);
        (from, Column::new(column.name.clone(), column.sql_type()))
    });
    let pseudo = PSEUDO_COLUMNS
        .into_iter()
        .map(|(from, name, t)| (from, Column::new(name, t)));
    headers.chain(pseudo).collect()
}

/// An operator with all its columns.
#[derive(Clone, Debug)]
pub(super) enum Logical {
    Source {
        relation: usize,
        timestamp: TimestampFrom,
        store: Option<Arc<str>>,
        /// How long rows that were replaced are kept.
        history_ms: Option<i64>,
        /// Every process holds it whole: it is only looked up.
        global: bool,
    },
    Filter(Expr),
    Project(Vec<Expr>),
    FlatMap(Vec<TableCall>),
    Rank,
    Repartition {
        name: Arc<str>,
        relation: Arc<str>,
        key: Vec<Expr>,
        value: Vec<Expr>,
        partitions: Option<i32>,
        /// Of a table whose rows are kept where they arrive.
        store: Option<Arc<str>>,
    },
    Aggregate {
        calls: Vec<AggregateCall>,
        store: Arc<str>,
        window: Option<LogicalWindow>,
    },
    StreamTableJoin {
        kind: JoinKind,
        /// When the table is looked up, over the left columns.
        as_of: Option<Expr>,
    },
    GlobalJoin {
        kind: JoinKind,
        /// The right table's key, over the left columns.
        key: Vec<Expr>,
        /// The name of the store of a left table's results.
        results: Arc<str>,
    },
    TableTableJoin(JoinKind),
    StreamStreamJoin {
        kind: JoinKind,
        window: JoinWindow,
        residual: Option<Expr>,
        /// The stem of its stores' names.
        stores: Arc<str>,
    },
    ForeignKeyJoin {
        kind: JoinKind,
        foreign_key: Vec<Expr>,
        /// The stem of the names of its stores and topics.
        stores: Arc<str>,
    },
    Sink {
        relation: usize,
        timestamp: TimestampFrom,
    },
}

/// A WINDOW clause, and whether results wait until their window closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogicalWindow {
    pub spec: WindowSpec,
    pub emit_final: bool,
}

#[derive(Clone, Debug)]
pub(super) struct LogicalNode {
    pub name: Arc<str>,
    pub op: Logical,
    pub inputs: Vec<usize>,
    pub kind: RelationKind,
    /// Of a source: all columns of the relation, then [`PSEUDO_COLUMNS`].
    pub schema: RelationSchema,
}
