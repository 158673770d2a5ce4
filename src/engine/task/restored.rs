//! Taking the changelog in: records gather, then go into the store together.

use super::{Task, write};
use crate::state::{StorePosition, StoreResult, Write};
use crate::topology::StoreId;

impl Task {
    /// Takes a changelog record in; it is in the store after [`Self::apply_restored`].
    pub fn restore(&mut self, store: StoreId, key: &[u8], value: Option<&[u8]>) {
        self.restored_bytes += key.len() + value.map_or(0, <[u8]>::len) + size_of::<Write>();
        self.restored.push(write(store, key, value));
    }

    /// Bytes waiting for [`Self::apply_restored`].
    pub fn restored_bytes(&self) -> usize {
        self.restored_bytes
    }

    /// Puts the changelog records taken in into the store, with how far they go.
    ///
    /// # Errors
    /// The disk; the records are then to be read again.
    pub fn apply_restored(&mut self, position: &StorePosition) -> StoreResult<()> {
        self.restored_bytes = 0;
        self.left = true;
        self.buffer.apply_restored(&mut self.restored.drain(..), position)
    }
}
