//! CAST, implicit and explicit: which types become which, and how. A value that cannot be converted is an error of its row that names value and
//! type.

use super::functions::text_with_fields;
use super::{EvalError, Expr, display::literal, text::text_of, time_text};
use crate::types::{Decimal, MAX_PRECISION, SqlType, Value, map_value};

/// Precision and scale with which an exact number takes part in decimal arithmetic.
pub fn decimal_of(sql_type: &SqlType) -> Option<(u8, u8)> {
    match sql_type {
        SqlType::Integer => Some((10, 0)),
        SqlType::Bigint => Some((19, 0)),
        SqlType::Decimal { precision, scale } => Some((*precision, *scale)),
        _ => None,
    }
}

/// How far a type widens to another without being asked: 0 is the same type; `None` is not at all.
/// INTEGER widens to BIGINT, DECIMAL and DOUBLE in this order.
pub fn widens(from: &SqlType, to: &SqlType) -> Option<u32> {
    use SqlType::{Array, Bigint, Decimal, Double, Integer, Map};
    if from == to {
        return Some(0);
    }
    match (from, to) {
        (Integer, Bigint) => Some(1),
        (Integer | Bigint | Decimal { .. }, Decimal { precision, scale }) => {
            let (p, s) = decimal_of(from)?;
            let fits = p.saturating_sub(s) <= precision.saturating_sub(*scale) && s <= *scale;
            fits.then_some(2)
        }
        (Integer | Bigint | Decimal { .. }, Double) => Some(3),
        (Array(a), Array(b)) => widens(a, b),
        (Map(k, v), Map(l, w)) => Some(widens(k, l)? + widens(v, w)?),
        _ => None,
    }
}

/// The narrowest type that both widen to.
pub fn common_type(a: &SqlType, b: &SqlType) -> Option<SqlType> {
    use SqlType::{Array, Decimal, Double, Map, Struct};
    if widens(a, b).is_some() {
        return Some(b.clone());
    }
    if widens(b, a).is_some() {
        return Some(a.clone());
    }
    match (a, b) {
        (Array(x), Array(y)) => Some(Array(common_type(x, y)?.into())),
        (Map(k, v), Map(l, w)) => Some(Map(common_type(k, l)?.into(), common_type(v, w)?.into())),
        (Struct(x), Struct(y)) if x.len() == y.len() => {
            let fields = x.iter().zip(y.iter()).map(|(f, g)| {
                (f.name == g.name).then_some(())?;
                Some(crate::types::StructField {
                    name: f.name.clone(),
                    sql_type: common_type(&f.sql_type, &g.sql_type)?,
                })
            });
            Some(Struct(fields.collect::<Option<Vec<_>>>()?.into()))
        }
        _ => {
            let ((p, s), (q, t)) = (decimal_of(a)?, decimal_of(b)?);
            let scale = s.max(t);
            let precision = (p - s).max(q - t).saturating_add(scale);
            if precision > MAX_PRECISION {
                return Some(Double);
            }
            Some(Decimal { precision, scale })
        }
    }
}

/// Whether CAST takes this pair of types.
pub fn can_cast(from: &SqlType, to: &SqlType) -> bool {
    use SqlType::{Array, Date, Map, String, Struct, Time, Timestamp};
    if from == to || (from.is_numeric() && to.is_numeric()) {
        return true;
    }
    match (from, to) {
        (SqlType::Bytes, _) | (_, SqlType::Bytes) => false,
        (_, String) => true,
        (String, to) => to.is_numeric() || to.is_time() || *to == SqlType::Boolean,
        (Timestamp, Date | Time) | (Date, Timestamp) => true,
        (Array(a), Array(b)) => can_cast(a, b),
        (Map(k, v), Map(l, w)) => can_cast(k, l) && can_cast(v, w),
        (Struct(a), Struct(b)) => b.iter().all(|to| {
            let from = a.iter().find(|from| from.name == to.name);
            from.is_none_or(|from| can_cast(&from.sql_type, &to.sql_type))
        }),
        _ => false,
    }
}

/// CAST of an expression whose type is known: the text of a STRUCT has the names of its fields, which only the type knows.
pub fn cast_of(expr: Expr, from: &SqlType, to: &SqlType) -> Expr {
    fn has_fields(sql_type: &SqlType) -> bool {
        match sql_type {
            SqlType::Struct(_) => true,
            SqlType::Array(item) | SqlType::Map(_, item) => has_fields(item),
            _ => false,
        }
    }
    if *to == SqlType::String && has_fields(from) {
        return Expr::Call(text_with_fields(expr, from));
    }
    Expr::Cast(expr.into(), to.clone())
}

fn failed(value: &Value, to: &SqlType) -> EvalError {
    EvalError::new(format!("cannot cast {} to {to}", literal(value)))
}

/// The value as another type; NULL stays NULL.
///
/// # Errors
/// Naming value and type, when the value does not fit or is no such thing.
pub fn cast_value(value: &Value, to: &SqlType) -> Result<Value, EvalError> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let converted = match to {
        SqlType::Boolean => to_boolean(value),
        SqlType::Integer => to_i128(value).and_then(|n| i32::try_from(n).ok()).map(Value::Integer),
        SqlType::Bigint => to_i128(value).and_then(|n| i64::try_from(n).ok()).map(Value::Bigint),
        SqlType::Double => to_f64(value).map(Value::Double),
        SqlType::Decimal { precision, scale } => to_decimal(value)
            .and_then(|d| d.fit(*precision, *scale).ok())
            .map(Value::Decimal),
        SqlType::String => Some(Value::string(text_of(value, None))),
        SqlType::Bytes => matches!(value, Value::Bytes(_)).then(|| value.clone()),
        SqlType::Date | SqlType::Time | SqlType::Timestamp => to_time(value, to),
        SqlType::Array(item) => match value {
            Value::Array(items) => Some(Value::Array(
                items.iter().map(|v| cast_value(v, item)).collect::<Result<_, _>>()?,
            )),
            _ => None,
        },
        SqlType::Map(key, item) => match value {
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(k, v)| Ok((cast_value(k, key)?, cast_value(v, item)?)));
                Some(map_value(entries.collect::<Result<_, EvalError>>()?))
            }
            _ => None,
        },
        // the analyzer has put the fields in order, by name
        SqlType::Struct(types) => match value {
            Value::Struct(fields) => {
                let fields = fields.iter().zip(types.iter()).map(|(v, t)| cast_value(v, &t.sql_type));
                Some(Value::Struct(fields.collect::<Result<_, _>>()?))
            }
            _ => None,
        },
    };
    converted.ok_or_else(|| failed(value, to))
}

/// A number as INTEGER or BIGINT as Java converts it: whole numbers lose their upper bits, a DOUBLE stops at the bounds. `None`: no number.
pub(super) fn wrapping(value: &Value, to: &SqlType) -> Option<Value> {
    let whole = match value {
        Value::Integer(n) => i128::from(*n),
        Value::Bigint(n) => i128::from(*n),
        Value::Decimal(d) => d.trunc(),
        Value::Double(x) => {
            return match to {
                SqlType::Integer => Some(Value::Integer(*x as i32)),
                SqlType::Bigint => Some(Value::Bigint(*x as i64)),
                _ => None,
            };
        }
        _ => return None,
    };
    match to {
        SqlType::Integer => Some(Value::Integer(whole as i32)),
        SqlType::Bigint => Some(Value::Bigint(whole as i64)),
        _ => None,
    }
}

/// ksqlDB's rule: a beginning of `true` or `yes` is TRUE, any other text FALSE.
fn to_boolean(value: &Value) -> Option<Value> {
    match value {
        Value::Boolean(_) => Some(value.clone()),
        Value::String(s) => {
            let s = s.trim().to_lowercase();
            Some(Value::Boolean(
                !s.is_empty() && ("true".starts_with(&s) || "yes".starts_with(&s)),
            ))
        }
        _ => None,
    }
}

fn to_i128(value: &Value) -> Option<i128> {
    match value {
        Value::Integer(n) => Some((*n).into()),
        Value::Bigint(n) => Some((*n).into()),
        Value::Double(x) if x.is_finite() && x.abs() < 1e30 => Some(*x as i128),
        Value::Decimal(d) => Some(d.trunc()),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

fn to_f64(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some((*n).into()),
        Value::Bigint(n) => Some(*n as f64),
        Value::Double(x) => Some(*x),
        Value::Decimal(d) => Some(d.to_f64()),
        Value::String(s) => double_of(s.trim()),
        _ => None,
    }
}

/// A number's text, or one of the words that Java has for the others: Rust knows more of them.
fn double_of(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" | "+Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ if text.contains(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')) => None,
        _ => text.parse().ok(),
    }
}

fn to_decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::Integer(n) => Some((*n).into()),
        Value::Bigint(n) => Some((*n).into()),
        Value::Double(x) => Decimal::from_f64(*x),
        Value::Decimal(d) => Some(*d),
        Value::String(s) => s.trim().parse().ok(),
        _ => None,
    }
}

fn to_time(value: &Value, to: &SqlType) -> Option<Value> {
    const DAY_MS: i64 = 86_400_000;
    match (value, to) {
        (Value::Date(_), SqlType::Date) | (Value::Time(_), SqlType::Time) => Some(value.clone()),
        (Value::Timestamp(_), SqlType::Timestamp) => Some(value.clone()),
        (Value::Timestamp(ms), SqlType::Date) => i32::try_from(ms.div_euclid(DAY_MS)).ok().map(Value::Date),
        (Value::Timestamp(ms), SqlType::Time) => i32::try_from(ms.rem_euclid(DAY_MS)).ok().map(Value::Time),
        (Value::Date(days), SqlType::Timestamp) => Some(Value::Timestamp(i64::from(*days) * DAY_MS)),
        (Value::String(s), SqlType::Date) => time_text::parse_date(s).map(Value::Date),
        (Value::String(s), SqlType::Time) => time_text::parse_time(s).map(Value::Time),
        (Value::String(s), SqlType::Timestamp) => time_text::parse_timestamp(s).map(Value::Timestamp),
        _ => None,
    }
}
