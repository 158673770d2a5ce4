//! The Schema Registry that `dev` embeds: Confluent's REST API over a state machine, kept in a compacted `_schemas` topic.
//!
//! ```text
//! request --> commands (checked against the state) --> events --> SchemasLog --> state     answers come from the state
//!                                                      records      append      apply
//! ```
//!
//! *Invariant*: an event is in the log before it is in the state, so that an answer is never forgotten by a restart.
//!
//! *Not here*: contexts, schema links, rule sets and metadata.

mod broker_log;
mod commands;
mod error;
mod records;
mod rest;
mod serve;
mod source;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

pub use broker_log::BrokerLog;
pub use error::ApiError;
pub use records::Record;
pub use rest::app;
pub use serve::{Handle, serve};
pub use state::{Event, Mode, Registry, Stored};

/// Where events are kept: the `_schemas` topic. Calls may block.
pub trait SchemasLog: Send + Sync {
    /// Keeps a record; `None` deletes the key. On return it is durable.
    ///
    /// # Errors
    /// Why it was not kept, in words; whether it was kept is unknown then.
    fn append(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;

    /// All records in order.
    ///
    /// # Errors
    /// Why they cannot be read, in words.
    fn read_all(&self) -> Result<Vec<Record>, String>;
}

/// A log in memory, for tests.
#[derive(Default)]
pub struct MemoryLog {
    records: Mutex<Vec<Record>>,
}

impl SchemasLog for MemoryLog {
    fn append(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        self.records.lock().push((key.to_vec(), value.map(<[u8]>::to_vec)));
        Ok(())
    }

    fn read_all(&self) -> Result<Vec<Record>, String> {
        Ok(self.records.lock().clone())
    }
}

/// A registry with its log. Cheap to clone; all clones are one registry, which also is a [`crate::formats::SchemaSource`].
#[derive(Clone)]
pub struct EmbeddedRegistry {
    inner: Arc<Inner>,
}

struct Inner {
    state: RwLock<Registry>,
    /// Held from the check of a change until it is applied, so that changes follow one another while readers go on.
    changing: Mutex<()>,
    log: Box<dyn SchemasLog>,
}

impl EmbeddedRegistry {
    /// Reads the log from its start.
    ///
    /// # Errors
    /// When the log cannot be read, or holds records that are no registry's.
    pub fn open(log: Box<dyn SchemasLog>) -> Result<Self, String> {
        let mut state = Registry::new();
        for (key, value) in log.read_all()? {
            if let Some(event) = records::event(&key, value.as_deref())? {
                state.apply(event);
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                state: RwLock::new(state),
                changing: Mutex::new(()),
                log,
            }),
        })
    }

    fn read<T>(&self, answer: impl FnOnce(&Registry) -> T) -> T {
        answer(&self.inner.state.read())
    }

    fn change<T>(&self, command: impl FnOnce(&Registry) -> Result<(Vec<Event>, T), ApiError>) -> Result<T, ApiError> {
        let _one_at_a_time = self.inner.changing.lock();
        let (events, answer) = command(&self.inner.state.read())?;
        for event in events {
            let (key, value) = records::record(&event).map_err(ApiError::store)?;
            self.inner.log.append(&key, value.as_deref()).map_err(ApiError::store)?;
            self.inner.state.write().apply(event);
        }
        Ok(answer)
    }
}
