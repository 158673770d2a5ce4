//! A view's row, computed from what a snapshot holds for its key.

use std::sync::Arc;

use super::ViewError;
use super::walk::Candidate;
use crate::expr::EvalContext;
use crate::operators::{self, Looked, OpError};
use crate::state::{Snapshot, StoreError, StoreResult, decode_stored, encode_full_key};
use crate::topology::{StoreId, View};
use crate::types::{Row, Timestamp, decode_key};

/// A row of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewRow {
    /// Its key columns.
    pub key: Row,
    /// Its value columns.
    pub value: Row,
    /// Its event time.
    pub timestamp: Timestamp,
}

impl ViewRow {
    /// What an expression sees of it.
    pub(super) fn context(&self, now: Timestamp) -> EvalContext<'_> {
        EvalContext {
            key: &self.key,
            value: &self.value,
            timestamp: self.timestamp,
            now,
        }
    }

    /// Bytes it takes in memory (an estimate).
    pub fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.value.heap_bytes() + size_of::<Self>()
    }
}

/// What the stores hold for one key.
struct Stored<'a> {
    snapshot: &'a dyn Snapshot,
    /// What one store holds, where that has been read already.
    known: Option<(StoreId, &'a [u8])>,
    full: &'a mut Vec<u8>,
    scratch: &'a mut Vec<u8>,
}

impl operators::RowReader for Stored<'_> {
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked> {
        let bytes = match self.known {
            Some((known, bytes)) if known == store => bytes,
            _ => {
                self.full.clear();
                encode_full_key(store, key, self.full);
                self.scratch.clear();
                if !self.snapshot.get(self.full, self.scratch)? {
                    return Ok(Looked {
                        row: None,
                        timestamp: Timestamp::MIN,
                    });
                }
                &self.scratch[..]
            }
        };
        let (row, timestamp) = decode_stored(bytes).map_err(|e| StoreError::undecodable(&e))?;
        Ok(Looked {
            row: Some(row),
            timestamp,
        })
    }

    fn scan(
        &mut self,
        store: StoreId,
        from: &[u8],
        to: Option<&[u8]>,
        each: operators::EachKeyRow<'_>,
    ) -> StoreResult<()> {
        operators::scan_snapshot(self.snapshot, store, from, to, each)
    }
}

/// Computes rows of one view.
pub(super) struct RowReader<'a> {
    view: &'a View,
    full: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> RowReader<'a> {
    pub fn new(view: &'a View) -> Self {
        Self {
            view,
            full: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// The row of a key that a walk found, if the view has one.
    pub fn of_candidate(
        &mut self,
        snapshots: &[(i32, Arc<dyn Snapshot>)],
        candidate: &Candidate,
    ) -> Result<Option<ViewRow>, ViewError> {
        let snapshot = &*snapshots[candidate.part].1;
        self.read(snapshot, &candidate.key, Some((candidate.store, &candidate.stored)))
    }

    /// The row of an encoded key, if the view has one.
    pub fn of_key(&mut self, snapshot: &dyn Snapshot, key: &[u8]) -> Result<Option<ViewRow>, ViewError> {
        self.read(snapshot, key, None)
    }

    fn read(
        &mut self,
        snapshot: &dyn Snapshot,
        encoded: &[u8],
        known: Option<(StoreId, &[u8])>,
    ) -> Result<Option<ViewRow>, ViewError> {
        let key = decode_key(encoded).map_err(|e| StoreError::undecodable(&e))?;
        let mut stored = Stored {
            snapshot,
            known,
            full: &mut self.full,
            scratch: &mut self.scratch,
        };
        // a table's expressions that read the clock are computed when their row is made; a view has no later time than the row's own
        let now = snapshot.position().applied_at;
        let looked = operators::lookup(&self.view.plan, &mut stored, &key, now).map_err(|error| match error {
            OpError::Store(error) => ViewError::Store(error),
            OpError::Eval(_) | OpError::NullKey => ViewError::Row {
                key: format!("{:?}", &*key),
                message: error.to_string(),
            },
        })?;
        let timestamp = looked.timestamp;
        Ok(looked.row.map(|value| ViewRow { key, value, timestamp }))
    }
}
