//! JOIN: which side is what, by which keys, and what the columns are afterwards.

use super::Planner;
use super::output::{key_columns, rekeyed};
use super::query::Pipe;
use crate::expr::{CompareOp, Expr, widens};
use crate::sql::ast::{Expression, ExpressionKind, Join, Statement};
use crate::sql::check::{Checker, Typed};
use crate::sql::coerce::convert;
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::{Scope, ScopeColumn};
use crate::topology::{JoinKind, NodeRef, same_partitioning};
use crate::types::{Column, RelationKind};

/// One `left = right` of the condition.
struct Equality {
    left: Typed,
    right: Typed,
    /// The left side is a column as it is, so that it names the key.
    left_is_column: bool,
    span: Span,
}

const TABLE_TIME: &str = "the ROWTIME of a joined table";

impl Planner<'_> {
    pub(super) fn join(
        &mut self,
        name: &str,
        step: &str,
        left: Pipe,
        join: &Join,
        all: &[Statement],
    ) -> Result<Option<Pipe>, Problem> {
        let Some(right) = self.read(&join.right, all)? else {
            return Ok(None);
        };
        self.refuse_join(&left, &right, join)?;
        let equalities = self.equalities(&join.on, &left.scope, &right.scope)?;
        let equalities = self.by_primary_key(&left, &right, join, equalities)?;
        let left = self.left_by_key(name, step, left, &right, &equalities, join)?;
        if let Some(store) = self.builder.common_store(left.node, right.node) {
            let table_table = self.builder.kind(left.node) == RelationKind::Table;
            if table_table {
                let what = format!("a join whose two sides both come from the table {store}");
                return Err(Problem::unsupported(join.span, what));
            }
        }
        Ok(Some(self.joined(name, step, left, right, &equalities, join.kind)))
    }

    fn refuse_join(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<(), Problem> {
        let kinds = (self.builder.kind(left.node), self.builder.kind(right.node));
        let (alias, name) = (&right.scope.relations[0].alias, &right.scope.relations[0].name);
        if left.scope.relations.iter().any(|r| r.name == *name) {
            return Err(Problem::unsupported(
                join.right.name.span,
                format!("joining {name} with itself"),
            ));
        }
        if left.scope.relations.iter().any(|r| r.alias == *alias) {
            return Err(Problem::new(
                join.right.known_as().span,
                format!("{alias} is used twice in this query"),
            ));
        }
        match kinds {
            (RelationKind::Stream, RelationKind::Stream) => {
                return Err(Problem::unsupported(join.span, "joining two streams"));
            }
            (RelationKind::Table, RelationKind::Stream) => {
                let message = format!("a table cannot look up a stream: {name} is a stream");
                return Err(
                    Problem::new(join.right.name.span, message).hint("put the stream first: FROM stream JOIN table")
                );
            }
            (RelationKind::Stream, RelationKind::Table) if matches!(join.kind, JoinKind::Right | JoinKind::Full) => {
                let message = "a stream-table join is INNER or LEFT: only the stream's records make results";
                return Err(Problem::new(join.span, message));
            }
            (_, RelationKind::Table) => {}
        }
        match &join.within {
            Some(within) => Err(Problem::new(within.span, "WITHIN belongs to joins of two streams")),
            None => Ok(()),
        }
    }

    /// Takes the condition apart: equalities of a left and a right expression, connected by AND.
    fn equalities(&self, on: &Expression, left: &Scope, right: &Scope) -> Result<Vec<Equality>, Problem> {
        if let ExpressionKind::And(a, b) = &on.kind {
            let mut all = self.equalities(a, left, right)?;
            all.extend(self.equalities(b, left, right)?);
            return Ok(all);
        }
        let ExpressionKind::Compare(CompareOp::Equal, a, b) = &on.kind else {
            let problem = Problem::unsupported(on.span, "a condition in ON other than equality");
            return Err(problem.hint("put it into WHERE"));
        };
        let (a_side, b_side) = (side(a, left, right)?, side(b, left, right)?);
        let (l, r) = match (a_side, b_side) {
            (Some(Side::Left), Some(Side::Right)) => (a, b),
            (Some(Side::Right), Some(Side::Left)) => (b, a),
            _ => {
                let problem = Problem::new(on.span, "'=' in ON must have one side of the join on each side");
                return Err(problem.hint("ON left.column = right.column"));
            }
        };
        Ok(vec![Equality {
            left: Checker::new(left, "in ON").check(l)?,
            right: Checker::new(right, "in ON").check(r)?,
            left_is_column: matches!(l.kind, ExpressionKind::Column(..)),
            span: on.span,
        }])
    }

    /// The equalities in the order of the right table's key; all of it, and nothing else.
    fn by_primary_key(
        &self,
        left: &Pipe,
        right: &Pipe,
        join: &Join,
        equalities: Vec<Equality>,
    ) -> Result<Vec<Equality>, Problem> {
        let table = &right.scope.relations[0].name;
        let keys = &self.builder.schema(right.node).key;
        let relation = self
            .known
            .get(table)
            .and_then(|k| k.relation)
            .map(|r| self.builder.relation_of(r));
        let named = relation.map_or(keys, |r| &r.schema.key);
        let names: Vec<_> = named.iter().map(|c| c.name.to_string()).collect();
        let mut ordered: Vec<Option<Equality>> = keys.iter().map(|_| None).collect();
        for equality in equalities {
            let Expr::Key(i) = equality.right.expr else {
                let message = format!("{table} must be joined on its primary key, {}", names.join(", "));
                let tables = self.builder.kind(left.node) == RelationKind::Table;
                let foreign = tables && matches!(equality.left.expr, Expr::Key(_));
                return Err(if foreign {
                    Problem::unsupported(equality.span, "a foreign-key join from the right side").hint(message)
                } else {
                    Problem::new(equality.right.span, message)
                });
            };
            if ordered[i].is_some() {
                return Err(Problem::new(equality.span, format!("{} is compared twice", names[i])));
            }
            check_types(&equality)?;
            ordered[i] = Some(equality);
        }
        let missing: Vec<_> = names
            .iter()
            .zip(&ordered)
            .filter(|(_, e)| e.is_none())
            .map(|(n, _)| n.as_str())
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "ON must compare the whole primary key of {table}: {} is missing",
                missing.join(", ")
            );
            return Err(Problem::new(join.on.span, message));
        }
        Ok(ordered.into_iter().flatten().collect())
    }

    /// The left side keyed and partitioned as the right table is.
    fn left_by_key(
        &mut self,
        name: &str,
        step: &str,
        mut left: Pipe,
        right: &Pipe,
        equalities: &[Equality],
        join: &Join,
    ) -> Result<Pipe, Problem> {
        let keys = self.builder.schema(right.node).key.clone();
        let exprs: Vec<Expr> = equalities
            .iter()
            .zip(&keys)
            .map(|(e, key)| convert(e.left.expr.clone(), &key.sql_type, e.left.sql_type.as_ref()))
            .collect();
        let schema = self.builder.schema(left.node);
        let (width, values) = (schema.key.len(), schema.value.len());
        let is_key = exprs == key_columns(width);
        let formats = (
            self.builder.partitioned_like(left.node),
            self.builder.partitioned_like(right.node),
        );
        let apart = match formats {
            (Some(a), Some(b)) if !same_partitioning(a.key_format.format, b.key_format.format) => Some(format!(
                "the keys of {} are written as {}, those of {} as {}: equal keys are in different partitions",
                a.name, a.key_format.format, b.name, b.key_format.format
            )),
            _ => None,
        };
        if is_key && apart.is_none() {
            return Ok(left);
        }
        if self.builder.kind(left.node) == RelationKind::Table {
            return Err(match apart {
                Some(why) if is_key => Problem::new(join.span, why).hint("give both topics the same KEY_FORMAT"),
                _ => {
                    let table = &right.scope.relations[0].name;
                    let what = format!("a foreign-key join (the left table is not keyed by {table}'s primary key)");
                    Problem::unsupported(join.on.span, what)
                }
            });
        }
        let columns = equalities.iter().zip(&keys).map(|(e, key)| {
            let column = left
                .scope
                .columns
                .iter()
                .find(|c| e.left_is_column && c.expr == e.left.expr);
            Column::new(
                column.map_or(key.name.clone(), |c| c.name.clone()),
                key.sql_type.clone(),
            )
        });
        let columns: Vec<Column> = columns.collect();
        left.node = self.rekey(name, format!("{name}-{step}"), left.node, columns, exprs.clone(), None);
        for column in &mut left.scope.columns {
            column.expr = rekeyed(&column.expr, &exprs, values);
        }
        Ok(left)
    }

    /// The join and the names behind it.
    fn joined(
        &mut self,
        name: &str,
        step: &str,
        left: Pipe,
        right: Pipe,
        equalities: &[Equality],
        kind: JoinKind,
    ) -> Pipe {
        let stream = self.builder.kind(left.node) == RelationKind::Stream;
        // a side that can be absent has its key as value columns, too, which are NULL then
        let left = match kind {
            JoinKind::Inner | JoinKind::Left => left,
            JoinKind::Right | JoinKind::Full => self.with_key_copies(name, &format!("{step}-left"), left),
        };
        let right_values = self.builder.schema(right.node).value.len();
        let right = match kind {
            JoinKind::Inner | JoinKind::Right => right,
            JoinKind::Left | JoinKind::Full => self.with_key_copies(name, &format!("{step}-right"), right),
        };
        let offset = self.builder.schema(left.node).value.len();
        let node = self.builder.join(name, step, left.node, right.node, kind);
        let moved = left.scope.relations.len();
        let mut scope = left.scope;
        scope.relations.extend(right.scope.relations);
        if !stream {
            lose_time(&mut scope.columns);
        }
        let mut added = right.scope.columns;
        for column in &mut added {
            column.relation = column.relation.map(|i| i + moved);
            column.expr = match column.expr {
                Expr::Value(i) => Expr::Value(i + offset),
                // without a column on the left, the right one names the key
                Expr::Key(i) if kind == JoinKind::Left && equalities[i].left_is_column => {
                    Expr::Value(offset + right_values + i)
                }
                Expr::Key(i) if kind == JoinKind::Full => Expr::Value(offset + right_values + i),
                ref other => other.clone(),
            };
        }
        lose_time(&mut added);
        scope.columns.extend(added);
        if kind == JoinKind::Full {
            let keys = self.builder.schema(node).key.clone();
            for (i, key) in keys.into_iter().enumerate() {
                let name = if i == 0 {
                    "ROWKEY".to_string()
                } else {
                    format!("ROWKEY_{i}")
                };
                scope.columns.push(ScopeColumn {
                    relation: None,
                    name: name.into(),
                    expr: Expr::Key(i),
                    sql_type: key.sql_type,
                    hidden: false,
                    lost: None,
                });
            }
        }
        Pipe { node, scope }
    }

    /// Appends the key columns to the value; names of the left side's key then mean the copies.
    fn with_key_copies(&mut self, name: &str, step: &str, pipe: Pipe) -> Pipe {
        let mut schema = self.builder.schema(pipe.node).clone();
        let (keys, values) = (schema.key.len(), schema.value.len());
        schema.value.extend(schema.key.clone());
        let exprs = (0..values).map(Expr::Value).chain((0..keys).map(Expr::Key)).collect();
        let node: NodeRef = self.builder.project(name, step, pipe.node, schema, exprs);
        let mut scope = pipe.scope;
        if step.ends_with("-left") {
            for column in &mut scope.columns {
                if let Expr::Key(i) = column.expr {
                    column.expr = Expr::Value(values + i);
                }
            }
        }
        Pipe { node, scope }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

/// Which side's columns an expression reads; `None` for constants.
fn side(e: &Expression, left: &Scope, right: &Scope) -> Result<Option<Side>, Problem> {
    let mut both = Scope {
        relations: left.relations.iter().chain(&right.relations).cloned().collect(),
        columns: left.columns.clone(),
    };
    let (columns, relations) = (left.columns.len(), left.relations.len());
    both.columns.extend(right.columns.iter().cloned().map(|c| ScopeColumn {
        relation: c.relation.map(|i| i + relations),
        ..c
    }));
    let mut found = None;
    let mut names = Vec::new();
    columns_of(e, &mut names);
    for (qualifier, name) in names {
        let at = both.resolve(qualifier, name)?;
        let this = if at < columns { Side::Left } else { Side::Right };
        if found.is_some_and(|other| other != this) {
            let problem = Problem::new(e.span, "an expression in ON must read one side of the join only");
            return Err(problem);
        }
        found = Some(this);
    }
    Ok(found)
}

type ColumnName<'a> = (Option<&'a crate::sql::ast::Name>, &'a crate::sql::ast::Name);

/// The columns that an expression names.
fn columns_of<'a>(e: &'a Expression, found: &mut Vec<ColumnName<'a>>) {
    if let ExpressionKind::Column(qualifier, name) = &e.kind {
        found.push((qualifier.as_ref(), name));
    }
    e.children(&mut |child| columns_of(child, found));
}

fn check_types(equality: &Equality) -> Result<(), Problem> {
    let (left, right) = (equality.left.type_or_string(), equality.right.type_or_string());
    if widens(&left, &right).is_some() {
        return Ok(());
    }
    let message = format!("the sides of ON have different types: {left} and {right}");
    Err(Problem::new(equality.span, message).hint(format!("CAST the left side to {right}")))
}

fn lose_time(columns: &mut [ScopeColumn]) {
    for column in columns {
        if column.expr == Expr::Rowtime {
            column.lost = Some(TABLE_TIME);
        }
    }
}
