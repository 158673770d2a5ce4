//! A view's row, computed from what a snapshot holds for its key.

use std::sync::Arc;

use super::ViewError;
use super::walk::Candidate;
use crate::state::{Snapshot, StoreError, StoreResult, decode_stored};
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
    /// Bytes it takes in memory (an estimate).
    pub fn heap_bytes(&self) -> usize {
        self.key.heap_bytes() + self.value.heap_bytes() + size_of::<Self>()
    }
}

/// Computes rows of one view.
pub(super) struct RowReader<'a> {
    view: &'a View,
    scratch: Vec<u8>,
}

impl<'a> RowReader<'a> {
    pub fn new(view: &'a View) -> Self {
        Self {
            view,
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

    /// `known` is what one store holds for the key, where that has been read already.
    fn read(
        &mut self,
        snapshot: &dyn Snapshot,
        encoded: &[u8],
        known: Option<(StoreId, &[u8])>,
    ) -> Result<Option<ViewRow>, ViewError> {
        let key = decode_key(encoded).map_err(|e| StoreError::undecodable(&e))?;
        let scratch = &mut self.scratch;
        let mut full = Vec::with_capacity(2 + encoded.len());
        let mut lookup = |store: StoreId| -> StoreResult<Option<(Row, Timestamp)>> {
            let bytes = match known {
                Some((known, bytes)) if known == store => bytes,
                _ => {
                    full.clear();
                    full.extend_from_slice(&store.to_be_bytes());
                    full.extend_from_slice(encoded);
                    scratch.clear();
                    if !snapshot.get(&full, scratch)? {
                        return Ok(None);
                    }
                    &scratch[..]
                }
            };
            decode_stored(bytes).map(Some).map_err(|e| StoreError::undecodable(&e))
        };
        let found = super::plan::eval(&self.view.plan, &key, &mut lookup)?;
        Ok(found.map(|(value, timestamp)| ViewRow { key, value, timestamp }))
    }
}
