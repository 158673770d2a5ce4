//! The SQL types, named and printed as ksqlDB does.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A field of a STRUCT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StructField {
    /// The field's name, as SQL sees it.
    pub name: Arc<str>,
    /// Its type.
    pub sql_type: SqlType,
}

/// A SQL type. Every type is nullable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    /// `BOOLEAN`.
    Boolean,
    /// `INTEGER`, 32 bits.
    Integer,
    /// `BIGINT`, 64 bits.
    Bigint,
    /// `DOUBLE`, IEEE 754 binary64.
    Double,
    /// `STRING` or `VARCHAR`, UTF-8.
    String,
    /// `BYTES`.
    Bytes,
    /// `DECIMAL(precision, scale)`.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// `DATE`: days since 1970-01-01.
    Date,
    /// `TIME`: milliseconds of the day.
    Time,
    /// `TIMESTAMP`: milliseconds since the epoch.
    Timestamp,
    /// `ARRAY<T>`.
    Array(Arc<SqlType>),
    /// `MAP<K, V>`.
    Map(Arc<SqlType>, Arc<SqlType>),
    /// `STRUCT<name T, ...>`.
    Struct(Arc<[StructField]>),
}

impl SqlType {
    /// INTEGER, BIGINT, DECIMAL or DOUBLE.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Integer | Self::Bigint | Self::Double | Self::Decimal { .. })
    }

    /// DATE, TIME or TIMESTAMP.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::Date | Self::Time | Self::Timestamp)
    }
}

fn quoted_if_needed(name: &str) -> String {
    let plain = name
        .bytes()
        .enumerate()
        .all(|(i, c)| c.is_ascii_uppercase() || c == b'_' || (i > 0 && c.is_ascii_digit()));
    if plain && !name.is_empty() {
        name.to_string()
    } else {
        format!("`{name}`")
    }
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Integer => f.write_str("INTEGER"),
            Self::Bigint => f.write_str("BIGINT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::String => f.write_str("STRING"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Date => f.write_str("DATE"),
            Self::Time => f.write_str("TIME"),
            Self::Timestamp => f.write_str("TIMESTAMP"),
            Self::Array(item) => write!(f, "ARRAY<{item}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Struct(fields) => {
                f.write_str("STRUCT<")?;
                for (i, field) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{} {}", quoted_if_needed(&field.name), field.sql_type)?;
                }
                f.write_str(">")
            }
        }
    }
}
