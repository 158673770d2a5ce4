//! Aggregate functions: a few state values a call, changed in place.
//!
//! The state of all calls of an aggregation stands side by side in one row, which is what its store holds.

use super::{EvalError, Expr};
use crate::types::{SqlType, Value};

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `COUNT(*)`: rows.
    CountAll,
}

/// One call in a query: function, argument expressions and the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Its arguments, evaluated on each input row.
    pub args: Vec<Expr>,
    /// The result's type.
    pub sql_type: SqlType,
}

impl AggregateCall {
    /// How many state values the call takes.
    pub fn state_len(&self) -> usize {
        match self.function {
            AggregateFunction::CountAll => 1,
        }
    }

    /// Whether a row can be taken back ([`Self::undo`]) from this state alone.
    pub fn can_undo(&self) -> bool {
        match self.function {
            AggregateFunction::CountAll => true,
        }
    }

    /// Sets `state` (of [`Self::state_len`] values) to that of no rows.
    pub fn init(&self, state: &mut [Value]) {
        match self.function {
            AggregateFunction::CountAll => state[0] = Value::Bigint(0),
        }
    }

    /// Adds a row with these argument values.
    ///
    /// # Errors
    /// On overflow of an exact type.
    pub fn add(&self, state: &mut [Value], _args: &[Value]) -> Result<(), EvalError> {
        match (self.function, &mut state[0]) {
            (AggregateFunction::CountAll, Value::Bigint(n)) => *n += 1,
            (AggregateFunction::CountAll, other) => *other = Value::Bigint(1),
        }
        Ok(())
    }

    /// Takes a row back that was added before.
    ///
    /// # Errors
    /// On overflow of an exact type.
    pub fn undo(&self, state: &mut [Value], _args: &[Value]) -> Result<(), EvalError> {
        match (self.function, &mut state[0]) {
            (AggregateFunction::CountAll, Value::Bigint(n)) => *n -= 1,
            (AggregateFunction::CountAll, other) => *other = Value::Bigint(-1),
        }
        Ok(())
    }

    /// The result for a state.
    pub fn result(&self, state: &[Value]) -> Value {
        match self.function {
            AggregateFunction::CountAll => state[0].clone(),
        }
    }
}
