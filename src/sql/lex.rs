//! Tokens with their places. The tokens come from `sqlparser`; here they get byte ranges and the few kinds that our grammar knows.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::diagnostic::{Problem, Span};

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A name or keyword as written.
    Word(String),
    /// A name in back or double quotes.
    Quoted(String),
    /// A number as written.
    Number(String),
    /// A string, unescaped.
    String(String),
    /// An operator or punctuation.
    Symbol(String),
    /// After the last token.
    End,
}

/// A token and where it is.
#[derive(Clone, Debug)]
pub struct Lexeme {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub span: Span,
}

/// ksqlDB's identifiers: letters, digits, `_` and `@`; back quotes or double quotes around others.
#[derive(Debug)]
struct Ksql;

impl Dialect for Ksql {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_' || c == '@'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        self.is_identifier_start(c) || c.is_ascii_digit()
    }
}

/// Finds bytes for lines and columns that do not decrease, in one pass over the text.
struct Cursor<'a> {
    rest: std::str::Chars<'a>,
    at: Location,
    byte: usize,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.chars(),
            at: Location { line: 1, column: 1 },
            byte: 0,
        }
    }

    fn byte(&mut self, wanted: Location) -> usize {
        while (self.at.line, self.at.column) < (wanted.line, wanted.column) {
            let Some(c) = self.rest.next() else {
                break;
            };
            self.byte += c.len_utf8();
            self.at = match c {
                '\n' => Location {
                    line: self.at.line + 1,
                    column: 1,
                },
                _ => Location {
                    line: self.at.line,
                    column: self.at.column + 1,
                },
            };
        }
        self.byte
    }
}

/// Splits a text into tokens, with an [`Kind::End`] last.
///
/// # Errors
/// For a string, comment or quoted name without its end, and characters that start no token.
pub fn tokens(text: &str) -> Result<Vec<Lexeme>, Problem> {
    let mut places = Cursor::new(text);
    let mut found = Vec::new();
    let result = Tokenizer::new(&Ksql, text).tokenize_with_location_into_buf(&mut found);
    if let Err(error) = result {
        let start = Cursor::new(text).byte(error.location);
        return Err(Problem::new(Span { start, end: start + 1 }, error.message));
    }
    let mut all = Vec::with_capacity(found.len() + 1);
    for token in found {
        let span = Span {
            start: places.byte(token.span.start),
            end: places.byte(token.span.end),
        };
        push(token.token, span, &mut all);
    }
    let end = text.trim_end().len();
    all.push(Lexeme {
        kind: Kind::End,
        span: Span { start: end, end },
    });
    Ok(all)
}

fn push(token: Token, span: Span, all: &mut Vec<Lexeme>) {
    let kind = match token {
        Token::Whitespace(_) | Token::EOF => return,
        Token::Word(word) if word.quote_style.is_some() => Kind::Quoted(word.value),
        Token::Word(word) => Kind::Word(word.value),
        Token::Number(digits, _) => Kind::Number(digits),
        Token::SingleQuotedString(s) => Kind::String(s),
        // the end of two nested types: ARRAY<ARRAY<INT>>
        Token::ShiftRight => {
            let middle = span.start + 1;
            for (start, end) in [(span.start, middle), (middle, span.end)] {
                all.push(Lexeme {
                    kind: Kind::Symbol(">".into()),
                    span: Span { start, end },
                });
            }
            return;
        }
        other => Kind::Symbol(other.to_string()),
    };
    all.push(Lexeme { kind, span });
}
