//! Functions of dates and times. The wall clock is the one that the task was given.

use super::{CallContext, EvalError, Signature, Ty, number};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const DAY_MS: i64 = 86_400_000;

pub(super) const FUNCTIONS: &[Signature] = &[
    Signature::new(
        "FROM_UNIXTIME",
        &[Ty::Bigint],
        Ty::Timestamp,
        |a, _| Ok(Value::Timestamp(number(&a[0]))),
        "The TIMESTAMP of so many milliseconds since 1970.",
    ),
    Signature::new(
        "UNIX_DATE",
        &[],
        Ty::Integer,
        |_, c| Ok(days(c.now)),
        "The days from 1970 to now.",
    ),
    Signature::new(
        "UNIX_DATE",
        &[Ty::Date],
        Ty::Integer,
        unix_date,
        "The days from 1970 to a date.",
    ),
    Signature::new(
        "UNIX_TIMESTAMP",
        &[],
        Ty::Bigint,
        |_, c| Ok(Value::Bigint(c.now)),
        "The milliseconds from 1970 to now.",
    ),
    Signature::new(
        "UNIX_TIMESTAMP",
        &[Ty::Timestamp],
        Ty::Bigint,
        unix_timestamp,
        "The milliseconds from 1970 to a time.",
    ),
];

fn days(ms: i64) -> Value {
    Value::Integer(i32::try_from(ms.div_euclid(DAY_MS)).unwrap_or(i32::MAX))
}

fn unix_date(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match args[0] {
        Value::Date(days) => Value::Integer(days),
        _ => Value::Null,
    })
}

fn unix_timestamp(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match args[0] {
        Value::Timestamp(ms) => Value::Bigint(ms),
        _ => Value::Null,
    })
}
