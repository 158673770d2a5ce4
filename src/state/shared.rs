//! Rows that all tasks of a process read and none of them writes: the global tables of a topology.
//!
//! Who loads them shows a new snapshot after each batch; a reader takes the newest one for each look-up. *Invariant*: a snapshot is one batch's state
//! of all tables together.

use std::sync::Arc;

use parking_lot::RwLock;

use super::{Snapshot, StoreError, StoreResult};

/// See the module.
#[derive(Default)]
pub struct SharedRows(RwLock<Option<Arc<dyn Snapshot>>>);

impl SharedRows {
    /// From now on readers see this.
    pub fn show(&self, snapshot: Arc<dyn Snapshot>) {
        *self.0.write() = Some(snapshot);
    }

    /// Nothing is to be read any more: the store is being closed.
    pub fn hide(&self) {
        *self.0.write() = None;
    }

    /// What is shown.
    ///
    /// # Errors
    /// When nothing is: tasks are not to run before the global tables are loaded.
    pub fn newest(&self) -> StoreResult<Arc<dyn Snapshot>> {
        self.0.read().clone().ok_or_else(|| StoreError {
            place: "global tables".into(),
            message: "not loaded".into(),
        })
    }
}
