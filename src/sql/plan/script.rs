//! What a file's statements amount to: CREATE OR REPLACE, ALTER and DROP of what the same file has made before are carried out on the
//! statements, so that what is planned is the end of the script, each relation once.
//!
//! A file is deployed as a whole: nothing that it drops again was ever there, and a replaced query never ran. What such a statement would do
//! to relations of *another* file it does not do here: a file cannot reach them.

use std::sync::Arc;

use crate::sql::ast::{Create, Expression, ExpressionKind, Name, Query, SelectItem, Statement, StatementKind};
use crate::sql::diagnostic::{Problem, Span};
use crate::types::RelationKind;

/// The statements that are left, in order, and what is wrong with the ones carried out.
pub(in crate::sql) fn effective(statements: &[Statement]) -> (Vec<Statement>, Vec<Problem>) {
    let mut script = Script::default();
    for statement in statements {
        if let Err(problem) = script.take(statement) {
            script.problems.push(problem);
        }
    }
    (script.live, script.problems)
}

#[derive(Default)]
struct Script {
    live: Vec<Statement>,
    problems: Vec<Problem>,
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

    fn take(&mut self, statement: &Statement) -> Result<(), Problem> {
        match &statement.kind {
            StatementKind::Create(create) => self.create(create, statement),
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
                self.live.push(statement.clone());
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

    fn create(&mut self, create: &Create, statement: &Statement) -> Result<(), Problem> {
        let Some((at, old)) = self.find(&create.name) else {
            self.live.push(statement.clone());
            return Ok(());
        };
        if create.if_not_exists && !create.or_replace {
            return Ok(());
        }
        if !create.or_replace {
            // the planner names the line of the other one
            self.live.push(statement.clone());
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
        let used = self.live[at + 1..].iter().any(|s| reads_or_writes(s, &name.text));
        if used {
            // those in between go on with the new definition
            self.live[at] = statement.clone();
        } else {
            self.live.remove(at);
            self.live.push(statement.clone());
        }
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
        self.live.retain(|s| target(s).is_none_or(|target| target != name.text));
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
