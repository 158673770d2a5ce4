//! The right side: who asked for which key, and what they are answered.
//!
//! A right row may have any number of subscribers, so that telling all of them of a change is no work for one record or one transaction: the first ones are told at once,
//! the others in chunks that the task asks for between records ([`Answer::go_on`]). How far that has come is a row of a store:
//!
//! ```text
//! fan-outs:  foreign key -> the subscriber told last | where to stop the second time around | whether the end comes first
//! ```
//!
//! What is told is the newest right row, not the one of the change. When the row changes again meanwhile, the round goes on where it is and then comes around to this place:
//! every subscriber hears of the newest row, and none waits because the row keeps changing.
//!
//! Where the right table is held back until commit, its newest row is the one that it forwarded last: an answer with a later one would be taken back by nobody, were that
//! row gone again when the table forwards.
//!
//! Where more rows have subscribers to be told than go on side by side, they take turns: the empty key holds the foreign key that was served last.

use crate::state::StoreResult;
use crate::topology;
use crate::types::{Change, Row, Timestamp, Value, encode_key, prefix_end};

use super::super::{AtStart, Context, Looked, Mode, Newest, OpError, Side, table_plan::row_of};
use super::{is_true, number, part};

/// Rows whose subscribers are being told go on side by side, so many at most; the others wait.
const ROUNDS_AT_ONCE: usize = 16;

/// See the module above.
pub struct Answer {
    plan: topology::ForeignKeyAnswer,
    right_width: usize,
    /// Answers given at once, at most.
    chunk: usize,
    right_holds: bool,
}

/// How far the subscribers of a right row have been told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Round {
    /// The encoded (foreign key, primary key) told last.
    told: Option<Vec<u8>>,
    /// Where to stop.
    until: Option<Vec<u8>>,
    /// The end of the subscribers comes before that.
    wraps: bool,
}

impl Round {
    fn of(row: &Row) -> Self {
        let bytes = |at: usize| match row.get(at) {
            Some(Value::Bytes(bytes)) => Some(bytes.to_vec()),
            _ => None,
        };
        Self {
            told: bytes(0),
            until: bytes(1),
            wraps: is_true(row, 2),
        }
    }

    fn row(&self) -> Row {
        let value = |bytes: &Option<Vec<u8>>| {
            bytes
                .as_ref()
                .map_or(Value::Null, |b| Value::Bytes(b.as_slice().into()))
        };
        Row::from([value(&self.told), value(&self.until), Value::Boolean(self.wraps)])
    }

    /// The row has changed again: everybody is to be told, from here on around.
    fn again(&mut self) {
        if let Some(told) = &self.told {
            self.until = Some(told.clone());
            self.wraps = true;
        }
    }
}

impl Answer {
    pub(in crate::operators) fn new(plan: topology::ForeignKeyAnswer, right_width: usize, mode: Mode) -> Self {
        Self {
            plan,
            right_width,
            chunk: mode.fan_out.max(1),
            right_holds: mode.right_holds,
        }
    }

    pub(in crate::operators) fn process(
        &mut self,
        side: Side,
        change: Change,
        ctx: &mut Context<'_>,
    ) -> Result<(), OpError> {
        match (side, &change.new) {
            (0, Some(asking)) => self.asked(&change, asking, ctx),
            (0, None) => Ok(()),
            (_, None) if change.old.is_none() => Ok(()),
            _ => Ok(self.changed(change, ctx)?),
        }
    }

    /// A left row subscribes, or takes its subscription back.
    fn asked(&self, change: &Change, asking: &Row, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let keys = self.plan.primary_key;
        let primary = part(asking, 0, keys);
        let version = number(asking, keys);
        let pair: Row = change.key.iter().chain(primary.iter()).cloned().collect();
        let slot = ctx.buffer.load(self.plan.subscribers, &pair)?;
        if !is_true(asking, keys + 1) {
            if ctx.buffer.row(slot).is_some() {
                ctx.buffer.put(slot, None, change.timestamp);
            }
            return Ok(());
        }
        ctx.buffer
            .put(slot, Some(Row::from([Value::Bigint(version)])), change.timestamp);
        let right = self.right(&change.key, ctx)?;
        let timestamp = match right.row {
            Some(_) => right.timestamp,
            None => change.timestamp,
        };
        let answer = self.answer(primary, version, right.row.as_ref(), timestamp);
        ctx.out.push(answer);
        Ok(())
    }

    /// The right row as those behind the table know it.
    fn right(&self, key: &Row, ctx: &mut Context<'_>) -> StoreResult<Looked> {
        match self.right_holds {
            true => row_of(&self.plan.right, &mut AtStart(ctx.buffer), key, ctx.now),
            false => row_of(&self.plan.right, &mut Newest(ctx.buffer), key, ctx.now),
        }
    }

    /// A right row has changed: all that asked for it hear of it, the first ones at once.
    fn changed(&self, change: Change, ctx: &mut Context<'_>) -> StoreResult<()> {
        let slot = ctx.buffer.load(self.plan.fan_outs, &change.key)?;
        let mut round = ctx.buffer.row(slot).map(Round::of).unwrap_or_default();
        round.again();
        let right = Looked {
            row: change.new,
            timestamp: change.timestamp,
        };
        self.tell(&change.key, round, &right, self.chunk, ctx)
    }

    /// Tells some more of those that are still to be told; whether there was anybody.
    pub(in crate::operators) fn go_on(&self, ctx: &mut Context<'_>) -> StoreResult<bool> {
        let turn = ctx.buffer.load(self.plan.fan_outs, &Row::empty())?;
        let served = ctx.buffer.row(turn).and_then(|row| Round::of(row).told);
        let rounds = self.rounds(served.as_deref(), ctx)?;
        if rounds.len() == ROUNDS_AT_ONCE
            && let Some((key, _, timestamp)) = rounds.last()
        {
            let mut told = Vec::new();
            encode_key(key, &mut told);
            let turn_of = Round {
                told: Some(told),
                ..Round::default()
            };
            ctx.buffer.put(turn, Some(turn_of.row()), *timestamp);
        } else if served.is_some() {
            // all are served each time
            ctx.buffer.put(turn, None, ctx.now);
        }
        let each = self.chunk.div_ceil(rounds.len().max(1));
        // the end of the turns is work, too: nothing else would have it committed
        let busy = !rounds.is_empty() || served.is_some();
        for (key, round, timestamp) in rounds {
            let mut right = self.right(&key, ctx)?;
            if right.row.is_none() {
                // the deletion's own time is known here only
                right.timestamp = timestamp;
            }
            self.tell(&key, round, &right, each, ctx)?;
        }
        Ok(busy)
    }

    /// The rounds that go on now: those behind the key served last, and around from the first key.
    fn rounds(&self, served: Option<&[u8]>, ctx: &Context<'_>) -> StoreResult<Vec<(Row, Round, Timestamp)>> {
        let mut rounds = Vec::new();
        let first = after([]);
        let behind = served.map_or_else(|| first.clone(), after);
        for (from, to) in [(&behind, None), (&first, Some(&behind[..]))] {
            if rounds.len() < ROUNDS_AT_ONCE {
                ctx.buffer
                    .scan(self.plan.fan_outs, from, to, &mut |key, row, timestamp| {
                        rounds.push((key.clone(), Round::of(row), timestamp));
                        rounds.len() < ROUNDS_AT_ONCE
                    })?;
            }
        }
        Ok(rounds)
    }

    /// Answers up to `most` subscribers of a right row and keeps how far that is; the row of a finished round is deleted.
    fn tell(&self, key: &Row, mut round: Round, right: &Looked, most: usize, ctx: &mut Context<'_>) -> StoreResult<()> {
        let mut first = Vec::new();
        encode_key(key, &mut first);
        let end = prefix_end(&first);
        let mut left = most;
        let finished = loop {
            let from = round.told.as_deref().map_or_else(|| first.clone(), after);
            let to = match &round.until {
                Some(until) if !round.wraps => Some(after(until)),
                _ => end.clone(),
            };
            let (given, last) = self.answers((&from, to.as_deref()), key.len(), right, left, ctx)?;
            round.told = last.or(round.told);
            left -= given;
            if left == 0 {
                break false;
            }
            if !round.wraps {
                break true;
            }
            (round.told, round.wraps) = (None, false);
        };
        let slot = ctx.buffer.load(self.plan.fan_outs, key)?;
        match (finished, ctx.buffer.row(slot).is_some()) {
            (true, false) => {}
            (true, true) => {
                ctx.buffer.put(slot, None, right.timestamp);
            }
            (false, _) => {
                ctx.buffer.put(slot, Some(round.row()), right.timestamp);
            }
        }
        Ok(())
    }

    /// Answers up to `most` subscribers of a range: how many there were, and the last one.
    fn answers(
        &self,
        (from, to): (&[u8], Option<&[u8]>),
        keys: usize,
        right: &Looked,
        most: usize,
        ctx: &mut Context<'_>,
    ) -> StoreResult<(usize, Option<Vec<u8>>)> {
        let out = &mut *ctx.out;
        let (mut given, mut last) = (0, None);
        ctx.buffer.scan(self.plan.subscribers, from, to, &mut |pair, row, _| {
            let primary = part(pair, keys, pair.len());
            out.push(self.answer(primary, number(row, 0), right.row.as_ref(), right.timestamp));
            given += 1;
            if given == most {
                let mut bytes = Vec::new();
                encode_key(pair, &mut bytes);
                last = Some(bytes);
            }
            given < most
        })?;
        Ok((given, last))
    }

    fn answer(&self, primary: Row, version: i64, right: Option<&Row>, timestamp: Timestamp) -> Change {
        let mut values = Vec::with_capacity(2 + self.right_width);
        values.push(Value::Bigint(version));
        values.push(Value::Boolean(right.is_some()));
        match right {
            Some(row) => values.extend_from_slice(row),
            None => values.resize(2 + self.right_width, Value::Null),
        }
        Change::record(primary, Some(Row::take(&mut values)), timestamp)
    }
}

/// The first key behind one.
fn after(key: impl AsRef<[u8]>) -> Vec<u8> {
    [key.as_ref(), &[0]].concat()
}
