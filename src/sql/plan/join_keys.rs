//! Which column of joined relations the result's key is called after.

use super::Planner;
use super::query::Pipe;
use crate::expr::Expr;
use crate::sql::ast::{ExpressionKind, Query, SelectItem};
use crate::sql::scope::Scope;

impl Planner<'_> {
    /// Of the columns that equal a key column, the first one that the projection has is the key; the others are values, NULL where their side
    /// is absent.
    pub(super) fn choose_keys(&self, query: &Query, mut pipe: Pipe) -> Pipe {
        for key in 0..self.declared_keys(&pipe) {
            let copies = pipe
                .joined_keys
                .iter()
                .filter(|joined| joined.key == key && joined.viable);
            let mut viable: Vec<usize> = copies.map(|joined| joined.column).collect();
            let columns = pipe.scope.columns.iter().enumerate();
            let named = columns.filter(|(_, c)| c.expr == Expr::Key(key) && !c.hidden);
            viable.extend(named.map(|(i, _)| i));
            viable.sort_unstable();
            let chosen = viable.into_iter().find(|column| selects(query, &pipe.scope, *column));
            if let Some(column) = chosen {
                pipe.scope.columns[column].expr = Expr::Key(key);
            }
        }
        pipe
    }
}

/// Whether a column is in the projection as it is.
fn selects(query: &Query, scope: &Scope, column: usize) -> bool {
    let relation = scope.columns[column].relation;
    query.select.iter().any(|item| match item {
        SelectItem::All { qualifier: None, .. } => true,
        SelectItem::All { qualifier: Some(q), .. } => {
            relation.is_some_and(|relation| scope.relations[relation].alias == q.text)
        }
        SelectItem::One { expression, .. } => match &expression.kind {
            ExpressionKind::Column(q, name) => scope.resolve(q.as_ref(), name).is_ok_and(|found| found == column),
            _ => false,
        },
    })
}
