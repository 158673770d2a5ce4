//! `+ - * / %`: the result's type, and the computation. Exact types never wrap: an overflow is an error of the row.

use std::fmt;

use super::{EvalError, cast::decimal_of};
use crate::types::{MAX_PRECISION, SqlType, Value};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticOp {
    /// `+`; of strings it concatenates.
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`; of integers it truncates.
    Divide,
    /// `%`, with the sign of the dividend.
    Modulo,
}

impl fmt::Display for ArithmeticOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        })
    }
}

/// Digits after the point that a result keeps when it must be cut to [`MAX_PRECISION`] digits (SQL Server's rule; ksqlDB has no limit).
const SCALE_KEPT: i16 = 6;

/// The type to which both operands are brought, and the result's type. `None` when the operator does not take these types.
///
/// The precision of decimals follows ksqlDB's `DecimalUtil`, which is SQL Server's.
pub fn arithmetic_type(op: ArithmeticOp, a: &SqlType, b: &SqlType) -> Option<(SqlType, SqlType, SqlType)> {
    use SqlType::{Bigint, Decimal, Double, Integer, String};
    Some(match (a, b) {
        (String, String) if op == ArithmeticOp::Add => (String, String, String),
        (Integer, Integer) => (Integer, Integer, Integer),
        (Integer | Bigint, Integer | Bigint) => (Bigint, Bigint, Bigint),
        (Double, b) if b.is_numeric() => (Double, Double, Double),
        (a, Double) if a.is_numeric() => (Double, Double, Double),
        (Decimal { .. }, b) if b.is_numeric() => decimal_result(op, a, b)?,
        (a, Decimal { .. }) if a.is_numeric() => decimal_result(op, a, b)?,
        _ => return None,
    })
}

fn decimal_result(op: ArithmeticOp, a: &SqlType, b: &SqlType) -> Option<(SqlType, SqlType, SqlType)> {
    let ((p1, s1), (p2, s2)) = (decimal_of(a)?, decimal_of(b)?);
    let left = SqlType::Decimal {
        precision: p1,
        scale: s1,
    };
    let right = SqlType::Decimal {
        precision: p2,
        scale: s2,
    };
    let (p1, s1, p2, s2) = (i16::from(p1), i16::from(s1), i16::from(p2), i16::from(s2));
    let (precision, scale) = match op {
        ArithmeticOp::Add | ArithmeticOp::Subtract => ((p1 - s1).max(p2 - s2) + s1.max(s2) + 1, s1.max(s2)),
        ArithmeticOp::Multiply => (p1 + p2 + 1, s1 + s2),
        ArithmeticOp::Divide => {
            let scale = SCALE_KEPT.max(s1 + p2 + 1);
            (p1 - s1 + s2 + scale, scale)
        }
        ArithmeticOp::Modulo => ((p1 - s1).min(p2 - s2) + s1.max(s2), s1.max(s2)),
    };
    Some((left, right, bounded(precision, scale)))
}

/// Cuts the scale, down to [`SCALE_KEPT`] digits, so that the whole digits fit [`MAX_PRECISION`].
fn bounded(precision: i16, scale: i16) -> SqlType {
    let most = i16::from(MAX_PRECISION);
    let (precision, scale) = if precision > most {
        let whole = precision - scale;
        (most, scale.min(SCALE_KEPT).max((most - whole).min(scale)))
    } else {
        (precision.max(1), scale)
    };
    SqlType::Decimal {
        precision: u8::try_from(precision).unwrap_or(MAX_PRECISION),
        scale: u8::try_from(scale).unwrap_or(0),
    }
}

fn failed(op: ArithmeticOp, a: &Value, b: &Value, why: impl fmt::Display) -> EvalError {
    EvalError::new(format!(
        "{} {op} {}: {why}",
        super::display::literal(a),
        super::display::literal(b)
    ))
}

/// Of two 64-bit numbers, which an i128 has room for; `None`: division by zero.
fn exact(op: ArithmeticOp, x: i128, y: i128) -> Option<i128> {
    match op {
        ArithmeticOp::Add => Some(x + y),
        ArithmeticOp::Subtract => Some(x - y),
        ArithmeticOp::Multiply => Some(x * y),
        ArithmeticOp::Divide => x.checked_div(y),
        ArithmeticOp::Modulo => x.checked_rem(y),
    }
}

/// Computes; NULL when either is NULL.
pub(super) fn arithmetic(op: ArithmeticOp, a: &Value, b: &Value, result: &SqlType) -> Result<Value, EvalError> {
    let overflow = || failed(op, a, b, format_args!("the result does not fit {result}"));
    let by_zero = || failed(op, a, b, "division by zero");
    Ok(match (a, b) {
        (Value::Double(x), Value::Double(y)) => Value::Double(match op {
            ArithmeticOp::Add => x + y,
            ArithmeticOp::Subtract => x - y,
            ArithmeticOp::Multiply => x * y,
            ArithmeticOp::Divide => x / y,
            ArithmeticOp::Modulo => x % y,
        }),
        (Value::Integer(x), Value::Integer(y)) => {
            let n = exact(op, i128::from(*x), i128::from(*y)).ok_or_else(by_zero)?;
            Value::Integer(i32::try_from(n).map_err(|_| overflow())?)
        }
        (Value::Bigint(x), Value::Bigint(y)) => {
            let n = exact(op, i128::from(*x), i128::from(*y)).ok_or_else(by_zero)?;
            Value::Bigint(i64::try_from(n).map_err(|_| overflow())?)
        }
        (Value::Decimal(x), Value::Decimal(y)) => {
            let SqlType::Decimal { precision, scale } = result else {
                return Err(overflow());
            };
            let n = match op {
                ArithmeticOp::Add => x.checked_add(*y),
                ArithmeticOp::Subtract => x.checked_sub(*y),
                ArithmeticOp::Multiply => x.checked_mul(*y),
                ArithmeticOp::Divide => x.checked_div(*y, *scale),
                ArithmeticOp::Modulo => x.checked_rem(*y),
            };
            let n = n.map_err(|e| failed(op, a, b, e))?;
            Value::Decimal(n.fit(*precision, *scale).map_err(|_| overflow())?)
        }
        (Value::String(x), Value::String(y)) => Value::string(format!("{x}{y}")),
        _ => Value::Null,
    })
}

/// Of integers, modulo their size; `None`: not of two integers, or a division by zero.
pub(super) fn wrapping(op: ArithmeticOp, a: &Value, b: &Value) -> Option<Value> {
    match (a, b) {
        (Value::Integer(x), Value::Integer(y)) => {
            exact(op, i128::from(*x), i128::from(*y)).map(|n| Value::Integer(n as i32))
        }
        (Value::Bigint(x), Value::Bigint(y)) => {
            exact(op, i128::from(*x), i128::from(*y)).map(|n| Value::Bigint(n as i64))
        }
        _ => None,
    }
}

/// The number with the other sign.
pub(super) fn negate(a: &Value) -> Result<Value, EvalError> {
    let overflow = || EvalError::new(format!("-({}): the result does not fit", super::display::literal(a)));
    Ok(match a {
        Value::Integer(n) => Value::Integer(n.checked_neg().ok_or_else(overflow)?),
        Value::Bigint(n) => Value::Bigint(n.checked_neg().ok_or_else(overflow)?),
        Value::Double(x) => Value::Double(-x),
        Value::Decimal(d) => Value::Decimal(d.checked_neg().map_err(|_| overflow())?),
        _ => Value::Null,
    })
}
