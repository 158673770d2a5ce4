//! OVER: the one window function there is, ROW_NUMBER().

use super::{Parsed, Parser};
use crate::sql::ast::{ExpressionKind, Name};
use crate::sql::diagnostic::Problem;
use crate::sql::lex::Kind;

impl Parser<'_> {
    /// What stands behind the call of a function if it is OVER; `bare`: the call has no arguments, nor anything else that only aggregates take.
    pub(super) fn over(&mut self, name: &Name, bare: bool) -> Parsed<Option<ExpressionKind>> {
        let row_number = bare && &*name.text == "ROW_NUMBER";
        let follows = self.is_word("OVER") && matches!(self.ahead(1), Kind::Symbol(s) if s == "(");
        match (row_number, follows) {
            (true, true) => self.row_number().map(Some),
            (true, false) => Err(self.expected("OVER (PARTITION BY ... ORDER BY ...)")),
            (false, true) => {
                let problem = Problem::unsupported(self.span(), format!("{} OVER", name.text));
                let hint = "QUALIFY ROW_NUMBER() OVER (...) gives the first rows of a group, GROUP BY aggregates";
                Err(problem.hint(hint))
            }
            (false, false) => Ok(None),
        }
    }

    fn row_number(&mut self) -> Parsed<ExpressionKind> {
        self.expect_word("OVER")?;
        self.expect_symbol("(")?;
        self.expect_word("PARTITION")?;
        self.expect_word("BY")?;
        let partition_by = self.list(Self::expression)?;
        self.expect_word("ORDER")?;
        self.expect_word("BY")?;
        let order_by = self.ordering()?;
        self.expect_symbol(")")?;
        Ok(ExpressionKind::RowNumber { partition_by, order_by })
    }
}
