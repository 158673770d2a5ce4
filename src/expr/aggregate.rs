//! Aggregate functions: a few state values a call, changed in place.
//!
//! The state of all calls of an aggregation stands side by side in one row, which is what its store holds. Exact types are summed exactly and an
//! overflow is an error of the row; sums of doubles carry their rounding error along, so that neither the order of the rows nor a row taken
//! back shows in the result. NULL arguments are skipped.

use std::fmt;

use super::{EvalError, Expr};
use crate::types::{Decimal, MAX_PRECISION, SqlType, Value};

/// An aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateFunction {
    /// `COUNT(*)`: rows.
    CountAll,
    /// `COUNT(x)`: rows where x is not NULL.
    Count,
    /// `SUM(x)`: 0 for no rows; of the type of x.
    Sum,
    /// `AVG(x)`: DOUBLE; 0 for no rows, as ksqlDB's.
    Avg,
    /// `MIN(x)`.
    Min,
    /// `MAX(x)`.
    Max,
    /// `LATEST_BY_OFFSET(x [, ignore_nulls])`.
    LatestByOffset {
        /// Skip NULL (the default).
        ignore_nulls: bool,
    },
    /// `EARLIEST_BY_OFFSET(x [, ignore_nulls])`.
    EarliestByOffset {
        /// Skip NULL (the default).
        ignore_nulls: bool,
    },
}

/// One line of the reference of aggregate functions.
#[derive(Clone, Copy, Debug)]
pub struct AggregateDoc {
    /// The SQL name.
    pub name: &'static str,
    /// Its arguments, as in a manual.
    pub arguments: &'static str,
    /// What it gives.
    pub doc: &'static str,
}

const fn doc(name: &'static str, arguments: &'static str, doc: &'static str) -> AggregateDoc {
    AggregateDoc { name, arguments, doc }
}

/// The aggregate functions: what the parser takes for one, and the manual.
pub const AGGREGATES: &[AggregateDoc] = &[
    doc("AVG", "number", "The average, as DOUBLE; 0 of no rows."),
    doc(
        "COUNT",
        "* | any",
        "How many rows, or how many rows where the argument is not NULL.",
    ),
    doc(
        "EARLIEST_BY_OFFSET",
        "any [, ignore_nulls]",
        "The value of the first row; NULLs are skipped unless the second argument is FALSE.",
    ),
    doc(
        "LATEST_BY_OFFSET",
        "any [, ignore_nulls]",
        "The value of the last row; NULLs are skipped unless the second argument is FALSE.",
    ),
    doc("MAX", "ordered", "The greatest value."),
    doc("MIN", "ordered", "The least value."),
    doc("SUM", "number", "The sum, of the argument's type; 0 of no rows."),
];

/// One call in a query: function, argument expressions and the type of its result. Made by [`AggregateCall::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateCall {
    /// The function.
    pub function: AggregateFunction,
    /// Its arguments, evaluated on each input row.
    pub args: Vec<Expr>,
    /// The arguments' types.
    pub arg_types: Vec<SqlType>,
    /// The result's type.
    pub sql_type: SqlType,
}

impl fmt::Display for AggregateFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CountAll | Self::Count => "COUNT",
            Self::Sum => "SUM",
            Self::Avg => "AVG",
            Self::Min => "MIN",
            Self::Max => "MAX",
            Self::LatestByOffset { .. } => "LATEST_BY_OFFSET",
            Self::EarliestByOffset { .. } => "EARLIEST_BY_OFFSET",
        })
    }
}

impl AggregateFunction {
    /// Constant arguments as they are printed after the others.
    pub(super) fn options(self) -> &'static str {
        match self {
            Self::LatestByOffset { ignore_nulls: false } | Self::EarliestByOffset { ignore_nulls: false } => ", FALSE",
            _ => "",
        }
    }
}

impl AggregateCall {
    /// `COUNT(*)`.
    pub fn count_all() -> Self {
        Self {
            function: AggregateFunction::CountAll,
            args: Vec::new(),
            arg_types: Vec::new(),
            sql_type: SqlType::Bigint,
        }
    }

    /// A call by its SQL name, in upper case. `COUNT()` is `COUNT(*)`.
    ///
    /// # Errors
    /// With what the function takes, when it does not take these arguments.
    pub fn new(name: &str, args: Vec<(Expr, SqlType)>) -> Result<Self, String> {
        let takes = |what: &str| {
            let given: Vec<_> = args.iter().map(|(_, t)| t.to_string()).collect();
            format!("{name} takes {what}, not ({})", given.join(", "))
        };
        if name == "COUNT" && args.is_empty() {
            return Ok(Self::count_all());
        }
        let offset = matches!(name, "LATEST_BY_OFFSET" | "EARLIEST_BY_OFFSET");
        let ignore_nulls = match args.as_slice() {
            [_] => true,
            [_, (Expr::Literal(Value::Boolean(ignore)), _)] if offset => *ignore,
            _ if offset => return Err(takes("a value and optionally TRUE or FALSE")),
            _ => return Err(takes("one argument")),
        };
        let of = &args[0].1;
        let ordered = super::comparable(of, super::CompareOp::Less);
        let (function, sql_type) = match name {
            "COUNT" => (AggregateFunction::Count, SqlType::Bigint),
            "SUM" if of.is_numeric() => (AggregateFunction::Sum, of.clone()),
            "AVG" if of.is_numeric() => (AggregateFunction::Avg, SqlType::Double),
            "SUM" | "AVG" => return Err(takes("a number")),
            "MIN" if ordered => (AggregateFunction::Min, of.clone()),
            "MAX" if ordered => (AggregateFunction::Max, of.clone()),
            "MIN" | "MAX" => return Err(takes("values that have an order")),
            "LATEST_BY_OFFSET" => (AggregateFunction::LatestByOffset { ignore_nulls }, of.clone()),
            "EARLIEST_BY_OFFSET" => (AggregateFunction::EarliestByOffset { ignore_nulls }, of.clone()),
            _ => return Err(format!("{name} is not an aggregate function")),
        };
        let (arg, arg_type) = args.into_iter().next().unwrap_or((Expr::Rowtime, SqlType::Bigint));
        Ok(Self {
            function,
            args: vec![arg],
            arg_types: vec![arg_type],
            sql_type,
        })
    }

    fn sums_doubles(&self) -> bool {
        self.arg_types.first() == Some(&SqlType::Double)
    }

    /// The types of its state values.
    pub fn state_types(&self) -> Vec<SqlType> {
        let of = || self.arg_types.first().cloned().unwrap_or(SqlType::Bigint);
        match self.function {
            AggregateFunction::CountAll | AggregateFunction::Count => vec![SqlType::Bigint],
            AggregateFunction::Sum if self.sums_doubles() => vec![SqlType::Double, SqlType::Double],
            AggregateFunction::Avg if self.sums_doubles() => {
                vec![SqlType::Double, SqlType::Double, SqlType::Bigint]
            }
            AggregateFunction::Avg => {
                let scale = super::decimal_of(&of()).map_or(0, |(_, scale)| scale);
                let precision = MAX_PRECISION;
                vec![SqlType::Decimal { precision, scale }, SqlType::Bigint]
            }
            AggregateFunction::Sum | AggregateFunction::Min | AggregateFunction::Max => vec![of()],
            AggregateFunction::LatestByOffset { .. } => vec![of()],
            AggregateFunction::EarliestByOffset { ignore_nulls: true } => vec![of()],
            AggregateFunction::EarliestByOffset { ignore_nulls: false } => vec![SqlType::Boolean, of()],
        }
    }

    /// How many state values the call takes.
    pub fn state_len(&self) -> usize {
        match self.function {
            AggregateFunction::CountAll | AggregateFunction::Count => 1,
            AggregateFunction::Sum => 1 + usize::from(self.sums_doubles()),
            AggregateFunction::Avg => 2 + usize::from(self.sums_doubles()),
            AggregateFunction::Min | AggregateFunction::Max => 1,
            AggregateFunction::LatestByOffset { .. } => 1,
            AggregateFunction::EarliestByOffset { ignore_nulls } => 2 - usize::from(ignore_nulls),
        }
    }

    /// Whether a row can be taken back ([`Self::undo`]) from this state alone.
    pub fn can_undo(&self) -> bool {
        match self.function {
            AggregateFunction::CountAll
            | AggregateFunction::Count
            | AggregateFunction::Sum
            | AggregateFunction::Avg => true,
            AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::LatestByOffset { .. }
            | AggregateFunction::EarliestByOffset { .. } => false,
        }
    }

    /// Sets `state` (of [`Self::state_len`] values) to that of no rows.
    pub fn init(&self, state: &mut [Value]) {
        for (value, sql_type) in state.iter_mut().zip(self.state_types()) {
            *value = match self.function {
                AggregateFunction::CountAll
                | AggregateFunction::Count
                | AggregateFunction::Sum
                | AggregateFunction::Avg => zero(&sql_type),
                AggregateFunction::EarliestByOffset { .. } if sql_type == SqlType::Boolean => Value::Null,
                AggregateFunction::Min
                | AggregateFunction::Max
                | AggregateFunction::LatestByOffset { .. }
                | AggregateFunction::EarliestByOffset { .. } => Value::Null,
            };
        }
    }

    /// Adds a row with these argument values. On an error the state is as before.
    ///
    /// # Errors
    /// On overflow of an exact type.
    pub fn add(&self, state: &mut [Value], args: &[Value]) -> Result<(), EvalError> {
        let arg = args.first().unwrap_or(&Value::Null);
        match self.function {
            AggregateFunction::CountAll => count(&mut state[0], 1),
            AggregateFunction::LatestByOffset { ignore_nulls: false } => state[0] = arg.clone(),
            AggregateFunction::EarliestByOffset { ignore_nulls: false } => {
                if state[0].is_null() {
                    state[0] = Value::Boolean(true);
                    state[1] = arg.clone();
                }
            }
            _ if arg.is_null() => {}
            AggregateFunction::Count => count(&mut state[0], 1),
            AggregateFunction::Sum => self.sum(state, arg, 1)?,
            AggregateFunction::Avg => self.average(state, arg, 1)?,
            AggregateFunction::Min => {
                if state[0].is_null() || *arg < state[0] {
                    state[0] = arg.clone();
                }
            }
            AggregateFunction::Max => {
                if state[0].is_null() || *arg > state[0] {
                    state[0] = arg.clone();
                }
            }
            AggregateFunction::LatestByOffset { .. } => state[0] = arg.clone(),
            AggregateFunction::EarliestByOffset { .. } => {
                if state[0].is_null() {
                    state[0] = arg.clone();
                }
            }
        }
        Ok(())
    }

    /// Takes a row back that was added before. On an error the state is as before.
    ///
    /// # Errors
    /// On overflow of an exact type, or when [`Self::can_undo`] is false.
    pub fn undo(&self, state: &mut [Value], args: &[Value]) -> Result<(), EvalError> {
        let arg = args.first().unwrap_or(&Value::Null);
        match self.function {
            AggregateFunction::CountAll => count(&mut state[0], -1),
            AggregateFunction::Count if arg.is_null() => {}
            AggregateFunction::Count => count(&mut state[0], -1),
            AggregateFunction::Sum if arg.is_null() => {}
            AggregateFunction::Sum => self.sum(state, arg, -1)?,
            AggregateFunction::Avg if arg.is_null() => {}
            AggregateFunction::Avg => self.average(state, arg, -1)?,
            AggregateFunction::Min
            | AggregateFunction::Max
            | AggregateFunction::LatestByOffset { .. }
            | AggregateFunction::EarliestByOffset { .. } => {
                return Err(EvalError::new(format!("{} cannot take a row back", self.function)));
            }
        }
        Ok(())
    }

    /// The result for a state.
    pub fn result(&self, state: &[Value]) -> Value {
        match self.function {
            AggregateFunction::CountAll | AggregateFunction::Count | AggregateFunction::Sum => state[0].clone(),
            AggregateFunction::Avg => {
                let (sum, n) = match state {
                    [Value::Double(sum), _, Value::Bigint(n)] => (*sum, *n),
                    // integers are the common case and need no text on the way
                    [Value::Decimal(sum), Value::Bigint(n)] if sum.scale() == 0 => (sum.unscaled() as f64, *n),
                    [Value::Decimal(sum), Value::Bigint(n)] => (sum.to_f64(), *n),
                    _ => return Value::Null,
                };
                Value::Double(if n == 0 { 0.0 } else { sum / n as f64 })
            }
            AggregateFunction::Min | AggregateFunction::Max | AggregateFunction::LatestByOffset { .. } => {
                state[0].clone()
            }
            AggregateFunction::EarliestByOffset { ignore_nulls } => state[1 - usize::from(ignore_nulls)].clone(),
        }
    }

    fn overflow(&self, arg: &Value) -> EvalError {
        let arg = super::display::literal(arg);
        EvalError::new(format!(
            "{}: the sum no longer fits {} after {arg}",
            self.function, self.sql_type
        ))
    }

    /// `state += sign * arg`.
    fn sum(&self, state: &mut [Value], arg: &Value, sign: i8) -> Result<(), EvalError> {
        let overflow = || self.overflow(arg);
        match (&mut *state, arg) {
            ([Value::Integer(n)], Value::Integer(x)) => {
                let sum = i64::from(*n) + i64::from(sign) * i64::from(*x);
                *n = i32::try_from(sum).map_err(|_| overflow())?;
            }
            ([Value::Bigint(n)], Value::Bigint(x)) => {
                let sum = i128::from(*n) + i128::from(sign) * i128::from(*x);
                *n = i64::try_from(sum).map_err(|_| overflow())?;
            }
            ([Value::Decimal(n)], Value::Decimal(x)) => {
                let sum = signed(*x, sign).and_then(|x| n.checked_add(x).ok());
                *n = sum.and_then(|s| fit(s, &self.sql_type)).ok_or_else(overflow)?;
            }
            ([Value::Double(high), Value::Double(low)], Value::Double(x)) => add_double(high, low, f64::from(sign) * x),
            _ => {}
        }
        Ok(())
    }

    /// Sum and count of AVG; integers and decimals are summed as decimals.
    fn average(&self, state: &mut [Value], arg: &Value, sign: i8) -> Result<(), EvalError> {
        match (&mut *state, arg) {
            ([Value::Double(high), Value::Double(low), _], Value::Double(x)) => {
                add_double(high, low, f64::from(sign) * x);
                count(&mut state[2], sign);
            }
            ([Value::Decimal(sum), _], _) => {
                let exact = match arg {
                    Value::Integer(n) => Decimal::from(*n),
                    Value::Bigint(n) => Decimal::from(*n),
                    Value::Decimal(d) => *d,
                    _ => return Ok(()),
                };
                let total = signed(exact, sign).and_then(|x| sum.checked_add(x).ok());
                *sum = total.ok_or_else(|| self.overflow(arg))?;
                count(&mut state[1], sign);
            }
            _ => {}
        }
        Ok(())
    }
}

fn zero(sql_type: &SqlType) -> Value {
    match sql_type {
        SqlType::Integer => Value::Integer(0),
        SqlType::Double => Value::Double(0.0),
        SqlType::Decimal { scale, .. } => Value::Decimal(Decimal::new(0, *scale)),
        _ => Value::Bigint(0),
    }
}

/// A count of rows cannot reach the end of BIGINT.
fn count(n: &mut Value, by: i8) {
    if let Value::Bigint(n) = n {
        *n = n.saturating_add(i64::from(by));
    }
}

fn signed(x: Decimal, sign: i8) -> Option<Decimal> {
    if sign < 0 { x.checked_neg().ok() } else { Some(x) }
}

fn fit(sum: Decimal, sql_type: &SqlType) -> Option<Decimal> {
    match sql_type {
        SqlType::Decimal { precision, scale } => sum.fit(*precision, *scale).ok(),
        _ => Some(sum),
    }
}

/// Adds to an unevaluated sum of two doubles (Knuth's TwoSum): `high` is the sum rounded once.
fn add_double(high: &mut f64, low: &mut f64, x: f64) {
    let sum = *high + x;
    if !sum.is_finite() {
        (*high, *low) = (sum, 0.0);
        return;
    }
    let part = sum - *high;
    let error = (*high - (sum - part)) + (x - part) + *low;
    let rounded = sum + error;
    *low = error - (rounded - sum);
    *high = rounded;
}
