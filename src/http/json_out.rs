//! Rows as JSON.
//!
//! | SQL | JSON |
//! |---|---|
//! | BOOLEAN, INTEGER | as they are |
//! | BIGINT, DECIMAL | exact numbers, all digits and the scale kept; strings with `numbers=string` (a browser's numbers hold 53 bits) |
//! | DOUBLE | the shortest number that reads back the same; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | BYTES | base64 |
//! | DATE, TIME, TIMESTAMP | text as ksqlDB's pull queries show them: `"2020-02-29"`, `"23:59:59.999"`, `"2020-02-29T23:59:59.999"` (UTC) |
//! | ARRAY, MAP, STRUCT | array, object with the keys as text, object |

use std::fmt::Arguments;
use std::io::Write as _;

use base64::Engine as _;

use crate::expr::{date_to_string, double_to_string, time_to_string, timestamp_to_string};
use crate::types::{Column, SqlType, Value};

/// How BIGINT and DECIMAL are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbers {
    /// As JSON numbers.
    #[default]
    Exact,
    /// As strings.
    Strings,
}

/// Appends `{"NAME": value, ...}`.
pub fn write_row<'a, 'b>(
    columns: impl IntoIterator<Item = &'a Column>,
    values: impl Iterator<Item = &'b Value>,
    numbers: Numbers,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (i, (column, value)) in columns.into_iter().zip(values).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(&column.name, out);
        out.push(b':');
        write_value(value, &column.sql_type, numbers, out);
    }
    out.push(b'}');
}

/// Appends a value; its type gives the names of a STRUCT's fields.
pub fn write_value(value: &Value, sql_type: &SqlType, numbers: Numbers, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Integer(n) => append(out, format_args!("{n}")),
        Value::Bigint(n) => write_exact(format_args!("{n}"), numbers, out),
        Value::Decimal(d) => write_exact(format_args!("{d}"), numbers, out),
        Value::Double(x) if x.is_finite() => append(out, format_args!("{}", serde_json::json!(x))),
        Value::Double(x) => write_text(&double_to_string(*x), out),
        Value::String(s) => write_text(s, out),
        Value::Bytes(b) => write_text(&crate::types::BASE64.encode(b), out),
        Value::Date(days) => write_text(&date_to_string(*days), out),
        Value::Time(ms) => write_text(&time_to_string(*ms), out),
        Value::Timestamp(ms) => write_text(&timestamp_to_string(*ms), out),
        Value::Array(items) => {
            let inner = match sql_type {
                SqlType::Array(inner) => inner,
                other => other,
            };
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, inner, numbers, out);
            }
            out.push(b']');
        }
        Value::Map(entries) => write_map(entries, sql_type, numbers, out),
        Value::Struct(values) => write_struct(values, sql_type, numbers, out),
    }
}

fn write_map(entries: &[(Value, Value)], sql_type: &SqlType, numbers: Numbers, out: &mut Vec<u8>) {
    let (key_type, value_type) = match sql_type {
        SqlType::Map(key, value) => (&**key, &**value),
        other => (other, other),
    };
    out.push(b'{');
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut name = Vec::new();
        write_value(key, key_type, Numbers::Strings, &mut name);
        if name.first() == Some(&b'"') {
            out.extend_from_slice(&name);
        } else {
            write_text(&String::from_utf8_lossy(&name), out);
        }
        out.push(b':');
        write_value(value, value_type, numbers, out);
    }
    out.push(b'}');
}

fn write_struct(values: &[Value], sql_type: &SqlType, numbers: Numbers, out: &mut Vec<u8>) {
    let fields = match sql_type {
        SqlType::Struct(fields) => &fields[..],
        _ => &[],
    };
    out.push(b'{');
    for (i, (field, value)) in fields.iter().zip(values).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(&field.name, out);
        out.push(b':');
        write_value(value, &field.sql_type, numbers, out);
    }
    out.push(b'}');
}

fn write_exact(digits: Arguments<'_>, numbers: Numbers, out: &mut Vec<u8>) {
    match numbers {
        Numbers::Exact => append(out, digits),
        Numbers::Strings => append(out, format_args!("\"{digits}\"")),
    }
}

/// Appends text as it is.
fn append(out: &mut Vec<u8>, text: Arguments<'_>) {
    // memory takes everything
    let _: std::io::Result<()> = out.write_fmt(text);
}

/// Appends a JSON string.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Decimal, StructField};

    fn json(value: &Value, sql_type: &SqlType, numbers: Numbers) -> String {
        let mut out = Vec::new();
        write_value(value, sql_type, numbers, &mut out);
        let text = String::from_utf8(out).unwrap();
        let _: serde_json::Value = serde_json::from_str(&text).unwrap();
        text
    }

    #[test]
    fn numbers_are_exact() {
        let big = Value::Bigint(i64::MIN);
        assert_eq!(json(&big, &SqlType::Bigint, Numbers::Exact), "-9223372036854775808");
        assert_eq!(
            json(&big, &SqlType::Bigint, Numbers::Strings),
            "\"-9223372036854775808\""
        );
        let decimal = SqlType::Decimal {
            precision: 38,
            scale: 2,
        };
        let value = Value::Decimal(Decimal::new(12_345_678_901_234_567_890_123_456_789_012_345_670, 2));
        assert_eq!(
            json(&value, &decimal, Numbers::Exact),
            "123456789012345678901234567890123456.70"
        );
        assert_eq!(json(&Value::Double(0.1), &SqlType::Double, Numbers::Strings), "0.1");
        assert_eq!(
            json(&Value::Double(f64::NAN), &SqlType::Double, Numbers::Exact),
            "\"NaN\""
        );
    }

    #[test]
    fn times_bytes_and_nested_values() {
        assert_eq!(
            json(&Value::Timestamp(0), &SqlType::Timestamp, Numbers::Exact),
            "\"1970-01-01T00:00:00.000\""
        );
        assert_eq!(json(&Value::Date(-1), &SqlType::Date, Numbers::Exact), "\"1969-12-31\"");
        assert_eq!(
            json(
                &Value::Bytes([0, 255].as_slice().into()),
                &SqlType::Bytes,
                Numbers::Exact
            ),
            "\"AP8=\""
        );
        let field = StructField {
            name: "a\"\u{1}".into(),
            sql_type: SqlType::Map(SqlType::Bigint.into(), SqlType::Boolean.into()),
        };
        let map = Value::Map(vec![(Value::Bigint(7), Value::Boolean(true))].into());
        let value = Value::Array(vec![Value::Struct(vec![map].into()), Value::Null].into());
        let sql_type = SqlType::Array(SqlType::Struct(vec![field].into()).into());
        assert_eq!(
            json(&value, &sql_type, Numbers::Exact),
            r#"[{"a\"\u0001":{"7":true}},null]"#
        );
    }
}
