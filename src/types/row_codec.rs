//! Our own row codec, for changelogs, repartition topics and stores: compact, versioned and self-describing.
//!
//! A row is a version byte, the number of values (varint) and the values, each a tag and its payload. Because each value says what it is, reading
//! a row under another layout is an error and never a wrong value; that a layout is the right one is checked by fingerprints elsewhere.

use std::sync::Arc;

use super::{Decimal, Row, Value};

/// The first byte of every encoded row. A reader refuses versions that it does not know.
pub const ROW_CODEC_VERSION: u8 = 1;

/// Nesting beyond this is refused when decoding, so that hostile bytes cannot overflow the stack.
const MAX_DEPTH: usize = 64;

/// Bytes that are no key or row of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what} of this version: cannot be read from byte {at} on")]
pub struct CodecError {
    /// `key` or `row`.
    pub what: &'static str,
    /// The byte where reading stopped.
    pub at: usize,
}

#[repr(u8)]
#[derive(Clone, Copy)]
enum Tag {
    Null = 0,
    False = 1,
    True = 2,
    Integer = 3,
    Bigint = 4,
    Double = 5,
    Decimal = 6,
    String = 7,
    Bytes = 8,
    Date = 9,
    Time = 10,
    Timestamp = 11,
    Array = 12,
    Map = 13,
    Struct = 14,
}

const TAGS: [Tag; 15] = [
    Tag::Null,
    Tag::False,
    Tag::True,
    Tag::Integer,
    Tag::Bigint,
    Tag::Double,
    Tag::Decimal,
    Tag::String,
    Tag::Bytes,
    Tag::Date,
    Tag::Time,
    Tag::Timestamp,
    Tag::Array,
    Tag::Map,
    Tag::Struct,
];

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)) as u64
}

/// Appends a row.
pub fn encode_row(row: &[Value], out: &mut Vec<u8>) {
    out.push(ROW_CODEC_VERSION);
    varint(row.len() as u64, out);
    for value in row {
        encode_value(value, out);
    }
}

fn encode_value(value: &Value, out: &mut Vec<u8>) {
    let signed = |tag: Tag, n: i64, out: &mut Vec<u8>| {
        out.push(tag as u8);
        varint(zigzag(n), out);
    };
    let bytes = |tag: Tag, b: &[u8], out: &mut Vec<u8>| {
        out.push(tag as u8);
        varint(b.len() as u64, out);
        out.extend_from_slice(b);
    };
    match value {
        Value::Null => out.push(Tag::Null as u8),
        Value::Boolean(b) => out.push(if *b { Tag::True } else { Tag::False } as u8),
        Value::Integer(n) => signed(Tag::Integer, i64::from(*n), out),
        Value::Bigint(n) => signed(Tag::Bigint, *n, out),
        Value::Date(n) => signed(Tag::Date, i64::from(*n), out),
        Value::Time(n) => signed(Tag::Time, i64::from(*n), out),
        Value::Timestamp(n) => signed(Tag::Timestamp, *n, out),
        Value::Double(x) => {
            out.push(Tag::Double as u8);
            out.extend_from_slice(&x.to_le_bytes());
        }
        Value::Decimal(d) => {
            out.push(Tag::Decimal as u8);
            out.push(d.scale());
            let n = d.unscaled();
            let mut z = ((n << 1) ^ (n >> 127)) as u128;
            while z >= 0x80 {
                out.push(z as u8 | 0x80);
                z >>= 7;
            }
            out.push(z as u8);
        }
        Value::String(s) => bytes(Tag::String, s.as_bytes(), out),
        Value::Bytes(b) => bytes(Tag::Bytes, b, out),
        Value::Array(items) => sequence(Tag::Array, items, out),
        Value::Struct(items) => sequence(Tag::Struct, items, out),
        Value::Map(entries) => {
            out.push(Tag::Map as u8);
            varint(entries.len() as u64, out);
            for (k, v) in entries.iter() {
                encode_value(k, out);
                encode_value(v, out);
            }
        }
    }
}

fn sequence(tag: Tag, items: &[Value], out: &mut Vec<u8>) {
    out.push(tag as u8);
    varint(items.len() as u64, out);
    for item in items {
        encode_value(item, out);
    }
}

/// Decodes a row that fills `bytes` exactly.
///
/// # Errors
/// When the bytes were not made by [`encode_row`] of this version.
pub fn decode_row(bytes: &[u8]) -> Result<Row, CodecError> {
    let mut input = Input { bytes, at: 0 };
    if input.byte()? != ROW_CODEC_VERSION {
        return Err(CodecError { what: "row", at: 0 });
    }
    let n = input.length()?;
    let mut failed = None;
    // an exact-size iterator, so that the row is one allocation
    let row: Row = (0..n)
        .map(|_| match failed {
            None => input.value(0).unwrap_or_else(|e| {
                failed = Some(e);
                Value::Null
            }),
            Some(_) => Value::Null,
        })
        .collect();
    match failed {
        Some(e) => Err(e),
        None if input.at < bytes.len() => Err(input.error()),
        None => Ok(row),
    }
}

/// The position after the value that starts at `at` in an encoded row.
///
/// # Errors
/// When no value starts there.
pub fn skip_value(bytes: &[u8], at: usize) -> Result<usize, CodecError> {
    let mut input = Input { bytes, at };
    input.value(0)?;
    Ok(input.at)
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn error(&self) -> CodecError {
        CodecError {
            what: "row",
            at: self.at,
        }
    }

    fn byte(&mut self) -> Result<u8, CodecError> {
        let b = *self.bytes.get(self.at).ok_or_else(|| self.error())?;
        self.at += 1;
        Ok(b)
    }

    fn varint(&mut self) -> Result<u64, CodecError> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(n);
            }
        }
        Err(self.error())
    }

    /// A count of bytes or values; each takes at least a byte, so that a count beyond the input is refused before memory is taken.
    fn length(&mut self) -> Result<usize, CodecError> {
        let n = usize::try_from(self.varint()?).map_err(|_| self.error())?;
        if n > self.bytes.len() - self.at {
            Err(self.error())
        } else {
            Ok(n)
        }
    }

    fn i64(&mut self) -> Result<i64, CodecError> {
        let z = self.varint()?;
        Ok((z >> 1) as i64 ^ -((z & 1) as i64))
    }

    fn i32(&mut self) -> Result<i32, CodecError> {
        i32::try_from(self.i64()?).map_err(|_| self.error())
    }

    fn i128(&mut self) -> Result<i128, CodecError> {
        let mut z = 0u128;
        for shift in (0..128).step_by(7) {
            let b = self.byte()?;
            z |= u128::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok((z >> 1) as i128 ^ -((z & 1) as i128));
            }
        }
        Err(self.error())
    }

    fn slice(&mut self) -> Result<&'a [u8], CodecError> {
        let n = self.length()?;
        let slice = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(slice)
    }

    fn sequence(&mut self, depth: usize) -> Result<Arc<[Value]>, CodecError> {
        let n = self.length()?;
        (0..n).map(|_| self.value(depth + 1)).collect()
    }

    fn value(&mut self, depth: usize) -> Result<Value, CodecError> {
        if depth > MAX_DEPTH {
            return Err(self.error());
        }
        let tag = *TAGS.get(usize::from(self.byte()?)).ok_or_else(|| self.error())?;
        Ok(match tag {
            Tag::Null => Value::Null,
            Tag::False => Value::Boolean(false),
            Tag::True => Value::Boolean(true),
            Tag::Integer => Value::Integer(self.i32()?),
            Tag::Date => Value::Date(self.i32()?),
            Tag::Time => Value::Time(self.i32()?),
            Tag::Bigint => Value::Bigint(self.i64()?),
            Tag::Timestamp => Value::Timestamp(self.i64()?),
            Tag::Double => {
                let bytes = self.bytes.get(self.at..self.at + 8).ok_or_else(|| self.error())?;
                self.at += 8;
                Value::Double(f64::from_le_bytes(bytes.try_into().map_err(|_| self.error())?))
            }
            Tag::Decimal => {
                let scale = self.byte()?;
                Value::Decimal(Decimal::new(self.i128()?, scale))
            }
            Tag::String => Value::String(std::str::from_utf8(self.slice()?).map_err(|_| self.error())?.into()),
            Tag::Bytes => Value::Bytes(self.slice()?.into()),
            Tag::Array => Value::Array(self.sequence(depth)?),
            Tag::Struct => Value::Struct(self.sequence(depth)?),
            Tag::Map => {
                let n = self.length()?;
                let entry = |_| Ok((self.value(depth + 1)?, self.value(depth + 1)?));
                Value::Map((0..n).map(entry).collect::<Result<_, CodecError>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Row {
        Row::from([
            Value::Null,
            true.into(),
            (-5).into(),
            i64::MIN.into(),
            0.1.into(),
            Decimal::new(i128::MAX, 3).into(),
            "naïve".into(),
            Value::Bytes(vec![0, 255].into()),
            Value::Date(-1),
            Value::Time(86_399_999),
            Value::Timestamp(1_700_000_000_000),
            Value::Array(vec![Value::Null, 1.into()].into()),
            super::super::map_value(vec![("k".into(), 1.into())]),
            Value::Struct(vec![Value::Array(Vec::new().into())].into()),
        ])
    }

    #[test]
    fn rows_survive() {
        let mut bytes = Vec::new();
        encode_row(&sample(), &mut bytes);
        assert_eq!(decode_row(&bytes).unwrap(), sample());
        for cut in 0..bytes.len() {
            assert!(decode_row(&bytes[..cut]).is_err(), "a row cut at {cut} was read");
        }
        bytes[0] = 2;
        assert!(decode_row(&bytes).is_err(), "an unknown version was read");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(first) = bytes.first_mut() {
                *first = ROW_CODEC_VERSION;
            }
            let _: Result<Row, CodecError> = decode_row(&bytes);
        }
    }
}
