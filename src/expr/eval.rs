//! Evaluation of an [`Expr`] for one row. Columns and constants are borrowed, so that comparing two strings copies nothing.

use std::borrow::Cow;

use super::{EvalContext, EvalError, Expr, arithmetic, cast_value, compare};
use crate::types::{Value, map_value};

impl Expr {
    /// The expression's value for one row.
    ///
    /// # Errors
    /// When the row cannot be computed: a failed CAST, an overflow, a division by zero, REQUIRE of NULL.
    pub fn eval(&self, row: &EvalContext<'_>) -> Result<Value, EvalError> {
        Ok(self.get(row)?.into_owned())
    }

    /// Whether the condition is TRUE: FALSE and NULL are not.
    ///
    /// # Errors
    /// As [`Self::eval`].
    pub fn is_true(&self, row: &EvalContext<'_>) -> Result<bool, EvalError> {
        Ok(matches!(*self.get(row)?, Value::Boolean(true)))
    }

    /// The value, borrowed where it stands in the row or in the expression.
    ///
    /// # Errors
    /// As [`Self::eval`].
    pub fn get<'a>(&'a self, row: &EvalContext<'a>) -> Result<Cow<'a, Value>, EvalError> {
        const NULL: Value = Value::Null;
        let value = match self {
            Self::Literal(value) => return Ok(Cow::Borrowed(value)),
            Self::Key(i) => return Ok(Cow::Borrowed(row.key.get(*i).unwrap_or(&NULL))),
            Self::Value(i) => return Ok(Cow::Borrowed(row.value.get(*i).unwrap_or(&NULL))),
            Self::Rowtime => Value::Bigint(row.timestamp),
            Self::Not(a) => match *a.get(row)? {
                Value::Boolean(b) => Value::Boolean(!b),
                _ => Value::Null,
            },
            Self::Negate(a) => arithmetic::negate(&*a.get(row)?)?,
            Self::And(all) => return connect(all, false, row),
            Self::Or(all) => return connect(all, true, row),
            Self::Compare(op, a, b) => compare::compare(*op, &*a.get(row)?, &*b.get(row)?),
            Self::Arithmetic(op, a, b, sql_type) => {
                arithmetic::arithmetic(*op, &*a.get(row)?, &*b.get(row)?, sql_type)?
            }
            Self::IsNull(a) => Value::Boolean(a.get(row)?.is_null()),
            Self::IsDistinct(a, b) => Value::Boolean(compare::distinct(&*a.get(row)?, &*b.get(row)?)),
            Self::In(a, all) => is_in(a, all, row)?,
            Self::Like(a, pattern) => match &*a.get(row)? {
                Value::String(text) => Value::Boolean(pattern.matches(text)),
                _ => Value::Null,
            },
            Self::LikeExpr(a, pattern, escape) => match (&*a.get(row)?, &*pattern.get(row)?) {
                (Value::String(text), Value::String(pattern)) => {
                    Value::Boolean(super::LikePattern::new(pattern, *escape).matches(text))
                }
                _ => Value::Null,
            },
            Self::Case(whens, otherwise) => {
                for (when, then) in whens {
                    if when.is_true(row)? {
                        return then.get(row);
                    }
                }
                return otherwise.get(row);
            }
            Self::Try(a) => return Ok(a.get(row).unwrap_or(Cow::Borrowed(&NULL))),
            Self::Wrapping(inner) => wrapping(inner, row)?,
            Self::Cast(a, to) => {
                let value = a.get(row)?;
                cast_value(&value, to)?
            }
            Self::Field(a, i) => match &*a.get(row)? {
                Value::Struct(fields) => fields.get(*i).cloned().unwrap_or_default(),
                _ => Value::Null,
            },
            Self::Item(a, i) => match part_of_split(a, i, row)? {
                Some(part) => part,
                None => item(&*a.get(row)?, &*i.get(row)?),
            },
            Self::Entry(a, key) => entry(&*a.get(row)?, &*key.get(row)?),
            Self::Array(items) => Value::Array(items.iter().map(|e| e.eval(row)).collect::<Result<_, _>>()?),
            Self::Struct(fields) => Value::Struct(fields.iter().map(|e| e.eval(row)).collect::<Result<_, _>>()?),
            Self::Map(entries) => map_value(
                entries
                    .iter()
                    .map(|(k, v)| Ok((k.eval(row)?, v.eval(row)?)))
                    .collect::<Result<_, EvalError>>()?,
            ),
            Self::Call(call) => call.eval(row)?,
            // functions ask their call for the lambda itself
            Self::Lambda(_) => Value::Null,
            Self::NonNull(a) => {
                let value = a.get(row)?;
                if value.is_null() {
                    return Err(EvalError::null_operand());
                }
                return Ok(value);
            }
        };
        Ok(Cow::Owned(value))
    }
}

/// See [`Expr::Wrapping`].
fn wrapping(inner: &Expr, row: &EvalContext<'_>) -> Result<Value, EvalError> {
    match inner {
        Expr::Arithmetic(op, a, b, sql_type) => {
            let (a, b) = (a.get(row)?, b.get(row)?);
            match arithmetic::wrapping(*op, &a, &b) {
                Some(value) => Ok(value),
                None => arithmetic::arithmetic(*op, &a, &b, sql_type),
            }
        }
        Expr::Negate(a) => match &*a.get(row)? {
            Value::Integer(n) => Ok(Value::Integer(n.wrapping_neg())),
            Value::Bigint(n) => Ok(Value::Bigint(n.wrapping_neg())),
            other => arithmetic::negate(other),
        },
        Expr::Cast(a, to) => {
            let value = a.get(row)?;
            match super::cast::wrapping(&value, to) {
                Some(value) => Ok(value),
                None => cast_value(&value, to),
            }
        }
        other => other.eval(row),
    }
}

/// AND (`decisive` FALSE) and OR (`decisive` TRUE): the decisive value wins, then NULL, then the other.
fn connect<'a>(all: &'a [Expr], decisive: bool, row: &EvalContext<'a>) -> Result<Cow<'a, Value>, EvalError> {
    let mut unknown = false;
    for operand in all {
        match *operand.get(row)? {
            Value::Boolean(b) if b == decisive => return Ok(Cow::Owned(Value::Boolean(decisive))),
            Value::Boolean(_) => {}
            _ => unknown = true,
        }
    }
    let value = if unknown {
        Value::Null
    } else {
        Value::Boolean(!decisive)
    };
    Ok(Cow::Owned(value))
}

/// TRUE if any is equal, else NULL if anything was NULL, else FALSE.
fn is_in(needle: &Expr, all: &[Expr], row: &EvalContext<'_>) -> Result<Value, EvalError> {
    let needle = needle.get(row)?;
    if needle.is_null() {
        return Ok(Value::Null);
    }
    let mut unknown = false;
    for candidate in all {
        let candidate = candidate.get(row)?;
        if candidate.is_null() {
            unknown = true;
        } else if !compare::distinct(&needle, &candidate) {
            return Ok(Value::Boolean(true));
        }
    }
    Ok(if unknown { Value::Null } else { Value::Boolean(false) })
}

/// The item at a position from 1, or from the end if negative; NULL outside.
fn item(array: &Value, at: &Value) -> Value {
    let at = match at {
        Value::Integer(i) => i64::from(*i),
        Value::Bigint(i) => *i,
        _ => return Value::Null,
    };
    let Value::Array(items) = array else {
        return Value::Null;
    };
    let from_start = match at {
        1.. => usize::try_from(at - 1).ok(),
        0 => None,
        _ => usize::try_from(at.unsigned_abs())
            .ok()
            .and_then(|n| items.len().checked_sub(n)),
    };
    from_start.and_then(|i| items.get(i)).cloned().unwrap_or_default()
}

/// `SPLIT(text, delimiter)[n]`, the way lines are parsed, without making the other parts.
fn part_of_split(array: &Expr, at: &Expr, row: &EvalContext<'_>) -> Result<Option<Value>, EvalError> {
    let (Expr::Call(call), Expr::Literal(Value::Integer(n @ 1..))) = (array, at) else {
        return Ok(None);
    };
    if call.function.name != "SPLIT" {
        return Ok(None);
    }
    let (text, delimiter) = (call.args[0].get(row)?, call.args[1].get(row)?);
    let (Value::String(text), Value::String(delimiter)) = (&*text, &*delimiter) else {
        // NULL, or BYTES
        return Ok(None);
    };
    if delimiter.is_empty() {
        return Ok(None);
    }
    let part = usize::try_from(n - 1)
        .ok()
        .and_then(|n| text.split(&**delimiter).nth(n));
    Ok(Some(part.map_or(Value::Null, Value::from)))
}

/// The value of a key; NULL when there is none.
fn entry(map: &Value, key: &Value) -> Value {
    let Value::Map(entries) = map else {
        return Value::Null;
    };
    match entries.binary_search_by(|(k, _)| k.cmp(key)) {
        Ok(i) => entries[i].1.clone(),
        Err(_) => Value::Null,
    }
}
