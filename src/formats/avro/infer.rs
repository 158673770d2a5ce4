//! Columns to schemas and back, as ksqlDB does it.
//!
//! A new schema has ksqlDB's record name and nullable fields. Where a subject has a schema already, that one is used if the columns fit it; else
//! it is carried on: fields that fit keep their spelling and type, so that a change stays as small, and as compatible, as it can be.

use serde_json::{Map, Value as Json, json};

use crate::types::{AVRO_NAMESPACE, Column, SerdeSpec, SqlType, StructField};

use super::super::infer::{self, Fields};
use super::super::source::{RegisteredSchema, SchemaText, SchemaType};
use super::super::{FormatError, SinkSchema};
use super::plain_json::named_branches;
use super::schema::{AvroSchema, AvroType, Record, TypeId, Unit};
use super::{is_bare, write};

/// The name of records that nobody named, as ksqlDB has it.
const DEFAULT_NAME: &str = "io.confluent.ksql.avro_schemas.KsqlDataSourceSchema";

/// See [`super::super::sink_schema`].
pub(in super::super) fn sink_schema(
    columns: &[Column],
    spec: &SerdeSpec,
    latest: Option<&RegisteredSchema>,
) -> Result<SinkSchema, FormatError> {
    let bare = is_bare(spec, columns);
    let mut parsed = None;
    let found = infer::registered_that_fits(latest, spec, SchemaType::Avro, |registered| {
        let schema = AvroSchema::parse(&registered.schema).map_err(FormatError::Definition)?;
        let fits = write::row_write(&schema, columns, bare).map(|_| keeps_name(&schema, spec, bare));
        parsed = Some((registered.clone(), schema));
        fits
    })?;
    if let Some(found) = found {
        return Ok(found);
    }
    if let Some((registered, parsed)) = &parsed
        && let Some(next) = carried_on(registered, parsed, columns, spec, bare)?
    {
        return Ok(SinkSchema::New(next));
    }
    let json = if bare {
        bare_type(&columns[0], spec)?
    } else {
        record_type(columns, spec)?
    };
    let schema = SchemaText::avro(json.to_string());
    AvroSchema::parse(&schema).map_err(|e| FormatError::definition(format!("the columns have no Avro schema: {e}")))?;
    Ok(SinkSchema::New(schema))
}

fn record_name(spec: &SerdeSpec) -> &str {
    spec.full_name.as_deref().unwrap_or(DEFAULT_NAME)
}

/// Whether a schema has the name that the definition asks for, if it asks for one.
fn keeps_name(schema: &AvroSchema, spec: &SerdeSpec, bare: bool) -> bool {
    match (schema.get(schema.root), &spec.full_name) {
        // ksqlDB's own names are what is taken where nobody asks for one
        (AvroType::Record(record), Some(name)) if !bare && !name.starts_with(AVRO_NAMESPACE) => record.name == *name,
        _ => true,
    }
}

/// A bare value is never NULL in a record (NULL is no record), so its type is bare too: its bytes equal those of Java's primitive serializers.
fn bare_type(column: &Column, spec: &SerdeSpec) -> Result<Json, FormatError> {
    avro_type(&column.sql_type, record_name(spec)).map_err(|m| no_form(column, &m))
}

fn record_type(columns: &[Column], spec: &SerdeSpec) -> Result<Json, FormatError> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        fields
            .push(nullable_field(&column.name, &column.sql_type, record_name(spec)).map_err(|m| no_form(column, &m))?);
    }
    Ok(record_json(record_name(spec), fields))
}

fn record_json(full_name: &str, fields: Vec<Json>) -> Json {
    let mut record = Map::new();
    record.insert("type".into(), "record".into());
    let (namespace, name) = match full_name.rsplit_once('.') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, full_name),
    };
    record.insert("name".into(), name.into());
    if let Some(namespace) = namespace {
        record.insert("namespace".into(), namespace.into());
    }
    record.insert("fields".into(), fields.into());
    Json::Object(record)
}

fn no_form(column: &Column, message: &str) -> FormatError {
    FormatError::definition(format!("AVRO, column {}: {message}", column.name))
}

fn nullable_field(name: &str, sql_type: &SqlType, owner: &str) -> Result<Json, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(plain) || name.chars().next().is_none_or(|c| c.is_ascii_digit()) {
        return Err(format!(
            "`{name}` is no name of an Avro field (letters, digits and _); give the column another name with AS"
        ));
    }
    let inner = avro_type(sql_type, &format!("{owner}_{name}"))?;
    Ok(json!({"name": name, "type": ["null", inner], "default": null}))
}

/// A SQL type as Avro; `name` is what a record would be called, from the way to it.
fn avro_type(sql_type: &SqlType, name: &str) -> Result<Json, String> {
    Ok(match sql_type {
        SqlType::Boolean => "boolean".into(),
        SqlType::Integer => "int".into(),
        SqlType::Bigint => "long".into(),
        SqlType::Double => "double".into(),
        SqlType::String => "string".into(),
        SqlType::Bytes => "bytes".into(),
        SqlType::Decimal { precision, scale } => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        SqlType::Date => json!({"type": "int", "logicalType": "date"}),
        SqlType::Time => json!({"type": "int", "logicalType": "time-millis"}),
        SqlType::Timestamp => json!({"type": "long", "logicalType": "timestamp-millis"}),
        SqlType::Array(item) => json!({"type": "array", "items": ["null", avro_type(item, name)?]}),
        // Kafka Connect writes a map as an array of entries where keys may be null, and ksqlDB's may
        SqlType::Map(key, value) => {
            let fields = vec![
                nullable_field("key", key, &format!("{name}_MapKey"))?,
                nullable_field("value", value, &format!("{name}_MapValue"))?,
            ];
            let mut entry = record_json(name, fields);
            if let Json::Object(entry) = &mut entry {
                entry.insert("connect.internal.type".into(), "MapEntry".into());
            }
            json!({"type": "array", "items": entry})
        }
        SqlType::Struct(fields) => {
            let fields: Result<Vec<Json>, String> = fields
                .iter()
                .map(|f| nullable_field(&f.name, &f.sql_type, name))
                .collect();
            record_json(name, fields?)
        }
    })
}

/// The registered record with the fields of these columns: the ones that fit as they are, the others new and nullable. `None` when
/// that gives no schema (a dropped field defined a type that another one uses).
fn carried_on(
    registered: &RegisteredSchema,
    parsed: &AvroSchema,
    columns: &[Column],
    spec: &SerdeSpec,
    bare: bool,
) -> Result<Option<SchemaText>, FormatError> {
    let AvroType::Record(record) = parsed.get(parsed.root) else {
        return Ok(None);
    };
    let Ok(Json::Object(mut json)) = serde_json::from_str::<Json>(&registered.schema.text) else {
        return Ok(None);
    };
    if bare || !keeps_name(parsed, spec, bare) {
        return Ok(None);
    }
    let Some(Json::Array(old)) = json.get("fields").cloned() else {
        return Ok(None);
    };
    let mut fields: Vec<Option<Json>> = vec![None; record.fields.len()];
    let mut added = Vec::new();
    for column in columns {
        let position = super::compile::find_position(&record.fields, &column.name);
        let fits = |i: usize| write::fits(parsed, record.fields[i].type_id, &column.sql_type);
        match position {
            Some(i) if fits(i) => fields[i] = old.get(i).cloned(),
            Some(i) => {
                let name = &record.fields[i].name;
                let field = nullable_field(name, &column.sql_type, &record.name);
                fields[i] = Some(field.map_err(|m| no_form(column, &m))?);
            }
            None => {
                let field = nullable_field(&column.name, &column.sql_type, &record.name);
                added.push(field.map_err(|m| no_form(column, &m))?);
            }
        }
    }
    let fields: Vec<Json> = fields.into_iter().flatten().chain(added).collect();
    json.insert("fields".into(), fields.into());
    let next = SchemaText {
        text: Json::Object(json).to_string(),
        ..registered.schema.clone()
    };
    let usable = AvroSchema::parse(&next).is_ok_and(|parsed| write::row_write(&parsed, columns, bare).is_ok());
    Ok(usable.then_some(next))
}

/// See [`super::super::columns_of`].
pub(in super::super) fn columns_of(
    registered: &RegisteredSchema,
    spec: &SerdeSpec,
    is_key: bool,
) -> Result<Vec<Column>, FormatError> {
    let at = infer::at(registered);
    let schema = AvroSchema::parse(&registered.schema).map_err(at)?;
    let types = Types {
        schema: &schema,
        names: Fields::of(spec),
    };
    let record = match schema.get(schema.root) {
        // a bare value that is a record is one column of type STRUCT
        AvroType::Record(record) if spec.wrap_single => Some(record),
        _ if spec.wrap_single && !is_key => return Err(at(infer::UNWRAPPED.to_string())),
        _ => None,
    };
    let Some(record) = record else {
        let name = if is_key { "ROWKEY" } else { "ROWVAL" };
        let sql_type = types.of(schema.root, &mut Vec::new()).map_err(at)?;
        return Ok(vec![Column::new(name, sql_type)]);
    };
    let fields = types.fields(record, &mut vec![schema.root]).map_err(at)?;
    Ok(fields.into_iter().map(|f| Column::new(f.name, f.sql_type)).collect())
}

const ADVICE: &str = "name the columns in the statement and leave it out";

/// SQL types of a schema's types; `open` are the records on the way.
struct Types<'a> {
    schema: &'a AvroSchema,
    names: Fields,
}

impl Types<'_> {
    fn fields(&self, record: &Record, open: &mut Vec<TypeId>) -> Result<Vec<StructField>, String> {
        self.names.enter(record.fields.len())?;
        let mut fields: Vec<StructField> = Vec::with_capacity(record.fields.len());
        for field in &record.fields {
            let sql_type = self.of(field.type_id, open);
            let made = StructField {
                name: self.names.name(&field.name).into(),
                sql_type: sql_type.map_err(|m| format!("field `{}`: {m}", field.name))?,
            };
            infer::add(made, &mut fields).map_err(|m| format!("record `{}`: {m}", record.name))?;
        }
        Ok(fields)
    }

    fn of(&self, id: TypeId, open: &mut Vec<TypeId>) -> Result<SqlType, String> {
        let schema = self.schema;
        Ok(match schema.get(id) {
            AvroType::Null => return Err(format!("null alone has no SQL type; {ADVICE}")),
            AvroType::Boolean => SqlType::Boolean,
            AvroType::Int(Unit::Date) => SqlType::Date,
            AvroType::Int(Unit::Time(_)) | AvroType::Long(Unit::Time(_)) => SqlType::Time,
            AvroType::Int(Unit::Plain | Unit::Timestamp(_)) => SqlType::Integer,
            AvroType::Long(Unit::Timestamp(_)) => SqlType::Timestamp,
            AvroType::Long(Unit::Plain | Unit::Date) => SqlType::Bigint,
            AvroType::Float | AvroType::Double => SqlType::Double,
            AvroType::Bytes(Some(d)) => decimal(d)?,
            AvroType::Bytes(None) => SqlType::Bytes,
            AvroType::String | AvroType::Enum(_) => SqlType::String,
            AvroType::Fixed(fixed) => match &fixed.decimal {
                Some(d) => decimal(d)?,
                None if fixed.uuid => SqlType::String,
                None => SqlType::Bytes,
            },
            AvroType::Array(item) => match schema.get(*item) {
                AvroType::Record(entry) if entry.map_entry => self.map_of_entries(*item, entry, open)?,
                _ => SqlType::Array(self.of(*item, open)?.into()),
            },
            AvroType::Map(value) => SqlType::Map(SqlType::String.into(), self.of(*value, open)?.into()),
            AvroType::Union(branches) => self.union(branches, open)?,
            AvroType::Record(record) => {
                if open.contains(&id) {
                    return Err(format!("record `{}` contains itself; {ADVICE}", record.name));
                }
                open.push(id);
                let fields = self.fields(record, open)?;
                open.pop();
                SqlType::Struct(fields.into())
            }
        })
    }

    /// A union of null and one type is that type; of several types it is a STRUCT with a field a type, of which one is not NULL.
    fn union(&self, branches: &[TypeId], open: &mut Vec<TypeId>) -> Result<SqlType, String> {
        let Some(named) = named_branches(self.schema, branches) else {
            let only = branches
                .iter()
                .find(|b| !matches!(self.schema.get(**b), AvroType::Null));
            return self.of(
                *only.ok_or_else(|| format!("null alone has no SQL type; {ADVICE}"))?,
                open,
            );
        };
        let mut fields = Vec::with_capacity(named.len());
        for (name, i) in named {
            fields.push(StructField {
                sql_type: self.of(branches[i], open)?,
                name: self.names.name(&name).into(),
            });
        }
        Ok(SqlType::Struct(fields.into()))
    }

    fn map_of_entries(&self, id: TypeId, entry: &Record, open: &mut Vec<TypeId>) -> Result<SqlType, String> {
        if open.contains(&id) {
            return Err(format!("record `{}` contains itself", entry.name));
        }
        open.push(id);
        let fields = self.fields(entry, open)?;
        open.pop();
        let of = |name: &str| {
            let found = fields.iter().find(|f| f.name.eq_ignore_ascii_case(name));
            found.map(|f| f.sql_type.clone())
        };
        match (of("key"), of("value")) {
            // keys of several types are read as texts, as ksqlDB does
            (Some(SqlType::Integer | SqlType::Bigint | SqlType::Boolean | SqlType::String), Some(value)) => {
                Ok(SqlType::Map(SqlType::String.into(), value.into()))
            }
            (Some(key), Some(value)) => Ok(SqlType::Map(key.into(), value.into())),
            _ => Err(format!(
                "record `{}` is marked as a map's entry without key and value",
                entry.name
            )),
        }
    }
}

fn decimal(d: &super::schema::DecimalType) -> Result<SqlType, String> {
    match (u8::try_from(d.precision), u8::try_from(d.scale)) {
        (Ok(precision), Ok(scale)) if precision <= crate::types::MAX_PRECISION => {
            Ok(SqlType::Decimal { precision, scale })
        }
        _ => Err(format!(
            "decimal({}, {}) has too many digits; {ADVICE}",
            d.precision, d.scale
        )),
    }
}
