//! Types of operands: constants, implicit and explicit casts, and the type on which two values meet.

use super::ast::Literal;
use super::check::Typed;
use super::diagnostic::{Problem, Span};
use crate::expr::{CompareOp, EvalContext, Expr, can_cast, cast_of, cast_value, common_type, comparable};
use crate::types::{Decimal, SqlType, StructField, Value};

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
                if x.is_infinite() {
                    return Err(too_large());
                }
                (Value::Double(x), Some(SqlType::Double))
            } else if let Ok(n) = text.parse::<i32>() {
                (Value::Integer(n), Some(SqlType::Integer))
            } else if let Ok(n) = text.parse::<i64>() {
                (Value::Bigint(n), Some(SqlType::Bigint))
            } else if !text.contains('.') {
                return Err(too_large().hint("write it with a point to make it a DECIMAL"));
            } else {
                let d: Decimal = text.parse().map_err(|_| too_large())?;
                let (precision, scale) = (d.digits().max(d.scale()), d.scale());
                (Value::Decimal(d), Some(SqlType::Decimal { precision, scale }))
            }
        }
    };
    Ok((Expr::Literal(value), sql_type))
}

/// The type on which two operands are compared; `None` if both are NULL. Texts become times beside times, as in ksqlDB.
fn operand_type(a: &Typed, b: &Typed, op: CompareOp, span: Span) -> Checked<Option<SqlType>> {
    let common = match (&a.sql_type, &b.sql_type) {
        (None, other) | (other, None) => return Ok(other.clone()),
        (Some(x), Some(SqlType::String)) if x.is_time() => Some(x.clone()),
        (Some(SqlType::String), Some(y)) if y.is_time() => Some(y.clone()),
        (Some(SqlType::Date), Some(SqlType::Timestamp)) | (Some(SqlType::Timestamp), Some(SqlType::Date)) => {
            Some(SqlType::Timestamp)
        }
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
fn operand(typed: Typed, to: &SqlType) -> Checked<Expr> {
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
            (Some(c), Some(t)) => Some(wider(&c, typed).ok_or_else(|| {
                Problem::new(
                    typed.span,
                    format!("{what} must have one type: {t} does not go with {c}"),
                )
            })?),
        };
    }
    Ok(common)
}

/// The type of a list so far and its next element. A text constant beside numbers is read as one, beside a BOOLEAN as that.
fn wider(so_far: &SqlType, next: &Typed) -> Option<SqlType> {
    let sql_type = next.sql_type.as_ref()?;
    if let (SqlType::Struct(known), SqlType::Struct(fields)) = (so_far, sql_type) {
        return all_fields(fields, known);
    }
    let Expr::Literal(Value::String(text)) = &next.expr else {
        return common_type(so_far, sql_type);
    };
    match so_far {
        t if t.is_numeric() => common_type(t, &number_type(text)?),
        SqlType::Boolean => {
            let known = ["true", "false", "yes", "no"];
            let text = text.trim().to_lowercase();
            (!text.is_empty() && known.iter().any(|k| k.starts_with(&text))).then_some(SqlType::Boolean)
        }
        t if t.is_time() => cast_value(&Value::String(text.clone()), t).is_ok().then(|| t.clone()),
        t => common_type(t, sql_type),
    }
}

/// A STRUCT with the fields of both.
fn all_fields(a: &[StructField], b: &[StructField]) -> Option<SqlType> {
    let mut fields = a.to_vec();
    for field in b {
        match fields.iter_mut().find(|f| f.name == field.name) {
            Some(same) => same.sql_type = common_type(&same.sql_type, &field.sql_type)?,
            None => fields.push(field.clone()),
        }
    }
    Some(SqlType::Struct(fields.into()))
}

/// The type of the number that a text is.
fn number_type(text: &str) -> Option<SqlType> {
    let text = text.trim();
    if text.parse::<i32>().is_ok() {
        return Some(SqlType::Integer);
    }
    if text.parse::<i64>().is_ok() {
        return Some(SqlType::Bigint);
    }
    let exact = text.parse().ok();
    let decimal: Decimal = exact.or_else(|| Decimal::from_f64(text.parse().ok().filter(|x: &f64| x.is_finite())?))?;
    Some(SqlType::Decimal {
        precision: decimal.digits().max(decimal.scale()),
        scale: decimal.scale(),
    })
}

/// An element brought to the type of its list; a text constant that is no such value is an error here.
pub(super) fn element(typed: Typed, to: &SqlType) -> Checked<Expr> {
    if let (Expr::Literal(Value::String(text)), true) = (&typed.expr, typed.sql_type.as_ref() != Some(to)) {
        let failed = |message| Problem::new(typed.span, message);
        let number = text.trim().parse::<f64>().ok().and_then(Decimal::from_f64);
        let value = match (to, number) {
            // exponents are no part of a DECIMAL's text
            (SqlType::Decimal { .. }, Some(n)) if text.contains(['e', 'E']) => Value::Decimal(n),
            _ => Value::String(text.clone()),
        };
        let value = cast_value(&value, to).map_err(|e| failed(e.message))?;
        return Ok(Expr::Literal(value));
    }
    Ok(convert(typed.expr, to, typed.sql_type.as_ref()))
}

/// An implicit cast: nothing if the type is right already.
pub(super) fn convert(expr: Expr, to: &SqlType, from: Option<&SqlType>) -> Expr {
    match from {
        None => expr,
        Some(from) if from == to => expr,
        Some(from @ SqlType::Struct(_)) if matches!(to, SqlType::Struct(_)) => by_fields(expr, from, to),
        Some(from) => fold(cast_of(expr, from, to)),
    }
}

/// A STRUCT as another one: fields by name, NULL for those that it lacks.
fn by_fields(expr: Expr, from: &SqlType, to: &SqlType) -> Expr {
    let (SqlType::Struct(old), SqlType::Struct(new)) = (from, to) else {
        return expr;
    };
    let field = |field: &StructField| match old.iter().position(|f| f.name == field.name) {
        Some(i) => convert(
            Expr::Field(expr.clone().into(), i),
            &field.sql_type,
            Some(&old[i].sql_type),
        ),
        None => Expr::Literal(Value::Null),
    };
    let built = Expr::Struct(new.iter().map(field).collect());
    let null = (Expr::IsNull(expr.clone().into()), Expr::Literal(Value::Null));
    Expr::Case(vec![null], built.into())
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
    Ok(convert(a.expr, to, Some(from)))
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
