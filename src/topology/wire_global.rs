//! Global tables and the joins with them. What gives a global table's rows is no node of a sub-topology: it is only looked up, so its plan is part of
//! the joins.

use std::sync::Arc;

use super::logical::LogicalNode;
use super::wire::{Placed, Wiring, at, places};
use super::{GlobalJoin, GlobalTable, JoinKind, NodeId, Op, StoreId, TablePlan, TimestampFrom};
use crate::expr::Expr;
use crate::types::RelationKind;

/// Stands for the node of what is none.
const NO_NODE: NodeId = NodeId::MAX;

impl Wiring<'_> {
    pub(super) fn global_source(&mut self, id: usize, relation: usize, timestamp: &TimestampFrom) -> Placed {
        let (source, schema, columns) = self.reading(id, relation, timestamp);
        // there are fewer than relations, whose number the size of a file bounds
        let table = StoreId::try_from(self.globals.len()).unwrap_or(StoreId::MAX);
        self.global_rows.insert(id, (schema.clone(), TablePlan::Store(table)));
        self.globals.push(GlobalTable { source, schema });
        Placed { node: NO_NODE, columns }
    }

    pub(super) fn global_project(&mut self, id: usize, values: &[Expr], input: usize) -> Placed {
        let Some((schema, plan)) = self.global_rows.get(&input).cloned() else {
            return self.placed[input].clone();
        };
        let columns = &self.placed[input].columns;
        let kept = self.kept(id);
        let exprs: Vec<Expr> = kept.iter().map(|i| at(&values[*i], columns)).collect();
        let described = self.described(id);
        let mut chosen = schema;
        chosen.key = described.key.clone();
        chosen.value = kept.iter().map(|i| described.value[*i].clone()).collect();
        let columns = places(&kept, values.len());
        self.global_rows
            .insert(id, (chosen, TablePlan::Project(plan.into(), exprs)));
        Placed { node: NO_NODE, columns }
    }

    pub(super) fn global_join(
        &mut self,
        node: &LogicalNode,
        kind: JoinKind,
        key: &[Expr],
        results: &Arc<str>,
    ) -> Placed {
        let left = self.placed[node.inputs[0]].clone();
        let right = self.placed[node.inputs[1]].columns.clone();
        let mut schema = self.nodes[left.node].schema.clone();
        let offset = schema.value.len();
        let found = self.global_rows.get(&node.inputs[1]).cloned();
        let (of_right, plan) = found.unwrap_or_else(|| (Default::default(), TablePlan::Store(0)));
        let right_width = of_right.value.len();
        schema.value.extend(of_right.value);
        let moved = right.iter().map(|c| c.map(|i| i + offset));
        let columns: Vec<Option<usize>> = left.columns.iter().copied().chain(moved).collect();
        let owner = self.nodes.len();
        let results =
            (node.kind == RelationKind::Table).then(|| self.store(results, &schema.key, schema.value_types(), owner));
        let join = GlobalJoin {
            kind,
            right: plan,
            right_width,
            key: key.iter().map(|e| at(e, &left.columns)).collect(),
            results,
        };
        let node = self.push(node, Op::GlobalJoin(join), vec![left.node], schema);
        Placed { node, columns }
    }
}
