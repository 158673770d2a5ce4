//! Which columns of each node somebody reads, from the users back to the sources.

use std::collections::BTreeSet;

use super::TimestampFrom;
use super::builder::Builder;
use super::logical::{Logical, LogicalNode};
use crate::expr::{AggregateCall, Expr};
use crate::types::RelationKind;

/// For each node the positions of its value columns that are read.
pub(super) fn needed_columns(builder: &Builder) -> Vec<BTreeSet<usize>> {
    let mut needed = vec![BTreeSet::new(); builder.nodes.len()];
    for (_, node) in &builder.views {
        let own = builder.nodes[*node].schema.value.len();
        needed[*node].extend(0..own.min(view_width(builder, *node)));
    }
    for id in (0..builder.nodes.len()).rev() {
        let node = &builder.nodes[id];
        let own: Vec<usize> = needed[id].iter().copied().collect();
        match &node.op {
            Logical::Source {
                relation, timestamp, ..
            } => {
                if node.kind == RelationKind::Table {
                    needed[id].extend(0..builder.relations[*relation].schema.value.len());
                }
                if let TimestampFrom::Column(i) | TimestampFrom::Parsed(i, _) = timestamp {
                    needed[id].insert(*i);
                }
            }
            Logical::Filter(condition) => {
                let input = &mut needed[node.inputs[0]];
                input.extend(own);
                input.extend(condition.value_columns());
            }
            Logical::Project(values) => read(&mut needed[node.inputs[0]], own.iter().map(|i| &values[*i])),
            // also of a call whose values nobody reads: it says how many rows there are
            Logical::FlatMap(calls) => {
                let input = &mut needed[node.inputs[0]];
                let width = builder.nodes[node.inputs[0]].schema.value.len();
                input.extend(own.into_iter().filter(|i| *i < width));
                read(input, calls.iter().map(|call| &call.arg));
            }
            Logical::Rank => {
                needed[node.inputs[0]].insert(0);
            }
            Logical::Repartition { key, value, .. } => {
                read(
                    &mut needed[node.inputs[0]],
                    key.iter().chain(own.iter().map(|i| &value[*i])),
                );
            }
            Logical::Aggregate { calls, .. } => {
                read(&mut needed[node.inputs[0]], calls.iter().flat_map(AggregateCall::exprs));
            }
            Logical::TableTableJoin(_) => both_sides(builder, node, own, &mut needed),
            Logical::GlobalJoin { key, .. } => {
                both_sides(builder, node, own, &mut needed);
                read(&mut needed[node.inputs[0]], key.iter());
            }
            Logical::StreamTableJoin { as_of, .. } => {
                both_sides(builder, node, own, &mut needed);
                read(&mut needed[node.inputs[0]], as_of.iter());
            }
            Logical::StreamStreamJoin { residual, .. } => {
                let read = residual.iter().flat_map(Expr::value_columns);
                both_sides(builder, node, own.into_iter().chain(read), &mut needed);
            }
            Logical::ForeignKeyJoin { foreign_key, .. } => {
                both_sides(builder, node, own, &mut needed);
                read(&mut needed[node.inputs[0]], foreign_key.iter());
            }
            Logical::Sink { relation, .. } => {
                needed[node.inputs[0]].extend(0..builder.relations[*relation].schema.value.len());
            }
        }
    }
    needed
}

/// Columns of a joined row, as columns of the sides.
fn both_sides(
    builder: &Builder,
    node: &LogicalNode,
    columns: impl IntoIterator<Item = usize>,
    needed: &mut [BTreeSet<usize>],
) {
    let left = builder.nodes[node.inputs[0]].schema.value.len();
    for i in columns {
        if i < left {
            needed[node.inputs[0]].insert(i);
        } else {
            needed[node.inputs[1]].insert(i - left);
        }
    }
}

/// How many value columns a view of the node shows: of a source not its pseudo columns.
fn view_width(builder: &Builder, node: usize) -> usize {
    match &builder.nodes[node].op {
        Logical::Source { relation, .. } => builder.relations[*relation].schema.value.len(),
        _ => usize::MAX,
    }
}

fn read<'a>(input: &mut BTreeSet<usize>, exprs: impl Iterator<Item = &'a Expr>) {
    for expr in exprs {
        input.extend(expr.value_columns());
    }
}
