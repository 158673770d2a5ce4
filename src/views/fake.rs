//! A running topology made by hand: memory stores behind `Published`, with commits written by the test.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::engine::{Published, PublishedTask, PublishedTopology, TaskId, TaskStatus, TopologyStatus};
use crate::state::memory::MemoryStore;
use crate::state::{Store, StorePosition, encode_full_key, encode_stored};
use crate::topology::{Relation, StoreId, StoreSpec, SubTopology, TablePlan, TopicSpec, Topology, View};
use crate::types::{Column, Format, RelationKind, RelationSchema, Row, SerdeSpec, SqlType, Value};

/// `(name, key columns, value columns)`.
pub(crate) fn schema(key: &[(&str, SqlType)], value: &[(&str, SqlType)]) -> RelationSchema {
    let columns = |list: &[(&str, SqlType)]| list.iter().map(|(n, t)| Column::new(*n, t.clone())).collect();
    RelationSchema {
        key: columns(key),
        value: columns(value),
    }
}

/// A relation over a topic of its own name in lower case.
pub(crate) fn relation(name: &str, kind: RelationKind, schema: RelationSchema, formats: (Format, Format)) -> Relation {
    Relation {
        name: name.into(),
        kind,
        schema,
        topic: TopicSpec {
            name: name.to_lowercase().into(),
            partitions: Some(2),
            replicas: None,
            retention_ms: None,
            compacted: kind == RelationKind::Table,
        },
        key_format: SerdeSpec::key(formats.0),
        value_format: SerdeSpec::value(formats.1),
        window: None,
        derived: false,
        sql: format!("CREATE {kind} {name} ...;").into(),
        headers: Vec::new(),
    }
}

/// One view over stores of one sub-topology.
pub(crate) fn topology(name: &str, view: &str, schema: RelationSchema, plan: TablePlan) -> Topology {
    let stores: Vec<StoreId> = plan.stores();
    let spec = |id: &StoreId| StoreSpec {
        id: *id,
        name: format!("STORE{id}").into(),
        key: schema.key_types(),
        value: Vec::new(),
        sub: 0,
    };
    Topology {
        name: name.into(),
        relations: vec![Relation {
            derived: true,
            ..relation(view, RelationKind::Table, schema.clone(), (Format::Json, Format::Json))
        }],
        nodes: Vec::new(),
        subs: vec![SubTopology {
            stores: stores.clone(),
            ..SubTopology::default()
        }],
        stores: stores.iter().map(spec).collect(),
        views: vec![View {
            name: view.into(),
            schema,
            plan,
            sub: 0,
        }],
        properties: Vec::new(),
        inserts: Vec::new(),
        asserts: Vec::new(),
        globals: Vec::new(),
    }
}

/// Tasks of sub-topology 0 with their stores.
pub(crate) struct Fake {
    pub published: Arc<Published>,
    pub topology: Arc<PublishedTopology>,
    stores: Vec<Box<dyn Store>>,
    offsets: Vec<i64>,
    input: Arc<str>,
}

impl Fake {
    pub fn new(topology: Topology, partitions: i32) -> Self {
        Self::reading(topology, vec![partitions], "input")
    }

    /// As [`Self::new`], with the partitions of all sub-topologies and the topic that the tasks read.
    pub fn reading(topology: Topology, all: Vec<i32>, input: &str) -> Self {
        let input: Arc<str> = input.into();
        let partitions = all[0];
        let published = Arc::new(Published::new());
        let name = topology.name.clone();
        let topology = Arc::new(PublishedTopology::new(Arc::new(topology), 0, all));
        topology.set_status(TopologyStatus::Running);
        published.insert(topology.clone());
        let mut stores: Vec<Box<dyn Store>> = Vec::new();
        for partition in 0..partitions {
            let store = MemoryStore::detached();
            let task = PublishedTask::new(TaskId { sub: 0, partition }, vec![(input.clone(), partition)]);
            task.set_reader(Some(store.reader()));
            task.set_status(TaskStatus::Running);
            topology.insert_task(Arc::new(task));
            stores.push(Box::new(store));
        }
        assert!(published.topology(&name).is_some());
        let mut fake = Self {
            published,
            topology,
            stores,
            offsets: vec![0; partitions as usize],
            input,
        };
        for partition in 0..partitions {
            fake.commit(partition, 0, &[]);
        }
        fake
    }

    /// One commit: rows of stores, and `records` further input records.
    pub fn commit(&mut self, partition: i32, records: i64, rows: &[(StoreId, Row, Option<Row>)]) {
        let p = partition as usize;
        self.offsets[p] += records;
        let position = StorePosition {
            inputs: vec![(self.input.clone(), partition, self.offsets[p])],
            applied_at: self.offsets[p],
            ..StorePosition::default()
        };
        let writes: Vec<_> = rows
            .iter()
            .map(|(store, key, row)| {
                let (mut full, mut bytes) = (Vec::new(), Vec::new());
                encode_full_key(*store, key, &mut full);
                let value = row.as_ref().map(|row| {
                    encode_stored(self.offsets[p], row, &mut bytes);
                    bytes.clone()
                });
                (full, value)
            })
            .collect();
        let keys = self
            .topology
            .watchers
            .wanted()
            .then(|| writes.iter().map(|(key, _)| key.clone()).collect());
        self.stores[p].apply(&mut writes.into_iter(), &position).unwrap();
        let task = self.topology.task(TaskId { sub: 0, partition }).unwrap();
        task.inputs[0].position.store(self.offsets[p], Relaxed);
        self.topology
            .watchers
            .committed(task.id, keys, &*self.stores[p].reader());
    }

    /// Puts rows of store 0, each in the partition that `place` says.
    pub fn put(&mut self, rows: impl IntoIterator<Item = (Row, Row)>, place: impl Fn(&Row) -> i32) {
        for (key, row) in rows {
            self.commit(place(&key), 1, &[(0, key, Some(row))]);
        }
    }
}

/// A row of values.
pub(crate) fn row<const N: usize>(values: [Value; N]) -> Row {
    Row::from(values)
}
