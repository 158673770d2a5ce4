//! A table's rows by their time: the newest ones in the table's own store, what they replaced in a second one, for as long as the table's stream time allows.
//! Semantics are those of Kafka Streams' versioned stores (KIP-889, KIP-914).
//!
//! ```text
//! rows:      key       -> the newest row, unless it is a deletion
//! versions:  key, time -> whether there is a row | its columns      what was replaced, and every deletion
//! ends:      end, key, time -> nothing                              when a version is needed no longer
//! ```
//!
//! A version ends where the next one of its key begins; a deletion ends where it begins, since nothing found and a deletion found are the same answer once
//! nothing older is left. Ends are passed in the order (end, key, time), so no older version outlives a deletion that hides it.
//!
//! *Invariant*: the newest row of a key is the one with the largest timestamp (of equal ones the last to come), whatever order they came in; so a look-up at the newest time
//! and the table agree.

use crate::state::StoreResult;
use crate::state::buffer::{Buffer, Slot};
use crate::topology::{AsOf, History, StoreId};
use crate::types::{Change, Row, Timestamp, Value, encode_key, encode_key_prefix, prefix_end};

use super::table_plan::EachKeyRow;
use super::window_clock::{Clock, MAX_EXPIRED_PER_RECORD};
use super::{Context, DropReason, Looked, RowReader};

/// A version that is not the newest row.
struct Version {
    time: Timestamp,
    /// `None`: deleted at that time.
    row: Option<Row>,
}

/// Keeps the history of one table.
pub(super) struct Versions {
    history: History,
    rows: StoreId,
    clock: Clock,
}

impl Versions {
    pub(super) fn new(rows: StoreId, history: History) -> Self {
        let clock = Clock::over(history.time, history.ends);
        Self { history, rows, clock }
    }

    /// Puts a row or deletion into its place. The change of the newest row, if it is one: the deletion of what was not there, too.
    pub(super) fn put(&self, change: Change, ctx: &mut Context<'_>) -> StoreResult<Option<Change>> {
        let mut reading = self.clock.read(ctx)?;
        if change.timestamp < horizon(reading.stream_time, &self.history) {
            ctx.dropped.push(DropReason::Late);
            return Ok(None);
        }
        reading.stream_time = reading.stream_time.max(change.timestamp);
        let slot = ctx.buffer.load(self.rows, &change.key)?;
        let live = ctx.buffer.row(slot).cloned();
        let newest = match &live {
            Some(_) => Some(ctx.buffer.timestamp(slot)),
            None => self
                .at(&change.key, Timestamp::MAX, ctx.buffer)?
                .map(|version| version.time),
        };
        let mut ends = Ends {
            versions: self,
            reading: &mut reading,
        };
        let changed = match newest {
            Some(newest) if change.timestamp < newest => {
                self.put_between(&change, live.is_some().then_some(newest), &mut ends, ctx)?;
                None
            }
            newest => Some(self.put_newest(change, (slot, live, newest), &mut ends, ctx)?),
        };
        self.expire(&mut ends, ctx)?;
        self.clock.keep(&reading, ctx);
        Ok(changed)
    }

    /// The row that was the newest moves to the history.
    fn put_newest(
        &self,
        change: Change,
        (slot, live, newest): (Slot, Option<Row>, Option<Timestamp>),
        ends: &mut Ends<'_>,
        ctx: &mut Context<'_>,
    ) -> StoreResult<Change> {
        let (key, time) = (&change.key, change.timestamp);
        match (&live, newest) {
            (Some(row), Some(before)) if before < time => {
                self.write(key, before, Some(row), ctx)?;
                ends.add(key, before, time, ctx)?;
            }
            // a deletion of the same time is replaced
            (None, Some(before)) if before == time && change.new.is_some() => {
                self.forget(key, time, ctx)?;
                ends.remove(key, time, time, ctx)?;
            }
            _ => {}
        }
        let old_timestamp = live.as_ref().map_or(Timestamp::MIN, |_| newest.unwrap_or(time));
        if change.new.is_some() || live.is_some() {
            ctx.buffer.put(slot, change.new.clone(), time);
        }
        if change.new.is_none() {
            self.write(key, time, None, ctx)?;
            ends.add(key, time, time, ctx)?;
        }
        Ok(Change {
            old: live,
            old_timestamp,
            ..change
        })
    }

    /// A late one: it ends the version before it, and ends where the next one begins.
    fn put_between(
        &self,
        change: &Change,
        live: Option<Timestamp>,
        ends: &mut Ends<'_>,
        ctx: &mut Context<'_>,
    ) -> StoreResult<()> {
        let (key, time) = (&change.key, change.timestamp);
        let next = self.first_after(key, time, ctx.buffer)?.or(live).unwrap_or(time);
        let end_of = |row: &Option<Row>, from: Timestamp| if row.is_some() { next } else { from };
        match self.at(key, time, ctx.buffer)? {
            Some(same) if same.time == time => ends.remove(key, time, end_of(&same.row, time), ctx)?,
            Some(before) if before.row.is_some() => {
                ends.remove(key, before.time, next, ctx)?;
                ends.add(key, before.time, time, ctx)?;
            }
            Some(_) | None => {}
        }
        self.write(key, time, change.new.as_ref(), ctx)?;
        ends.add(key, time, end_of(&change.new, time), ctx)
    }

    /// Deletes some of what is needed no longer.
    fn expire(&self, ends: &mut Ends<'_>, ctx: &mut Context<'_>) -> StoreResult<()> {
        let last = horizon(ends.reading.stream_time, &self.history);
        let from = ends.reading.next_expiry;
        if from > last {
            return Ok(());
        }
        let (ended, next) = self.clock.ended((from, last), MAX_EXPIRED_PER_RECORD, ctx)?;
        ends.reading.next_expiry = next;
        for ending in ended {
            // (key, time, end)
            let (end, version) = ending.key.split_last().unwrap_or((&Value::Null, &[]));
            debug_assert_eq!(*end, Value::Bigint(ending.end));
            let slot = ctx
                .buffer
                .load(self.history.versions, &version.iter().cloned().collect())?;
            ctx.buffer.put(slot, None, ending.end);
            self.clock.remove(&ending.key, ctx)?;
        }
        Ok(())
    }

    fn write(&self, key: &Row, time: Timestamp, row: Option<&Row>, ctx: &mut Context<'_>) -> StoreResult<()> {
        let slot = ctx.buffer.load(self.history.versions, &version_key(key, time))?;
        let there = [Value::Boolean(row.is_some())].into_iter();
        let version = there.chain(row.into_iter().flat_map(|row| row.iter().cloned()));
        ctx.buffer.put(slot, Some(version.collect()), time);
        Ok(())
    }

    fn forget(&self, key: &Row, time: Timestamp, ctx: &mut Context<'_>) -> StoreResult<()> {
        let slot = ctx.buffer.load(self.history.versions, &version_key(key, time))?;
        ctx.buffer.put(slot, None, time);
        Ok(())
    }

    fn at(&self, key: &Row, time: Timestamp, buffer: &Buffer) -> StoreResult<Option<Version>> {
        version_at(&self.history, key, time, buffer)
    }

    /// When the first version after a time begins, the newest row aside.
    fn first_after(&self, key: &Row, time: Timestamp, buffer: &Buffer) -> StoreResult<Option<Timestamp>> {
        let Some(after) = time.checked_add(1) else {
            return Ok(None);
        };
        let (from, to) = (encoded(key, Some(after)), prefix_end(&encoded(key, None)));
        let mut found = None;
        buffer.scan(self.history.versions, &from, to.as_deref(), &mut |key, _, _| {
            found = time_of(key);
            false
        })?;
        Ok(found)
    }
}

/// The order of the ends, with the clock's reading that knows the first one.
struct Ends<'a> {
    versions: &'a Versions,
    reading: &'a mut super::window_clock::Reading,
}

impl Ends<'_> {
    fn add(&mut self, key: &Row, time: Timestamp, end: Timestamp, ctx: &mut Context<'_>) -> StoreResult<()> {
        self.versions.clock.add(&version_end(key, time, end), self.reading, ctx)
    }

    fn remove(&self, key: &Row, time: Timestamp, end: Timestamp, ctx: &mut Context<'_>) -> StoreResult<()> {
        self.versions.clock.remove(&version_end(key, time, end), ctx)
    }
}

/// What is older cannot be looked up, unless it is the newest row still.
fn horizon(stream_time: Timestamp, history: &History) -> Timestamp {
    stream_time.saturating_sub(history.retention_ms)
}

fn version_key(key: &Row, time: Timestamp) -> Row {
    key.iter().cloned().chain([Value::Bigint(time)]).collect()
}

fn version_end(key: &Row, time: Timestamp, end: Timestamp) -> Row {
    let times = [Value::Bigint(time), Value::Bigint(end)];
    key.iter().cloned().chain(times).collect()
}

fn time_of(version_key: &Row) -> Option<Timestamp> {
    match version_key.last() {
        Some(Value::Bigint(time)) => Some(*time),
        _ => None,
    }
}

fn encoded(key: &Row, time: Option<Timestamp>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_key(key, &mut bytes);
    if let Some(time) = time {
        encode_key_prefix(&[Value::Bigint(time)], &mut bytes);
    }
    bytes
}

/// The version that was valid at a time, the newest row aside.
fn version_at(history: &History, key: &Row, time: Timestamp, buffer: &Buffer) -> StoreResult<Option<Version>> {
    let from = encoded(key, None);
    let to = match time.checked_add(1) {
        Some(after) => Some(encoded(key, Some(after))),
        None => prefix_end(&from),
    };
    let mut found = None;
    buffer.scan_back(history.versions, &from, to.as_deref(), &mut |key, row, _| {
        let there = matches!(row.first(), Some(Value::Boolean(true)));
        found = time_of(key).map(|time| Version {
            time,
            row: there.then(|| row.iter().skip(1).cloned().collect()),
        });
        false
    })?;
    Ok(found)
}

/// Rows as they were at a time, through the buffer.
pub(super) struct AtTime<'a> {
    buffer: &'a mut Buffer,
    as_of: &'a AsOf,
    time: Timestamp,
    /// A row was asked for that the history no longer reaches: nothing was answered.
    pub too_old: bool,
}

impl<'a> AtTime<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, as_of: &'a AsOf, time: Timestamp) -> Self {
        Self {
            buffer,
            as_of,
            time,
            too_old: false,
        }
    }

    fn stream_time(&mut self, history: &History) -> StoreResult<Timestamp> {
        let slot = self.buffer.load(history.time, &Row::from([Value::Integer(0)]))?;
        Ok(match self.buffer.row(slot).and_then(|row| row.first()) {
            Some(Value::Bigint(time)) => *time,
            _ => Timestamp::MIN,
        })
    }
}

impl RowReader for AtTime<'_> {
    fn read(&mut self, store: StoreId, key: &Row) -> StoreResult<Looked> {
        let nothing = Looked {
            row: None,
            timestamp: Timestamp::MIN,
        };
        let slot = self.buffer.load(store, key)?;
        let timestamp = self.buffer.timestamp(slot);
        if let Some(row) = self.buffer.row(slot)
            && timestamp <= self.time
        {
            return Ok(Looked {
                row: Some(row.clone()),
                timestamp,
            });
        }
        let as_of = self.as_of;
        let Some((_, history)) = as_of.histories.iter().find(|(of, _)| *of == store) else {
            return Ok(nothing);
        };
        if self.time < horizon(self.stream_time(history)?, history) {
            self.too_old = true;
            return Ok(nothing);
        }
        Ok(match version_at(history, key, self.time, self.buffer)? {
            Some(version) => Looked {
                timestamp: version.time,
                row: version.row,
            },
            None => nothing,
        })
    }

    fn scan(&mut self, _: StoreId, _: &[u8], _: Option<&[u8]>, _: EachKeyRow<'_>) -> StoreResult<()> {
        // only aggregates scan, and they have no history
        Ok(())
    }
}
