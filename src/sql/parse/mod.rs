//! Text to tree: recursive descent over tokens, with a place for everything.
//!
//! A bad statement is reported and skipped up to its semicolon, so that all errors of a file are found at once. What ksqlDB knows and we do not
//! yet is parsed as far as that is cheap, and refused where it stands.
//!
//! *Invariant*: no text makes it panic or overflow the stack: nesting and the length of operator chains are bounded.

mod constructor;
mod expression;
mod over;
mod query;
mod script;
mod statement;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ast::{Expression, Name, Query, Statement};
use super::diagnostic::{Problem, Span};
use super::lex::{self, Kind, Lexeme};
use crate::types::SqlType;

pub use expression::INTERVAL_UNITS;

/// How deep parentheses, types and operators may nest. Each level takes stack in every pass over the tree, and a thread has 2 MiB.
const MAX_DEPTH: usize = 120;

/// Problems of a file beyond so many say nothing new.
const MAX_PROBLEMS: usize = 200;

/// What the variables of a file may put into it, in bytes: their values can hold variables, and so grow with each DEFINE.
const MAX_EXPANSION: usize = 1 << 20;

/// Words that begin a clause: where one stands for an expression, the expression before it is missing.
const CLAUSES: &[&str] = &[
    "FROM", "WHERE", "GROUP", "HAVING", "WINDOW", "JOIN", "ON", "AS", "THEN", "WHEN", "ELSE", "END",
];

/// Words that cannot be names without quotes. ksqlDB reserves more, which hurts nobody to take as names.
const RESERVED: &[&str] = &[
    "AND", "AS", "BETWEEN", "BY", "CASE", "CAST", "CREATE", "DISTINCT", "DROP", "ELSE", "END", "EXISTS", "FALSE",
    "FROM", "FULL", "GROUP", "HAVING", "IN", "INNER", "INSERT", "INTO", "IS", "JOIN", "LEFT", "LIKE", "LIMIT", "NOT",
    "NULL", "ON", "OR", "OUTER", "RIGHT", "SELECT", "THEN", "TRUE", "VALUES", "WHEN", "WHERE", "WINDOW", "WITH",
    "WITHIN",
];

/// Words that are names but where a clause can begin: after a relation or an expression without AS they are no alias.
pub const SOFT: &[&str] = &[
    "ADD",
    "CROSS",
    "EMIT",
    "ESCAPE",
    "GRACE",
    "ORDER",
    "PARTITION",
    "QUALIFY",
];

/// Whether a word must be quoted to be a name.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

type Parsed<T> = Result<T, Problem>;

/// All statements of a file, and everything that is wrong with it.
pub fn statements(text: &str) -> (Vec<Statement>, Vec<Problem>) {
    let mut parser = match Parser::new(text) {
        Ok(parser) => parser,
        Err(problem) => return (Vec::new(), vec![problem]),
    };
    let (mut all, mut problems) = (Vec::new(), Vec::new());
    loop {
        while parser.take_symbol(";") {}
        if parser.peek() == &Kind::End || problems.len() >= MAX_PROBLEMS {
            return (all, problems);
        }
        match parser.put_in_variables().and_then(|()| parser.statement()) {
            Ok(statement) => all.push(statement),
            Err(problem) => {
                problems.push(problem);
                parser.skip_statement();
            }
        }
    }
}

/// A single query, for readers of views; a semicolon at the end is allowed.
///
/// # Errors
/// The first problem.
pub fn query(text: &str) -> Parsed<Query> {
    let mut parser = Parser::new(text)?;
    let query = parser.query()?;
    parser.take_symbol(";");
    parser.end()?;
    Ok(query)
}

/// A single expression, for tests and tools.
///
/// # Errors
/// The first problem.
pub fn expression(text: &str) -> Parsed<Expression> {
    let mut parser = Parser::new(text)?;
    let expression = parser.expression()?;
    parser.end()?;
    Ok(expression)
}

/// A type as SQL writes it, for the tests of other rooms and post-conditions of cases.
///
/// # Errors
/// The first problem.
pub fn sql_type(text: &str) -> Parsed<SqlType> {
    let mut parser = Parser::new(text)?;
    let sql_type = parser.sql_type()?;
    parser.end()?;
    Ok(sql_type)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Lexeme>,
    at: usize,
    depth: usize,
    /// What DEFINE has defined so far.
    variables: BTreeMap<String, String>,
    /// How many bytes the variables have put in so far.
    expanded: usize,
    /// What CREATE TYPE has created so far.
    types: BTreeMap<Arc<str>, SqlType>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Parsed<Self> {
        Ok(Self {
            text,
            tokens: lex::tokens(text)?,
            at: 0,
            depth: 0,
            variables: BTreeMap::new(),
            expanded: 0,
            types: BTreeMap::new(),
        })
    }

    /// Puts the values of variables into the statement that begins here.
    fn put_in_variables(&mut self) -> Parsed<()> {
        if self.variables.is_empty() {
            return Ok(());
        }
        let ends = |l: &Lexeme| l.kind == Kind::End || matches!(&l.kind, Kind::Symbol(s) if s == ";");
        let len = self.tokens[self.at..].iter().position(ends).unwrap_or(0);
        let variables = &self.variables;
        let left = std::cell::Cell::new(Some(MAX_EXPANSION.saturating_sub(self.expanded)));
        let value = |name: &str| {
            let text = variables.get(&name.to_uppercase())?;
            left.set(left.get().and_then(|left| left.checked_sub(text.len())));
            left.get().map(|_| text.clone())
        };
        let mut made = Vec::with_capacity(len);
        for token in &self.tokens[self.at..self.at + len] {
            match &token.kind {
                Kind::String(text) if text.contains("${") => made.push(Lexeme {
                    kind: Kind::String(lex::substitute(text, &value)),
                    span: token.span,
                }),
                Kind::Variable(name) => match value(name).map(|text| lex::tokens(&text)) {
                    // what a value is made of stands where the variable stood
                    Some(Ok(tokens)) => {
                        let tokens = tokens.into_iter().filter(|t| t.kind != Kind::End);
                        made.extend(tokens.map(|t| Lexeme {
                            kind: t.kind,
                            span: token.span,
                        }));
                    }
                    Some(Err(_)) | None => made.push(token.clone()),
                },
                _ => made.push(token.clone()),
            }
        }
        let Some(left) = left.get() else {
            let message = format!("variables put more than {MAX_EXPANSION} bytes into the file");
            return Err(Problem::new(self.span(), message).hint("a value with variables grows with each DEFINE"));
        };
        self.expanded = MAX_EXPANSION - left;
        self.tokens.splice(self.at..self.at + len, made);
        Ok(())
    }

    fn peek(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    /// The token `n` places ahead; the last one is [`Kind::End`].
    fn ahead(&self, n: usize) -> &Kind {
        &self.tokens[(self.at + n).min(self.tokens.len() - 1)].kind
    }

    fn span(&self) -> Span {
        self.tokens[self.at].span
    }

    /// The place of the token before.
    fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Kind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    fn ahead_is_word(&self, n: usize, word: &str) -> bool {
        matches!(self.ahead(n), Kind::Word(w) if w.eq_ignore_ascii_case(word))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Kind::Symbol(s) if s == symbol)
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes all of several words, or none.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(i, word)| self.ahead_is_word(i, word));
        if found {
            self.at += words.len();
        }
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect_word(&mut self, word: &str) -> Parsed<()> {
        if self.take_word(word) {
            Ok(())
        } else {
            Err(self.expected(word))
        }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parsed<()> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{symbol}'")))
        }
    }

    /// The token at hand is not what must stand here.
    fn expected(&self, what: &str) -> Problem {
        let found = match self.peek() {
            Kind::Word(word) => word.clone(),
            Kind::Quoted(word) => format!("`{word}`"),
            Kind::Number(number) => number.clone(),
            Kind::String(s) => format!("'{s}'"),
            Kind::Variable(name) => {
                let problem = Problem::new(self.span(), format!("the variable {name} is not defined"));
                return problem
                    .hint(format!("DEFINE {name} = '...'; before it"))
                    .nearest(name, self.variables.keys().map(String::as_str));
            }
            Kind::Symbol(symbol) => format!("'{symbol}'"),
            Kind::End => "the end of the text".into(),
        };
        let problem = Problem::new(self.span(), format!("expected {what}, found {found}"));
        match self.mistaken(what) {
            Some(hint) => problem.hint(hint),
            None => problem.nearest(&found.to_uppercase(), keywords(what)),
        }
    }

    /// What habits of other dialects and slips of the pen look like.
    fn mistaken(&self, what: &str) -> Option<String> {
        let before = |n: usize| self.at.checked_sub(n).map(|at| &self.tokens[at]);
        let symbol_before = |symbol: &str| matches!(before(1), Some(l) if l.kind == Kind::Symbol(symbol.into()));
        match self.peek() {
            Kind::Quoted(text) if ["a constant", "quotes"].iter().any(|text| what.ends_with(text)) => {
                let text = text.replace('\'', "''");
                Some(format!("a text stands in single quotes: '{text}'"))
            }
            Kind::Symbol(s) if s == "::" => Some("CAST(value AS type) makes another type of it".into()),
            Kind::Symbol(s) if s == "=" && symbol_before("=") => Some("equality is written '='".into()),
            Kind::Symbol(s) if s.starts_with(|c: char| c.is_ascii_digit()) => {
                Some("a name begins with a letter, a number ends with a digit".into())
            }
            Kind::Symbol(s) if s == "-" => match (before(1).map(|l| &l.kind), self.ahead(1)) {
                (Some(Kind::Word(a)), Kind::Word(b)) => Some(format!("a name with '-' needs quotes: `{a}-{b}`")),
                _ => None,
            },
            _ => None,
        }
    }

    /// A list that was to end with `symbol` does not.
    fn expect_close(&mut self, symbol: &str) -> Parsed<()> {
        if self.take_symbol(symbol) {
            return Ok(());
        }
        Err(self.expected(&format!("',' or '{symbol}'")))
    }

    fn end(&self) -> Parsed<()> {
        if self.peek() == &Kind::End {
            Ok(())
        } else {
            Err(self.expected("the end"))
        }
    }

    /// Up to the semicolon, or to a CREATE at the beginning of a line if one was forgotten.
    fn skip_statement(&mut self) {
        while self.peek() != &Kind::End && !self.take_symbol(";") {
            self.advance();
            let line_start = self.text[..self.span().start].ends_with('\n');
            if line_start && (self.is_word("CREATE") || self.is_word("INSERT")) {
                return;
            }
        }
    }

    /// Runs a rule one level deeper.
    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= MAX_DEPTH {
            return Err(Problem::new(
                self.span(),
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.depth += 1;
        let result = rule(self);
        self.depth -= 1;
        result
    }

    /// A name: folded to upper case unless quoted. `what` says what it names.
    fn name(&mut self, what: &str) -> Parsed<Name> {
        let (text, span) = match self.peek() {
            Kind::Word(word) if is_reserved(word) => {
                let (word, problem) = (word.clone(), self.expected(what));
                return Err(problem.hint(format!(
                    "{word} is a reserved word: as a name it needs quotes, `{word}`"
                )));
            }
            Kind::Word(word) => (word.to_uppercase(), self.span()),
            Kind::Quoted(word) if !word.is_empty() => (word.clone(), self.span()),
            Kind::String(text) => {
                let hint = format!("single quotes make a string: a name is quoted with back quotes, `{text}`");
                return Err(self.expected(what).hint(hint));
            }
            _ => return Err(self.expected(what)),
        };
        self.advance();
        Ok(Name {
            text: text.into(),
            span,
        })
    }

    /// A name where reserved words cannot be mistaken for anything else.
    fn any_name(&mut self, what: &str) -> Parsed<Name> {
        let Kind::Word(word) = self.peek() else {
            return self.name(what);
        };
        let name = Name {
            text: word.to_uppercase().into(),
            span: self.span(),
        };
        self.advance();
        Ok(name)
    }

    /// Whether a name without AS can stand here: not where a clause begins.
    fn alias_follows(&self) -> bool {
        match self.peek() {
            Kind::Quoted(_) => true,
            Kind::Word(word) => {
                let soft = SOFT.iter().any(|soft| soft.eq_ignore_ascii_case(word));
                // a condition can begin with these, and nothing goes on with them behind an alias
                let opens =
                    matches!(self.ahead(1), Kind::Number(_)) || matches!(self.ahead(1), Kind::Symbol(s) if s == "(");
                let qualifies = word.eq_ignore_ascii_case("QUALIFY") && opens;
                let using = word.eq_ignore_ascii_case("USING") && matches!(self.ahead(1), Kind::Symbol(s) if s == "(");
                let clause = using
                    || qualifies
                    || (soft && matches!(self.ahead(1), Kind::Word(_) | Kind::String(_) | Kind::Quoted(_)));
                !is_reserved(word) && !clause
            }
            _ => false,
        }
    }

    /// The name of a topic or subject: quoted as a string it stays as written, as a word too (topics do not fold).
    fn resource(&mut self, what: &str) -> Parsed<Name> {
        let span = self.span();
        let text = match self.peek() {
            Kind::String(text) | Kind::Quoted(text) | Kind::Word(text) if !text.is_empty() => text.as_str().into(),
            _ => return Err(self.expected(what)),
        };
        self.advance();
        Ok(Name { text, span })
    }

    fn string(&mut self, what: &str) -> Parsed<String> {
        let Kind::String(s) = self.peek() else {
            return Err(self.expected(what));
        };
        let s = s.clone();
        self.advance();
        Ok(s)
    }

    /// One or more, with commas between.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = vec![item(self)?];
        while self.take_symbol(",") {
            all.push(item(self)?);
        }
        Ok(all)
    }
}

/// The keywords of what an error says is expected: those a found word may be a misspelling of.
fn keywords(what: &str) -> impl Iterator<Item = &str> {
    let words = what.split(|c: char| !c.is_ascii_alphabetic());
    words.filter(|word| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests;
