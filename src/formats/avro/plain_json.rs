//! Values of any Avro schema as plain JSON and back, without columns in between: what test cases show of a topic.
//!
//! Plain JSON is what people write: no union branch is named, DECIMAL is a number, bytes are base64, a date counts days, times and timestamps
//! count milliseconds. A union of several types is an object with a field a type (`{"int": 1, "string": null}`), as Kafka Connect sees it, and
//! an array of map entries is an object. *Not*: Avro's own JSON encoding, nor JSON as a format of records.

use crate::types::BASE64;
use base64::Engine;
use serde_json::{Map, Number, Value as Json};

use crate::types::{Decimal, Format};

use super::super::FormatError;
use super::compile::find_position;
use super::input::Input;
use super::schema::{AvroSchema, AvroType, DecimalType, Fixed, Record, TypeId, Unit};
use super::{defaults, output, read, write};

type Result<T> = std::result::Result<T, FormatError>;

/// Values nest at most so deep; a recursive schema would allow any depth.
const MOST_DEPTH: usize = 128;

/// Appends a JSON value in Avro's binary encoding.
pub(in super::super) fn encode(schema: &AvroSchema, json: &Json, out: &mut Vec<u8>) -> Result<()> {
    encode_type(schema, schema.root, json, out)
}

/// The value behind the first `at` bytes.
pub(in super::super) fn decode(schema: &AvroSchema, bytes: &[u8], at: usize) -> Result<Json> {
    let mut stack = Vec::new();
    let mut input = Input::new(bytes, at, &mut stack);
    decode_type(schema, schema.root, &mut input, 0)
}

/// The branches of a union that are not null, with the names that Kafka Connect gives them, when there are several.
pub(super) fn named_branches(schema: &AvroSchema, branches: &[TypeId]) -> Option<Vec<(String, usize)>> {
    let named: Vec<(String, usize)> = branches
        .iter()
        .enumerate()
        .filter(|(_, b)| !matches!(schema.get(**b), AvroType::Null))
        .map(|(i, b)| (branch_name(schema, *b), i))
        .collect();
    (named.len() > 1).then_some(named)
}

fn branch_name(schema: &AvroSchema, id: TypeId) -> String {
    let simple = |name: &str| name.rsplit('.').next().unwrap_or(name).to_string();
    match schema.get(id) {
        AvroType::Null => "null".into(),
        AvroType::Boolean => "boolean".into(),
        AvroType::Int(_) => "int".into(),
        AvroType::Long(_) => "long".into(),
        AvroType::Float => "float".into(),
        AvroType::Double => "double".into(),
        AvroType::Bytes(_) => "bytes".into(),
        AvroType::String => "string".into(),
        AvroType::Array(_) => "array".into(),
        AvroType::Map(_) => "map".into(),
        AvroType::Union(_) => "union".into(),
        AvroType::Record(record) => simple(&record.name),
        AvroType::Enum(e) => simple(&e.name),
        AvroType::Fixed(fixed) => simple(&fixed.name),
    }
}

/// Whether a record is one entry of a map: marked by Kafka Connect, or of the same shape.
fn is_entry(record: &Record) -> bool {
    let names: Vec<&str> = record.fields.iter().map(|f| &*f.name).collect();
    record.map_entry || names == ["key", "value"]
}

/// A number or text as the text of a number.
fn digits(json: &Json) -> Option<String> {
    match json {
        Json::Number(n) => Some(n.to_string()),
        Json::String(s) => Some(s.clone()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

fn encode_type(schema: &AvroSchema, id: TypeId, json: &Json, out: &mut Vec<u8>) -> Result<()> {
    let unfit = || FormatError::unwritable(Format::Avro, schema.describe(id), super::super::error::shown(json));
    match schema.get(id) {
        AvroType::Null if json.is_null() => {}
        AvroType::Null => return Err(unfit()),
        AvroType::Boolean => out.push(u8::from(match json {
            Json::Bool(b) => *b,
            Json::String(s) if s.eq_ignore_ascii_case("true") => true,
            Json::String(s) if s.eq_ignore_ascii_case("false") => false,
            _ => return Err(unfit()),
        })),
        AvroType::Int(_) => {
            let n: i32 = digits(json).and_then(|d| d.parse().ok()).ok_or_else(unfit)?;
            output::long(i64::from(n), out);
        }
        AvroType::Long(unit) => {
            let n: i64 = digits(json).and_then(|d| d.parse().ok()).ok_or_else(unfit)?;
            let per_ms = match unit {
                Unit::Time(per_ms) | Unit::Timestamp(per_ms) => *per_ms,
                Unit::Plain | Unit::Date => 1,
            };
            output::long(n.checked_mul(per_ms).ok_or_else(unfit)?, out);
        }
        AvroType::Float => {
            let x: f32 = digits(json).and_then(|d| d.parse().ok()).ok_or_else(unfit)?;
            out.extend_from_slice(&x.to_le_bytes());
        }
        AvroType::Double => {
            let x: f64 = digits(json).and_then(|d| d.parse().ok()).ok_or_else(unfit)?;
            out.extend_from_slice(&x.to_le_bytes());
        }
        AvroType::String => match json {
            Json::String(s) => output::bytes(s.as_bytes(), out),
            Json::Bool(_) | Json::Number(_) => output::bytes(json.to_string().as_bytes(), out),
            Json::Null | Json::Array(_) | Json::Object(_) => return Err(unfit()),
        },
        AvroType::Bytes(Some(decimal)) => encode_decimal(json, None, decimal, out).ok_or_else(unfit)??,
        AvroType::Bytes(None) => {
            let text = json.as_str().ok_or_else(unfit)?;
            output::bytes(&BASE64.decode(text).map_err(|_| unfit())?, out);
        }
        AvroType::Fixed(fixed) => encode_fixed(fixed, json, out).ok_or_else(unfit)??,
        AvroType::Enum(e) => {
            let symbol = json.as_str().and_then(|s| e.symbols.iter().position(|x| **x == *s));
            output::long(symbol.ok_or_else(unfit)? as i64, out);
        }
        AvroType::Array(item) => encode_array(schema, *item, json, out).ok_or_else(unfit)??,
        AvroType::Map(value) => {
            let entries = json.as_object().ok_or_else(unfit)?;
            write::blocks(entries.len(), out, |out| {
                entries.iter().try_for_each(|(k, v)| {
                    output::bytes(k.as_bytes(), out);
                    encode_type(schema, *value, v, out).map_err(|e| e.inside(&format!("[{k:?}]")))
                })
            })?;
        }
        AvroType::Union(branches) => return encode_union(schema, branches, json, out, &unfit),
        AvroType::Record(record) => {
            let fields = json.as_object().ok_or_else(unfit)?;
            encode_record(schema, record, fields, out)?;
        }
    }
    Ok(())
}

fn encode_decimal(json: &Json, size: Option<usize>, to: &DecimalType, out: &mut Vec<u8>) -> Option<Result<()>> {
    let number: Decimal = digits(json)?.parse().ok()?;
    let precision = u8::try_from(to.precision).unwrap_or(u8::MAX);
    Some(write::write_decimal(
        number,
        size,
        precision,
        u8::try_from(to.scale).ok()?,
        out,
    ))
}

fn encode_fixed(fixed: &Fixed, json: &Json, out: &mut Vec<u8>) -> Option<Result<()>> {
    if let Some(decimal) = &fixed.decimal {
        return encode_decimal(json, Some(fixed.size), decimal, out);
    }
    let text = json.as_str()?;
    let bytes = match uuid::Uuid::try_parse(text) {
        Ok(uuid) if fixed.uuid => uuid.as_bytes().to_vec(),
        _ => BASE64.decode(text).ok()?,
    };
    if bytes.len() != fixed.size {
        return None;
    }
    out.extend_from_slice(&bytes);
    Some(Ok(()))
}

/// An array's items, or the entries of an object where the items are a map's.
fn encode_array(schema: &AvroSchema, item: TypeId, json: &Json, out: &mut Vec<u8>) -> Option<Result<()>> {
    match (json, schema.get(item)) {
        (Json::Array(items), _) => Some(write::blocks(items.len(), out, |out| {
            let mut numbered = items.iter().enumerate();
            numbered.try_for_each(|(i, v)| encode_type(schema, item, v, out).map_err(|e| e.inside_item(i)))
        })),
        (Json::Object(entries), AvroType::Record(record)) if is_entry(record) => {
            Some(write::blocks(entries.len(), out, |out| {
                entries.iter().try_for_each(|(k, v)| {
                    let mut entry = Map::new();
                    entry.insert("key".into(), k.as_str().into());
                    entry.insert("value".into(), v.clone());
                    encode_record(schema, record, &entry, out)
                })
            }))
        }
        _ => None,
    }
}

fn encode_union(
    schema: &AvroSchema,
    branches: &[TypeId],
    json: &Json,
    out: &mut Vec<u8>,
    unfit: &dyn Fn() -> FormatError,
) -> Result<()> {
    let start = out.len();
    if let (Json::Object(fields), Some(named)) = (json, named_branches(schema, branches)) {
        let named_index = |key: &str| named.iter().find(|(n, _)| n.eq_ignore_ascii_case(key)).map(|(_, i)| *i);
        let mut given = fields.iter().filter(|(_, v)| !v.is_null());
        let only = (given.next(), given.next());
        if fields.keys().all(|k| named_index(k).is_some())
            && let (Some((key, value)), None) = only
            && let Some(i) = named_index(key)
        {
            output::long(i as i64, out);
            return encode_type(schema, branches[i], value, out);
        }
    }
    let mut reason = None;
    for (i, branch) in branches.iter().enumerate() {
        output::long(i as i64, out);
        match encode_type(schema, *branch, json, out) {
            Ok(()) => return Ok(()),
            Err(e) if !matches!(schema.get(*branch), AvroType::Null) => reason = reason.or(Some(e)),
            Err(_) => {}
        }
        out.truncate(start);
    }
    Err(match reason {
        Some(e) if branches.len() <= 2 => e,
        _ => unfit(),
    })
}

/// Fields by their own spelling or regardless of case; what is missing has its default, or is null.
fn encode_record(schema: &AvroSchema, record: &Record, json: &Map<String, Json>, out: &mut Vec<u8>) -> Result<()> {
    let mut given: Vec<&Json> = vec![&Json::Null; record.fields.len()];
    for (key, value) in json {
        if let Some(i) = find_position(&record.fields, key) {
            given[i] = value;
        }
    }
    for (field, value) in record.fields.iter().zip(given) {
        let encoded = match (&field.default, value) {
            (Some(default), Json::Null) => defaults::encode(schema, field.type_id, default, out),
            _ => encode_type(schema, field.type_id, value, out),
        };
        encoded.map_err(|e| e.inside(&field.name))?;
    }
    Ok(())
}

fn decode_type(schema: &AvroSchema, id: TypeId, input: &mut Input<'_>, depth: usize) -> Result<Json> {
    if depth > MOST_DEPTH {
        return Err(input.error(&format!("at most {MOST_DEPTH} levels of nesting"), "more"));
    }
    Ok(match schema.get(id) {
        AvroType::Null => Json::Null,
        AvroType::Boolean => input.boolean()?.into(),
        AvroType::Int(_) => input.int()?.into(),
        AvroType::Long(Unit::Time(per_ms) | Unit::Timestamp(per_ms)) => input.long()?.div_euclid(*per_ms).into(),
        AvroType::Long(Unit::Plain | Unit::Date) => input.long()?.into(),
        AvroType::Float => super::super::error::double_json(f64::from(input.float()?)),
        AvroType::Double => super::super::error::double_json(input.double()?),
        AvroType::Bytes(None) => BASE64.encode(input.slice()?).into(),
        AvroType::Bytes(Some(decimal)) => {
            let bytes = input.slice()?;
            decimal_json(bytes, decimal, input)?
        }
        AvroType::String => input.text()?.into(),
        AvroType::Fixed(fixed) => {
            let bytes = input.fixed(fixed.size)?;
            match (&fixed.decimal, uuid::Uuid::from_slice(bytes)) {
                (Some(decimal), _) => decimal_json(bytes, decimal, input)?,
                (None, Ok(uuid)) if fixed.uuid => uuid.hyphenated().to_string().into(),
                _ => BASE64.encode(bytes).into(),
            }
        }
        AvroType::Enum(e) => (*e.symbols[input.index(e.symbols.len(), "symbols")?]).into(),
        AvroType::Array(item) => decode_array(schema, *item, input, depth)?,
        AvroType::Map(value) => {
            let mut entries = Map::new();
            while let Some(block) = input.block(false)? {
                for _ in 0..block.items {
                    let key = input.text()?.to_string();
                    entries.insert(key, decode_type(schema, *value, input, depth + 1)?);
                }
            }
            Json::Object(entries)
        }
        AvroType::Union(branches) => {
            let index = input.index(branches.len(), "branches of a union")?;
            let value = decode_type(schema, branches[index], input, depth + 1)?;
            match named_branches(schema, branches) {
                Some(named) if !matches!(schema.get(branches[index]), AvroType::Null) => {
                    let field =
                        |(name, i): (String, usize)| (name, if i == index { value.clone() } else { Json::Null });
                    Json::Object(named.into_iter().map(field).collect())
                }
                _ => value,
            }
        }
        AvroType::Record(record) => decode_record(schema, record, input, depth)?.into(),
    })
}

fn decode_record(
    schema: &AvroSchema,
    record: &Record,
    input: &mut Input<'_>,
    depth: usize,
) -> Result<Map<String, Json>> {
    let mut fields = Map::new();
    for field in &record.fields {
        let value = decode_type(schema, field.type_id, input, depth + 1).map_err(|e| e.inside(&field.name))?;
        fields.insert(field.name.to_string(), value);
    }
    Ok(fields)
}

fn decode_array(schema: &AvroSchema, item: TypeId, input: &mut Input<'_>, depth: usize) -> Result<Json> {
    let (mut items, mut entries) = (Vec::new(), Map::new());
    let entry = match schema.get(item) {
        AvroType::Record(record) if is_entry(record) => Some(record),
        _ => None,
    };
    while let Some(block) = input.block(schema.is_empty_type(item))? {
        for _ in 0..block.items {
            let Some(record) = entry else {
                items.push(decode_type(schema, item, input, depth + 1)?);
                continue;
            };
            let mut fields = decode_record(schema, record, input, depth + 1)?.into_iter();
            if let (Some((_, key)), Some((_, value))) = (fields.next(), fields.next()) {
                let key = match key {
                    Json::String(s) => s,
                    other => other.to_string(),
                };
                entries.insert(key, value);
            }
        }
    }
    Ok(match entry {
        Some(_) => Json::Object(entries),
        None => Json::Array(items),
    })
}

fn decimal_json(bytes: &[u8], decimal: &DecimalType, input: &Input<'_>) -> Result<Json> {
    let scale = u8::try_from(decimal.scale).ok();
    let number = read::integer_of(bytes)
        .zip(scale)
        .map(|(n, scale)| Decimal::new(n, scale));
    let number =
        number.ok_or_else(|| input.error("a decimal of at most 38 digits", format!("{} bytes", bytes.len())))?;
    let number: Option<Number> = number.to_string().parse().ok();
    Ok(number.map_or(Json::Null, Json::Number))
}
