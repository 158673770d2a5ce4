//! The items of a projection: their types, and the names that ksqlDB gives them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::expr::Expr;
use crate::sql::ast::{Expression, ExpressionKind, Name, Query, SelectItem};
use crate::sql::check::{Aggregates, Checker, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::Scope;
use crate::types::{SqlType, StructField};

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
pub(super) fn unique(name: &str, taken: &BTreeSet<Arc<str>>) -> Arc<str> {
    if taken.contains(name) {
        first_free(name, 1, taken)
    } else {
        name.into()
    }
}

pub(super) fn first_free(base: &str, from: u32, taken: &BTreeSet<Arc<str>>) -> Arc<str> {
    let mut numbered = (from..).map(|n| Arc::from(format!("{base}_{n}")));
    numbered.find(|name| !taken.contains(name)).unwrap_or_default()
}
