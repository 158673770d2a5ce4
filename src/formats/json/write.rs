//! Rows to JSON text: exact numbers, NULLs included, keys of maps as strings, BYTES as base64, times as numbers (days or milliseconds).

use std::fmt::Write as _;

use crate::types::BASE64;
use base64::Engine;

use crate::types::{SqlType, Value};

/// What is written: only structs need to know their names.
pub(super) enum Shape {
    Scalar,
    /// Items of an array or values of a map.
    Items(Box<Shape>),
    Struct(Vec<Member>),
}

/// A field: its name as written (`"NAME":`) and what it holds.
pub(super) struct Member {
    name: String,
    shape: Shape,
}

impl Shape {
    pub(super) fn of(sql_type: &SqlType) -> Self {
        match sql_type {
            SqlType::Array(item) => Self::Items(Box::new(Self::of(item))),
            SqlType::Map(_, value) => Self::Items(Box::new(Self::of(value))),
            SqlType::Struct(fields) => Self::Struct(fields.iter().map(|f| Member::new(&f.name, &f.sql_type)).collect()),
            _ => Self::Scalar,
        }
    }
}

impl Member {
    pub(super) fn new(name: &str, sql_type: &SqlType) -> Self {
        let mut quoted = String::new();
        text(name, &mut quoted);
        quoted.push(':');
        Self {
            name: quoted,
            shape: Shape::of(sql_type),
        }
    }
}

/// An object of the members' values.
pub(super) fn object(members: &[Member], values: &[Value], out: &mut String) {
    out.push('{');
    for (i, member) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&member.name);
        value(values.get(i).unwrap_or(&Value::Null), &member.shape, out);
    }
    out.push('}');
}

/// A value.
pub(super) fn value(v: &Value, shape: &Shape, out: &mut String) {
    match (v, shape) {
        (Value::Array(items), Shape::Items(inner)) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                value(item, inner, out);
            }
            out.push(']');
        }
        (Value::Map(entries), Shape::Items(inner)) => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                match key {
                    Value::String(s) => text(s, out),
                    other => {
                        let mut plain = String::new();
                        value(other, &Shape::Scalar, &mut plain);
                        text(plain.trim_matches('"'), out);
                    }
                }
                out.push(':');
                value(item, inner, out);
            }
            out.push('}');
        }
        (Value::Struct(values), Shape::Struct(members)) => object(members, values, out),
        (v, _) => scalar(v, out),
    }
}

fn scalar(v: &Value, out: &mut String) {
    let written = match v {
        Value::Boolean(b) => write!(out, "{b}"),
        Value::Integer(n) | Value::Date(n) | Value::Time(n) => write!(out, "{n}"),
        Value::Bigint(n) | Value::Timestamp(n) => write!(out, "{n}"),
        // JSON has no such numbers; Java writes them as strings, and they are read back from there
        Value::Double(x) if x.is_nan() => write!(out, "\"NaN\""),
        Value::Double(x) if x.is_infinite() => write!(out, "\"{}Infinity\"", if *x < 0.0 { "-" } else { "" }),
        Value::Double(x) => {
            out.push_str(&crate::types::double_to_string(*x));
            Ok(())
        }
        Value::Decimal(d) => write!(out, "{d}"),
        Value::String(s) => {
            text(s, out);
            Ok(())
        }
        Value::Bytes(b) => write!(out, "\"{}\"", BASE64.encode(b)),
        // collections are written by their shapes; a value of another type than its column's is a fault of the caller
        Value::Null | Value::Array(_) | Value::Map(_) | Value::Struct(_) => write!(out, "null"),
    };
    debug_assert!(written.is_ok(), "writing to a string never fails");
}

/// A string with its quotes.
pub(super) fn text(s: &str, out: &mut String) {
    out.push('"');
    let mut rest = s;
    while let Some(i) = rest.bytes().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)) {
        out.push_str(&rest[..i]);
        match rest.as_bytes()[i] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                let written = write!(out, "\\u{control:04x}");
                debug_assert!(written.is_ok(), "writing to a string never fails");
            }
        }
        rest = &rest[i + 1..];
    }
    out.push_str(rest);
    out.push('"');
}
