//! COLLECT_LIST, COLLECT_SET, HISTOGRAM, COUNT(DISTINCT) and ATTR: functions that look at values by themselves, an element a value.
//!
//! Lists number their values: the elements `(0, number)` are the list in order; beside them `(1, value ...)` find the numbers of a value.

use super::elements::{ElementScan, Elements, Own, integer, walk};
use super::{AggregateCall, AggregateFunction};
use crate::types::{Row, Value, map_value};

/// The most entries of a histogram, as ksqlDB's.
const MOST_BINS: i64 = 1000;

const ITEM: Value = Value::Integer(0);
const INDEX: Value = Value::Integer(1);

impl AggregateCall {
    /// Of a stream no more is kept than is shown. Of a table all is kept: what is hidden by the limit shows when others are taken back.
    fn limit(&self) -> i64 {
        match self.function {
            AggregateFunction::CollectList { limit } | AggregateFunction::CollectSet { limit } => limit,
            AggregateFunction::Histogram => MOST_BINS,
            _ => i64::MAX,
        }
    }

    fn is_full(&self, n: i64) -> bool {
        !self.retracts && n >= self.limit()
    }

    /// COLLECT_LIST: the state is the next number and how many there are.
    pub(super) fn collect<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        if self.is_full(integer(state, 1)) {
            return Ok(());
        }
        let number = append(state, arg, &mut own)?;
        if self.retracts {
            own.put(&[INDEX, arg.clone(), (!number).into()], Some(Row::from([true.into()])))?;
        }
        Ok(())
    }

    /// Takes the last of equal values out, as ksqlDB does: which of them it was makes no difference to who counts them.
    pub(super) fn uncollect<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let mut last = None;
        walk(own.all, own.call, &[INDEX, arg.clone()], |key, _| {
            last = Some(integer(key, 2));
            false
        })?;
        if let Some(reversed) = last {
            own.put(&[INDEX, arg.clone(), reversed.into()], None)?;
            own.put(&[ITEM, (!reversed).into()], None)?;
            state[1] = (integer(state, 1) - 1).into();
        }
        Ok(())
    }

    /// COLLECT_SET: adds or takes back; the state is as that of a list.
    pub(super) fn collect_once<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        by: i64,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let key = [INDEX, arg.clone()];
        let n = integer(state, 1);
        match own.get(&key)? {
            Some(row) => {
                let number = integer(&row, 1);
                if !self.retracts {
                    return Ok(());
                }
                let before = own.count(&key, &[number.into()], by)?;
                if before + by == 0 {
                    own.put(&[ITEM, number.into()], None)?;
                    state[1] = (n - 1).into();
                }
            }
            None if by > 0 && !self.is_full(n) => {
                let number = append(state, arg, &mut own)?;
                own.count(&key, &[number.into()], 1)?;
            }
            None => {}
        }
        Ok(())
    }

    /// HISTOGRAM: the state is the number of entries.
    pub(super) fn bin<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        by: i64,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let n = integer(state, 0);
        let key = std::slice::from_ref(arg);
        if by > 0 && self.is_full(n) && own.get(key)?.is_none() {
            return Ok(());
        }
        let before = own.count(key, &[], by)?;
        state[0] = (n + appeared(before, by)).into();
        Ok(())
    }

    /// COUNT(DISTINCT): the state is the count. Of a stream a value is noted once and not written again.
    pub(super) fn distinct<E: Elements>(
        &self,
        state: &mut [Value],
        args: &[Value],
        by: i64,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        if !self.retracts && own.get(args)?.is_some() {
            return Ok(());
        }
        let before = own.count(args, &[], by)?;
        state[0] = (integer(state, 0) + appeared(before, by)).into();
        Ok(())
    }

    /// ATTR of a stream: two different values are as good as many.
    pub(super) fn keep_single(state: &mut [Value], arg: &Value) {
        match integer(state, 0) {
            0 => {
                state[0] = 1i64.into();
                state[1] = arg.clone();
            }
            1 if state[1] != *arg => {
                state[0] = 2i64.into();
                state[1] = Value::Null;
            }
            _ => {}
        }
    }

    /// ATTR of a table: the state is the number of different values, and the value if it is one.
    pub(super) fn count_single<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        by: i64,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let before = own.count(std::slice::from_ref(arg), &[], by)?;
        let change = appeared(before, by);
        if change == 0 {
            return Ok(());
        }
        let n = integer(state, 0) + change;
        (state[0], state[1]) = (n.into(), Value::Null);
        if n == 1 {
            walk(own.all, own.call, &[], |key, _| {
                state[1] = key.first().cloned().unwrap_or_default();
                false
            })?;
        }
        Ok(())
    }

    /// The collected values, or entries of the histogram.
    pub(super) fn collected<E: ElementScan>(&self, number: usize, elements: &mut E) -> Result<Value, E::Error> {
        let limit = usize::try_from(self.limit()).unwrap_or(usize::MAX);
        if limit == 0 {
            return Ok(Value::Array([].into()));
        }
        if self.function == AggregateFunction::Histogram {
            let mut entries = Vec::new();
            walk(elements, number, &[], |key, row| {
                entries.push((key.first().cloned().unwrap_or_default(), integer(row, 0).into()));
                entries.len() < limit
            })?;
            return Ok(map_value(entries));
        }
        let mut items = Vec::new();
        walk(elements, number, &[ITEM], |_, row| {
            items.push(row.first().cloned().unwrap_or_default());
            items.len() < limit
        })?;
        Ok(Value::Array(items.into()))
    }

    /// Whether an element of a list is one of its values.
    pub(super) fn is_item(key: &[Value]) -> bool {
        key.first() == Some(&ITEM)
    }
}

/// Puts a value at the end of a list; its number.
fn append<E: Elements>(state: &mut [Value], arg: &Value, own: &mut Own<'_, E>) -> Result<i64, E::Error> {
    let number = integer(state, 0);
    own.put(&[ITEM, number.into()], Some(Row::from([arg.clone()])))?;
    state[0] = number.saturating_add(1).into();
    state[1] = (integer(state, 1) + 1).into();
    Ok(number)
}

/// How the number of different values changes when the count of one goes from `before` by `by`.
fn appeared(before: i64, by: i64) -> i64 {
    i64::from(before + by > 0) - i64::from(before > 0)
}
