//! The projection: which columns there are, what they are called, and which of them are the key. Names are a contract: they follow ksqlDB.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Planner;
use super::query::Pipe;
use crate::expr::Expr;
use crate::sql::ast::{Expression, ExpressionKind, Name, Query, SelectItem};
use crate::sql::check::{Aggregates, Checker, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::Scope;
use crate::topology::NodeRef;
use crate::types::{Column, RelationKind, RelationSchema, SqlType, StructField, Value};

/// A planned query.
pub(super) struct Output {
    pub node: NodeRef,
    pub schema: RelationSchema,
    pub kind: RelationKind,
    /// Whether the key was made by a repartition of this query.
    pub repartitioned: bool,
}

/// An item of the projection with its name.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub name: Arc<str>,
    pub typed: Typed,
    /// The column of the scope that it is, if it is one.
    pub column: Option<usize>,
}

impl Item {
    pub fn sql_type(&self) -> SqlType {
        self.typed.type_or_string()
    }
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
        let bounds = query
            .window
            .as_ref()
            .map(|window| (window, self.with_bounds(&mut pipe)));
        let mut aggregates = Aggregates::over(self.builder.schema(pipe.node).value.len());
        aggregates.limits = self.collect_limits(query)?;
        let before = self.problems.len();
        let items = select_items(query, &pipe.scope, &mut aggregates, &mut self.problems);
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

    /// PARTITION BY: a new key, unless it is the key already.
    fn partitioned(
        &mut self,
        name: &str,
        query: &Query,
        mut pipe: Pipe,
        mut items: Vec<Item>,
        partitions: Option<i32>,
    ) -> Result<(Pipe, Vec<Item>, bool), Problem> {
        let Some(first) = query.partition_by.first() else {
            return Ok((pipe, items, false));
        };
        if self.builder.kind(pipe.node) == RelationKind::Table {
            return Err(Problem::new(
                first.span,
                "PARTITION BY works on streams: a table's key is what its rows are",
            )
            .hint("GROUP BY makes a table with another key"));
        }
        let mut checker = Checker::new(&pipe.scope, "in PARTITION BY");
        let mut keys = query
            .partition_by
            .iter()
            .map(|e| checker.check(e))
            .collect::<Result<Vec<_>, _>>()?;
        if let [Typed { sql_type: None, .. }] = keys.as_slice() {
            // PARTITION BY NULL: records without key
            keys.clear();
        }
        check_keys(&keys)?;
        let exprs: Vec<Expr> = keys.iter().map(|k| k.expr.clone()).collect();
        if exprs == key_columns(self.declared_keys(&pipe)) {
            return Ok((pipe, items, false));
        }
        if self.builder.window(pipe.node).is_some() {
            let what = "PARTITION BY another key than that of a windowed stream: the windows belong to the key";
            return Err(Problem::new(first.span, what));
        }
        self.behind_partition_by(query, &pipe.scope, &keys, &mut items);
        let names = key_names(&keys, &items, &pipe.scope);
        let columns = names
            .into_iter()
            .zip(&keys)
            .map(|(n, k)| Column::new(n, k.type_or_string()));
        let mut schema = RelationSchema {
            key: columns.collect(),
            value: Vec::new(),
        };
        // the projection is computed before the topic: a row that fails is still the record that was read, with its place and bytes
        let mut values = Vec::new();
        for item in &mut items {
            item.typed.expr = match exprs.iter().position(|k| *k == item.typed.expr) {
                Some(i) => Expr::Key(i),
                None => {
                    schema.value.push(Column::new(item.name.clone(), item.sql_type()));
                    values.push(as_value(&item.typed.expr).clone());
                    Expr::Value(values.len() - 1)
                }
            };
        }
        for column in &mut pipe.scope.columns {
            let place = exprs.iter().position(|k| *k == column.expr);
            column.expr = place.map_or(Expr::Literal(Value::Null), Expr::Key);
        }
        let topic = format!("{name}-partitionby");
        let carried = (schema, exprs, values);
        pipe.node = self.builder.repartition(name, topic, pipe.node, carried, partitions);
        Ok((pipe, items, true))
    }

    /// What `*` means behind PARTITION BY: the new key, also where it is no column, then the columns of each relation with its old key last.
    fn behind_partition_by(&self, query: &Query, scope: &Scope, keys: &[Typed], items: &mut Vec<Item>) {
        let stars = query
            .select
            .iter()
            .filter(|i| matches!(i, SelectItem::All { qualifier: None, .. }));
        if stars.count() != 1 || query.select.len() != 1 {
            return;
        }
        let was_key = |item: &Item| {
            let column = item.column.map(|c| &scope.columns[c])?;
            let relation = column.relation?;
            let known = self.known.get(&scope.relations[relation].name)?.relation?;
            let keys = &self.builder.relation_of(known).schema.key;
            Some((relation, keys.iter().any(|k| k.name == column.name)))
        };
        items.sort_by_key(|item| was_key(item).unwrap_or((usize::MAX, false)));
        let mut taken: BTreeSet<Arc<str>> = scope.columns.iter().map(|c| c.name.clone()).collect();
        for (i, key) in keys.iter().enumerate() {
            if items.iter().any(|item| item.typed.expr == key.expr) {
                continue;
            }
            let name = match &query.partition_by[i].kind {
                ExpressionKind::Field(_, field) => unique(&field.text, &taken),
                _ => first_free("KSQL_COL", 0, &taken),
            };
            taken.insert(name.clone());
            let item = Item {
                name,
                typed: key.clone(),
                column: None,
            };
            items.insert(i.min(items.len()), item);
        }
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

/// The items with their types and names; problems of single items are collected.
pub(crate) fn select_items(
    query: &Query,
    scope: &Scope,
    aggregates: &mut Aggregates,
    problems: &mut Vec<Problem>,
) -> Vec<Item> {
    let mut items: Vec<(Option<Arc<str>>, Item)> = Vec::new();
    for item in &query.select {
        let result = match item {
            SelectItem::All { qualifier, span } => scope.all(qualifier.as_ref()).map(|columns| {
                for column in columns {
                    items.push((Some(star_name(scope, column)), column_item(scope, column, *span)));
                }
            }),
            SelectItem::One {
                expression:
                    Expression {
                        kind: ExpressionKind::AllFields(of),
                        span,
                    },
                alias,
            } => all_fields(of, alias.as_ref(), *span, scope, aggregates).map(|fields| items.extend(fields)),
            SelectItem::One { expression, alias } => {
                let typed = Checker::aggregating(scope, aggregates).check(expression);
                typed.map(|typed| {
                    let column = match &expression.kind {
                        ExpressionKind::Column(q, name) => scope.resolve(q.as_ref(), name).ok(),
                        _ => None,
                    };
                    let name = match (alias, column, &expression.kind) {
                        (Some(alias), ..) => Some(alias.text.clone()),
                        (None, Some(column), _) => Some(column_name(scope, column)),
                        _ => None,
                    };
                    let field = match &expression.kind {
                        ExpressionKind::Field(_, field) => field.text.clone(),
                        _ => Arc::from(""),
                    };
                    let item = Item {
                        name: field,
                        typed,
                        column,
                    };
                    items.push((name, item));
                })
            }
        };
        if let Err(problem) = result {
            problems.push(problem);
        }
    }
    let items = named(items, scope);
    for (i, item) in items.iter().enumerate() {
        if items[..i].iter().any(|other| other.name == item.name) {
            let problem = Problem::new(
                item.typed.span,
                format!("column {} occurs twice in the projection", item.name),
            );
            problems.push(problem.hint("give one of them another name with AS"));
        }
    }
    items
}

/// `x->*`: a column for each field of the STRUCT.
fn all_fields(
    of: &Expression,
    alias: Option<&Name>,
    span: Span,
    scope: &Scope,
    aggregates: &mut Aggregates,
) -> Result<Vec<(Option<Arc<str>>, Item)>, Problem> {
    if let Some(alias) = alias {
        return Err(Problem::new(
            alias.span,
            "->* stands for several columns: it takes no AS",
        ));
    }
    let typed = Checker::aggregating(scope, aggregates).check(of)?;
    let Some(SqlType::Struct(fields)) = &typed.sql_type else {
        let message = format!("'->*' takes a STRUCT, this is {}", typed.named());
        return Err(Problem::new(of.span, message));
    };
    let item = |(i, field): (usize, &StructField)| {
        let item = Item {
            name: field.name.clone(),
            typed: Typed {
                expr: Expr::Field(typed.expr.clone().into(), i),
                sql_type: Some(field.sql_type.clone()),
                span,
            },
            column: None,
        };
        (Some(field.name.clone()), item)
    };
    Ok(fields.iter().enumerate().map(item).collect())
}

/// `*` takes the relation's name in only when there are several.
fn star_name(scope: &Scope, column: usize) -> Arc<str> {
    let column = &scope.columns[column];
    match column.relation {
        Some(i) if scope.relations.len() > 1 => format!("{}_{}", scope.relations[i].alias, column.name).into(),
        _ => column.name.clone(),
    }
}

/// A column's own name, or `RELATION_COLUMN` if several relations have one of that name.
fn column_name(scope: &Scope, column: usize) -> Arc<str> {
    let clashes = scope.clashes(&scope.columns[column].name);
    if clashes {
        star_name(scope, column)
    } else {
        scope.columns[column].name.clone()
    }
}

fn column_item(scope: &Scope, column: usize, span: Span) -> Item {
    let of = &scope.columns[column];
    Item {
        name: of.name.clone(),
        typed: Typed {
            expr: of.expr.clone(),
            sql_type: Some(of.sql_type.clone()),
            span,
        },
        column: Some(column),
    }
}

/// Gives names to what has none: a field's own (`CITY`, `CITY_1`), else `KSQL_COL_0` and so on.
fn named(items: Vec<(Option<Arc<str>>, Item)>, scope: &Scope) -> Vec<Item> {
    let mut taken: BTreeSet<Arc<str>> = scope.columns.iter().map(|c| c.name.clone()).collect();
    taken.extend(items.iter().filter_map(|(name, _)| name.clone()));
    let give = |(name, item): (Option<Arc<str>>, Item)| {
        let name = name.unwrap_or_else(|| {
            let name = match &*item.name {
                "" => first_free("KSQL_COL", 0, &taken),
                field => unique(field, &taken),
            };
            taken.insert(name.clone());
            name
        });
        Item { name, ..item }
    };
    items.into_iter().map(give).collect()
}

/// The name, or with the first free number behind it.
fn unique(name: &str, taken: &BTreeSet<Arc<str>>) -> Arc<str> {
    if taken.contains(name) {
        first_free(name, 1, taken)
    } else {
        name.into()
    }
}

fn first_free(base: &str, from: u32, taken: &BTreeSet<Arc<str>>) -> Arc<str> {
    let mut numbered = (from..).map(|n| Arc::from(format!("{base}_{n}")));
    numbered.find(|name| !taken.contains(name)).unwrap_or_default()
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
fn as_value(expr: &Expr) -> &Expr {
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
