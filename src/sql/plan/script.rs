//! What a file's statements amount to: CREATE OR REPLACE, ALTER and DROP of what the same file has made before are carried out on the
//! statements, so that what is planned is the end of the script, each relation once.
//!
//! A file is deployed as a whole: nothing that it drops again was ever there, and a replaced query never ran. What such a statement would do
//! to relations of *another* file it does not do here: a file cannot reach them.

use std::sync::Arc;

use super::replace::same_shape;
use crate::sql::ast::{Create, Expression, ExpressionKind, Name, Query, SelectItem, Statement, StatementKind};
use crate::sql::diagnostic::{Problem, Span};
use crate::types::RelationKind;

/// What a script amounts to.
#[derive(Default)]
pub(in crate::sql) struct Script {
    /// The statements that are left, in order.
    pub live: Vec<Statement>,
    /// For each of them which statement of the script it is.
    pub origins: Vec<usize>,
    /// What was replaced.
    pub replaced: Vec<Replaced>,
    /// What is wrong with the statements carried out.
    pub problems: Vec<Problem>,
}

/// A relation that CREATE OR REPLACE made anew.
pub(in crate::sql) struct Replaced {
    /// The statements that were in force before.
    pub before: Vec<Statement>,
    /// Which of them made the relation.
    pub old: usize,
    /// The statements in force afterwards.
    pub after: Vec<Statement>,
    /// Which of them makes it now.
    pub new: usize,
}

/// Carries a script out.
pub(in crate::sql) fn effective(statements: &[Statement]) -> Script {
    let mut script = Script::default();
    for (i, statement) in statements.iter().enumerate() {
        if let Err(problem) = script.take(i, statement) {
            script.problems.push(problem);
        }
    }
    script
}

fn lower(kind: RelationKind) -> String {
    kind.to_string().to_lowercase()
}

impl Script {
    fn find(&self, name: &Name) -> Option<(usize, &Create)> {
        self.live.iter().enumerate().find_map(|(i, s)| match &s.kind {
            StatementKind::Create(create) if create.name == *name => Some((i, create)),
            _ => None,
        })
    }

    fn push(&mut self, origin: usize, statement: &Statement) {
        self.live.push(statement.clone());
        self.origins.push(origin);
    }

    fn take(&mut self, origin: usize, statement: &Statement) -> Result<(), Problem> {
        match &statement.kind {
            StatementKind::Create(create) => self.create(origin, create, statement),
            StatementKind::Drop {
                kind, if_exists, name, ..
            } => self.drop(*kind, *if_exists, name, statement.span),
            StatementKind::Alter { kind, name, columns } => {
                let (at, create) = self.known(*kind, name)?;
                if create.query.is_some() {
                    let message = format!("{} is made by a query: ALTER does not change it", name.text);
                    return Err(Problem::new(name.span, message).hint("add the column to the query's projection"));
                }
                if create.source {
                    let message = format!("{} is a SOURCE {}: ALTER does not change it", name.text, create.kind);
                    return Err(Problem::new(name.span, message));
                }
                if let StatementKind::Create(create) = &mut self.live[at].kind {
                    // a name that is there already is the declaration's own error, at the new column
                    create.columns.get_or_insert_default().extend(columns.iter().cloned());
                }
                Ok(())
            }
            _ => {
                self.push(origin, statement);
                Ok(())
            }
        }
    }

    /// A relation of the file, of the kind that a statement says.
    fn known(&self, kind: RelationKind, name: &Name) -> Result<(usize, &Create), Problem> {
        let Some((at, create)) = self.find(name) else {
            let known = self.live.iter().filter_map(|s| match &s.kind {
                StatementKind::Create(create) => Some(&*create.name.text),
                _ => None,
            });
            let problem = Problem::new(name.span, format!("there is no {} {}", lower(kind), name.text));
            return Err(problem.nearest(&name.text, known));
        };
        if create.kind != kind {
            let message = format!("{} is a {}, not a {}", name.text, lower(create.kind), lower(kind));
            return Err(Problem::new(name.span, message));
        }
        Ok((at, create))
    }

    fn create(&mut self, origin: usize, create: &Create, statement: &Statement) -> Result<(), Problem> {
        let Some((at, old)) = self.find(&create.name) else {
            self.push(origin, statement);
            return Ok(());
        };
        if create.if_not_exists && !create.or_replace {
            return Ok(());
        }
        if !create.or_replace {
            // the planner names the line of the other one
            self.push(origin, statement);
            return Ok(());
        }
        let name = &create.name;
        if old.kind != create.kind {
            let message = format!(
                "{} is a {}: it cannot be replaced by a {}",
                name.text,
                lower(old.kind),
                lower(create.kind)
            );
            return Err(Problem::new(name.span, message).hint("DROP it first"));
        }
        if old.source || create.source {
            let message = format!("{} is a SOURCE {}: it cannot be replaced", name.text, create.kind);
            return Err(Problem::new(name.span, message).hint("DROP it first"));
        }
        if old.query.is_some() != create.query.is_some() {
            let message = format!("{}: a declaration and a query cannot replace each other", name.text);
            return Err(Problem::new(name.span, message).hint("DROP it first"));
        }
        if let (Some(before), Some(after)) = (&old.query, &create.query) {
            same_shape(name, before, after)?;
        }
        let before = self.live.clone();
        let used = self.live[at + 1..].iter().any(|s| reads_or_writes(s, &name.text));
        let new = if used {
            // those in between go on with the new definition
            self.live[at] = statement.clone();
            self.origins[at] = origin;
            at
        } else {
            self.live.remove(at);
            self.origins.remove(at);
            self.push(origin, statement);
            self.live.len() - 1
        };
        self.replaced.push(Replaced {
            before,
            old: at,
            after: self.live.clone(),
            new,
        });
        Ok(())
    }

    fn drop(&mut self, kind: RelationKind, if_exists: bool, name: &Name, span: Span) -> Result<(), Problem> {
        // scripts begin with DROP ... IF EXISTS to be repeatable, which a file is anyway
        if if_exists && self.find(name).is_none() {
            return Ok(());
        }
        let (at, _) = self.known(kind, name)?;
        let readers: Vec<Arc<str>> = self
            .live
            .iter()
            .filter(|s| reads(s, &name.text))
            .filter_map(target)
            .collect();
        if !readers.is_empty() {
            let message = format!("{} cannot be dropped: {} read from it", name.text, readers.join(", "));
            return Err(Problem::new(span, message).hint("DROP them first"));
        }
        self.live.remove(at);
        self.origins.remove(at);
        let kept: Vec<bool> = self
            .live
            .iter()
            .map(|s| target(s).is_none_or(|target| target != name.text))
            .collect();
        let mut keeps = kept.iter();
        self.live.retain(|_| keeps.next().copied().unwrap_or(true));
        let mut keeps = kept.iter();
        self.origins.retain(|_| keeps.next().copied().unwrap_or(true));
        Ok(())
    }
}

/// The relation that a statement makes or writes to.
fn target(statement: &Statement) -> Option<Arc<str>> {
    match &statement.kind {
        StatementKind::Create(create) => Some(create.name.text.clone()),
        StatementKind::InsertSelect { into, .. } | StatementKind::InsertValues { into, .. } => Some(into.text.clone()),
        _ => None,
    }
}

impl Statement {
    /// Its SELECT.
    pub(super) fn query(&self) -> Option<&Query> {
        match &self.kind {
            StatementKind::Create(create) => create.query.as_deref(),
            StatementKind::InsertSelect { query, .. } | StatementKind::Query(query) => Some(query),
            _ => None,
        }
    }
}

fn reads(statement: &Statement, name: &str) -> bool {
    statement
        .query()
        .is_some_and(|q| &*q.from.name.text == name || q.joins.iter().any(|j| &*j.right.name.text == name))
}

fn reads_or_writes(statement: &Statement, name: &str) -> bool {
    reads(statement, name) || target(statement).is_some_and(|target| &*target == name)
}

/// Whether a query names a column anywhere.
pub(super) fn names_column(query: &Query, column: &str) -> bool {
    fn within(e: &Expression, column: &str) -> bool {
        let mut found = matches!(&e.kind, ExpressionKind::Column(_, name) if &*name.text == column);
        e.children(&mut |child| found = found || within(child, column));
        found
    }
    let items = query.select.iter().filter_map(|item| match item {
        SelectItem::One { expression, .. } => Some(expression),
        SelectItem::All { .. } => None,
    });
    let clauses = query
        .filter
        .iter()
        .chain(&query.having)
        .chain(&query.qualify)
        .chain(&query.group_by)
        .chain(&query.partition_by);
    let joins = query.joins.iter().map(|join| &join.on);
    items.chain(clauses).chain(joins).any(|e| within(e, column))
}
