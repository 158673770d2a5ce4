//! GROUP BY: re-key if the groups are not the key already, aggregate, HAVING, project.

use std::sync::Arc;

use super::Planner;
use super::items::Item;
use super::output::{Output, check_keys, key_columns, key_names, select_span};
use super::query::Pipe;
use super::window::{Bounds, refuse_in_calls, window_spec};
use crate::expr::{AggregateCall, Expr};
use crate::sql::ast::{Emit, Query, Window};
use crate::sql::check::{Aggregates, Checker, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::Scope;
use crate::topology::NodeRef;
use crate::types::{Column, RelationSchema, SqlType};

impl Planner<'_> {
    pub(super) fn grouped(
        &mut self,
        name: &str,
        query: &Query,
        pipe: Pipe,
        (items, mut aggregates, bounds): (Vec<Item>, Aggregates, Option<(&Window, Bounds)>),
        partitions: Option<i32>,
    ) -> Result<Output, Problem> {
        let mut checker = Checker::new(&pipe.scope, "in GROUP BY");
        let keys = query
            .group_by
            .iter()
            .map(|e| checker.check(e))
            .collect::<Result<Vec<_>, _>>()?;
        check_keys(&keys)?;
        let having = match &query.having {
            Some(e) => {
                let condition =
                    Checker::aggregating(&pipe.scope, &mut aggregates).condition(e, "the condition of HAVING")?;
                Some((condition, e.span))
            }
            None => None,
        };
        if let Some((call, span)) = aggregates.tables.first() {
            let message = format!("the table function {} cannot be used with GROUP BY", call.function);
            return Err(Problem::new(*span, message).hint("make a stream with it first, and group that"));
        }
        if aggregates.calls.is_empty() {
            let problem = Problem::new(
                select_span(query),
                "GROUP BY needs an aggregate function in the projection or in HAVING",
            );
            return Err(problem.hint("add COUNT(*), for example"));
        }
        let windows = match bounds {
            None => None,
            Some((window, bounds)) => {
                for key in &keys {
                    bounds.refuse(&key.expr, key.span)?;
                }
                if let Some((condition, span)) = &having {
                    bounds.refuse(condition, *span)?;
                }
                refuse_in_calls(bounds, &aggregates.calls)?;
                Some((window_spec(window, query.emit.map(|(emit, _)| emit))?, bounds))
            }
        };
        let width = aggregates.width;
        let names = key_names(&keys, &items, &pipe.scope);
        let (input, repartitioned, calls) = self.by_groups(name, &pipe, &keys, &names, aggregates.calls, partitions);
        let mut exprs: Vec<Expr> = keys.iter().map(|k| k.expr.clone()).collect();
        let mut node = match windows {
            None => self.builder.aggregate(name, input, calls),
            Some((spec, bounds)) => {
                let emit_final = matches!(query.emit, Some((Emit::Final, _)));
                exprs.extend(bounds.exprs());
                self.builder.window_aggregate(name, input, calls, (spec, emit_final))
            }
        };
        if let Some((condition, span)) = having {
            let condition = of_groups(&condition, &exprs, width, &pipe.scope, span)?;
            node = self.builder.having(name, node, condition);
        }
        let items = items
            .into_iter()
            .map(|mut item| {
                item.typed.expr = of_groups(&item.typed.expr, &exprs, width, &pipe.scope, item.typed.span)?;
                Ok(item)
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        let pipe = Pipe {
            node,
            scope: Scope {
                relations: pipe.scope.relations,
                columns: Vec::new(),
            },
            joined_keys: Vec::new(),
            key_exprs: Vec::new(),
        };
        self.finish(name, query, &pipe, items, repartitioned)
    }

    /// The input keyed by its groups, and the calls over it.
    pub(super) fn by_groups(
        &mut self,
        name: &str,
        pipe: &Pipe,
        keys: &[Typed],
        names: &[Arc<str>],
        calls: Vec<(AggregateCall, Span)>,
        partitions: Option<i32>,
    ) -> (NodeRef, bool, Vec<AggregateCall>) {
        let exprs: Vec<Expr> = keys.iter().map(|k| k.expr.clone()).collect();
        let calls = calls.into_iter().map(|(call, _)| call);
        // records with windows in their keys are where the keys' columns belong
        let windowed = self.builder.window(pipe.node).is_some();
        if !windowed && exprs == key_columns(self.builder.schema(pipe.node).key.len()) {
            return (pipe.node, false, calls.collect());
        }
        let columns = names
            .iter()
            .zip(keys)
            .map(|(n, k)| Column::new(n.clone(), k.type_or_string()));
        let mut schema = RelationSchema {
            key: columns.collect(),
            value: Vec::new(),
        };
        // arguments are computed before the topic: a row that fails is still the record that was read, with its place and bytes
        let mut values: Vec<Expr> = Vec::new();
        let mut carry = |arg: &Expr, sql_type: &SqlType| {
            if let Some(i) = exprs.iter().position(|k| k == arg) {
                return Expr::Key(i);
            }
            if matches!(arg, Expr::Literal(_)) {
                return arg.clone();
            }
            let place = values.iter().position(|v| v == arg).unwrap_or_else(|| {
                schema
                    .value
                    .push(Column::new(format!("KSQL_ARG_{}", values.len()), sql_type.clone()));
                values.push(arg.clone());
                values.len() - 1
            });
            Expr::Value(place)
        };
        let calls: Vec<AggregateCall> = calls.map(|call| call.map_exprs(&mut carry)).collect();
        let (topic, carried) = (format!("{name}-groupby"), (schema, exprs, values));
        let node = self.builder.repartition(name, topic, pipe.node, carried, partitions);
        (node, true, calls)
    }
}

/// An expression over the groups: grouping expressions are key columns, aggregate calls value columns; nothing else is left of a row.
pub(crate) fn of_groups(expr: &Expr, keys: &[Expr], width: usize, scope: &Scope, span: Span) -> Result<Expr, Problem> {
    if let Some(i) = keys.iter().position(|k| k == expr) {
        return Ok(Expr::Key(i));
    }
    match expr {
        Expr::Value(i) if *i >= width => Ok(Expr::Value(i - width)),
        Expr::Value(_) | Expr::Key(_) | Expr::Rowtime => {
            let column = scope.columns.iter().position(|c| c.expr == *expr);
            let column = column.map_or("the column".to_string(), |c| scope.qualified(c));
            let problem = Problem::new(span, format!("{column} is neither aggregated nor part of GROUP BY"));
            Err(problem.hint(format!("add it to GROUP BY, or take LATEST_BY_OFFSET({column})")))
        }
        // what told the rows of the group apart is gone
        Expr::Call(call) if call.function.is_random() => {
            let mut call = call.clone();
            call.args.clear();
            Ok(Expr::Call(call))
        }
        other => {
            let (mut other, mut failed) = (other.clone(), None);
            other.children_mut(&mut |child| match of_groups(child, keys, width, scope, span) {
                Ok(mapped) => *child = mapped,
                Err(problem) => failed = failed.take().or(Some(problem)),
            });
            failed.map_or(Ok(other), Err)
        }
    }
}
