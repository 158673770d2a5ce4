//! Names and types: an expression of the tree becomes a compiled [`Expr`], with every implicit cast made explicit.

mod calls;
mod composite;

use super::ast::{Expression, ExpressionKind};
use super::coerce::{all_of_one_type, cast, compare, convert, element, fold, literal_value, unify};
use super::diagnostic::{Problem, Span};
use super::lambda::Frames;
use super::scope::Scope;
use crate::expr::{
    AGGREGATES, AggregateCall, ArithmeticOp, CompareOp, Expr, LikePattern, TableCall, TableFunction, arithmetic_type,
    comparable, parse_timestamp,
};
use crate::types::{SqlType, Value};

/// An expression and its type; the literal NULL has none of its own.
#[derive(Clone, Debug)]
pub struct Typed {
    /// The compiled expression.
    pub expr: Expr,
    /// Its type.
    pub sql_type: Option<SqlType>,
    /// Where it stands.
    pub span: Span,
}

impl Typed {
    /// The type, STRING for NULL.
    pub fn type_or_string(&self) -> SqlType {
        self.sql_type.clone().unwrap_or(SqlType::String)
    }

    /// The type's name, for messages.
    pub fn named(&self) -> String {
        self.sql_type.as_ref().map_or("NULL".into(), ToString::to_string)
    }
}

/// The aggregate calls met so far. Their results stand for the moment behind the value columns of the input, from position `width`.
#[derive(Debug)]
pub struct Aggregates {
    /// The calls, each once, and where the first of its kind stands.
    pub calls: Vec<(AggregateCall, Span)>,
    /// The calls of table functions, likewise. A query has only one of both.
    pub tables: Vec<(TableCall, Span)>,
    /// How many value columns the input has.
    pub width: usize,
    /// The most values of COLLECT_LIST and COLLECT_SET.
    pub limits: (i64, i64),
    /// Of a query with QUALIFY, which has no calls: ROW_NUMBER() stands at `width`.
    pub row_number: bool,
}

impl Aggregates {
    /// For an input of so many value columns.
    pub fn over(width: usize) -> Self {
        Self {
            calls: Vec::new(),
            tables: Vec::new(),
            width,
            limits: (i64::MAX, i64::MAX),
            row_number: false,
        }
    }
}

type Checked<T> = Result<T, Problem>;

/// Columns of milliseconds that are compared with texts.
const TIMES: [&str; 3] = ["ROWTIME", "WINDOWSTART", "WINDOWEND"];

/// Checks expressions over a scope.
pub struct Checker<'a> {
    pub(super) scope: &'a Scope,
    /// Where aggregate functions are collected; `None`: they are not allowed, because of ...
    aggregates: Result<&'a mut Aggregates, &'static str>,
    /// The lambdas around the place that is being checked.
    pub(super) frames: Frames,
}

/// Whether a name is that of an aggregate function.
pub fn is_aggregate(name: &str) -> bool {
    AGGREGATES.iter().any(|a| a.name == name)
}

impl<'a> Checker<'a> {
    /// Without aggregate functions; `place` says where, for the message: `WHERE`.
    pub fn new(scope: &'a Scope, place: &'static str) -> Self {
        Self {
            scope,
            aggregates: Err(place),
            frames: Frames::default(),
        }
    }

    /// With aggregate functions.
    pub fn aggregating(scope: &'a Scope, aggregates: &'a mut Aggregates) -> Self {
        Self {
            scope,
            aggregates: Ok(aggregates),
            frames: Frames::default(),
        }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// The first problem of the expression.
    pub fn check(&mut self, e: &Expression) -> Checked<Typed> {
        let (expr, sql_type) = self.compile(e)?;
        Ok(Typed {
            expr: fold(expr),
            sql_type,
            span: e.span,
        })
    }

    /// Compiles a condition.
    ///
    /// # Errors
    /// As [`Self::check`], and if it is not BOOLEAN.
    pub fn condition(&mut self, e: &Expression, what: &str) -> Checked<Expr> {
        let typed = self.check(e)?;
        match typed.sql_type {
            Some(SqlType::Boolean) | None => Ok(typed.expr),
            Some(other) => Err(Problem::new(e.span, format!("{what} must be BOOLEAN, this is {other}"))),
        }
    }

    fn compile(&mut self, e: &Expression) -> Checked<(Expr, Option<SqlType>)> {
        let boolean = |expr| Ok((expr, Some(SqlType::Boolean)));
        match &e.kind {
            ExpressionKind::Literal(literal) => literal_value(literal, e.span),
            ExpressionKind::Column(qualifier, name) => {
                if let (None, Some((param, sql_type))) = (qualifier, self.frames.param(&name.text)) {
                    return Ok((param, Some(sql_type)));
                }
                let column = &self.scope.columns[self.scope.resolve(qualifier.as_ref(), name)?];
                Ok((self.frames.of_row(column.expr.clone()), Some(column.sql_type.clone())))
            }
            ExpressionKind::Not(a) => boolean(Expr::Not(self.condition(a, "the operand of NOT")?.into())),
            ExpressionKind::Negate(a) => {
                let a = self.check(a)?;
                match &a.sql_type {
                    Some(t) if t.is_numeric() => Ok((Expr::Negate(a.expr.into()), a.sql_type)),
                    _ => Err(Problem::new(
                        a.span,
                        format!("'-' takes a number, this is {}", a.named()),
                    )),
                }
            }
            ExpressionKind::And(a, b) => {
                let (a, b) = (
                    self.condition(a, "an operand of AND")?,
                    self.condition(b, "an operand of AND")?,
                );
                boolean(chain(a, b, true))
            }
            ExpressionKind::Or(a, b) => {
                let (a, b) = (
                    self.condition(a, "an operand of OR")?,
                    self.condition(b, "an operand of OR")?,
                );
                boolean(chain(a, b, false))
            }
            ExpressionKind::Compare(op, a, b) => {
                let (a, b) = self.beside_time(a, b)?;
                if a.sql_type.is_none() || b.sql_type.is_none() {
                    let message = format!(
                        "cannot compare {} with {}: the result is NULL always",
                        a.named(),
                        b.named()
                    );
                    return Err(Problem::new(e.span, message).hint("use IS NULL, IS NOT NULL or IS DISTINCT FROM"));
                }
                boolean(compare(*op, &a, &b, e.span)?)
            }
            ExpressionKind::Arithmetic(op, a, b) => self.arithmetic(*op, a, b, e.span),
            ExpressionKind::IsNull(..)
            | ExpressionKind::IsDistinct(..)
            | ExpressionKind::In(..)
            | ExpressionKind::Between(..)
            | ExpressionKind::Like(..) => boolean(self.predicate(e)?),
            ExpressionKind::Case {
                operand,
                whens,
                otherwise,
            } => self.case(operand.as_deref(), whens, otherwise.as_deref(), e.span),
            ExpressionKind::Cast(a, to) => {
                let a = self.check(a)?;
                Ok((cast(a, to, e.span)?, Some(to.clone())))
            }
            ExpressionKind::Field(a, field) => self.field(a, field),
            ExpressionKind::AllFields(_) => {
                let problem = Problem::new(e.span, "->* stands for columns: it goes into SELECT by itself");
                Err(problem.hint("name one field: ->field"))
            }
            ExpressionKind::Subscript(a, i) => self.subscript(a, i),
            ExpressionKind::Array(items) => {
                if items.is_empty() {
                    let problem = Problem::new(e.span, "an ARRAY without items has no type");
                    return Err(problem.hint("CAST(NULL AS ARRAY<...>), or give it an item"));
                }
                let (items, of) = self.same_type(items, "the items of an ARRAY")?;
                Ok((Expr::Array(items), Some(SqlType::Array(of.into()))))
            }
            ExpressionKind::Map(entries) => {
                if entries.is_empty() {
                    let problem = Problem::new(e.span, "a MAP without entries has no type");
                    return Err(problem.hint("CAST(NULL AS MAP<...>), or give it an entry"));
                }
                let (keys, values): (Vec<_>, Vec<_>) = entries.iter().cloned().unzip();
                let (keys, k) = self.same_type(&keys, "the keys of a MAP")?;
                let (values, v) = self.same_type(&values, "the values of a MAP")?;
                let entries = keys.into_iter().zip(values).collect();
                Ok((Expr::Map(entries), Some(SqlType::Map(k.into(), v.into()))))
            }
            ExpressionKind::Struct(fields) => self.structure(fields),
            ExpressionKind::Call(name, args) => self.call(name, args, e.span),
            ExpressionKind::Aggregate {
                name,
                distinct,
                args,
                filter,
            } => {
                if !is_aggregate(&name.text) {
                    let problem = Problem::new(name.span, format!("{} is not an aggregate function", name.text));
                    return Err(problem.hint("DISTINCT and FILTER go with aggregate functions"));
                }
                self.aggregate(name, (*distinct, args, filter.as_deref()), e.span)
            }
            ExpressionKind::RowNumber { .. } => match &self.aggregates {
                Ok(aggregates) if aggregates.row_number => {
                    let place = self.frames.of_row(Expr::Value(aggregates.width));
                    Ok((place, Some(SqlType::Bigint)))
                }
                _ => Err(Problem::new(
                    e.span,
                    "ROW_NUMBER() stands in QUALIFY and in the projection of such a query",
                )
                .hint("QUALIFY ROW_NUMBER() OVER (PARTITION BY ... ORDER BY ...) <= 10")),
            },
            ExpressionKind::Lambda(..) => Err(Problem::new(
                e.span,
                "a lambda stands only as the argument of a function",
            )
            .hint("TRANSFORM, FILTER and REDUCE take lambdas")),
        }
    }

    /// IS, IN, BETWEEN and LIKE.
    fn predicate(&mut self, e: &Expression) -> Checked<Expr> {
        match &e.kind {
            ExpressionKind::IsNull(a, not) => {
                let a = self.check(a)?;
                Ok(negated(Expr::IsNull(a.expr.into()), *not))
            }
            ExpressionKind::IsDistinct(a, b, not) => {
                let (a, b) = unify(&self.check(a)?, &self.check(b)?, CompareOp::Equal, e.span)?;
                Ok(negated(Expr::IsDistinct(a.into(), b.into()), *not))
            }
            ExpressionKind::In(a, all, not) => Ok(negated(self.is_in(a, all, e.span)?, *not)),
            ExpressionKind::Between(a, low, high, not) => {
                let (_, low) = self.beside_time(a, low)?;
                let (a, high) = self.beside_time(a, high)?;
                let above = compare(CompareOp::GreaterOrEqual, &a, &low, e.span)?;
                let below = compare(CompareOp::LessOrEqual, &a, &high, e.span)?;
                Ok(negated(Expr::And(vec![above, below]), *not))
            }
            ExpressionKind::Like(a, pattern, escape, not) => {
                let a = self.string(a, "LIKE")?;
                let like = match self.string(pattern, "LIKE")? {
                    Expr::Literal(Value::String(s)) => Expr::Like(a.into(), LikePattern::new(&s, *escape)),
                    pattern => Expr::LikeExpr(a.into(), pattern.into(), *escape),
                };
                Ok(negated(like, *not))
            }
            _ => self.condition(e, "a condition"),
        }
    }

    /// Two operands of a comparison. Beside ROWTIME and the bounds of windows, which are milliseconds, a text is a time.
    fn beside_time(&mut self, a: &Expression, b: &Expression) -> Checked<(Typed, Typed)> {
        let (mut left, mut right) = (self.check(a)?, self.check(b)?);
        for (pseudo, text) in [(a, &mut right), (b, &mut left)] {
            let ExpressionKind::Column(_, name) = &pseudo.kind else {
                continue;
            };
            if let (Expr::Literal(Value::String(s)), true) = (&text.expr, TIMES.contains(&&*name.text)) {
                let Some(ms) = parse_timestamp(s) else {
                    let message = format!("'{s}' is no time to compare {} with", name.text);
                    return Err(Problem::new(text.span, message).hint("write '2020-02-29T23:59:59', or milliseconds"));
                };
                text.expr = Expr::Literal(Value::Bigint(ms));
                text.sql_type = Some(SqlType::Bigint);
            }
        }
        Ok((left, right))
    }

    fn string(&mut self, e: &Expression, operator: &str) -> Checked<Expr> {
        let typed = self.check(e)?;
        match &typed.sql_type {
            Some(SqlType::String) | None => Ok(typed.expr),
            Some(other) => Err(Problem::new(
                e.span,
                format!("{operator} takes STRING, this is {other}"),
            )),
        }
    }

    fn arithmetic(
        &mut self,
        op: ArithmeticOp,
        a: &Expression,
        b: &Expression,
        span: Span,
    ) -> Checked<(Expr, Option<SqlType>)> {
        let (a, b) = (self.check(a)?, self.check(b)?);
        let (Some(left), Some(right)) = (
            a.sql_type.clone().or(b.sql_type.clone()),
            b.sql_type.clone().or(a.sql_type.clone()),
        ) else {
            return Ok((Expr::Literal(Value::Null), None));
        };
        let Some((left, right, result)) = arithmetic_type(op, &left, &right) else {
            let problem = Problem::new(span, format!("there is no {} {op} {}", a.named(), b.named()));
            let text = left == SqlType::String || right == SqlType::String;
            return Err(if text {
                problem.hint("CAST makes a number or a STRING of it")
            } else {
                problem
            });
        };
        let (a, b) = (
            convert(a.expr, &left, a.sql_type.as_ref()),
            convert(b.expr, &right, b.sql_type.as_ref()),
        );
        let computed = Expr::Arithmetic(op, a.into(), b.into(), result.clone());
        // as in ksqlDB, where it is the NULL of one element that makes the whole call NULL
        let computed = match self.frames.inside() && result.is_numeric() {
            true => Expr::NonNull(computed.into()),
            false => computed,
        };
        Ok((computed, Some(result)))
    }

    fn is_in(&mut self, a: &Expression, all: &[Expression], span: Span) -> Checked<Expr> {
        let mut needle = self.check(a)?;
        let all = all.iter().map(|e| self.check(e)).collect::<Checked<Vec<_>>>()?;
        let mut list = all.clone();
        list.insert(0, needle.clone());
        let common = all_of_one_type(&list, "the values of IN")?;
        if let Some(t) = common.as_ref().filter(|t| !comparable(t, CompareOp::Equal)) {
            return Err(Problem::new(
                span,
                format!("{t} cannot be compared: IN does not take it"),
            ));
        }
        let Some(common) = common else {
            return Ok(Expr::Literal(Value::Null));
        };
        let of = needle.sql_type.take();
        let candidates = all
            .into_iter()
            .map(|c| element(c, &common))
            .collect::<Checked<Vec<_>>>()?;
        Ok(Expr::In(convert(needle.expr, &common, of.as_ref()).into(), candidates))
    }

    fn case(
        &mut self,
        operand: Option<&Expression>,
        whens: &[(Expression, Expression)],
        otherwise: Option<&Expression>,
        span: Span,
    ) -> Checked<(Expr, Option<SqlType>)> {
        let parts = operand
            .into_iter()
            .chain(whens.iter().flat_map(|(a, b)| [a, b]))
            .chain(otherwise);
        if let Some(at) = parts.filter_map(table_function_in).next() {
            return Err(Problem::new(at, "a table function is not allowed in CASE"));
        }
        let operand = operand.map(|o| self.check(o)).transpose()?;
        let mut conditions = Vec::new();
        for (when, _) in whens {
            conditions.push(match &operand {
                None => self.condition(when, "the condition of WHEN")?,
                Some(operand) => compare(CompareOp::Equal, operand, &self.check(when)?, when.span)?,
            });
        }
        let results: Vec<&Expression> = whens.iter().map(|(_, then)| then).chain(otherwise).collect();
        let results = results
            .into_iter()
            .map(|e| self.check(e))
            .collect::<Checked<Vec<_>>>()?;
        let sql_type = all_of_one_type(&results, "the results of CASE")?;
        let Some(to) = &sql_type else {
            return Err(Problem::new(span, "the results of CASE cannot all be NULL"));
        };
        let mut results: Vec<Expr> = results
            .into_iter()
            .map(|r| convert(r.expr, to, r.sql_type.as_ref()))
            .collect();
        let otherwise = match otherwise {
            Some(_) => results.pop().unwrap_or(Expr::Literal(Value::Null)),
            None => Expr::Literal(Value::Null),
        };
        let whens = conditions.into_iter().zip(results).collect();
        Ok((Expr::Case(whens, otherwise.into()), sql_type))
    }
}

/// A table function in an expression.
fn table_function_in(e: &Expression) -> Option<Span> {
    let mut found = match &e.kind {
        ExpressionKind::Call(name, _) if TableFunction::named(&name.text).is_some() => Some(e.span),
        _ => None,
    };
    e.children(&mut |child| found = found.or_else(|| table_function_in(child)));
    found
}

/// AND and OR are flat: `a AND b AND c` is one node.
fn chain(a: Expr, b: Expr, and: bool) -> Expr {
    let mut all = match a {
        Expr::And(all) if and => all,
        Expr::Or(all) if !and => all,
        other => vec![other],
    };
    match b {
        Expr::And(more) if and => all.extend(more),
        Expr::Or(more) if !and => all.extend(more),
        other => all.push(other),
    }
    if and { Expr::And(all) } else { Expr::Or(all) }
}

fn negated(expr: Expr, not: bool) -> Expr {
    if not { Expr::Not(expr.into()) } else { expr }
}
