//! How rows become messages: compiled once from a message type and the columns. Fields are written in the order of their numbers.
//!
//! NULL is written as no field at all; a reader sees the default where the field has no presence. A NULL item of a list has no form.

use std::sync::Arc;

use crate::types::{Format, SqlType, Value};

use super::super::FormatError;
use super::super::error::{Name, kind_of, quoted};
use super::file::Scalar;
use super::output::{LENGTH, date, decimal, integer, prefixed, tag, time, timestamp, varint, wire_of};
use super::read::{Wanted, find_field, find_name, members, oneof_position};
use super::schema::{Cardinality, Field, Kind, MessageId, ProtoSchema};
use super::well_known::WellKnown;

type Result<T> = std::result::Result<T, FormatError>;

/// A message's program.
#[derive(Debug)]
pub(super) struct Plan {
    fields: Vec<Step>,
    format: Format,
}

#[derive(Debug)]
struct Step {
    /// The column.
    index: usize,
    name: Name,
    number: u32,
    what: What,
}

#[derive(Debug)]
enum What {
    /// `always`: even the default is written.
    Single {
        write: Write,
        always: bool,
        required: bool,
    },
    Items {
        write: Write,
        packed: bool,
    },
    Entries {
        key: Write,
        value: Write,
    },
    /// Member `index` of the column's STRUCT.
    Member {
        index: usize,
        write: Write,
    },
}

#[derive(Debug)]
enum Write {
    /// A text that holds a map's key of another type.
    KeyText(Scalar),
    Scalar(Scalar),
    Symbol(Arc<[(Arc<str>, i32)]>),
    Message(Box<Plan>),
    Wrapper(Scalar),
    Decimal,
    Date,
    Time,
    Timestamp,
}

/// Compiles the write of columns.
///
/// # Errors
/// [`FormatError::Definition`] saying which column or field does not fit.
pub(super) fn plan(schema: &ProtoSchema, id: MessageId, columns: &[Wanted<'_>], format: Format) -> Result<Plan> {
    let message = schema.message(id);
    let definition =
        |name: &str, message: String| FormatError::definition(format!("{format}, column {name}: {message}"));
    let mut fields: Vec<Step> = Vec::new();
    for (index, (name, sql_type)) in columns.iter().enumerate() {
        let step = |number: u32, what: What| Step {
            index,
            name: (*name).clone(),
            number,
            what,
        };
        if let Some(field) = find_field(&message.fields, name) {
            let what = what_of(schema, field, sql_type, format).map_err(|m| definition(name, m))?;
            fields.push(step(field.number, what));
            continue;
        }
        let missing = || definition(name, format!("message `{}` has no such field", message.full_name));
        let oneof = oneof_position(&message.oneofs, name).ok_or_else(missing)?;
        let SqlType::Struct(parts) = sql_type else {
            return Err(missing());
        };
        let members = members(schema, id, oneof);
        for (index, part) in parts.iter().enumerate() {
            let field = find_name(members.iter().map(|f| &*f.name), &part.name).map(|i| members[i]);
            let field = field.ok_or_else(|| definition(name, format!("the oneof has no member {}", part.name)))?;
            let write = write_of(schema, field, &part.sql_type, format).map_err(|m| definition(name, m))?;
            fields.push(step(field.number, What::Member { index, write }));
        }
    }
    fields.sort_by_key(|f| f.number);
    if let Some(twice) = fields.windows(2).find(|w| w[0].number == w[1].number) {
        return Err(definition(
            &twice[1].name,
            format!("column {} is written to the same field", twice[0].name),
        ));
    }
    let unfilled = |f: &&Field| f.cardinality == Cardinality::Required && !fields.iter().any(|s| s.number == f.number);
    if let Some(field) = message.fields.iter().find(unfilled) {
        return Err(FormatError::definition(format!(
            "{format}: field `{}` of message `{}` is required, and no column fills it",
            field.name, message.full_name
        )));
    }
    Ok(Plan { fields, format })
}

fn unfit(schema: &ProtoSchema, field: &Field, sql_type: &SqlType) -> String {
    let repeated = if field.cardinality == Cardinality::Repeated {
        "repeated "
    } else {
        ""
    };
    format!(
        "{sql_type} cannot be written as {repeated}{}",
        schema.describe(field.kind)
    )
}

fn what_of(
    schema: &ProtoSchema,
    field: &Field,
    sql_type: &SqlType,
    format: Format,
) -> std::result::Result<What, String> {
    if let (Some((key, value)), SqlType::Map(key_type, value_type)) = (schema.map_of(field), sql_type) {
        let key = match (key.kind, &**key_type) {
            // keys of all types are texts in SQL, as ksqlDB has it
            (Kind::Scalar(scalar), SqlType::String) if scalar != Scalar::String => Write::KeyText(scalar),
            _ => write_of(schema, key, key_type, format)?,
        };
        return Ok(What::Entries {
            key,
            value: write_of(schema, value, value_type, format)?,
        });
    }
    match (field.cardinality, sql_type) {
        (Cardinality::Repeated, SqlType::Array(item)) => Ok(What::Items {
            write: write_of(schema, field, item, format)?,
            packed: field.packed,
        }),
        (Cardinality::Repeated, _) => Err(unfit(schema, field, sql_type)),
        (cardinality, _) => Ok(What::Single {
            write: write_of(schema, field, sql_type, format)?,
            always: cardinality != Cardinality::Implicit,
            required: cardinality == Cardinality::Required,
        }),
    }
}

fn write_of(
    schema: &ProtoSchema,
    field: &Field,
    sql_type: &SqlType,
    format: Format,
) -> std::result::Result<Write, String> {
    let unfit = || unfit(schema, field, sql_type);
    Ok(match (field.kind, sql_type) {
        (Kind::Scalar(scalar), _) if holds(scalar, sql_type) => Write::Scalar(scalar),
        (Kind::Enum(id), SqlType::String) => Write::Symbol(schema.enumeration(id).values.clone()),
        (Kind::Message(id), _) => match (schema.message(id).well_known, sql_type) {
            (Some(WellKnown::Decimal), SqlType::Decimal { .. }) => Write::Decimal,
            (Some(WellKnown::Date), SqlType::Date) => Write::Date,
            (Some(WellKnown::TimeOfDay), SqlType::Time) => Write::Time,
            (Some(WellKnown::Timestamp), SqlType::Timestamp) => Write::Timestamp,
            (_, SqlType::Struct(fields)) => {
                let wanted: Vec<Wanted<'_>> = fields.iter().map(|f| (&f.name, &f.sql_type)).collect();
                let inner = plan(schema, id, &wanted, format).map_err(|e| e.to_string())?;
                Write::Message(Box::new(inner))
            }
            (Some(WellKnown::Wrapper), _) => match schema.message(id).fields.first().map(|f| f.kind) {
                Some(Kind::Scalar(scalar)) if holds(scalar, sql_type) => Write::Wrapper(scalar),
                _ => return Err(unfit()),
            },
            _ => return Err(unfit()),
        },
        _ => return Err(unfit()),
    })
}

fn holds(scalar: Scalar, sql_type: &SqlType) -> bool {
    match scalar {
        Scalar::Bool => *sql_type == SqlType::Boolean,
        Scalar::Double | Scalar::Float => *sql_type == SqlType::Double,
        Scalar::String => *sql_type == SqlType::String,
        Scalar::Bytes => *sql_type == SqlType::Bytes,
        Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => *sql_type == SqlType::Integer,
        Scalar::Int64
        | Scalar::Sint64
        | Scalar::Sfixed64
        | Scalar::Uint32
        | Scalar::Uint64
        | Scalar::Fixed32
        | Scalar::Fixed64 => matches!(sql_type, SqlType::Integer | SqlType::Bigint),
    }
}

impl Plan {
    /// Appends a row's message.
    pub(super) fn run(&self, row: &[Value], out: &mut Vec<u8>) -> Result<()> {
        for step in &self.fields {
            let value = row.get(step.index).unwrap_or(&Value::Null);
            step.run(value, out, self.format).map_err(|e| e.inside(&step.name))?;
        }
        Ok(())
    }
}

impl Step {
    fn run(&self, value: &Value, out: &mut Vec<u8>, format: Format) -> Result<()> {
        match (&self.what, value) {
            (What::Single { required: true, .. }, Value::Null) => Err(FormatError::unwritable(
                format,
                "a value (the field is required)",
                "NULL",
            )),
            (_, Value::Null) => Ok(()),
            (What::Single { write, always, .. }, value) => {
                if !always && write.is_default(value) {
                    return Ok(());
                }
                write.field(self.number, value, out, format)
            }
            (What::Items { write, packed: true }, Value::Array(items)) if !items.is_empty() => {
                tag(self.number, LENGTH, out);
                prefixed(out, |out| {
                    let mut numbered = items.iter().enumerate();
                    numbered.try_for_each(|(i, item)| write.value(item, out, format).map_err(|e| e.inside_item(i)))
                })
            }
            (What::Items { write, .. }, Value::Array(items)) => {
                let mut numbered = items.iter().enumerate();
                numbered.try_for_each(|(i, item)| {
                    write
                        .field(self.number, item, out, format)
                        .map_err(|e| e.inside_item(i))
                })
            }
            (What::Entries { key, value }, Value::Map(entries)) => entries.iter().try_for_each(|(k, v)| {
                tag(self.number, LENGTH, out);
                prefixed(out, |out| {
                    key.field(1, k, out, format)?;
                    if v.is_null() {
                        Ok(())
                    } else {
                        value.field(2, v, out, format)
                    }
                })
            }),
            (What::Member { index, write }, Value::Struct(members)) => match members.get(*index) {
                None | Some(Value::Null) => Ok(()),
                Some(member) => write.field(self.number, member, out, format),
            },
            (What::Items { .. } | What::Entries { .. } | What::Member { .. }, other) => Err(FormatError::unwritable(
                format,
                "a value of the column's type",
                kind_of(other),
            )),
        }
    }
}

impl Write {
    fn wire(&self) -> u64 {
        match self {
            Self::Scalar(scalar) | Self::KeyText(scalar) => wire_of(*scalar),
            Self::Symbol(_) => 0,
            _ => LENGTH,
        }
    }

    /// Whether a reader sees the same where nothing is written.
    fn is_default(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Scalar(_), Value::Boolean(b)) => !b,
            (Self::Scalar(_), Value::Integer(n)) => *n == 0,
            (Self::Scalar(_), Value::Bigint(n)) => *n == 0,
            // minus zero is another value
            (Self::Scalar(_), Value::Double(x)) => x.to_bits() == 0,
            (Self::Scalar(_), Value::String(s)) => s.is_empty(),
            (Self::Scalar(_), Value::Bytes(b)) => b.is_empty(),
            (Self::Symbol(values), Value::String(s)) => values.first().is_some_and(|(symbol, _)| symbol == s),
            _ => false,
        }
    }

    fn field(&self, number: u32, value: &Value, out: &mut Vec<u8>, format: Format) -> Result<()> {
        tag(number, self.wire(), out);
        self.value(value, out, format)
    }

    fn value(&self, value: &Value, out: &mut Vec<u8>, format: Format) -> Result<()> {
        match (self, value) {
            (Self::Scalar(scalar), value) => scalar_value(*scalar, value, out, format),
            (Self::KeyText(scalar), Value::String(text)) => {
                let expected = || FormatError::unwritable(format, scalar.name(), quoted(text));
                let key = match scalar {
                    Scalar::Bool => text.parse().map(Value::Boolean).map_err(|_| expected()),
                    _ => text.parse().map(Value::Bigint).map_err(|_| expected()),
                };
                scalar_value(*scalar, &key?, out, format)
            }
            (Self::Symbol(values), Value::String(s)) => {
                let number = values.iter().find(|(symbol, _)| symbol == s).map(|(_, n)| *n);
                let names = || values.iter().map(|(s, _)| &**s).collect::<Vec<_>>().join(", ");
                let number =
                    number.ok_or_else(|| FormatError::unwritable(format, format!("one of {}", names()), quoted(s)))?;
                varint(i64::from(number) as u64, out);
                Ok(())
            }
            (Self::Message(plan), Value::Struct(values)) => prefixed(out, |out| plan.run(values, out)),
            (Self::Wrapper(scalar), value) => prefixed(out, |out| {
                if Self::Scalar(*scalar).is_default(value) {
                    return Ok(());
                }
                tag(1, wire_of(*scalar), out);
                scalar_value(*scalar, value, out, format)
            }),
            (Self::Decimal, Value::Decimal(d)) => prefixed(out, |out| {
                decimal(*d, out);
                Ok(())
            }),
            (Self::Date, Value::Date(days)) => prefixed(out, |out| {
                date(*days, out);
                Ok(())
            }),
            (Self::Time, Value::Time(ms)) => prefixed(out, |out| {
                time(*ms, out);
                Ok(())
            }),
            (Self::Timestamp, Value::Timestamp(ms)) => prefixed(out, |out| {
                timestamp(*ms, out);
                Ok(())
            }),
            (_, Value::Null) => Err(FormatError::unwritable(
                format,
                "a value that is not NULL (the format has no NULL in a list)",
                "NULL",
            )),
            (_, other) => Err(FormatError::unwritable(
                format,
                "a value of the column's type",
                kind_of(other),
            )),
        }
    }
}

fn scalar_value(scalar: Scalar, value: &Value, out: &mut Vec<u8>, format: Format) -> Result<()> {
    let number = match value {
        Value::Integer(n) => i64::from(*n),
        Value::Bigint(n) => *n,
        Value::Boolean(b) => {
            out.push(u8::from(*b));
            return Ok(());
        }
        Value::Double(x) if scalar == Scalar::Float => {
            out.extend_from_slice(&(*x as f32).to_le_bytes());
            return Ok(());
        }
        Value::Double(x) => {
            out.extend_from_slice(&x.to_le_bytes());
            return Ok(());
        }
        Value::String(s) => {
            varint(s.len() as u64, out);
            out.extend_from_slice(s.as_bytes());
            return Ok(());
        }
        Value::Bytes(b) => {
            varint(b.len() as u64, out);
            out.extend_from_slice(b);
            return Ok(());
        }
        Value::Null => {
            let expected = "a value that is not NULL (the format has no NULL in a list)";
            return Err(FormatError::unwritable(format, expected, "NULL"));
        }
        other => return Err(FormatError::unwritable(format, scalar.name(), kind_of(other))),
    };
    if integer(number, scalar, out) {
        return Ok(());
    }
    Err(FormatError::unwritable(
        format,
        format!("a number that fits {}", scalar.name()),
        number.to_string(),
    ))
}
