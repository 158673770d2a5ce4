//! Comparison with SQL's NULL.

use std::cmp::Ordering;
use std::fmt;

use crate::types::{SqlType, Value};

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `=`
    Equal,
    /// `<>` or `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl CompareOp {
    /// The comparison with its operands exchanged.
    pub fn flipped(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    /// Whether it asks for more than equality.
    pub fn is_ordering(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl fmt::Display for CompareOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

/// Whether values of the type can be compared by `op`: order needs a type that has one.
pub fn comparable(sql_type: &SqlType, op: CompareOp) -> bool {
    match sql_type {
        SqlType::Boolean | SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_) => !op.is_ordering(),
        SqlType::Integer
        | SqlType::Bigint
        | SqlType::Double
        | SqlType::Decimal { .. }
        | SqlType::String
        | SqlType::Bytes
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp => true,
    }
}

/// `a op b`, NULL when either is NULL. NaN is equal to nothing and -0.0 equals 0.0, unlike in keys.
pub(super) fn compare(op: CompareOp, a: &Value, b: &Value) -> Value {
    if a.is_null() || b.is_null() {
        return Value::Null;
    }
    Value::Boolean(match (a, b) {
        (Value::Double(a), Value::Double(b)) => match a.partial_cmp(b) {
            Some(order) => op.holds(order),
            None => op == CompareOp::NotEqual,
        },
        _ => op.holds(a.cmp(b)),
    })
}

/// Whether two values differ, NULL being equal to NULL only.
pub(super) fn distinct(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Double(x), Value::Double(y)) => x != y && !(x.is_nan() && y.is_nan()),
        _ => a != b,
    }
}
