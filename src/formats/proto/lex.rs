//! Tokens of `.proto` files.

/// A token and the line it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name, dots included (`.google.protobuf.Any`).
    Word(String),
    /// A number as written, without its sign.
    Number(String),
    /// A string without its quotes, escapes resolved.
    Text(String),
    Symbol(char),
}

/// The tokens of a file; comments and white space are gone.
///
/// # Errors
/// What is no token, with its line.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer {
        rest: text.chars().collect(),
        at: 0,
        line: 1,
    };
    let mut out = Vec::new();
    while let Some(token) = lexer.next()? {
        out.push(token);
    }
    Ok(out)
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn error(&self, message: &str) -> String {
        format!("line {}: {message}", self.line)
    }

    fn blank(&mut self) -> Result<(), String> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(c), _) if c.is_whitespace() || c == '\u{feff}' => {
                    self.bump();
                }
                (Some('/'), Some('/')) => while self.bump().is_some_and(|c| c != '\n') {},
                (Some('/'), Some('*')) => {
                    let line = self.line;
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (Some('*'), Some('/')) {
                        if self.bump().is_none() {
                            return Err(format!("line {line}: the comment has no end"));
                        }
                    }
                    self.at += 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn next(&mut self) -> Result<Option<Token>, String> {
        self.blank()?;
        let line = self.line;
        let kind = match self.peek(0) {
            None => return Ok(None),
            Some(quote @ ('"' | '\'')) => TokenKind::Text(self.text(quote)?),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => TokenKind::Word(self.word()),
            Some('.') if self.peek(1).is_some_and(|c| c.is_ascii_alphabetic() || c == '_') => {
                TokenKind::Word(self.word())
            }
            Some(c) if c.is_ascii_digit() || (c == '.' && self.peek(1).is_some_and(|d| d.is_ascii_digit())) => {
                TokenKind::Number(self.number())
            }
            Some(c) if "{}[]()<>=,;:-+/.".contains(c) => {
                self.bump();
                TokenKind::Symbol(c)
            }
            Some(other) => return Err(self.error(&format!("{other:?} has no meaning here"))),
        };
        Ok(Some(Token { kind, line }))
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let start = self.at;
        while self.peek(0).is_some_and(&keep) {
            self.at += 1;
        }
        self.rest[start..self.at].iter().collect()
    }

    fn word(&mut self) -> String {
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
    }

    fn number(&mut self) -> String {
        let mut number = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        if number.ends_with(['e', 'E']) && !number.starts_with("0x") && matches!(self.peek(0), Some('+' | '-')) {
            number.extend(self.bump());
            number += &self.take_while(|c| c.is_ascii_digit());
        }
        number
    }

    fn text(&mut self, quote: char) -> Result<String, String> {
        let unclosed = self.error("the string has no end");
        self.bump();
        let mut out = String::new();
        loop {
            match self.bump() {
                None | Some('\n') => return Err(unclosed),
                Some(c) if c == quote => return Ok(out),
                Some('\\') => match self.bump() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    // numeric escapes are for bytes, which nothing here uses: they stay as written
                    Some(c @ ('x' | 'X' | 'u' | 'U' | '0'..='7' | 'a' | 'b' | 'f' | 'v')) => {
                        out.push('\\');
                        out.push(c);
                    }
                    Some(c) => out.push(c),
                    None => return Err(unclosed),
                },
                Some(c) => out.push(c),
            }
        }
    }
}
