//! Bytes to rows and back: AVRO, JSON, JSON_SR, PROTOBUF, PROTOBUF_NOSR, KAFKA, DELIMITED, NONE and our own INTERNAL, and the schema registry as
//! the engine sees it.
//!
//! A [`Deserializer`] reads only the columns that a topology uses; a [`Serializer`] writes whole rows. Both are made once from
//! columns and a [`SerdeSpec`], and keep what they learn (compiled programs of writer schemas).
//!
//! *Not here*: null records. A record without key is a key row of NULLs, one without value is a tombstone or a null value; the caller knows
//! which, so null bytes never reach this room.
//!
//! *Invariants*: no bytes from outside make it panic, nor allocate more than a bounded multiple of the record; a registry that is away is
//! never taken for bad data.

mod avro;
mod case_json;
#[cfg(feature = "kafka")]
pub mod client;
mod compat;
mod delimited;
mod error;
mod infer;
mod internal;
mod json;
mod json_schema;
mod kafka;
mod memory;
mod none;
mod proto;
mod scalar;
mod source;
mod windowed;
mod wire;

use std::sync::Arc;

use crate::types::{Column, Decimal, Format, SerdeSpec, Value};

pub use avro::canonical::canonical as canonical_avro;
pub use avro::check_schema as check_avro_schema;
pub use avro::compat::check as check_avro_compatibility;
pub use case_json::{CaseCodec, case_schema, schema_type_of, schemas_equal};
pub use compat::check_compatibility;
pub use error::{FormatError, Mismatch};
pub use memory::MemoryRegistry;
pub use source::{
    Compatibility, CompatibilityLevel, RegisteredSchema, RegistryError, SchemaReference, SchemaSource, SchemaText,
    SchemaType, subject_of,
};

pub use windowed::{WindowedDeserializer, WindowedSerializer, unwindowed};

/// Reads records of one topic's keys or values.
pub trait Deserializer: Send {
    /// Appends exactly one value per used column (ascending column order). On an error nothing useful is in `out` beyond its old length.
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError>;
}

/// Writes rows as one topic's keys or values.
pub trait Serializer: Send {
    /// Appends the record of a row that has a value for every column. On an error nothing useful is in `out` beyond its old length.
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Whether a row is written as no bytes at all: of a single column that is not wrapped, NULL has no other form.
    fn is_null(&self, row: &[Value]) -> bool {
        let _ = row;
        false
    }
}

/// A deserializer for `columns` that reads the ones at the positions `used` (ascending).
///
/// # Errors
/// [`FormatError::Definition`] when the format cannot hold these columns; [`FormatError::RegistryUnavailable`] when a schema that the
/// definition names (`VALUE_SCHEMA_ID`) cannot be fetched now.
pub fn deserializer(
    spec: &SerdeSpec,
    columns: &[Column],
    used: &[usize],
    is_key: bool,
    schemas: &Arc<dyn SchemaSource>,
) -> Result<Box<dyn Deserializer>, FormatError> {
    debug_assert!(used.is_sorted() && used.iter().all(|&i| i < columns.len()));
    match spec.format {
        Format::Avro => Ok(Box::new(avro::AvroDeserializer::new(spec, columns, used, schemas)?)),
        Format::Kafka => Ok(Box::new(kafka::Kafka::new(columns, !used.is_empty())?)),
        Format::None => Ok(Box::new(none::NoBytes::new(columns)?)),
        Format::Internal => Ok(Box::new(internal::Internal::new(columns.len(), used, is_key))),
        Format::Json => Ok(Box::new(json::JsonDeserializer::new(spec, columns, used)?)),
        Format::Delimited => Ok(Box::new(delimited::Delimited::new(spec, columns, used)?)),
        Format::JsonSr => Ok(Box::new(json_schema::JsonSrDeserializer::new(spec, columns, used)?)),
        Format::Protobuf => Ok(Box::new(proto::ProtobufDeserializer::new(columns, used, schemas))),
        Format::ProtobufNosr => Ok(Box::new(proto::ProtobufNosr::new(spec, columns, used)?)),
    }
}

/// A serializer for `columns`. `schema` is what records are written with; formats without registry need none.
///
/// # Errors
/// [`FormatError::Definition`] when the format or the schema cannot hold these columns.
pub fn serializer(
    spec: &SerdeSpec,
    columns: &[Column],
    is_key: bool,
    schema: Option<RegisteredSchema>,
) -> Result<Box<dyn Serializer>, FormatError> {
    match spec.format {
        Format::Avro => Ok(Box::new(avro::AvroSerializer::new(spec, columns, schema)?)),
        Format::Kafka => Ok(Box::new(kafka::Kafka::new(columns, true)?)),
        Format::None => Ok(Box::new(none::NoBytes::new(columns)?)),
        Format::Internal => Ok(Box::new(internal::Internal::new(columns.len(), &[], is_key))),
        Format::Json => Ok(Box::new(json::JsonSerializer::new(spec, columns)?)),
        Format::Delimited => Ok(Box::new(delimited::Delimited::new(spec, columns, &[])?)),
        Format::JsonSr => Ok(Box::new(json_schema::JsonSrSerializer::new(spec, columns, schema)?)),
        Format::Protobuf => Ok(Box::new(proto::ProtobufSerializer::new(spec, columns, schema)?)),
        Format::ProtobufNosr => Ok(Box::new(proto::ProtobufNosr::new(spec, columns, &[])?)),
    }
}

/// Whether a text is a schema of its language that can be used here; its references must be resolved.
///
/// # Errors
/// What is wrong, in words.
pub fn check_schema(schema: &SchemaText) -> Result<(), String> {
    match schema.schema_type {
        SchemaType::Avro => check_avro_schema(schema),
        SchemaType::Json => json_schema::check_schema(schema),
        SchemaType::Protobuf => proto::check_schema(schema),
    }
}

/// What a sink registers for its keys or values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkSchema {
    /// The format needs no schema.
    None,
    /// Records can be written with the schema that the subject already has.
    Registered(RegisteredSchema),
    /// A new schema, to be checked and registered.
    New(SchemaText),
}

/// The schema that ksqlDB would register for these columns; `None` for formats without schema. Deterministic.
///
/// # Errors
/// [`FormatError::Definition`] when a column has no form in the schema.
pub fn avro_schema_for(columns: &[Column], spec: &SerdeSpec, is_key: bool) -> Result<Option<SchemaText>, FormatError> {
    match sink_schema(columns, spec, is_key, None)? {
        SinkSchema::None => Ok(None),
        SinkSchema::New(schema) | SinkSchema::Registered(RegisteredSchema { schema, .. }) => Ok(Some(schema)),
    }
}

/// What a sink writes with, where its subject holds `latest` (see [`SchemaSource::latest`]). Keys and values are alike.
///
/// # Errors
/// [`FormatError::Definition`] when a column has no form in the schema.
pub fn sink_schema(
    columns: &[Column],
    spec: &SerdeSpec,
    _is_key: bool,
    latest: Option<&RegisteredSchema>,
) -> Result<SinkSchema, FormatError> {
    match spec.format {
        Format::Kafka | Format::None | Format::Internal | Format::Json | Format::Delimited | Format::ProtobufNosr => {
            Ok(SinkSchema::None)
        }
        Format::Avro => avro::sink_schema(columns, spec, latest),
        Format::JsonSr => json_schema::sink_schema(columns, spec, latest),
        Format::Protobuf => proto::sink_schema(columns, spec, latest),
    }
}

/// The columns of a registered schema, for CREATE STREAM and CREATE TABLE without columns. Names are folded to upper case, unless the definition
/// names the schema's id; a schema that is no record, or is not to be unwrapped, gives one column `ROWKEY` (of a key) or `ROWVAL`.
///
/// # Errors
/// [`FormatError::Definition`] when a field has no SQL type.
pub fn columns_of(schema: &RegisteredSchema, spec: &SerdeSpec, is_key: bool) -> Result<Vec<Column>, FormatError> {
    let expected = schema_type_of(spec.format);
    if expected.is_some_and(|t| t != schema.schema.schema_type) {
        return Err(FormatError::definition(format!(
            "schema {} is a {} schema, which the format {} does not read; name the format that fits",
            schema.id, schema.schema.schema_type, spec.format
        )));
    }
    match schema.schema.schema_type {
        SchemaType::Avro => avro::columns_of(schema, spec, is_key),
        SchemaType::Json => json_schema::columns_of(schema, spec, is_key),
        SchemaType::Protobuf => proto::columns_of(schema, spec),
    }
}

/// The number as DECIMAL(precision, scale), when that needs no rounding; reading and writing never round.
fn exact_decimal(number: Decimal, precision: u8, scale: u8) -> Option<Decimal> {
    if number.scale() == scale {
        return (number.digits() <= precision).then_some(number);
    }
    let fitted = number.fit(precision, scale).ok()?;
    (fitted == number).then_some(fitted)
}
