//! JSON_SR: the id of a JSON Schema in the registry's wire format, then the same JSON text as of JSON.
//!
//! Reading does not look at the writer's schema, as in ksqlDB: JSON text says what it holds, and the columns say what is wanted. Writing takes the
//! spelling of names from the schema.

pub(crate) mod compat;
mod infer;
mod model;
#[cfg(test)]
mod tests;

use crate::types::{Column, Format, SerdeSpec, Value};

use super::json::{JsonDeserializer, JsonSerializer, is_bare};
use super::source::{RegisteredSchema, SchemaText};
use super::wire;
use super::{Deserializer, FormatError, Serializer};
pub(super) use infer::{columns_of, sink_schema};
use model::JsonSchema;

/// Whether a text is a schema that can be used here; its references must be resolved.
///
/// # Errors
/// What is wrong, in words.
pub fn check_schema(schema: &SchemaText) -> Result<(), String> {
    JsonSchema::parse(schema).map(drop)
}

/// Reads JSON texts behind a schema's id.
pub(super) struct JsonSrDeserializer(JsonDeserializer);

impl JsonSrDeserializer {
    /// For the columns at the positions `used`.
    pub(super) fn new(spec: &SerdeSpec, columns: &[Column], used: &[usize]) -> Result<Self, FormatError> {
        JsonDeserializer::new(spec, columns, used).map(Self)
    }
}

impl Deserializer for JsonSrDeserializer {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let (_, text) = wire::split(Format::JsonSr, bytes)?;
        self.0.deserialize(text, out)
    }
}

/// Writes JSON texts behind a schema's id.
pub(super) struct JsonSrSerializer {
    id: u32,
    json: JsonSerializer,
}

impl JsonSrSerializer {
    /// For these columns.
    pub(super) fn new(
        spec: &SerdeSpec,
        columns: &[Column],
        schema: Option<RegisteredSchema>,
    ) -> Result<Self, FormatError> {
        let registered = schema.ok_or_else(|| {
            FormatError::definition(
                "JSON_SR is written with a registered schema, and none was given; register one first",
            )
        })?;
        let spelled = infer::spelled(&registered, columns, spec)?;
        Ok(Self {
            id: registered.id,
            json: JsonSerializer::new(spec, &spelled)?,
        })
    }
}

impl Serializer for JsonSrSerializer {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        wire::header(self.id, out);
        self.json.serialize(row, out)
    }

    fn is_null(&self, row: &[Value]) -> bool {
        self.json.is_null(row)
    }
}
