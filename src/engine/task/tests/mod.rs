//! Topologies built by hand, records in our own codec, and tests of each operator in a running task.

mod aggregates;
mod cost;
mod fan_out;
mod globals;
mod history;
mod join_oracle;
mod joins;
mod operators;
mod oracle;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::golden::{LocalRecord, LocalRun};
use crate::engine::task::TaskOptions;
use crate::engine::{BadRecord, Emit};
use crate::expr::{AggregateCall, Expr};
use crate::formats::{MemoryRegistry, SchemaSource};
use crate::topology::*;
use crate::types::*;

/// Builds a topology whose topics all hold our own codec. Every node remembers how its table's rows are found.
pub(super) struct Builder {
    topology: Topology,
    plans: Vec<Option<TablePlan>>,
}

pub(super) const BIGINT: SqlType = SqlType::Bigint;

fn columns(prefix: &str, types: &[SqlType]) -> Vec<Column> {
    let column = |(i, t): (usize, &SqlType)| Column::new(format!("{prefix}{i}"), t.clone());
    types.iter().enumerate().map(column).collect()
}

pub(super) fn key_spec() -> SerdeSpec {
    SerdeSpec::key(Format::Internal)
}

pub(super) fn value_spec() -> SerdeSpec {
    SerdeSpec::value(Format::Internal)
}

impl Builder {
    pub fn new() -> Self {
        Self {
            topology: Topology {
                name: "t".into(),
                relations: Vec::new(),
                nodes: Vec::new(),
                subs: Vec::new(),
                stores: Vec::new(),
                views: Vec::new(),
                properties: Vec::new(),
                inserts: Vec::new(),
                asserts: Vec::new(),
                globals: Vec::new(),
            },
            plans: Vec::new(),
        }
    }

    fn push(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<NodeId>,
        kind: RelationKind,
        value: &[SqlType],
        sub: SubId,
    ) -> NodeId {
        let id = self.topology.nodes.len();
        while self.topology.subs.len() <= sub {
            self.topology.subs.push(SubTopology {
                id: self.topology.subs.len(),
                ..SubTopology::default()
            });
        }
        if matches!(op, Op::Source(_)) {
            self.topology.subs[sub].sources.push(id);
        }
        self.topology.subs[sub].nodes.push(id);
        self.topology.nodes.push(Node {
            id,
            name: name.into(),
            op,
            inputs,
            kind,
            schema: RelationSchema {
                key: columns("K", &[BIGINT]),
                value: columns("V", value),
            },
            sub,
        });
        self.plans.push(None);
        id
    }

    fn after(&mut self, input: NodeId, name: &str, op: Op, kind: RelationKind, value: &[SqlType]) -> NodeId {
        let sub = self.topology.nodes[input].sub;
        self.push(name, op, vec![input], kind, value, sub)
    }

    fn store(&mut self, name: &str, value: &[SqlType], sub: SubId) -> StoreId {
        let id = self.topology.stores.len() as StoreId;
        self.topology.subs[sub].stores.push(id);
        self.topology.stores.push(StoreSpec {
            id,
            name: name.into(),
            key: vec![BIGINT],
            value: value.to_vec(),
            sub,
        });
        id
    }

    fn types(&self, node: NodeId) -> Vec<SqlType> {
        self.topology.nodes[node].schema.value_types()
    }

    fn kind(&self, node: NodeId) -> RelationKind {
        self.topology.nodes[node].kind
    }

    fn plan(&self, node: NodeId) -> TablePlan {
        self.plans[node].clone().expect("a table")
    }

    fn source(&mut self, topic: SourceTopic, name: &str, value: &[SqlType], store: Option<StoreId>) -> Source {
        Source {
            topic,
            relation: name.into(),
            columns: RelationSchema {
                key: columns("K", &[BIGINT]),
                value: columns("V", value),
            },
            used: (0..value.len()).collect(),
            pseudo: Vec::new(),
            key_format: key_spec(),
            value_format: value_spec(),
            timestamp: TimestampFrom::Record,
            window: None,
            store,
            history: None,
        }
    }

    /// A stream of a topic of the same name.
    pub fn stream(&mut self, sub: SubId, name: &str, value: &[SqlType]) -> NodeId {
        let source = self.source(SourceTopic::External(name.into()), name, value, None);
        self.push(name, Op::Source(source), Vec::new(), RelationKind::Stream, value, sub)
    }

    /// A table of a topic of the same name, with its store.
    pub fn table(&mut self, sub: SubId, name: &str, value: &[SqlType]) -> NodeId {
        let source = self.source(SourceTopic::External(name.into()), name, value, None);
        let id = self.push(name, Op::Source(source), Vec::new(), RelationKind::Table, value, sub);
        let store = self.store(name, value, sub);
        if let Op::Source(source) = &mut self.topology.nodes[id].op {
            source.store = Some(store);
        }
        self.plans[id] = Some(TablePlan::Store(store));
        id
    }

    pub fn source_mut(&mut self, node: NodeId) -> &mut Source {
        match &mut self.topology.nodes[node].op {
            Op::Source(source) => source,
            _ => panic!("no source"),
        }
    }

    pub fn filter(&mut self, input: NodeId, predicate: Expr) -> NodeId {
        let (kind, types) = (self.kind(input), self.types(input));
        let id = self.after(input, "filter", Op::Filter(predicate.clone()), kind, &types);
        self.plans[id] = self.plans[input]
            .clone()
            .map(|plan| TablePlan::Filter(Box::new(plan), predicate));
        id
    }

    pub fn project(&mut self, input: NodeId, exprs: Vec<Expr>, types: &[SqlType]) -> NodeId {
        let kind = self.kind(input);
        let id = self.after(input, "project", Op::Project(exprs.clone()), kind, types);
        self.plans[id] = self.plans[input]
            .clone()
            .map(|plan| TablePlan::Project(Box::new(plan), exprs));
        id
    }

    /// Re-keys; gives the source behind the internal topic, in sub-topology `sub`.
    pub fn repartition(&mut self, input: NodeId, sub: SubId, name: &str, key: Expr) -> NodeId {
        let (kind, types) = (self.kind(input), self.types(input));
        let repartition = Repartition {
            name: name.into(),
            key: vec![key],
            value: (0..types.len()).map(Expr::Value).collect(),
            partitions: None,
        };
        let writer = self.after(input, name, Op::Repartition(repartition), kind, &types);
        let source = self.source(SourceTopic::Repartition(writer), name, &types, None);
        self.push(name, Op::Source(source), Vec::new(), kind, &types, sub)
    }

    pub fn aggregate(&mut self, input: NodeId, name: &str, calls: Vec<AggregateCall>) -> NodeId {
        let of_table = self.kind(input) == RelationKind::Table;
        let sub = self.topology.nodes[input].sub;
        let calls: Vec<AggregateCall> = calls.into_iter().map(|call| call.over(of_table)).collect();
        let mut state = if of_table { vec![BIGINT] } else { Vec::new() };
        state.extend(calls.iter().flat_map(|call| call.state_types()));
        let store = self.store(name, &state, sub);
        let types: Vec<SqlType> = calls.iter().map(|call| call.sql_type.clone()).collect();
        let elements = calls
            .iter()
            .any(AggregateCall::keeps_elements)
            .then(|| self.store(&format!("{name}-elements"), &[BIGINT], sub));
        let aggregate = Aggregate {
            calls,
            of_table,
            store,
            elements,
            keep_empty: false,
        };
        let id = self.after(
            input,
            name,
            Op::Aggregate(aggregate.clone()),
            RelationKind::Table,
            &types,
        );
        self.plans[id] = Some(TablePlan::Aggregate(aggregate));
        id
    }

    /// The rows of a table of arrays, each at the partition of its key, which ends with its place; `value` are their columns' types.
    pub fn rank(&mut self, input: NodeId, sub: SubId, name: &str, value: &[SqlType]) -> NodeId {
        let table = RelationKind::Table;
        let ranks = self.after(input, name, Op::Rank, table, value);
        let repartition = Repartition {
            name: name.into(),
            key: vec![Expr::Key(0), Expr::Key(1)],
            value: (0..value.len()).map(Expr::Value).collect(),
            partitions: None,
        };
        let writer = self.after(ranks, name, Op::Repartition(repartition), table, value);
        let mut source = self.source(SourceTopic::Repartition(writer), name, value, None);
        source.columns.key = columns("K", &[BIGINT, BIGINT]);
        let id = self.push(name, Op::Source(source), Vec::new(), table, value, sub);
        let store = self.store(name, value, sub);
        self.topology.stores[usize::from(store)].key = vec![BIGINT, BIGINT];
        self.source_mut(id).store = Some(store);
        for node in [ranks, writer, id] {
            self.topology.nodes[node].schema.key = columns("K", &[BIGINT, BIGINT]);
        }
        self.plans[id] = Some(TablePlan::Store(store));
        id
    }

    pub fn stream_table_join(&mut self, left: NodeId, right: NodeId, kind: JoinKind) -> NodeId {
        let types = [self.types(left), self.types(right)].concat();
        let join = StreamTableJoin {
            kind,
            right: self.plan(right),
            as_of: None,
        };
        let sub = self.topology.nodes[left].sub;
        let op = Op::StreamTableJoin(join);
        self.push("join", op, vec![left, right], RelationKind::Stream, &types, sub)
    }

    pub fn table_table_join(&mut self, left: NodeId, right: NodeId, kind: JoinKind) -> NodeId {
        let (left_types, right_types) = (self.types(left), self.types(right));
        let (left_plan, right_plan) = (self.plan(left), self.plan(right));
        let plan = TablePlan::Join(
            Box::new(left_plan.clone()),
            Box::new(right_plan.clone()),
            kind,
            left_types.len(),
            right_types.len(),
        );
        let op = Op::TableTableJoin(TableTableJoin {
            kind,
            left: left_plan,
            right: right_plan,
        });
        let sub = self.topology.nodes[left].sub;
        let types = [left_types, right_types].concat();
        let id = self.push("join", op, vec![left, right], RelationKind::Table, &types, sub);
        self.plans[id] = Some(plan);
        id
    }

    /// Writes to a topic of this name; a table is a view of this name, too.
    pub fn sink(&mut self, input: NodeId, name: &str) -> NodeId {
        let (kind, types) = (self.kind(input), self.types(input));
        let node = &self.topology.nodes[input];
        let key = node.schema.key.clone();
        if let Some(plan) = self.plans[input].clone() {
            self.topology.views.push(View {
                name: name.into(),
                schema: node.schema.clone(),
                plan,
                sub: node.sub,
            });
        }
        let sink = Sink {
            relation: name.into(),
            topic: name.into(),
            key_format: key_spec(),
            value_format: value_spec(),
            window: None,
            timestamp: TimestampFrom::Record,
        };
        let id = self.after(input, name, Op::Sink(sink), kind, &types);
        self.topology.nodes[id].schema.key = key;
        id
    }

    pub fn topology(self) -> Arc<Topology> {
        Arc::new(self.topology)
    }

    pub fn run_with(self, options: TaskOptions, partitions: i32) -> Local {
        let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        self.run_on(options, partitions, &schemas)
    }

    pub fn run_on(self, options: TaskOptions, partitions: i32, schemas: &Arc<dyn SchemaSource>) -> Local {
        let run = LocalRun::new(self.topology(), options, schemas, &BTreeMap::new(), partitions);
        Local(run.expect("a topology without mistakes"))
    }

    pub fn run(self, emit: Emit) -> Local {
        let options = TaskOptions {
            emit,
            ..TaskOptions::default()
        };
        self.run_with(options, 1)
    }
}

/// A run whose keys and values are numbers.
pub(super) struct Local(pub LocalRun);

/// A record of a topic: key, value columns, timestamp.
pub(super) type Read = (Row, Option<Row>, Timestamp);

impl Local {
    pub fn send_row(&mut self, topic: &str, key: Option<&[Value]>, value: Option<&[Value]>, timestamp: Timestamp) {
        let key = key.map(|key| {
            let mut bytes = Vec::new();
            encode_key(key, &mut bytes);
            bytes
        });
        let value = value.map(|value| {
            let mut bytes = Vec::new();
            encode_row(value, &mut bytes);
            bytes
        });
        let record = LocalRecord {
            key: key.clone(),
            value,
            timestamp,
            headers: None,
        };
        self.0.send(topic, key.as_deref(), record);
    }

    pub fn send(&mut self, topic: &str, key: i64, value: Option<&[i64]>, timestamp: Timestamp) {
        let value: Option<Vec<Value>> = value.map(|v| v.iter().map(|n| Value::Bigint(*n)).collect());
        self.send_row(topic, Some(&[Value::Bigint(key)]), value.as_deref(), timestamp);
    }

    /// Sends and processes.
    pub fn put(&mut self, topic: &str, key: i64, value: Option<&[i64]>, timestamp: Timestamp) {
        self.send(topic, key, value, timestamp);
        self.0.process_all().unwrap();
    }

    pub fn commit(&mut self) {
        self.0.commit().unwrap();
    }

    /// All records of a topic.
    pub fn read_rows(&self, topic: &str) -> Vec<Read> {
        let read = |record: &LocalRecord| {
            let key = record
                .key
                .as_deref()
                .map_or_else(Row::empty, |key| decode_key(key).unwrap());
            let value = record.value.as_deref().map(|value| decode_row(value).unwrap());
            (key, value, record.timestamp)
        };
        self.0.topic(topic).map(read).collect()
    }

    /// All records of a topic as `key=v,v@timestamp`, `key=-` for a tombstone.
    pub fn read(&self, topic: &str) -> Vec<String> {
        self.read_rows(topic)
            .iter()
            .map(|(key, value, timestamp)| {
                format!("{}={}@{timestamp}", text(key), value.as_ref().map_or("-".into(), text))
            })
            .collect()
    }

    /// The rows of a view as `key=v,v@timestamp`.
    pub fn view(&self, name: &str) -> Vec<String> {
        let rows = self.0.view(name).unwrap();
        rows.iter()
            .map(|(key, row, timestamp)| format!("{}={}@{timestamp}", text(key), text(row)))
            .collect()
    }
}

pub(super) fn text(row: &Row) -> String {
    let value = |v: &Value| match v {
        Value::Bigint(n) => n.to_string(),
        Value::Double(x) => format!("{x:?}"),
        Value::Null => "null".into(),
        other => format!("{other:?}"),
    };
    row.iter().map(value).collect::<Vec<_>>().join(",")
}

pub(super) fn sum(column: usize) -> AggregateCall {
    AggregateCall::new("SUM", vec![(Expr::Value(column), BIGINT)]).unwrap()
}

pub(super) fn count() -> AggregateCall {
    AggregateCall::count_all()
}

/// Value column `column` > `than`.
pub(super) fn greater(column: usize, than: i64) -> Expr {
    let than = Expr::Literal(Value::Bigint(than));
    Expr::Compare(
        crate::expr::CompareOp::Greater,
        Box::new(Expr::Value(column)),
        Box::new(than),
    )
}
