//! The functions as SQL sees them: the examples of the table are evaluated, so that the manual cannot drift from the code; calls with lambdas.

use crate::expr::{EvalContext, Expr, functions};
use crate::sql::ast::{Expression, SelectItem, StatementKind};
use crate::sql::check::{Checker, Typed};
use crate::sql::parse;
use crate::sql::scope::{Scope, ScopeColumn, ScopeRelation};
use crate::types::{SqlType, Value, map_value};

fn parsed(text: &str) -> Expression {
    let (mut statements, problems) = parse::statements(&format!("SELECT {text} FROM x;"));
    assert!(problems.is_empty(), "{text}: {}", problems[0].message);
    match statements.pop().map(|s| s.kind) {
        Some(StatementKind::Query(mut query)) => match query.select.pop() {
            Some(SelectItem::One { expression, .. }) => expression,
            other => panic!("{text}: {other:?}"),
        },
        other => panic!("{text}: {other:?}"),
    }
}

/// A stream X with columns A ARRAY<INTEGER>, M MAP<STRING, INTEGER>, N INTEGER, S STRING.
fn scope() -> Scope {
    let columns = [
        ("A", SqlType::Array(SqlType::Integer.into())),
        ("M", SqlType::Map(SqlType::String.into(), SqlType::Integer.into())),
        ("N", SqlType::Integer),
        ("S", SqlType::String),
    ];
    let column = |(i, (name, sql_type)): (usize, (&str, SqlType))| ScopeColumn {
        relation: Some(0),
        name: name.into(),
        expr: Expr::Value(i),
        sql_type,
        hidden: false,
        lost: None,
    };
    Scope {
        relations: vec![ScopeRelation {
            alias: "X".into(),
            name: "X".into(),
        }],
        columns: columns.into_iter().enumerate().map(column).collect(),
    }
}

fn checked(text: &str) -> Result<Typed, String> {
    Checker::new(&scope(), "here")
        .check(&parsed(text))
        .map_err(|p| p.message)
}

fn row() -> [Value; 4] {
    let array = Value::Array(vec![3.into(), 5.into()].into());
    let map = map_value(vec![("a".into(), 1.into()), ("bb".into(), 2.into())]);
    [array, map, 10.into(), "-".into()]
}

fn eval_over(text: &str, value: &[Value]) -> Result<Value, String> {
    let row = EvalContext {
        key: &[],
        value,
        timestamp: 7,
        now: 9,
    };
    checked(text)?.expr.eval(&row).map_err(|e| e.message)
}

fn eval(text: &str) -> Result<Value, String> {
    eval_over(text, &row())
}

#[test]
fn the_examples_give_what_the_manual_says() {
    let mut wrong = Vec::new();
    let shown = |name: &str| functions::all().any(|f| f.name == name && (!f.examples.is_empty() || f.reads_clock()));
    wrong.extend(
        functions::all()
            .filter(|f| !shown(f.name))
            .map(|f| format!("{f} has no example")),
    );
    for function in functions::all() {
        for (call, gives) in function.examples {
            assert!(
                call.contains(function.name),
                "{call} is no example of {}",
                function.name
            );
            let same = eval(&format!("({call}) IS NOT DISTINCT FROM ({gives})"));
            if same != Ok(Value::Boolean(true)) {
                wrong.push(format!("{call} => {gives}, but it gives {:?} ({same:?})", eval(call)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_lambda_sees_the_columns_and_the_lambdas_around_it() {
    let same = |a: &str, b: &str| assert_eq!(eval(a), eval(b), "{a}");
    same("TRANSFORM(a, x => x * n)", "ARRAY[30, 50]");
    same(
        "TRANSFORM(m, (k, v) => CONCAT(k, s), (k, v) => v + n)",
        "MAP('a-' := 11, 'bb-' := 12)",
    );
    same(
        "TRANSFORM(a, x => REDUCE(m, x, (acc, k, v) => acc + v + n))",
        "ARRAY[26, 28]",
    );
    same(
        "FILTER(TRANSFORM(m, (k, v) => k, (k, v) => FILTER(a, x => x > v + 1)), (k, v) => ARRAY_LENGTH(v) = 1)",
        "MAP('bb' := ARRAY[5])",
    );
    same(
        "REDUCE(a, n, (state, x) => CASE WHEN x > 3 THEN state * x ELSE state END)",
        "50",
    );
    // a column that the outer lambda does not read itself
    same("TRANSFORM(a, x => REDUCE(a, 0, (acc, y) => acc + n))", "ARRAY[20, 20]");
}

#[test]
fn null_in_a_lambda_is_as_in_ksqldb() {
    let with_null = [
        Value::Array(vec![5.into(), Value::Null].into()),
        Value::Null,
        10.into(),
        Value::Null,
    ];
    let cases = [
        // a comparison that is not TRUE keeps nothing, arithmetic of NULL makes the whole result NULL
        ("FILTER(a, x => x > 3)", "ARRAY[5]"),
        ("TRANSFORM(a, x => x + 1)", "CAST(NULL AS ARRAY<INT>)"),
        (
            "TRANSFORM(a, x => s)",
            "ARRAY[CAST(NULL AS STRING), CAST(NULL AS STRING)]",
        ),
        ("REDUCE(m, 3, (acc, k, v) => acc + v)", "3"),
        ("REDUCE(a, CAST(NULL AS INT), (acc, x) => acc + x)", "CAST(NULL AS INT)"),
        ("FILTER(m, (k, v) => TRUE)", "CAST(NULL AS MAP<STRING, INT>)"),
    ];
    for (call, gives) in cases {
        assert_eq!(eval_over(call, &with_null), eval(gives), "{call}");
    }
    assert!(
        eval("TRANSFORM(m, (k, v) => 'same', (k, v) => v)").is_err(),
        "two entries of one key"
    );
}

#[test]
fn wrong_lambdas_are_refused_with_the_reason() {
    let cases = [
        (
            "TRANSFORM(a, (x, y) => x)",
            "function TRANSFORM does not take (ARRAY<INTEGER>, LAMBDA); there is TRANSFORM(",
        ),
        (
            "FILTER(a, x => x + 1)",
            "the lambda must give BOOLEAN, this one gives INTEGER",
        ),
        (
            "REDUCE(a, 0, (acc, x) => CAST(x AS BIGINT))",
            "the lambda must give INTEGER, this one gives BIGINT",
        ),
        ("TRANSFORM(a, x => y)", "there is no column Y"),
        (
            "TRANSFORM(a, x => FILTER(a, x => TRUE))",
            "parameter X is there already",
        ),
        ("FILTER(m, (k, k) => TRUE)", "parameter K is there already"),
        ("LEN(x => x)", "function LEN does not take (LAMBDA)"),
        ("TRANSFORM(NULL, x => x)", "are not known"),
    ];
    for (call, why) in cases {
        let error = checked(call).expect_err(call);
        assert!(error.contains(why), "{call}: {error}");
    }
}

#[test]
fn overloads_are_chosen_as_ksqldb_does() {
    let refused = |text: &str, why: &str| {
        let error = checked(text).expect_err(text);
        assert!(error.contains(why), "{text}: {error}");
    };
    refused("ABS(NULL)", "ambiguous for (NULL)");
    refused("SIGN(S)", "does not take (STRING); there is");
    assert_eq!(checked("ABS(n)").map(|t| t.sql_type), Ok(Some(SqlType::Integer)));
    assert_eq!(checked("SQRT(n)").map(|t| t.sql_type), Ok(Some(SqlType::Double)));
}
