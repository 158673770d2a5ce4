//! The flush before a commit: held-back operators forward, then the generation is frozen.

use crate::engine::outbox::Dest;
use crate::log::HeadersRef;
use crate::operators::Held;
use crate::types::{Row, Timestamp, encode_key, encode_row};

use super::error::{Failure, TaskError};
use super::{InputRecord, Task, context};

/// The offset in the dead letter of a row that was forwarded at a flush: it stems from no single record.
const NO_OFFSET: i64 = -1;

/// Room for so many keys is kept from one flush to the next.
const KEPT_HELD: usize = 1_024;

impl Task {
    /// Forwards what was held back, each key once, inputs before users, and freezes the generation: [`Self::frozen`] is then to be sent.
    ///
    /// # Errors
    /// Everything is as before, and the call may be repeated: see [`TaskError`].
    ///
    /// # Panics
    /// When the generation before is neither committed nor aborted.
    pub fn prepare_commit(&mut self, now: Timestamp) -> Result<(), TaskError> {
        assert!(self.frozen.is_none(), "a generation is being committed");
        // a row that was held back may leave work, too
        self.left = true;
        let mark = self.outbox.mark();
        let metrics = self.metrics.clone();
        self.buffer.begin();
        if let Err(e) = self.flush(now) {
            self.buffer.rollback();
            self.outbox.truncate(mark);
            self.clear_work();
            self.metrics = metrics;
            return Err(e);
        }
        self.work.weighs = false;
        let mut frozen = std::mem::take(&mut self.outbox);
        self.outbox = std::mem::take(&mut self.spare);
        self.metrics.records_out += frozen.len() as u64;
        let results = frozen.len();
        self.buffer.freeze(&mut |store, key, value, timestamp| {
            frozen.push(Dest::Changelog(store), timestamp, None, Some(key), value);
        });
        self.metrics.changelog_out += (frozen.len() - results) as u64;
        self.frozen = Some(frozen);
        Ok(())
    }

    /// Does a bounded piece of the work that records have left (subscribers of a foreign-key join that are still to be told); whether there was any. The
    /// caller goes on with it as with records: until there is none, committing when the buffer is full.
    ///
    /// # Errors
    /// Nothing of the piece stays, and the call may be repeated: see [`TaskError`].
    pub fn go_on(&mut self, now: Timestamp) -> Result<bool, TaskError> {
        if self.leaving.is_empty() || !self.left {
            return Ok(false);
        }
        let mut busy = false;
        for i in 0..self.leaving.len() {
            let mark = self.outbox.mark();
            self.buffer.begin();
            // the rows are taken, and no record could be found and put aside for what a piece sends
            let weighs = std::mem::replace(&mut self.work.weighs, true);
            self.work.irrevocable = true;
            let done = self.do_piece(self.leaving[i], now);
            self.work.irrevocable = false;
            self.work.weighs = weighs;
            match done {
                Ok(more) => busy |= more,
                Err(error) => {
                    self.buffer.rollback();
                    self.outbox.truncate(mark);
                    self.clear_work();
                    return Err(error);
                }
            }
        }
        self.left = busy;
        Ok(busy)
    }

    /// A piece of what a node has left to do. A failure that leaves nothing to go on with stops the topology: the piece would be tried again for ever.
    fn do_piece(&mut self, at: usize, now: Timestamp) -> Result<bool, TaskError> {
        let ctx = &mut context(&mut self.buffer, &mut self.work, now);
        let more = self.nodes[at].operator.go_on(ctx).map_err(TaskError::Store)?;
        let carried = self.carry_on(at).and_then(|next| self.run_rest(next, now));
        self.count_drops(None);
        let nothing = HeldRow {
            key: Row::empty(),
            value: None,
            timestamp: now,
        };
        match carried {
            Ok(()) => self.bad_rows(&nothing)?,
            Err(Failure::Bad { reason, message }) => {
                let node = self.work.node;
                return Err(self.with_record(node, &nothing, |task, record| {
                    task.stopped(node, record, reason, &message)
                }));
            }
            Err(Failure::Retry(text)) => return Err(TaskError::Retry(text)),
            Err(Failure::Store(error)) => return Err(TaskError::Store(error)),
        }
        Ok(more)
    }

    fn flush(&mut self, now: Timestamp) -> Result<(), TaskError> {
        for at in 0..self.nodes.len() {
            let mut held = std::mem::take(&mut self.work.held);
            self.work.irrevocable = true;
            let result = self.flush_node(at, &mut held, now);
            self.work.irrevocable = false;
            held.clear();
            held.shrink_to(KEPT_HELD);
            self.work.held = held;
            result?;
        }
        Ok(())
    }

    fn flush_node(&mut self, at: usize, held: &mut Vec<Held>, now: Timestamp) -> Result<(), TaskError> {
        let listed = self.nodes[at]
            .operator
            .flush(&mut context(&mut self.buffer, &mut self.work, now), held);
        listed.map_err(TaskError::Store)?;
        for held in held.drain(..) {
            let savepoint = self.buffer.savepoint();
            let mark = self.outbox.mark();
            let mut row = self.held_row(&held);
            let ctx = &mut context(&mut self.buffer, &mut self.work, now);
            self.nodes[at].operator.forward(held, ctx).map_err(TaskError::Store)?;
            match self.work.out.first() {
                Some(change) => row.value.clone_from(&change.new),
                None if self.work.failed.is_empty() => continue,
                None => {}
            }
            let forwarded = self.carry_on(at).and_then(|next| self.run_rest(next, now));
            self.count_drops(None);
            match forwarded {
                // branches that could compute the row have it, the others have deleted it
                Ok(()) => self.bad_rows(&row)?,
                Err(failure) => {
                    self.buffer.rollback_to(savepoint);
                    self.outbox.truncate(mark);
                    let node = self.clear_work();
                    self.bad_row(failure, node, &row)?;
                }
            }
        }
        Ok(())
    }

    /// A row before it is computed.
    fn held_row(&self, held: &Held) -> HeldRow {
        let (key, timestamp) = match held {
            Held::Slot(slot) => (self.buffer.key(*slot), self.buffer.timestamp(*slot)),
            Held::Change(change) => (&change.key, change.timestamp),
        };
        HeldRow {
            key: key.clone(),
            value: None,
            timestamp,
        }
    }

    /// What failed on the way of a row that was forwarded otherwise.
    fn bad_rows(&mut self, row: &HeldRow) -> Result<(), TaskError> {
        for (node, reason, message) in std::mem::take(&mut self.work.failures) {
            self.bad_row(Failure::Bad { reason, message }, node, row)?;
        }
        Ok(())
    }

    /// What becomes of a held-back row that could not be forwarded: its letter holds key and row in our own codecs.
    fn bad_row(&mut self, failure: Failure, at: usize, row: &HeldRow) -> Result<(), TaskError> {
        self.with_record(at, row, |task, record| task.bad(failure, at, record))
    }

    /// Hands a row on as if it were a record of its node's.
    fn with_record<R>(&mut self, at: usize, row: &HeldRow, run: impl FnOnce(&mut Self, &InputRecord<'_>) -> R) -> R {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        encode_key(&row.key, &mut key);
        if let Some(row) = &row.value {
            encode_row(row, &mut value);
        }
        let name = self.plan.node(at).name.clone();
        let record = InputRecord {
            topic: &name,
            partition: self.partition,
            offset: NO_OFFSET,
            timestamp: row.timestamp,
            key: Some(&key),
            value: row.value.is_some().then_some(&value[..]),
            headers: HeadersRef::None,
        };
        run(self, &record)
    }
}

/// A row on its way, for its dead letter.
struct HeldRow {
    key: Row,
    value: Option<Row>,
    timestamp: Timestamp,
}
