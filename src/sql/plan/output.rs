//! The projection: which columns there are, what they are called, and which of them are the key. Names are a contract: they follow ksqlDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Planner;
use super::items::{Item, select_items};
use super::query::Pipe;
use crate::expr::Expr;
use crate::sql::ast::{Query, SelectItem};
use crate::sql::check::{Aggregates, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::Scope;
use crate::topology::NodeRef;
use crate::types::{Column, RelationKind, RelationSchema};

/// A planned query.
pub(super) struct Output {
    pub node: NodeRef,
    pub schema: RelationSchema,
    pub kind: RelationKind,
    /// Whether the key was made by a repartition of this query.
    pub repartitioned: bool,
}

impl Planner<'_> {
    /// GROUP BY, PARTITION BY, HAVING and the projection.
    pub(super) fn project(
        &mut self,
        name: &str,
        query: &Query,
        mut pipe: Pipe,
        partitions: Option<i32>,
    ) -> Result<Option<Output>, Problem> {
        self.check_window(query, &pipe)?;
        if let Some(condition) = &query.qualify {
            return self.qualified(name, query, condition, pipe, partitions);
        }
        let bounds = query
            .window
            .as_ref()
            .map(|window| (window, self.with_bounds(&mut pipe)));
        let mut aggregates = Aggregates::over(self.builder.schema(pipe.node).value.len());
        aggregates.limits = self.collect_limits(query)?;
        let before = self.problems.len();
        let items = select_items(query, &pipe.scope, &mut aggregates, &mut self.problems);
        for item in items.iter().filter(|item| item.typed.sql_type.is_none()) {
            let problem = Problem::new(
                item.typed.span,
                format!("column {} is NULL, so that it has no type", item.name),
            );
            self.problems.push(problem.hint("CAST(NULL AS STRING) has one"));
        }
        self.check_reserved(&items);
        if self.problems.len() > before {
            return Ok(None);
        }
        if !query.group_by.is_empty() {
            if let Some(key) = query.partition_by.first() {
                return Err(Problem::new(
                    key.span,
                    "PARTITION BY and GROUP BY cannot be used together",
                ));
            }
            return self
                .grouped(name, query, pipe, (items, aggregates, bounds), partitions)
                .map(Some);
        }
        if let Some((call, span)) = aggregates.calls.first() {
            let problem = Problem::new(
                *span,
                format!("the aggregate function {} needs GROUP BY", call.function),
            );
            return Err(problem.hint("GROUP BY the columns whose values make a group"));
        }
        if let Some(having) = &query.having {
            return Err(Problem::new(having.span, "HAVING needs GROUP BY").hint("use WHERE"));
        }
        let pipe = self.exploded(name, pipe, aggregates)?;
        let (pipe, items, repartitioned) = self.partitioned(name, query, pipe, items, partitions)?;
        self.finish(name, query, &pipe, items, repartitioned).map(Some)
    }

    /// Table functions: their values stand behind the value columns, where the projection looks for them.
    fn exploded(&mut self, name: &str, mut pipe: Pipe, aggregates: Aggregates) -> Result<Pipe, Problem> {
        let Some((call, span)) = aggregates.tables.first() else {
            return Ok(pipe);
        };
        if self.builder.kind(pipe.node) == RelationKind::Table {
            let problem = Problem::new(
                *span,
                format!(
                    "the table function {} works on streams: a table has one row a key",
                    call.function
                ),
            );
            return Err(problem);
        }
        let calls = aggregates.tables.into_iter().map(|(call, _)| call).collect();
        pipe.node = self.builder.flat_map(name, pipe.node, calls);
        Ok(pipe)
    }

    /// The properties that bound COLLECT_LIST and COLLECT_SET; a negative number is no bound.
    fn collect_limits(&self, query: &Query) -> Result<(i64, i64), Problem> {
        let limit = |of: &str| {
            let name = format!("ksql.functions.{of}.limit");
            let Some((_, value)) = self.properties.iter().find(|(known, _)| *known == name) else {
                return Ok(i64::MAX);
            };
            let limit = value.trim().parse::<i64>();
            let limit =
                limit.map_err(|_| Problem::new(select_span(query), format!("{name} is a number, not '{value}'")))?;
            Ok(if limit < 0 { i64::MAX } else { limit })
        };
        Ok((limit("collect_list")?, limit("collect_set")?))
    }

    /// A repartition that carries all value columns, then the old key's; what nobody reads is left out later.
    pub(super) fn rekey(
        &mut self,
        name: &str,
        topic: String,
        input: NodeRef,
        key: Vec<Column>,
        exprs: Vec<Expr>,
        partitions: Option<i32>,
    ) -> NodeRef {
        let old = self.builder.schema(input).clone();
        let values = (0..old.value.len())
            .map(Expr::Value)
            .chain((0..old.key.len()).map(Expr::Key));
        let schema = RelationSchema {
            key,
            value: old.value.iter().chain(&old.key).cloned().collect(),
        };
        let columns = (schema, exprs, values.collect());
        self.builder.repartition(name, topic, input, columns, partitions)
    }

    /// The projection of a query whose key is that of its node.
    pub(super) fn finish(
        &mut self,
        name: &str,
        query: &Query,
        pipe: &Pipe,
        items: Vec<Item>,
        repartitioned: bool,
    ) -> Result<Output, Problem> {
        let mut keys = self.builder.schema(pipe.node).key.clone();
        let bounds = keys.split_off(self.declared_keys(pipe));
        let mut schema = RelationSchema::default();
        let mut chosen = BTreeSet::new();
        for (i, key) in keys.iter().enumerate() {
            let found = key_item(i, &items, &pipe.scope)?;
            let Some(found) = found else {
                return Err(missing_key(name, i, key, query, &pipe.scope));
            };
            chosen.insert(found);
            schema
                .key
                .push(Column::new(items[found].name.clone(), key.sql_type.clone()));
        }
        let rest = items
            .iter()
            .enumerate()
            .filter(|(i, _)| !chosen.contains(i))
            .map(|(_, item)| item);
        let mut values = Vec::new();
        for item in rest {
            schema.value.push(Column::new(item.name.clone(), item.sql_type()));
            values.push(as_value(&item.typed.expr).clone());
        }
        if values.is_empty() {
            let problem = Problem::new(select_span(query), "the projection has no value columns");
            return Err(problem.hint("AS_VALUE(column) copies a key column into the value"));
        }
        let mut made = schema.clone();
        made.key.extend(bounds);
        let node = self.builder.project(name, "project", pipe.node, made, values);
        Ok(Output {
            node,
            schema,
            kind: self.builder.kind(node),
            repartitioned,
        })
    }
}

/// The item that is the key's column `i`: of several the one of the leftmost relation.
fn key_item(i: usize, items: &[Item], scope: &Scope) -> Result<Option<usize>, Problem> {
    let candidates: Vec<usize> = (0..items.len())
        .filter(|n| items[*n].typed.expr == Expr::Key(i))
        .collect();
    let Some(found) = candidates
        .iter()
        .copied()
        .min_by_key(|n| items[*n].column.unwrap_or(usize::MAX))
    else {
        return Ok(None);
    };
    let again = candidates
        .iter()
        .find(|n| **n != found && items[**n].column == items[found].column);
    if let Some(again) = again {
        // behind GROUP BY nothing is left of the scope but the names of the items
        let column = items[found].column.filter(|c| *c < scope.columns.len());
        let column = column.map_or(items[found].name.to_string(), |c| scope.qualified(c));
        let message = format!("the key column {column} is in the projection more than once");
        let hint = format!("AS_VALUE({column}) copies it into the value");
        return Err(Problem::new(items[*again].typed.span, message).hint(hint));
    }
    Ok(Some(found))
}

fn missing_key(name: &str, i: usize, key: &Column, query: &Query, scope: &Scope) -> Problem {
    let viable: Vec<String> = (0..scope.columns.len())
        .filter(|c| scope.columns[*c].expr == Expr::Key(i) && !scope.columns[*c].hidden)
        .map(|c| scope.qualified(c))
        .collect();
    let what = match (viable.as_slice(), query.group_by.get(i).or(query.partition_by.get(i))) {
        (_, Some(expression)) => expression.to_string(),
        ([], None) => key.name.to_string(),
        (viable, None) => viable.join(" or "),
    };
    let problem = Problem::new(
        select_span(query),
        format!("key missing from projection: the query of {name} must select {what}"),
    );
    problem.hint(format!("SELECT {what}, ...; records of {name} have it as their key"))
}

pub(super) fn select_span(query: &Query) -> Span {
    let of = |item: &SelectItem| match item {
        SelectItem::All { span, .. } => *span,
        SelectItem::One { expression, .. } => expression.span,
    };
    match (query.select.first(), query.select.last()) {
        (Some(first), Some(last)) => of(first).to(of(last)),
        _ => query.span,
    }
}

/// What AS_VALUE wraps.
pub(super) fn as_value(expr: &Expr) -> &Expr {
    match expr {
        Expr::Call(call) if call.function.name == "AS_VALUE" => as_value(&call.args[0]),
        other => other,
    }
}

/// The key's columns in order.
pub(super) fn key_columns(n: usize) -> Vec<Expr> {
    (0..n).map(Expr::Key).collect()
}

/// An expression behind a repartition by `keys` (see [`Planner::rekey`]): what equals a new key column is read from there.
pub(super) fn rekeyed(expr: &Expr, keys: &[Expr], values: usize) -> Expr {
    if let Some(i) = keys.iter().position(|k| k == expr) {
        return Expr::Key(i);
    }
    match expr {
        Expr::Key(i) => Expr::Value(values + i),
        other => {
            let mut other = other.clone();
            other.children_mut(&mut |child| *child = rekeyed(child, keys, values));
            other
        }
    }
}

/// Whether the expressions can be a key.
pub(super) fn check_keys(keys: &[Typed]) -> Result<(), Problem> {
    for key in keys {
        match &key.sql_type {
            None => return Err(Problem::unsupported(key.span, "a key that is NULL")),
            Some(t) if super::columns::has_map(t) => {
                return Err(Problem::new(
                    key.span,
                    format!("{t} cannot be a key: a MAP has no order"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// What key columns are called inside the plan: as in the projection, or like the column, or `KSQL_COL_n`.
pub(super) fn key_names(keys: &[Typed], items: &[Item], scope: &Scope) -> Vec<Arc<str>> {
    let name = |(i, key): (usize, &Typed)| -> Arc<str> {
        if let Some(item) = items.iter().find(|item| item.typed.expr == key.expr) {
            return item.name.clone();
        }
        let column = scope.columns.iter().find(|c| c.expr == key.expr);
        column.map_or_else(|| format!("KSQL_COL_{i}").into(), |c| c.name.clone())
    };
    keys.iter().enumerate().map(name).collect()
}
