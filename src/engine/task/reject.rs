//! What becomes of records that cannot be processed: dead letters, or the topology stops.

use super::encode::encode_dead_letter;
use super::error::{Failure, Reason, Stopped, TaskError};
use super::{InputRecord, Outbox, OutboxMark, Part, Task};
use crate::engine::BadRecord;
use crate::topology::NodeId;
use crate::types::Timestamp;

impl Task {
    /// What becomes of a record that failed and was taken back.
    pub(super) fn bad(&mut self, failure: Failure, at: usize, record: &InputRecord<'_>) -> Result<(), TaskError> {
        match failure {
            Failure::Retry(message) => Err(TaskError::Retry(message)),
            Failure::Store(e) => Err(TaskError::Store(e)),
            Failure::Bad { reason, message } => self.reject(at, record, reason, &message),
        }
    }

    pub(super) fn reject(
        &mut self,
        at: usize,
        record: &InputRecord<'_>,
        reason: Reason,
        message: &str,
    ) -> Result<(), TaskError> {
        let node = self.plan.node(at);
        match self.plan.options.bad_record {
            BadRecord::DeadLetter => {
                encode_dead_letter(record, &node.name, reason, message, &mut self.outbox);
                self.metrics.count_dead_letter(reason);
                Ok(())
            }
            BadRecord::Stop => Err(self.stopped(at, record, reason, message)),
        }
    }

    /// The topology stops at this record.
    pub(super) fn stopped(&self, at: usize, record: &InputRecord<'_>, reason: Reason, message: &str) -> TaskError {
        let node = self.plan.node(at);
        TaskError::Stop(Box::new(Stopped {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
            node: node.id,
            node_name: node.name.to_string(),
            reason,
            message: message.to_string(),
        }))
    }

    /// Whether a source's records cannot be rejected: their rows are part of a table above this task.
    pub fn must_take(&self, source: NodeId) -> bool {
        let found = self.sources.iter().find(|(id, ..)| *id == source);
        found.is_some_and(|(.., codec)| codec.is_of_table_above())
    }

    /// As [`Self::process`], where the worker has found that a result of the record is larger than its topic takes, and the record
    /// [cannot be rejected](Self::must_take): the row is taken, and of what does not fit the row before is deleted and the new one a dead letter.
    ///
    /// # Errors
    /// As [`Self::process`].
    pub fn process_weighing(
        &mut self,
        source: NodeId,
        record: &InputRecord<'_>,
        now: Timestamp,
    ) -> Result<(), TaskError> {
        self.work.weighs = true;
        self.process(source, record, now)
    }

    /// Passes a record by that the worker has found to be bad (its results are larger than a topic takes), instead of [`Self::process`]. Where it
    /// carries a row of a table above this task, which cannot be rejected any more, the row that it replaces is taken back.
    ///
    /// # Errors
    /// [`TaskError::Stop`] under that policy.
    pub fn dead_letter(
        &mut self,
        source: NodeId,
        record: &InputRecord<'_>,
        (reason, message): (Reason, &str),
        now: Timestamp,
    ) -> Result<(), TaskError> {
        let found = self.sources.iter().find(|(id, ..)| *id == source);
        let (_, at, codec) = found.expect("a source of this sub-topology");
        let (at, of_table_above) = (*at, codec.is_of_table_above());
        if of_table_above {
            self.attempt(source, record, Part::OldRow, now)?;
        }
        self.count_in(record);
        self.reject(at, record, reason, message)
    }
}

/// Takes the last record back where its topic would not take it.
pub(super) fn check_size(outbox: &mut Outbox, mark: OutboxMark, max_bytes: usize) -> Result<(), Failure> {
    let bytes = outbox.last_bytes();
    if bytes <= max_bytes {
        return Ok(());
    }
    outbox.truncate(mark);
    let message = format!("a result of {bytes} bytes, and its topic takes {max_bytes} (max.message.bytes)");
    Err(Failure::bad(Reason::TooLarge, message))
}
