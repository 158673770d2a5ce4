//! Pull queries: `SELECT ... FROM view [WHERE] [GROUP BY] [HAVING] [ORDER BY] [LIMIT]`, compiled to data.
//!
//! How to run a [`PullQuery`] over a snapshot of the view's tasks:
//! 1. walk the keys inside [`PullQuery::ranges`], ascending and without overlap, and compute the view's rows;
//! 2. keep a row if [`PullQuery::filter`] is TRUE (it is the whole WHERE: the ranges only leave out keys that cannot pass);
//! 3. without [`PullQuery::groups`], the answer's row is [`PullQuery::project`] over the row's key and value. With them, collect
//!    [`Groups::by`] and the arguments of [`Groups::calls`] over the row; when all rows are read, each group is a row whose key is the
//!    grouping values and whose value is the results; drop those where [`Groups::having`] is not TRUE, and project from that. Without
//!    grouping expressions there is exactly one group, also of no rows;
//! 4. sort by [`PullQuery::order_by`], which reads what `project` reads; stop at [`PullQuery::limit`].

mod ranges;

use std::sync::Arc;

use ranges::key_ranges;

use super::ast::{Expression, ExpressionKind, Literal, Query};
use super::check::{Aggregates, Checker};
use super::diagnostic::{Diagnostic, Problem};
use super::parse;
use super::plan::{of_groups, select_items};
use super::scope::{Scope, ScopeColumn, ScopeRelation};
use crate::expr::{AggregateCall, Expr};
use crate::types::{Column, RelationSchema, SqlType};

/// The views that a query can name.
pub trait ViewCatalog {
    /// The columns of a view, with `topology` if the query names one.
    ///
    /// # Errors
    /// When there is no such view, or more than one; the message says so.
    fn view(&self, topology: Option<&str>, name: &str) -> Result<RelationSchema, String>;
    /// The names of all views, for hints.
    fn names(&self) -> Vec<String>;
}

/// A part of an ORDER BY. NULL is the least value.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// What to compare.
    pub expr: Expr,
    /// Greatest first.
    pub descending: bool,
}

/// A range of encoded keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyBounds {
    /// The first encoded key; empty for the first of all.
    pub from: Vec<u8>,
    /// Where it ends, exclusive; `None`: at the last of all.
    pub to: Option<Vec<u8>>,
}

/// Aggregation of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// GROUP BY, over the view's row.
    pub by: Vec<Expr>,
    /// The aggregate calls, over the view's row.
    pub calls: Vec<AggregateCall>,
    /// HAVING, over a group's row.
    pub having: Option<Expr>,
}

/// A query over one view, checked and typed.
#[derive(Clone, Debug, PartialEq)]
pub struct PullQuery {
    /// The topology, if the query names one.
    pub topology: Option<Arc<str>>,
    /// The view's name, folded.
    pub view: Arc<str>,
    /// The answer's columns.
    pub columns: Vec<Column>,
    /// Their values.
    pub project: Vec<Expr>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// GROUP BY and aggregate functions.
    pub groups: Option<Groups>,
    /// ORDER BY.
    pub order_by: Vec<Order>,
    /// LIMIT.
    pub limit: Option<u64>,
    /// Keys that can pass the filter; none if no key can.
    pub ranges: Vec<KeyBounds>,
    /// How many leading key columns the filter fixes to one value each: rows come ordered by the columns behind them.
    pub fixed: usize,
}

/// Compiles a pull query.
///
/// # Errors
/// What is wrong with it; the file is called `query`.
pub fn query(text: &str, views: &dyn ViewCatalog) -> Result<PullQuery, Vec<Diagnostic>> {
    let file: Arc<str> = "query".into();
    let mut problems = Vec::new();
    let compiled = parse::query(text).and_then(|query| compile(&query, views, &mut problems));
    match compiled {
        Ok(query) if problems.is_empty() => return Ok(query),
        Ok(_) => {}
        Err(problem) if problems.is_empty() => problems.push(problem),
        Err(_) => {}
    }
    Err(problems.into_iter().map(|p| Diagnostic::new(&file, text, p)).collect())
}

fn compile(query: &Query, views: &dyn ViewCatalog, problems: &mut Vec<Problem>) -> Result<PullQuery, Problem> {
    refuse(query)?;
    let name = &query.from.name;
    let topology = query.from.topology.as_ref().map(|t| t.text.clone());
    let schema = views.view(topology.as_deref(), &name.text).map_err(|why| {
        let names = views.names();
        Problem::new(name.span, why).nearest(&name.text, names.iter().map(String::as_str))
    })?;
    let scope = scope(query, &schema);
    let mut aggregates = Aggregates::over(schema.value.len());
    let mut items = select_items(query, &scope, &mut aggregates, problems);
    let filter = match &query.filter {
        Some(e) => Some(Checker::new(&scope, "in WHERE").condition(e, "the condition of WHERE")?),
        None => None,
    };
    let mut checker = Checker::new(&scope, "in GROUP BY");
    let by = query
        .group_by
        .iter()
        .map(|e| Ok(checker.check(e)?.expr))
        .collect::<Result<Vec<_>, Problem>>()?;
    let mut having = match &query.having {
        Some(e) => {
            let condition = Checker::aggregating(&scope, &mut aggregates).condition(e, "the condition of HAVING")?;
            Some((condition, e.span))
        }
        None => None,
    };
    let mut order_by = Vec::new();
    for (e, descending) in &query.order_by {
        let expr = order_key(e, &items, &scope, &mut aggregates)?;
        order_by.push((expr, e.span, *descending));
    }
    if let Some((call, span)) = aggregates.tables.first() {
        let message = format!("the table function {} in a query of a view", call.function);
        return Err(Problem::unsupported(*span, message).hint("make a stream with it: it is for continuous queries"));
    }
    let grouped = !by.is_empty() || !aggregates.calls.is_empty() || having.is_some();
    if grouped {
        let width = aggregates.width;
        let to_group = |e: &Expr, span| of_groups(e, &by, width, &scope, span);
        for item in &mut items {
            item.typed.expr = to_group(&item.typed.expr, item.typed.span)?;
        }
        for (expr, span, _) in &mut order_by {
            *expr = to_group(expr, *span)?;
        }
        if let Some((condition, span)) = &mut having {
            *condition = to_group(condition, *span)?;
        }
    }
    let (ranges, fixed) = key_ranges(filter.as_ref(), &schema);
    Ok(PullQuery {
        topology,
        view: name.text.clone(),
        columns: items
            .iter()
            .map(|item| Column::new(item.name.clone(), item.sql_type()))
            .collect(),
        project: items.into_iter().map(|item| item.typed.expr).collect(),
        filter,
        groups: grouped.then(|| Groups {
            by,
            calls: aggregates.calls.into_iter().map(|(call, _)| call).collect(),
            having: having.map(|(condition, _)| condition),
        }),
        order_by: order_by
            .into_iter()
            .map(|(expr, _, descending)| Order { expr, descending })
            .collect(),
        limit: query.limit.map(|(n, _)| n),
        ranges,
        fixed,
    })
}

fn refuse(query: &Query) -> Result<(), Problem> {
    if let Some(join) = query.joins.first() {
        return Err(Problem::unsupported(join.span, "joins in a query of a view")
            .hint("join in a topology: CREATE TABLE ... AS SELECT ... JOIN ..."));
    }
    if let Some(window) = &query.window {
        return Err(Problem::unsupported(window.span, "WINDOW in a query of a view"));
    }
    if let Some(key) = query.partition_by.first() {
        return Err(Problem::new(
            key.span,
            "PARTITION BY has no meaning in a query of a view",
        ));
    }
    if let Some(qualify) = &query.qualify {
        let problem = Problem::unsupported(qualify.span, "QUALIFY in a query of a view");
        return Err(
            problem.hint("ORDER BY and LIMIT give the first rows; QUALIFY belongs to CREATE TABLE ... AS SELECT")
        );
    }
    if let Some((_, span)) = query.emit {
        return Err(
            Problem::unsupported(span, "EMIT in a query of a view").hint("subscribe to the view's feed for changes")
        );
    }
    Ok(())
}

fn scope(query: &Query, schema: &RelationSchema) -> Scope {
    let keys = schema
        .key
        .iter()
        .enumerate()
        .map(|(i, c)| (c.clone(), Expr::Key(i), false));
    let values = schema
        .value
        .iter()
        .enumerate()
        .map(|(i, c)| (c.clone(), Expr::Value(i), false));
    let time = (Column::new("ROWTIME", SqlType::Bigint), Expr::Rowtime, true);
    let columns = keys
        .chain(values)
        .chain([time])
        .map(|(column, expr, hidden)| ScopeColumn {
            relation: Some(0),
            name: column.name,
            expr,
            sql_type: column.sql_type,
            hidden,
            lost: None,
        });
    Scope {
        relations: vec![ScopeRelation {
            alias: query.from.known_as().text.clone(),
            name: query.from.name.text.clone(),
        }],
        columns: columns.collect(),
    }
}

/// A name of the projection, its position from 1, or any expression over the view.
fn order_key(
    e: &Expression,
    items: &[super::plan::Item],
    scope: &Scope,
    aggregates: &mut Aggregates,
) -> Result<Expr, Problem> {
    match &e.kind {
        ExpressionKind::Column(None, name) => {
            if let Some(item) = items.iter().find(|item| item.name == name.text) {
                return Ok(item.typed.expr.clone());
            }
        }
        ExpressionKind::Literal(Literal::Number(n)) => {
            let item = n.parse::<usize>().ok().and_then(|n| items.get(n.checked_sub(1)?));
            let Some(item) = item else {
                let message = format!("ORDER BY {n}: the projection has {} columns", items.len());
                return Err(Problem::new(e.span, message));
            };
            return Ok(item.typed.expr.clone());
        }
        _ => {}
    }
    Ok(Checker::aggregating(scope, aggregates).check(e)?.expr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Value, encode_key_prefix, prefix_end};

    struct Views;

    impl ViewCatalog for Views {
        fn view(&self, topology: Option<&str>, name: &str) -> Result<RelationSchema, String> {
            if name != "ORDERS" || topology.is_some_and(|t| t != "shop") {
                return Err(format!("there is no view {name}"));
            }
            let column = |name: &str, sql_type| Column::new(name, sql_type);
            Ok(RelationSchema {
                key: vec![column("CUSTOMER", SqlType::Bigint), column("ID", SqlType::String)],
                value: vec![column("AMOUNT", SqlType::Double), column("STATE", SqlType::String)],
            })
        }

        fn names(&self) -> Vec<String> {
            vec!["ORDERS".into()]
        }
    }

    fn run(text: &str) -> PullQuery {
        query(text, &Views).unwrap_or_else(|all| panic!("{}", all[0]))
    }

    fn exprs(all: &[Expr]) -> String {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn key(values: &[Value]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_key_prefix(values, &mut bytes);
        bytes
    }

    #[test]
    fn a_query_becomes_data() {
        let q = run(
            "SELECT *, amount * 2 AS twice, rowtime FROM shop.orders o WHERE o.customer = 7 AND id > 'b' ORDER BY twice DESC, 1 LIMIT 3;",
        );
        let names: Vec<_> = q.columns.iter().map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        assert_eq!(
            names.join(", "),
            "CUSTOMER BIGINT, ID STRING, AMOUNT DOUBLE, STATE STRING, TWICE DOUBLE, ROWTIME BIGINT"
        );
        assert_eq!(exprs(&q.project), "k0, k1, v0, v1, (v0 * 2.0), ROWTIME");
        assert_eq!(q.filter.unwrap().to_string(), "((k0 = 7) AND (k1 > 'b'))");
        assert_eq!(q.order_by[0].expr.to_string(), "(v0 * 2.0)");
        assert!(q.order_by[0].descending && !q.order_by[1].descending);
        assert_eq!((q.limit, q.fixed, q.topology.as_deref()), (Some(3), 1, Some("shop")));
        let seven = Value::Bigint(7);
        let from = prefix_end(&key(&[seven.clone(), "b".into()])).unwrap();
        let to = prefix_end(&key(&[seven]));
        assert_eq!(q.ranges, [KeyBounds { from, to }]);
    }

    #[test]
    fn ranges_come_from_the_key_columns() {
        let seven = Value::Bigint(7);
        let count = |text: &str| run(text).ranges.len();
        assert_eq!(
            run("SELECT id FROM orders WHERE amount = 1").ranges,
            [KeyBounds::default()]
        );
        assert_eq!(
            count("SELECT id FROM orders WHERE customer IN (3, 1, 3) AND id IN ('a', 'b')"),
            4
        );
        assert_eq!(count("SELECT id FROM orders WHERE customer = 1 AND customer = 2"), 0);
        assert_eq!(count("SELECT id FROM orders WHERE customer > 2 AND customer < 2"), 0);
        let q = run("SELECT id FROM orders WHERE customer BETWEEN 7 AND 7 AND id = 'x'");
        let (from, to) = (key(std::slice::from_ref(&seven)), prefix_end(&key(&[seven])));
        assert_eq!((q.ranges, q.fixed), (vec![KeyBounds { from, to }], 0));
        assert_eq!(count("SELECT id FROM orders WHERE customer = 1 OR customer = 2"), 1);
    }

    #[test]
    fn aggregates_make_groups() {
        let q = run(
            "SELECT state, COUNT(*), SUM(amount) / COUNT(*) avg FROM orders GROUP BY state HAVING COUNT(*) > 1 ORDER BY SUM(amount)",
        );
        let groups = q.groups.unwrap();
        assert_eq!((exprs(&groups.by), groups.calls.len()), ("v1".into(), 2));
        assert_eq!(exprs(&q.project), "k0, v0, (v1 / CAST(v0 AS DOUBLE))");
        assert_eq!(groups.having.unwrap().to_string(), "(v0 > 1)");
        assert_eq!(q.order_by[0].expr.to_string(), "v1");
        let names: Vec<_> = q.columns.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["STATE", "KSQL_COL_0", "AVG"]);
    }

    #[test]
    fn errors_have_places() {
        let error = |text: &str| query(text, &Views).unwrap_err()[0].to_string();
        let at = "query:1:8: there is no column AMUONT in ORDERS\n1 | SELECT amuont FROM orders\n  |        ^^^^^^\n  = hint: did you mean AMOUNT?";
        assert_eq!(error("SELECT amuont FROM orders"), at);
        assert!(error("SELECT 1 FROM order_s").starts_with("query:1:15: there is no view ORDER_S"));
        assert!(error("SELECT id FROM orders EMIT CHANGES").contains("not supported yet"));
        assert!(error("SELECT id, COUNT(*) FROM orders").contains("ID is neither aggregated nor part of GROUP BY"));
    }
}
