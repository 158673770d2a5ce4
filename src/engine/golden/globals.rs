//! The global tables of a local run: read to their ends before any task goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::local::{LocalRecord, Partitions};
use crate::engine::Names;
use crate::engine::task::{GlobalRows, InputRecord, TaskError};
use crate::log::HeadersRef;
use crate::state::memory::MemoryStores;
use crate::state::{Store, StoreFactory, StorePosition, StoreResult};
use crate::topology::Topology;
use crate::types::Timestamp;

/// See the module.
pub(super) struct LocalGlobals {
    rows: GlobalRows,
    /// The topic of each table.
    topics: Vec<Arc<str>>,
    /// `None` while the process is dead.
    store: Option<Box<dyn Store>>,
}

impl LocalGlobals {
    pub fn new(topology: &Topology, rows: GlobalRows) -> Self {
        Self {
            rows,
            topics: topology.global_topics(),
            store: None,
        }
    }

    pub fn topics(&self) -> impl Iterator<Item = &Arc<str>> {
        self.topics.iter()
    }

    /// Opens the store where an earlier life left it.
    pub fn open(&mut self, stores: &MemoryStores, names: &Names) -> StoreResult<()> {
        if !self.topics.is_empty() {
            let store = stores.open(&names.globals())?;
            self.rows.show(store.as_ref())?;
            self.store = Some(store);
        }
        Ok(())
    }

    pub fn close(&mut self) {
        self.rows.reset(true);
        self.store = None;
    }

    /// Dead letters of what was read, given to `write`.
    pub fn dead_letters(&mut self, mut write: impl FnMut(LocalRecord)) {
        for (letter, _) in self.rows.dead_letters() {
            write(LocalRecord::new(&letter));
        }
        self.rows.dead_letters_written();
    }

    /// Reads what is new.
    pub fn read(&mut self, topics: &BTreeMap<Arc<str>, Partitions>, now: Timestamp) -> Result<(), TaskError> {
        let Some(store) = &mut self.store else { return Ok(()) };
        let mut position = store.position()?.unwrap_or_default();
        let mut moved = false;
        for (table, topic) in self.topics.iter().enumerate() {
            let partitions = topics.get(topic).into_iter().flatten();
            for (partition, records) in partitions.enumerate() {
                let from = position.input(topic, partition as i32).unwrap_or(0) as usize;
                for (offset, record) in records.iter().enumerate().skip(from) {
                    let input = InputRecord {
                        topic,
                        partition: partition as i32,
                        offset: offset as i64,
                        timestamp: record.timestamp,
                        key: record.key.as_deref(),
                        value: record.value.as_deref(),
                        headers: HeadersRef::Owned(&record.headers),
                    };
                    self.rows.take(table, &input)?;
                }
                moved |= from < records.len();
            }
        }
        if moved {
            let all = self.topics.iter().flat_map(|topic| {
                let partitions = topics.get(topic).into_iter().flatten();
                partitions
                    .enumerate()
                    .map(|(p, records)| (topic.clone(), p as i32, records.len() as i64))
            });
            position = StorePosition {
                inputs: all.collect(),
                applied_at: now,
                ..position
            };
            self.rows.apply(store.as_mut(), &position)?;
            self.rows.show(store.as_ref())?;
        }
        Ok(())
    }
}
