//! Taking the changelog in: records gather, then go into the store together.

use super::Task;
use crate::state::{StorePosition, StoreResult};
use crate::topology::StoreId;

impl Task {
    /// Takes a changelog record in; it is in the store after [`Self::apply_restored`].
    pub fn restore(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>) {
        self.restored.push(store, key, value);
    }

    /// Bytes waiting for [`Self::apply_restored`].
    pub fn restored_bytes(&self) -> usize {
        self.restored.bytes()
    }

    /// Puts the changelog records taken in into the store, with how far they go.
    ///
    /// # Errors
    /// The disk; the records are then to be read again.
    pub fn apply_restored(&mut self, position: &StorePosition) -> StoreResult<()> {
        self.left = true;
        let applied = self.buffer.apply_restored(&mut self.restored, position);
        self.restored.clear();
        applied
    }

    /// The restore is over: its memory is given back.
    pub fn end_restore(&mut self) {
        self.restored = Default::default();
    }
}
