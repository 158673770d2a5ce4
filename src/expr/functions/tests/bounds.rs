//! Edges: the least and greatest numbers, NaN, empty and huge texts and lists, deep nesting. No call panics, and none takes for ever or all memory.
//!
//! Which functions there are comes from the table, so that a new one is tested by being there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::random::{has_type, letters, typed};
use super::*;
use crate::expr::Lambda;
use crate::types::{Decimal, map_value};

/// A call may take so long, on a busy machine and without optimisation. What it is to catch takes minutes or for ever.
const SLOW: Duration = Duration::from_secs(20);

/// Bytes of a result, about: more than the longest text that is allowed.
const LARGE: usize = 512 << 20;

/// How many characters and items huge arguments have.
const HUGE: usize = 20_000;

fn small_texts() -> Vec<Value> {
    let texts = [
        "",
        "a",
        "é😀",
        "%",
        "(a*)*b",
        "(?=(a+))a*b\\1",
        "a{1,1000}",
        "((",
        "$0$9",
        "yyyy-MM-dd",
        "[[[[",
        "\0",
        "1e999",
        "-1",
        "9999-99-99",
        "{\"a\":[1,{}]}",
        "$.a[0]",
        "http://[::1]:99999/?%zz#",
        "\u{feff}",
        "UTC+99:99",
    ];
    texts.into_iter().map(Value::from).collect()
}

fn huge_texts() -> Vec<Value> {
    let texts = [
        "a".repeat(HUGE),
        "ab".repeat(HUGE / 2) + "c",
        "[".repeat(HUGE),
        "{\"a\":".repeat(HUGE / 5),
        "(".repeat(HUGE),
        "%25".repeat(HUGE / 3),
        "é".repeat(HUGE),
        "9".repeat(HUGE),
        "a,".repeat(HUGE / 2),
    ];
    texts.into_iter().map(Value::from).collect()
}

fn numbers() -> [i64; 9] {
    [
        0,
        1,
        -1,
        2,
        -2,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ]
}

/// The edges of a type, small ones first.
fn edges(sql_type: &SqlType, huge: bool) -> Vec<Value> {
    let numbers = numbers().into_iter();
    let list = |values: Vec<Value>| {
        let first = values.first().cloned().unwrap_or_default();
        let long = Value::Array(vec![first; HUGE].into());
        let few = vec![Value::Array(Vec::new().into()), Value::Array(values.into())];
        if huge { vec![long] } else { few }
    };
    match sql_type {
        SqlType::Boolean => vec![Value::Boolean(true), Value::Boolean(false)],
        SqlType::Integer => numbers
            .filter_map(|n| i32::try_from(n).ok())
            .map(Value::Integer)
            .collect(),
        SqlType::Bigint => numbers.map(Value::Bigint).collect(),
        SqlType::Double => {
            let all = [
                0.0,
                -0.0,
                f64::NAN,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::MAX,
                f64::MIN_POSITIVE,
                0.5,
                1e300,
            ];
            all.into_iter().map(Value::Double).collect()
        }
        SqlType::Decimal { precision, scale } => {
            let most = 10i128.pow((*precision).into()) - 1;
            let all = [0, 1, -1, most, -most];
            all.into_iter()
                .map(|n| Value::Decimal(Decimal::new(n, *scale)))
                .collect()
        }
        SqlType::String if huge => huge_texts(),
        SqlType::String => small_texts(),
        SqlType::Bytes => {
            let n = if huge { HUGE } else { 7 };
            vec![Value::Bytes(Vec::new().into()), Value::Bytes(vec![255; n].into())]
        }
        SqlType::Date => [0, i32::MAX, i32::MIN].map(Value::Date).into(),
        SqlType::Time => [0, 86_399_999].map(Value::Time).into(),
        SqlType::Timestamp => [0, i64::MAX, i64::MIN].map(Value::Timestamp).into(),
        SqlType::Array(item) => list(edges(item, false)),
        SqlType::Map(key, value) => {
            let (keys, values) = (edges(key, false), edges(value, false));
            let entries = keys.into_iter().zip(values.into_iter().cycle()).collect();
            vec![map_value(Vec::new()), map_value(entries)]
        }
        SqlType::Struct(fields) => {
            let firsts = fields.iter().map(|f| edges(&f.sql_type, false).remove(0));
            vec![Value::Struct(firsts.collect())]
        }
    }
}

/// About how much memory a value takes; texts that several places share count once.
fn size(value: &Value) -> usize {
    fn add(value: &Value, seen: &mut HashSet<*const u8>) -> usize {
        match value {
            Value::String(s) if seen.insert(s.as_ptr()) => 16 + s.len(),
            Value::Bytes(b) => b.len(),
            Value::Array(items) | Value::Struct(items) => items.iter().map(|v| 16 + add(v, seen)).sum(),
            Value::Map(entries) => entries.iter().map(|(k, v)| 32 + add(k, seen) + add(v, seen)).sum(),
            _ => 16,
        }
    }
    add(value, &mut HashSet::new())
}

/// The call of a signature with values, if the types are taken.
fn call_of(function: &'static Signature, letter: &SqlType, values: &[Value]) -> Option<FunctionCall> {
    let types: Vec<Arg> = function
        .params
        .iter()
        .map(|ty| match ty {
            Ty::Lambda(params, _) => Arg::Lambda(params.len()),
            Ty::Unit => Arg::Unit,
            ty => Arg::Value(Some(typed(ty, letter))),
        })
        .collect();
    let mut chosen = choose(&[function], types.clone()).ok()?;
    for (at, ty) in function.params.iter().enumerate() {
        if let Ty::Lambda(..) = ty {
            chosen.lambda_result(at, Some(&typed(ty, letter))).ok()?;
        }
    }
    let resolved = chosen.finish().ok()?;
    let args = values.iter().zip(&types).map(|(value, arg)| match arg {
        Arg::Lambda(params) => Expr::Lambda(Box::new(Lambda {
            params: *params,
            captures: vec![],
            body: Expr::Literal(value.clone()),
        })),
        _ => Expr::Literal(value.clone()),
    });
    Some(FunctionCall::new(resolved, args.collect(), 3))
}

/// Calls with a choice of the edges: all of them would be too many where a function has four parameters.
fn run(function: &'static Signature, letter: &SqlType, edges: &[Vec<Value>], most: usize, found: &mut Vec<String>) {
    let all: usize = edges.iter().map(Vec::len).product();
    let step = (all / most).max(1) | 1;
    for n in (0..all).step_by(step) {
        let mut rest = n;
        let mut values = Vec::with_capacity(edges.len());
        for of in edges {
            values.push(of[rest % of.len()].clone());
            rest /= of.len();
        }
        let Some(call) = call_of(function, letter, &values) else {
            return;
        };
        let row = EvalContext {
            key: &[],
            value: &values,
            timestamp: i64::MAX,
            now: i64::MAX,
        };
        let start = Instant::now();
        let result = call.eval(&row);
        let took = start.elapsed();
        let sizes: Vec<usize> = values.iter().map(size).collect();
        if took > SLOW {
            found.push(format!("{function} of sizes {sizes:?} took {took:?}"));
        }
        if let Ok(value) = result {
            if size(&value) > LARGE {
                found.push(format!("{function} of sizes {sizes:?} gives {} bytes", size(&value)));
            }
            if !has_type(&value, &call.sql_type) {
                found.push(format!("{function} of {values:.100?} is no {}", call.sql_type));
            }
        }
    }
}

fn parameters(function: &Signature, letter: &SqlType, huge: bool) -> Vec<Vec<Value>> {
    let edge = |ty: &Ty| match ty {
        Ty::Unit => UNITS.iter().map(|(name, _)| Value::from(*name)).collect(),
        ty => edges(&typed(ty, letter), huge),
    };
    function.params.iter().map(edge).collect()
}

#[test]
fn edges_make_no_function_panic() {
    let mut found = Vec::new();
    for function in all() {
        for letter in letters() {
            let edges = parameters(function, &letter, false);
            run(function, &letter, &edges, 120, &mut found);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn huge_arguments_take_neither_long_nor_much() {
    let mut found = Vec::new();
    for function in all() {
        for letter in [SqlType::String, SqlType::Bigint] {
            let (small, huge) = (
                parameters(function, &letter, false),
                parameters(function, &letter, true),
            );
            run(function, &letter, &huge, 20, &mut found);
            // one huge argument among small ones
            for at in 0..function.params.len() {
                let mut mixed: Vec<Vec<Value>> = small.iter().map(|of| of.iter().take(6).cloned().collect()).collect();
                mixed[at].clone_from(&huge[at]);
                run(function, &letter, &mixed, 15, &mut found);
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_regular_expression_may_not_be_of_any_length() {
    let error = call("REGEXP_EXTRACT", &["é".repeat(HUGE).as_str().into(), "a".into()]).unwrap_err();
    assert!(error.ends_with("at most 5000 bytes"), "{error}");
}

#[test]
fn array_join_gives_no_text_longer_than_is_allowed() {
    let (items, delimiter) = (Value::Array(vec!["".into(); HUGE].into()), "-".repeat(HUGE));
    let error = call("ARRAY_JOIN", &[items, delimiter.as_str().into()]).unwrap_err();
    assert!(error.starts_with("ARRAY_JOIN: the result would be longer"), "{error}");
}

#[test]
fn instr_finds_overlapping_ones_from_both_ends() {
    let find = |from: i64, nth: i64| {
        let args = ["aaaa".into(), "aa".into(), (from as i32).into(), (nth as i32).into()];
        call("INSTR", &args).unwrap()
    };
    let all = [
        (1, 1, 1),
        (1, 2, 2),
        (2, 2, 3),
        (1, 4, 0),
        (-1, 1, 3),
        (-2, 1, 2),
        (-1, 3, 1),
    ];
    for (from, nth, at) in all {
        assert_eq!(find(from, nth), Value::Integer(at), "{from} {nth}");
    }
}
