//! The flush before a commit: held-back operators forward, then the generation is frozen.

use crate::engine::outbox::Dest;
use crate::log::HeadersRef;
use crate::operators::Held;
use crate::types::{Row, Timestamp, encode_key, encode_row};

use super::error::{Failure, TaskError};
use super::{InputRecord, Task, context};

/// The offset in the dead letter of a row that was forwarded at a flush: it stems from no single record.
const NO_OFFSET: i64 = -1;

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
            let at = self.leaving[i];
            let mark = self.outbox.mark();
            self.buffer.begin();
            let ctx = &mut context(&mut self.buffer, &mut self.work, now);
            let done = self.nodes[at].operator.go_on(ctx).map_err(Failure::Store);
            let carried = done.and_then(|more| {
                let next = self.carry_on(at)?;
                self.run_rest(next, now)?;
                Ok(more)
            });
            match carried {
                Ok(more) => busy |= more,
                Err(failure) => {
                    self.buffer.rollback();
                    self.outbox.truncate(mark);
                    let node = self.clear_work();
                    let nothing = HeldRow {
                        key: Row::empty(),
                        value: None,
                        timestamp: now,
                    };
                    self.bad_row(failure, node, &nothing)?;
                }
            }
        }
        self.left = busy;
        Ok(busy)
    }

    fn flush(&mut self, now: Timestamp) -> Result<(), TaskError> {
        for at in 0..self.nodes.len() {
            let mut held = std::mem::take(&mut self.work.held);
            self.work.irrevocable = true;
            let result = self.flush_node(at, &mut held, now);
            self.work.irrevocable = false;
            held.clear();
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
                Ok(()) => {
                    for (node, reason, message) in std::mem::take(&mut self.work.failures) {
                        self.bad_row(Failure::Bad { reason, message }, node, &row)?;
                    }
                }
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

    /// What becomes of a held-back row that could not be forwarded: its letter holds key and row in our own codecs.
    fn bad_row(&mut self, failure: Failure, at: usize, row: &HeldRow) -> Result<(), TaskError> {
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
        self.bad(failure, at, &record)
    }
}

/// A row on its way, for its dead letter.
struct HeldRow {
    key: Row,
    value: Option<Row>,
    timestamp: Timestamp,
}
