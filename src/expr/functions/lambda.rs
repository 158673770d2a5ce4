//! Functions that call a lambda for each element of a collection.

use super::{CallContext, EvalError, Signature, Ty};
use crate::expr::display::literal;
use crate::types::Value;

type Result = std::result::Result<Value, EvalError>;

const T: Ty = Ty::Any('T');
const U: Ty = Ty::Any('U');
const S: Ty = Ty::Any('S');
const K: Ty = Ty::Any('K');
const V: Ty = Ty::Any('V');
const ARRAY: Ty = Ty::Array(&T);
const MAP: Ty = Ty::Map(&K, &V);

const FILTER_ARRAY: &str = "The items for which the lambda gives TRUE.";
const FILTER_MAP: &str = "The entries for which the lambda of key and value gives TRUE.";
const TRANSFORM_ARRAY: &str = "What the lambda makes of each item.";
const TRANSFORM_MAP: &str = "A map of what the first lambda makes of each entry's key and value as key, and the second one as value. Two equal keys make it fail.";
const REDUCE_ARRAY: &str = "The last state: the first one is given, each further one is what the lambda makes of the state and the next item. NULL if the first state is NULL.";
const REDUCE_MAP: &str =
    "The same over the entries of a map in the order of their keys: the lambda takes state, key and value.";

functions! {
    "FILTER"(ARRAY, Ty::Lambda(&[T], &Ty::Boolean)) -> ARRAY, filter, FILTER_ARRAY,
        ["FILTER(ARRAY[1, 5, 9], x => x > 3)" => "ARRAY[5, 9]", "FILTER(ARRAY['a', NULL], s => s IS NOT NULL)" => "ARRAY['a']"];
    "FILTER"(MAP, Ty::Lambda(&[K, V], &Ty::Boolean)) -> MAP, filter, FILTER_MAP,
        ["FILTER(MAP('a' := 1, 'b' := 2), (k, v) => k = 'b' AND v > 1)" => "MAP('b' := 2)"];
    "REDUCE"(ARRAY, S, Ty::Lambda(&[S, T], &S)) -> S, reduce, REDUCE_ARRAY,
        ["REDUCE(ARRAY[2, 3], 10, (s, x) => s + x)" => "15"] .sees_nulls();
    "REDUCE"(MAP, S, Ty::Lambda(&[S, K, V], &S)) -> S, reduce, REDUCE_MAP,
        ["REDUCE(MAP('a' := 1, 'bb' := 2), 0, (s, k, v) => s + LEN(k) * v)" => "5"] .sees_nulls();
    "TRANSFORM"(ARRAY, Ty::Lambda(&[T], &U)) -> Ty::Array(&U), transform_array, TRANSFORM_ARRAY,
        ["TRANSFORM(ARRAY['a', 'b'], s => UCASE(s))" => "ARRAY['A', 'B']"];
    "TRANSFORM"(MAP, Ty::Lambda(&[K, V], &T), Ty::Lambda(&[K, V], &U)) -> Ty::Map(&T, &U), transform_map, TRANSFORM_MAP,
        ["TRANSFORM(MAP('a' := 1), (k, v) => k + '!', (k, v) => v * 2)" => "MAP('a!' := 2)"];
}

fn filter(args: &[Value], call: &CallContext<'_>) -> Result {
    let mut keep = call.lambda(1)?;
    let kept = |result: std::result::Result<Value, EvalError>| result.map(|v| v == Value::Boolean(true));
    Ok(match &args[0] {
        Value::Array(items) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items.iter() {
                if kept(keep.call([item.clone()]))? {
                    out.push(item.clone());
                }
            }
            Value::Array(out.into())
        }
        Value::Map(entries) => {
            let mut out = Vec::with_capacity(entries.len());
            for (key, value) in entries.iter() {
                if kept(keep.call([key.clone(), value.clone()]))? {
                    out.push((key.clone(), value.clone()));
                }
            }
            Value::Map(out.into())
        }
        _ => Value::Null,
    })
}

fn reduce(args: &[Value], call: &CallContext<'_>) -> Result {
    let mut state = args[1].clone();
    if state.is_null() {
        return Ok(state);
    }
    let mut next = call.lambda(2)?;
    match &args[0] {
        Value::Array(items) => {
            for item in items.iter() {
                state = next.call([state, item.clone()])?;
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries.iter() {
                state = next.call([state, key.clone(), value.clone()])?;
            }
        }
        _ => {}
    }
    Ok(state)
}

fn transform_array(args: &[Value], call: &CallContext<'_>) -> Result {
    let Value::Array(items) = &args[0] else {
        return Ok(Value::Null);
    };
    let mut make = call.lambda(1)?;
    let items = items.iter().map(|item| make.call([item.clone()]));
    Ok(Value::Array(items.collect::<std::result::Result<_, _>>()?))
}

fn transform_map(args: &[Value], call: &CallContext<'_>) -> Result {
    let Value::Map(entries) = &args[0] else {
        return Ok(Value::Null);
    };
    let (mut make_key, mut make_value) = (call.lambda(1)?, call.lambda(2)?);
    let mut out = Vec::with_capacity(entries.len());
    for (key, value) in entries.iter() {
        let made = make_key.call([key.clone(), value.clone()])?;
        if made.is_null() {
            return Err(EvalError::new(format!(
                "TRANSFORM: the entry {} would get the key NULL",
                literal(key)
            )));
        }
        out.push((made, make_value.call([key.clone(), value.clone()])?));
    }
    out.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(twice) = out.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let key = literal(&twice[0].0);
        return Err(EvalError::new(format!(
            "TRANSFORM: two entries would get the key {key}"
        )));
    }
    Ok(Value::Map(out.into()))
}
