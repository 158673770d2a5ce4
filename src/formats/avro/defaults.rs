//! Default values of fields: JSON in the schema, as the specification encodes them, to Avro's binary encoding and to values.

use serde_json::Value as Json;

use crate::types::{Format, SqlType, Value};

use super::super::FormatError;
use super::compile;
use super::input::Input;
use super::output;
use super::schema::{AvroSchema, AvroType, TypeId};

/// The value of a default as a SQL type.
pub(super) fn value(schema: &AvroSchema, id: TypeId, json: &Json, to: &SqlType) -> Result<Value, FormatError> {
    let mut bytes = Vec::new();
    encode(schema, id, json, &mut bytes)?;
    let read = compile::read_of(schema, id, to)?;
    read.run(&mut Input::new(&bytes, 0, &mut Vec::new()), schema)
}

/// Appends a default in binary.
///
/// # Errors
/// [`FormatError::Definition`] when it is no value of the type.
pub(super) fn encode(schema: &AvroSchema, id: TypeId, json: &Json, out: &mut Vec<u8>) -> Result<(), FormatError> {
    let unfit = || {
        FormatError::definition(format!(
            "{}: the default {json} is no {}",
            Format::Avro,
            schema.describe(id)
        ))
    };
    match (schema.get(id), json) {
        (AvroType::Null, Json::Null) => {}
        (AvroType::Boolean, Json::Bool(b)) => out.push(u8::from(*b)),
        (AvroType::Int(_), Json::Number(n)) => {
            let n = n.as_i64().and_then(|n| i32::try_from(n).ok()).ok_or_else(unfit)?;
            output::long(i64::from(n), out);
        }
        (AvroType::Long(_), Json::Number(n)) => output::long(n.as_i64().ok_or_else(unfit)?, out),
        (AvroType::Float, Json::Number(n)) => {
            out.extend_from_slice(&(n.as_f64().ok_or_else(unfit)? as f32).to_le_bytes());
        }
        (AvroType::Double, Json::Number(n)) => out.extend_from_slice(&n.as_f64().ok_or_else(unfit)?.to_le_bytes()),
        (AvroType::String, Json::String(s)) => output::bytes(s.as_bytes(), out),
        (AvroType::Bytes(_), Json::String(s)) => output::bytes(&code_points(s).ok_or_else(unfit)?, out),
        (AvroType::Fixed(fixed), Json::String(s)) => {
            let bytes = code_points(s).filter(|b| b.len() == fixed.size).ok_or_else(unfit)?;
            out.extend_from_slice(&bytes);
        }
        (AvroType::Enum(e), Json::String(s)) => {
            let symbol = e.symbols.iter().position(|symbol| **symbol == **s).ok_or_else(unfit)?;
            output::long(symbol as i64, out);
        }
        (AvroType::Array(item), Json::Array(items)) => {
            if !items.is_empty() {
                output::long(items.len() as i64, out);
                items.iter().try_for_each(|i| encode(schema, *item, i, out))?;
            }
            out.push(0);
        }
        (AvroType::Map(value), Json::Object(entries)) => {
            if !entries.is_empty() {
                output::long(entries.len() as i64, out);
                for (k, v) in entries {
                    output::bytes(k.as_bytes(), out);
                    encode(schema, *value, v, out)?;
                }
            }
            out.push(0);
        }
        (AvroType::Record(record), Json::Object(values)) => {
            for field in &record.fields {
                let json = values.get(&*field.name).or(field.default.as_ref()).ok_or_else(unfit)?;
                encode(schema, field.type_id, json, out)?;
            }
        }
        (AvroType::Union(branches), json) => {
            // the specification means the first branch; newer writers take any
            let start = out.len();
            for (i, branch) in branches.iter().enumerate() {
                output::long(i as i64, out);
                if encode(schema, *branch, json, out).is_ok() {
                    return Ok(());
                }
                out.truncate(start);
            }
            return Err(unfit());
        }
        _ => return Err(unfit()),
    }
    Ok(())
}

/// Bytes as the specification writes them in JSON: a code point below 256 each.
fn code_points(s: &str) -> Option<Vec<u8>> {
    s.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
