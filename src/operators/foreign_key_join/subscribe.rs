//! The left side: its rows with versions, and the questions for the right side.

use crate::topology;
use crate::types::{Change, Row, Timestamp, Value};

use super::super::{Context, OpError};
use super::{number, part};

/// See the module above.
pub struct Subscribe {
    plan: topology::ForeignKeySubscribe,
}

impl Subscribe {
    pub(in crate::operators) fn new(plan: topology::ForeignKeySubscribe) -> Self {
        Self { plan }
    }

    pub(in crate::operators) fn process(&mut self, change: Change, ctx: &mut Context<'_>) -> Result<(), OpError> {
        let keys = self.plan.foreign_key.len();
        let new = match &change.new {
            None => None,
            Some(row) => {
                let computed = ctx.eval(&self.plan.foreign_key, &change.key, row, change.timestamp);
                ctx.or_absent(computed)?.map(|key| (key, row))
            }
        };
        let slot = ctx.buffer.load(self.plan.rows, &change.key)?;
        let old_key = ctx.buffer.row(slot).map(|row| part(row, 1, 1 + keys));
        if old_key.is_none() && new.is_none() {
            return Ok(());
        }
        let version = self.next_version(change.timestamp, ctx)?;
        let new_key = new.as_ref().map(|(key, _)| key.clone());
        let kept = new.map(|(key, row)| {
            let head = [Value::Bigint(version)].into_iter().chain(key.iter().cloned());
            head.chain(row.iter().cloned()).collect::<Row>()
        });
        ctx.buffer.put(slot, kept, change.timestamp);
        let mut send = |key: Row, subscribes: bool| {
            let asking = [Value::Bigint(version), Value::Boolean(subscribes)];
            let row = change.key.iter().cloned().chain(asking).collect();
            ctx.out.push(Change::record(key, Some(row), change.timestamp));
        };
        // a key with a NULL in it is nobody's primary key
        let asked = |key: &Row| !key.has_null();
        if let Some(old) = old_key.filter(|old| asked(old) && new_key.as_ref() != Some(old)) {
            send(old, false);
        }
        if let Some(new) = new_key.filter(asked) {
            send(new, true);
        }
        Ok(())
    }

    fn next_version(&self, timestamp: Timestamp, ctx: &mut Context<'_>) -> Result<i64, OpError> {
        let slot = ctx.buffer.load(self.plan.versions, &Row::from([Value::Integer(0)]))?;
        let version = ctx.buffer.row(slot).map_or(0, |row| number(row, 0)) + 1;
        let timestamp = timestamp.max(ctx.buffer.timestamp(slot));
        ctx.buffer
            .put(slot, Some(Row::from([Value::Bigint(version)])), timestamp);
        Ok(version)
    }
}
