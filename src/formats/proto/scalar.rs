//! Single values of a message: how scalars are laid out, what columns they become, and the numbers inside of well-known messages.

use crate::types::{Decimal, SqlType, Value};

use super::super::FormatError;
use super::super::avro::integer_of;
use super::file::Scalar;
use super::input::{Input, WireType, unzigzag};

type Result<T> = std::result::Result<T, FormatError>;

/// The type of column that a scalar becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Boolean,
    Integer,
    Bigint,
    Double,
    String,
    Bytes,
}

/// A scalar as it was read.
pub(super) enum Raw<'a> {
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

pub(super) fn to_of(scalar: Scalar, sql_type: &SqlType) -> Option<To> {
    Some(match (scalar, sql_type) {
        (Scalar::Bool, SqlType::Boolean) => To::Boolean,
        (Scalar::Double | Scalar::Float, SqlType::Double) => To::Double,
        (Scalar::String | Scalar::Bool, SqlType::String) => To::String,
        (Scalar::Bytes, SqlType::Bytes) => To::Bytes,
        (Scalar::Bool | Scalar::Double | Scalar::Float | Scalar::String | Scalar::Bytes, _) => return None,
        (_, SqlType::Integer) => To::Integer,
        (_, SqlType::Bigint) => To::Bigint,
        (_, SqlType::Double) => To::Double,
        (_, SqlType::String) => To::String,
        _ => return None,
    })
}

/// The layout of a scalar that stands alone.
pub(super) fn wire_of(scalar: Scalar) -> WireType {
    match scalar {
        Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => WireType::Fixed64,
        Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => WireType::Fixed32,
        Scalar::String | Scalar::Bytes => WireType::Bytes,
        Scalar::Int32
        | Scalar::Int64
        | Scalar::Uint32
        | Scalar::Uint64
        | Scalar::Sint32
        | Scalar::Sint64
        | Scalar::Bool => WireType::Varint,
    }
}

/// The first four fields of a message of nothing but integers.
pub(super) fn small_numbers(mut input: Input<'_>) -> Result<[i64; 4]> {
    let mut out = [0; 4];
    while let Some((number, wire)) = input.tag()? {
        match (number, wire) {
            (1..=4, WireType::Varint) => out[number as usize - 1] = input.varint()? as i64,
            _ => input.skip(number, wire)?,
        }
    }
    Ok(out)
}

/// Confluent's message of a decimal.
pub(super) fn decimal(mut input: Input<'_>) -> Result<Decimal> {
    let (mut digits, mut scale): (&[u8], i32) = (&[], 0);
    while let Some((number, wire)) = input.tag()? {
        match (number, wire) {
            (1, WireType::Bytes) => digits = input.inner()?.rest(),
            (3, WireType::Varint) => scale = input.varint()? as i32,
            _ => input.skip(number, wire)?,
        }
    }
    let unscaled = integer_of(digits).zip(u8::try_from(scale).ok());
    match unscaled {
        Some((unscaled, scale)) => Ok(Decimal::new(unscaled, scale)),
        None => Err(input.error(
            "a decimal of at most 38 digits",
            format!("{} bytes, scale {scale}", digits.len()),
        )),
    }
}

pub(super) fn zero_of(scalar: Scalar) -> Raw<'static> {
    match scalar {
        Scalar::Bool => Raw::Boolean(false),
        Scalar::Double | Scalar::Float => Raw::Double(0.0),
        Scalar::String => Raw::Text(""),
        Scalar::Bytes => Raw::Bytes(&[]),
        _ => Raw::Integer(0),
    }
}

pub(super) fn raw_of<'a>(scalar: Scalar, input: &mut Input<'a>) -> Result<Raw<'a>> {
    Ok(match scalar {
        Scalar::Double => Raw::Double(f64::from_bits(input.fixed64()?)),
        Scalar::Float => Raw::Double(f64::from(f32::from_bits(input.fixed32()?))),
        Scalar::Int32 => Raw::Integer(i64::from(input.varint()? as i32)),
        Scalar::Uint32 => Raw::Integer(i64::from(input.varint()? as u32)),
        Scalar::Int64 | Scalar::Uint64 => Raw::Integer(input.varint()? as i64),
        Scalar::Sint32 => Raw::Integer(i64::from(unzigzag(u64::from(input.varint()? as u32)) as i32)),
        Scalar::Sint64 => Raw::Integer(unzigzag(input.varint()?)),
        Scalar::Fixed32 => Raw::Integer(i64::from(input.fixed32()?)),
        Scalar::Sfixed32 => Raw::Integer(i64::from(input.fixed32()? as i32)),
        Scalar::Fixed64 | Scalar::Sfixed64 => Raw::Integer(input.fixed64()? as i64),
        Scalar::Bool => Raw::Boolean(input.varint()? != 0),
        Scalar::String => Raw::Text(input.inner()?.text()?),
        Scalar::Bytes => Raw::Bytes(input.inner()?.rest()),
    })
}

pub(super) fn convert(raw: Raw<'_>, to: To, input: &Input<'_>) -> Result<Value> {
    Ok(match (raw, to) {
        (Raw::Boolean(b), To::Boolean) => Value::Boolean(b),
        (Raw::Integer(n), To::Integer) => {
            Value::Integer(i32::try_from(n).map_err(|_| input.error("an INTEGER", n.to_string()))?)
        }
        (Raw::Integer(n), To::Bigint) => Value::Bigint(n),
        (Raw::Integer(n), To::Double) => Value::Double(n as f64),
        (Raw::Double(x), To::Double) => Value::Double(x),
        (Raw::Text(s), To::String) => Value::String(s.into()),
        (Raw::Boolean(b), To::String) => Value::String(b.to_string().into()),
        (Raw::Integer(n), To::String) => Value::String(n.to_string().into()),
        (Raw::Bytes(b), To::Bytes) => Value::Bytes(b.into()),
        // `to_of` pairs no others
        (_, to) => return Err(input.error(&format!("a value that becomes {to:?}"), "another")),
    })
}
