//! PROTOBUF in the registry's wire format, and PROTOBUF_NOSR without it.
//!
//! ```text
//! PROTOBUF:       0, schema id (4 bytes, big-endian), place of the message in the file (a count and that many indexes; 0 for the first), message
//! PROTOBUF_NOSR:  message, of the schema that the columns make
//! text --parse--> File --schema: names resolved--> ProtoSchema --read, write: compiled for the columns--> Plan
//! ```
//!
//! *Not here*: groups, extensions, `Any`'s contents, and the JSON mapping of the specification.
//!
//! *Invariant*: no bytes and no schema text make it panic; nothing is allocated by a length that the bytes do not cover.

mod calendar;
mod check;
pub(crate) mod compat;
mod file;
mod infer;
mod input;
mod lex;
mod options;
mod output;
mod parse;
pub(super) mod plain_json;
pub(crate) mod print;
mod read;
mod scalar;
pub(crate) mod schema;
#[cfg(test)]
mod tests;
mod well_known;
mod write;

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::types::{Column, Format, SerdeSpec, Value};

use super::source::{RegisteredSchema, RegistryError, SchemaSource, SchemaText};
use super::wire::{self, HEADER_BYTES};
use super::{Deserializer, FormatError, Serializer};
pub(super) use infer::{columns_of, sink_schema};
use input::Input;
use plain_json::MessageJson;
use schema::{MessageId, ProtoSchema};

/// Messages nest at most so deep in a file; a longer place is none.
const MOST_INDEXES: i64 = 64;

/// Whether a text is a schema that can be used here; its references must be resolved.
///
/// # Errors
/// What is wrong, in words.
pub fn check_schema(schema: &SchemaText) -> Result<(), String> {
    ProtoSchema::parse(schema).map(drop)
}

/// The place of a message, and the input at the message itself.
fn place(format: Format, bytes: &[u8]) -> Result<(Vec<usize>, Input<'_>), FormatError> {
    let mut input = Input::new(format, bytes, HEADER_BYTES);
    let count = input.zigzag()?;
    if !(0..=MOST_INDEXES).contains(&count) {
        return Err(input.error("the place of a message in its file", format!("{count} indexes")));
    }
    // the first message of a file, which most are, is written as no index at all
    if count == 0 {
        return Ok((vec![0], input));
    }
    let mut indexes = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let index = input.zigzag()?;
        indexes.push(usize::try_from(index).map_err(|_| input.error("an index", index.to_string()))?);
    }
    Ok((indexes, input))
}

fn write_place(indexes: &[usize], out: &mut Vec<u8>) {
    if indexes == [0] {
        out.push(0);
        return;
    }
    output::zigzag(indexes.len() as i64, out);
    indexes.iter().for_each(|i| output::zigzag(*i as i64, out));
}

/// Reads messages of any writer schema.
pub(super) struct ProtobufDeserializer {
    columns: Vec<Column>,
    schemas: Arc<dyn SchemaSource>,
    /// The bytes before the last message (id and place), their length, and the place of its program.
    last: Option<(Vec<u8>, usize)>,
    plans: Vec<Result<read::Plan, FormatError>>,
    by_place: FxHashMap<(u32, Vec<usize>), usize>,
    parsed: FxHashMap<u32, Arc<ProtoSchema>>,
}

impl ProtobufDeserializer {
    /// For the columns at the positions `used`.
    pub(super) fn new(columns: &[Column], used: &[usize], schemas: &Arc<dyn SchemaSource>) -> Self {
        Self {
            columns: used.iter().map(|&i| columns[i].clone()).collect(),
            schemas: schemas.clone(),
            last: None,
            plans: Vec::new(),
            by_place: FxHashMap::default(),
            parsed: FxHashMap::default(),
        }
    }

    fn schema(&mut self, id: u32) -> Result<Arc<ProtoSchema>, FormatError> {
        if let Some(schema) = self.parsed.get(&id) {
            return Ok(schema.clone());
        }
        let unreadable = |e: String| FormatError::data(Format::Protobuf, "a schema that can be read", e);
        let registered = match self.schemas.by_id(id) {
            Ok(schema) => schema,
            Err(RegistryError::Invalid(e)) => return Err(unreadable(e)),
            Err(RegistryError::NotFound(e)) => {
                let expected = "the id of a registered schema";
                return Err(FormatError::data(Format::Protobuf, expected, format!("{id}: {e}")).at(1));
            }
            // refused credentials say nothing about the record either
            Err(
                e @ (RegistryError::Unavailable(_) | RegistryError::Incompatible(_) | RegistryError::Rejected { .. }),
            ) => return Err(FormatError::RegistryUnavailable(format!("schema {id}: {e}"))),
        };
        let schema = ProtoSchema::parse(&registered.schema).map_err(|e| unreadable(format!("schema {id}: {e}")))?;
        let schema = Arc::new(schema);
        self.parsed.insert(id, schema.clone());
        Ok(schema)
    }

    /// The place of the program for an id and a message, made now if it is new.
    #[cold]
    fn plan_of(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        let (id, _) = wire::split(Format::Protobuf, bytes)?;
        let (indexes, input) = place(Format::Protobuf, bytes)?;
        let key = (id, indexes);
        let plan = match self.by_place.get(&key) {
            Some(plan) => *plan,
            None => {
                let schema = self.schema(id)?;
                let Some(message) = schema.at(&key.1) else {
                    let found = format!("{:?} in schema {id}", key.1);
                    return Err(FormatError::data(Format::Protobuf, "the place of a message", found).at(HEADER_BYTES));
                };
                let wanted = infer::wanted(&self.columns);
                self.plans.push(read::plan(&schema, message, &wanted, Format::Protobuf));
                self.by_place.insert(key, self.plans.len() - 1);
                self.plans.len() - 1
            }
        };
        self.last = Some((bytes[..input.at()].to_vec(), plan));
        Ok(plan)
    }
}

impl Deserializer for ProtobufDeserializer {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        if self.columns.is_empty() {
            return wire::split(Format::Protobuf, bytes).map(drop);
        }
        // varints are prefix codes, so equal bytes up to there are an equal place
        let plan = match &self.last {
            Some((head, plan)) if bytes.starts_with(head) => *plan,
            _ => self.plan_of(bytes)?,
        };
        let at = self.last.as_ref().map_or(0, |(head, _)| head.len());
        match &self.plans[plan] {
            Ok(plan) => plan.run(Input::new(Format::Protobuf, bytes, at), out),
            Err(e) => Err(e.clone()),
        }
    }
}

/// Writes rows with one registered schema.
pub(super) struct ProtobufSerializer {
    head: Vec<u8>,
    plan: write::Plan,
}

impl ProtobufSerializer {
    /// For these columns.
    pub(super) fn new(
        spec: &SerdeSpec,
        columns: &[Column],
        schema: Option<RegisteredSchema>,
    ) -> Result<Self, FormatError> {
        let registered = schema.ok_or_else(|| {
            FormatError::definition(
                "PROTOBUF is written with a registered schema, and none was given; register one first",
            )
        })?;
        let (schema, root) = parsed_root(&registered, spec)?;
        let mut head = Vec::new();
        wire::header(registered.id, &mut head);
        write_place(&schema.indexes_of(root).unwrap_or_else(|| vec![0]), &mut head);
        let plan = write::plan(&schema, root, &infer::wanted(columns), Format::Protobuf)?;
        Ok(Self { head, plan })
    }
}

fn parsed_root(registered: &RegisteredSchema, spec: &SerdeSpec) -> Result<(ProtoSchema, MessageId), FormatError> {
    let at = |e: String| FormatError::definition(format!("schema {}: {e}", registered.id));
    let schema = ProtoSchema::parse(&registered.schema).map_err(at)?;
    let root = schema.root(infer::full_name(spec)).map_err(at)?;
    Ok((schema, root))
}

impl Serializer for ProtobufSerializer {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(&self.head);
        self.plan.run(row, out)
    }
}

/// Reads and writes messages of the schema that the columns make.
pub(super) struct ProtobufNosr {
    read: read::Plan,
    write: write::Plan,
    width: usize,
}

impl ProtobufNosr {
    /// For these columns; the ones at the positions `used` are read.
    pub(super) fn new(spec: &SerdeSpec, columns: &[Column], used: &[usize]) -> Result<Self, FormatError> {
        let schema = ProtoSchema::parse(&infer::schema_of(columns, spec)?).map_err(FormatError::Definition)?;
        let root = schema.root(None).map_err(FormatError::Definition)?;
        let all = infer::wanted(columns);
        let wanted: Vec<_> = used.iter().map(|i| all[*i]).collect();
        Ok(Self {
            read: read::plan(&schema, root, &wanted, Format::ProtobufNosr)?,
            write: write::plan(&schema, root, &all, Format::ProtobufNosr)?,
            width: used.len(),
        })
    }
}

impl Deserializer for ProtobufNosr {
    fn deserialize(&mut self, bytes: &[u8], out: &mut Vec<Value>) -> Result<(), FormatError> {
        match self.width {
            0 => Ok(()),
            _ => self.read.run(Input::new(Format::ProtobufNosr, bytes, 0), out),
        }
    }
}

impl Serializer for ProtobufNosr {
    fn serialize(&mut self, row: &[Value], out: &mut Vec<u8>) -> Result<(), FormatError> {
        self.write.run(row, out)
    }
}

/// Records of test cases, by the message that a definition names.
pub(super) struct CaseJson {
    head: Vec<u8>,
    json: MessageJson,
}

impl CaseJson {
    /// With a registered schema.
    pub(super) fn registered(registered: &RegisteredSchema, spec: &SerdeSpec) -> Result<Self, FormatError> {
        let (schema, root) = parsed_root(registered, spec)?;
        let mut head = Vec::new();
        wire::header(registered.id, &mut head);
        write_place(&schema.indexes_of(root).unwrap_or_else(|| vec![0]), &mut head);
        let json = MessageJson::new(&schema, root, spec.format)?;
        Ok(Self { head, json })
    }

    /// With the schema that columns make.
    pub(super) fn of_columns(columns: &[Column], spec: &SerdeSpec) -> Result<Self, FormatError> {
        let schema = ProtoSchema::parse(&infer::schema_of(columns, spec)?).map_err(FormatError::Definition)?;
        let root = schema.root(None).map_err(FormatError::Definition)?;
        let json = MessageJson::new(&schema, root, spec.format)?;
        Ok(Self { head: Vec::new(), json })
    }

    pub(super) fn encode(&self, json: &serde_json::Value, out: &mut Vec<u8>) -> Result<(), FormatError> {
        out.extend_from_slice(&self.head);
        self.json.encode(json, out)
    }

    /// Records of another schema or message than its own are looked up.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        spec_format: Format,
        schemas: &dyn SchemaSource,
    ) -> Result<serde_json::Value, FormatError> {
        if bytes.starts_with(&self.head) {
            return self.json.decode(bytes, self.head.len());
        }
        let (id, _) = wire::split(spec_format, bytes)?;
        let (indexes, input) = place(spec_format, bytes)?;
        let schema = ProtoSchema::parse(&schemas.by_id(id)?.schema).map_err(FormatError::Definition)?;
        let message = schema.at(&indexes);
        let message =
            message.ok_or_else(|| FormatError::definition(format!("schema {id} has no message {indexes:?}")))?;
        MessageJson::new(&schema, message, spec_format)?.decode(bytes, input.at())
    }
}
