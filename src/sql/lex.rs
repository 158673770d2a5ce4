//! Tokens with their places, by the lexical rules of ksqlDB's grammar.
//!
//! Our own rather than a library's: strings have no escapes but a doubled quote, no prefixes (`x'..'`, `n'..'`) and no dollar quotes, and
//! `${name}` is a token. What starts no token becomes a [`Kind::Symbol`] that no rule takes, so that only its statement is wrong.

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
    /// `${name}`: a variable of DEFINE.
    Variable(String),
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

/// Operators of two characters; all others have one.
const PAIRS: &[&str] = &["<>", "!=", "<=", ">=", ":=", "->", "=>", "||", "::"];

/// Splits a text into tokens, with an [`Kind::End`] last.
///
/// # Errors
/// For a string, comment or quoted name without its end.
pub fn tokens(text: &str) -> Result<Vec<Lexeme>, Problem> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        let rest = &text[at..];
        let kind = if c.is_whitespace() || c == '\u{feff}' {
            at += c.len_utf8();
            continue;
        } else if rest.starts_with("--") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let Some(end) = comment.find("*/") else {
                return Err(unended(start, 2, "comment", "*/"));
            };
            at += end + 4;
            continue;
        } else if matches!(c, '\'' | '"' | '`') {
            let what = if c == '\'' { "string" } else { "quoted name" };
            let Some((inner, len)) = quoted(rest, c) else {
                return Err(unended(start, 1, what, c.encode_utf8(&mut [0; 4])));
            };
            at += len;
            if c == '\'' {
                Kind::String(inner)
            } else {
                Kind::Quoted(inner)
            }
        } else if is_name_start(c) {
            at += rest.find(|c| !is_name_part(c)).unwrap_or(rest.len());
            Kind::Word(text[start..at].into())
        } else if let Some(name) = variable(rest) {
            at += name.len() + 3;
            Kind::Variable(name.into())
        } else if c.is_ascii_digit() || (c == '.' && !touches_name(&all, start) && starts_with_digit(&rest[1..])) {
            let len = number(rest);
            let tail = rest[len..].find(|c| !is_name_part(c)).unwrap_or(rest.len() - len);
            at += len + tail;
            // `1st` is one token and no number, as in ksqlDB
            let text = text[start..at].to_string();
            if tail == 0 {
                Kind::Number(text)
            } else {
                Kind::Symbol(text)
            }
        } else {
            let pair = PAIRS.iter().find(|pair| rest.starts_with(**pair));
            at += pair.map_or(c.len_utf8(), |pair| pair.len());
            Kind::Symbol(text[start..at].into())
        };
        let span = Span { start, end: at };
        all.push(Lexeme { kind, span });
    }
    let end = text.trim_end().len();
    all.push(Lexeme {
        kind: Kind::End,
        span: Span { start: end, end },
    });
    Ok(all)
}

fn unended(start: usize, len: usize, what: &str, end: &str) -> Problem {
    let span = Span {
        start,
        end: start + len,
    };
    let problem = Problem::new(span, format!("the {what} that begins here has no end"));
    match end {
        "'" => problem.hint("' ends it; inside of a string a quote is doubled: 'it''s'"),
        end => problem.hint(format!("{end} ends it")),
    }
}

/// Whether a name can begin with it.
pub fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit() || c == '@'
}

/// What is between quotes, doubled ones made single, and how long it is with its quotes.
fn quoted(rest: &str, quote: char) -> Option<(String, usize)> {
    let mut inner = String::new();
    let mut from = 1;
    loop {
        let end = from + rest[from..].find(quote)?;
        inner.push_str(&rest[from..end]);
        if !rest[end + 1..].starts_with(quote) {
            return Some((inner, end + 1));
        }
        inner.push(quote);
        from = end + 2;
    }
}

fn variable(rest: &str) -> Option<&str> {
    let inner = rest.strip_prefix("${")?;
    let name = &inner[..inner.find('}')?];
    let good = name.starts_with(is_name_start) && name.chars().all(is_name_part);
    good.then_some(name)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// In `a.5` there is no number, in `(.5` and `THEN .5` there is.
fn touches_name(before: &[Lexeme], start: usize) -> bool {
    let name = |l: &&Lexeme| matches!(l.kind, Kind::Word(_) | Kind::Quoted(_) | Kind::Variable(_));
    before.last().filter(name).is_some_and(|l| l.span.end == start)
}

/// How long the number is that a text begins with: digits, a point, digits, an exponent.
fn number(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    let mut end = digits(0);
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        if starts_with_digit(&text[end + 1 + sign..]) {
            end = digits(end + 1 + sign);
        }
    }
    end
}

/// The variables of a text `..${name}..` put in; unknown ones stay.
pub fn substitute(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let here = &rest[at..];
        let known = variable(here).and_then(|name| Some((value(name)?, name.len() + 3)));
        let len = known.as_ref().map_or(2, |(_, len)| *len);
        out.push_str(known.as_ref().map_or("${", |(value, _)| value));
        rest = &here[len..];
    }
    out + rest
}
