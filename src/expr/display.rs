//! SQL-like text of an expression, with columns by position. It is part of fingerprints: changing it makes existing state look foreign.

use std::fmt;

use super::{Expr, double_to_string, time_text};
use crate::types::Value;

/// A value as a SQL literal.
pub(crate) fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Boolean(b) => b.to_string().to_uppercase(),
        Value::Integer(n) => n.to_string(),
        Value::Bigint(n) => n.to_string(),
        Value::Double(x) => double_to_string(*x),
        Value::Decimal(d) => d.to_string(),
        Value::String(s) => format!("'{}'", s.replace('\'', "''")),
        Value::Bytes(bytes) => {
            let hex: String = bytes.iter().map(|b| format!("{b:02X}")).collect();
            format!("X'{hex}'")
        }
        Value::Date(days) => format!("DATE '{}'", time_text::date_to_string(*days)),
        Value::Time(ms) => format!("TIME '{}'", time_text::time_to_string(*ms)),
        Value::Timestamp(ms) => format!("TIMESTAMP '{}'", time_text::timestamp_to_string(*ms)),
        Value::Array(items) => format!("ARRAY[{}]", join(items.iter().map(literal))),
        Value::Struct(fields) => format!("STRUCT({})", join(fields.iter().map(literal))),
        Value::Map(entries) => {
            let entry = |(k, v): &(Value, Value)| format!("{} := {}", literal(k), literal(v));
            format!("MAP({})", join(entries.iter().map(entry)))
        }
    }
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn list(all: &[Expr]) -> String {
    join(all.iter().map(ToString::to_string))
}

fn chain(f: &mut fmt::Formatter<'_>, all: &[Expr], word: &str) -> fmt::Result {
    let parts: Vec<_> = all.iter().map(ToString::to_string).collect();
    write!(f, "({})", parts.join(word))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => f.write_str(&literal(value)),
            Self::Key(i) => write!(f, "k{i}"),
            Self::Value(i) => write!(f, "v{i}"),
            Self::Rowtime => f.write_str("ROWTIME"),
            Self::Not(a) => write!(f, "(NOT {a})"),
            Self::Negate(a) => write!(f, "(-{a})"),
            Self::And(all) => chain(f, all, " AND "),
            Self::Or(all) => chain(f, all, " OR "),
            Self::Compare(op, a, b) => write!(f, "({a} {op} {b})"),
            Self::Arithmetic(op, a, b, _) => write!(f, "({a} {op} {b})"),
            Self::IsNull(a) => write!(f, "({a} IS NULL)"),
            Self::IsDistinct(a, b) => write!(f, "({a} IS DISTINCT FROM {b})"),
            Self::In(a, all) => write!(f, "({a} IN ({}))", list(all)),
            Self::Like(a, pattern) => write!(f, "({a} LIKE {pattern})"),
            Self::LikeExpr(a, pattern, None) => write!(f, "({a} LIKE {pattern})"),
            Self::LikeExpr(a, pattern, Some(c)) => write!(f, "({a} LIKE {pattern} ESCAPE '{c}')"),
            Self::Case(whens, otherwise) => {
                f.write_str("CASE")?;
                for (when, then) in whens {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                write!(f, " ELSE {otherwise} END")
            }
            Self::Try(a) => write!(f, "TRY({a})"),
            Self::Wrapping(a) => write!(f, "{a}"),
            Self::Cast(a, to) => write!(f, "CAST({a} AS {to})"),
            Self::Field(a, i) => write!(f, "{a}->{i}"),
            Self::Item(a, i) | Self::Entry(a, i) => write!(f, "{a}[{i}]"),
            Self::Array(items) => write!(f, "ARRAY[{}]", list(items)),
            Self::Struct(fields) => write!(f, "STRUCT({})", list(fields)),
            Self::Map(entries) => {
                let entries = join(entries.iter().map(|(k, v)| format!("{k} := {v}")));
                write!(f, "MAP({entries})")
            }
            Self::Call(call) => write!(f, "{}({})", call.function.name, list(&call.args)),
            // v0 to v(n-1) are the parameters in the body, the captured values come after them
            Self::Lambda(l) => write!(f, "({} params, {}) => {}", l.params, list(&l.captures), l.body),
            Self::NonNull(a) => write!(f, "{a}!"),
        }
    }
}
