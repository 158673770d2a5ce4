//! WINDOW SESSION: a record joins the sessions of its key that it is near to, and they become one.
//!
//! The sessions of a key that take part do not overlap, so that those near a record stand together in the store, but for rows that have expired: they are
//! walked back from the last one that begins early enough. A session that a record has made longer is another row: the old one is deleted and the new one made, as Kafka Streams
//! does. The timestamp of both changes is the end of their session.
//!
//! *Invariant*: which sessions a record finds depends on stream time, not on how far expired rows have been deleted.

use crate::state::StoreResult;
use crate::state::buffer::Slot;
use crate::types::{Change, Row, Timestamp, Value, encode_key_prefix, prefix_end};

use super::window_aggregate::{WindowAggregate, windowed};
use super::window_clock::Reading;
use super::{Context, DropReason, OpError};

/// A session of a key.
struct Session {
    key: Row,
    start: i64,
    end: i64,
}

impl WindowAggregate {
    /// Puts a record into the session that it makes with those near to it.
    pub(super) fn session(
        &mut self,
        change: &Change,
        gap: i64,
        reading: &mut Reading,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        let near = self.near(change, gap, reading, ctx)?;
        let start = near.iter().map(|s| s.start).fold(change.timestamp, i64::min);
        let end = near.iter().map(|s| s.end).fold(change.timestamp, i64::max);
        if end <= self.plan.spec.closed_end(reading.stream_time) {
            ctx.dropped.push(DropReason::Late);
            return Ok(());
        }
        let key = windowed(&change.key, start, end);
        let slot = ctx.buffer.load(self.store(), &key)?;
        if let [same] = near.as_slice()
            && same.key == key
        {
            return self.within(slot, same, ctx);
        }
        // a row that is there all the same has expired, and another session begins where it was
        let old_timestamp = ctx.buffer.timestamp(slot);
        let old = self.given_out(slot, ctx)?;
        if ctx.buffer.row(slot).is_some() {
            self.groups.states.delete(slot, end, ctx)?;
        }
        for session in &near {
            let part = ctx.buffer.load(self.store(), &session.key)?;
            self.groups.states.merge(slot, part, ctx)?;
        }
        for session in &near {
            self.take_back(session, ctx)?;
        }
        self.clock.add(&key, reading, ctx)?;
        self.groups.states.put_in(slot, end, ctx)?;
        self.give_out(slot, (old, old_timestamp), ctx)
    }

    /// A record inside of the only session that it is near to: that is deleted and made anew, unless it has been a moment only (so does Kafka
    /// Streams).
    fn within(&mut self, slot: Slot, session: &Session, ctx: &mut Context<'_>) -> Result<(), OpError> {
        if session.start == session.end || !self.gives_out_changes() {
            return self.put_in(slot, session.end, ctx);
        }
        let deleted = self.deletion(slot, ctx)?;
        ctx.out.push(deleted);
        self.groups.states.put_in(slot, session.end, ctx)?;
        self.give_out(slot, (None, Timestamp::MIN), ctx)
    }

    /// Deletes a session that has become part of another one.
    fn take_back(&mut self, session: &Session, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let slot = ctx.buffer.load(self.store(), &session.key)?;
        if self.gives_out_changes() {
            let deleted = self.deletion(slot, ctx)?;
            ctx.out.push(deleted);
        }
        self.groups.states.delete(slot, session.end, ctx)?;
        self.clock.remove(&session.key, ctx)?;
        Ok(())
    }

    /// The deletion of what was given out of a session last.
    fn deletion(&self, slot: Slot, ctx: &mut Context<'_>) -> StoreResult<Change> {
        let timestamp = ctx.buffer.timestamp(slot);
        Ok(Change {
            key: ctx.buffer.key(slot).clone(),
            old: self.given_out(slot, ctx)?,
            new: None,
            timestamp,
            old_timestamp: timestamp,
            headers: None,
        })
    }

    /// The sessions of the record's key that are no further from it than the gap, from the first to the last.
    fn near(&self, change: &Change, gap: i64, reading: &Reading, ctx: &mut Context<'_>) -> StoreResult<Vec<Session>> {
        let earliest_end = change.timestamp.saturating_sub(gap);
        let gone = reading.stream_time.saturating_sub(self.plan.spec.joinable_ms);
        let mut from = Vec::new();
        encode_key_prefix(&change.key, &mut from);
        let mut last = from.clone();
        encode_key_prefix(&[Value::Bigint(change.timestamp.saturating_add(gap))], &mut last);
        let mut found = Vec::new();
        let to = prefix_end(&last);
        ctx.buffer
            .scan_back(self.store(), &from, to.as_deref(), &mut |key, _, _| {
                let Some([Value::Bigint(start), Value::Bigint(end)]) = key.last_chunk() else {
                    return true;
                };
                if *end <= gone {
                    // what is kept of it takes no part; a session that a late record has made longer may begin before it
                    return true;
                }
                if *end < earliest_end {
                    return false;
                }
                found.push(Session {
                    key: key.clone(),
                    start: *start,
                    end: *end,
                });
                // whatever is before it ends more than the gap before it begins
                *start > change.timestamp
            })?;
        found.reverse();
        Ok(found)
    }
}
