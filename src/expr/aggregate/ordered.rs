//! MIN, MAX, TOPK and TOPKDISTINCT. The result stands in the state. Over a table all values are kept beside it as a multiset in the order of the
//! function, so that the best of the others is the first element when the best one is taken back.

use std::cmp::Ordering;

use super::elements::{Elements, Own, descending, integer, walk};
use super::{AggregateCall, AggregateFunction};
use crate::types::Value;

impl AggregateCall {
    /// MIN and MAX without elements.
    pub(super) fn keep_best(&self, state: &mut [Value], arg: &Value) {
        let better = match self.function {
            AggregateFunction::Min => *arg < state[0],
            _ => *arg > state[0],
        };
        if state[0].is_null() || better {
            state[0] = arg.clone();
        }
    }

    fn best_key(&self, arg: &Value) -> Value {
        match self.function {
            AggregateFunction::Min => arg.clone(),
            _ => descending(arg),
        }
    }

    pub(super) fn add_best<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        own.count(&[self.best_key(arg)], std::slice::from_ref(arg), 1)?;
        self.keep_best(state, arg);
        Ok(())
    }

    pub(super) fn undo_best<E: Elements>(
        &self,
        state: &mut [Value],
        arg: &Value,
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let before = own.count(&[self.best_key(arg)], std::slice::from_ref(arg), -1)?;
        if before == 1 && state[0] == *arg {
            state[0] = Value::Null;
            walk(own.all, own.call, &[], |_, row| {
                state[0] = row.get(1).cloned().unwrap_or_default();
                false
            })?;
        }
        Ok(())
    }

    /// What TOPK keeps of a row.
    fn top_item(args: &[Value]) -> Value {
        match args {
            [one] => one.clone(),
            many => Value::Struct(many.into()),
        }
    }

    fn top_size(&self) -> (usize, bool) {
        match self.function {
            AggregateFunction::TopK { k } => (k, false),
            AggregateFunction::TopKDistinct { k } => (k, true),
            _ => (0, false),
        }
    }

    /// TOPK without elements: of equal values the first to come stays first.
    pub(super) fn keep_top(&self, state: &mut [Value], args: &[Value]) {
        self.insert_top(state, Self::top_item(args), |a, b| sorted_by(b).cmp(sorted_by(a)));
    }

    fn insert_top(&self, state: &mut [Value], item: Value, order: impl Fn(&Value, &Value) -> Ordering) {
        let (k, distinct) = self.top_size();
        let Value::Array(items) = &state[0] else { return };
        let at = items.partition_point(|other| order(other, &item).is_le());
        if at >= k || (distinct && items.contains(&item)) {
            return;
        }
        let mut items = items.to_vec();
        items.insert(at, item);
        items.truncate(k);
        state[0] = Value::Array(items.into());
    }

    pub(super) fn add_top<E: Elements>(
        &self,
        state: &mut [Value],
        args: &[Value],
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let item = Self::top_item(args);
        own.count(&top_key(args), std::slice::from_ref(&item), 1)?;
        self.insert_top(state, item, in_key_order);
        Ok(())
    }

    pub(super) fn undo_top<E: Elements>(
        &self,
        state: &mut [Value],
        args: &[Value],
        mut own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        let item = Self::top_item(args);
        let before = own.count(&top_key(args), std::slice::from_ref(&item), -1)?;
        let (k, distinct) = self.top_size();
        let kept = matches!(&state[0], Value::Array(items) if items.contains(&item));
        if before == 0 || !kept || (distinct && before > 1) {
            return Ok(());
        }
        let mut items = Vec::new();
        walk(own.all, own.call, &[], |_, row| {
            let n = if distinct { 1 } else { integer(row, 0) };
            for _ in 0..n {
                if items.len() < k {
                    items.push(row.get(1).cloned().unwrap_or_default());
                }
            }
            items.len() < k
        })?;
        state[0] = Value::Array(items.into());
        Ok(())
    }
}

/// The greatest first; what goes with it in ascending order, so that the order does not depend on who came first.
fn top_key(args: &[Value]) -> Vec<Value> {
    let mut key = args.to_vec();
    if let Some(first) = key.first_mut() {
        *first = descending(first);
    }
    key
}

fn sorted_by(item: &Value) -> &Value {
    match item {
        Value::Struct(fields) => fields.first().unwrap_or(item),
        one => one,
    }
}

fn in_key_order(a: &Value, b: &Value) -> Ordering {
    sorted_by(b).cmp(sorted_by(a)).then_with(|| a.cmp(b))
}
