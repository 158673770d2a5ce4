//! The nodes that a join with state of its own becomes.
//!
//! A foreign-key join is a circle of tasks, since the two tables are partitioned by different keys:
//!
//! ```text
//!   left table --> subscribe --> topic <join>-subscriptions --> answer <-- right table
//!        |                                                        |
//!        '------> results <------ topic <join>-answers <----------'
//! ```

use std::sync::Arc;

use super::logical::LogicalNode;
use super::wire::{Placed, Wiring, at};
use super::{
    ForeignKeyAnswer, ForeignKeyJoin, ForeignKeySubscribe, JoinKind, JoinWindow, NodeId, Op, Repartition, Source,
    SourceTopic, StreamStreamJoin, TimestampFrom,
};
use crate::expr::Expr;
use crate::types::{Column, Format, RelationKind, RelationSchema, SerdeSpec, SqlType};

impl Wiring<'_> {
    /// The columns of the left side, then those of the right side, and where they ended up.
    fn sides(&self, node: &LogicalNode) -> (Placed, Placed, RelationSchema, Vec<Option<usize>>) {
        let (left, right) = (self.placed[node.inputs[0]].clone(), self.placed[node.inputs[1]].clone());
        let mut schema = self.nodes[left.node].schema.clone();
        let offset = schema.value.len();
        schema.value.extend(self.nodes[right.node].schema.value.iter().cloned());
        let moved = right.columns.iter().map(|c| c.map(|i| i + offset));
        let columns = left.columns.iter().copied().chain(moved).collect();
        (left, right, schema, columns)
    }

    pub(super) fn stream_stream_join(
        &mut self,
        node: &LogicalNode,
        (kind, window): (JoinKind, JoinWindow),
        residual: Option<&Expr>,
        stores: &Arc<str>,
    ) -> Placed {
        let (left, right, schema, columns) = self.sides(node);
        let id = self.nodes.len();
        let key = &schema.key;
        let bigint = |name: &str| Column::new(name, SqlType::Bigint);
        let record_key: Vec<Column> = [bigint("SEGMENT")]
            .into_iter()
            .chain(key.iter().cloned())
            .chain([bigint("TIME"), bigint("NUMBER")])
            .collect();
        let waiting_key: Vec<Column> = [bigint("TIME"), Column::new("LEFT", SqlType::Integer)]
            .into_iter()
            .chain(key.iter().cloned())
            .chain([bigint("NUMBER")])
            .collect();
        let types = |side: &Placed, wiring: &Self| wiring.nodes[side.node].schema.value_types();
        let (left_types, right_types) = (types(&left, self), types(&right, self));
        let name = |what: &str| Arc::from(format!("{stores}-{what}"));
        let waits = window.grace.is_some() && kind != JoinKind::Inner;
        let join = StreamStreamJoin {
            kind,
            window,
            residual: residual.map(|e| at(e, &columns)),
            left: self.store(&name("left"), &record_key, left_types, id),
            right: self.store(&name("right"), &record_key, right_types, id),
            progress: self.store(
                &name("progress"),
                &[Column::new("ONE", SqlType::Integer)],
                vec![SqlType::Bigint; 6],
                id,
            ),
            unmatched: waits.then(|| self.store(&name("unmatched"), &waiting_key, Vec::new(), id)),
        };
        let inputs = vec![left.node, right.node];
        let node = self.push(node, Op::StreamStreamJoin(join), inputs, schema);
        Placed { node, columns }
    }

    pub(super) fn foreign_key_join(
        &mut self,
        node: &LogicalNode,
        kind: JoinKind,
        foreign_key: &[Expr],
        stores: &Arc<str>,
    ) -> Placed {
        let (left, right, schema, columns) = self.sides(node);
        let of_right = self.nodes[right.node].schema.clone();
        let keys = schema.key.len();
        let foreign_key: Vec<Expr> = foreign_key.iter().map(|e| at(e, &left.columns)).collect();
        let name = |what: &str| Arc::from(format!("{stores}-{what}"));
        let flag = |name: &str| Column::new(name, SqlType::Boolean);
        let version = Column::new("VERSION", SqlType::Bigint);

        let id = self.nodes.len();
        let kept = [SqlType::Bigint].into_iter().chain(of_right.key_types());
        let kept = kept.chain(self.nodes[left.node].schema.value_types()).collect();
        let subscribe = ForeignKeySubscribe {
            rows: self.store(&name("left"), &schema.key, kept, id),
            versions: self.store(
                &name("versions"),
                &[Column::new("ONE", SqlType::Integer)],
                vec![SqlType::Bigint],
                id,
            ),
            foreign_key: foreign_key.clone(),
        };
        let rows = subscribe.rows;
        let asking = RelationSchema {
            key: of_right.key.clone(),
            value: [schema.key.clone(), vec![version.clone(), flag("SUBSCRIBES")]].concat(),
        };
        let from = stream_named(node, "subscribe");
        let subscribe = self.push(&from, Op::ForeignKeySubscribe(subscribe), vec![left.node], asking);
        let subscriptions = self.through(node, subscribe, name("subscriptions"));

        let id = self.nodes.len();
        let pairs: Vec<Column> = of_right.key.iter().chain(&schema.key).cloned().collect();
        let round = vec![SqlType::Bytes, SqlType::Bytes, SqlType::Boolean];
        let answer = ForeignKeyAnswer {
            right: self.table_plan(right.node),
            subscribers: self.store(&name("subscribers"), &pairs, vec![SqlType::Bigint], id),
            primary_key: keys,
            fan_outs: self.store(&name("fan-outs"), &of_right.key, round, id),
        };
        let answering = RelationSchema {
            key: schema.key.clone(),
            value: [vec![version, flag("FOUND")], of_right.value].concat(),
        };
        let from = stream_named(node, "answer");
        let inputs = vec![subscriptions, right.node];
        let answer = self.push(&from, Op::ForeignKeyAnswer(answer), inputs, answering);
        let answers = self.through(node, answer, name("answers"));

        let id = self.nodes.len();
        let join = ForeignKeyJoin {
            kind,
            rows,
            foreign_key: foreign_key.len(),
            results: self.store(stores, &schema.key, schema.value_types(), id),
        };
        let node = self.push(node, Op::ForeignKeyJoin(join), vec![left.node, answers], schema);
        Placed { node, columns }
    }

    /// Carries a stream's records as they are to the partition of their key; the source behind the topic.
    fn through(&mut self, of: &LogicalNode, from: NodeId, topic: Arc<str>) -> NodeId {
        let schema = self.nodes[from].schema.clone();
        let (keys, values) = (schema.key.len(), schema.value.len());
        let repartition = Repartition {
            name: topic.clone(),
            key: (0..keys).map(Expr::Key).collect(),
            value: (0..values).map(Expr::Value).collect(),
            partitions: None,
        };
        let writer = LogicalNode {
            name: topic.clone(),
            kind: RelationKind::Stream,
            ..of.clone()
        };
        let from = self.push(&writer, Op::Repartition(repartition), vec![from], schema.clone());
        let relation = of.name.split('/').next().unwrap_or_default();
        let source = Source {
            topic: SourceTopic::Repartition(from),
            relation: relation.into(),
            columns: schema.clone(),
            used: (0..values).collect(),
            pseudo: Vec::new(),
            key_format: SerdeSpec::key(Format::Internal),
            value_format: SerdeSpec::value(Format::Internal),
            timestamp: TimestampFrom::Record,
            window: None,
            store: None,
            history: None,
        };
        let reader = LogicalNode {
            name: format!("{topic}/source").into(),
            ..writer
        };
        self.push(&reader, Op::Source(source), Vec::new(), schema)
    }
}

/// A node that stands for a part of another one, and gives out records.
fn stream_named(of: &LogicalNode, part: &str) -> LogicalNode {
    LogicalNode {
        name: format!("{}-{part}", of.name).into(),
        kind: RelationKind::Stream,
        ..of.clone()
    }
}
