//! Types of operands: constants, implicit and explicit casts, and the type on which two values meet.

use super::ast::Literal;
use super::check::Typed;
use super::diagnostic::{Problem, Span};
use crate::expr::{CompareOp, EvalContext, Expr, can_cast, cast_value, common_type, comparable};
use crate::types::{Decimal, SqlType, Value};

type Checked<T> = Result<T, Problem>;

/// The constant of a literal, with its type: a number with a point is a DECIMAL, one with an exponent a DOUBLE.
pub(super) fn literal_value(literal: &Literal, span: Span) -> Checked<(Expr, Option<SqlType>)> {
    let (value, sql_type) = match literal {
        Literal::Null => (Value::Null, None),
        Literal::Boolean(b) => (Value::Boolean(*b), Some(SqlType::Boolean)),
        Literal::String(s) => (Value::from(s.as_str()), Some(SqlType::String)),
        Literal::Number(text) => {
            let too_large = || Problem::new(span, format!("the number {text} is too large"));
            if text.contains(['e', 'E']) {
                let x: f64 = text.parse().map_err(|_| too_large())?;
                (Value::Double(x), Some(SqlType::Double))
            } else if let Ok(n) = text.parse::<i32>() {
                (Value::Integer(n), Some(SqlType::Integer))
            } else if let Ok(n) = text.parse::<i64>() {
                (Value::Bigint(n), Some(SqlType::Bigint))
            } else {
                let d: Decimal = text.parse().map_err(|_| too_large())?;
                let (precision, scale) = (d.digits().max(d.scale()), d.scale());
                (Value::Decimal(d), Some(SqlType::Decimal { precision, scale }))
            }
        }
    };
    Ok((Expr::Literal(value), sql_type))
}

/// The type on which two operands are compared; `None` if both are NULL. Text constants become times beside times, as in ksqlDB.
pub(super) fn operand_type(a: &Typed, b: &Typed, op: CompareOp, span: Span) -> Checked<Option<SqlType>> {
    let is_text = |t: &Typed| matches!(&t.expr, Expr::Literal(Value::String(_)));
    let common = match (&a.sql_type, &b.sql_type) {
        (None, other) | (other, None) => return Ok(other.clone()),
        (Some(x), Some(_)) if x.is_time() && is_text(b) => Some(x.clone()),
        (Some(_), Some(y)) if y.is_time() && is_text(a) => Some(y.clone()),
        (Some(x), Some(y)) => common_type(x, y),
    };
    match common {
        Some(t) if comparable(&t, op) => Ok(Some(t)),
        Some(t) => Err(Problem::new(
            span,
            format!("{t} has no order: '{op}' cannot compare it"),
        )),
        None => {
            let problem = Problem::new(span, format!("cannot compare {} with {}", a.named(), b.named()));
            Err(problem.hint("CAST one of them to the type of the other"))
        }
    }
}

pub(super) fn unify(a: &Typed, b: &Typed, op: CompareOp, span: Span) -> Checked<(Expr, Expr)> {
    match operand_type(a, b, op, span)? {
        None => Ok((Expr::Literal(Value::Null), Expr::Literal(Value::Null))),
        Some(to) => Ok((operand(a.clone(), &to)?, operand(b.clone(), &to)?)),
    }
}

/// An operand brought to the common type; a text that is no such time is an error here, not at every row.
pub(super) fn operand(typed: Typed, to: &SqlType) -> Checked<Expr> {
    if let (Expr::Literal(text @ Value::String(_)), true) = (&typed.expr, to.is_time()) {
        let value = cast_value(text, to).map_err(|e| Problem::new(typed.span, e.message))?;
        return Ok(Expr::Literal(value));
    }
    Ok(convert(typed.expr, to, typed.sql_type.as_ref()))
}

pub(super) fn compare(op: CompareOp, a: &Typed, b: &Typed, span: Span) -> Checked<Expr> {
    let (a, b) = unify(a, b, op, span)?;
    Ok(Expr::Compare(op, a.into(), b.into()))
}

pub(super) fn all_of_one_type(all: &[Typed], what: &str) -> Checked<Option<SqlType>> {
    let mut common: Option<SqlType> = None;
    for typed in all {
        common = match (common, &typed.sql_type) {
            (None, t) => t.clone(),
            (Some(c), None) => Some(c),
            (Some(c), Some(t)) => Some(common_type(&c, t).ok_or_else(|| {
                Problem::new(
                    typed.span,
                    format!("{what} must have one type: {t} does not go with {c}"),
                )
            })?),
        };
    }
    Ok(common)
}

/// An implicit cast: nothing if the type is right already.
pub(super) fn convert(expr: Expr, to: &SqlType, from: Option<&SqlType>) -> Expr {
    if from.is_none_or(|from| from == to) {
        return expr;
    }
    fold(Expr::Cast(expr.into(), to.clone()))
}

/// CAST; a STRUCT is taken apart and put together by the names of its fields.
pub(super) fn cast(a: Typed, to: &SqlType, span: Span) -> Checked<Expr> {
    let Some(from) = &a.sql_type else {
        return Ok(Expr::Literal(Value::Null));
    };
    if !can_cast(from, to) {
        let problem = Problem::new(span, format!("cannot cast {from} to {to}"));
        return Err(match (from, to) {
            (SqlType::Bigint | SqlType::Integer, SqlType::Timestamp) => {
                problem.hint("FROM_UNIXTIME takes milliseconds")
            }
            (SqlType::Timestamp, t) if t.is_numeric() => problem.hint("UNIX_TIMESTAMP gives milliseconds"),
            _ => problem,
        });
    }
    Ok(match (from, to) {
        (SqlType::Struct(old), SqlType::Struct(new)) if old != new => {
            let fields = new
                .iter()
                .map(|field| match old.iter().position(|f| f.name == field.name) {
                    Some(i) => {
                        let value = Expr::Field(a.expr.clone().into(), i);
                        convert(value, &field.sql_type, Some(&old[i].sql_type))
                    }
                    None => Expr::Literal(Value::Null),
                });
            let built = Expr::Struct(fields.collect());
            let null = (Expr::IsNull(a.expr.into()), Expr::Literal(Value::Null));
            Expr::Case(vec![null], built.into())
        }
        _ => convert(a.expr, to, Some(from)),
    })
}

/// Computes an operator of constants once. One that fails is left: only rows that reach it are bad.
pub(super) fn fold(expr: Expr) -> Expr {
    let computed = matches!(
        expr,
        Expr::Negate(_) | Expr::Arithmetic(..) | Expr::Cast(..) | Expr::Call(_) | Expr::Array(_) | Expr::Item(..)
    );
    let mut constant = computed && expr.is_constant();
    expr.children(&mut |child| constant = constant && matches!(child, Expr::Literal(_)));
    if !constant {
        return expr;
    }
    let nothing = EvalContext {
        key: &[],
        value: &[],
        timestamp: 0,
        now: 0,
    };
    match expr.eval(&nothing) {
        Ok(value) => Expr::Literal(value),
        Err(_) => expr,
    }
}
