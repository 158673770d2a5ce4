//! Expressions that begin with a word of their own: CASE, CAST, ARRAY, MAP and STRUCT.

use super::{Parsed, Parser};
use crate::sql::ast::ExpressionKind;

impl Parser<'_> {
    pub(super) fn case(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("CASE")?;
        let operand = if self.is_word("WHEN") {
            None
        } else {
            Some(Box::new(self.expression()?))
        };
        let mut whens = Vec::new();
        while self.take_word("WHEN") {
            let when = self.expression()?;
            self.expect_word("THEN")?;
            whens.push((when, self.expression()?));
        }
        if whens.is_empty() {
            return Err(self.expected("WHEN"));
        }
        let otherwise = if self.take_word("ELSE") {
            Some(Box::new(self.expression()?))
        } else {
            None
        };
        self.expect_word("END")?;
        Ok(ExpressionKind::Case {
            operand,
            whens,
            otherwise,
        })
    }

    pub(super) fn cast(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("CAST")?;
        self.expect_symbol("(")?;
        let operand = self.expression()?;
        self.expect_word("AS")?;
        let to = self.sql_type()?;
        self.expect_symbol(")")?;
        Ok(ExpressionKind::Cast(operand.into(), to))
    }

    pub(super) fn array(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("ARRAY")?;
        self.expect_symbol("[")?;
        let items = if self.is_symbol("]") {
            Vec::new()
        } else {
            self.list(Self::expression)?
        };
        self.expect_symbol("]")?;
        Ok(ExpressionKind::Array(items))
    }

    pub(super) fn map(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("MAP")?;
        self.expect_symbol("(")?;
        let entry = |p: &mut Self| {
            let key = p.expression()?;
            p.expect_symbol(":=")?;
            Ok((key, p.expression()?))
        };
        let entries = if self.is_symbol(")") {
            Vec::new()
        } else {
            self.list(entry)?
        };
        self.expect_symbol(")")?;
        Ok(ExpressionKind::Map(entries))
    }

    pub(super) fn structure(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("STRUCT")?;
        self.expect_symbol("(")?;
        let field = |p: &mut Self| {
            let name = p.any_name("a field's name")?;
            p.expect_symbol(":=")?;
            Ok((name, p.expression()?))
        };
        let fields = if self.is_symbol(")") {
            Vec::new()
        } else {
            self.list(field)?
        };
        self.expect_symbol(")")?;
        Ok(ExpressionKind::Struct(fields))
    }
}
