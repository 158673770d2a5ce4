//! Reading ahead: the rows of records that wait are read in one go, while it is worth it.

use super::Task;
use crate::state::StoreResult;
use crate::topology::NodeId;
use crate::types::Row;

/// Looking ahead is worth it where at least one row in so many is not in memory; else it is left out the next so many times.
const WORTH_LOOKING: usize = 8;
const PASSED_OVER: u32 = 15;

impl Task {
    /// Reads the rows of records that come next in one go; `keys` are theirs. It changes nothing but what the records then cost.
    ///
    /// # Errors
    /// The disk.
    ///
    /// # Panics
    /// As [`Self::process`].
    pub fn look_ahead(&mut self, sources: &[NodeId], keys: &[&[u8]]) -> StoreResult<()> {
        if keys.is_empty() {
            return Ok(());
        }
        if self.not_ahead > 0 {
            self.not_ahead -= 1;
            return Ok(());
        }
        // until their turn comes they are not evicted
        let most_bytes = self.plan.options.cache_bytes / 4;
        let (mut read, mut missing) = (0, 0);
        for source in sources {
            let found = self.sources.iter_mut().find(|(id, ..)| id == source);
            let (_, at, codec) = found.expect("a source of this sub-topology");
            let stores = &self.plan.nodes[*at].keyed;
            if stores.is_empty() {
                continue;
            }
            let keys: Vec<Row> = keys.iter().filter_map(|key| codec.key(key)).collect();
            for &store in stores {
                missing += self.buffer.preload(store, &keys, most_bytes)?;
                read += keys.len();
            }
        }
        if missing * WORTH_LOOKING < read {
            self.not_ahead = PASSED_OVER;
        }
        Ok(())
    }
}
