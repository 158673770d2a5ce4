//! CREATE OR REPLACE: what a new definition may change. A running query goes on where it stopped, on the state and the topic that it has, so it
//! may select other records and add columns at the end; it may not read other sources, group or join in another way, or change columns that
//! there are. These are ksqlDB's rules.

use std::sync::Arc;

use super::Planner;
use super::script::Replaced;
use crate::expr::AGGREGATES;
use crate::sql::ast::{Create, Expression, ExpressionKind, Literal, Name, Property, Query, SelectItem, StatementKind};
use crate::sql::diagnostic::Problem;
use crate::sql::{CompileContext, SourceFile};
use crate::topology::{Relation, Topology};
use crate::types::Column;

fn refused(name: &Name, what: &str) -> Problem {
    let problem = Problem::new(name.span, format!("{} cannot be replaced: {what}", name.text));
    problem.hint("DROP it first, and create it anew")
}

/// Whether a query may take the place of another, as far as the statements tell.
///
/// # Errors
/// What differs and must not.
pub(super) fn same_shape(name: &Name, old: &Query, new: &Query) -> Result<(), Problem> {
    if old == new {
        return Ok(());
    }
    let differs = |what: &str| Err(refused(name, &format!("the new query has {what}")));
    if !old.joins.is_empty() || !new.joins.is_empty() {
        return Err(refused(name, "upgrades are not supported for joins"));
    }
    if old.window.is_some() || new.window.is_some() {
        return Err(refused(name, "upgrades are not supported for windowed aggregations"));
    }
    if old.from.name != new.from.name {
        return differs("another source");
    }
    if unqualified(&old.partition_by) != unqualified(&new.partition_by) {
        return differs("another PARTITION BY");
    }
    if unqualified(&old.group_by) != unqualified(&new.group_by) {
        return differs("another GROUP BY");
    }
    if !old.group_by.is_empty() && aggregates(old) != aggregates(new) {
        return differs("other aggregate functions");
    }
    if table_functions(old) != table_functions(new) {
        return differs("other table functions");
    }
    Ok(())
}

/// Expressions of a query over one relation, the relation's name left out.
fn unqualified(all: &[Expression]) -> Vec<String> {
    all.iter().map(|e| bare(e).to_string()).collect()
}

fn bare(e: &Expression) -> Expression {
    let mut e = e.clone();
    if let ExpressionKind::Column(qualifier, _) = &mut e.kind {
        *qualifier = None;
    }
    e
}

fn called(e: &Expression, is: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
    let name = match &e.kind {
        ExpressionKind::Call(name, _) | ExpressionKind::Aggregate { name, .. } => Some(name),
        _ => None,
    };
    if name.is_some_and(|name| is(&name.text)) {
        let text = e.to_string();
        if !found.contains(&text) {
            found.push(text);
        }
    }
    e.children(&mut |child| called(child, is, found));
}

fn calls(query: &Query, is: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let items = query.select.iter().filter_map(|item| match item {
        SelectItem::One { expression, .. } => Some(expression),
        SelectItem::All { .. } => None,
    });
    items.chain(&query.having).for_each(|e| called(e, is, &mut found));
    found
}

fn aggregates(query: &Query) -> Vec<String> {
    calls(query, &|name| AGGREGATES.iter().any(|a| a.name == name))
}

fn table_functions(query: &Query) -> Vec<String> {
    calls(query, &|name| crate::expr::TableFunction::named(name).is_some())
}

/// Whether the new relation may take the place of the old one. A definition that cannot be planned is reported where it is planned.
pub(in crate::sql) fn check(
    replaced: &Replaced,
    file: &SourceFile,
    context: &CompileContext<'_>,
    properties: &[(String, String)],
) -> Option<Problem> {
    let plan = |statements, at| {
        let planner = Planner::new(file.topology(), file, context).with_properties(properties);
        planner.plan_only(statements, at).ok()
    };
    let StatementKind::Create(new) = &replaced.after.get(replaced.new)?.kind else {
        return None;
    };
    let StatementKind::Create(old) = &replaced.before.get(replaced.old)?.kind else {
        return None;
    };
    let before = plan(&replaced.before, replaced.old)?;
    let after = plan(&replaced.after, replaced.new)?;
    let what = difference((&before, old), (&after, new))?;
    Some(refused(&new.name, &what))
}

fn difference((before, old): (&Topology, &Create), (after, new): (&Topology, &Create)) -> Option<String> {
    let (a, b) = (before.relation(&old.name.text)?, after.relation(&new.name.text)?);
    if let (Some(from), Some(to)) = (source(before, old), source(after, new))
        && (from.window.is_some() || to.window.is_some())
        && old.query != new.query
    {
        return Some("upgrades are not supported for windowed sources".into());
    }
    if a.topic.name != b.topic.name {
        return Some(format!("its topic is {}, not {}", a.topic.name, b.topic.name));
    }
    for (what, x, y) in [
        ("keys", &a.key_format, &b.key_format),
        ("values", &a.value_format, &b.value_format),
    ] {
        if x != y {
            let how = if x.format == y.format {
                "otherwise".into()
            } else {
                format!("as {}", x.format)
            };
            return Some(format!("its {what} are written {how}"));
        }
    }
    if a.window != b.window {
        return Some("the windows in its keys are others".into());
    }
    if timestamp(&old.with) != timestamp(&new.with) {
        return Some("its TIMESTAMP is another".into());
    }
    columns(a, b)
}

/// The relation that a query reads.
fn source<'a>(topology: &'a Topology, create: &Create) -> Option<&'a Relation> {
    topology.relation(&create.query.as_ref()?.from.name.text)
}

fn timestamp(with: &[Property]) -> Vec<(Arc<str>, &Literal)> {
    let about = with.iter().filter(|p| p.name.text.starts_with("TIMESTAMP"));
    let mut about: Vec<_> = about.map(|p| (p.name.text.clone(), &p.value)).collect();
    about.sort_by(|a, b| a.0.cmp(&b.0));
    about
}

/// Key columns stay as they are; value columns stay where they are, and new ones come last.
fn columns(old: &Relation, new: &Relation) -> Option<String> {
    let changed = |a: &[Column], b: &[Column], whole: bool| {
        let gone = a.iter().enumerate().filter(|(i, column)| b.get(*i) != Some(column));
        let added = b.iter().skip(a.len()).filter(|_| whole);
        let all = gone.map(|(_, column)| column).chain(added);
        let all: Vec<String> = all.map(|c| format!("{} {}", c.name, c.sql_type)).collect();
        (!all.is_empty()).then(|| all.join(", "))
    };
    if let Some(key) = changed(&old.schema.key, &new.schema.key, true) {
        return Some(format!("the key columns are changed, missing or reordered: {key}"));
    }
    let headers = |relation: &Relation| {
        let all = relation.headers.iter();
        all.map(|h| Column::new(h.name.clone(), h.sql_type()))
            .collect::<Vec<_>>()
    };
    let value = changed(&old.schema.value, &new.schema.value, false);
    let value = value.or_else(|| changed(&headers(old), &headers(new), false));
    value.map(|list| format!("the following columns are changed, missing or reordered: {list}"))
}
