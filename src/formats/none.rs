//! NONE: no bytes at all, for keys of relations without key columns.

use crate::types::{Column, Value};

use super::{Deserializer, FormatError, Serializer};

/// Reads nothing, whatever the bytes, and writes nothing.
pub(super) struct NoBytes;

impl NoBytes {
    /// For relations without columns.
    pub(super) fn new(columns: &[Column]) -> Result<Self, FormatError> {
        match columns.first() {
            None => Ok(Self),
            Some(column) => Err(FormatError::definition(format!(
                "the NONE format holds no columns, but there is {}; name another format",
                column.name
            ))),
        }
    }
}

impl Deserializer for NoBytes {
    fn deserialize(&mut self, _bytes: &[u8], _out: &mut Vec<Value>) -> Result<(), FormatError> {
        Ok(())
    }
}

impl Serializer for NoBytes {
    fn serialize(&mut self, _row: &[Value], _out: &mut Vec<u8>) -> Result<(), FormatError> {
        Ok(())
    }
}
