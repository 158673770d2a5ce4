//! How the bytes of a topic's keys and values are written: what the WITH clause says, as data.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Column, SqlType};

/// A serialization format, named as ksqlDB names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// Confluent wire format: a zero byte, the schema id, Avro binary.
    Avro,
    /// JSON text without a schema.
    Json,
    /// JSON text with a JSON Schema in the registry.
    JsonSr,
    /// Confluent wire format with a protobuf message.
    Protobuf,
    /// Protobuf without registry.
    ProtobufNosr,
    /// Delimited text, one line a record.
    Delimited,
    /// Kafka's own serializers: a single INTEGER, BIGINT, DOUBLE, STRING or BYTES column.
    Kafka,
    /// No bytes at all.
    None,
    /// Our own row codec, for internal topics.
    Internal,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Avro => "AVRO",
            Self::Json => "JSON",
            Self::JsonSr => "JSON_SR",
            Self::Protobuf => "PROTOBUF",
            Self::ProtobufNosr => "PROTOBUF_NOSR",
            Self::Delimited => "DELIMITED",
            Self::Kafka => "KAFKA",
            Self::None => "NONE",
            Self::Internal => "INTERNAL",
        })
    }
}

/// How PROTOBUF and PROTOBUF_NOSR write what may be NULL (`*_PROTOBUF_NULLABLE_REPRESENTATION`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProtobufNulls {
    /// As plain fields: NULL comes back as the type's default.
    #[default]
    Default,
    /// As `optional` fields.
    Optional,
    /// As Google's wrapper messages.
    Wrapper,
}

impl ProtobufNulls {
    fn is_default(&self) -> bool {
        *self == Self::Default
    }
}

/// A format with its properties.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SerdeSpec {
    /// The format.
    pub format: Format,
    /// Whether a single column is wrapped in a record (`WRAP_SINGLE_VALUE`; keys of one column are not).
    pub wrap_single: bool,
    /// `VALUE_DELIMITER` of DELIMITED.
    pub delimiter: char,
    /// `KEY_SCHEMA_ID` or `VALUE_SCHEMA_ID`: write with exactly this schema.
    pub schema_id: Option<u32>,
    /// `*_SCHEMA_FULL_NAME`: the name of the registered record.
    pub full_name: Option<Arc<str>>,
    /// `*_PROTOBUF_NULLABLE_REPRESENTATION`.
    #[serde(default, skip_serializing_if = "ProtobufNulls::is_default")]
    pub protobuf_nulls: ProtobufNulls,
}

/// The namespace of records that nobody named, as ksqlDB has it.
pub const AVRO_NAMESPACE: &str = "io.confluent.ksql.avro_schemas";

impl SerdeSpec {
    /// A format with its default properties for a value (single columns wrapped).
    pub fn value(format: Format) -> Self {
        let wrap_single = !matches!(format, Format::Kafka | Format::None | Format::Internal);
        Self {
            format,
            wrap_single,
            delimiter: ',',
            schema_id: None,
            full_name: None,
            protobuf_nulls: ProtobufNulls::Default,
        }
    }

    /// A format with its default properties for a key (single columns bare, where the format can).
    pub fn key(format: Format) -> Self {
        let features = format.features();
        Self {
            wrap_single: features.wraps && !features.unwraps,
            ..Self::value(format)
        }
    }

    /// The spec of a relation's key: where AVRO needs a record for it and nobody named that, it is called after the relation, as ksqlDB does, so that
    /// the keys of different relations are different types.
    #[must_use]
    pub fn for_key_of(mut self, relation: &str, columns: &[Column]) -> Self {
        let nested = |c: &Column| matches!(c.sql_type, SqlType::Array(_) | SqlType::Map(..) | SqlType::Struct(_));
        let has_record = columns.len() > 1 || columns.iter().any(nested);
        if self.format == Format::Avro && has_record && self.full_name.is_none() && self.schema_id.is_none() {
            self.full_name = Some(format!("{AVRO_NAMESPACE}.{}Key", camel_case(relation)).into());
        }
        self
    }
}

/// `MY_TABLE` as `MyTable`; what Avro's names cannot have becomes an underscore.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for word in name.split('_') {
        let mut chars = word.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        out.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        out.extend(chars.map(|c| c.to_ascii_lowercase()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_keys_are_called_after_the_relation() {
        let two = [Column::new("A", SqlType::Integer), Column::new("B", SqlType::Integer)];
        let name = |format, columns: &[Column]| SerdeSpec::key(format).for_key_of("MY_out_1", columns).full_name;
        assert_eq!(
            name(Format::Avro, &two).as_deref(),
            Some("io.confluent.ksql.avro_schemas.MyOut1Key")
        );
        assert_eq!(name(Format::Avro, &two[..1]), None);
        assert_eq!(name(Format::Json, &two), None);
        assert_eq!(camel_case("a-b__\u{e9}"), "A_b_");
    }
}
