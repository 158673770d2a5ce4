//! Options in a `.proto` file: passed over, but for what decides how a field is laid out and Confluent's parameters of a field.

use super::file::Field;
use super::lex::TokenKind;
use super::parse::{MOST_DEPTH, Parser, Result};

/// An option's value, as far as it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Plain(String),
    List(Vec<Literal>),
    Message(Vec<(String, Literal)>),
}

impl Parser<'_> {
    pub(super) fn option_statement(&mut self) -> Result<(String, Literal)> {
        let option = self.option()?;
        self.expect(';')?;
        Ok(option)
    }

    /// `name = value`, `(a.b).c = value`.
    fn option(&mut self) -> Result<(String, Literal)> {
        let mut name = String::new();
        loop {
            if self.take('(') {
                name.push('(');
                name.push_str(self.word("the name of an option")?.trim_start_matches('.'));
                self.expect(')')?;
                name.push(')');
            } else if let Some(w) = self.next_word() {
                name.push_str(w);
                self.at += 1;
            } else if self.take('.') {
                name.push('.');
            } else {
                break;
            }
        }
        self.expect('=')?;
        Ok((name, self.literal(0)?))
    }

    pub(super) fn options_until_bracket(&mut self, each: &mut dyn FnMut(&str, &Literal)) -> Result<()> {
        loop {
            let (name, value) = self.option()?;
            each(&name, &value);
            if !self.take(',') {
                return self.expect(']');
            }
        }
    }

    pub(super) fn field_options(&mut self, field: &mut Field) -> Result<()> {
        self.options_until_bracket(&mut |name, value| match (name, value) {
            ("packed", Literal::Plain(v)) => field.packed = Some(v == "true"),
            ("features.field_presence", Literal::Plain(v)) => field.implicit = v == "IMPLICIT",
            ("(confluent.field_meta)", Literal::Message(members)) => {
                for (_, params) in members.iter().filter(|(k, _)| k == "params") {
                    collect_params(params, &mut field.params);
                }
            }
            ("(confluent.field_meta).params", params) => collect_params(params, &mut field.params),
            _ => {}
        })?;
        field.params.sort();
        Ok(())
    }

    fn literal(&mut self, depth: usize) -> Result<Literal> {
        if depth > MOST_DEPTH {
            return Err(format!("option values nest deeper than {MOST_DEPTH} levels"));
        }
        if self.take('{') {
            return self.literal_message('}', depth);
        }
        if self.take('<') {
            return self.literal_message('>', depth);
        }
        if self.take('[') {
            let mut items = Vec::new();
            while !self.take(']') {
                items.push(self.literal(depth + 1)?);
                if !self.take(',') && self.peek() != Some(&TokenKind::Symbol(']')) {
                    return self.error("`,` or `]`");
                }
            }
            return Ok(Literal::List(items));
        }
        let sign = if self.take('-') { "-" } else { "" };
        let _ = self.take('+');
        match self.peek() {
            Some(TokenKind::Text(_)) => self.text().map(Literal::Plain),
            Some(TokenKind::Word(w) | TokenKind::Number(w)) => {
                self.at += 1;
                Ok(Literal::Plain(format!("{sign}{w}")))
            }
            _ => self.error("the value of an option"),
        }
    }

    fn literal_message(&mut self, close: char, depth: usize) -> Result<Literal> {
        let mut members = Vec::new();
        while !self.take(close) {
            let name = if self.take('[') {
                let name = self.word("the name of an extension")?.to_string();
                self.expect(']')?;
                name
            } else {
                self.word("the name of a field")?.to_string()
            };
            if !self.take(':') && !matches!(self.peek(), Some(TokenKind::Symbol('{' | '<'))) {
                return self.error("`:`");
            }
            members.push((name, self.literal(depth + 1)?));
            let _ = self.take(',') || self.take(';');
        }
        Ok(Literal::Message(members))
    }
}

/// The entries of a map in text format: one message with `key` and `value`, or a list of them.
fn collect_params(literal: &Literal, out: &mut Vec<(String, String)>) {
    match literal {
        Literal::List(items) => items.iter().for_each(|i| collect_params(i, out)),
        Literal::Message(members) => {
            let of = |name: &str| {
                members.iter().find_map(|(k, v)| match v {
                    Literal::Plain(v) if k == name => Some(v.clone()),
                    _ => None,
                })
            };
            if let (Some(key), Some(value)) = (of("key"), of("value")) {
                out.push((key, value));
            }
        }
        Literal::Plain(_) => {}
    }
}
