//! Lambdas: `(k, v) => k + prefix`, the arguments of TRANSFORM, FILTER and REDUCE.
//!
//! A lambda is closed when it is compiled: its body reads a *frame* of its own, the parameters first and then the captured values, as value
//! columns. A call makes one frame, computes the captured values once, and overwrites the parameters for each element. So evaluation needs no
//! stack of scopes, a lambda inside another one captures from that one's frame, and whoever moves the columns of an expression need only move those
//! of the captures.

use super::{EvalContext, EvalError, Expr};
use crate::types::{Timestamp, Value};

/// A closed lambda.
#[derive(Clone, Debug, PartialEq)]
pub struct Lambda {
    /// How many parameters it takes: the first columns of its frame.
    pub params: usize,
    /// What stands in the frame behind them, computed where the lambda stands.
    pub captures: Vec<Expr>,
    /// The result, over the frame.
    pub body: Expr,
}

/// A lambda with its frame, ready to be called.
pub(super) struct Closure<'a> {
    lambda: &'a Lambda,
    frame: Vec<Value>,
    timestamp: Timestamp,
    now: Timestamp,
}

impl<'a> Closure<'a> {
    /// Computes the captured values.
    pub(super) fn new(lambda: &'a Lambda, row: &EvalContext<'_>) -> Result<Self, EvalError> {
        let mut frame = Vec::with_capacity(lambda.params + lambda.captures.len());
        frame.resize(lambda.params, Value::Null);
        for captured in &lambda.captures {
            frame.push(captured.eval(row)?);
        }
        Ok(Self {
            lambda,
            frame,
            timestamp: row.timestamp,
            now: row.now,
        })
    }

    /// Calls it.
    pub(super) fn call<const N: usize>(&mut self, args: [Value; N]) -> Result<Value, EvalError> {
        for (slot, arg) in self.frame.iter_mut().take(self.lambda.params).zip(args) {
            *slot = arg;
        }
        self.lambda.body.eval(&EvalContext {
            key: &[],
            value: &self.frame,
            timestamp: self.timestamp,
            now: self.now,
        })
    }
}
