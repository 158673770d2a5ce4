//! Functions about NULL, choice and the handling of bad rows.

use super::{CallContext, EvalError, FunctionCall, Resolved, Signature, Ty, text};
use crate::expr::text::text_of;
use crate::expr::{Expr, cast_value, common_type};
use crate::types::{SqlType, Value};

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');
const GREATEST: &str = "The greatest argument; NULLs are left out.";
const LEAST: &str = "The least argument; NULLs are left out.";

functions! {
    "AS_VALUE"(T) -> T, first, "The argument; in a projection, a copy of a key column that becomes a value column.", ["AS_VALUE('a')" => "'a'"]
        .sees_nulls();
    "COALESCE"(T) -> T, coalesce, "The first argument that is not NULL.", ["COALESCE(NULL, 'a', 'b')" => "'a'"] .variadic() .sees_nulls();
    "GREATEST"(Ty::Integer) -> Ty::Integer, greatest, GREATEST, ["GREATEST(1, NULL, 3, 2)" => "3"] .variadic() .sees_nulls();
    "GREATEST"(Ty::Bigint) -> Ty::Bigint, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::Decimal) -> Ty::Decimal, greatest, GREATEST, ["GREATEST(1.5, 1.25)" => "1.50"] .variadic() .sees_nulls() .computed(widest);
    "GREATEST"(Ty::Double) -> Ty::Double, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::String) -> Ty::String, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::Bytes) -> Ty::Bytes, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::Date) -> Ty::Date, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::Time) -> Ty::Time, greatest, GREATEST, [] .variadic() .sees_nulls();
    "GREATEST"(Ty::Timestamp) -> Ty::Timestamp, greatest, GREATEST, [] .variadic() .sees_nulls();
    "IFNULL"(T, T) -> T, coalesce, "The first argument, or the second where it is NULL.", ["IFNULL(CAST(NULL AS INT), 7)" => "7"] .sees_nulls();
    "LEAST"(Ty::Integer) -> Ty::Integer, least, LEAST, ["LEAST(4, NULL, 3, 2)" => "2"] .variadic() .sees_nulls();
    "LEAST"(Ty::Bigint) -> Ty::Bigint, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::Decimal) -> Ty::Decimal, least, LEAST, [] .variadic() .sees_nulls() .computed(widest);
    "LEAST"(Ty::Double) -> Ty::Double, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::String) -> Ty::String, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::Bytes) -> Ty::Bytes, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::Date) -> Ty::Date, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::Time) -> Ty::Time, least, LEAST, [] .variadic() .sees_nulls();
    "LEAST"(Ty::Timestamp) -> Ty::Timestamp, least, LEAST, [] .variadic() .sees_nulls();
    "NULLIF"(T, T) -> T, nullif, "NULL if both arguments are equal, else the first.", ["NULLIF('a', 'a')" => "NULL", "NULLIF(1, 2)" => "1"]
        .sees_nulls();
    "REQUIRE"(T, Ty::String) -> T, require,
        "The first argument; where it is NULL the record is bad, with the second as reason: it goes to the dead-letter topic. (Not in ksqlDB.)",
        ["REQUIRE('title', 'no title')" => "'title'"] .sees_nulls();
}

/// The decimal type that all arguments widen to.
fn widest(args: &[SqlType]) -> std::result::Result<SqlType, String> {
    let mut args = args.iter().filter(|t| matches!(t, SqlType::Decimal { .. }));
    let first = args.next().ok_or("no argument has a type")?;
    args.try_fold(first.clone(), |a, b| common_type(&a, b))
        .ok_or_else(|| "the arguments have no common DECIMAL".to_string())
}

fn first(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args[0].clone())
}

fn coalesce(args: &[Value], _: &CallContext<'_>) -> Result {
    Ok(args.iter().find(|v| !v.is_null()).cloned().unwrap_or_default())
}

fn greatest(args: &[Value], call: &CallContext<'_>) -> Result {
    of_result_type(args.iter().filter(|v| !v.is_null()).max(), call)
}

fn least(args: &[Value], call: &CallContext<'_>) -> Result {
    of_result_type(args.iter().filter(|v| !v.is_null()).min(), call)
}

/// Decimals of several scales are compared; the chosen one gets that of the result.
fn of_result_type(chosen: Option<&Value>, call: &CallContext<'_>) -> Result {
    match chosen {
        Some(decimal @ Value::Decimal(_)) => cast_value(decimal, call.sql_type),
        other => Ok(other.cloned().unwrap_or_default()),
    }
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

/// CAST to STRING of a value with fields in it, whose names are part of the text. It has no name in SQL.
static CAST_TO_STRING: Signature = Signature::new(
    "CAST_TO_STRING",
    &[T],
    Ty::String,
    |args, call| Ok(Value::string(text_of(&args[0], call.params.first()))),
    "",
);

/// An expression of a type as its text, where the type has fields.
pub(in crate::expr) fn text_with_fields(expr: Expr, from: &SqlType) -> FunctionCall {
    let resolved = Resolved {
        function: &CAST_TO_STRING,
        params: vec![from.clone()],
        sql_type: SqlType::String,
    };
    FunctionCall::new(resolved, vec![expr], 0)
}
