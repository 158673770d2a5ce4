//! The right side: who asked for which key, and what they are answered.

use crate::state::StoreResult;
use crate::topology;
use crate::types::{Change, Row, Timestamp, Value, encode_key, prefix_end};

use super::super::{Context, Newest, OpError, Side, table_plan::row_of};
use super::{is_true, number, part};

/// See the module above.
pub struct Answer {
    plan: topology::ForeignKeyAnswer,
    right_width: usize,
}

impl Answer {
    pub(in crate::operators) fn new(plan: topology::ForeignKeyAnswer, right_width: usize) -> Self {
        Self { plan, right_width }
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
            _ => Ok(self.changed(&change, ctx)?),
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
        let right = row_of(&self.plan.right, &mut Newest(ctx.buffer), &change.key, ctx.now)?;
        let timestamp = match right.row {
            Some(_) => right.timestamp,
            None => change.timestamp,
        };
        let answer = self.answer(primary, version, right.row.as_ref(), timestamp);
        ctx.out.push(answer);
        Ok(())
    }

    /// A right row has changed: all that asked for it hear of it.
    fn changed(&self, change: &Change, ctx: &mut Context<'_>) -> StoreResult<()> {
        let mut from = Vec::new();
        encode_key(&change.key, &mut from);
        let to = prefix_end(&from);
        let (keys, out) = (change.key.len(), &mut *ctx.out);
        ctx.buffer
            .scan(self.plan.subscribers, &from, to.as_deref(), &mut |pair, row, _| {
                let primary = part(pair, keys, pair.len());
                out.push(self.answer(primary, number(row, 0), change.new.as_ref(), change.timestamp));
                true
            })
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
