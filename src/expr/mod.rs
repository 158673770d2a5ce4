//! Typed expressions, compiled once, and the tables of scalar and aggregate functions.
//!
//! An [`Expr`] is made by the analyzer, which has checked its types and made every implicit cast explicit; evaluating it looks nothing up by
//! name. It prints as SQL with columns by position (`k0`, `v3`), which is what fingerprints are made of.
//!
//! *Invariant*: evaluation is a function of its [`EvalContext`]: no clock, no randomness. *Invariant*: no values make it panic.

mod aggregate;
mod arithmetic;
mod cast;
mod compare;
mod display;
mod eval;
pub mod functions;
mod lambda;
mod like;
mod table_function;
mod text;
mod time_text;

pub use crate::types::double_to_string;
pub use aggregate::elements::{ElementScan, Elements, MemoryElements, NoElements};
pub use aggregate::{AGGREGATES, AggregateCall, AggregateDoc, AggregateFunction, Element};
pub use arithmetic::{ArithmeticOp, arithmetic_type};
pub use cast::{can_cast, cast_of, cast_value, common_type, decimal_of, widens};
pub use compare::{CompareOp, comparable};
pub use functions::{FunctionCall, Signature};
pub use lambda::Lambda;
pub use like::LikePattern;
pub use table_function::{TABLE_FUNCTIONS, TableCall, TableFunction};
pub use time_text::{date_to_string, parse_date, parse_time, parse_timestamp, time_to_string, timestamp_to_string};

use crate::types::{SqlType, Timestamp, Value};

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
    /// Not a bad row: a NULL that makes the lambda's call NULL, see [`Expr::NonNull`]. Never leaves the call.
    null_operand: bool,
}

impl EvalError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            null_operand: false,
        }
    }

    fn null_operand() -> Self {
        Self {
            message: String::new(),
            null_operand: true,
        }
    }
}

/// A typed expression. Operands already have the types that the operator works on.
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
    /// NOT, three-valued.
    Not(Box<Expr>),
    /// The number with the other sign.
    Negate(Box<Expr>),
    /// All of them, three-valued; stops at the first FALSE.
    And(Vec<Expr>),
    /// Any of them, three-valued; stops at the first TRUE.
    Or(Vec<Expr>),
    /// A comparison of two values of one type; NULL when either is NULL.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// Arithmetic on two numbers of one type (or `+` on strings), with the result's type.
    Arithmetic(ArithmeticOp, Box<Expr>, Box<Expr>, SqlType),
    /// IS NULL.
    IsNull(Box<Expr>),
    /// IS DISTINCT FROM: never NULL.
    IsDistinct(Box<Expr>, Box<Expr>),
    /// IN a list of values of the same type, three-valued.
    In(Box<Expr>, Vec<Expr>),
    /// LIKE with a pattern that is known.
    Like(Box<Expr>, LikePattern),
    /// LIKE with a pattern from the row, and the escape character.
    LikeExpr(Box<Expr>, Box<Expr>, Option<char>),
    /// The result of the first TRUE condition, or the default.
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    /// CAST to a type.
    Cast(Box<Expr>, SqlType),
    /// The value, or NULL where it cannot be computed: what ksqlDB does with a column that fails.
    Try(Box<Expr>),
    /// Arithmetic, the other sign or a CAST of integers that wraps around, and a CAST of a DOUBLE that saturates, as Java's do.
    Wrapping(Box<Expr>),
    /// A field of a STRUCT by position.
    Field(Box<Expr>, usize),
    /// An item of an ARRAY: from 1, or negative from the end; NULL outside.
    Item(Box<Expr>, Box<Expr>),
    /// The value of a MAP's key; NULL when there is none.
    Entry(Box<Expr>, Box<Expr>),
    /// `ARRAY[...]`.
    Array(Vec<Expr>),
    /// `MAP(k := v, ...)`.
    Map(Vec<(Expr, Expr)>),
    /// `STRUCT(name := v, ...)`.
    Struct(Vec<Expr>),
    /// A scalar function.
    Call(FunctionCall),
    /// A lambda, as an argument of a function that calls it.
    Lambda(Box<Lambda>),
    /// Inside a lambda: a value that, being NULL, makes the whole call NULL. In ksqlDB arithmetic in lambdas is so.
    NonNull(Box<Expr>),
}

impl Expr {
    /// Calls `f` on the direct operands.
    pub fn children<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match self {
            Self::Literal(_) | Self::Key(_) | Self::Value(_) | Self::Rowtime => {}
            Self::Not(a) | Self::Negate(a) | Self::IsNull(a) | Self::Like(a, _) | Self::Cast(a, _) => f(a),
            Self::Field(a, _) | Self::NonNull(a) | Self::Try(a) | Self::Wrapping(a) => f(a),
            // the body reads the lambda's frame, not the row
            Self::Lambda(lambda) => lambda.captures.iter().for_each(f),
            Self::Compare(_, a, b) | Self::Arithmetic(_, a, b, _) | Self::IsDistinct(a, b) => {
                f(a);
                f(b);
            }
            Self::LikeExpr(a, b, _) | Self::Item(a, b) | Self::Entry(a, b) => {
                f(a);
                f(b);
            }
            Self::And(all) | Self::Or(all) | Self::Array(all) | Self::Struct(all) => all.iter().for_each(f),
            Self::In(a, all) => {
                f(a);
                all.iter().for_each(f);
            }
            Self::Case(whens, otherwise) => {
                whens.iter().for_each(|(when, then)| {
                    f(when);
                    f(then);
                });
                f(otherwise);
            }
            Self::Map(entries) => entries.iter().for_each(|(k, v)| {
                f(k);
                f(v);
            }),
            Self::Call(call) => call.args.iter().for_each(f),
        }
    }

    /// The same for changing them.
    pub fn children_mut(&mut self, f: &mut dyn FnMut(&mut Expr)) {
        match self {
            Self::Literal(_) | Self::Key(_) | Self::Value(_) | Self::Rowtime => {}
            Self::Not(a) | Self::Negate(a) | Self::IsNull(a) | Self::Like(a, _) | Self::Cast(a, _) => f(a),
            Self::Field(a, _) | Self::NonNull(a) | Self::Try(a) | Self::Wrapping(a) => f(a),
            // the body reads the lambda's frame, not the row
            Self::Lambda(lambda) => lambda.captures.iter_mut().for_each(f),
            Self::Compare(_, a, b) | Self::Arithmetic(_, a, b, _) | Self::IsDistinct(a, b) => {
                f(a);
                f(b);
            }
            Self::LikeExpr(a, b, _) | Self::Item(a, b) | Self::Entry(a, b) => {
                f(a);
                f(b);
            }
            Self::And(all) | Self::Or(all) | Self::Array(all) | Self::Struct(all) => all.iter_mut().for_each(f),
            Self::In(a, all) => {
                f(a);
                all.iter_mut().for_each(f);
            }
            Self::Case(whens, otherwise) => {
                whens.iter_mut().for_each(|(when, then)| {
                    f(when);
                    f(then);
                });
                f(otherwise);
            }
            Self::Map(entries) => entries.iter_mut().for_each(|(k, v)| {
                f(k);
                f(v);
            }),
            Self::Call(call) => call.args.iter_mut().for_each(f),
        }
    }

    /// Calls `f` on the expression and everything below it.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        f(self);
        self.children(&mut |child| child.walk(f));
    }

    /// The positions of the value columns it reads, ascending.
    pub fn value_columns(&self) -> Vec<usize> {
        let mut used = std::collections::BTreeSet::new();
        self.walk(&mut |e| {
            if let Self::Value(i) = e {
                used.insert(*i);
            }
        });
        used.into_iter().collect()
    }

    /// Whether it reads neither columns nor time, so that it can be computed once.
    pub fn is_constant(&self) -> bool {
        let mut constant = true;
        self.walk(&mut |e| match e {
            Self::Key(_) | Self::Value(_) | Self::Rowtime => constant = false,
            Self::Call(call) if call.function.reads_clock() => constant = false,
            Self::Lambda(lambda) if lambda.body.reads_clock() => constant = false,
            _ => {}
        });
        constant
    }

    /// Whether its result depends on the wall clock.
    pub fn reads_clock(&self) -> bool {
        let mut reads = false;
        self.walk(&mut |e| {
            reads |= match e {
                Self::Call(call) => call.function.reads_clock(),
                Self::Lambda(lambda) => lambda.body.reads_clock(),
                _ => false,
            }
        });
        reads
    }

    /// Whether some row can make it fail.
    pub fn may_fail(&self) -> bool {
        let mut may = false;
        self.walk(&mut |e| {
            may |= matches!(
                e,
                Self::Negate(_) | Self::Arithmetic(..) | Self::Cast(..) | Self::Call(_) | Self::NonNull(_)
            );
        });
        may && !matches!(self, Self::Try(_))
    }

    /// The expression with comparisons that are FALSE where SQL's are NULL, as ksqlDB computes them.
    pub fn with_false_for_null(self) -> Self {
        let mut expr = self;
        expr.children_mut(&mut |child| *child = std::mem::replace(child, Self::Rowtime).with_false_for_null());
        if let Self::Lambda(lambda) = &mut expr {
            lambda.body = std::mem::replace(&mut lambda.body, Self::Rowtime).with_false_for_null();
        }
        let may_be_null = matches!(
            expr,
            Self::Compare(..) | Self::In(..) | Self::Like(..) | Self::LikeExpr(..)
        );
        if !may_be_null {
            return expr;
        }
        let [yes, no] = [true, false].map(|b| Self::Literal(Value::Boolean(b)));
        Self::Case(vec![(expr, yes)], no.into())
    }

    /// The expression with integers that wrap around rather than fail, as Java's do.
    pub fn with_wrapping(self) -> Self {
        let mut expr = self;
        expr.children_mut(&mut |child| *child = std::mem::replace(child, Self::Rowtime).with_wrapping());
        if let Self::Lambda(lambda) = &mut expr {
            lambda.body = std::mem::replace(&mut lambda.body, Self::Rowtime).with_wrapping();
        }
        let integer = |t: &SqlType| matches!(t, SqlType::Integer | SqlType::Bigint);
        let wraps = match &expr {
            Self::Arithmetic(.., t) | Self::Cast(_, t) => integer(t),
            Self::Negate(_) => true,
            _ => false,
        };
        if wraps { Self::Wrapping(expr.into()) } else { expr }
    }

    /// The expression with [`Self::Try`] around it, if it can fail at all.
    pub fn or_null(self) -> Self {
        if self.may_fail() { Self::Try(self.into()) } else { self }
    }

    /// Replaces value columns: `map(old position)` is what stands there instead.
    pub fn map_values(&mut self, map: &mut dyn FnMut(usize) -> Expr) {
        match self {
            Self::Value(i) => *self = map(*i),
            other => other.children_mut(&mut |child| child.map_values(map)),
        }
    }

    /// Puts expressions in place of columns: `over(inner)` reads what a projection of `values` gives.
    pub fn inline(&mut self, keys: Option<&[Expr]>, values: &[Expr]) {
        match self {
            Self::Value(i) => *self = values[*i].clone(),
            Self::Key(i) => {
                if let Some(keys) = keys {
                    *self = keys[*i].clone();
                }
            }
            other => other.children_mut(&mut |child| child.inline(keys, values)),
        }
    }
}

#[cfg(test)]
mod tests;
