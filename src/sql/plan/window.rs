//! WINDOW: what the clause says as milliseconds, the columns WINDOWSTART and WINDOWEND, and where they may be used.

use super::Planner;
use super::columns::PSEUDO;
use super::items::Item;
use super::join_on::Equality;
use super::query::Pipe;
use crate::expr::{AggregateCall, Expr};
use crate::sql::ast::{Duration, Emit, Join, Query, Window, WindowType};
use crate::sql::check::Typed;
use crate::sql::diagnostic::{Problem, Span};
use crate::sql::scope::ScopeColumn;
use crate::topology::{WindowSpec, Windows};
use crate::types::{RelationKind, SqlType, WINDOW_COLUMNS, WindowInfo, WindowKind};

/// The grace period where none is written, as ksqlDB's.
const DEFAULT_GRACE_MS: i64 = 24 * 3_600_000;
/// A record of a hopping window changes as many rows as windows overlap.
const MAX_OVERLAPPING: i64 = 100_000;

/// What a WINDOW clause asks for.
///
/// # Errors
/// Lengths that do not go together.
pub(super) fn window_spec(window: &Window, emit: Option<Emit>) -> Result<WindowSpec, Problem> {
    let positive = |duration: &Duration, what: &str| match duration.millis() {
        Some(ms) if ms > 0 => Ok(ms),
        _ => Err(Problem::new(duration.span, format!("{what} must be longer than zero"))),
    };
    let windows = match &window.window {
        WindowType::Tumbling { size } => Windows::Tumbling {
            size_ms: positive(size, "the SIZE of a window")?,
        },
        WindowType::Session { gap } => Windows::Session {
            gap_ms: positive(gap, "the gap that ends a session")?,
        },
        WindowType::Hopping { size, advance } => hopping(positive(size, "the SIZE of a window")?, size, advance)?,
    };
    let length = match windows {
        Windows::Tumbling { size_ms } | Windows::Hopping { size_ms, .. } => size_ms,
        Windows::Session { gap_ms } => gap_ms,
    };
    let grace_ms = match (&window.grace, emit) {
        (Some(grace), _) => grace.millis().unwrap_or(i64::MAX),
        // with EMIT FINAL nobody would wait a day for a result without having asked for it
        (None, Some(Emit::Final)) => 0,
        (None, _) => DEFAULT_GRACE_MS.saturating_sub(length).max(0),
    };
    let open_ms = length.saturating_add(grace_ms);
    let (retention_ms, joinable_ms) = match &window.retention {
        None => (length.saturating_add(grace_ms.max(DEFAULT_GRACE_MS)), open_ms),
        Some(retention) => {
            let ms = retention.millis().unwrap_or(i64::MAX);
            if ms < open_ms {
                let what = "RETENTION must be no shorter than the window and its grace period together";
                let hint = format!("the window is open for {open_ms} ms, and kept for {ms} ms");
                return Err(Problem::new(retention.span, what).hint(hint));
            }
            (ms, ms)
        }
    };
    Ok(WindowSpec {
        windows,
        grace_ms,
        retention_ms,
        joinable_ms,
    })
}

fn hopping(size_ms: i64, size: &Duration, advance: &Duration) -> Result<Windows, Problem> {
    let advance_ms = advance.millis().unwrap_or(0);
    if advance_ms <= 0 || advance_ms > size_ms {
        let message = format!("ADVANCE BY must be longer than zero and no longer than SIZE, {size}");
        return Err(Problem::new(advance.span, message));
    }
    if size_ms / advance_ms > MAX_OVERLAPPING {
        let message = format!("each record would be in {} windows", size_ms / advance_ms);
        return Err(Problem::new(advance.span, message).hint(format!("at most {MAX_OVERLAPPING} may overlap")));
    }
    Ok(Windows::Hopping { size_ms, advance_ms })
}

/// Where a query uses the window's bounds while they are not known yet: positions of key columns that the input does not have.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    first: usize,
}

impl Bounds {
    /// WINDOWSTART and WINDOWEND of the query's own WINDOW clause.
    pub fn exprs(self) -> [Expr; 2] {
        [Expr::Key(self.first), Expr::Key(self.first + 1)]
    }

    fn in_expr(self, expr: &Expr) -> Option<&'static str> {
        let mut found = None;
        let exprs = self.exprs();
        expr.walk(&mut |e| {
            let at = exprs.iter().position(|bound| bound == e);
            found = found.or(at.map(|at| WINDOW_COLUMNS[at]));
        });
        found
    }

    /// The bounds are known when a window's results are: not where rows are grouped, aggregated or chosen.
    ///
    /// # Errors
    /// When an expression reads one.
    pub fn refuse(self, expr: &Expr, span: Span) -> Result<(), Problem> {
        match self.in_expr(expr) {
            None => Ok(()),
            Some(name) => {
                let message = format!("{name} can only be used in the SELECT clause of a windowed aggregation");
                Err(Problem::new(span, message).hint("grouping by the window goes without saying"))
            }
        }
    }
}

impl Planner<'_> {
    /// Checks where WINDOW and EMIT FINAL stand.
    pub(super) fn check_window(&self, query: &Query, pipe: &Pipe) -> Result<(), Problem> {
        if let (Some((Emit::Final, span)), true) = (query.emit, query.window.is_none() || query.group_by.is_empty()) {
            let problem = Problem::new(
                span,
                "EMIT FINAL is for aggregations with a WINDOW: other results are never final",
            );
            return Err(problem.hint("write EMIT CHANGES, or add WINDOW and GROUP BY"));
        }
        let suppressed = self.property("ksql.suppress.enabled");
        if let (Some((Emit::Final, span)), Some("false")) = (query.emit, suppressed.map(str::to_lowercase).as_deref()) {
            let problem = Problem::new(span, "EMIT FINAL is switched off: ksql.suppress.enabled is 'false'");
            return Err(problem.hint("UNSET 'ksql.suppress.enabled'"));
        }
        let Some(window) = &query.window else { return Ok(()) };
        if query.group_by.is_empty() {
            return Err(Problem::new(window.span, "WINDOW needs GROUP BY")
                .hint("GROUP BY the columns whose values make a group"));
        }
        if self.builder.kind(pipe.node) == RelationKind::Table {
            return Err(Problem::new(
                window.span,
                "WINDOW is for aggregations of a stream: a table's rows have no end",
            )
            .hint("leave WINDOW out, or aggregate the stream that the table is made from"));
        }
        Ok(())
    }

    /// Lets the projection name the bounds of the query's own windows.
    pub(super) fn with_bounds(&self, pipe: &mut Pipe) -> Bounds {
        let bounds = Bounds {
            first: self.builder.schema(pipe.node).key.len(),
        };
        let columns = &mut pipe.scope.columns;
        columns.retain(|column| !WINDOW_COLUMNS.contains(&&*column.name));
        columns.extend(window_scope(bounds.exprs()));
        bounds
    }

    /// A projected column must not be called as the windows' own.
    pub(super) fn check_reserved(&mut self, items: &[Item]) {
        for item in items.iter().filter(|item| PSEUDO.contains(&&*item.name)) {
            let message = format!(
                "{} is the name of a pseudo column, which a result cannot have",
                item.name
            );
            let problem = Problem::new(item.typed.span, message);
            self.problems.push(problem.hint("give it another name with AS"));
        }
    }

    /// Whether both sides of a join have windows in their keys: then they are joined by the windows, too.
    ///
    /// # Errors
    /// When only one has them, or one has sessions.
    pub(super) fn joined_windows(&self, left: &Pipe, right: &Pipe, join: &Join) -> Result<bool, Problem> {
        if self.builder.is_global(right.node) {
            return Ok(false);
        }
        let (a, b) = (self.builder.window(left.node), self.builder.window(right.node));
        let named = |window: WindowInfo| format!("{} windows", window.kind);
        let message = match (a, b) {
            (None, None) => return Ok(false),
            (Some(a), Some(b)) if a.is_session() == b.is_session() && a.size_ms == b.size_ms => return Ok(true),
            (Some(a), Some(b)) if a.is_session() == b.is_session() => {
                let ms = |window: WindowInfo| window.size_ms.unwrap_or_default();
                format!(
                    "the windows of the sides have different sizes, {} ms and {} ms",
                    ms(a),
                    ms(b)
                )
            }
            (Some(a), Some(b)) => format!("the left side has {}, the right side {}", named(a), named(b)),
            (Some(window), None) => format!(
                "the left side has {} in its keys, the right side has none",
                named(window)
            ),
            (None, Some(window)) => format!(
                "the right side has {} in its keys, the left side has none",
                named(window)
            ),
        };
        let problem = Problem::new(
            join.span,
            format!("the windows of the sides do not go together: {message}"),
        );
        Err(problem.hint("equal windows are joined with equal ones"))
    }

    /// Windows belong to their key: a windowed side is joined by that key and no other.
    ///
    /// # Errors
    /// When one would have to be re-keyed.
    pub(super) fn check_joined_windows(&self, stays: bool, left: &Pipe, join: &Join) -> Result<(), Problem> {
        if stays || self.builder.window(left.node).is_none() {
            return Ok(());
        }
        let message = "windowed sides are joined by their whole keys: another key would take the windows away";
        Err(Problem::new(join.on.span, message).hint("ON left.key = right.key, both written in the same KEY_FORMAT"))
    }

    /// Behind a join the bounds of a relation's windows are columns like others, next to its key.
    pub(super) fn show_bounds(&self, pipe: &mut Pipe) {
        if pipe.scope.relations.len() > 1 || self.builder.window(pipe.node).is_none() {
            return;
        }
        let declared = self.declared_keys(pipe);
        let is_bound = |expr: &Expr| matches!(expr, Expr::Key(i) if *i >= declared);
        let (bounds, mut others): (Vec<_>, Vec<_>) = std::mem::take(&mut pipe.scope.columns)
            .into_iter()
            .partition(|column| is_bound(&column.expr));
        let shown = bounds.into_iter().map(|mut column| {
            column.hidden = false;
            column
        });
        others.splice(declared..declared, shown);
        pipe.scope.columns = others;
    }

    /// How many columns of a node's key are declared: the bounds of its windows stand behind them.
    pub(super) fn declared_keys(&self, pipe: &Pipe) -> usize {
        let keys = self.builder.schema(pipe.node).key.len();
        match self.builder.window(pipe.node) {
            Some(_) => keys - WINDOW_COLUMNS.len(),
            None => keys,
        }
    }
}

/// Arguments of aggregate functions cannot read the bounds.
pub(super) fn refuse_in_calls(bounds: Bounds, calls: &[(AggregateCall, Span)]) -> Result<(), Problem> {
    for (call, span) in calls {
        for arg in call.exprs() {
            bounds.refuse(arg, *span)?;
        }
    }
    Ok(())
}

/// The scope's columns WINDOWSTART and WINDOWEND, of the first relation.
pub(super) fn window_scope(exprs: [Expr; 2]) -> impl Iterator<Item = ScopeColumn> {
    let named = WINDOW_COLUMNS.into_iter().zip(exprs);
    named.map(|(name, expr)| ScopeColumn {
        relation: Some(0),
        name: name.into(),
        expr,
        sql_type: SqlType::Bigint,
        hidden: true,
        lost: None,
    })
}

/// The windows that WITH declares in the keys of a topic.
///
/// # Errors
/// WINDOW_SIZE without WINDOW_TYPE, and where it must and must not be.
pub(super) fn declared_window(
    with: &crate::sql::properties::With,
    keys: usize,
    span: Span,
) -> Result<Option<WindowInfo>, Problem> {
    let Some(kind) = &with.window_type else {
        return match &with.window_size {
            None => Ok(None),
            Some(size) => Err(Problem::new(size.span, "WINDOW_SIZE needs WINDOW_TYPE").hint("WINDOW_TYPE='TUMBLING'")),
        };
    };
    if keys == 0 {
        return Err(Problem::new(
            span,
            "a windowed stream or table needs a key column: the window stands behind it",
        ));
    }
    match (kind.value, &with.window_size) {
        (WindowKind::Session, None) => {}
        (WindowKind::Session, Some(size)) => {
            return Err(Problem::new(
                size.span,
                "WINDOW_SIZE must not be set for SESSION windows: their keys hold both ends",
            ));
        }
        (WindowKind::Tumbling | WindowKind::Hopping, Some(_)) => {}
        (WindowKind::Tumbling | WindowKind::Hopping, None) => {
            let problem = Problem::new(
                kind.span,
                format!(
                    "{} windows need WINDOW_SIZE: their keys hold the start only",
                    kind.value
                ),
            );
            return Err(problem.hint("WINDOW_SIZE='30 SECONDS', for example"));
        }
    }
    Ok(Some(WindowInfo {
        kind: kind.value,
        size_ms: with.window_size.as_ref().map(|size| size.value),
    }))
}

/// The bounds of both sides' windows are equal: part of what windowed sides are joined by. `keys`: how many key columns each side declares.
pub(super) fn window_equalities(keys: (usize, usize), span: Span) -> impl Iterator<Item = Equality> {
    (0..WINDOW_COLUMNS.len()).map(move |i| {
        let bound = |keys: usize| Typed {
            expr: Expr::Key(keys + i),
            sql_type: Some(SqlType::Bigint),
            span,
        };
        Equality {
            left: bound(keys.0),
            right: bound(keys.1),
            left_is_column: true,
            right_is_column: true,
            span,
        }
    })
}
