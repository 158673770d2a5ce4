//! How relations' topics are read: the columns that somebody uses, and a table's stores.

use std::sync::Arc;

use super::logical::surroundings;
use super::wire::{Placed, Wiring, places};
use super::{History, Op, Source, SourceTopic, StoreId, TablePlan, TimestampFrom};
use crate::types::{Column, RelationSchema, SqlType};

impl Wiring<'_> {
    pub(super) fn source(
        &mut self,
        id: usize,
        relation: usize,
        timestamp: &TimestampFrom,
        (store, history_ms): (Option<&Arc<str>>, Option<i64>),
    ) -> Placed {
        let node = &self.builder.nodes[id];
        let (mut source, schema, columns) = self.reading(id, relation, timestamp);
        let rows = store.map(|name| self.store(name, &schema.key, schema.value_types(), self.nodes.len()));
        let history = store.zip(history_ms).map(|(name, ms)| self.history(name, &schema, ms));
        (source.store, source.history) = (rows, history);
        let node = self.push(node, Op::Source(source), Vec::new(), schema);
        Placed { node, columns }
    }

    /// How a relation's topic is read, with the columns that somebody uses and their places.
    pub(super) fn reading(
        &self,
        id: usize,
        relation: usize,
        timestamp: &TimestampFrom,
    ) -> (Source, RelationSchema, Vec<Option<usize>>) {
        let node = &self.builder.nodes[id];
        let relation = &self.builder.relations[relation];
        let own = relation.schema.value.len();
        let around = surroundings(relation);
        let kept = self.kept(id);
        let schema = RelationSchema {
            key: node.schema.key.clone(),
            value: kept.iter().map(|i| node.schema.value[*i].clone()).collect(),
        };
        let source = Source {
            topic: SourceTopic::External(relation.name.clone()),
            relation: relation.name.clone(),
            columns: relation.schema.clone(),
            used: kept.iter().copied().filter(|i| *i < own).collect(),
            pseudo: kept
                .iter()
                .filter(|i| **i >= own)
                .map(|i| around[*i - own].0.clone())
                .collect(),
            key_format: relation.key_format.clone(),
            value_format: relation.value_format.clone(),
            timestamp: timestamp.clone(),
            window: relation.window,
            store: None,
            history: None,
        };
        let columns = places(&kept, node.schema.value.len());
        (source, schema, columns)
    }

    /// The value columns of a builder's node that somebody uses.
    pub(super) fn kept(&self, id: usize) -> Vec<usize> {
        self.needed[id].iter().copied().collect()
    }

    /// The columns that a builder's node describes.
    pub(super) fn described(&self, id: usize) -> &RelationSchema {
        &self.builder.nodes[id].schema
    }

    /// The stores of a table's history; `schema` is that of its rows.
    fn history(&mut self, name: &Arc<str>, schema: &RelationSchema, retention_ms: i64) -> History {
        let owner = self.nodes.len();
        let time = Column::new("TIME", SqlType::Bigint);
        let end = Column::new("END", SqlType::Bigint);
        let of_version: Vec<Column> = schema.key.iter().cloned().chain([time]).collect();
        let of_end: Vec<Column> = [end].into_iter().chain(of_version.iter().cloned()).collect();
        let there = [SqlType::Boolean].into_iter();
        let version = there.chain(schema.value_types()).collect();
        let one = [Column::new("ROW", SqlType::Integer)];
        History {
            retention_ms,
            versions: self.store(&format!("{name}-history").into(), &of_version, version, owner),
            ends: self.store(&format!("{name}-history-ends").into(), &of_end, Vec::new(), owner),
            time: self.store(
                &format!("{name}-history-time").into(),
                &one,
                vec![SqlType::Bigint; 3],
                owner,
            ),
        }
    }

    /// The histories of the stores that a plan reads.
    pub(super) fn histories(&self, plan: &TablePlan) -> Vec<(StoreId, History)> {
        let stores = plan.stores();
        let kept = self.nodes.iter().filter_map(|node| match &node.op {
            Op::Source(source) => source.store.zip(source.history.clone()),
            _ => None,
        });
        kept.filter(|(store, _)| stores.contains(store)).collect()
    }
}
