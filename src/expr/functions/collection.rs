//! Functions of arrays and maps, and of lists of arguments.

use super::{CallContext, EvalError, Signature, Ty, length, number};
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');
const S: Ty = Ty::String;
const ARRAY: Ty = Ty::Array(&T);
const MAP: Ty = Ty::Map(&Ty::Any('K'), &Ty::Any('V'));

pub(super) const FUNCTIONS: &[Signature] = &[
    Signature::new(
        "ARRAY_CONTAINS",
        &[ARRAY, T],
        Ty::Boolean,
        contains,
        "Whether the array has the value.",
    ),
    Signature::new(
        "ARRAY_JOIN",
        &[Ty::Array(&S), S],
        S,
        join,
        "The strings with the delimiter between them; NULL prints as null.",
    ),
    Signature::new(
        "ARRAY_LENGTH",
        &[ARRAY],
        Ty::Integer,
        array_length,
        "The number of items.",
    ),
    Signature::new(
        "ELT",
        &[Ty::Integer, S],
        S,
        elt,
        "The nth of the following arguments; NULL outside.",
    )
    .variadic()
    .sees_nulls(),
    Signature::new(
        "FIELD",
        &[S, S],
        Ty::Integer,
        field,
        "The position of the first argument among the following; 0 if it is not there.",
    )
    .variadic()
    .sees_nulls(),
    Signature::new(
        "MAP_KEYS",
        &[MAP],
        Ty::Array(&Ty::Any('K')),
        |a, _| Ok(side(&a[0], true)),
        "The keys of a map.",
    ),
    Signature::new(
        "MAP_VALUES",
        &[MAP],
        Ty::Array(&Ty::Any('V')),
        |a, _| Ok(side(&a[0], false)),
        "The values of a map.",
    ),
];

fn contains(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Array(items) => Value::Boolean(items.contains(&args[1])),
        _ => Value::Null,
    })
}

fn join(args: &[Value], _: &CallContext<'_>) -> Result {
    let Value::Array(items) = &args[0] else {
        return Ok(Value::Null);
    };
    let item = |v: &Value| match v {
        Value::String(s) => s.to_string(),
        _ => "null".to_string(),
    };
    let parts: Vec<String> = items.iter().map(item).collect();
    Ok(Value::string(parts.join(super::text(&args[1]))))
}

fn array_length(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(match &args[0] {
        Value::Array(items) => length(items.len()),
        _ => Value::Null,
    })
}

fn elt(args: &[Value], _: &CallContext<'_>) -> Result {
    let at = usize::try_from(number(&args[0])).unwrap_or(0);
    Ok(if at == 0 {
        Value::Null
    } else {
        args.get(at).cloned().unwrap_or_default()
    })
}

fn field(args: &[Value], _: &CallContext<'_>) -> Result {
    if args[0].is_null() {
        return Ok(Value::Integer(0));
    }
    Ok(length(
        args[1..].iter().position(|v| *v == args[0]).map_or(0, |i| i + 1),
    ))
}

fn side(map: &Value, keys: bool) -> Value {
    match map {
        Value::Map(entries) => Value::Array(
            entries
                .iter()
                .map(|(k, v)| if keys { k.clone() } else { v.clone() })
                .collect(),
        ),
        _ => Value::Null,
    }
}
