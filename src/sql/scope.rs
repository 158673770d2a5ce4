//! The names that a query can use, and what they stand for at the point of the plan that has been reached.

use std::sync::Arc;

use super::ast::Name;
use super::diagnostic::{Problem, Span};
use crate::expr::Expr;
use crate::types::SqlType;

/// A column that can be named.
#[derive(Clone, Debug)]
pub struct ScopeColumn {
    /// Which relation of the query it belongs to: index in [`Scope::relations`]. `None` for the synthetic key of a full join.
    pub relation: Option<usize>,
    /// Its name there.
    pub name: Arc<str>,
    /// Its value, over the node that has been reached.
    pub expr: Expr,
    /// Its type.
    pub sql_type: SqlType,
    /// Not part of `*`: a pseudo column.
    pub hidden: bool,
    /// Why it cannot be used any more, if so.
    pub lost: Option<&'static str>,
}

/// A relation as the query calls it.
#[derive(Clone, Debug)]
pub struct ScopeRelation {
    /// Alias, or name.
    pub alias: Arc<str>,
    /// The relation's own name.
    pub name: Arc<str>,
}

/// All that can be named.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The relations, from left to right.
    pub relations: Vec<ScopeRelation>,
    /// Their columns.
    pub columns: Vec<ScopeColumn>,
}

impl Scope {
    /// Finds a column by name; an index in [`Self::columns`].
    ///
    /// # Errors
    /// When there is none, or more than one, or the relation is not part of the query.
    pub fn resolve(&self, qualifier: Option<&Name>, name: &Name) -> Result<usize, Problem> {
        let span = qualifier.map_or(name.span, |q| q.span.to(name.span));
        let relation = match qualifier {
            None => None,
            Some(q) => Some(self.relation(q)?),
        };
        let found: Vec<usize> = (0..self.columns.len())
            .filter(|i| *self.columns[*i].name == *name.text)
            .filter(|i| relation.is_none() || self.columns[*i].relation == relation)
            .collect();
        match found.as_slice() {
            [] => Err(self.unknown(relation, name, span)),
            [one] => match self.columns[*one].lost {
                Some(why) => Err(Problem::unsupported(span, why)),
                None => Ok(*one),
            },
            _ => {
                let all: Vec<_> = found.iter().map(|i| self.qualified(*i)).collect();
                let message = format!("column {} is ambiguous: it can be {}", name.text, all.join(" or "));
                Err(Problem::new(span, message).hint("name the relation"))
            }
        }
    }

    fn relation(&self, qualifier: &Name) -> Result<usize, Problem> {
        let found = self.relations.iter().position(|r| r.alias == qualifier.text);
        found.ok_or_else(|| {
            let problem = Problem::new(
                qualifier.span,
                format!("{} is no relation of this query", qualifier.text),
            );
            match self.relations.iter().find(|r| r.name == qualifier.text) {
                Some(r) => problem.hint(format!("it is called {} here", r.alias)),
                None if self.is_struct(&qualifier.text) => problem.hint(format!(
                    "{} is a column: its fields are taken with '->', {0}->FIELD",
                    qualifier.text
                )),
                None => problem.nearest(&qualifier.text, self.relations.iter().map(|r| &*r.alias)),
            }
        })
    }

    fn is_struct(&self, column: &str) -> bool {
        let mut named = self.columns.iter().filter(|c| *c.name == *column);
        named.any(|c| matches!(c.sql_type, SqlType::Struct(_)))
    }

    fn unknown(&self, relation: Option<usize>, name: &Name, span: Span) -> Problem {
        let of: Vec<&str> = match relation {
            Some(i) => vec![&*self.relations[i].alias],
            None => self.relations.iter().map(|r| &*r.alias).collect(),
        };
        let known = self
            .columns
            .iter()
            .filter(|c| relation.is_none() || c.relation == relation);
        let message = match of.as_slice() {
            [] => format!("there is no column {}", name.text),
            of => format!("there is no column {} in {}", name.text, of.join(" or ")),
        };
        let problem = Problem::new(span, message);
        if crate::types::WINDOW_COLUMNS.contains(&&*name.text) {
            return problem.hint("it is there with WINDOW and GROUP BY, and in what has windows in its key");
        }
        problem.nearest(&name.text, known.map(|c| &*c.name))
    }

    /// `RELATION.COLUMN`.
    pub fn qualified(&self, column: usize) -> String {
        let column = &self.columns[column];
        match column.relation {
            Some(i) if self.relations.len() > 1 => format!("{}.{}", self.relations[i].alias, column.name),
            _ => column.name.to_string(),
        }
    }

    /// Whether several relations of the query have a column of this name.
    pub fn clashes(&self, name: &str) -> bool {
        self.columns.iter().filter(|c| &*c.name == name).count() > 1
    }

    /// The columns of `*` or `relation.*`.
    ///
    /// # Errors
    /// When the relation is not part of the query.
    pub fn all(&self, qualifier: Option<&Name>) -> Result<Vec<usize>, Problem> {
        let relation = match qualifier {
            None => None,
            Some(q) => Some(self.relation(q)?),
        };
        let visible = (0..self.columns.len()).filter(|i| !self.columns[*i].hidden && self.columns[*i].lost.is_none());
        Ok(visible
            .filter(|i| relation.is_none() || self.columns[*i].relation == relation)
            .collect())
    }
}
