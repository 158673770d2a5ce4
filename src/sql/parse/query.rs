//! SELECT and its clauses.

use super::{Parsed, Parser};
use crate::sql::ast::{Emit, Expression, Join, Name, Query, Raw, SelectItem, TableRef};
use crate::sql::diagnostic::Problem;
use crate::sql::lex::Kind;
use crate::topology::JoinKind;

impl Parser<'_> {
    pub(super) fn query(&mut self) -> Parsed<Query> {
        let start = self.span();
        self.expect_word("SELECT")?;
        if self.is_word("DISTINCT") {
            return Err(Problem::unsupported(self.span(), "SELECT DISTINCT")
                .hint("CREATE TABLE ... AS SELECT ..., COUNT(*) FROM ... GROUP BY ... has a row for each"));
        }
        let select = self.list(Self::select_item)?;
        self.expect_word("FROM")?;
        let from = self.table_ref()?;
        if self.is_as_of() {
            let problem = Problem::new(
                self.span(),
                "FOR SYSTEM_TIME AS OF belongs to the table that a stream is joined with",
            );
            return Err(problem.hint("FROM stream s JOIN table FOR SYSTEM_TIME AS OF s.ROWTIME ON ..."));
        }
        let mut joins = Vec::new();
        while let Some(join) = self.join()? {
            joins.push(join);
        }
        let window = if self.take_word("WINDOW") {
            Some(self.window()?)
        } else {
            None
        };
        let filter = if self.take_word("WHERE") {
            Some(self.expression()?)
        } else {
            None
        };
        let group_by = if self.take_words(&["GROUP", "BY"]) {
            self.keys()?
        } else {
            Vec::new()
        };
        let partition_by = if self.take_words(&["PARTITION", "BY"]) {
            self.keys()?
        } else {
            Vec::new()
        };
        let having = if self.take_word("HAVING") {
            Some(self.expression()?)
        } else {
            None
        };
        let qualify = if self.take_word("QUALIFY") {
            Some(self.expression()?)
        } else {
            None
        };
        let emit = self.emit()?;
        let order_by = if self.take_words(&["ORDER", "BY"]) {
            self.ordering()?
        } else {
            Vec::new()
        };
        let limit = self.limit()?;
        Ok(Query {
            select,
            from,
            joins,
            window,
            filter,
            group_by,
            partition_by,
            having,
            qualify,
            emit,
            order_by,
            limit,
            span: start.to(self.last_span()),
        })
    }

    /// What stands behind ORDER BY; the flag is DESC.
    pub(super) fn ordering(&mut self) -> Parsed<Vec<(Expression, bool)>> {
        self.list(|p| {
            let key = p.expression()?;
            let descending = p.take_word("DESC");
            if !descending {
                p.take_word("ASC");
            }
            Ok((key, descending))
        })
    }

    fn limit(&mut self) -> Parsed<Option<(u64, crate::sql::diagnostic::Span)>> {
        if !self.take_word("LIMIT") {
            return Ok(None);
        }
        let parsed = match self.peek() {
            Kind::Number(n) => n.parse().ok(),
            _ => None,
        };
        let Some(n) = parsed else {
            return Err(self.expected("a number of rows"));
        };
        self.advance();
        Ok(Some((n, self.last_span())))
    }

    fn emit(&mut self) -> Parsed<Option<(Emit, crate::sql::diagnostic::Span)>> {
        let start = self.span();
        if !self.take_word("EMIT") {
            return Ok(None);
        }
        let emit = if self.take_word("CHANGES") {
            Emit::Changes
        } else if self.take_word("FINAL") {
            Emit::Final
        } else {
            return Err(self.expected("CHANGES or FINAL"));
        };
        Ok(Some((emit, start.to(self.last_span()))))
    }

    fn select_item(&mut self) -> Parsed<SelectItem> {
        let start = self.span();
        if self.take_symbol("*") {
            return Ok(SelectItem::All {
                qualifier: None,
                span: start,
            });
        }
        let dot_star =
            matches!((self.ahead(1), self.ahead(2)), (Kind::Symbol(a), Kind::Symbol(b)) if a == "." && b == "*");
        if dot_star {
            let qualifier = Some(self.name("a relation's name")?);
            self.advance();
            self.advance();
            return Ok(SelectItem::All {
                qualifier,
                span: start.to(self.last_span()),
            });
        }
        let expression = self.expression()?;
        let named = self.alias_follows();
        let alias = if self.take_word("AS") || named {
            Some(self.name("a column's name")?)
        } else {
            None
        };
        Ok(SelectItem::One { expression, alias })
    }

    fn table_ref(&mut self) -> Parsed<TableRef> {
        if self.is_symbol("(") {
            return Err(Problem::unsupported(self.span(), "a query inside FROM")
                .hint("make it a stream or table of its own with CREATE ... AS SELECT"));
        }
        let written = match self.peek() {
            Kind::Word(word) => word.clone(),
            _ => String::new(),
        };
        let mut name = self.name("a stream or table")?;
        let mut topology = None;
        if self.take_symbol(".") {
            let relation = self.name("a stream or table")?;
            let mut before = std::mem::replace(&mut name, relation);
            if !written.is_empty() {
                // topologies are called like their files, which do not fold
                before.text = written.into();
            }
            topology = Some(before);
        }
        let alias = self.table_alias()?;
        Ok(TableRef { topology, name, alias })
    }

    fn table_alias(&mut self) -> Parsed<Option<Name>> {
        let named = self.alias_follows() && !self.is_as_of();
        Ok(if self.take_word("AS") || named {
            Some(self.name("an alias")?)
        } else {
            None
        })
    }

    fn is_as_of(&self) -> bool {
        self.is_word("FOR") && self.ahead_is_word(1, "SYSTEM_TIME")
    }

    /// `FOR SYSTEM_TIME AS OF time`, the alias before it or behind it.
    fn as_of(&mut self, right: &mut TableRef) -> Parsed<Option<Expression>> {
        if !self.is_as_of() {
            return Ok(None);
        }
        self.at += 2;
        self.expect_word("AS")?;
        self.expect_word("OF")?;
        let time = self.expression()?;
        if right.alias.is_none() {
            right.alias = self.table_alias()?;
        }
        Ok(Some(time))
    }

    fn join(&mut self) -> Parsed<Option<Join>> {
        let start = self.span();
        let kind = if self.take_word("INNER") || self.is_word("JOIN") {
            JoinKind::Inner
        } else if self.take_word("LEFT") {
            JoinKind::Left
        } else if self.take_word("RIGHT") {
            JoinKind::Right
        } else if self.take_word("FULL") {
            JoinKind::Full
        } else if self.is_word("CROSS") || self.is_symbol(",") {
            return Err(Problem::new(self.span(), "a join needs a condition").hint("write a JOIN b ON a.x = b.y"));
        } else {
            return Ok(None);
        };
        if kind != JoinKind::Inner {
            self.take_word("OUTER");
        }
        self.expect_word("JOIN")?;
        let mut right = self.table_ref()?;
        let as_of = self.as_of(&mut right)?;
        let within = if self.take_word("WITHIN") {
            Some(self.within()?)
        } else {
            None
        };
        if !self.take_word("ON") {
            let problem = self.expected("ON");
            return Err(match self.is_word("USING") {
                true => problem.hint("write ON a.x = b.x"),
                false => problem,
            });
        }
        let on = self.expression()?;
        Ok(Some(Join {
            kind,
            right,
            as_of,
            within,
            on,
            span: start.to(self.last_span()),
        }))
    }

    /// `1 HOUR GRACE PERIOD 1 DAY`, or `(1 HOUR, 2 HOURS)` with the grace period.
    fn within(&mut self) -> Parsed<Raw> {
        let from = self.at;
        if self.take_symbol("(") {
            self.duration()?;
            self.expect_symbol(",")?;
            self.duration()?;
            self.expect_symbol(")")?;
        } else {
            self.duration()?;
        }
        if self.take_word("GRACE") {
            self.expect_word("PERIOD")?;
            self.duration()?;
        }
        Ok(self.raw(from))
    }

    /// The tokens from an index up to here, as text.
    fn raw(&self, from: usize) -> Raw {
        let tokens = &self.tokens[from..self.at];
        let words = tokens.iter().map(|t| match &t.kind {
            Kind::Word(w) => w.to_uppercase(),
            Kind::Quoted(w) => format!("`{w}`"),
            Kind::Number(n) => n.clone(),
            Kind::String(s) => format!("'{}'", s.replace('\'', "''")),
            Kind::Symbol(s) => s.clone(),
            Kind::Variable(v) => format!("${{{v}}}"),
            Kind::End => String::new(),
        });
        Raw {
            text: words.collect::<Vec<_>>().join(" "),
            span: match (tokens.first(), tokens.last()) {
                (Some(first), Some(last)) => first.span.to(last.span),
                _ => self.span(),
            },
        }
    }

    /// Expressions with commas between; parentheses around all of them are allowed.
    fn keys(&mut self) -> Parsed<Vec<Expression>> {
        let start = self.at;
        if self.take_symbol("(") {
            let all = self.list(Self::expression);
            let closes = all.is_ok() && self.take_symbol(")");
            let goes_on = ["AND", "OR", "IS", "IN", "NOT", "BETWEEN", "LIKE"]
                .iter()
                .any(|word| self.is_word(word));
            let ends = !goes_on && !matches!(self.peek(), Kind::Symbol(s) if s != ";" && s != ")");
            if let (Ok(all), true, true) = (all, closes, ends) {
                return Ok(all);
            }
            self.at = start;
        }
        self.list(Self::expression)
    }
}
