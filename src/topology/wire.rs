//! Turns the builder's nodes, which have all columns, into the topology's, which have the needed ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::builder::Builder;
use super::logical::{Logical, LogicalNode, LogicalWindow};
use super::{
    Aggregate, AsOf, GlobalTable, JoinKind, Node, NodeId, Op, Repartition, SelectKey, Sink, Source, SourceTopic,
    StoreId, StoreSpec, StreamTableJoin, TablePlan, TableTableJoin, TimestampFrom, WindowAggregate,
};
use crate::expr::{AggregateCall, Expr, TableCall};
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType, WINDOW_COLUMNS};

/// Where a builder's node ended up: the topology's node, and the place of each column that was kept.
#[derive(Clone)]
pub(super) struct Placed {
    pub(super) node: NodeId,
    pub(super) columns: Vec<Option<usize>>,
}

pub(super) struct Wiring<'a> {
    pub(super) builder: &'a Builder,
    pub(super) needed: &'a [BTreeSet<usize>],
    /// Nodes that give the rows of a sink or view as they are.
    exact: BTreeSet<usize>,
    pub(super) placed: Vec<Placed>,
    pub(super) nodes: Vec<Node>,
    /// With the node whose sub-topology owns it.
    stores: Vec<(StoreSpec, NodeId)>,
    /// What gives rows of a global table, by the builder's node: no node of the plan, only looked up.
    pub(super) global_rows: BTreeMap<usize, (RelationSchema, TablePlan)>,
    pub(super) globals: Vec<GlobalTable>,
}

impl<'a> Wiring<'a> {
    pub fn new(builder: &'a Builder, needed: &'a [BTreeSet<usize>]) -> Self {
        let sinks = builder.nodes.iter().filter(|n| matches!(n.op, Logical::Sink { .. }));
        let exact = sinks
            .map(|n| n.inputs[0])
            .chain(builder.views.iter().map(|(_, node)| *node));
        Self {
            builder,
            needed,
            exact: exact.collect(),
            placed: Vec::with_capacity(builder.nodes.len()),
            nodes: Vec::new(),
            stores: Vec::new(),
            global_rows: BTreeMap::new(),
            globals: Vec::new(),
        }
    }

    pub fn node(&self, logical: usize) -> NodeId {
        self.placed[logical].node
    }

    pub fn finish(self) -> (Vec<Node>, Vec<(StoreSpec, NodeId)>, Vec<GlobalTable>) {
        (self.nodes, self.stores, self.globals)
    }

    /// Adds the node of this number; its inputs have been added.
    pub fn add(&mut self, id: usize) {
        let node = &self.builder.nodes[id];
        let placed = match &node.op {
            Logical::Source {
                relation,
                timestamp,
                store,
                history_ms,
                global: false,
            } => self.source(id, *relation, timestamp, (store.as_ref(), *history_ms)),
            Logical::Filter(condition) => {
                let input = self.placed[node.inputs[0]].clone();
                let condition = at(condition, &input.columns);
                let schema = self.nodes[input.node].schema.clone();
                let node = self.push(node, Op::Filter(condition), vec![input.node], schema);
                Placed {
                    node,
                    columns: input.columns,
                }
            }
            Logical::Source {
                relation, timestamp, ..
            } => self.global_source(id, *relation, timestamp),
            Logical::Project(values) if self.global_rows.contains_key(&node.inputs[0]) => {
                self.global_project(id, values, node.inputs[0])
            }
            Logical::Project(values) => self.project(id, values),
            Logical::FlatMap(calls) => self.flat_map(node, calls),
            Logical::Rank => {
                let input = self.placed[node.inputs[0]].node;
                Placed {
                    node: self.push(node, Op::Rank, vec![input], node.schema.clone()),
                    columns: (0..node.schema.value.len()).map(Some).collect(),
                }
            }
            Logical::Repartition {
                name,
                relation,
                key,
                value,
                partitions,
                store,
            } => self.repartition(id, (name, relation), (key, value), *partitions, store.as_ref()),
            Logical::Aggregate { calls, store, window } => self.aggregate(node, calls, store, *window),
            Logical::GlobalJoin { kind, key, results } => self.global_join(node, *kind, key, results),
            Logical::TableTableJoin(kind) => self.join(node, *kind, None),
            Logical::StreamTableJoin { kind, as_of } => self.join(node, *kind, as_of.as_ref()),
            Logical::StreamStreamJoin {
                kind,
                window,
                residual,
                stores,
            } => self.stream_stream_join(node, (*kind, *window), residual.as_ref(), stores),
            Logical::ForeignKeyJoin {
                kind,
                foreign_key,
                stores,
            } => self.foreign_key_join(node, *kind, foreign_key, stores),
            Logical::Sink { relation, timestamp } => {
                let relation = &self.builder.relations[*relation];
                let input = self.placed[node.inputs[0]].node;
                let sink = Sink {
                    relation: relation.name.clone(),
                    topic: relation.topic.name.clone(),
                    key_format: relation.key_format.clone(),
                    value_format: relation.value_format.clone(),
                    window: relation.window,
                    timestamp: timestamp.clone(),
                };
                let node = self.push(node, Op::Sink(sink), vec![input], relation.schema.clone());
                Placed {
                    node,
                    columns: Vec::new(),
                }
            }
        };
        self.placed.push(placed);
    }

    pub(super) fn push(&mut self, from: &LogicalNode, op: Op, inputs: Vec<NodeId>, schema: RelationSchema) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node {
            id,
            name: from.name.clone(),
            op,
            inputs,
            kind: from.kind,
            schema,
            sub: 0,
        });
        id
    }

    pub(super) fn store(&mut self, name: &Arc<str>, key: &[Column], value: Vec<SqlType>, owner: NodeId) -> StoreId {
        // a topology of 65,536 tables is refused long before by its file's size
        let id = StoreId::try_from(self.stores.len()).unwrap_or(StoreId::MAX);
        let spec = StoreSpec {
            id,
            name: name.clone(),
            key: key.iter().map(|c| c.sql_type.clone()).collect(),
            value,
            sub: 0,
        };
        self.stores.push((spec, owner));
        id
    }

    /// A projection that gives what comes in needs no node.
    fn project(&mut self, id: usize, values: &[Expr]) -> Placed {
        let node = &self.builder.nodes[id];
        let input = self.placed[node.inputs[0]].clone();
        let kept: Vec<usize> = self.needed[id].iter().copied().collect();
        let exprs: Vec<Expr> = kept.iter().map(|i| at(&values[*i], &input.columns)).collect();
        let columns = places(&kept, values.len());
        let width = self.nodes[input.node].schema.value.len();
        let same = exprs.len() == width && exprs.iter().enumerate().all(|(i, e)| *e == Expr::Value(i));
        if same || exprs.is_empty() {
            return Placed {
                node: input.node,
                columns,
            };
        }
        // behind a mere choice of columns the others find them where they are; only sinks and views need the very layout
        let chosen: Option<Vec<usize>> = exprs
            .iter()
            .map(|e| if let Expr::Value(i) = e { Some(*i) } else { None })
            .collect();
        if let (Some(chosen), false) = (chosen, self.exact.contains(&id)) {
            return Placed {
                node: input.node,
                columns: columns.into_iter().map(|c| c.map(|i| chosen[i])).collect(),
            };
        }
        let schema = RelationSchema {
            key: node.schema.key.clone(),
            value: kept.iter().map(|i| node.schema.value[*i].clone()).collect(),
        };
        let node = self.push(node, Op::Project(exprs), vec![input.node], schema);
        Placed { node, columns }
    }

    fn flat_map(&mut self, node: &LogicalNode, calls: &[TableCall]) -> Placed {
        let input = self.placed[node.inputs[0]].clone();
        let calls: Vec<TableCall> = calls
            .iter()
            .map(|call| TableCall {
                arg: at(&call.arg, &input.columns),
                ..call.clone()
            })
            .collect();
        let mut schema = self.nodes[input.node].schema.clone();
        let width = schema.value.len();
        let own = node.schema.value.len() - calls.len();
        schema.value.extend_from_slice(&node.schema.value[own..]);
        let made = (0..calls.len()).map(|i| Some(width + i));
        let columns = input.columns.iter().copied().chain(made).collect();
        let node = self.push(node, Op::FlatMap(calls), vec![input.node], schema);
        Placed { node, columns }
    }

    fn repartition(
        &mut self,
        id: usize,
        (name, relation): (&Arc<str>, &Arc<str>),
        (key, value): (&[Expr], &[Expr]),
        partitions: Option<i32>,
        store: Option<&Arc<str>>,
    ) -> Placed {
        let node = &self.builder.nodes[id];
        let input = self.placed[node.inputs[0]].clone();
        let kept: Vec<usize> = self.needed[id].iter().copied().collect();
        let schema = RelationSchema {
            key: node.schema.key.clone(),
            value: kept.iter().map(|i| node.schema.value[*i].clone()).collect(),
        };
        let key: Vec<Expr> = key.iter().map(|e| at(e, &input.columns)).collect();
        let carried: Vec<Expr> = kept.iter().map(|i| at(&value[*i], &input.columns)).collect();
        let columns = places(&kept, value.len());
        if node.kind == RelationKind::Stream && self.only_written(id) {
            let select = SelectKey { key, value: carried };
            let renamed = LogicalNode {
                name: format!("{relation}/key").into(),
                ..node.clone()
            };
            let node = self.push(&renamed, Op::SelectKey(select), vec![input.node], schema);
            return Placed { node, columns };
        }
        let repartition = Repartition {
            name: name.clone(),
            key,
            value: carried,
            partitions,
        };
        let writer = self.push(node, Op::Repartition(repartition), vec![input.node], schema.clone());
        let store = store.map(|name| self.store(name, &schema.key, schema.value_types(), self.nodes.len()));
        let source = Source {
            topic: SourceTopic::Repartition(writer),
            relation: relation.clone(),
            columns: schema.clone(),
            used: (0..kept.len()).collect(),
            pseudo: Vec::new(),
            key_format: SerdeSpec::key(Format::Internal),
            value_format: SerdeSpec::value(Format::Internal),
            timestamp: TimestampFrom::Record,
            window: None,
            store,
            history: None,
        };
        let reader = LogicalNode {
            name: format!("{name}/source").into(),
            ..node.clone()
        };
        let node = self.push(&reader, Op::Source(source), Vec::new(), schema);
        Placed { node, columns }
    }

    /// Whether a node's records go to sinks and nowhere else, at most chosen and named anew on the way.
    fn only_written(&self, id: usize) -> bool {
        let mut users = self
            .builder
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| n.inputs.contains(&id))
            .peekable();
        users.peek().is_some()
            && users.all(|(user, node)| match node.op {
                Logical::Sink { .. } => true,
                Logical::Project(_) => self.only_written(user),
                _ => false,
            })
    }

    fn aggregate(
        &mut self,
        node: &LogicalNode,
        calls: &[AggregateCall],
        store: &Arc<str>,
        window: Option<LogicalWindow>,
    ) -> Placed {
        let input = self.placed[node.inputs[0]].clone();
        let of_table = self.nodes[input.node].kind == RelationKind::Table;
        let calls: Vec<AggregateCall> = calls
            .iter()
            .map(|call| call.map_exprs(&mut |e, _| at(e, &input.columns)).over(of_table))
            .collect();
        let rows = of_table.then_some(SqlType::Bigint);
        let state = rows
            .into_iter()
            .chain(calls.iter().flat_map(AggregateCall::state_types))
            .collect();
        let owner = self.nodes.len();
        let id = self.store(store, &node.schema.key, state, owner);
        let elements = calls.iter().any(AggregateCall::keeps_elements).then(|| {
            let mut key = node.schema.key.clone();
            key.push(Column::new("KSQL_CALL", SqlType::Integer));
            let name = format!("{store}-elements").into();
            self.store(&name, &key, vec![SqlType::Bigint], owner)
        });
        let aggregate = Aggregate {
            store: id,
            elements,
            keep_empty: of_table && self.builder.keeps_empty_groups(),
            of_table,
            calls,
        };
        let columns = (0..node.schema.value.len()).map(Some).collect();
        let op = match window {
            None => Op::Aggregate(aggregate),
            Some(window) => Op::WindowAggregate(self.windows(node, aggregate, store, window)),
        };
        let node = self.push(node, op, vec![input.node], node.schema.clone());
        Placed { node, columns }
    }

    /// The stores that an aggregation has for its windows' sake.
    fn windows(
        &mut self,
        node: &LogicalNode,
        aggregate: Aggregate,
        name: &Arc<str>,
        LogicalWindow { spec, emit_final }: LogicalWindow,
    ) -> WindowAggregate {
        let owner = self.nodes.len();
        let bigint = |name: &str| Column::new(name, SqlType::Bigint);
        let key = &node.schema.key;
        let (groups, bounds) = key.split_at(key.len() - WINDOW_COLUMNS.len());
        let by_end: Vec<Column> = [&bounds[1..], groups, &bounds[..1]].concat();
        let state = self.stores[usize::from(aggregate.store)].0.value.clone();
        let time_key = [Column::new("ROW", SqlType::Integer)];
        let times = ["STREAM_TIME", "NEXT_CLOSE", "NEXT_EXPIRY"].map(|name| bigint(name).sql_type);
        WindowAggregate {
            time: self.store(&format!("{name}-time").into(), &time_key, times.to_vec(), owner),
            ends: self.store(&format!("{name}-ends").into(), &by_end, Vec::new(), owner),
            open: emit_final.then(|| self.store(&format!("{name}-open").into(), key, state, owner)),
            aggregate,
            spec,
        }
    }

    fn join(&mut self, node: &LogicalNode, kind: JoinKind, as_of: Option<&Expr>) -> Placed {
        let (left, right) = (self.placed[node.inputs[0]].clone(), self.placed[node.inputs[1]].clone());
        let mut schema = self.nodes[left.node].schema.clone();
        let offset = schema.value.len();
        schema.value.extend(self.nodes[right.node].schema.value.iter().cloned());
        let right_plan = self.table_plan(right.node);
        let op = match node.kind {
            RelationKind::Stream => Op::StreamTableJoin(StreamTableJoin {
                kind,
                as_of: as_of.map(|time| AsOf {
                    time: at(time, &left.columns),
                    histories: self.histories(&right_plan),
                }),
                right: right_plan,
            }),
            RelationKind::Table => Op::TableTableJoin(TableTableJoin {
                kind,
                left: self.table_plan(left.node),
                right: right_plan,
            }),
        };
        let moved = right.columns.iter().map(|c| c.map(|i| i + offset));
        let columns = left.columns.iter().copied().chain(moved).collect();
        let node = self.push(node, op, vec![left.node, right.node], schema);
        Placed { node, columns }
    }

    /// How a view of this many columns is computed; a source may have pseudo columns behind its own.
    pub fn view_plan(&self, node: NodeId, width: usize) -> TablePlan {
        let plan = self.table_plan(node);
        if self.nodes[node].schema.value.len() == width {
            return plan;
        }
        TablePlan::Project(plan.into(), (0..width).map(Expr::Value).collect())
    }

    /// How the table that a node gives out is computed from stores.
    pub fn table_plan(&self, node: NodeId) -> TablePlan {
        let node = &self.nodes[node];
        match &node.op {
            Op::Source(source) => TablePlan::Store(source.store.unwrap_or_default()),
            Op::Filter(condition) => TablePlan::Filter(self.table_plan(node.inputs[0]).into(), condition.clone()),
            Op::Project(values) => TablePlan::Project(self.table_plan(node.inputs[0]).into(), values.clone()),
            Op::Aggregate(aggregate) | Op::WindowAggregate(WindowAggregate { aggregate, .. }) => {
                TablePlan::Aggregate(aggregate.clone())
            }
            Op::TableTableJoin(join) => TablePlan::Join(
                join.left.clone().into(),
                join.right.clone().into(),
                join.kind,
                self.nodes[node.inputs[0]].schema.value.len(),
                self.nodes[node.inputs[1]].schema.value.len(),
            ),
            Op::ForeignKeyJoin(join) => TablePlan::Store(join.results),
            Op::GlobalJoin(join) => TablePlan::Store(join.results.unwrap_or_default()),
            // a re-keyed table without a store is only ever aggregated, ranks are re-keyed, and streams have no rows
            Op::Repartition(_)
            | Op::Rank
            | Op::FlatMap(_)
            | Op::SelectKey(_)
            | Op::StreamTableJoin(_)
            | Op::StreamStreamJoin(_)
            | Op::ForeignKeySubscribe(_)
            | Op::ForeignKeyAnswer(_)
            | Op::Sink(_) => self.table_plan(node.inputs[0]),
        }
    }
}

/// The expression over the columns that were kept.
pub(super) fn at(expr: &Expr, columns: &[Option<usize>]) -> Expr {
    let mut expr = expr.clone();
    expr.map_values(&mut |i| match columns.get(i).copied().flatten() {
        Some(place) => Expr::Value(place),
        // pruning keeps every column that is read
        None => Expr::Literal(crate::types::Value::Null),
    });
    expr
}

/// The place of each column among the kept ones.
pub(super) fn places(kept: &[usize], width: usize) -> Vec<Option<usize>> {
    let mut columns = vec![None; width];
    for (place, i) in kept.iter().enumerate() {
        columns[*i] = Some(place);
    }
    columns
}
