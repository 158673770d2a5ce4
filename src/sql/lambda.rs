//! Calls with arguments that are no values: lambdas and units of time. The parameters' types follow from the other arguments, and the columns that a body reads are captured, so that the compiled
//! lambda stands alone (see `expr::Lambda`).

use std::sync::Arc;

use super::ast::{Expression, ExpressionKind, Literal, Name};
use super::check::{Checker, Typed};
use super::coerce::convert;
use super::diagnostic::{Problem, Span};
use crate::expr::functions::{self, Arg, FunctionCall, Signature, Ty, UNITS};
use crate::expr::{Expr, Lambda};
use crate::types::SqlType;

/// The lambdas around the place that is being checked, the outermost first.
#[derive(Default)]
pub(super) struct Frames(Vec<Frame>);

#[derive(Default)]
struct Frame {
    params: Vec<(Arc<str>, SqlType)>,
    captures: Vec<Expr>,
}

impl Frames {
    /// Whether there is any.
    pub(super) fn inside(&self) -> bool {
        !self.0.is_empty()
    }

    /// The parameter of that name, as seen from the innermost lambda.
    pub(super) fn param(&mut self, name: &str) -> Option<(Expr, SqlType)> {
        let found = self.0.iter().enumerate().rev().find_map(|(depth, frame)| {
            let at = frame.params.iter().position(|(param, _)| &**param == name)?;
            Some((depth, at, frame.params[at].1.clone()))
        });
        let (depth, at, sql_type) = found?;
        Some((self.capture(depth + 1, Expr::Value(at)), sql_type))
    }

    /// Something of the row, as seen from the innermost lambda.
    pub(super) fn of_row(&mut self, expr: Expr) -> Expr {
        self.capture(0, expr)
    }

    fn capture(&mut self, from: usize, mut expr: Expr) -> Expr {
        for frame in &mut self.0[from..] {
            let at = frame
                .captures
                .iter()
                .position(|known| *known == expr)
                .unwrap_or_else(|| {
                    frame.captures.push(expr);
                    frame.captures.len() - 1
                });
            expr = Expr::Value(frame.params.len() + at);
        }
        expr
    }
}

/// The unit of time that a word stands for, where the function takes one. The parser makes texts of those that are no names.
fn unit(signatures: &[&'static Signature], arg: &Expression) -> Option<&'static str> {
    if !signatures.iter().any(|s| s.params.first() == Some(&Ty::Unit)) {
        return None;
    }
    let word = match &arg.kind {
        ExpressionKind::Column(None, name) => &*name.text,
        ExpressionKind::Literal(Literal::String(word)) => word.as_str(),
        _ => return None,
    };
    let known = |(unit, _): &&(&str, i64)| word.strip_suffix('S').unwrap_or(word) == *unit;
    UNITS.iter().find(known).map(|(unit, _)| *unit)
}

/// The bare word in the place of a unit of time that is none.
fn no_unit<'a>(signatures: &[&'static Signature], arg: &'a Expression) -> Option<&'a str> {
    let wanted = signatures.iter().all(|s| s.params.first() == Some(&Ty::Unit));
    match &arg.kind {
        ExpressionKind::Column(None, name) if wanted => Some(&name.text),
        ExpressionKind::Literal(Literal::String(word)) if wanted => Some(word),
        _ => None,
    }
}

impl Checker<'_> {
    /// A call of a function.
    pub(super) fn resolved_call(
        &mut self,
        signatures: &[&'static Signature],
        args: &[Expression],
        span: Span,
    ) -> Result<(Expr, Option<SqlType>), Problem> {
        let mut values: Vec<Option<Typed>> = Vec::with_capacity(args.len());
        let mut given = Vec::with_capacity(args.len());
        for arg in args {
            if let ExpressionKind::Lambda(params, _) = &arg.kind {
                given.push(Arg::Lambda(params.len()));
                values.push(None);
            } else if let (Some(unit), 0) = (unit(signatures, arg), given.len()) {
                given.push(Arg::Unit);
                values.push(Some(Typed {
                    expr: Expr::Literal(unit.into()),
                    sql_type: None,
                    span: arg.span,
                }));
            } else if let (Some(word), 0) = (no_unit(signatures, arg), given.len()) {
                let known: Vec<String> = UNITS.iter().map(|(unit, _)| format!("{unit}S")).collect();
                let problem = Problem::new(arg.span, format!("{word} is no unit of time"));
                return Err(problem.hint(format!("there are {}", known.join(", "))));
            } else {
                let value = self.check(arg)?;
                given.push(Arg::Value(value.sql_type.clone()));
                values.push(Some(value));
            }
        }
        let mut chosen = functions::choose(signatures, given).map_err(|why| Problem::new(span, why))?;
        let mut lambdas = Vec::new();
        for (at, arg) in args.iter().enumerate() {
            if let ExpressionKind::Lambda(names, body) = &arg.kind {
                let types = chosen.lambda_params(at).map_err(|why| Problem::new(arg.span, why))?;
                let (body, captures) = self.body(names, types, body)?;
                let to = chosen
                    .lambda_result(at, body.sql_type.as_ref())
                    .map_err(|why| Problem::new(body.span, why))?;
                lambdas.push(Expr::Lambda(Box::new(Lambda {
                    params: names.len(),
                    captures,
                    body: convert(body.expr, &to, body.sql_type.as_ref()),
                })));
            }
        }
        let resolved = chosen.finish().map_err(|why| Problem::new(span, why))?;
        let mut lambdas = lambdas.into_iter();
        let args = values
            .into_iter()
            .zip(&resolved.params)
            .filter_map(|(value, to)| match value {
                Some(value) => Some(convert(value.expr, to, value.sql_type.as_ref())),
                None => lambdas.next(),
            });
        let mut args: Vec<Expr> = args.collect();
        if args.is_empty() && resolved.function.is_random() {
            // records that are equal otherwise are told apart by their positions
            let positions = self.scope.columns.iter().filter(|c| c.hidden && c.lost.is_none());
            let positions = positions.filter(|c| matches!(&*c.name, "ROWPARTITION" | "ROWOFFSET"));
            let positions: Vec<Expr> = positions.map(|c| c.expr.clone()).collect();
            args.extend(positions.into_iter().map(|expr| self.frames.of_row(expr)));
        }
        let sql_type = resolved.sql_type.clone();
        Ok((
            Expr::Call(FunctionCall::new(resolved, args, span.start)),
            Some(sql_type),
        ))
    }

    /// Checks a lambda's body; the captures go with it.
    fn body(&mut self, names: &[Name], types: Vec<SqlType>, body: &Expression) -> Result<(Typed, Vec<Expr>), Problem> {
        for (i, name) in names.iter().enumerate() {
            let twice = names[..i].iter().any(|earlier| earlier.text == name.text);
            if twice || self.frames.param(&name.text).is_some() {
                let problem = Problem::new(
                    name.span,
                    format!("the lambda's parameter {} is there already", name.text),
                );
                return Err(problem.hint("give each parameter a name of its own, also in lambdas inside lambdas"));
            }
        }
        self.frames.0.push(Frame {
            params: names.iter().map(|name| name.text.clone()).zip(types).collect(),
            captures: Vec::new(),
        });
        let checked = self.check(body);
        let frame = self.frames.0.pop().unwrap_or_default();
        Ok((checked?, frame.captures))
    }
}
