//! Functions of numbers. Each has a signature a type, so that exact numbers stay exact.

use super::{CallContext, EvalError, Signature, Ty, number};
use crate::types::{Decimal, SqlType, Value};

type Result = std::result::Result<Value, EvalError>;

const ABS: &str = "The number without its sign.";
const CEIL: &str = "The least whole number that is not smaller.";
const FLOOR: &str = "The greatest whole number that is not greater.";
const ROUND: &str = "The nearest whole number; a half goes up.";
const ROUND_TO: &str = "The number rounded to so many digits after the point; a half goes up.";
const SIGN: &str = "-1, 0 or 1.";

const I: Ty = Ty::Integer;
const L: Ty = Ty::Bigint;
const D: Ty = Ty::Double;
const N: Ty = Ty::Decimal;

pub(super) const FUNCTIONS: &[Signature] = &[
    Signature::new("ABS", &[I], I, abs, ABS),
    Signature::new("ABS", &[L], L, abs, ABS),
    Signature::new("ABS", &[N], N, abs, ABS).computed(same),
    Signature::new("ABS", &[D], D, abs, ABS),
    Signature::new("CEIL", &[I], I, first, CEIL),
    Signature::new("CEIL", &[L], L, first, CEIL),
    Signature::new("CEIL", &[N], N, |a, _| to_whole(&a[0], Whole::Up), CEIL).computed(same),
    Signature::new("CEIL", &[D], D, |a, _| to_whole(&a[0], Whole::Up), CEIL),
    Signature::new("FLOOR", &[I], I, first, FLOOR),
    Signature::new("FLOOR", &[L], L, first, FLOOR),
    Signature::new("FLOOR", &[N], N, |a, _| to_whole(&a[0], Whole::Down), FLOOR).computed(same),
    Signature::new("FLOOR", &[D], D, |a, _| to_whole(&a[0], Whole::Down), FLOOR),
    Signature::new("ROUND", &[L], L, first, ROUND),
    Signature::new("ROUND", &[N], N, |a, _| round(&a[0], 0), ROUND).computed(whole),
    Signature::new("ROUND", &[D], L, round_double, ROUND),
    Signature::new("ROUND", &[N, I], N, |a, _| round(&a[0], number(&a[1])), ROUND_TO).computed(same),
    Signature::new("ROUND", &[D, I], D, |a, _| round(&a[0], number(&a[1])), ROUND_TO),
    Signature::new("SIGN", &[L], I, sign, SIGN),
    Signature::new("SIGN", &[N], I, sign, SIGN),
    Signature::new("SIGN", &[D], I, sign, SIGN),
    Signature::new("SQRT", &[D], D, sqrt, "The square root."),
];

fn same(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    Ok(args.first().cloned().unwrap_or(SqlType::Double))
}

/// The type of a decimal rounded to a whole number, which may have one digit more.
fn whole(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    Ok(match args.first() {
        Some(SqlType::Decimal { precision, scale }) => SqlType::Decimal {
            precision: precision
                .saturating_sub(*scale)
                .saturating_add(1)
                .min(crate::types::MAX_PRECISION),
            scale: 0,
        },
        other => other.cloned().unwrap_or(SqlType::Double),
    })
}

fn first(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args[0].clone())
}

fn out_of_range(name: &str, value: &Value) -> EvalError {
    let value = crate::expr::display::literal(value);
    EvalError::new(format!("{name}({value}): the result does not fit"))
}

fn abs(args: &[Value], _: &CallContext<'_>) -> Result {
    let overflow = || out_of_range("ABS", &args[0]);
    Ok(match &args[0] {
        Value::Integer(n) => Value::Integer(n.checked_abs().ok_or_else(overflow)?),
        Value::Bigint(n) => Value::Bigint(n.checked_abs().ok_or_else(overflow)?),
        Value::Double(x) => Value::Double(x.abs()),
        Value::Decimal(d) if d.unscaled() < 0 => Value::Decimal(d.checked_neg().map_err(|_| overflow())?),
        other => other.clone(),
    })
}

#[derive(Clone, Copy)]
enum Whole {
    Up,
    Down,
}

/// CEIL and FLOOR; a decimal keeps its scale.
fn to_whole(value: &Value, to: Whole) -> Result {
    Ok(match value {
        Value::Double(x) => Value::Double(match to {
            Whole::Up => x.ceil(),
            Whole::Down => x.floor(),
        }),
        Value::Decimal(d) => {
            let Some(factor) = 10i128.checked_pow(d.scale().into()) else {
                return Ok(value.clone());
            };
            let (n, rest) = (d.unscaled(), d.unscaled().rem_euclid(factor));
            let moved = match to {
                Whole::Down => n.checked_sub(rest),
                Whole::Up if rest == 0 => Some(n),
                Whole::Up => n.checked_add(factor - rest),
            };
            let moved = moved.ok_or_else(|| out_of_range("CEIL or FLOOR", value))?;
            Value::Decimal(Decimal::new(moved, d.scale()))
        }
        other => other.clone(),
    })
}

/// ROUND of a double to BIGINT, as Java's `Math.round`.
fn round_double(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Double(x) => Value::Bigint((x + 0.5).floor() as i64),
        other => other.clone(),
    })
}

/// Rounds at a digit after the point (before it if negative); a half goes up, also below zero, as `Math.round` has it.
fn round(value: &Value, digits: i64) -> Result {
    let exact = match value {
        Value::Decimal(d) => *d,
        Value::Double(x) => match Decimal::from_f64(*x) {
            Some(d) => d,
            None => return Ok(value.clone()),
        },
        other => return Ok(other.clone()),
    };
    let cut = i64::from(exact.scale()) - digits;
    let rounded = match u32::try_from(cut) {
        Err(_) | Ok(0) => exact,
        Ok(cut) => match 10i128.checked_pow(cut) {
            None => Decimal::new(0, exact.scale()),
            Some(step) => {
                let n = exact.unscaled();
                let up = n.checked_add(step / 2).ok_or_else(|| out_of_range("ROUND", value))?;
                Decimal::new(up - up.rem_euclid(step), exact.scale())
            }
        },
    };
    Ok(match value {
        Value::Double(_) => Value::Double(rounded.to_f64()),
        // ROUND(x) has no digits after the point in its type, ROUND(x, n) keeps those of x
        _ if digits == 0 => Value::Decimal(rounded.rescale(0).map_err(|_| out_of_range("ROUND", value))?),
        _ => Value::Decimal(rounded),
    })
}

fn sign(args: &[Value], _: &CallContext<'_>) -> Result {
    let sign = match &args[0] {
        Value::Bigint(n) => n.signum() as i32,
        Value::Decimal(d) => d.unscaled().signum() as i32,
        Value::Double(x) if *x > 0.0 => 1,
        Value::Double(x) if *x < 0.0 => -1,
        _ => 0,
    };
    Ok(Value::Integer(sign))
}

fn sqrt(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Double(x) => Value::Double(x.sqrt()),
        _ => Value::Null,
    })
}
