//! LATEST_BY_OFFSET and EARLIEST_BY_OFFSET, of one row or of several.
//!
//! Over a table the rows that are there count, and which of them was written last must still be known when another one is gone. All values are
//! kept by event time: the latest is that of the row with the greatest one. (A row that is taken back comes with its time, but not with its offset.)

use super::elements::{Elements, Own, integer, walk};
use super::{AggregateCall, AggregateFunction};
use crate::types::{Timestamp, Value};

impl AggregateCall {
    /// Whether it is LATEST, how many, and whether NULLs are passed over.
    fn by_offset(&self) -> (bool, Option<usize>, bool) {
        match self.function {
            AggregateFunction::LatestByOffset { n, ignore_nulls } => (true, n, ignore_nulls),
            AggregateFunction::EarliestByOffset { n, ignore_nulls } => (false, n, ignore_nulls),
            _ => (false, None, true),
        }
    }

    /// Without elements: rows come in the order of their offsets.
    pub(super) fn keep_by_offset(&self, state: &mut [Value], arg: &Value) {
        let (latest, n, ignore_nulls) = self.by_offset();
        if ignore_nulls && arg.is_null() {
            return;
        }
        let Some(n) = n else {
            match (latest, ignore_nulls) {
                (true, _) => state[0] = arg.clone(),
                (false, true) if state[0].is_null() => state[0] = arg.clone(),
                // the first row may be NULL, so whether there was one is noted apart
                (false, false) if state[0].is_null() => {
                    state[0] = Value::Boolean(true);
                    state[1] = arg.clone();
                }
                (false, _) => {}
            }
            return;
        };
        let Value::Array(items) = &state[0] else { return };
        let kept = match (latest, items.len() < n) {
            (_, true) => &items[..],
            (true, false) => &items[1..],
            (false, false) => return,
        };
        state[0] = Value::Array(kept.iter().chain([arg]).cloned().collect());
    }

    /// Over a table: adds or takes back.
    pub(super) fn count_by_time<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        timestamp: Timestamp,
        by: i64,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let (latest, n, ignore_nulls) = self.by_offset();
        if ignore_nulls && arg.is_null() {
            return Ok(());
        }
        // the complement orders in reverse
        let time = if latest { !timestamp } else { timestamp };
        own.count(&[time.into(), arg.clone()], std::slice::from_ref(arg), by)?;
        let most = n.unwrap_or(1);
        let mut items = Vec::new();
        walk(own.all, own.call, &[], |_, row| {
            for _ in 0..integer(row, 0) {
                if items.len() < most {
                    items.push(row.get(1).cloned().unwrap_or_default());
                }
            }
            items.len() < most
        })?;
        if n.is_none() {
            state[0] = items.pop().unwrap_or_default();
            return Ok(());
        }
        if latest {
            items.reverse();
        }
        state[0] = Value::Array(items.into());
        Ok(())
    }
}
