//! The order-preserving key encoding: comparing the bytes of two keys compares their values, column by column, NULL first.
//!
//! A value is a tag and its payload; integers are big-endian with the sign bit flipped, strings are escaped and ended by a terminator, so
//! that a key of fewer columns is a byte prefix of all keys that start with it. A DECIMAL orders rightly among values of one
//! scale, which is what a column holds.

use super::row_codec::CodecError;
use super::{Decimal, Row, Value};

const END: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INTEGER: u8 = 4;
const BIGINT: u8 = 5;
const DOUBLE: u8 = 6;
const DECIMAL: u8 = 7;
const STRING: u8 = 8;
const BYTES: u8 = 9;
const DATE: u8 = 10;
const TIME: u8 = 11;
const TIMESTAMP: u8 = 12;
const ARRAY: u8 = 13;
const MAP: u8 = 14;
const STRUCT: u8 = 15;

/// Nesting beyond this is refused when decoding, so that hostile bytes cannot overflow the stack.
const MAX_DEPTH: usize = 64;

/// Appends the encoding of a whole key.
pub fn encode_key(key: &[Value], out: &mut Vec<u8>) {
    encode_key_prefix(key, out);
}

/// Appends the encoding of a key's first columns: the common prefix of all keys that begin with these values.
pub fn encode_key_prefix(values: &[Value], out: &mut Vec<u8>) {
    for value in values {
        encode_value(value, out);
    }
}

/// The smallest byte string above every string that starts with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|b| *b != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Boolean(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::Integer(n) => ordered_i32(INTEGER, *n, out),
        Value::Date(n) => ordered_i32(DATE, *n, out),
        Value::Time(n) => ordered_i32(TIME, *n, out),
        Value::Bigint(n) => ordered_i64(BIGINT, *n, out),
        Value::Timestamp(n) => ordered_i64(TIMESTAMP, *n, out),
        Value::Double(x) => {
            let bits = x.to_bits();
            // negative numbers: all bits flipped; others: the sign bit
            let ordered = if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) };
            out.push(DOUBLE);
            out.extend_from_slice(&ordered.to_be_bytes());
        }
        Value::Decimal(d) => {
            out.push(DECIMAL);
            out.extend_from_slice(&((d.unscaled() as u128) ^ (1 << 127)).to_be_bytes());
            out.push(d.scale());
        }
        Value::String(s) => escaped(STRING, s.as_bytes(), out),
        Value::Bytes(b) => escaped(BYTES, b, out),
        Value::Array(items) => sequence(ARRAY, items.iter(), out),
        Value::Struct(items) => sequence(STRUCT, items.iter(), out),
        Value::Map(entries) => sequence(MAP, entries.iter().flat_map(|(k, v)| [k, v]), out),
    }
}

fn ordered_i32(tag: u8, n: i32, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&((n as u32) ^ (1 << 31)).to_be_bytes());
}

fn ordered_i64(tag: u8, n: i64, out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&((n as u64) ^ (1 << 63)).to_be_bytes());
}

fn escaped(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    for b in bytes {
        out.push(*b);
        if *b == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

fn sequence<'a>(tag: u8, values: impl Iterator<Item = &'a Value>, out: &mut Vec<u8>) {
    out.push(tag);
    for value in values {
        encode_value(value, out);
    }
    out.push(END);
}

/// Decodes a whole key.
///
/// # Errors
/// When the bytes were not made by [`encode_key`].
pub fn decode_key(bytes: &[u8]) -> Result<Row, CodecError> {
    let mut input = Input { bytes, at: 0 };
    let mut values = Vec::new();
    while input.at < bytes.len() {
        values.push(input.value(0)?);
    }
    Ok(values.into())
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn error(&self) -> CodecError {
        CodecError {
            what: "key",
            at: self.at,
        }
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        let b = *self.bytes.get(self.at).ok_or_else(|| self.error())?;
        self.at += 1;
        Ok(b)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let slice = self.bytes.get(self.at..self.at + N).ok_or_else(|| self.error())?;
        self.at += N;
        slice.try_into().map_err(|_| self.error())
    }

    fn i32(&mut self) -> Result<i32, CodecError> {
        Ok((u32::from_be_bytes(self.array()?) ^ (1 << 31)) as i32)
    }

    fn i64(&mut self) -> Result<i64, CodecError> {
        Ok((u64::from_be_bytes(self.array()?) ^ (1 << 63)) as i64)
    }

    fn unescaped(&mut self) -> Result<Vec<u8>, CodecError> {
        let mut out = Vec::new();
        loop {
            match self.byte()? {
                0 => match self.byte()? {
                    0 => return Ok(out),
                    0xff => out.push(0),
                    _ => return Err(self.error()),
                },
                b => out.push(b),
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Value>, CodecError> {
        let mut items = Vec::new();
        while *self.bytes.get(self.at).ok_or_else(|| self.error())? != END {
            items.push(self.value(depth + 1)?);
        }
        self.at += 1;
        Ok(items)
    }

    fn value(&mut self, depth: usize) -> Result<Value, CodecError> {
        if depth > MAX_DEPTH {
            return Err(self.error());
        }
        Ok(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Boolean(false),
            TRUE => Value::Boolean(true),
            INTEGER => Value::Integer(self.i32()?),
            DATE => Value::Date(self.i32()?),
            TIME => Value::Time(self.i32()?),
            BIGINT => Value::Bigint(self.i64()?),
            TIMESTAMP => Value::Timestamp(self.i64()?),
            DOUBLE => {
                let ordered = u64::from_be_bytes(self.array()?);
                Value::Double(f64::from_bits(if ordered >> 63 == 1 {
                    ordered ^ (1 << 63)
                } else {
                    !ordered
                }))
            }
            DECIMAL => {
                let unscaled = (u128::from_be_bytes(self.array()?) ^ (1 << 127)) as i128;
                Value::Decimal(Decimal::new(unscaled, self.byte()?))
            }
            STRING => Value::String(String::from_utf8(self.unescaped()?).map_err(|_| self.error())?.into()),
            BYTES => Value::Bytes(self.unescaped()?.into()),
            ARRAY => Value::Array(self.sequence(depth)?.into()),
            STRUCT => Value::Struct(self.sequence(depth)?.into()),
            MAP => {
                let flat = self.sequence(depth)?;
                if flat.len() % 2 != 0 {
                    return Err(self.error());
                }
                let mut flat = flat.into_iter();
                let mut entries = Vec::with_capacity(flat.len() / 2);
                while let (Some(k), Some(v)) = (flat.next(), flat.next()) {
                    entries.push((k, v));
                }
                Value::Map(entries.into())
            }
            _ => return Err(self.error()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i32>().prop_map(Value::Integer),
            any::<i64>().prop_map(Value::Bigint),
            any::<f64>().prop_map(Value::Double),
            any::<i64>().prop_map(|n| Value::Decimal(Decimal::new(i128::from(n), 3))),
            "[\u{0}-\u{3}a-c]{0,4}".prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..5).prop_map(|b| Value::Bytes(b.into())),
            any::<i64>().prop_map(Value::Timestamp),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        scalar().prop_recursive(2, 8, 3, |inner| {
            proptest::collection::vec(inner, 0..3).prop_map(|items| Value::Array(items.into()))
        })
    }

    fn encoded(key: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(key, &mut out);
        out
    }

    proptest! {
        #[test]
        fn keys_survive_and_keep_their_order(
            a in proptest::collection::vec(value(), 0..3),
            b in proptest::collection::vec(value(), 0..3),
        ) {
            let (ea, eb) = (encoded(&a), encoded(&b));
            prop_assert_eq!(decode_key(&ea).unwrap().to_vec(), a.clone());
            // values of different types never stand in one column, but their ranks order them all the same
            if a.iter().zip(&b).all(|(x, y)| std::mem::discriminant(x) == std::mem::discriminant(y)) {
                prop_assert_eq!(ea.cmp(&eb), a.cmp(&b));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _: Result<Row, CodecError> = decode_key(&bytes);
        }

        #[test]
        fn a_prefix_ends_below_its_end(prefix in proptest::collection::vec(any::<u8>(), 0..4), rest in any::<u8>()) {
            let mut longer = prefix.clone();
            longer.push(rest);
            if let Some(end) = prefix_end(&prefix) {
                prop_assert!(longer < end && prefix < end);
            }
        }
    }
}
