//! MIN, MAX, TOPK, TOPKDISTINCT and the rows of QUALIFY. The result stands in the state. Over a table all values are kept beside it as a multiset in the order of the
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

    /// Whether TOPK and the like keep STRUCTs of their arguments, rather than the argument.
    pub(super) fn keeps_structs(&self) -> bool {
        self.args.len() > 1 || matches!(self.function, AggregateFunction::TopRows { .. })
    }

    /// What TOPK keeps of a row.
    fn top_item(&self, args: &[Value]) -> Value {
        match args {
            [one] if !self.keeps_structs() => one.clone(),
            many => Value::Struct(many.into()),
        }
    }

    fn top_size(&self) -> (usize, bool) {
        match self.function {
            AggregateFunction::TopK { k } | AggregateFunction::TopRows { k, .. } => (k, false),
            AggregateFunction::TopKDistinct { k } => (k, true),
            _ => (0, false),
        }
    }

    /// How many first arguments order the rows, and which of them go down, by bit.
    fn top_order(&self) -> (usize, u64) {
        match self.function {
            AggregateFunction::TopRows { order, descending, .. } => (usize::from(order), descending),
            _ => (1, 1),
        }
    }

    fn in_order(&self, a: &Value, b: &Value) -> Ordering {
        let (order, descending) = self.top_order();
        let (a, b) = (self.fields(a), self.fields(b));
        let columns = a.iter().zip(b).take(order).enumerate();
        let mut compared = columns.map(|(i, (a, b))| if goes_down(descending, i) { b.cmp(a) } else { a.cmp(b) });
        compared.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }

    fn fields<'a>(&self, item: &'a Value) -> &'a [Value] {
        match item {
            Value::Struct(fields) if self.keeps_structs() => fields,
            one => std::slice::from_ref(one),
        }
    }

    /// What goes with the order's columns in ascending order, so that the order does not depend on who came first.
    fn in_key_order(&self, a: &Value, b: &Value) -> Ordering {
        self.in_order(a, b).then_with(|| a.cmp(b))
    }

    /// An element's key, whose order is that of [`Self::in_key_order`].
    fn top_key(&self, args: &[Value]) -> Vec<Value> {
        let (order, down) = self.top_order();
        let mut key = args.to_vec();
        for (_, value) in key
            .iter_mut()
            .take(order)
            .enumerate()
            .filter(|(i, _)| goes_down(down, *i))
        {
            *value = descending(value);
        }
        key
    }

    /// TOPK and the like: a row comes (`by` is 1), or goes.
    pub(super) fn top<E: Elements>(
        &self,
        state: &mut [Value],
        args: &[Value],
        by: i8,
        own: Own<'_, E>,
    ) -> Result<(), E::Error> {
        match (self.retracts, by > 0) {
            (false, _) => self.keep_top(state, args),
            (true, true) => self.add_top(state, args, own)?,
            (true, false) => self.undo_top(state, args, own)?,
        }
        Ok(())
    }

    /// TOPK without elements: of equal values the first to come stays first.
    pub(super) fn keep_top(&self, state: &mut [Value], args: &[Value]) {
        self.insert_top(state, self.top_item(args), |a, b| self.in_order(a, b));
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

    fn add_top<E: Elements>(&self, state: &mut [Value], args: &[Value], mut own: Own<'_, E>) -> Result<(), E::Error> {
        let item = self.top_item(args);
        own.count(&self.top_key(args), std::slice::from_ref(&item), 1)?;
        self.insert_top(state, item, |a, b| self.in_key_order(a, b));
        Ok(())
    }

    fn undo_top<E: Elements>(&self, state: &mut [Value], args: &[Value], mut own: Own<'_, E>) -> Result<(), E::Error> {
        let item = self.top_item(args);
        let before = own.count(&self.top_key(args), std::slice::from_ref(&item), -1)?;
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

fn goes_down(descending: u64, column: usize) -> bool {
    (descending >> column) & 1 == 1
}
