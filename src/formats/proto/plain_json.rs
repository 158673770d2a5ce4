//! Messages as plain JSON and back, without columns in between: what test cases show of a topic.
//!
//! Kafka Connect's view, as people write it: a field without presence always has a value, wrappers and well-known types are their values, a oneof
//! is an object `<oneof>_<position>`, maps are objects.

use crate::types::BASE64;
use base64::Engine;
use serde_json::{Map, Value as Json, json};

use crate::types::{Column, Format, MAX_PRECISION, SqlType, StructField, Value, map_value};

use super::super::FormatError;
use super::super::error::{double_json, shown};
use super::super::scalar;
use super::infer::scalar_type;
use super::input::Input;
use super::read::{self, Wanted, members, oneof_column};
use super::schema::{Cardinality, Field, Kind, MessageId, ProtoSchema};
use super::well_known::WellKnown;
use super::write;

type Result<T> = std::result::Result<T, FormatError>;

/// Messages that contain themselves are shown down to this depth, and to so many fields in all.
const MOST_DEPTH: usize = 16;
const MOST_FIELDS: usize = 20_000;

/// A message type with columns of its own spelling, by which JSON is read and written.
pub(in super::super) struct MessageJson {
    columns: Vec<Column>,
    write: write::Plan,
    read: read::Plan,
    format: Format,
}

impl MessageJson {
    /// For records of one message type.
    pub(super) fn new(schema: &ProtoSchema, id: MessageId, format: Format) -> Result<Self> {
        let fields = Fields {
            schema,
            left: std::cell::Cell::new(MOST_FIELDS),
        }
        .of(id, 0);
        let columns: Vec<Column> = fields.into_iter().map(|f| Column::new(f.name, f.sql_type)).collect();
        let wanted: Vec<Wanted<'_>> = columns.iter().map(|c| (&c.name, &c.sql_type)).collect();
        Ok(Self {
            write: write::plan(schema, id, &wanted, format)?,
            read: read::plan(schema, id, &wanted, format)?,
            columns,
            format,
        })
    }

    /// Appends the message of an object.
    pub(in super::super) fn encode(&self, json: &Json, out: &mut Vec<u8>) -> Result<()> {
        let names = self.columns.iter().map(|c| (&*c.name, &c.sql_type));
        // the only field may be given bare, as keys of one column are in other formats
        let wrapped = match self.columns.as_slice() {
            [only] if !json.is_object() => Some(json!({ &*only.name: json })),
            _ => None,
        };
        let row = object(names, wrapped.as_ref().unwrap_or(json))
            .ok_or_else(|| FormatError::unwritable(self.format, "an object", shown(json)))?;
        let row: Result<Vec<Value>> = row.into_iter().map(|r| r.map_err(|e| self.unwritable(&e))).collect();
        self.write.run(&row?, out)
    }

    fn unwritable(&self, (path, expected, found): &Unfit) -> FormatError {
        FormatError::unwritable(self.format, expected.as_str(), found.as_str()).inside(path)
    }

    /// The message behind the first `at` bytes.
    pub(in super::super) fn decode(&self, bytes: &[u8], at: usize) -> Result<Json> {
        let mut row = Vec::new();
        self.read.run(Input::new(self.format, bytes, at), &mut row)?;
        let fields = self.columns.iter().zip(&row);
        Ok(Json::Object(
            fields
                .map(|(c, v)| (c.name.to_string(), to_json(v, &c.sql_type)))
                .collect(),
        ))
    }
}

/// All fields in their own spelling.
struct Fields<'a> {
    schema: &'a ProtoSchema,
    left: std::cell::Cell<usize>,
}

impl Fields<'_> {
    fn of(&self, id: MessageId, depth: usize) -> Vec<StructField> {
        let message = self.schema.message(id);
        if depth > MOST_DEPTH || self.left.get() < message.fields.len() {
            return Vec::new();
        }
        self.left.set(self.left.get() - message.fields.len());
        let mut out = Vec::new();
        for (i, oneof) in message.oneofs.iter().enumerate() {
            let parts = members(self.schema, id, i).into_iter().map(|f| self.field(f, depth));
            let sql_type = SqlType::Struct(parts.collect());
            out.push(StructField {
                name: oneof_column(oneof, i).into(),
                sql_type,
            });
        }
        out.extend(
            message
                .fields
                .iter()
                .filter(|f| f.oneof.is_none())
                .map(|f| self.field(f, depth)),
        );
        out
    }

    fn field(&self, field: &Field, depth: usize) -> StructField {
        let sql_type = match (self.schema.map_of(field), field.cardinality) {
            (Some((_, value)), _) => SqlType::Map(SqlType::String.into(), self.kind(value, depth).into()),
            (None, Cardinality::Repeated) => SqlType::Array(self.kind(field, depth).into()),
            (None, _) => self.kind(field, depth),
        };
        StructField {
            name: field.name.clone(),
            sql_type,
        }
    }

    fn kind(&self, field: &Field, depth: usize) -> SqlType {
        let id = match field.kind {
            Kind::Scalar(s) => return scalar_type(s),
            Kind::Enum(_) => return SqlType::String,
            Kind::Message(id) => id,
        };
        let message = self.schema.message(id);
        match (message.well_known, message.fields.first().map(|f| f.kind)) {
            (Some(WellKnown::Decimal), _) => SqlType::Decimal {
                precision: MAX_PRECISION,
                scale: field.decimal.1.min(MAX_PRECISION),
            },
            (Some(WellKnown::Date), _) => SqlType::Date,
            (Some(WellKnown::TimeOfDay), _) => SqlType::Time,
            (Some(WellKnown::Timestamp), _) => SqlType::Timestamp,
            (Some(WellKnown::Wrapper), Some(Kind::Scalar(s))) => scalar_type(s),
            _ => SqlType::Struct(self.of(id, depth + 1).into()),
        }
    }
}

/// The path to a value that does not fit, what was expected there, and what was found.
type Unfit = (String, String, String);

/// A value a field, in the fields' order; names are matched regardless of case. `None` when it is no object.
fn object<'a>(
    fields: impl Iterator<Item = (&'a str, &'a SqlType)>,
    json: &Json,
) -> Option<Vec<std::result::Result<Value, Unfit>>> {
    let members = json.as_object()?;
    let find = |name: &str| {
        let exact = members.get(name);
        exact.or_else(|| {
            members
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(name))
                .map(|(_, v)| v)
        })
    };
    let value = |(name, sql_type): (&str, &SqlType)| {
        from_json(find(name).unwrap_or(&Json::Null), sql_type).map_err(|(path, expected, found)| {
            let path = if path.is_empty() {
                name.to_string()
            } else {
                format!("{name}->{path}")
            };
            (path, expected, found)
        })
    };
    Some(fields.map(value).collect())
}

fn from_json(json: &Json, sql_type: &SqlType) -> std::result::Result<Value, Unfit> {
    let unfit = || (String::new(), sql_type.to_string(), shown(json));
    Ok(match (sql_type, json) {
        (_, Json::Null) => Value::Null,
        (SqlType::Array(item), Json::Array(items)) => {
            let items: std::result::Result<Vec<Value>, Unfit> = items.iter().map(|i| from_json(i, item)).collect();
            Value::Array(items?.into())
        }
        (SqlType::Map(_, value), Json::Object(entries)) => {
            let entries: std::result::Result<Vec<(Value, Value)>, Unfit> = entries
                .iter()
                .map(|(k, v)| Ok((Value::String(k.as_str().into()), from_json(v, value)?)))
                .collect();
            map_value(entries?)
        }
        (SqlType::Struct(fields), _) => {
            let values = object(fields.iter().map(|f| (&*f.name, &f.sql_type)), json).ok_or_else(unfit)?;
            let values: std::result::Result<Vec<Value>, Unfit> = values.into_iter().collect();
            Value::Struct(values?.into())
        }
        (_, Json::String(s)) => scalar::parse(s, sql_type).ok_or_else(unfit)?,
        (_, Json::Number(_) | Json::Bool(_)) => scalar::parse(&json.to_string(), sql_type).ok_or_else(unfit)?,
        (_, Json::Array(_) | Json::Object(_)) => return Err(unfit()),
    })
}

fn to_json(value: &Value, sql_type: &SqlType) -> Json {
    match (value, sql_type) {
        (Value::Null, _) => Json::Null,
        (Value::Boolean(b), _) => (*b).into(),
        (Value::Integer(n) | Value::Date(n) | Value::Time(n), _) => (*n).into(),
        (Value::Bigint(n) | Value::Timestamp(n), _) => (*n).into(),
        (Value::Double(x), _) => double_json(*x),
        (Value::Decimal(d), _) => d.to_string().parse().map_or(Json::Null, Json::Number),
        (Value::String(s), _) => (**s).into(),
        (Value::Bytes(b), _) => BASE64.encode(b).into(),
        (Value::Array(items), SqlType::Array(item)) => items.iter().map(|i| to_json(i, item)).collect(),
        (Value::Map(entries), SqlType::Map(_, of)) => {
            let entry = |(k, v): &(Value, Value)| match k {
                Value::String(s) => (s.to_string(), to_json(v, of)),
                other => (to_json(other, &SqlType::String).to_string(), to_json(v, of)),
            };
            Json::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        (Value::Struct(values), SqlType::Struct(fields)) => {
            let fields = fields.iter().zip(values.iter());
            Json::Object(
                fields
                    .map(|(f, v)| (f.name.to_string(), to_json(v, &f.sql_type)))
                    .collect(),
            )
        }
        (Value::Array(_) | Value::Map(_) | Value::Struct(_), _) => Json::Null,
    }
}
