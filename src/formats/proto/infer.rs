//! Columns to schemas and back, as ksqlDB does it through Kafka Connect.
//!
//! A new schema is a proto3 file with one message, `ConnectDefault1` unless it is named; messages inside are `ConnectDefault2` and so on in the
//! order in which they are met, maps are repeated entries, fields count from 1 in the order of the columns.

use crate::types::{Column, MAX_PRECISION, ProtobufNulls, SerdeSpec, SqlType, StructField};

use super::super::infer::{self, Fields};
use super::super::source::{RegisteredSchema, SchemaText, SchemaType};
use super::super::{FormatError, SinkSchema};
use super::file::{Field as FileField, FieldType, File, Import, Label, Message, Scalar, Syntax};
use super::print::print;
use super::read::{Wanted, members, oneof_column};
use super::schema::{Cardinality, Field, Kind, MessageId, ProtoSchema};
use super::well_known::WellKnown;
use super::write;

/// The name of messages that nobody named, as Kafka Connect has it; a number follows.
const DEFAULT_NAME: &str = "ConnectDefault";

/// What a message's full name is, unless it is one of the default names.
pub(super) fn full_name(spec: &SerdeSpec) -> Option<&str> {
    spec.full_name
        .as_deref()
        .map(str::trim)
        .filter(|n| !n.is_empty() && !n.starts_with(DEFAULT_NAME))
}

pub(super) fn wanted(columns: &[Column]) -> Vec<Wanted<'_>> {
    columns.iter().map(|c| (&c.name, &c.sql_type)).collect()
}

/// See [`super::super::sink_schema`].
pub(in super::super) fn sink_schema(
    columns: &[Column],
    spec: &SerdeSpec,
    latest: Option<&RegisteredSchema>,
) -> Result<SinkSchema, FormatError> {
    let found = infer::registered_that_fits(latest, spec, SchemaType::Protobuf, |registered| {
        let schema = ProtoSchema::parse(&registered.schema).map_err(FormatError::Definition)?;
        let root = schema.root(full_name(spec)).map_err(FormatError::Definition)?;
        write::plan(&schema, root, &wanted(columns), spec.format).map(|_| true)
    })?;
    match found {
        Some(found) => Ok(found),
        None => schema_of(columns, spec).map(SinkSchema::New),
    }
}

/// The schema that is made from columns.
pub(super) fn schema_of(columns: &[Column], spec: &SerdeSpec) -> Result<SchemaText, FormatError> {
    let mut maker = Maker {
        nulls: spec.protobuf_nulls,
        names: 0,
        imports: Vec::new(),
        format: spec.format,
    };
    let (package, name) = match full_name(spec) {
        Some(full) => full.rsplit_once('.').unwrap_or(("", full)),
        None => ("", ""),
    };
    let name = if name.is_empty() {
        maker.next_name()
    } else {
        name.to_string()
    };
    let fields: Vec<(&str, &SqlType)> = columns.iter().map(|c| (&*c.name, &c.sql_type)).collect();
    let message = maker.message(&name, &fields)?;
    let file = File {
        syntax: Syntax::Proto3,
        package: package.to_string(),
        imports: maker
            .imports
            .into_iter()
            .map(|path| Import {
                path: path.into(),
                public: false,
            })
            .collect(),
        messages: vec![message],
        enums: Vec::new(),
    };
    let schema = SchemaText {
        text: print(&file),
        schema_type: SchemaType::Protobuf,
        references: Vec::new(),
    };
    ProtoSchema::parse(&schema)
        .map_err(|e| FormatError::definition(format!("the columns have no Protocol Buffers schema: {e}")))?;
    Ok(schema)
}

struct Maker {
    nulls: ProtobufNulls,
    names: usize,
    imports: Vec<&'static str>,
    format: crate::types::Format,
}

impl Maker {
    fn next_name(&mut self) -> String {
        self.names += 1;
        format!("{DEFAULT_NAME}{}", self.names)
    }

    fn message(&mut self, name: &str, fields: &[(&str, &SqlType)]) -> Result<Message, FormatError> {
        let mut message = Message {
            name: name.to_string(),
            ..Message::default()
        };
        for (i, (field, sql_type)) in fields.iter().enumerate() {
            let number = i as u32 + 1;
            // the numbers in between belong to the implementation
            let number = if number >= 19_000 { number + 1_000 } else { number };
            let made = self
                .field(&mut message, field, number, sql_type)
                .map_err(|m| FormatError::definition(format!("{}, column {field}: {m}", self.format)))?;
            message.fields.push(made);
        }
        Ok(message)
    }

    fn field(&mut self, owner: &mut Message, name: &str, number: u32, sql_type: &SqlType) -> Result<FileField, String> {
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(format!(
                "`{name}` is no name of a Protocol Buffers field (letters, digits and _); give the column another name with AS"
            ));
        }
        let (label, item) = match sql_type {
            SqlType::Array(item) => {
                if matches!(**item, SqlType::Array(_) | SqlType::Map(..)) {
                    return Err(format!(
                        "{sql_type} has no form: lists hold no lists; put a STRUCT in between"
                    ));
                }
                (Label::Repeated, &**item)
            }
            SqlType::Map(..) => (Label::Repeated, sql_type),
            _ if self.nulls == ProtobufNulls::Optional => (Label::Optional, sql_type),
            _ => (Label::None, sql_type),
        };
        let mut params = Vec::new();
        let kind = self.kind(owner, name, item, &mut params)?;
        Ok(FileField {
            label,
            kind,
            name: name.to_string(),
            number,
            oneof: None,
            params,
            packed: None,
            implicit: false,
        })
    }

    fn import(&mut self, path: &'static str) {
        if !self.imports.contains(&path) {
            self.imports.push(path);
            self.imports.sort_unstable();
        }
    }

    fn known(&mut self, path: &'static str, name: &str) -> FieldType {
        self.import(path);
        FieldType::Named(name.to_string())
    }

    fn kind(
        &mut self,
        owner: &mut Message,
        field: &str,
        sql_type: &SqlType,
        params: &mut Vec<(String, String)>,
    ) -> Result<FieldType, String> {
        let (scalar, wrapper) = match sql_type {
            SqlType::Boolean => (Scalar::Bool, "google.protobuf.BoolValue"),
            SqlType::Integer => (Scalar::Int32, "google.protobuf.Int32Value"),
            SqlType::Bigint => (Scalar::Int64, "google.protobuf.Int64Value"),
            SqlType::Double => (Scalar::Double, "google.protobuf.DoubleValue"),
            SqlType::String => (Scalar::String, "google.protobuf.StringValue"),
            SqlType::Bytes => (Scalar::Bytes, "google.protobuf.BytesValue"),
            SqlType::Decimal { precision, scale } => {
                params.push(("precision".into(), precision.to_string()));
                params.push(("scale".into(), scale.to_string()));
                self.import("confluent/meta.proto");
                return Ok(self.known("confluent/type/decimal.proto", "confluent.type.Decimal"));
            }
            SqlType::Date => return Ok(self.known("google/type/date.proto", "google.type.Date")),
            SqlType::Time => return Ok(self.known("google/type/timeofday.proto", "google.type.TimeOfDay")),
            SqlType::Timestamp => {
                return Ok(self.known("google/protobuf/timestamp.proto", "google.protobuf.Timestamp"));
            }
            SqlType::Array(_) => return Err(format!("{sql_type} has no form inside of a map or list")),
            SqlType::Struct(fields) => {
                let mut name = self.next_name();
                if name == field {
                    name.push_str("Message");
                }
                let fields: Vec<(&str, &SqlType)> = fields.iter().map(|f| (&*f.name, &f.sql_type)).collect();
                let inner = self.message(&name, &fields).map_err(|e| e.to_string())?;
                owner.messages.push(inner);
                return Ok(FieldType::Named(name));
            }
            SqlType::Map(key, value) => {
                if **key != SqlType::String {
                    return Err(format!(
                        "{} holds MAPs with STRING keys only, not {sql_type}",
                        self.format
                    ));
                }
                let name = format!("{}Entry", self.next_name());
                let mut entry = Message {
                    name: name.clone(),
                    ..Message::default()
                };
                for (number, (part, sql_type)) in [("key", key), ("value", value)].into_iter().enumerate() {
                    let made = self.field(&mut entry, part, number as u32 + 1, sql_type)?;
                    if made.label == Label::Repeated {
                        return Err(format!(
                            "{sql_type} has no form inside of a map; put a STRUCT in between"
                        ));
                    }
                    entry.fields.push(made);
                }
                owner.messages.push(entry);
                return Ok(FieldType::Named(name));
            }
        };
        Ok(match self.nulls {
            ProtobufNulls::Wrapper => self.known("google/protobuf/wrappers.proto", wrapper),
            ProtobufNulls::Default | ProtobufNulls::Optional => FieldType::Scalar(scalar),
        })
    }
}

/// See [`super::super::columns_of`].
pub(in super::super) fn columns_of(
    registered: &RegisteredSchema,
    spec: &SerdeSpec,
) -> Result<Vec<Column>, FormatError> {
    let columns = || {
        let schema = ProtoSchema::parse(&registered.schema)?;
        let root = schema.root(full_name(spec))?;
        let fields = Types {
            schema: &schema,
            names: Fields::of(spec),
        }
        .fields(root, &mut vec![root])?;
        Ok(fields.into_iter().map(|f| Column::new(f.name, f.sql_type)).collect())
    };
    columns().map_err(infer::at(registered))
}

struct Types<'a> {
    schema: &'a ProtoSchema,
    names: Fields,
}

impl Types<'_> {
    /// Oneofs first, then the fields that are in none; `open` are the messages on the way.
    fn fields(&self, id: MessageId, open: &mut Vec<MessageId>) -> Result<Vec<StructField>, String> {
        let message = self.schema.message(id);
        self.names.enter(message.fields.len())?;
        let mut out: Vec<StructField> = Vec::new();
        for (i, oneof) in message.oneofs.iter().enumerate() {
            let mut parts = Vec::new();
            for field in members(self.schema, id, i) {
                parts.push(self.field(field, open)?);
            }
            let sql_type = SqlType::Struct(parts.into());
            let name = self.names.name(&oneof_column(oneof, i)).into();
            infer::add(StructField { name, sql_type }, &mut out)?;
        }
        for field in message.fields.iter().filter(|f| f.oneof.is_none()) {
            infer::add(self.field(field, open)?, &mut out)?;
        }
        Ok(out)
    }

    fn field(&self, field: &Field, open: &mut Vec<MessageId>) -> Result<StructField, String> {
        let at = |m: String| format!("field `{}`: {m}", field.name);
        let sql_type = match (self.schema.map_of(field), field.cardinality) {
            (Some((_, value)), _) => {
                // keys of any type are read as texts, as ksqlDB does
                let value = self.kind(value, open).map_err(at)?;
                SqlType::Map(SqlType::String.into(), value.into())
            }
            (None, Cardinality::Repeated) => SqlType::Array(self.kind(field, open).map_err(at)?.into()),
            (None, _) => self.kind(field, open).map_err(at)?,
        };
        Ok(StructField {
            name: self.names.name(&field.name).into(),
            sql_type,
        })
    }

    fn kind(&self, field: &Field, open: &mut Vec<MessageId>) -> Result<SqlType, String> {
        let id = match field.kind {
            Kind::Scalar(scalar) => return Ok(scalar_type(scalar)),
            Kind::Enum(_) => return Ok(SqlType::String),
            Kind::Message(id) => id,
        };
        let message = self.schema.message(id);
        Ok(match (message.well_known, message.fields.first().map(|f| f.kind)) {
            (Some(WellKnown::Decimal), _) => {
                let (precision, scale) = field.decimal;
                let precision = precision.unwrap_or(MAX_PRECISION);
                if precision == 0 || precision > MAX_PRECISION || scale > precision {
                    return Err(format!(
                        "DECIMAL({precision}, {scale}) is no type; name the columns in the statement"
                    ));
                }
                SqlType::Decimal { precision, scale }
            }
            (Some(WellKnown::Date), _) => SqlType::Date,
            (Some(WellKnown::TimeOfDay), _) => SqlType::Time,
            (Some(WellKnown::Timestamp), _) => SqlType::Timestamp,
            (Some(WellKnown::Wrapper), Some(Kind::Scalar(scalar))) => scalar_type(scalar),
            _ if open.contains(&id) => {
                return Err(format!(
                    "message `{}` contains itself; name the columns in the statement and leave it out",
                    message.full_name
                ));
            }
            _ => {
                open.push(id);
                let fields = self.fields(id, open)?;
                open.pop();
                SqlType::Struct(fields.into())
            }
        })
    }
}

/// The type of column that a scalar is read as.
pub(super) fn scalar_type(scalar: Scalar) -> SqlType {
    match scalar {
        Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => SqlType::Integer,
        Scalar::Int64
        | Scalar::Uint32
        | Scalar::Uint64
        | Scalar::Sint64
        | Scalar::Fixed32
        | Scalar::Fixed64
        | Scalar::Sfixed64 => SqlType::Bigint,
        Scalar::Double | Scalar::Float => SqlType::Double,
        Scalar::Bool => SqlType::Boolean,
        Scalar::String => SqlType::String,
        Scalar::Bytes => SqlType::Bytes,
    }
}
