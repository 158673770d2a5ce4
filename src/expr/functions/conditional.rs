//! Functions about NULL, choice and the handling of bad rows.

use super::{CallContext, EvalError, Signature, Ty, text};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');

pub(super) const FUNCTIONS: &[Signature] = &[
    Signature::new("AS_VALUE", &[T], T, first, "The argument; in a projection, a copy of a key column that becomes a value column.").sees_nulls(),
    Signature::new("COALESCE", &[T], T, coalesce, "The first argument that is not NULL.").variadic().sees_nulls(),
    Signature::new("GREATEST", &[T], T, |a, _| Ok(extreme(a, true)), "The greatest argument; NULLs are left out.").variadic().sees_nulls(),
    Signature::new("IFNULL", &[T, T], T, coalesce, "The first argument, or the second where it is NULL.").sees_nulls(),
    Signature::new("LEAST", &[T], T, |a, _| Ok(extreme(a, false)), "The least argument; NULLs are left out.").variadic().sees_nulls(),
    Signature::new("NULLIF", &[T, T], T, nullif, "NULL if both arguments are equal, else the first.").sees_nulls(),
    Signature::new("REQUIRE", &[T, Ty::String], T, require,
        "The first argument; where it is NULL the record is bad, with the second as reason: it goes to the dead-letter topic. (Not in ksqlDB.)").sees_nulls(),
];

fn first(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args[0].clone())
}

fn coalesce(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args.iter().find(|v| !v.is_null()).cloned().unwrap_or_default())
}

fn extreme(args: &[Value], greatest: bool) -> Value {
    let known = args.iter().filter(|v| !v.is_null());
    let found = if greatest { known.max() } else { known.min() };
    found.cloned().unwrap_or_default()
}

fn nullif(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(if args[0] == args[1] {
        Value::Null
    } else {
        args[0].clone()
    })
}

fn require(args: &[Value], _: &CallContext<'_>) -> Result {
    if args[0].is_null() {
        return Err(EvalError::new(text(&args[1])));
    }
    Ok(args[0].clone())
}
