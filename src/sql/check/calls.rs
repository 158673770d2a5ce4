//! Calls: scalar functions, and the aggregate and table functions that are collected apart from their expression.

use super::{Checked, Checker, is_aggregate};
use crate::expr::functions;
use crate::expr::{AGGREGATES, AggregateCall, Expr, TABLE_FUNCTIONS, TableCall, TableFunction};
use crate::sql::ast::{Expression, ExpressionKind, Literal, Name};
use crate::sql::diagnostic::{Problem, Span};
use crate::types::SqlType;

/// What other dialects call functions, and how it is said here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("ARRAY", "ARRAY[1, 2] makes an ARRAY"),
    ("CHAR_LENGTH", "it is called LEN here"),
    (
        "CURRENT_TIMESTAMP",
        "FROM_UNIXTIME(UNIX_TIMESTAMP()) is the time of the clock",
    ),
    ("DATE_FORMAT", "it is called FORMAT_TIMESTAMP here"),
    ("EXTRACT", "FORMAT_TIMESTAMP(t, 'yyyy') gives a part of a time"),
    ("IF", "CASE WHEN ... THEN ... ELSE ... END"),
    ("LENGTH", "it is called LEN here"),
    ("NOW", "FROM_UNIXTIME(UNIX_TIMESTAMP()) is the time of the clock"),
    ("NVL", "it is called IFNULL here"),
    ("POSITION", "it is called INSTR here"),
    ("STRPOS", "it is called INSTR here"),
    ("SUBSTR", "it is called SUBSTRING here"),
    ("TO_CHAR", "it is called FORMAT_TIMESTAMP here"),
    ("UNNEST", "it is called EXPLODE here, and stands in the projection"),
];

impl Checker<'_> {
    pub(super) fn call(&mut self, name: &Name, args: &[Expression], span: Span) -> Checked<(Expr, Option<SqlType>)> {
        if is_aggregate(&name.text) {
            return self.aggregate(name, (false, args, None), span);
        }
        if let Some(function) = TableFunction::named(&name.text) {
            return self.table_call(function, args, span);
        }
        let signatures = functions::named(&name.text);
        if signatures.is_empty() {
            let known = functions::all()
                .map(|s| s.name)
                .chain(AGGREGATES.iter().chain(TABLE_FUNCTIONS).map(|a| a.name));
            let problem = Problem::new(name.span, format!("there is no function {}", name.text));
            if let Some((_, ours)) = ELSEWHERE.iter().find(|(theirs, _)| **theirs == *name.text) {
                return Err(problem.hint(*ours));
            }
            return Err(problem.nearest(&name.text, known));
        }
        let called = self.resolved_call(&signatures, args, span);
        // a + b of texts is written a || b, which the parser makes a call of
        let operator = &*name.text == "CONCAT" && name.span.end - name.span.start == "||".len();
        match called {
            Err(problem) if operator && problem.message.starts_with("function CONCAT ") => {
                let problem = Problem::new(span, "|| puts STRINGs or BYTES together, both sides of the same type");
                let other = args
                    .iter()
                    .find(|a| !matches!(a.kind, ExpressionKind::Literal(Literal::String(_))));
                let other = other.map_or(String::new(), ToString::to_string);
                Err(problem.hint(format!("CAST({other} AS STRING) makes a STRING")))
            }
            called => called,
        }
    }

    pub(super) fn aggregate(
        &mut self,
        name: &Name,
        (distinct, args, filter): (bool, &[Expression], Option<&Expression>),
        span: Span,
    ) -> Checked<(Expr, Option<SqlType>)> {
        if let Err(place) = &self.aggregates {
            return Err(Problem::new(
                span,
                format!("the aggregate function {} is not allowed {place}", name.text),
            ));
        }
        let mut inner = Checker::new(self.scope, "inside another one");
        let args = args.iter().map(|a| inner.check(a)).collect::<Checked<Vec<_>>>()?;
        let filter = filter
            .map(|e| inner.condition(e, "the condition of FILTER"))
            .transpose()?;
        let args = args.into_iter().map(|a| (a.expr.clone(), a.type_or_string())).collect();
        let call = match distinct {
            true => AggregateCall::distinct_of(&name.text, args),
            false => AggregateCall::new(&name.text, args),
        };
        let call = call.map_err(|why| Problem::new(span, why))?;
        let Ok(aggregates) = &mut self.aggregates else {
            return Err(Problem::new(span, "an aggregate function is not allowed here"));
        };
        let (list, set) = aggregates.limits;
        let call = AggregateCall {
            filter,
            ..call.limited(list, set)
        };
        let sql_type = call.sql_type.clone();
        let at = place_of(&mut aggregates.calls, call, span);
        let result = Expr::Value(aggregates.width + at);
        Ok((self.frames.of_row(result), Some(sql_type)))
    }

    pub(super) fn table_call(
        &mut self,
        function: TableFunction,
        args: &[Expression],
        span: Span,
    ) -> Checked<(Expr, Option<SqlType>)> {
        if let Err(place) = &self.aggregates {
            let problem = Problem::new(span, format!("the table function {function} is not allowed {place}"));
            return Err(problem.hint("it makes rows, so it stands in the projection"));
        }
        let mut inner = Checker::new(self.scope, "inside another one");
        let args = args.iter().map(|a| inner.check(a)).collect::<Checked<Vec<_>>>()?;
        let args = args.into_iter().map(|a| (a.expr.clone(), a.type_or_string())).collect();
        let call = TableCall::new(function, args).map_err(|why| Problem::new(span, why))?;
        let Ok(aggregates) = &mut self.aggregates else {
            return Err(Problem::new(span, "a table function is not allowed here"));
        };
        let sql_type = call.sql_type.clone();
        let at = place_of(&mut aggregates.tables, call, span);
        let result = Expr::Value(aggregates.width + at);
        Ok((self.frames.of_row(result), Some(sql_type)))
    }
}

/// Where a call stands among those met so far; equal ones are one.
fn place_of<T: PartialEq>(calls: &mut Vec<(T, Span)>, call: T, span: Span) -> usize {
    let known = calls.iter().position(|(known, _)| *known == call);
    known.unwrap_or_else(|| {
        calls.push((call, span));
        calls.len() - 1
    })
}
