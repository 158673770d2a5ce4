//! The bytes of one record, read in Avro's binary encoding. Every read is checked; every count is held against the bytes that are left.

use crate::types::{Format, Value};

use super::super::FormatError;
use super::schema::{AvroSchema, AvroType, TypeId};

/// Nesting beyond this is refused when skipping what a recursive schema allows to nest without end.
const MOST_DEPTH: usize = 256;

/// Items that take no bytes (nulls, empty records) one record may have in all: their counts are not bounded by the record's size.
const MOST_EMPTY_ITEMS: usize = 65_536;

/// A record being read. `stack` holds the items of arrays, maps and structs that are not complete yet.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    empty_items: usize,
    pub(super) stack: &'a mut Vec<Value>,
}

type Result<T> = std::result::Result<T, FormatError>;

/// How many items come next in an array or map.
pub(super) struct Block {
    pub(super) items: usize,
    /// The block's size, when it was written.
    bytes: Option<usize>,
}

impl<'a> Input<'a> {
    /// Reads `bytes` from `at` on.
    pub(super) fn new(bytes: &'a [u8], at: usize, stack: &'a mut Vec<Value>) -> Self {
        stack.clear();
        let at = at.min(bytes.len());
        Self {
            bytes,
            at,
            empty_items: 0,
            stack,
        }
    }

    #[cold]
    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> FormatError {
        FormatError::data(Format::Avro, expected, found).at(self.at)
    }

    #[cold]
    fn ended(&self, expected: &str) -> FormatError {
        self.error(
            expected,
            format!("the end of the record after {} bytes", self.bytes.len()),
        )
    }

    /// A `long`, or an `int` that is allowed to be one.
    #[inline]
    pub(super) fn long(&mut self) -> Result<i64> {
        match self.bytes.get(self.at) {
            Some(&b) if b < 0x80 => {
                self.at += 1;
                Ok(i64::from(b >> 1) ^ -i64::from(b & 1))
            }
            _ => self.long_of_many_bytes(),
        }
    }

    fn long_of_many_bytes(&mut self) -> Result<i64> {
        let mut n = 0u64;
        for (i, &b) in self.bytes[self.at..].iter().take(10).enumerate() {
            // the tenth byte holds the 64th bit only
            if i == 9 && b > 1 {
                return Err(self.error("a long", "a number of more than 64 bits"));
            }
            n |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.at += i + 1;
                return Ok((n >> 1) as i64 ^ -((n & 1) as i64));
            }
        }
        Err(self.ended("a long"))
    }

    /// An `int`.
    #[inline]
    pub(super) fn int(&mut self) -> Result<i32> {
        let n = self.long()?;
        i32::try_from(n).map_err(|_| self.error("an int", format!("{n}")))
    }

    #[inline]
    pub(super) fn boolean(&mut self) -> Result<bool> {
        match self.bytes.get(self.at) {
            Some(0) => {
                self.at += 1;
                Ok(false)
            }
            Some(1) => {
                self.at += 1;
                Ok(true)
            }
            Some(other) => Err(self.error("a boolean (0 or 1)", format!("{other}"))),
            None => Err(self.ended("a boolean")),
        }
    }

    #[inline]
    pub(super) fn float(&mut self) -> Result<f32> {
        Ok(f32::from_le_bytes(self.array("a float (4 bytes)")?))
    }

    #[inline]
    pub(super) fn double(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array("a double (8 bytes)")?))
    }

    #[inline]
    fn array<const N: usize>(&mut self, expected: &str) -> Result<[u8; N]> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.ended(expected)),
        }
    }

    /// Exactly `n` bytes.
    #[inline]
    pub(super) fn fixed(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.bytes[self.at..].get(..n) {
            Some(slice) => {
                self.at += n;
                Ok(slice)
            }
            None => Err(self.ended(&format!("{n} bytes"))),
        }
    }

    /// `bytes`: a length and that many bytes.
    #[inline]
    pub(super) fn slice(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        let n = self.long()?;
        match usize::try_from(n) {
            Ok(n) if n <= self.bytes.len() - self.at => {
                let slice = &self.bytes[self.at..self.at + n];
                self.at += n;
                Ok(slice)
            }
            _ => {
                let left = self.bytes.len() - self.at;
                self.at = start;
                Err(self.error("a length of bytes or text", format!("{n} where {left} bytes are left")))
            }
        }
    }

    /// `string`.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str> {
        let slice = self.slice()?;
        std::str::from_utf8(slice).map_err(|e| {
            self.at -= slice.len() - e.valid_up_to();
            self.error("UTF-8 text", "bytes that are none")
        })
    }

    /// An index of an enum or union, below `count`.
    #[inline]
    pub(super) fn index(&mut self, count: usize, what: &str) -> Result<usize> {
        let start = self.at;
        let n = self.long()?;
        match usize::try_from(n) {
            Ok(i) if i < count => Ok(i),
            _ => {
                self.at = start;
                Err(self.error(&format!("one of {count} {what}"), format!("number {n}")))
            }
        }
    }

    /// The next block of an array or map; `None` at its end. `empty`: its items take no bytes.
    pub(super) fn block(&mut self, empty: bool) -> Result<Option<Block>> {
        let start = self.at;
        let n = self.long()?;
        if n == 0 {
            return Ok(None);
        }
        // a negative count is followed by the size of the block, for those who skip it
        let bytes = if n < 0 {
            let size = self.long()?;
            match usize::try_from(size) {
                Ok(size) if size <= self.bytes.len() - self.at => Some(size),
                _ => return Err(self.error("the size of a block", format!("{size}"))),
            }
        } else {
            None
        };
        let items = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let allowed = if empty {
            MOST_EMPTY_ITEMS - self.empty_items
        } else {
            self.bytes.len() - self.at
        };
        if items > allowed {
            let left = self.bytes.len() - self.at;
            self.at = start;
            return Err(self.error("a number of items", format!("{items} where {left} bytes are left")));
        }
        if empty {
            self.empty_items += items;
        }
        Ok(Some(Block { items, bytes }))
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, schema: &AvroSchema, id: TypeId, depth: usize) -> Result<()> {
        if depth > MOST_DEPTH {
            let expected = format!("at most {MOST_DEPTH} levels of nesting");
            return Err(self.error(&expected, "more"));
        }
        // also bounds the time: empty records can refer to each other in exponentially many ways
        if schema.is_empty_type(id) {
            return Ok(());
        }
        match schema.get(id) {
            AvroType::Null => {}
            AvroType::Boolean => drop(self.boolean()?),
            AvroType::Int(_) | AvroType::Long(_) => drop(self.long()?),
            AvroType::Float => drop(self.fixed(4)?),
            AvroType::Double => drop(self.fixed(8)?),
            AvroType::Bytes(_) | AvroType::String => drop(self.slice()?),
            AvroType::Fixed(fixed) => drop(self.fixed(fixed.size)?),
            AvroType::Enum(e) => drop(self.index(e.symbols.len(), "symbols")?),
            AvroType::Union(branches) => {
                let branch = self.index(branches.len(), "branches of a union")?;
                self.skip(schema, branches[branch], depth + 1)?;
            }
            AvroType::Record(record) => {
                for field in &record.fields {
                    self.skip(schema, field.type_id, depth + 1)?;
                }
            }
            AvroType::Array(item) => self.skip_blocks(schema, *item, false, depth)?,
            AvroType::Map(value) => self.skip_blocks(schema, *value, true, depth)?,
        }
        Ok(())
    }

    fn skip_blocks(&mut self, schema: &AvroSchema, item: TypeId, keys: bool, depth: usize) -> Result<()> {
        let empty = !keys && schema.is_empty_type(item);
        while let Some(block) = self.block(empty)? {
            if let Some(size) = block.bytes {
                self.fixed(size)?;
                continue;
            }
            for _ in 0..block.items {
                if keys {
                    self.slice()?;
                }
                self.skip(schema, item, depth + 1)?;
            }
        }
        Ok(())
    }
}
