//! The statements that are about the file or the world around it: types, variables, ALTER and ASSERT.

use super::{MAX_DEPTH, Parsed, Parser};
use crate::sql::ast::{Assert, Asserted, ColumnRole, StatementKind};
use crate::sql::diagnostic::Problem;
use crate::sql::lex::Kind;
use crate::types::SqlType;

/// How many parts a named type may have: each use of the name has them all, and types are made of named types.
const MAX_TYPE: usize = 1000;

/// Whether a type is within the bounds; `left` counts its parts down.
fn is_small(sql_type: &SqlType, depth: usize, left: &mut usize) -> bool {
    let (Some(depth), Some(rest)) = (depth.checked_sub(1), left.checked_sub(1)) else {
        return false;
    };
    *left = rest;
    match sql_type {
        SqlType::Array(item) => is_small(item, depth, left),
        SqlType::Map(key, value) => is_small(key, depth, left) && is_small(value, depth, left),
        SqlType::Struct(fields) => fields.iter().all(|field| is_small(&field.sql_type, depth, left)),
        _ => true,
    }
}

impl Parser<'_> {
    /// ALTER, ASSERT, DEFINE and UNDEFINE.
    pub(super) fn script_statement(&mut self) -> Parsed<Option<StatementKind>> {
        if self.take_word("ALTER") {
            return self.alter().map(Some);
        }
        if self.take_word("ASSERT") {
            return self.assert().map(Some);
        }
        if self.take_word("DEFINE") {
            let name = self.name("a variable's name")?;
            self.expect_symbol("=")?;
            let value = self.string("a value in quotes")?;
            self.variables.insert(name.text.to_string(), value.clone());
            return Ok(Some(StatementKind::Define(name, value)));
        }
        if self.take_word("UNDEFINE") {
            let name = self.name("a variable's name")?;
            if self.variables.remove(&*name.text).is_none() {
                let problem = Problem::new(name.span, format!("the variable {} is not defined", name.text));
                return Err(problem.nearest(&name.text, self.variables.keys().map(String::as_str)));
            }
            return Ok(Some(StatementKind::Undefine(name)));
        }
        Ok(None)
    }

    /// `CREATE TYPE [IF NOT EXISTS] name AS type`, behind TYPE.
    pub(super) fn create_type(&mut self) -> Parsed<StatementKind> {
        let if_not_exists = self.take_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name("the type's name")?;
        self.expect_word("AS")?;
        let start = self.span();
        let sql_type = self.sql_type()?;
        if !is_small(&sql_type, MAX_DEPTH, &mut MAX_TYPE.clone()) {
            let span = start.to(self.last_span());
            let message = format!(
                "the type {} has more than {MAX_TYPE} parts or {MAX_DEPTH} levels",
                name.text
            );
            return Err(Problem::new(span, message));
        }
        if self.types.contains_key(&name.text) {
            if !if_not_exists {
                let problem = Problem::new(name.span, format!("the type {} exists already", name.text));
                return Err(problem.hint("DROP TYPE removes it, IF NOT EXISTS keeps it"));
            }
        } else {
            self.types.insert(name.text.clone(), sql_type.clone());
        }
        Ok(StatementKind::CreateType {
            if_not_exists,
            name,
            sql_type,
        })
    }

    /// `DROP TYPE [IF EXISTS] name`, behind TYPE.
    pub(super) fn drop_type(&mut self) -> Parsed<StatementKind> {
        let if_exists = self.take_words(&["IF", "EXISTS"]);
        let name = self.name("a type's name")?;
        if self.types.remove(&name.text).is_none() && !if_exists {
            let problem = Problem::new(name.span, format!("there is no type {}", name.text));
            return Err(problem.nearest(&name.text, self.types.keys().map(|name| &**name)));
        }
        Ok(StatementKind::DropType { if_exists, name })
    }

    fn alter(&mut self) -> Parsed<StatementKind> {
        if self.take_word("SYSTEM") {
            let name = self.string("a property's name in quotes")?;
            self.expect_symbol("=")?;
            return Ok(StatementKind::Set(name, self.string("a value in quotes")?));
        }
        let kind = self.relation_kind()?;
        let name = self.name("a name")?;
        let columns = self.list(|p| {
            p.expect_word("ADD")?;
            // COLUMN may be left out, and may be a column's name
            if p.is_word("COLUMN") && matches!(p.ahead(2), Kind::Word(_) | Kind::Quoted(_)) {
                p.advance();
            }
            p.column()
        })?;
        if let Some(column) = columns.iter().find(|c| c.role != ColumnRole::Value) {
            let message = format!(
                "column {} cannot be added: ALTER adds columns of the value",
                column.name.text
            );
            return Err(Problem::new(column.span, message));
        }
        Ok(StatementKind::Alter { kind, name, columns })
    }

    fn assert(&mut self) -> Parsed<StatementKind> {
        let absent = self.take_words(&["NOT", "EXISTS"]);
        let what = if self.take_word("TOPIC") {
            let name = self.resource("a topic's name")?;
            let with = if self.take_word("WITH") {
                self.properties()?
            } else {
                Vec::new()
            };
            Asserted::Topic { name, with }
        } else if self.take_word("SCHEMA") {
            let start = self.span();
            let subject = if self.take_word("SUBJECT") {
                Some(self.resource("a subject's name")?)
            } else {
                None
            };
            let id = if self.take_word("ID") {
                Some(self.whole_number("a schema's id")?)
            } else {
                None
            };
            if subject.is_none() && id.is_none() {
                return Err(Problem::new(start, "ASSERT SCHEMA needs SUBJECT, ID or both"));
            }
            Asserted::Schema { subject, id }
        } else {
            let problem = self.expected("TOPIC or SCHEMA");
            return Err(problem.hint("ASSERT VALUES, STREAM and TABLE belong to test files, see `millstream test`"));
        };
        let timeout_ms = if self.take_word("TIMEOUT") {
            let n: u64 = self.whole_number("a number")?;
            Some(n.saturating_mul(self.unit_ms()?))
        } else {
            None
        };
        Ok(StatementKind::Assert(Assert {
            absent,
            what,
            timeout_ms,
        }))
    }

    fn whole_number<T: std::str::FromStr>(&mut self, what: &str) -> Parsed<T> {
        let parsed = match self.peek() {
            Kind::Number(n) => n.parse().ok(),
            _ => None,
        };
        let n = parsed.ok_or_else(|| self.expected(what))?;
        self.advance();
        Ok(n)
    }

    /// A unit of time in milliseconds.
    fn unit_ms(&mut self) -> Parsed<u64> {
        const UNITS: &[(&str, u64)] = &[
            ("MILLISECOND", 1),
            ("SECOND", 1_000),
            ("MINUTE", 60_000),
            ("HOUR", 3_600_000),
            ("DAY", 86_400_000),
        ];
        let Kind::Word(word) = self.peek() else {
            return Err(self.expected("a unit of time"));
        };
        let word = word.to_uppercase();
        let found = UNITS
            .iter()
            .find(|(unit, _)| word == *unit || word.strip_suffix('S') == Some(unit));
        let Some((_, ms)) = found else {
            return Err(self.expected("SECONDS or another unit of time"));
        };
        self.advance();
        Ok(*ms)
    }
}
