//! Joins with global tables: by any key of the left side, which stays where it is.

use super::Planner;
use super::query::Pipe;
use crate::sql::ast::{Join, TableRef};
use crate::sql::diagnostic::Problem;
use crate::topology::JoinKind;

impl Planner<'_> {
    /// A global table is looked up, and nothing else.
    pub(super) fn refuse_global(&self, pipe: &Pipe, from: &TableRef) -> Result<(), Problem> {
        if !self.builder.is_global(pipe.node) {
            return Ok(());
        }
        let name = &from.name.text;
        let problem = Problem::new(
            from.name.span,
            format!("{name} is a global table: its changes make no results, it can only be joined"),
        );
        Err(problem.hint(format!(
            "put it behind JOIN, or declare its topic once more without GLOBAL: FROM other JOIN {name}"
        )))
    }

    /// What is missing on the left makes no results.
    pub(super) fn refuse_global_join(&self, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let outer = matches!(join.kind, JoinKind::Right | JoinKind::Full);
        if !outer || !self.builder.is_global(right.node) {
            return Ok(());
        }
        let message = "a join with a global table is INNER or LEFT: only changes of the left side make results";
        Err(Problem::new(join.span, message))
    }
}
