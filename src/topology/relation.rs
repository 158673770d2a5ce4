//! Streams and tables of the plan, and what its statements ask for beside queries: records to write and what must hold.

use std::sync::Arc;

use crate::types::{RelationKind, RelationSchema, SerdeSpec, WindowInfo};

/// A stream or table: its columns and where its records are.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// The SQL name.
    pub name: Arc<str>,
    /// Stream or table.
    pub kind: RelationKind,
    /// Its columns.
    pub schema: RelationSchema,
    /// The Kafka topic.
    pub topic: TopicSpec,
    /// How keys are written.
    pub key_format: SerdeSpec,
    /// How values are written.
    pub value_format: SerdeSpec,
    /// The windows in its keys: key rows then end with WINDOWSTART and WINDOWEND, which `schema` does not list.
    pub window: Option<WindowInfo>,
    /// Made by a query of this file (CREATE ... AS SELECT), rather than declared over an existing topic.
    pub derived: bool,
    /// The statement as written, for `explain` and the views' descriptions.
    pub sql: Arc<str>,
    /// Columns that come from the records' headers; they stand behind those of the value.
    pub headers: Vec<HeaderColumn>,
}

/// A column of a record's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderColumn {
    /// Its name.
    pub name: Arc<str>,
    /// `HEADER('key')`: the last value of this header, as BYTES. `None`: `HEADERS`, all of them as an ARRAY of STRUCT.
    pub header: Option<Arc<str>>,
}

impl HeaderColumn {
    /// Its type.
    pub fn sql_type(&self) -> crate::types::SqlType {
        use crate::types::{SqlType, StructField};
        let field = |name: &str, sql_type| StructField {
            name: name.into(),
            sql_type,
        };
        match self.header {
            Some(_) => SqlType::Bytes,
            None => {
                let fields = [field("KEY", SqlType::String), field("VALUE", SqlType::Bytes)];
                SqlType::Array(SqlType::Struct(fields.into()).into())
            }
        }
    }
}

/// A topic that a relation stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its full name.
    pub name: Arc<str>,
    /// `PARTITIONS`: needed when the topic has to be created.
    pub partitions: Option<i32>,
    /// `REPLICAS`.
    pub replicas: Option<i16>,
    /// `RETENTION_MS`.
    pub retention_ms: Option<i64>,
    /// Derived tables are written to compacted topics.
    pub compacted: bool,
}

/// A record of `INSERT INTO ... VALUES`.
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The relation whose topic it is written to.
    pub relation: Arc<str>,
    /// The key's columns; `None`: a record without key.
    pub key: Option<crate::types::Row>,
    /// The value's columns.
    pub value: crate::types::Row,
    /// ROWTIME, if given; by default the moment of writing.
    pub timestamp: Option<crate::types::Timestamp>,
}

/// An `ASSERT` of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assert {
    /// NOT EXISTS.
    pub absent: bool,
    /// What is looked for.
    pub what: Asserted,
    /// How long to wait for it, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The statement as written.
    pub sql: Arc<str>,
}

/// The object of an `ASSERT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asserted {
    /// A topic, and what it must have.
    Topic {
        /// Its name.
        name: Arc<str>,
        /// PARTITIONS.
        partitions: Option<i32>,
        /// REPLICAS.
        replicas: Option<i16>,
    },
    /// A registered schema.
    Schema {
        /// Its subject.
        subject: Option<Arc<str>>,
        /// Its id.
        id: Option<u32>,
    },
}
