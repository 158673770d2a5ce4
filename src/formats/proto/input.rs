//! The bytes of one message, read in Protocol Buffers' wire format. Every read is checked against the end of the message that it is in.

use crate::types::Format;

use super::super::FormatError;

/// Groups nest at most so deep when they are passed over.
const MOST_DEPTH: usize = 64;

type Result<T> = std::result::Result<T, FormatError>;

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Bytes,
    GroupStart,
    GroupEnd,
    Fixed32,
}

/// A message being read: the bytes from `at` up to `end`.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    format: Format,
}

impl<'a> Input<'a> {
    /// Everything behind the first `at` bytes.
    pub(super) fn new(format: Format, bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at: at.min(bytes.len()),
            end: bytes.len(),
            format,
        }
    }

    #[cold]
    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> FormatError {
        FormatError::data(self.format, expected, found).at(self.at)
    }

    /// The next byte's place.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn is_done(&self) -> bool {
        self.at >= self.end
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for (i, &b) in self.bytes[self.at..self.end].iter().take(10).enumerate() {
            // the tenth byte holds the 64th bit only; more is cut off, as other readers do
            n |= u64::from(b & 0x7f).checked_shl(7 * i as u32).unwrap_or(0);
            if b < 0x80 {
                self.at += i + 1;
                return Ok(n);
            }
        }
        Err(self.error("a number of at most 10 bytes", "one without end"))
    }

    /// A zigzag number of the message's place.
    pub(super) fn zigzag(&mut self) -> Result<i64> {
        Ok(unzigzag(self.varint()?))
    }

    /// The number and layout of the next field; `None` at the end.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<Option<(u32, WireType)>> {
        if self.is_done() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Bytes,
            3 => WireType::GroupStart,
            4 => WireType::GroupEnd,
            5 => WireType::Fixed32,
            other => {
                self.at = start;
                return Err(self.error("a field of a message", format!("wire type {other}")));
            }
        };
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..) => Ok(Some((number, wire))),
            _ => {
                self.at = start;
                Err(self.error("a field of a message", format!("field number {}", tag >> 3)))
            }
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes[self.at..self.end].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.error(&format!("{N} bytes"), format!("{}", self.end - self.at))),
        }
    }

    pub(super) fn fixed32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn fixed64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length, and an input over that many bytes, which are passed over here.
    #[inline]
    pub(super) fn inner(&mut self) -> Result<Self> {
        let start = self.at;
        let length = self.varint()?;
        let left = self.end - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                let inner = Self {
                    end: self.at + length,
                    ..*self
                };
                self.at += length;
                Ok(inner)
            }
            _ => {
                self.at = start;
                Err(self.error("a length", format!("{length} where {left} bytes are left")))
            }
        }
    }

    /// What is left of it.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// What is left of it as text.
    pub(super) fn text(&self) -> Result<&'a str> {
        std::str::from_utf8(self.rest()).map_err(|e| {
            let at = Self {
                at: self.at + e.valid_up_to(),
                ..*self
            };
            at.error("UTF-8 text", "bytes that are none")
        })
    }

    /// Passes over a field's value.
    pub(super) fn skip(&mut self, number: u32, wire: WireType) -> Result<()> {
        let mut open = Vec::new();
        let (mut number, mut wire) = (number, wire);
        loop {
            match wire {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.fixed64()?),
                WireType::Fixed32 => drop(self.fixed32()?),
                WireType::Bytes => drop(self.inner()?),
                WireType::GroupStart => {
                    if open.len() >= MOST_DEPTH {
                        return Err(self.error(&format!("at most {MOST_DEPTH} levels of groups"), "more"));
                    }
                    open.push(number);
                }
                WireType::GroupEnd => {
                    if open.pop() != Some(number) {
                        return Err(self.error("the end of the group that is open", format!("that of {number}")));
                    }
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            (number, wire) = self
                .tag()?
                .ok_or_else(|| self.error("the end of a group", "the end of the message"))?;
        }
    }
}

pub(super) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}
