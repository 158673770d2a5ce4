//! JSON from outside as rows of a relation: every problem with its JSON path.
//!
//! Names match exactly or, where nothing does, regardless of case. Text is taken for numbers that JSON's readers often cannot hold (BIGINT,
//! DECIMAL) and for times; nothing else is converted.

use serde_json::{Map, Value as Json};

use crate::expr::parse_timestamp;
use crate::types::{Column, Decimal, Row, SqlType, Value, map_value};
use crate::views::value_from_text;

/// Something wrong in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `$.records[2].value.RATING`.
    pub path: String,
    /// What.
    pub message: String,
}

/// Problems that are reported at most; more say nothing new.
pub const MOST_PROBLEMS: usize = 100;
/// Nesting beyond this is refused; serde_json's own limit is a little more.
const MAX_DEPTH: usize = 64;

/// Collects problems.
#[derive(Default)]
pub(super) struct Checker {
    pub problems: Vec<Problem>,
}

impl Checker {
    /// Notes a problem.
    pub fn problem(&mut self, path: &str, message: impl Into<String>) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(Problem {
                path: path.to_string(),
                message: message.into(),
            });
        }
    }

    /// Values for `columns` out of an object; absent ones are NULL, unknown ones are problems.
    pub fn row(&mut self, object: &Map<String, Json>, columns: &[Column], path: &str) -> Row {
        let mut used = vec![false; object.len()];
        let values = columns.iter().map(|column| {
            let Some((at, name, json)) = member(object, &column.name) else {
                return Value::Null;
            };
            used[at] = true;
            self.value(json, &column.sql_type, &format!("{path}.{name}"), 0)
        });
        let row: Row = values.collect();
        for ((name, _), used) in object.iter().zip(used) {
            if !used {
                let known: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
                self.problem(
                    &format!("{path}.{name}"),
                    format!("unknown column; known are {}", known.join(", ")),
                );
            }
        }
        row
    }

    /// A value of a SQL type; NULL after a problem.
    pub fn value(&mut self, json: &Json, sql_type: &SqlType, path: &str, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            self.problem(path, "nested too deeply");
            return Value::Null;
        }
        let parsed = match (json, sql_type) {
            (Json::Null, _) => Ok(Value::Null),
            (Json::Bool(b), SqlType::Boolean) => Ok(Value::Boolean(*b)),
            (Json::Number(n), _) => number(&n.to_string(), sql_type),
            (Json::String(s), _) => text(s, sql_type),
            (Json::Array(items), SqlType::Array(inner)) => {
                let item = |(i, item)| self.value(item, inner, &format!("{path}[{i}]"), depth + 1);
                Ok(Value::Array(items.iter().enumerate().map(item).collect()))
            }
            (Json::Object(members), SqlType::Map(key, inner)) => {
                let mut entries = Vec::with_capacity(members.len());
                for (name, member) in members {
                    let path = format!("{path}.{name}");
                    let key = value_from_text(name, key).unwrap_or_else(|message| {
                        self.problem(&path, format!("the map's key: {message}"));
                        Value::Null
                    });
                    entries.push((key, self.value(member, inner, &path, depth + 1)));
                }
                Ok(map_value(entries))
            }
            (Json::Object(members), SqlType::Struct(fields)) => {
                let columns: Vec<Column> = fields
                    .iter()
                    .map(|f| Column::new(f.name.clone(), f.sql_type.clone()))
                    .collect();
                // the depth of nested structs is that of their type, which is finite
                Ok(Value::Struct(self.row(members, &columns, path).to_vec().into()))
            }
            _ => Err(format!("expected {sql_type}, found {}", kind(json))),
        };
        parsed.unwrap_or_else(|message| {
            self.problem(path, message);
            Value::Null
        })
    }
}

/// A member by its name, or by its name regardless of case: position, name as written, value.
pub(super) fn member<'a>(object: &'a Map<String, Json>, name: &str) -> Option<(usize, &'a str, &'a Json)> {
    let find = |same: &dyn Fn(&str) -> bool| {
        let found = object.iter().enumerate().find(|(_, (member, _))| same(member));
        found.map(|(i, (member, json))| (i, member.as_str(), json))
    };
    find(&|member| member == name).or_else(|| find(&|member| member.eq_ignore_ascii_case(name)))
}

fn number(digits: &str, sql_type: &SqlType) -> Result<Value, String> {
    let whole = |what: &str| format!("expected {what}, found {digits}");
    match sql_type {
        SqlType::Integer => digits
            .parse()
            .map(Value::Integer)
            .map_err(|_| whole("an INTEGER (32 bits)")),
        SqlType::Bigint => digits
            .parse()
            .map(Value::Bigint)
            .map_err(|_| whole("a BIGINT (64 bits)")),
        SqlType::Double => match digits.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Double(x)),
            _ => Err(whole("a DOUBLE")),
        },
        SqlType::Decimal { precision, scale } => decimal(digits, *precision, *scale),
        SqlType::Timestamp => digits
            .parse()
            .map(Value::Timestamp)
            .map_err(|_| whole("milliseconds since the epoch")),
        SqlType::Boolean
        | SqlType::String
        | SqlType::Bytes
        | SqlType::Date
        | SqlType::Time
        | SqlType::Array(_)
        | SqlType::Map(..)
        | SqlType::Struct(_) => Err(format!("expected {sql_type}, found the number {digits}")),
    }
}

/// A decimal that loses no digit: more digits after the point than the type has are refused unless they are zeros.
fn decimal(digits: &str, precision: u8, scale: u8) -> Result<Value, String> {
    let exact = digits.parse::<Decimal>().and_then(|d| {
        let fitted = d.fit(precision, scale)?;
        Ok((d, fitted))
    });
    match exact {
        Ok((given, fitted)) if given == fitted => Ok(Value::Decimal(fitted)),
        Ok(_) => Err(format!(
            "{digits} has more digits after the point than DECIMAL({precision}, {scale})"
        )),
        Err(error) => Err(format!("{digits}: {error}")),
    }
}

fn text(text: &str, sql_type: &SqlType) -> Result<Value, String> {
    match sql_type {
        SqlType::Boolean | SqlType::Integer => Err(format!("expected {sql_type}, found the text {text:?}")),
        SqlType::Decimal { precision, scale } => decimal(text, *precision, *scale),
        SqlType::Double if !matches!(text, "NaN" | "Infinity" | "-Infinity") => {
            Err(format!("expected a DOUBLE, found the text {text:?}"))
        }
        SqlType::Double
        | SqlType::Bigint
        | SqlType::String
        | SqlType::Bytes
        | SqlType::Date
        | SqlType::Time
        | SqlType::Timestamp
        | SqlType::Array(_)
        | SqlType::Map(..)
        | SqlType::Struct(_) => value_from_text(text, sql_type),
    }
}

/// A record's timestamp: milliseconds since the epoch, or ISO text.
pub(super) fn timestamp(json: &Json) -> Result<i64, String> {
    let found = match json {
        Json::Number(n) => n.to_string().parse::<i64>().ok().filter(|ms| *ms >= 0),
        Json::String(s) => parse_timestamp(s).filter(|ms| *ms >= 0),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    };
    found
        .ok_or_else(|| format!("expected milliseconds since 1970 or a time such as 2020-02-29T12:00:00Z, found {json}"))
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
