//! The columns of streams and tables.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SqlType;

/// Stream or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RelationKind {
    /// Each record is an event of its own.
    Stream,
    /// Each record replaces the row of its key; no value deletes it.
    Table,
}

impl std::fmt::Display for RelationKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream => "STREAM",
            Self::Table => "TABLE",
        })
    }
}

/// A column: its name (upper case unless it was quoted) and type.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Column {
    /// The name.
    pub name: Arc<str>,
    /// The type.
    pub sql_type: SqlType,
}

impl Column {
    /// A column.
    pub fn new(name: impl Into<Arc<str>>, sql_type: SqlType) -> Self {
        Self {
            name: name.into(),
            sql_type,
        }
    }
}

/// Key columns and value columns of a stream or table.
///
/// A row of it is two [`super::Row`]s: `key` with a value for every key column, `value` likewise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RelationSchema {
    /// The columns of the record's key.
    pub key: Vec<Column>,
    /// The columns of the record's value.
    pub value: Vec<Column>,
}

impl RelationSchema {
    /// Key columns, then value columns.
    pub fn columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().chain(&self.value)
    }

    /// The types of the key columns.
    pub fn key_types(&self) -> Vec<SqlType> {
        self.key.iter().map(|c| c.sql_type.clone()).collect()
    }

    /// The types of the value columns.
    pub fn value_types(&self) -> Vec<SqlType> {
        self.value.iter().map(|c| c.sql_type.clone()).collect()
    }
}

impl std::fmt::Display for RelationSchema {
    /// `ID INTEGER KEY, NAME STRING`, as ksqlDB writes a schema.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, column) in self.columns().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            let key = if i < self.key.len() { " KEY" } else { "" };
            write!(f, "{comma}{} {}{key}", column.name, column.sql_type)?;
        }
        Ok(())
    }
}
