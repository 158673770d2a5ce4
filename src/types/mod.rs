//! Ids, values, schemas, rows, changes and the order-preserving key encoding.
//!
//! *Invariant*: this room imports nothing of the project, holds no state and does no I/O.

mod base64;
mod change;
mod decimal;
mod double;
mod format_features;
mod key_codec;
mod number_text;
mod row_codec;
mod schema;
mod serde_spec;
mod sql_type;
mod value;
mod window;

pub use base64::BASE64;
pub use change::{Change, Headers, Row, Timestamp};
pub use decimal::{Decimal, DecimalError, MAX_PRECISION};
pub use double::double_to_string;
pub use format_features::FormatFeatures;
pub use key_codec::{decode_key, encode_key, encode_key_prefix, prefix_end};
pub use number_text::number_to_string;
pub use row_codec::{CodecError, ROW_CODEC_VERSION, decode_row, encode_row, skip_value};
pub use schema::{Column, RelationKind, RelationSchema};
pub use serde_spec::{AVRO_NAMESPACE, Format, ProtobufNulls, SerdeSpec};
pub use sql_type::{SqlType, StructField};
pub use value::{Value, map_value};
pub use window::{WINDOW_COLUMNS, WindowInfo, WindowKind, window_columns};

/// A Kafka topic and partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's full name.
    pub topic: std::sync::Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A topic's partition.
    pub fn new(topic: impl Into<std::sync::Arc<str>>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where a record stands: topic, partition and offset.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Topic and partition.
    pub tp: TopicPartition,
    /// The record's offset.
    pub offset: i64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.tp, self.offset)
    }
}
