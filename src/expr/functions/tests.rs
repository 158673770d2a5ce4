mod bounds;
mod random;

use super::*;
use crate::expr::cast_value;

/// Resolves by the values' types and calls, as the analyzer does.
fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    let types: Vec<_> = args.iter().map(type_of).collect();
    let resolved = resolve(&named(name), &types)?;
    let args = args.iter().zip(&resolved.params);
    let args = args.map(|(v, t)| Expr::Literal(cast_value(v, t).unwrap())).collect();
    let call = FunctionCall::new(resolved, args, 0);
    let row = EvalContext {
        key: &[],
        value: &[],
        timestamp: 0,
        now: 5,
    };
    call.eval(&row).map_err(|e| e.message)
}

fn type_of(value: &Value) -> Option<SqlType> {
    Some(match value {
        Value::Integer(_) => SqlType::Integer,
        Value::Bigint(_) => SqlType::Bigint,
        Value::Double(_) => SqlType::Double,
        Value::Decimal(d) => SqlType::Decimal {
            precision: d.digits().max(d.scale()),
            scale: d.scale(),
        },
        Value::String(_) => SqlType::String,
        Value::Array(items) => SqlType::Array(items.first().and_then(type_of).unwrap_or(SqlType::String).into()),
        _ => return None,
    })
}

fn strings(parts: &[&str]) -> Value {
    Value::Array(parts.iter().map(|p| Value::from(*p)).collect())
}

#[test]
fn functions_of_strings() {
    let s = |s: &str| Value::from(s);
    let cases: &[(&str, &[Value], Value)] = &[
        ("SPLIT", &[s("a::b::"), s("::")], strings(&["a", "b", ""])),
        ("SPLIT", &[s("añb"), s("")], strings(&["a", "ñ", "b"])),
        ("SPLIT", &[Value::Null, s("")], Value::Null),
        ("SUBSTRING", &[s("stream"), 1.into(), 4.into()], s("stre")),
        ("SUBSTRING", &[s("stream"), (-3).into()], s("eam")),
        ("SUBSTRING", &[s("stream"), 9.into()], s("")),
        ("CONCAT", &[s("a"), Value::Null, s("b")], s("ab")),
        ("CONCAT_WS", &[s("-"), s("a"), Value::Null, s("b")], s("a-b")),
        ("INSTR", &[s("corporate floor"), s("or")], 2.into()),
        ("INSTR", &[s("corporate floor"), s("or"), 3.into()], 5.into()),
        ("INSTR", &[s("corporate floor"), s("or"), (-3).into()], 5.into()),
        ("INSTR", &[s("corporate floor"), s("or"), 3.into(), 2.into()], 14.into()),
        ("LPAD", &[s("7"), 3.into(), s("0")], s("007")),
        ("RPAD", &[s("abcd"), 3.into(), s("0")], s("abc")),
        ("INITCAP", &[s("hELLO wORLD")], s("Hello World")),
        ("LEN", &[s("añb")], 3.into()),
        ("LOWER", &[s("AB")], s("ab")),
        ("ELT", &[2.into(), s("a"), s("b")], s("b")),
        ("FIELD", &[s("b"), s("a"), s("b")], 2.into()),
        ("REPLACE", &[s("aXbX"), s("X"), s("yy")], s("ayybyy")),
    ];
    for (name, args, want) in cases {
        assert_eq!(call(name, args).as_ref(), Ok(want), "{name}{args:?}");
    }
}

#[test]
fn functions_of_numbers_keep_the_type() {
    use crate::types::Decimal;
    let d = |n, scale| Value::from(Decimal::new(n, scale));
    let cases: &[(&str, &[Value], Value)] = &[
        ("ABS", &[(-3).into()], 3.into()),
        ("CEIL", &[1.2.into()], 2.0.into()),
        ("FLOOR", &[d(-125, 2)], d(-200, 2)),
        ("ROUND", &[1.5.into()], 2i64.into()),
        ("ROUND", &[(-1.5).into()], (-1i64).into()),
        ("ROUND", &[1.235.into(), 2.into()], 1.24.into()),
        ("ROUND", &[d(1235, 3), 2.into()], d(1240, 3)),
        ("ROUND", &[d(1235, 3)], d(1, 0)),
        ("SIGN", &[(-2.5).into()], (-1).into()),
        ("SQRT", &[4.into()], 2.0.into()),
        ("COALESCE", &[Value::Null, 1.into(), 2i64.into()], 1i64.into()),
        ("GREATEST", &[1.into(), Value::Null, 2.5.into()], 2.5.into()),
        ("UNIX_TIMESTAMP", &[], 5i64.into()),
    ];
    for (name, args, want) in cases {
        assert_eq!(call(name, args).as_ref(), Ok(want), "{name}{args:?}");
    }
}

#[test]
fn a_wrong_call_says_what_there_is() {
    let error = call("LEN", &[1.into()]).unwrap_err();
    assert_eq!(
        error,
        "function LEN does not take (INTEGER); there is LEN(STRING), LEN(BYTES)"
    );
    assert_eq!(
        call("REQUIRE", &[Value::Null, "no title".into()]),
        Err("no title".into())
    );
}

#[test]
fn names_are_sorted_within_a_family_and_documented() {
    for (family, signatures) in FAMILIES {
        let names: Vec<_> = signatures.iter().map(|s| s.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted, "{family}");
        assert!(
            signatures.iter().all(|s| s.doc.ends_with('.') || s.doc.ends_with(')')),
            "{family}"
        );
    }
}

#[test]
fn a_part_of_a_split_is_found_without_the_others() {
    let resolved =
        resolve(&named("SPLIT"), &[Some(SqlType::String), Some(SqlType::String)]).unwrap_or_else(|e| panic!("{e}"));
    let split = FunctionCall::new(resolved, vec![Expr::Value(0), Expr::Literal("::".into())], 0);
    for text in ["a::b::c", "", "::", "a:b"] {
        for n in -3..5 {
            let part = Expr::Item(Expr::Call(split.clone()).into(), Expr::Literal(n.into()).into());
            // behind a CASE the array is made whole
            let whole = Expr::Case(vec![], Expr::Call(split.clone()).into());
            let slow = Expr::Item(whole.into(), Expr::Literal(n.into()).into());
            let value = [Value::from(text)];
            let row = EvalContext {
                key: &[],
                value: &value,
                timestamp: 0,
                now: 0,
            };
            assert_eq!(part.eval(&row), slow.eval(&row), "{text:?}[{n}]");
        }
    }
}
