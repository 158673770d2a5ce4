//! JSON text, read piece by piece from the bytes: no tree in between, numbers and strings as slices of the input where they can be.

use std::borrow::Cow;

use crate::types::{Format, number_to_string};

use super::super::FormatError;

/// Nesting beyond this is refused, so that hostile bytes cannot overflow the stack.
const MOST_DEPTH: usize = 128;

type Result<T> = std::result::Result<T, FormatError>;

/// What a value starts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean(bool),
    Null,
}

impl Kind {
    /// In words, for errors.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Number => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Null => "null",
        }
    }
}

/// A JSON text being read.
pub(super) struct Pull<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Pull<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The byte that comes next.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(super) fn error(&self, expected: &str, found: impl Into<String>) -> FormatError {
        FormatError::data(Format::Json, expected, found).at(self.at)
    }

    #[cold]
    fn unexpected(&self, expected: &str) -> FormatError {
        match self.bytes.get(self.at) {
            None => self.error(expected, "the end of the text"),
            Some(b) if b.is_ascii_graphic() => self.error(expected, format!("`{}`", *b as char)),
            Some(b) => self.error(expected, format!("byte {b:#04x}")),
        }
    }

    fn white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn literal(&mut self, word: &str, kind: Kind) -> Result<Kind> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Ok(kind);
        }
        Err(self.unexpected("a JSON value"))
    }

    /// What comes next, passing over white space only.
    pub(super) fn peek(&mut self) -> Result<Kind> {
        self.white();
        match self.bytes.get(self.at) {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't') => self.literal("true", Kind::Boolean(true)),
            Some(b'f') => self.literal("false", Kind::Boolean(false)),
            Some(b'n') => self.literal("null", Kind::Null),
            _ => Err(self.unexpected("a JSON value")),
        }
    }

    /// Passes over `null`, `true` or `false` after [`Pull::peek`] found it.
    pub(super) fn word(&mut self, kind: Kind) {
        self.at += if kind == Kind::Boolean(false) { 5 } else { 4 };
    }

    /// Whether nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<()> {
        self.white();
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(self.unexpected("the end of the text"))
    }

    /// The text of a number, checked against JSON's grammar.
    pub(super) fn number(&mut self) -> Result<&'a str> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        std::str::from_utf8(&self.bytes[start..self.at]).map_err(|_| self.unexpected("a number"))
    }

    fn digits(&mut self) -> Result<()> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.unexpected("a digit"));
        }
        Ok(())
    }

    /// A string, after [`Pull::peek`] found it; borrowed unless it has escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        let start = self.at + 1;
        let rest = &self.bytes[start..];
        let plain = rest
            .iter()
            .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
            .unwrap_or(rest.len());
        let text = self.utf8(start, start + plain)?;
        self.at = start + plain;
        if self.take(b'"') {
            return Ok(Cow::Borrowed(text));
        }
        let mut unescaped = text.to_string();
        loop {
            let from = self.at;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(unescaped));
                }
                Some(b'\\') => {
                    self.at += 1;
                    unescaped.push(self.escape()?);
                }
                None | Some(0..=0x1f) => return Err(self.unexpected("the end of a string")),
                Some(_) => {
                    let rest = &self.bytes[from..];
                    let plain = rest
                        .iter()
                        .position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f))
                        .unwrap_or(rest.len());
                    unescaped.push_str(self.utf8(from, from + plain)?);
                    self.at = from + plain;
                }
            }
        }
    }

    fn utf8(&self, start: usize, end: usize) -> Result<&'a str> {
        std::str::from_utf8(&self.bytes[start..end]).map_err(|e| {
            FormatError::data(Format::Json, "UTF-8 text", "bytes that are none").at(start + e.valid_up_to())
        })
    }

    fn escape(&mut self) -> Result<char> {
        let escaped = match self.bytes.get(self.at) {
            Some(c @ (b'"' | b'\\' | b'/')) => *c as char,
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.unexpected("an escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !(self.take(b'\\') && self.take(b'u')) {
                    return Err(self.unexpected("the second half of a surrogate pair"));
                }
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.error("the second half of a surrogate pair", format!("\\u{second:04x}")));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or_else(|| self.error("a character", format!("\\u{first:04x}")))
    }

    fn hex4(&mut self) -> Result<u32> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .ok_or_else(|| self.unexpected("4 hexadecimal digits"))?;
        let mut n = 0;
        for d in digits {
            let digit = char::from(*d)
                .to_digit(16)
                .ok_or_else(|| self.unexpected("4 hexadecimal digits"))?;
            n = n * 16 + digit;
        }
        self.at += 4;
        Ok(n)
    }

    /// The next key of an object, after [`Pull::peek`] found the object; the value follows. `first`: no key was read yet.
    pub(super) fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>> {
        if !self.next(first, b'}', "`,` or `}`")? {
            return Ok(None);
        }
        self.white();
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.unexpected("the name of a field"));
        }
        let key = self.string()?;
        self.white();
        if !self.take(b':') {
            return Err(self.unexpected("`:`"));
        }
        Ok(Some(key))
    }

    /// Whether an array has another item, which follows.
    pub(super) fn next_item(&mut self, first: bool) -> Result<bool> {
        self.next(first, b']', "`,` or `]`")
    }

    fn next(&mut self, first: bool, close: u8, expected: &str) -> Result<bool> {
        if first {
            // the opening bracket, which `peek` found
            self.at += 1;
        }
        self.white();
        if self.take(close) {
            return Ok(false);
        }
        if first || self.take(b',') {
            return Ok(true);
        }
        Err(self.unexpected(expected))
    }

    /// Passes over a value, checking that it is one.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.copy_at(0, &mut None)
    }

    /// Passes over a value and gives its text without white space.
    pub(super) fn compact(&mut self) -> Result<String> {
        let mut text = Some(String::new());
        self.copy_at(0, &mut text)?;
        Ok(text.unwrap_or_default())
    }

    fn copy_at(&mut self, depth: usize, to: &mut Option<String>) -> Result<()> {
        if depth > MOST_DEPTH {
            return Err(self.error(&format!("at most {MOST_DEPTH} levels of nesting"), "more"));
        }
        let mut put = |s: &str| {
            if let Some(to) = to {
                to.push_str(s);
            }
        };
        let kind = self.peek()?;
        let start = self.at;
        match kind {
            Kind::Null => {
                put("null");
                self.word(kind);
            }
            Kind::Boolean(b) => {
                put(if b { "true" } else { "false" });
                self.word(kind);
            }
            Kind::Number => put(&number_to_string(self.number()?)),
            Kind::String => {
                self.string()?;
                put(self.utf8(start, self.at)?);
            }
            Kind::Array => {
                put("[");
                let mut first = true;
                while self.next_item(first)? {
                    if !first {
                        push(to, ",");
                    }
                    first = false;
                    self.copy_at(depth + 1, to)?;
                }
                push(to, "]");
            }
            Kind::Object => {
                put("{");
                let mut first = true;
                while let Some(key) = self.next_key(first)? {
                    if !first {
                        push(to, ",");
                    }
                    first = false;
                    if let Some(to) = to {
                        super::write::text(&key, to);
                        to.push(':');
                    }
                    self.copy_at(depth + 1, to)?;
                }
                push(to, "}");
            }
        }
        Ok(())
    }
}

fn push(to: &mut Option<String>, s: &str) {
    if let Some(to) = to {
        to.push_str(s);
    }
}
