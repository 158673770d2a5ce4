//! The oracle is apache-avro: what it writes is read here, what is written here it reads. Compatibility cases are data (`testdata`).

mod compatibility;
mod hostile;
mod round_trip;
mod schemas;

use std::sync::Arc;

use super::super::source::{SchemaSource, SchemaText};
use super::super::{Deserializer, FormatError, MemoryRegistry, RegisteredSchema, Serializer};
use super::{AvroDeserializer, AvroSerializer};
use crate::types::{Column, Format, SerdeSpec, Value};

/// A registry with one schema; its id is 1.
fn registry(text: &str) -> (Arc<dyn SchemaSource>, RegisteredSchema) {
    let registry = MemoryRegistry::new();
    let registered = registry.register("t-value", &SchemaText::avro(text)).unwrap();
    (Arc::new(registry), registered)
}

/// Bytes with the header of schema 1.
fn record(body: &[u8]) -> Vec<u8> {
    [&[0, 0, 0, 0, 1], body].concat()
}

fn read(text: &str, columns: &[Column], bytes: &[u8]) -> Result<Vec<Value>, FormatError> {
    let used: Vec<usize> = (0..columns.len()).collect();
    let spec = SerdeSpec::value(Format::Avro);
    let mut deserializer = AvroDeserializer::new(&spec, columns, &used, &registry(text).0)?;
    let mut out = Vec::new();
    deserializer.deserialize(bytes, &mut out).map(|()| out)
}

fn write(text: &str, columns: &[Column], row: &[Value]) -> Result<Vec<u8>, FormatError> {
    let spec = SerdeSpec::value(Format::Avro);
    let mut out = Vec::new();
    AvroSerializer::new(&spec, columns, Some(registry(text).1))?.serialize(row, &mut out)?;
    Ok(out)
}
