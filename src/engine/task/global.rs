//! Records of global tables into rows of the store that all tasks of a process read.
//!
//! It is *not* the one that reads topics or knows positions: the worker does, and golden cases do. *Invariants*: rows and position reach the store in one batch;
//! dead letters of records below a position are written before the position is.

use std::sync::Arc;

use crate::engine::BadRecord;
use crate::formats::{FormatError, SchemaSource};
use crate::state::{SharedRows, Store, StorePosition, StoreResult, Write, encode_full_key, encode_stored};
use crate::topology::{StoreId, Topology};
use crate::types::{RelationKind, Value};

use super::decode::SourceCodec;
use super::encode::encode_dead_letter;
use super::error::{Failure, Reason, Stopped, TaskError};
use super::{InputRecord, Outbox, Outgoing};

/// A global table's decoder and its name.
struct Table {
    codec: SourceCodec,
    name: Arc<str>,
}

/// The global tables of a topology, being loaded. See the module.
pub struct GlobalRows {
    tables: Vec<Table>,
    bad_record: BadRecord,
    shown: Arc<SharedRows>,
    pending: Vec<Write>,
    pending_bytes: usize,
    letters: Outbox,
    /// Why, of each of them.
    reasons: Vec<Reason>,
}

impl GlobalRows {
    /// Decoders for the global tables; what is loaded is shown to the readers of `shown`.
    ///
    /// # Errors
    /// When a format cannot hold its columns, or the registry is away.
    pub fn new(
        topology: &Topology,
        bad_record: BadRecord,
        schemas: &Arc<dyn SchemaSource>,
        shown: Arc<SharedRows>,
    ) -> Result<Self, FormatError> {
        let table = |global: &crate::topology::GlobalTable| {
            Ok(Table {
                codec: SourceCodec::new(&global.source, RelationKind::Table, false, schemas)?,
                name: global.source.relation.clone(),
            })
        };
        Ok(Self {
            tables: topology.globals.iter().map(table).collect::<Result<_, FormatError>>()?,
            bad_record,
            shown,
            pending: Vec::new(),
            pending_bytes: 0,
            letters: Outbox::new(),
            reasons: Vec::new(),
        })
    }

    /// Takes a record of a global table in; readers see it after [`Self::apply`] and [`Self::show`].
    ///
    /// # Errors
    /// [`TaskError::Retry`]: the registry is away, the record is to be given again. [`TaskError::Stop`] under that policy for bad records.
    pub fn take(&mut self, table: usize, record: &InputRecord<'_>) -> Result<(), TaskError> {
        let Table { codec, name } = &mut self.tables[table];
        let decoded = codec.decode(record).and_then(|change| {
            if change.key.iter().all(Value::is_null) {
                return Err(Failure::bad(Reason::NullKey, "a record of a table has no key"));
            }
            Ok(change)
        });
        let change = match decoded {
            Ok(change) => change,
            Err(Failure::Retry(text)) => return Err(TaskError::Retry(text)),
            Err(Failure::Store(e)) => return Err(TaskError::Store(e)),
            Err(Failure::Bad { reason, message }) => {
                let stopped = Stopped {
                    topic: record.topic.to_string(),
                    partition: record.partition,
                    offset: record.offset,
                    node: table,
                    node_name: name.to_string(),
                    reason,
                    message,
                };
                return self.bad(record, stopped);
            }
        };
        let mut key = Vec::new();
        encode_full_key(table as StoreId, &change.key, &mut key);
        let value = change.new.map(|row| {
            let mut bytes = Vec::new();
            encode_stored(change.timestamp, &row, &mut bytes);
            bytes
        });
        self.pending_bytes += key.len() + value.as_ref().map_or(0, Vec::len) + size_of::<Write>();
        self.pending.push((key, value));
        Ok(())
    }

    fn bad(&mut self, record: &InputRecord<'_>, stopped: Stopped) -> Result<(), TaskError> {
        match self.bad_record {
            BadRecord::Stop => Err(TaskError::Stop(stopped.into())),
            BadRecord::DeadLetter => {
                let Stopped {
                    node_name,
                    reason,
                    message,
                    ..
                } = stopped;
                encode_dead_letter(record, &node_name, reason, &message, &mut self.letters);
                self.reasons.push(reason);
                Ok(())
            }
        }
    }

    /// Dead letters of what was taken in, with the reason of each; to be written before [`Self::apply`].
    pub fn dead_letters(&self) -> impl ExactSizeIterator<Item = (Outgoing<'_>, Reason)> {
        self.letters.iter().zip(self.reasons.iter().copied())
    }

    /// The dead letters are written.
    pub fn dead_letters_written(&mut self) {
        self.letters.clear();
        self.reasons.clear();
    }

    /// Puts what was taken in into the store, with how far that goes. It is not shown by itself: it may be a part of a store that is built anew.
    ///
    /// # Errors
    /// The disk; the records are then to be read again.
    pub fn apply(&mut self, store: &mut dyn Store, position: &StorePosition) -> StoreResult<()> {
        self.pending_bytes = 0;
        store.apply(&mut self.pending.drain(..), position)
    }

    /// Shows what the store holds.
    ///
    /// # Errors
    /// The disk.
    pub fn show(&self, store: &dyn Store) -> StoreResult<()> {
        self.shown.show(store.reader().snapshot()?);
        Ok(())
    }

    /// Forgets what was not applied; with `hide`, readers see nothing any more.
    pub fn reset(&mut self, hide: bool) {
        self.dead_letters_written();
        self.pending.clear();
        self.pending_bytes = 0;
        if hide {
            self.shown.hide();
        }
    }

    /// Bytes that wait for [`Self::apply`], dead letters among them.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes + self.letters.bytes()
    }
}
