//! ON: the equalities that find partners, and what else they must satisfy.

use super::Planner;
use super::output::key_columns;
use super::query::Pipe;
use super::window::window_equalities;
use crate::expr::{CompareOp, Expr};
use crate::sql::ast::{Expression, ExpressionKind, Join, Name};
use crate::sql::check::{Checker, Typed};
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::{Scope, ScopeColumn};
use crate::types::RelationKind;

/// One `left = right` of the condition.
pub(super) struct Equality {
    pub left: Typed,
    pub right: Typed,
    /// The side is a column as it is, so that it can name the key.
    pub left_is_column: bool,
    pub right_is_column: bool,
    pub span: Span,
}

/// A condition taken apart.
pub(super) struct On<'a> {
    /// The equalities by which partners are found, in the order of the key's columns.
    pub key: Vec<Equality>,
    /// Conditions that pairs of the same key must satisfy as well.
    pub residual: Vec<&'a Expression>,
}

impl Planner<'_> {
    /// Takes the condition apart and decides which equalities are the key.
    pub(super) fn condition<'a>(&self, left: &Pipe, right: &Pipe, join: &'a Join) -> Result<On<'a>, Problem> {
        let (mut equalities, mut residual) = (Vec::new(), Vec::new());
        let mut conjuncts = Vec::new();
        conjuncts_of(&join.on, &mut conjuncts);
        for conjunct in conjuncts {
            match equality(conjunct, left, &right.scope)? {
                Some(equality) => equalities.push((equality, conjunct)),
                None => residual.push(conjunct),
            }
        }
        for (i, (equality, _)) in equalities.iter().enumerate() {
            let again = |(other, _): &&(Equality, _)| {
                other.left.expr == equality.left.expr && other.right.expr == equality.right.expr
            };
            if equalities[..i].iter().find(again).is_some() {
                let message = format!("ON compares the same twice: {}", equalities[i].1);
                return Err(Problem::new(equality.span, message));
            }
        }
        if equalities.is_empty() {
            let problem = Problem::new(
                join.on.span,
                "ON must compare a column of one side with one of the other by '='",
            );
            return Err(problem.hint("ON left.column = right.column, then AND with further conditions"));
        }
        if self.joined_windows(left, right, join)? {
            let keys = (self.declared_keys(left), self.declared_keys(right));
            let bounds = window_equalities(keys, join.on.span).map(|equality| (equality, &join.on));
            let known = |bound: &Equality| equalities.iter().any(|(e, _)| e.left.expr == bound.left.expr);
            let bounds: Vec<_> = bounds.filter(|(bound, _)| !known(bound)).collect();
            equalities.extend(bounds);
        }
        let on = if self.builder.kind(right.node) == RelationKind::Table {
            self.by_primary_key(right, join, equalities, residual)?
        } else {
            self.by_stream_keys(left, right, equalities, residual)
        };
        Ok(on)
    }

    /// The equalities of the right table's key, in its order; what else is compared is a further condition.
    fn by_primary_key<'a>(
        &self,
        right: &Pipe,
        join: &Join,
        equalities: Vec<(Equality, &'a Expression)>,
        mut residual: Vec<&'a Expression>,
    ) -> Result<On<'a>, Problem> {
        let table = &right.scope.relations[0].name;
        let keys = &self.builder.schema(right.node).key;
        let names: Vec<String> = (0..keys.len()).map(|i| key_name(&right.scope, i)).collect();
        let mut ordered: Vec<Option<Equality>> = keys.iter().map(|_| None).collect();
        let mut elsewhere: Option<Span> = None;
        for (equality, conjunct) in equalities {
            match equality.right.expr {
                Expr::Key(i) if ordered[i].is_none() => ordered[i] = Some(equality),
                _ => {
                    elsewhere = elsewhere.or(Some(equality.right.span));
                    residual.push(conjunct);
                }
            }
        }
        let missing: Vec<&str> = names
            .iter()
            .zip(&ordered)
            .filter(|(_, e)| e.is_none())
            .map(|(n, _)| n.as_str())
            .collect();
        if missing.len() == keys.len() {
            let message = format!("{table} must be joined on its primary key, {}", names.join(", "));
            return Err(Problem::new(elsewhere.unwrap_or(join.on.span), message));
        }
        if !missing.is_empty() {
            let message = format!(
                "ON must compare the whole primary key of {table}: {} is missing",
                missing.join(", ")
            );
            return Err(Problem::new(join.on.span, message));
        }
        let key = ordered.into_iter().flatten().collect();
        Ok(On { key, residual })
    }

    /// Of streams any columns may be the key. Where one side's key is compared as a whole, that is it, since then this side can stay where it
    /// is; else all that is compared.
    fn by_stream_keys<'a>(
        &self,
        left: &Pipe,
        right: &Pipe,
        equalities: Vec<(Equality, &'a Expression)>,
        mut residual: Vec<&'a Expression>,
    ) -> On<'a> {
        let whole = |node, expr: fn(&Equality) -> &Expr| -> Option<Vec<usize>> {
            let keys = key_columns(self.builder.schema(node).key.len());
            let found = keys
                .iter()
                .map(|key| equalities.iter().position(|(equality, _)| expr(equality) == key));
            found.collect::<Option<Vec<_>>>().filter(|found| !found.is_empty())
        };
        let chosen = whole(left.node, |e| &e.left.expr)
            .or_else(|| whole(right.node, |e| &e.right.expr))
            .unwrap_or_else(|| (0..equalities.len()).collect());
        let mut all: Vec<Option<(Equality, &Expression)>> = equalities.into_iter().map(Some).collect();
        let key = chosen
            .into_iter()
            .filter_map(|i| all[i].take().map(|(equality, _)| equality))
            .collect();
        residual.extend(all.into_iter().flatten().map(|(_, conjunct)| conjunct));
        On { key, residual }
    }
}

/// The conditions that AND connects.
fn conjuncts_of<'a>(e: &'a Expression, found: &mut Vec<&'a Expression>) {
    if let ExpressionKind::And(a, b) = &e.kind {
        conjuncts_of(a, found);
        conjuncts_of(b, found);
    } else {
        found.push(e);
    }
}

/// An equality of an expression of the left side and one of the right side; `None` for every other condition.
fn equality(e: &Expression, left: &Pipe, right: &Scope) -> Result<Option<Equality>, Problem> {
    let ExpressionKind::Compare(CompareOp::Equal, a, b) = &e.kind else {
        sides(e, &left.scope, right)?;
        return Ok(None);
    };
    let (a_side, b_side) = (sides(a, &left.scope, right)?, sides(b, &left.scope, right)?);
    let (l, r) = match (a_side, b_side) {
        ((true, false), (false, true)) => (a, b),
        ((false, true), (true, false)) => (b, a),
        _ => return Ok(None),
    };
    let mut typed = Checker::new(&left.scope, "in ON").check(l)?;
    // a column that an outer join before has made the key means the key, also where its own side is absent
    let same = |joined: &&super::query::JoinedKey| left.scope.columns[joined.column].expr == typed.expr;
    if let Some(joined) = left.joined_keys.iter().find(same) {
        typed.expr = Expr::Key(joined.key);
    } else if let Some((_, key)) = left.key_exprs.iter().find(|(expr, _)| *expr == typed.expr) {
        typed.expr = Expr::Key(*key);
    }
    let is_column = |e: &Expression| matches!(e.kind, ExpressionKind::Column(..));
    Ok(Some(Equality {
        left: typed,
        right: Checker::new(right, "in ON").check(r)?,
        left_is_column: is_column(l),
        right_is_column: is_column(r),
        span: e.span,
    }))
}

/// Whether an expression reads columns of the left, of the right side.
fn sides(e: &Expression, left: &Scope, right: &Scope) -> Result<(bool, bool), Problem> {
    let mut both = Scope {
        relations: left.relations.iter().chain(&right.relations).cloned().collect(),
        columns: left.columns.clone(),
    };
    let (columns, relations) = (left.columns.len(), left.relations.len());
    both.columns.extend(right.columns.iter().cloned().map(|c| ScopeColumn {
        relation: c.relation.map(|i| i + relations),
        ..c
    }));
    let mut found = (false, false);
    let mut names = Vec::new();
    columns_of(e, &[], &mut names);
    for (qualifier, name) in names {
        if both.resolve(qualifier, name)? < columns {
            found.0 = true;
        } else {
            found.1 = true;
        }
    }
    Ok(found)
}

type ColumnName<'a> = (Option<&'a Name>, &'a Name);

/// The columns that an expression names; a lambda's parameters are none.
fn columns_of<'a>(e: &'a Expression, parameters: &[&'a Name], found: &mut Vec<ColumnName<'a>>) {
    match &e.kind {
        ExpressionKind::Column(qualifier, name) => {
            if qualifier.is_some() || !parameters.iter().any(|p| p.text == name.text) {
                found.push((qualifier.as_ref(), name));
            }
        }
        ExpressionKind::Lambda(names, body) => {
            let inner: Vec<&Name> = parameters.iter().copied().chain(names).collect();
            columns_of(body, &inner, found);
        }
        _ => e.children(&mut |child| columns_of(child, parameters, found)),
    }
}

/// The name of a relation's key column.
pub(super) fn key_name(scope: &Scope, key: usize) -> String {
    let column = scope.columns.iter().find(|c| c.expr == Expr::Key(key));
    column.map_or_else(|| format!("key column {key}"), |c| c.name.to_string())
}

/// As in ksqlDB, keys of different types never meet: an INTEGER's bytes are not those of a BIGINT.
pub(super) fn check_types(equality: &Equality) -> Result<(), Problem> {
    let (left, right) = (equality.left.type_or_string(), equality.right.type_or_string());
    if left == right {
        return Ok(());
    }
    let message = format!("the sides of ON have different types: {left} and {right}");
    Err(Problem::new(equality.span, message).hint(format!("CAST the left side to {right}")))
}
