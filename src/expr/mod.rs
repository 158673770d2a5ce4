//! Typed expressions, compiled once, and the tables of scalar and aggregate functions.
//!
//! An [`Expr`] is made by the analyzer, which has checked its types; evaluating it looks nothing up by name.
//! *Invariant*: evaluation is a function of its [`EvalContext`]: no clock, no randomness.

mod aggregate;

pub use aggregate::{AggregateCall, AggregateFunction};

use crate::types::{Timestamp, Value};

/// What an expression may look at.
#[derive(Clone, Copy)]
pub struct EvalContext<'a> {
    /// The key's values.
    pub key: &'a [Value],
    /// The value's columns.
    pub value: &'a [Value],
    /// The event time of the row.
    pub timestamp: Timestamp,
    /// The wall clock as the task was given it, in milliseconds since the epoch.
    pub now: Timestamp,
}

/// Why a row could not be computed: the row is bad, not the plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EvalError {
    /// What happened, with the values concerned.
    pub message: String,
}

/// A typed expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Value),
    /// A key column by position.
    Key(usize),
    /// A value column by position.
    Value(usize),
    /// The event time, as BIGINT.
    Rowtime,
}

impl Expr {
    /// The expression's value for one row.
    ///
    /// # Errors
    /// When the row cannot be computed (the dialect makes most failures NULL).
    pub fn eval(&self, row: &EvalContext<'_>) -> Result<Value, EvalError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Key(i) => row.key[*i].clone(),
            Self::Value(i) => row.value[*i].clone(),
            Self::Rowtime => Value::Bigint(row.timestamp),
        })
    }
}
