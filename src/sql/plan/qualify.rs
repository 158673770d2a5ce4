//! QUALIFY ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...) <= n: the first n rows of each group, as a table.
//!
//! ```text
//!   input --key: group--> aggregate TOP_ROWS, an ARRAY of rows a group --+-- n = 1 --> project; the key is the group
//!                                                                        +-- n > 1 --> rank; the key is the group and the place --> topic, store
//! ```
//!
//! The projection is computed before the rows are ordered: what is kept of a row is the order's columns and the projection's. Of the places only their
//! number is left to add.

use super::Planner;
use super::items::{Item, select_items};
use super::output::{Output, as_value, check_keys, key_names, select_span};
use super::query::Pipe;
use crate::expr::{AggregateCall, CompareOp, Expr};
use crate::sql::ast::{Expression, ExpressionKind, Literal, Query, SelectItem};
use crate::sql::check::{Aggregates, Checker, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::Scope;
use crate::topology::NodeRef;
use crate::types::{Column, RelationKind, RelationSchema, SqlType, Value};

/// What QUALIFY asks for.
struct Top<'a> {
    row_number: &'a Expression,
    partition_by: &'a [Expression],
    order_by: &'a [(Expression, bool)],
    n: i64,
}

/// The rows as they are kept: the order's columns, then what the projection has beside them.
struct Kept {
    exprs: Vec<(Expr, SqlType)>,
    down: Vec<bool>,
}

impl Kept {
    /// The place of an expression among those that are kept.
    fn place(&mut self, of: &Typed) -> usize {
        let expr = as_value(&of.expr);
        let known = self.exprs.iter().position(|(known, _)| known == expr);
        known.unwrap_or_else(|| {
            self.exprs.push((expr.clone(), of.type_or_string()));
            self.exprs.len() - 1
        })
    }
}

impl Planner<'_> {
    /// The projection of a query with QUALIFY.
    pub(super) fn qualified(
        &mut self,
        name: &str,
        query: &Query,
        condition: &Expression,
        pipe: Pipe,
        partitions: Option<i32>,
    ) -> Result<Option<Output>, Problem> {
        refuse_clauses(query)?;
        let top = top(query, condition)?;
        let mut aggregates = Aggregates::over(self.builder.schema(pipe.node).value.len());
        aggregates.row_number = true;
        let before = self.problems.len();
        let items = select_items(query, &pipe.scope, &mut aggregates, &mut self.problems);
        self.check_reserved(&items);
        if self.problems.len() > before {
            return Ok(None);
        }
        refuse_calls(&aggregates)?;
        let place = Expr::Value(aggregates.width);
        check_places(query, &top, &items, &place)?;
        let mut checker = Checker::new(&pipe.scope, "in PARTITION BY");
        let keys = top.partition_by.iter().map(|e| checker.check(e));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        check_keys(&keys)?;
        let (kept, items) = kept(&top, &keys, items, &pipe.scope, &place)?;
        let call = AggregateCall::top_rows(top.n, &kept.down, kept.exprs);
        let call = call.map_err(|why| Problem::new(condition.span, why))?;
        let output = self.first_rows(name, query, &top, &pipe, (keys, items, call), partitions)?;
        Ok(Some(output))
    }

    /// The groups, their first rows, and the projection of these.
    fn first_rows(
        &mut self,
        name: &str,
        query: &Query,
        top: &Top<'_>,
        pipe: &Pipe,
        (keys, items, call): (Vec<Typed>, Vec<(Item, Part)>, AggregateCall),
        partitions: Option<i32>,
    ) -> Result<Output, Problem> {
        let row = match &call.sql_type {
            SqlType::Array(row) => match &**row {
                SqlType::Struct(fields) => fields.clone(),
                _ => [].into(),
            },
            _ => [].into(),
        };
        let plain: Vec<Item> = items.iter().map(|(item, _)| item.clone()).collect();
        let names = key_names(&keys, &plain, &pipe.scope);
        let calls = vec![(call, top.row_number.span)];
        let (input, repartitioned, calls) = self.by_groups(name, pipe, &keys, &names, calls, partitions);
        let single = top.n == 1;
        let (node, repartitioned) = if single {
            (self.single_rows(name, input, calls), repartitioned)
        } else {
            let of_place = items.iter().find(|(_, part)| *part == Part::Place);
            let Some((of_place, _)) = of_place else {
                let message = format!(
                    "key missing from projection: the query of {name} must select {}",
                    top.row_number
                );
                let hint = "rows of one group are told apart by their places, the last column of the key; with <= 1 there is one row a group";
                return Err(Problem::new(select_span(query), message).hint(hint));
            };
            let rows = self.builder.aggregate(&format!("{name}-rows"), input, calls);
            let mut schema = RelationSchema {
                key: self.builder.schema(rows).key.clone(),
                value: row
                    .iter()
                    .map(|f| Column::new(f.name.clone(), f.sql_type.clone()))
                    .collect(),
            };
            schema.key.push(Column::new(of_place.name.clone(), SqlType::Bigint));
            (self.builder.ranked(name, rows, schema, partitions), true)
        };
        let items = items.into_iter().map(|(mut item, part)| {
            item.typed.expr = part.expr(single, keys.len());
            item
        });
        let items = items.collect();
        let pipe = Pipe {
            node,
            scope: Scope {
                relations: pipe.scope.relations.clone(),
                columns: Vec::new(),
            },
            joined_keys: Vec::new(),
            key_exprs: Vec::new(),
        };
        self.finish(name, query, &pipe, items, repartitioned)
    }

    /// One row a group. A group of a table that is kept although it is empty has none.
    fn single_rows(&mut self, name: &str, input: NodeRef, calls: Vec<AggregateCall>) -> NodeRef {
        let of_table = self.builder.kind(input) == RelationKind::Table;
        let rows = self.builder.aggregate(name, input, calls);
        if !of_table {
            return rows;
        }
        let there = Expr::Not(Expr::IsNull(first_row().into()).into());
        self.builder.having(name, rows, there)
    }
}

/// What an item of the projection is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// ROW_NUMBER().
    Place,
    /// A column of PARTITION BY.
    Group(usize),
    /// A column of the rows that are kept.
    Field(usize),
}

impl Part {
    /// Over the array of the one row, or over the ranks, whose key ends with the place.
    fn expr(self, single: bool, keys: usize) -> Expr {
        match (self, single) {
            (Self::Place, true) => Expr::Literal(Value::Bigint(1)),
            (Self::Place, false) => Expr::Key(keys),
            (Self::Group(i), _) => Expr::Key(i),
            (Self::Field(i), true) => Expr::Field(first_row().into(), i),
            (Self::Field(i), false) => Expr::Value(i),
        }
    }
}

fn first_row() -> Expr {
    Expr::Item(Expr::Value(0).into(), Expr::Literal(Value::Integer(1)).into())
}

fn kept(
    top: &Top<'_>,
    keys: &[Typed],
    items: Vec<Item>,
    scope: &Scope,
    place: &Expr,
) -> Result<(Kept, Vec<(Item, Part)>), Problem> {
    let mut kept = Kept {
        exprs: Vec::new(),
        down: Vec::new(),
    };
    let mut checker = Checker::new(scope, "in ORDER BY");
    for (e, down) in top.order_by {
        let key = checker.check(e)?;
        if kept.place(&key) == kept.down.len() {
            kept.down.push(*down);
        }
    }
    let parts = items.into_iter().map(|item| {
        let group = keys.iter().position(|key| key.expr == item.typed.expr);
        let part = match group {
            _ if item.typed.expr == *place => Part::Place,
            Some(i) => Part::Group(i),
            None => Part::Field(kept.place(&item.typed)),
        };
        (item, part)
    });
    let parts = parts.collect();
    Ok((kept, parts))
}

fn refuse_clauses(query: &Query) -> Result<(), Problem> {
    let clauses = [
        ("GROUP BY", query.group_by.first()),
        ("PARTITION BY", query.partition_by.first()),
        ("HAVING", query.having.as_ref()),
    ];
    let clause = clauses.into_iter().find_map(|(name, e)| Some((name, e?.span)));
    let window = query.window.as_ref().map(|window| ("WINDOW", window.span));
    match clause.or(window) {
        None => Ok(()),
        Some((name, span)) => {
            let problem = Problem::new(span, format!("{name} and QUALIFY cannot be used together"));
            Err(problem.hint("make a table with the one, and read it with the other"))
        }
    }
}

fn refuse_calls(aggregates: &Aggregates) -> Result<(), Problem> {
    let call = aggregates
        .calls
        .first()
        .map(|(call, span)| (call.function.to_string(), *span));
    let call = call.or_else(|| {
        aggregates
            .tables
            .first()
            .map(|(call, span)| (call.function.to_string(), *span))
    });
    match call {
        None => Ok(()),
        Some((function, span)) => {
            let problem = Problem::new(span, format!("{function} cannot be used with QUALIFY"));
            Err(problem.hint("make a stream or table with it, and read that with QUALIFY"))
        }
    }
}

/// All ROW_NUMBER() of the query are that of QUALIFY, and stand by themselves.
fn check_places(query: &Query, top: &Top<'_>, items: &[Item], place: &Expr) -> Result<(), Problem> {
    let wanted = top.row_number.to_string();
    for item in &query.select {
        let SelectItem::One { expression, .. } = item else {
            continue;
        };
        if matches!(expression.kind, ExpressionKind::RowNumber { .. }) && expression.to_string() != wanted {
            let message = format!("a query has one ROW_NUMBER(), and QUALIFY has {wanted}");
            return Err(Problem::new(expression.span, message));
        }
    }
    for item in items.iter().filter(|item| item.typed.expr != *place) {
        let mut inside = false;
        item.typed.expr.walk(&mut |e| inside |= e == place);
        if inside {
            let problem = Problem::new(item.typed.span, "ROW_NUMBER() stands by itself in the projection");
            return Err(problem.hint("compute with it in a query of the table"));
        }
    }
    Ok(())
}

fn top<'a>(query: &'a Query, condition: &'a Expression) -> Result<Top<'a>, Problem> {
    let wrong = |span: Span| {
        let problem = Problem::new(span, "QUALIFY compares ROW_NUMBER() OVER (...) with a number");
        problem.hint("QUALIFY ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) <= 10")
    };
    let (side, n) = bound(condition).ok_or_else(|| wrong(condition.span))?;
    let row_number = match &side.kind {
        ExpressionKind::Column(None, name) => {
            let named = query.select.iter().find_map(|item| match item {
                SelectItem::One {
                    expression,
                    alias: Some(alias),
                } if alias.text == name.text => Some(expression),
                _ => None,
            });
            named.ok_or_else(|| wrong(side.span))?
        }
        _ => side,
    };
    match &row_number.kind {
        ExpressionKind::RowNumber { partition_by, order_by } => Ok(Top {
            row_number,
            partition_by,
            order_by,
            n,
        }),
        _ => Err(wrong(side.span)),
    }
}

/// What is compared, and the greatest number that it may be.
fn bound(condition: &Expression) -> Option<(&Expression, i64)> {
    let number = |e: &Expression| match &e.kind {
        ExpressionKind::Literal(Literal::Number(text)) => text.parse::<i64>().ok(),
        _ => None,
    };
    let ExpressionKind::Compare(op, a, b) = &condition.kind else {
        return None;
    };
    match (op, number(a), number(b)) {
        (CompareOp::LessOrEqual, _, Some(n)) => Some((a, n)),
        (CompareOp::Less, _, Some(n)) => Some((a, n.saturating_sub(1))),
        (CompareOp::Equal, _, Some(1)) => Some((a, 1)),
        (CompareOp::GreaterOrEqual, Some(n), _) => Some((b, n)),
        (CompareOp::Greater, Some(n), _) => Some((b, n.saturating_sub(1))),
        (CompareOp::Equal, Some(1), _) => Some((b, 1)),
        _ => None,
    }
}
