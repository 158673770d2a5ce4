//! How far a topology's groups and topics are, for readers who wait until a view has caught up with a write.
//!
//! *Is not* in the way of data: it asks Kafka what is committed, and only when somebody waits.

use std::sync::Arc;

use super::Names;
use crate::log::{Log, LogError};
use crate::types::TopicPartition;

/// Committed offsets and ends of partitions; calls may block.
pub trait Progress: Send + Sync {
    /// The names of a generation's group and internal topics.
    fn names(&self, topology: &str, generation: u32) -> Names;
    /// What a group has committed, read stable; `None`: nothing yet.
    ///
    /// # Errors
    /// When the log is away: why.
    fn committed(&self, group: &str, inputs: &[TopicPartition]) -> Result<Vec<Option<i64>>, String>;
    /// The end of a partition, with records whose transaction's markers are still on their way.
    ///
    /// # Errors
    /// When the log is away: why.
    fn end(&self, partition: &TopicPartition) -> Result<i64, String>;
    /// The ends of several partitions, as [`Self::end`]; in one question where that can be asked.
    ///
    /// # Errors
    /// As [`Self::end`].
    fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>, String> {
        partitions.iter().map(|partition| self.end(partition)).collect()
    }
}

/// As the log says.
pub struct LogProgress {
    log: Arc<dyn Log>,
    app_id: String,
}

impl LogProgress {
    /// Of the application with this id.
    pub fn new(log: Arc<dyn Log>, app_id: &str) -> Self {
        Self {
            log,
            app_id: app_id.into(),
        }
    }
}

impl Progress for LogProgress {
    fn names(&self, topology: &str, generation: u32) -> Names {
        Names::new(&self.app_id, topology, generation)
    }

    fn committed(&self, group: &str, inputs: &[TopicPartition]) -> Result<Vec<Option<i64>>, String> {
        let said = |error: LogError| format!("the committed offsets of {group} cannot be read: {error}");
        self.log.admin().committed(group, inputs).map_err(said)
    }

    fn end(&self, partition: &TopicPartition) -> Result<i64, String> {
        let ends = self.ends(std::slice::from_ref(partition))?;
        ends.first()
            .copied()
            .ok_or_else(|| format!("the end of {partition} was not told"))
    }

    fn ends(&self, partitions: &[TopicPartition]) -> Result<Vec<i64>, String> {
        // Offsets of a group can be read before the last marker of its transaction is written: the stable end may then lie before its records.
        let said = |error: LogError| format!("the ends of what follows cannot be read: {error}");
        self.log.admin().ends(partitions).map_err(said)
    }
}
