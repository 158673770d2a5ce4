//! AVRO in the registry's wire format: a zero byte, the schema id (4 bytes, big-endian), Avro's binary encoding.
//!
//! ```text
//! writer schema id --once--> fetched, parsed (`schema`), compiled against the used columns (`compile`) --> a program (`read`)
//! record: id the same as the last one's? run the program over the bytes (`input`): values, no tree in between
//! columns + registered schema --once--> `write`;  columns --> schema: `infer`;  may a schema follow another: `compat`
//! ```
//!
//! *Invariant*: a schema that cannot be fetched now is [`FormatError::RegistryUnavailable`], never bad data; what was learnt about an id is kept,
//! since an id never changes its meaning.

pub(crate) mod canonical;
pub(crate) mod compat;
mod compile;
mod defaults;
mod infer;
mod input;
mod output;
pub(super) mod plain_json;
mod read;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::types::{Column, Format, SerdeSpec, Value};

use super::source::{RegisteredSchema, RegistryError, SchemaSource};
use super::wire::{self, HEADER_BYTES};
use super::{Deserializer, FormatError, Serializer};
pub(super) use infer::{columns_of, sink_schema};
pub(super) use output::integer as integer_bytes;
pub(super) use read::integer_of;
use schema::AvroSchema;

/// Whether the only column stands for the whole record.
fn is_bare(spec: &SerdeSpec, columns: &[Column]) -> bool {
    !spec.wrap_single && columns.len() == 1
}

fn parse(schema: &RegisteredSchema) -> Result<Arc<AvroSchema>, String> {
    let parsed = AvroSchema::parse(&schema.schema).map_err(|e| format!("schema {}: {e}", schema.id))?;
    Ok(Arc::new(parsed))
}

/// Whether a text is an Avro schema that can be used here; its references must be resolved.
///
/// # Errors
/// What is wrong, in words.
pub fn check_schema(schema: &super::SchemaText) -> Result<(), String> {
    AvroSchema::parse(schema).map(drop)
}

/// Reads records of any writer schema.
pub(super) struct AvroDeserializer {
    target: compile::Target,
    schemas: Arc<dyn SchemaSource>,
    /// The id of the last record and its place in `programs`.
    last: Option<(u32, usize)>,
    programs: Vec<Result<read::Program, FormatError>>,
    by_id: FxHashMap<u32, usize>,
    stack: Vec<Value>,
}

impl AvroDeserializer {
    /// For the columns at the positions `used`. A schema that the definition names is fetched at once: it has the defaults of missing fields.
    pub(super) fn new(
        spec: &SerdeSpec,
        columns: &[Column],
        used: &[usize],
        schemas: &Arc<dyn SchemaSource>,
    ) -> Result<Self, FormatError> {
        let reader = match spec.schema_id {
            None => None,
            Some(id) => Some(parse(&schemas.by_id(id)?).map_err(FormatError::Definition)?),
        };
        Ok(Self {
            target: compile::Target {
                columns: used.iter().map(|&i| columns[i].clone()).collect(),
                bare: is_bare(spec, columns),
                reader,
            },
            schemas: schemas.clone(),
            last: None,
            programs: Vec::new(),
            by_id: FxHashMap::default(),
            stack: Vec::new(),
        })
    }

    /// The place of an id's program, made now if it is new. An unknown id is asked for each time: it may be registered later.
    #[cold]
    fn program_of(&mut self, id: u32) -> Result<usize, FormatError> {
        let index = match self.by_id.get(&id) {
            Some(index) => *index,
            None => {
                let compiled = match self.schemas.by_id(id) {
                    Ok(schema) => parse(&schema)
                        .map_err(|e| FormatError::data(Format::Avro, "a schema that can be read", e))
                        .and_then(|schema| compile::program(schema, &self.target)),
                    Err(RegistryError::Invalid(e)) => {
                        Err(FormatError::data(Format::Avro, "a schema that can be read", e))
                    }
                    Err(RegistryError::NotFound(e)) => {
                        let expected = "the id of a registered schema";
                        return Err(FormatError::data(Format::Avro, expected, format!("{id}: {e}")).at(1));
                    }
                    // refused credentials say nothing about the record either
                    Err(
                        e @ (RegistryError::Unavailable(_)
                        | RegistryError::Incompatible(_)
                        | RegistryError::Rejected { .. }),
                    ) => return Err(FormatError::RegistryUnavailable(format!("schema {id}: {e}"))),
                };
                self.programs.push(compiled);
                self.by_id.insert(id, self.programs.len() - 1);
                self.programs.len() - 1
            }
        };
        self.last = Some((id, index));
        Ok(index)
    }
}

impl Deserializer for AvroDeserializer {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        let (id, _) = wire::split(Format::Avro, bytes)?;
        let index = match self.last {
            Some((last, index)) if last == id => index,
            _ => self.program_of(id)?,
        };
        match &self.programs[index] {
            Ok(program) => program.run(bytes, HEADER_BYTES, &mut self.stack, out),
            Err(e) => Err(e.clone()),
        }
    }
}

/// Writes rows with one registered schema.
pub(super) struct AvroSerializer {
    header: [u8; HEADER_BYTES],
    write: write::RowWrite,
    bare: bool,
}

impl AvroSerializer {
    /// For these columns.
    pub(super) fn new(
        spec: &SerdeSpec,
        columns: &[Column],
        schema: Option<RegisteredSchema>,
    ) -> Result<Self, FormatError> {
        let schema = schema.ok_or_else(|| {
            FormatError::definition("AVRO is written with a registered schema, and none was given; register one first")
        })?;
        let parsed = parse(&schema).map_err(FormatError::Definition)?;
        let bare = is_bare(spec, columns);
        let write = write::row_write(&parsed, columns, bare)?;
        let mut header = [0; HEADER_BYTES];
        header[1..].copy_from_slice(&schema.id.to_be_bytes());
        Ok(Self { header, write, bare })
    }
}

impl Serializer for AvroSerializer {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(&self.header);
        self.write.run(row, out)
    }

    fn is_null(&self, row: &[Value]) -> bool {
        self.bare && matches!(row, [Value::Null])
    }
}
