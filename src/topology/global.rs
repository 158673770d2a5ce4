//! Global tables, as data: tables that every process holds whole, so that a record may be joined with them by any key.

use std::sync::Arc;

use super::{JoinKind, Source, SourceTopic, StoreId, TablePlan, Topology};
use crate::expr::Expr;
use crate::types::RelationSchema;

/// A table of which every process reads all partitions. It belongs to no sub-topology: no task owns it, and no group has offsets of it.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalTable {
    /// What is read and how; it has no store of a task.
    pub source: Source,
    /// The columns of its rows.
    pub schema: RelationSchema,
}

/// Looks each left row up in a global table by a key computed from it. Changes of the global table make no results.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalJoin {
    /// Inner or left.
    pub kind: JoinKind,
    /// How the global table's row of a key is found; its stores are indices of [`super::Topology::globals`].
    pub right: TablePlan,
    /// How many columns that row has.
    pub right_width: usize,
    /// The global table's key, over the left row.
    pub key: Vec<Expr>,
    /// Of a left table: the joined rows as they were given out, since the global table may have changed when one is taken back.
    pub results: Option<StoreId>,
}

impl GlobalJoin {
    /// The global table's index in [`super::Topology::globals`].
    pub fn table(&self) -> usize {
        self.right.stores().first().copied().map_or(0, usize::from)
    }
}

impl Topology {
    /// The topic of each global table, in their order.
    pub fn global_topics(&self) -> Vec<Arc<str>> {
        let topic = |global: &GlobalTable| {
            let name = match &global.source.topic {
                SourceTopic::External(name) => name,
                SourceTopic::Repartition(_) => &global.source.relation,
            };
            let relation = self.relation(name);
            relation.map_or_else(|| name.clone(), |relation| relation.topic.name.clone())
        };
        self.globals.iter().map(topic).collect()
    }
}
