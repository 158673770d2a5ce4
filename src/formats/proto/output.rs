//! The wire format's pieces, appended to bytes: numbers, tags, lengths and the messages that everybody knows. It is the twin of `input.rs`.

use crate::types::Decimal;

use super::super::avro::integer_bytes;
use super::calendar;
use super::file::Scalar;

/// Appends a number, seven bits a byte.
pub(super) fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number so that small ones are short.
pub(super) fn zigzag(n: i64, out: &mut Vec<u8>) {
    varint(((n << 1) ^ (n >> 63)) as u64, out);
}

/// Appends the field's number with the layout of its value.
pub(super) fn tag(number: u32, wire: u64, out: &mut Vec<u8>) {
    varint(u64::from(number) << 3 | wire, out);
}

/// Values that have a length before them.
pub(super) const LENGTH: u64 = 2;

/// Appends what `body` writes, after its length.
pub(super) fn prefixed<E>(
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let start = out.len();
    body(out)?;
    let mut length = Vec::with_capacity(10);
    varint((out.len() - start) as u64, &mut length);
    out.splice(start..start, length);
    Ok(())
}

/// The layout of a scalar that stands alone.
pub(super) fn wire_of(scalar: Scalar) -> u64 {
    match scalar {
        Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => 1,
        Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => 5,
        Scalar::String | Scalar::Bytes => LENGTH,
        Scalar::Int32
        | Scalar::Int64
        | Scalar::Uint32
        | Scalar::Uint64
        | Scalar::Sint32
        | Scalar::Sint64
        | Scalar::Bool => 0,
    }
}

/// Appends an integer as a scalar type; `false` when it does not fit.
pub(super) fn integer(n: i64, scalar: Scalar, out: &mut Vec<u8>) -> bool {
    let fits = match scalar {
        Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => i32::try_from(n).is_ok(),
        Scalar::Uint32 | Scalar::Fixed32 => u32::try_from(n).is_ok(),
        _ => true,
    };
    match scalar {
        _ if !fits => {}
        Scalar::Sint32 | Scalar::Sint64 => zigzag(n, out),
        Scalar::Fixed32 | Scalar::Sfixed32 => out.extend_from_slice(&(n as u32).to_le_bytes()),
        Scalar::Fixed64 | Scalar::Sfixed64 => out.extend_from_slice(&n.to_le_bytes()),
        _ => varint(n as u64, out),
    }
    fits
}

/// Appends Confluent's message of a decimal, without its length.
pub(super) fn decimal(d: Decimal, out: &mut Vec<u8>) {
    let mut buffer = [0; 16];
    let digits = integer_bytes(d.unscaled(), &mut buffer);
    tag(1, LENGTH, out);
    varint(digits.len() as u64, out);
    out.extend_from_slice(digits);
    numbers(&[0, i64::from(d.digits()), i64::from(d.scale())], out);
}

/// Appends fields 1, 2, ... that are not zero.
fn numbers(values: &[i64], out: &mut Vec<u8>) {
    for (i, n) in values.iter().enumerate().filter(|(_, n)| **n != 0) {
        tag(i as u32 + 1, 0, out);
        varint(*n as u64, out);
    }
}

/// Appends Google's message of a date.
pub(super) fn date(days: i32, out: &mut Vec<u8>) {
    let (year, month, day) = calendar::date(days);
    numbers(&[year, month, day], out);
}

/// Appends Google's message of a time of the day.
pub(super) fn time(ms: i32, out: &mut Vec<u8>) {
    let ms = i64::from(ms);
    let (seconds, nanos) = (ms.div_euclid(1_000), ms.rem_euclid(1_000) * 1_000_000);
    numbers(&[seconds / 3_600, seconds / 60 % 60, seconds % 60, nanos], out);
}

/// Appends Google's message of a timestamp.
pub(super) fn timestamp(ms: i64, out: &mut Vec<u8>) {
    numbers(&[ms.div_euclid(1_000), ms.rem_euclid(1_000) * 1_000_000], out);
}
