//! Values as plain text, for the formats that hold text: DELIMITED fields, JSON strings and keys of maps.

use crate::types::BASE64;
use base64::Engine;

use crate::types::{Decimal, SqlType, Value};

/// A TIME is below it.
const MS_OF_A_DAY: i32 = 86_400_000;

/// The value that a text holds: numbers as written, TRUE and FALSE in any case, BYTES as base64, DATE in days, TIME and TIMESTAMP in
/// milliseconds. `None` when the text holds no such value, or one that would need rounding. Collections have no text.
pub(super) fn parse(text: &str, sql_type: &SqlType) -> Option<Value> {
    Some(match sql_type {
        SqlType::Boolean if text.eq_ignore_ascii_case("true") => Value::Boolean(true),
        SqlType::Boolean if text.eq_ignore_ascii_case("false") => Value::Boolean(false),
        SqlType::Integer => Value::Integer(text.parse().ok()?),
        SqlType::Bigint => Value::Bigint(text.parse().ok()?),
        SqlType::Double => Value::Double(double(text)?),
        SqlType::Decimal { precision, scale } => {
            Value::Decimal(super::exact_decimal(text.parse::<Decimal>().ok()?, *precision, *scale)?)
        }
        SqlType::String => Value::String(text.into()),
        SqlType::Bytes => Value::Bytes(BASE64.decode(text).ok()?.into()),
        SqlType::Date => Value::Date(text.parse().ok()?),
        SqlType::Time => Value::Time(text.parse().ok().filter(|ms| (0..MS_OF_A_DAY).contains(ms))?),
        SqlType::Timestamp => Value::Timestamp(text.parse().ok()?),
        SqlType::Boolean | SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_) => return None,
    })
}

/// A finite number, or one of the words that Java writes for the others.
fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // `parse` also knows words of its own (inf, nan), which are no numbers here; a number beyond the range becomes infinite
        _ => text.parse::<f64>().ok().filter(|x| x.is_finite()),
    }
}
