//! The builder's part for tables that are looked up: at a time in their history, or as a whole in every process.

use super::JoinKind;
use super::builder::{Builder, JoinStep, NodeRef};
use super::logical::Logical;
use crate::expr::Expr;

impl Builder {
    /// Makes a table's source keep the rows that were replaced for so long.
    pub fn keep_history(&mut self, source: NodeRef, retention_ms: i64) {
        if let Logical::Source { history_ms, .. } = &mut self.nodes[source.0].op {
            *history_ms = Some(retention_ms);
        }
    }

    /// Makes a table's source a global one: every process holds it whole, and it is only looked up.
    pub fn make_global(&mut self, source: NodeRef) {
        if let Logical::Source { global, store, .. } = &mut self.nodes[source.0].op {
            (*global, *store) = (true, None);
        }
    }

    /// Whether a node gives a global table's rows, at most chosen and named anew.
    pub fn is_global(&self, node: NodeRef) -> bool {
        let node = &self.nodes[node.0];
        match &node.op {
            Logical::Source { global, .. } => *global,
            Logical::Project(_) => self.is_global(NodeRef(node.inputs[0])),
            _ => false,
        }
    }

    /// Whether a table's rows of a past time can be found: all that they are computed from keeps its history.
    pub fn keeps_history(&self, node: NodeRef) -> bool {
        let node = &self.nodes[node.0];
        match &node.op {
            Logical::Source { history_ms, .. } => history_ms.is_some(),
            Logical::Filter(_) | Logical::Project(_) | Logical::TableTableJoin(_) => {
                node.inputs.iter().all(|input| self.keeps_history(NodeRef(*input)))
            }
            Logical::FlatMap(_)
            | Logical::Rank
            | Logical::Repartition { .. }
            | Logical::Aggregate { .. }
            | Logical::StreamTableJoin { .. }
            | Logical::GlobalJoin { .. }
            | Logical::StreamStreamJoin { .. }
            | Logical::ForeignKeyJoin { .. }
            | Logical::Sink { .. } => false,
        }
    }

    /// Joins a stream with a table by key, as the table was at a time of each record (BIGINT or TIMESTAMP, over the left columns); see [`Self::keeps_history`].
    pub fn temporal_join(
        &mut self,
        at: JoinStep<'_>,
        (left, right): (NodeRef, NodeRef),
        kind: JoinKind,
        time: Expr,
    ) -> NodeRef {
        let node = self.join(at.relation, at.step, left, right, kind);
        let time = self.guarded(time);
        if let Logical::StreamTableJoin { as_of, .. } = &mut self.nodes[node.0].op {
            *as_of = Some(time);
        }
        node
    }

    /// Looks up a global table by a key computed from the left columns. The key is the left one's; left value columns, then right ones.
    pub fn global_join(
        &mut self,
        at: JoinStep<'_>,
        (left, right): (NodeRef, NodeRef),
        kind: JoinKind,
        key: Vec<Expr>,
    ) -> NodeRef {
        let mut schema = self.schema(left).clone();
        schema.value.extend(self.schema(right).value.iter().cloned());
        let of = self.kind(left);
        let op = Logical::GlobalJoin {
            kind,
            key: self.all_guarded(key),
            results: format!("{}-{}", at.relation, at.step).into(),
        };
        self.push(format!("{}/{}", at.relation, at.step), op, &[left, right], of, schema)
    }
}
