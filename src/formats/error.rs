//! Why bytes are no row, and why a row cannot be written, by what the caller does about it.

use std::fmt;
use std::sync::Arc;

use crate::types::Format;

use super::source::RegistryError;

/// What went wrong between bytes and rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The bytes are not what the format and the columns say: the record goes to the dead letters.
    #[error("{0}")]
    Data(Box<Mismatch>),
    /// A row that its format or schema cannot express (a NULL where none is allowed): the record that caused it goes to the dead letters.
    #[error("{0}")]
    Unwritable(Box<Mismatch>),
    /// The schema registry cannot be asked just now; says nothing about the record. Ask again.
    #[error("the schema registry cannot be reached: {0}")]
    RegistryUnavailable(String),
    /// Format, columns and schema do not go together: the user changes one of them.
    #[error("{0}")]
    Definition(String),
}

/// What was expected and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The format.
    pub format: Format,
    /// The column, when one is concerned; fields and items inside it follow (`ADDRESS->CITY`, `TAGS[3]`).
    pub column: Option<String>,
    /// The byte of the record where reading stopped.
    pub at: Option<usize>,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.format)?;
        if let Some(column) = &self.column {
            write!(f, ", column {column}")?;
        }
        if let Some(at) = self.at {
            write!(f, ", byte {at}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl FormatError {
    /// Bytes that are no row.
    pub fn data(format: Format, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Data(Box::new(Mismatch::new(format, expected, found)))
    }

    /// A row that cannot be written.
    pub fn unwritable(format: Format, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unwritable(Box::new(Mismatch::new(format, expected, found)))
    }

    /// Format, columns and schema that do not go together.
    pub fn definition(message: impl Into<String>) -> Self {
        Self::Definition(message.into())
    }

    /// Whether the same record may well be read or written later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::RegistryUnavailable(_))
    }

    /// The same, at a byte of the record, unless a byte is known already.
    #[must_use]
    pub fn at(mut self, byte: usize) -> Self {
        if let Self::Data(m) | Self::Unwritable(m) = &mut self {
            m.at.get_or_insert(byte);
        }
        self
    }

    /// The same, inside a column, field or item; called from the innermost outwards.
    #[must_use]
    pub fn inside(mut self, name: &str) -> Self {
        if let Self::Data(m) | Self::Unwritable(m) = &mut self {
            m.column = Some(match m.column.take() {
                Some(inner) if inner.starts_with('[') => format!("{name}{inner}"),
                Some(inner) => format!("{name}->{inner}"),
                None => name.to_string(),
            });
        }
        self
    }

    /// The same, inside an item of an array or map.
    #[must_use]
    pub fn inside_item(self, index: usize) -> Self {
        self.inside(&format!("[{index}]"))
    }
}

impl Mismatch {
    fn new(format: Format, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            format,
            column: None,
            at: None,
            expected: expected.into(),
            found: found.into(),
        }
    }
}

impl From<RegistryError> for FormatError {
    /// For a question whose answer should exist; see [`RegistryError`] for the kinds.
    fn from(e: RegistryError) -> Self {
        match e {
            RegistryError::Unavailable(m) => Self::RegistryUnavailable(m),
            RegistryError::NotFound(_)
            | RegistryError::Incompatible(_)
            | RegistryError::Invalid(_)
            | RegistryError::Rejected { .. } => Self::Definition(e.to_string()),
        }
    }
}

/// `"abc"`, cut when long, for the `found` of an error.
pub(crate) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 40;
    match text.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The name of a value's type, for the `found` of an error.
pub(crate) fn kind_of(value: &crate::types::Value) -> &'static str {
    use crate::types::Value;
    match value {
        Value::Null => "NULL",
        Value::Boolean(_) => "a BOOLEAN",
        Value::Integer(_) => "an INTEGER",
        Value::Bigint(_) => "a BIGINT",
        Value::Double(_) => "a DOUBLE",
        Value::Decimal(_) => "a DECIMAL",
        Value::String(_) => "a STRING",
        Value::Bytes(_) => "BYTES",
        Value::Date(_) => "a DATE",
        Value::Time(_) => "a TIME",
        Value::Timestamp(_) => "a TIMESTAMP",
        Value::Array(_) => "an ARRAY",
        Value::Map(_) => "a MAP",
        Value::Struct(_) => "a STRUCT",
    }
}

/// A name that many errors and programs share.
pub(crate) type Name = Arc<str>;

/// A JSON value in an error, cut when long.
pub(crate) fn shown(json: &serde_json::Value) -> String {
    match json {
        serde_json::Value::String(s) => quoted(s),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(80) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
    }
}

/// A double as JSON: what is no JSON number becomes the word that Java writes for it.
pub(crate) fn double_json(x: f64) -> serde_json::Value {
    match serde_json::Number::from_f64(x) {
        Some(n) => n.into(),
        None if x.is_nan() => "NaN".into(),
        None => if x < 0.0 { "-Infinity" } else { "Infinity" }.into(),
    }
}
