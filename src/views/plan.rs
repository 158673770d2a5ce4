//! The row of a key under a [`TablePlan`], given what its stores hold.

use super::ViewError;
use crate::expr::{EvalContext, EvalError};
use crate::state::StoreResult;
use crate::topology::{Aggregate, JoinKind, StoreId, TablePlan};
use crate::types::{Row, Timestamp, Value};

/// What a store holds for the key.
pub(super) type Lookup<'a> = dyn FnMut(StoreId) -> StoreResult<Option<(Row, Timestamp)>> + 'a;

/// The row and its time; `None` where the table has no such key.
pub(super) fn eval(
    plan: &TablePlan,
    key: &Row,
    lookup: &mut Lookup<'_>,
) -> Result<Option<(Row, Timestamp)>, ViewError> {
    let context = |value, timestamp| EvalContext {
        key,
        value,
        timestamp,
        now: timestamp,
    };
    let failed = |error: EvalError| ViewError::Row {
        key: format!("{:?}", &**key),
        message: error.message,
    };
    match plan {
        TablePlan::Store(id) => Ok(lookup(*id)?),
        TablePlan::Aggregate(aggregate) => {
            Ok(lookup(aggregate.store)?.and_then(|(state, at)| Some((results(aggregate, &state)?, at))))
        }
        TablePlan::Filter(input, predicate) => {
            let Some((row, at)) = eval(input, key, lookup)? else {
                return Ok(None);
            };
            let passes = predicate.eval(&context(&row, at)).map_err(failed)?;
            Ok((passes == Value::Boolean(true)).then_some((row, at)))
        }
        TablePlan::Project(input, exprs) => {
            let Some((row, at)) = eval(input, key, lookup)? else {
                return Ok(None);
            };
            let context = context(&row, at);
            let row: Result<Row, EvalError> = exprs.iter().map(|e| e.eval(&context)).collect();
            Ok(Some((row.map_err(failed)?, at)))
        }
        TablePlan::Join(left, right, kind, left_len, right_len) => {
            let (left, right) = (eval(left, key, lookup)?, eval(right, key, lookup)?);
            Ok(join(left, right, *kind, *left_len, *right_len))
        }
    }
}

fn join(
    left: Option<(Row, Timestamp)>,
    right: Option<(Row, Timestamp)>,
    kind: JoinKind,
    left_len: usize,
    right_len: usize,
) -> Option<(Row, Timestamp)> {
    let wanted = match kind {
        JoinKind::Inner => left.is_some() && right.is_some(),
        JoinKind::Left => left.is_some(),
        JoinKind::Right => right.is_some(),
        JoinKind::Full => left.is_some() || right.is_some(),
    };
    if !wanted {
        return None;
    }
    let at = left.iter().chain(&right).map(|(_, at)| *at).max()?;
    let nulls = |len| std::iter::repeat_n(Value::Null, len).collect::<Row>();
    let left = left.map_or_else(|| nulls(left_len), |(row, _)| row);
    let right = right.map_or_else(|| nulls(right_len), |(row, _)| row);
    Some((left.iter().chain(right.iter()).cloned().collect(), at))
}

/// The results of an aggregation's state; `None` for a group without rows.
fn results(aggregate: &Aggregate, state: &[Value]) -> Option<Row> {
    let mut rest = state;
    if aggregate.of_table {
        let (rows, states) = rest.split_first()?;
        if *rows == Value::Bigint(0) {
            return None;
        }
        rest = states;
    }
    let mut values = Vec::with_capacity(aggregate.calls.len());
    for call in &aggregate.calls {
        let (own, after) = rest.split_at_checked(call.state_len())?;
        values.push(call.result(own));
        rest = after;
    }
    Some(values.into())
}
