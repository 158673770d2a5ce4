//! How rows are written with one registered schema: a tree of writes, compiled once, run once a row.
//!
//! Every column has a field of the same name (regardless of case); a field without a column must have a default. A type is only ever
//! written as one that holds all its values (INTEGER as long), but for decimals, enums and fixed, which are checked value by value.

use std::sync::Arc;

use crate::types::{Column, Format, SqlType, Value};

use super::super::FormatError;
use super::super::error::{Name, kind_of, quoted};
use super::super::exact_decimal;
use super::compile::find_position;
use super::defaults;
use super::output;
use super::plain_json::named_branches;
use super::schema::{AvroSchema, AvroType, Record, TypeId, Unit};

type Result<T> = std::result::Result<T, FormatError>;

/// How a row becomes the body of a record.
#[derive(Debug)]
pub(super) enum RowWrite {
    /// A record; inside a union the index of its branch comes first.
    Record(Option<i64>, RecordWrite),
    /// The only column, bare.
    Single(Name, Write),
}

/// How a record's fields are written, in the order of the schema.
#[derive(Debug)]
pub(super) struct RecordWrite {
    fields: Vec<FieldWrite>,
}

#[derive(Debug)]
enum FieldWrite {
    Column {
        index: usize,
        name: Name,
        write: Write,
    },
    /// A default, in binary.
    Default(Vec<u8>),
}

/// How a value is written.
#[derive(Debug)]
pub(super) enum Write {
    Boolean,
    /// INTEGER, BIGINT, DATE, TIME or TIMESTAMP as `int` or `long`, times a factor.
    Long(i64),
    /// INTEGER or DOUBLE.
    Double,
    Text,
    Blob,
    Fixed(usize),
    Symbol(Arc<[Arc<str>]>),
    Decimal {
        size: Option<usize>,
        precision: u8,
        scale: u8,
    },
    Array(Box<Write>),
    Map(Box<Write>),
    /// A map as an array of records of key and value.
    Entries(RecordWrite),
    Struct(RecordWrite),
    /// A union: the index for NULL, the index for a value.
    Nullable {
        null: Option<i64>,
        branch: i64,
        inner: Box<Write>,
    },
    /// A union of several types from a STRUCT with a field a type, of which one is not NULL: by field, the index and how it is written.
    Members {
        null: Option<i64>,
        fields: Vec<(i64, Write)>,
    },
}

/// Compiles the write of `columns`; `bare` says that the only column is not wrapped in a record.
///
/// # Errors
/// [`FormatError::Definition`] saying which column or field does not fit.
pub(super) fn row_write(schema: &AvroSchema, columns: &[Column], bare: bool) -> Result<RowWrite> {
    let fields: Vec<(&Name, &SqlType)> = columns.iter().map(|c| (&c.name, &c.sql_type)).collect();
    if let [(name, sql_type)] = fields.as_slice()
        && bare
    {
        let write = write_of(schema, schema.root, sql_type).map_err(|m| definition(name, &m))?;
        return Ok(RowWrite::Single((*name).clone(), write));
    }
    match schema.get(schema.root) {
        AvroType::Record(record) => Ok(RowWrite::Record(None, record_write(schema, record, &fields)?)),
        AvroType::Union(branches) => {
            let found = branches.iter().enumerate().find_map(|(i, b)| match schema.get(*b) {
                AvroType::Record(record) => Some((i as i64, record)),
                _ => None,
            });
            let (branch, record) = found.ok_or_else(|| not_a_record(schema))?;
            Ok(RowWrite::Record(Some(branch), record_write(schema, record, &fields)?))
        }
        _ => Err(not_a_record(schema)),
    }
}

fn not_a_record(schema: &AvroSchema) -> FormatError {
    FormatError::definition(format!(
        "the columns are written as fields of a record, but the schema is {}",
        schema.describe(schema.root)
    ))
}

fn definition(name: &str, message: &str) -> FormatError {
    FormatError::definition(format!("AVRO, column {name}: {message}"))
}

fn record_write(schema: &AvroSchema, record: &Record, columns: &[(&Name, &SqlType)]) -> Result<RecordWrite> {
    let mut of_field: Vec<Option<usize>> = vec![None; record.fields.len()];
    for (index, (name, _)) in columns.iter().enumerate() {
        match find_position(&record.fields, name) {
            None => return Err(definition(name, &format!("record `{}` has no such field", record.name))),
            Some(i) if of_field[i].is_some() => {
                let field = &record.fields[i].name;
                return Err(definition(
                    name,
                    &format!("another column is written to field `{field}` already"),
                ));
            }
            Some(i) => of_field[i] = Some(index),
        }
    }
    let mut fields = Vec::with_capacity(record.fields.len());
    for (field, index) in record.fields.iter().zip(of_field) {
        fields.push(match (index, &field.default) {
            (Some(index), _) => {
                let (name, sql_type) = columns[index];
                let write = write_of(schema, field.type_id, sql_type).map_err(|m| definition(name, &m))?;
                FieldWrite::Column {
                    index,
                    name: name.clone(),
                    write,
                }
            }
            (None, Some(json)) => {
                let mut bytes = Vec::new();
                defaults::encode(schema, field.type_id, json, &mut bytes)?;
                FieldWrite::Default(bytes)
            }
            (None, None) => {
                return Err(FormatError::definition(format!(
                    "AVRO: field `{}` of record `{}` has no default, and no column fills it",
                    field.name, record.name
                )));
            }
        });
    }
    Ok(RecordWrite { fields })
}

/// How a SQL type is written as a type of the schema, or why it cannot be.
fn write_of(schema: &AvroSchema, id: TypeId, sql_type: &SqlType) -> std::result::Result<Write, String> {
    if let AvroType::Union(branches) = schema.get(id) {
        return union_write(schema, id, branches, sql_type);
    }
    let unfit = || format!("{sql_type} cannot be written as {}", schema.describe(id));
    let struct_write = |record: &Record, fields: &[(&Name, &SqlType)]| {
        record_write(schema, record, fields).map_err(|e| match e {
            FormatError::Definition(m) => m,
            other => other.to_string(),
        })
    };
    match (sql_type, schema.get(id)) {
        (SqlType::Array(item), AvroType::Array(inner)) => Ok(Write::Array(Box::new(write_of(schema, *inner, item)?))),
        (SqlType::Map(key, value), AvroType::Map(inner)) if **key == SqlType::String => {
            Ok(Write::Map(Box::new(write_of(schema, *inner, value)?)))
        }
        (SqlType::Map(key, value), AvroType::Array(item)) => match schema.get(*item) {
            AvroType::Record(entry) => {
                let names: [Name; 2] = ["key".into(), "value".into()];
                let fields = [(&names[0], &**key), (&names[1], &**value)];
                Ok(Write::Entries(struct_write(entry, &fields)?))
            }
            _ => Err(unfit()),
        },
        (SqlType::Struct(fields), AvroType::Record(record)) => {
            let fields: Vec<(&Name, &SqlType)> = fields.iter().map(|f| (&f.name, &f.sql_type)).collect();
            Ok(Write::Struct(struct_write(record, &fields)?))
        }
        (scalar, avro) => scalar_write(scalar, avro).ok_or_else(unfit),
    }
}

fn scalar_write(sql_type: &SqlType, avro: &AvroType) -> Option<Write> {
    use AvroType as A;
    Some(match (sql_type, avro) {
        (SqlType::Boolean, A::Boolean) => Write::Boolean,
        (SqlType::Integer, A::Int(Unit::Plain) | A::Long(Unit::Plain)) => Write::Long(1),
        (SqlType::Bigint, A::Long(_)) => Write::Long(1),
        (SqlType::Integer | SqlType::Double, A::Double) => Write::Double,
        (SqlType::String, A::String | A::Bytes(None)) => Write::Text,
        (SqlType::String, A::Enum(e)) => Write::Symbol(e.symbols.clone()),
        (SqlType::Bytes, A::Bytes(None)) => Write::Blob,
        (SqlType::Bytes, A::Fixed(fixed)) => Write::Fixed(fixed.size),
        (SqlType::Decimal { .. }, A::Bytes(Some(d))) => Write::Decimal {
            size: None,
            precision: u8::try_from(d.precision).unwrap_or(u8::MAX),
            scale: u8::try_from(d.scale).ok()?,
        },
        (SqlType::Decimal { .. }, A::Fixed(fixed)) => {
            let d = fixed.decimal?;
            Write::Decimal {
                size: Some(fixed.size),
                precision: u8::try_from(d.precision).unwrap_or(u8::MAX),
                scale: u8::try_from(d.scale).ok()?,
            }
        }
        (SqlType::Date, A::Int(Unit::Date | Unit::Plain)) => Write::Long(1),
        (SqlType::Time, A::Int(Unit::Time(_) | Unit::Plain)) => Write::Long(1),
        (SqlType::Time, A::Long(Unit::Time(per_ms))) => Write::Long(*per_ms),
        (SqlType::Timestamp, A::Long(Unit::Plain)) => Write::Long(1),
        (SqlType::Timestamp, A::Long(Unit::Timestamp(per_ms))) => Write::Long(*per_ms),
        _ => return None,
    })
}

fn union_write(
    schema: &AvroSchema,
    id: TypeId,
    branches: &[TypeId],
    sql_type: &SqlType,
) -> std::result::Result<Write, String> {
    let null = branches
        .iter()
        .position(|b| matches!(schema.get(*b), AvroType::Null))
        .map(|i| i as i64);
    if let SqlType::Struct(fields) = sql_type
        && let Some(named) = named_branches(schema, branches)
    {
        let member = |f: &crate::types::StructField| {
            let (_, i) = named.iter().find(|(name, _)| name.eq_ignore_ascii_case(&f.name))?;
            Some((*i as i64, write_of(schema, branches[*i], &f.sql_type).ok()?))
        };
        let fields: Option<Vec<(i64, Write)>> = fields.iter().map(member).collect();
        if let Some(fields) = fields {
            return Ok(Write::Members { null, fields });
        }
    }
    let mut reason = None;
    for (i, branch) in branches.iter().enumerate().filter(|(i, _)| Some(*i as i64) != null) {
        match write_of(schema, *branch, sql_type) {
            Ok(inner) => {
                return Ok(Write::Nullable {
                    null,
                    branch: i as i64,
                    inner: Box::new(inner),
                });
            }
            Err(m) => reason = reason.or(Some(m)),
        }
    }
    Err(reason.unwrap_or_else(|| format!("{sql_type} cannot be written as {}", schema.describe(id))))
}

impl RowWrite {
    /// Appends the body of a row.
    pub(super) fn run(&self, row: &[Value], out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Record(branch, record) => {
                if let Some(branch) = branch {
                    output::long(*branch, out);
                }
                record.run(row, out)
            }
            Self::Single(name, write) => {
                let value = row.first().unwrap_or(&Value::Null);
                write.run(value, out).map_err(|e| e.inside(name))
            }
        }
    }
}

impl RecordWrite {
    fn run(&self, values: &[Value], out: &mut Vec<u8>) -> Result<()> {
        for field in &self.fields {
            match field {
                FieldWrite::Column { index, name, write } => {
                    let value = values.get(*index).unwrap_or(&Value::Null);
                    write.run(value, out).map_err(|e| e.inside(name))?;
                }
                FieldWrite::Default(bytes) => out.extend_from_slice(bytes),
            }
        }
        Ok(())
    }
}

impl Write {
    fn run(&self, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        match (self, value) {
            (Self::Nullable { null, branch, inner }, value) => match (value, null) {
                (Value::Null, Some(null)) => output::long(*null, out),
                (value, _) => {
                    output::long(*branch, out);
                    inner.run(value, out)?;
                }
            },
            (Self::Members { null: Some(null), .. }, Value::Null) => output::long(*null, out),
            (Self::Members { fields, .. }, Value::Struct(values)) => {
                let mut given = fields.iter().zip(values.iter()).filter(|(_, v)| !v.is_null());
                let (Some(((branch, write), value)), None) = (given.next(), given.next()) else {
                    return Err(unwritable(
                        "a STRUCT with one field that is not NULL (the schema has a union)",
                        "none or several",
                    ));
                };
                output::long(*branch, out);
                write.run(value, out)?;
            }
            (Self::Boolean, Value::Boolean(b)) => out.push(u8::from(*b)),
            (Self::Long(_), Value::Integer(n) | Value::Date(n)) => output::long(i64::from(*n), out),
            (Self::Long(_), Value::Bigint(n)) => output::long(*n, out),
            (Self::Long(factor), Value::Time(n)) => output::long(i64::from(*n) * factor, out),
            (Self::Long(factor), Value::Timestamp(n)) => {
                let scaled = n.checked_mul(*factor);
                let scaled = scaled.ok_or_else(|| unwritable("a timestamp that fits 64 bits", format!("{n} ms")))?;
                output::long(scaled, out);
            }
            (Self::Double, Value::Double(x)) => out.extend_from_slice(&x.to_le_bytes()),
            (Self::Double, Value::Integer(n)) => out.extend_from_slice(&f64::from(*n).to_le_bytes()),
            (Self::Text, Value::String(s)) => output::bytes(s.as_bytes(), out),
            (Self::Blob, Value::Bytes(b)) => output::bytes(b, out),
            (Self::Fixed(size), Value::Bytes(b)) if b.len() == *size => out.extend_from_slice(b),
            (Self::Fixed(size), Value::Bytes(b)) => {
                return Err(unwritable(&format!("{size} bytes"), format!("{}", b.len())));
            }
            (Self::Symbol(symbols), Value::String(s)) => match symbols.iter().position(|symbol| symbol == s) {
                Some(i) => output::long(i as i64, out),
                None => return Err(unwritable(&format!("one of {}", symbols.join(", ")), quoted(s))),
            },
            (Self::Decimal { size, precision, scale }, Value::Decimal(d)) => {
                write_decimal(*d, *size, *precision, *scale, out)?;
            }
            (Self::Array(item), Value::Array(items)) => {
                blocks(items.len(), out, |out| {
                    let mut numbered = items.iter().enumerate();
                    numbered.try_for_each(|(i, v)| item.run(v, out).map_err(|e| e.inside_item(i)))
                })?;
            }
            (Self::Map(inner), Value::Map(entries)) => {
                blocks(entries.len(), out, |out| {
                    entries.iter().try_for_each(|(k, v)| match k {
                        Value::String(s) => {
                            output::bytes(s.as_bytes(), out);
                            inner.run(v, out).map_err(|e| e.inside(&format!("[{s:?}]")))
                        }
                        other => Err(unwritable("a STRING as key of a map", kind_of(other))),
                    })
                })?;
            }
            (Self::Entries(record), Value::Map(entries)) => {
                blocks(entries.len(), out, |out| {
                    let mut pairs = entries.iter();
                    pairs.try_for_each(|(k, v)| record.run(&[k.clone(), v.clone()], out))
                })?;
            }
            (Self::Struct(record), Value::Struct(values)) => record.run(values, out)?,
            (write, other) => return Err(unwritable(write.expects(), kind_of(other))),
        }
        Ok(())
    }

    /// What the field holds, in words.
    fn expects(&self) -> &'static str {
        match self {
            Self::Boolean => "a BOOLEAN that is not NULL (the field is not nullable)",
            Self::Long(_) => "a number or time that is not NULL (the field is not nullable)",
            Self::Double => "a DOUBLE that is not NULL (the field is not nullable)",
            Self::Text | Self::Symbol(_) => "a STRING that is not NULL (the field is not nullable)",
            Self::Blob | Self::Fixed(_) => "BYTES that are not NULL (the field is not nullable)",
            Self::Decimal { .. } => "a DECIMAL that is not NULL (the field is not nullable)",
            Self::Array(_) => "an ARRAY that is not NULL (the field is not nullable)",
            Self::Map(_) | Self::Entries(_) => "a MAP that is not NULL (the field is not nullable)",
            Self::Members { .. } => "a STRUCT that is not NULL (the field is not nullable)",
            Self::Struct(_) => "a STRUCT that is not NULL (the field is not nullable)",
            Self::Nullable { .. } => "a value",
        }
    }
}

#[cold]
fn unwritable(expected: &str, found: impl Into<String>) -> FormatError {
    FormatError::unwritable(Format::Avro, expected, found)
}

/// Writes the items of an array or map as one block, and its end.
pub(super) fn blocks(n: usize, out: &mut Vec<u8>, items: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    if n > 0 {
        output::long(n as i64, out);
        items(out)?;
    }
    out.push(0);
    Ok(())
}

pub(super) fn write_decimal(
    d: crate::types::Decimal,
    size: Option<usize>,
    precision: u8,
    scale: u8,
    out: &mut Vec<u8>,
) -> Result<()> {
    let expected = || format!("DECIMAL({precision}, {scale}) without rounding");
    let fitted = exact_decimal(d, precision, scale).ok_or_else(|| unwritable(&expected(), d.to_string()))?;
    let mut buffer = [0; 16];
    let digits = output::integer(fitted.unscaled(), &mut buffer);
    match size {
        None => output::bytes(digits, out),
        Some(size) => {
            let fill = if fitted.unscaled() < 0 { 0xff } else { 0 };
            let missing = size.checked_sub(digits.len());
            let missing = missing.ok_or_else(|| unwritable(&format!("a decimal of {size} bytes"), d.to_string()))?;
            out.extend(std::iter::repeat_n(fill, missing));
            out.extend_from_slice(digits);
        }
    }
    Ok(())
}

/// Whether values of a SQL type can be written as a type.
pub(super) fn fits(schema: &AvroSchema, id: TypeId, sql_type: &SqlType) -> bool {
    write_of(schema, id, sql_type).is_ok()
}
