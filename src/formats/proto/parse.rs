//! The text of a `.proto` file to [`File`]: proto2, proto3 and editions. Written here because what is needed is small (no services, no extensions,
//! no custom options but Confluent's), and the parsers that exist bring a lexer generator, a diagnostics library and descriptors of their own.

use super::file::{Enum, Field, FieldType, File, Import, Label, Message, Scalar, Syntax};
use super::lex::{Token, TokenKind, tokens};

/// Messages and option values nest at most so deep.
pub(super) const MOST_DEPTH: usize = 64;
/// Field numbers have 29 bits.
const MOST_NUMBER: i64 = (1 << 29) - 1;
/// Numbers in this range belong to the implementation.
const RESERVED_NUMBERS: std::ops::RangeInclusive<i64> = 19_000..=19_999;

pub(super) type Result<T> = std::result::Result<T, String>;

/// Parses a file.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn parse(text: &str) -> Result<File> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    parser.file()
}

pub(super) struct Parser<'a> {
    tokens: &'a [Token],
    pub(super) at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn error<T>(&self, message: &str) -> Result<T> {
        let found = match self.tokens.get(self.at).map(|t| &t.kind) {
            None => "the end of the text".to_string(),
            Some(TokenKind::Word(w) | TokenKind::Number(w)) => format!("`{w}`"),
            Some(TokenKind::Text(t)) => super::super::error::quoted(t),
            Some(TokenKind::Symbol(c)) => format!("`{c}`"),
        };
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |t| t.line);
        Err(format!("line {line}: expected {message}, found {found}"))
    }

    pub(super) fn peek(&self) -> Option<&'a TokenKind> {
        self.tokens.get(self.at).map(|t| &t.kind)
    }

    pub(super) fn take(&mut self, symbol: char) -> bool {
        let found = self.peek() == Some(&TokenKind::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, symbol: char) -> Result<()> {
        match self.take(symbol) {
            true => Ok(()),
            false => self.error(&format!("`{symbol}`")),
        }
    }

    pub(super) fn next_word(&self) -> Option<&'a str> {
        match self.peek() {
            Some(TokenKind::Word(w)) => Some(w),
            _ => None,
        }
    }

    pub(super) fn word(&mut self, what: &str) -> Result<&'a str> {
        match self.next_word() {
            Some(w) => {
                self.at += 1;
                Ok(w)
            }
            None => self.error(what),
        }
    }

    /// A name without dots.
    fn name(&mut self, what: &str) -> Result<String> {
        match self.next_word() {
            Some(w) if !w.contains('.') => {
                self.at += 1;
                Ok(w.to_string())
            }
            _ => self.error(what),
        }
    }

    pub(super) fn text(&mut self) -> Result<String> {
        let mut out = match self.peek() {
            Some(TokenKind::Text(t)) => t.clone(),
            _ => return self.error("a string"),
        };
        self.at += 1;
        while let Some(TokenKind::Text(t)) = self.peek() {
            out.push_str(t);
            self.at += 1;
        }
        Ok(out)
    }

    fn integer(&mut self) -> Result<i64> {
        let negative = self.take('-');
        let Some(TokenKind::Number(digits)) = self.peek() else {
            return self.error("a number");
        };
        let parsed = match (
            digits.strip_prefix("0x").or(digits.strip_prefix("0X")),
            digits.strip_prefix('0'),
        ) {
            (Some(hex), _) => i64::from_str_radix(hex, 16),
            (None, Some(octal)) if !octal.is_empty() => i64::from_str_radix(octal, 8),
            _ => digits.parse(),
        };
        match parsed {
            Ok(n) => {
                self.at += 1;
                Ok(if negative { -n } else { n })
            }
            Err(_) => self.error("an integer"),
        }
    }

    fn file(&mut self) -> Result<File> {
        let mut file = File::default();
        while self.peek().is_some() {
            if self.take(';') {
                continue;
            }
            match self.word("a declaration")? {
                "syntax" => {
                    self.expect('=')?;
                    file.syntax = match self.text()?.as_str() {
                        "proto2" => Syntax::Proto2,
                        "proto3" => Syntax::Proto3,
                        other => return Err(format!("the syntax {other:?} is not known; use \"proto3\"")),
                    };
                    self.expect(';')?;
                }
                "edition" => {
                    self.expect('=')?;
                    self.text()?;
                    file.syntax = Syntax::Edition;
                    self.expect(';')?;
                }
                "package" => {
                    file.package = self.word("the name of the package")?.trim_matches('.').to_string();
                    self.expect(';')?;
                }
                "import" => file.imports.push(self.import()?),
                "option" => drop(self.option_statement()?),
                "message" => file.messages.push(self.message(0)?),
                "enum" => file.enums.push(self.enumeration()?),
                "service" | "extend" => self.skip_block()?,
                _ => {
                    self.at -= 1;
                    return self.error("syntax, package, import, option, message or enum");
                }
            }
        }
        super::check::file(&file)?;
        Ok(file)
    }

    fn import(&mut self) -> Result<Import> {
        let public = self.next_word() == Some("public");
        if public || matches!(self.next_word(), Some("weak" | "option")) {
            self.at += 1;
        }
        let path = self.text()?;
        self.expect(';')?;
        Ok(Import { path, public })
    }

    /// Passes over a name and a block in braces.
    fn skip_block(&mut self) -> Result<()> {
        while self.peek().is_some() && self.peek() != Some(&TokenKind::Symbol('{')) {
            self.at += 1;
        }
        self.expect('{')?;
        let mut open = 1;
        while open > 0 {
            match self.peek() {
                None => return self.error("`}`"),
                Some(TokenKind::Symbol('{')) => open += 1,
                Some(TokenKind::Symbol('}')) => open -= 1,
                Some(_) => {}
            }
            self.at += 1;
        }
        Ok(())
    }

    fn message(&mut self, depth: usize) -> Result<Message> {
        if depth > MOST_DEPTH {
            return Err(format!("messages nest deeper than {MOST_DEPTH} levels"));
        }
        let mut message = Message {
            name: self.name("the name of a message")?,
            ..Message::default()
        };
        self.expect('{')?;
        while !self.take('}') {
            if self.take(';') {
                continue;
            }
            // a field may have the name of a type that is a keyword elsewhere: what follows decides
            match self.next_word() {
                Some("message") if self.is_block() => {
                    self.at += 1;
                    message.messages.push(self.message(depth + 1)?);
                }
                Some("enum") if self.is_block() => {
                    self.at += 1;
                    message.enums.push(self.enumeration()?);
                }
                Some("oneof") if self.is_block() => self.oneof(&mut message)?,
                Some("extend") if self.is_block() => {
                    self.at += 1;
                    self.skip_block()?;
                }
                Some("option") => {
                    self.at += 1;
                    self.option_statement()?;
                }
                Some("reserved") => {
                    self.at += 1;
                    self.reserved(&mut message)?;
                }
                Some("extensions") => {
                    while !self.take(';') {
                        if self.peek().is_none() {
                            return self.error("`;`");
                        }
                        self.at += 1;
                    }
                }
                Some(_) => self.field(&mut message, None)?,
                None => return self.error("a field or `}`"),
            }
        }
        Ok(message)
    }

    /// A word, a name and an opening brace: a declaration, not a field.
    fn is_block(&self) -> bool {
        let kinds: Vec<_> = self.tokens[self.at..].iter().take(24).map(|t| &t.kind).collect();
        matches!(kinds.get(1), Some(TokenKind::Word(_))) && matches!(kinds.get(2), Some(TokenKind::Symbol('{')))
    }

    fn oneof(&mut self, message: &mut Message) -> Result<()> {
        self.at += 1;
        let index = message.oneofs.len();
        let name = self.name("the name of the oneof")?;
        message.oneofs.push(name);
        self.expect('{')?;
        while !self.take('}') {
            match self.next_word() {
                _ if self.take(';') => {}
                Some("option") => {
                    self.at += 1;
                    self.option_statement()?;
                }
                _ => self.field(message, Some(index))?,
            }
        }
        Ok(())
    }

    fn field(&mut self, message: &mut Message, oneof: Option<usize>) -> Result<()> {
        let label = match self.next_word() {
            Some("optional") => Label::Optional,
            Some("required") => Label::Required,
            Some("repeated") => Label::Repeated,
            _ => Label::None,
        };
        // a label is followed by a type and a name; without them it is itself the name of a type
        let labelled =
            label != Label::None && matches!(self.tokens.get(self.at + 1).map(|t| &t.kind), Some(TokenKind::Word(_)));
        self.at += usize::from(labelled);
        let label = if labelled { label } else { Label::None };
        let type_name = self.word("the type of a field")?;
        let group = type_name == "group";
        let kind = match (type_name, Scalar::named(type_name)) {
            ("map", _) if self.take('<') => self.map_type()?,
            (_, Some(scalar)) => FieldType::Scalar(scalar),
            _ => FieldType::Named(type_name.to_string()),
        };
        let name = self.name("the name of a field")?;
        self.expect('=')?;
        let number = self.integer()?;
        let in_range = (1..=MOST_NUMBER).contains(&number) && !RESERVED_NUMBERS.contains(&number);
        let Some(number) = u32::try_from(number).ok().filter(|_| in_range) else {
            return Err(format!(
                "message {}: field {name} has the number {number}; use 1 to {MOST_NUMBER} without 19000 to 19999",
                message.name
            ));
        };
        let mut field = Field {
            label,
            kind,
            name,
            number,
            oneof,
            params: Vec::new(),
            packed: None,
            implicit: false,
        };
        if self.take('[') {
            self.field_options(&mut field)?;
        }
        if group {
            return Err(format!(
                "message {}: groups are not supported; use a message",
                message.name
            ));
        }
        self.expect(';')?;
        message.fields.push(field);
        Ok(())
    }

    fn map_type(&mut self) -> Result<FieldType> {
        let key = self.word("the type of a map's keys")?;
        let key = match Scalar::named(key) {
            Some(Scalar::Double | Scalar::Float | Scalar::Bytes) | None => {
                return Err(format!(
                    "a map cannot have keys of type {key}; use string or an integer"
                ));
            }
            Some(key) => key,
        };
        self.expect(',')?;
        let value = self.word("the type of a map's values")?;
        self.expect('>')?;
        let value = Scalar::named(value).map_or_else(|| FieldType::Named(value.to_string()), FieldType::Scalar);
        Ok(FieldType::Map(key, Box::new(value)))
    }

    fn enumeration(&mut self) -> Result<Enum> {
        let mut out = Enum {
            name: self.name("the name of an enum")?,
            values: Vec::new(),
        };
        self.expect('{')?;
        while !self.take('}') {
            match self.next_word() {
                _ if self.take(';') => {}
                Some("option") => {
                    self.at += 1;
                    self.option_statement()?;
                }
                Some("reserved") => {
                    self.at += 1;
                    self.reserved(&mut Message::default())?;
                }
                _ => {
                    let symbol = self.name("a symbol of the enum")?;
                    self.expect('=')?;
                    let number = self.integer()?;
                    let number = i32::try_from(number)
                        .map_err(|_| format!("enum {}: the number {number} has more than 32 bits", out.name))?;
                    if self.take('[') {
                        self.options_until_bracket(&mut |_, _| {})?;
                    }
                    self.expect(';')?;
                    out.values.push((symbol, number));
                }
            }
        }
        if out.values.is_empty() {
            return Err(format!("enum {} has no symbols", out.name));
        }
        Ok(out)
    }

    fn reserved(&mut self, message: &mut Message) -> Result<()> {
        loop {
            match self.peek() {
                Some(TokenKind::Text(_)) => message.reserved_names.push(self.text()?),
                Some(TokenKind::Word(w)) => {
                    message.reserved_names.push(w.clone());
                    self.at += 1;
                }
                _ => {
                    let from = self.integer()?;
                    let mut to = from;
                    if self.next_word() == Some("to") {
                        self.at += 1;
                        to = match self.next_word() {
                            Some("max") => {
                                self.at += 1;
                                i64::MAX
                            }
                            _ => self.integer()?,
                        };
                    }
                    message.reserved.push((from, to));
                }
            }
            if !self.take(',') {
                return self.expect(';');
            }
        }
    }
}
