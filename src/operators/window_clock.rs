//! The stream time of a windowed aggregation, and its windows in the order of their ends.
//!
//! Stream time is the largest timestamp of the records that this operator has seen. It is one row of a store, beside the ends of the first window that may
//! be closed and of the first that may expire, so that most records need no look at the windows' order:
//!
//! ```text
//! time:  0                -> stream time | next end to close | next end to expire
//! ends:  end, key, start  -> nothing
//! ```
//!
//! *Invariant*: no window that is neither closed nor expired ends before the two noted ends.

use crate::state::StoreResult;
use crate::state::buffer::Slot;
use crate::topology::{StoreId, WindowAggregate};
use crate::types::{Row, Timestamp, Value, encode_key_prefix};

use super::Context;

/// Expired rows deleted for one record at most: the work of a jump in time is spread over the records after it.
pub(super) const MAX_EXPIRED_PER_RECORD: usize = 64;

/// No window is waited for.
const NEVER: i64 = i64::MAX;

/// The stores. See the module.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    time: StoreId,
    ends: StoreId,
}

/// What the store of times says, for one record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reading {
    slot: Slot,
    was: Option<[i64; 3]>,
    /// The largest timestamp seen, that of the record included.
    pub stream_time: Timestamp,
    /// No window that is still open ends before.
    pub next_close: i64,
    /// No window that is still kept ends before.
    pub next_expiry: i64,
}

/// A window of a key: the key's columns with start and end.
pub(super) struct Ending {
    /// When it ends.
    pub end: i64,
    /// The key of its row.
    pub key: Row,
}

impl Clock {
    pub fn new(plan: &WindowAggregate) -> Self {
        Self {
            time: plan.time,
            ends: plan.ends,
        }
    }

    /// A clock over stores of its own layout: what ends need not be a window.
    pub fn over(time: StoreId, ends: StoreId) -> Self {
        Self { time, ends }
    }

    /// Stream time without a new record.
    pub fn read(&self, ctx: &mut Context<'_>) -> StoreResult<Reading> {
        let slot = ctx.buffer.load(self.time, &Row::from([Value::Integer(0)]))?;
        let was = ctx.buffer.row(slot).and_then(|row| match row[..] {
            [Value::Bigint(time), Value::Bigint(close), Value::Bigint(expiry)] => Some([time, close, expiry]),
            _ => None,
        });
        let [stream_time, next_close, next_expiry] = was.unwrap_or([Timestamp::MIN, NEVER, NEVER]);
        Ok(Reading {
            slot,
            was,
            stream_time,
            next_close,
            next_expiry,
        })
    }

    /// Stream time with a record of this timestamp.
    pub fn observe(&self, timestamp: Timestamp, ctx: &mut Context<'_>) -> StoreResult<Reading> {
        let mut reading = self.read(ctx)?;
        reading.stream_time = reading.stream_time.max(timestamp);
        Ok(reading)
    }

    /// Keeps what has changed of a reading.
    pub fn keep(&self, reading: &Reading, ctx: &mut Context<'_>) {
        let now = [reading.stream_time, reading.next_close, reading.next_expiry];
        if reading.was != Some(now) {
            let row = Row::from(now.map(Value::Bigint));
            ctx.buffer.put(reading.slot, Some(row), reading.stream_time);
        }
    }

    /// Notes a new window; `key` ends with its start and end.
    pub fn add(&self, key: &[Value], reading: &mut Reading, ctx: &mut Context<'_>) -> StoreResult<()> {
        let (end, ending) = by_end(key);
        let slot = ctx.buffer.load(self.ends, &ending)?;
        ctx.buffer.put(slot, Some(Row::empty()), end);
        reading.next_close = reading.next_close.min(end);
        reading.next_expiry = reading.next_expiry.min(end);
        Ok(())
    }

    /// Forgets a window.
    pub fn remove(&self, key: &[Value], ctx: &mut Context<'_>) -> StoreResult<()> {
        let (end, ending) = by_end(key);
        let slot = ctx.buffer.load(self.ends, &ending)?;
        if ctx.buffer.row(slot).is_some() {
            ctx.buffer.put(slot, None, end);
        }
        Ok(())
    }

    /// The windows that end from `from` up to `last`, by (end, key), at most so many; and the end of the first one after them ([`i64::MAX`]: none).
    pub fn ended(
        &self,
        (from, last): (i64, i64),
        most: usize,
        ctx: &mut Context<'_>,
    ) -> StoreResult<(Vec<Ending>, i64)> {
        let mut first = Vec::new();
        encode_key_prefix(&[Value::Bigint(from)], &mut first);
        let (mut found, mut next) = (Vec::new(), NEVER);
        ctx.buffer.scan(self.ends, &first, None, &mut |row, _, _| {
            let Some(Value::Bigint(end)) = row.first() else {
                return true;
            };
            if *end > last || found.len() == most {
                next = *end;
                return false;
            }
            found.push(Ending {
                end: *end,
                key: by_key(row),
            });
            true
        })?;
        Ok((found, next))
    }
}

/// (key, start, end) as (end, key, start), with the end.
fn by_end(key: &[Value]) -> (i64, Row) {
    let (end, rest) = match key.split_last() {
        Some((Value::Bigint(end), rest)) => (*end, rest),
        _ => (NEVER, key),
    };
    let row = std::iter::once(Value::Bigint(end)).chain(rest.iter().cloned());
    (end, row.collect())
}

/// (end, key, start) as (key, start, end).
fn by_key(row: &[Value]) -> Row {
    let (end, rest) = row.split_at(1.min(row.len()));
    rest.iter().chain(end).cloned().collect()
}
