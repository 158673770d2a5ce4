//! `FOR SYSTEM_TIME AS OF`: a stream's record sees the row of a table that was valid at a time.

use super::Planner;
use super::query::Pipe;
use crate::expr::Expr;
use crate::sql::ast::Join;
use crate::sql::check::Checker;
use crate::sql::diagnostic::Problem;
use crate::types::{RelationKind, SqlType};

impl Planner<'_> {
    /// Only a stream looks back, and only into tables that keep their history.
    pub(super) fn refuse_as_of(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let Some(time) = &join.as_of else { return Ok(()) };
        let name = &right.scope.relations[0].name;
        if self.builder.kind(right.node) == RelationKind::Stream {
            let message = format!("FOR SYSTEM_TIME AS OF looks into a table's history: {name} is a stream");
            return Err(Problem::new(time.span, message).hint("streams meet near in time: WITHIN 1 HOUR"));
        }
        if self.builder.kind(left.node) == RelationKind::Table {
            let message = "FOR SYSTEM_TIME AS OF is for records of a stream: the left side is a table";
            let hint = "two tables are joined as they are now; read the left topic as a stream to look back";
            return Err(Problem::new(time.span, message).hint(hint));
        }
        if self.builder.is_global(right.node) {
            let message = format!("{name} is a global table, which keeps no history");
            let hint =
                "leave GLOBAL out and give it HISTORY_RETENTION_MS: it is then joined by the key of its partitions";
            return Err(Problem::new(join.right.name.span, message).hint(hint));
        }
        if self.builder.keeps_history(right.node) {
            return Ok(());
        }
        let derived = self.known.get(name).and_then(|known| known.relation);
        let derived = derived.is_some_and(|relation| self.builder.relation_of(relation).derived);
        let problem = Problem::new(join.right.name.span, format!("{name} keeps no history"));
        Err(match derived {
            true => problem.hint(
                "what is filtered, projected or joined by key of tables WITH (HISTORY_RETENTION_MS = ...) has theirs; of another table, declare its topic as a table with that property in a file of its own",
            ),
            false => problem.hint(format!(
                "say how far back it is looked into: CREATE TABLE {name} ... WITH (..., HISTORY_RETENTION_MS = 86400000)"
            )),
        })
    }

    /// The time of the clause, over the left side.
    pub(super) fn as_of(&self, left: &Pipe, join: &Join) -> Result<Option<Expr>, Problem> {
        let Some(time) = &join.as_of else { return Ok(None) };
        let typed = Checker::new(&left.scope, "in FOR SYSTEM_TIME AS OF").check(time)?;
        match typed.type_or_string() {
            SqlType::Bigint | SqlType::Timestamp => Ok(Some(typed.expr)),
            other => {
                let message =
                    format!("FOR SYSTEM_TIME AS OF takes a TIMESTAMP, or a BIGINT of milliseconds, not {other}");
                let alias = &left.scope.relations[0].alias;
                Err(Problem::new(time.span, message).hint(format!("FOR SYSTEM_TIME AS OF {alias}.ROWTIME")))
            }
        }
    }
}
