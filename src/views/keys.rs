//! Keys as a user writes them, and ranges of encoded keys.

use base64::Engine as _;

use super::ViewError;
use crate::expr::{parse_date, parse_time, parse_timestamp};
use crate::types::{Column, Decimal, Row, SqlType, Value, encode_key_prefix, prefix_end};

/// A range of encoded keys: from inclusive, to exclusive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// The first encoded key; empty for the first of all.
    pub from: Vec<u8>,
    /// Where it ends, exclusive; `None`: not at all.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    pub fn all() -> Self {
        Self::default()
    }

    /// Keys whose first columns have these values.
    pub fn columns(values: &[Value]) -> Self {
        let mut from = Vec::new();
        encode_key_prefix(values, &mut from);
        let to = prefix_end(&from);
        Self { from, to }
    }

    /// Keys whose first columns have these values and whose next STRING column begins with `text`.
    pub fn text_prefix(values: &[Value], text: &str) -> Self {
        let mut from = Vec::new();
        encode_key_prefix(values, &mut from);
        encode_key_prefix(&[Value::from(text)], &mut from);
        // the two terminating bytes of a STRING
        from.truncate(from.len() - 2);
        let to = prefix_end(&from);
        Self { from, to }
    }

    /// Keys at or after these column values.
    pub fn at_least(values: &[Value]) -> Self {
        let mut from = Vec::new();
        encode_key_prefix(values, &mut from);
        Self { from, to: None }
    }

    /// Keys before these column values.
    pub fn below(values: &[Value]) -> Self {
        let mut to = Vec::new();
        encode_key_prefix(values, &mut to);
        Self {
            from: Vec::new(),
            to: Some(to),
        }
    }

    /// Keys in both ranges.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            from: self.from.max(other.from),
            to,
        }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

const KEY_HINT: &str = "Write one value a key column, separated by commas, or a JSON array: [1,\"a,b\"].";

/// The values of a key, or of its first columns, as a user writes them: one value a column, separated by commas, or a JSON array.
///
/// The whole text is the value where the key has one column.
///
/// # Errors
/// [`ViewError::BadRequest`] naming the column and what it wants.
pub fn parse_key_text(text: &str, columns: &[Column]) -> Result<Row, ViewError> {
    if columns.is_empty() {
        return Err(ViewError::bad("the view has no key columns", "Read its rows instead."));
    }
    let array = matches!(columns[0].sql_type, SqlType::Array(_));
    if text.starts_with('[') && (columns.len() > 1 || array) {
        return key_from_json(text, columns);
    }
    let parts: Vec<&str> = if columns.len() == 1 {
        vec![text]
    } else {
        text.split(',').collect()
    };
    check_count(parts.len(), columns)?;
    parts
        .iter()
        .zip(columns)
        .map(|(part, column)| {
            value_from_text(part, &column.sql_type)
                .map_err(|message| ViewError::bad(format!("key column {}: {message}", column.name), KEY_HINT))
        })
        .collect()
}

fn check_count(given: usize, columns: &[Column]) -> Result<(), ViewError> {
    if given <= columns.len() {
        return Ok(());
    }
    let names: Vec<&str> = columns.iter().map(|c| &*c.name).collect();
    Err(ViewError::bad(
        format!(
            "{given} values for a key of {} columns ({})",
            columns.len(),
            names.join(", ")
        ),
        KEY_HINT,
    ))
}

fn key_from_json(text: &str, columns: &[Column]) -> Result<Row, ViewError> {
    let items: Vec<serde_json::Value> = serde_json::from_str(text)
        .map_err(|e| ViewError::bad(format!("the key is not a JSON array: {e}"), KEY_HINT))?;
    check_count(items.len(), columns)?;
    items
        .iter()
        .zip(columns)
        .map(|(item, column)| {
            let parsed = match item {
                serde_json::Value::Null => Ok(Value::Null),
                serde_json::Value::String(s) => value_from_text(s, &column.sql_type),
                serde_json::Value::Bool(b) => value_from_text(if *b { "true" } else { "false" }, &column.sql_type),
                serde_json::Value::Number(n) => value_from_text(&n.to_string(), &column.sql_type),
                serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
                    Err(format!("a {} cannot be written here", column.sql_type))
                }
            };
            parsed.map_err(|message| ViewError::bad(format!("key column {}: {message}", column.name), KEY_HINT))
        })
        .collect()
}

/// A range of keys from a user's prefix. Fewer values than key columns: the keys whose first columns are these. As many, and the last column
/// is a STRING: the keys whose last column begins with the text. Else exactly that key.
///
/// # Errors
/// As [`parse_key_text`].
pub fn parse_prefix_text(text: &str, columns: &[Column]) -> Result<KeyRange, ViewError> {
    let values = parse_key_text(text, columns)?;
    if let Some((Value::String(last), before)) = values.split_last()
        && values.len() == columns.len()
    {
        return Ok(KeyRange::text_prefix(before, last));
    }
    Ok(KeyRange::columns(&values))
}

/// A value of a SQL type from its text, as ksqlDB writes it.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn value_from_text(text: &str, sql_type: &SqlType) -> Result<Value, String> {
    let wrong = |what: &str| format!("{text:?} is not {what}");
    Ok(match sql_type {
        SqlType::Boolean => match text.to_ascii_lowercase().as_str() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => return Err(wrong("true or false")),
        },
        SqlType::Integer => Value::Integer(text.parse().map_err(|_| wrong("an INTEGER"))?),
        SqlType::Bigint => Value::Bigint(text.parse().map_err(|_| wrong("a BIGINT"))?),
        SqlType::Double => Value::Double(text.parse().map_err(|_| wrong("a DOUBLE"))?),
        SqlType::String => Value::from(text),
        SqlType::Bytes => {
            let bytes = crate::types::BASE64.decode(text);
            Value::Bytes(bytes.map_err(|_| wrong("base64 (BYTES)"))?.into())
        }
        SqlType::Decimal { precision, scale } => {
            let parsed = text.parse::<Decimal>().and_then(|d| d.fit(*precision, *scale));
            Value::Decimal(parsed.map_err(|e| format!("{text:?}: {e} ({sql_type})"))?)
        }
        SqlType::Date => Value::Date(parse_date(text).ok_or_else(|| wrong("a DATE (2024-01-31)"))?),
        SqlType::Time => Value::Time(parse_time(text).ok_or_else(|| wrong("a TIME (23:59:59.999)"))?),
        SqlType::Timestamp => Value::Timestamp(
            parse_timestamp(text).ok_or_else(|| wrong("a TIMESTAMP (2024-01-31T23:59:59.999, UTC unless it says)"))?,
        ),
        SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_) => {
            return Err(format!("a {sql_type} cannot be written as text"));
        }
    })
}
