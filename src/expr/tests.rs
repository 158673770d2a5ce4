use super::*;
use crate::types::{Decimal, Row};

fn eval(expr: &Expr, value: &[Value]) -> Result<Value, EvalError> {
    expr.eval(&EvalContext {
        key: &[],
        value,
        timestamp: 7,
        now: 9,
    })
}

fn lit(value: impl Into<Value>) -> Expr {
    Expr::Literal(value.into())
}

const TRUE: Expr = Expr::Literal(Value::Boolean(true));
const FALSE: Expr = Expr::Literal(Value::Boolean(false));
const NULL: Expr = Expr::Literal(Value::Null);

#[test]
fn logic_has_three_values() {
    let cases = [
        (Expr::And(vec![TRUE, NULL]), Value::Null),
        (Expr::And(vec![NULL, FALSE]), false.into()),
        (Expr::Or(vec![NULL, TRUE]), true.into()),
        (Expr::Or(vec![FALSE, NULL]), Value::Null),
        (Expr::Not(Box::new(NULL)), Value::Null),
        (Expr::In(lit(1).into(), vec![lit(2), NULL]), Value::Null),
        (Expr::In(lit(1).into(), vec![NULL, lit(1)]), true.into()),
        (Expr::IsDistinct(NULL.into(), NULL.into()), false.into()),
        (Expr::IsDistinct(NULL.into(), lit(1).into()), true.into()),
    ];
    for (expr, want) in cases {
        assert_eq!(eval(&expr, &[]), Ok(want), "{expr}");
    }
}

#[test]
fn items_count_from_one_and_from_the_end() {
    let array = Expr::Literal(Value::Array(vec![1.into(), 2.into(), 3.into()].into()));
    for (at, want) in [
        (1, 1.into()),
        (-1, 3.into()),
        (0, Value::Null),
        (4, Value::Null),
        (-4, Value::Null),
    ] {
        assert_eq!(eval(&Expr::Item(array.clone().into(), lit(at).into()), &[]), Ok(want));
    }
}

#[test]
fn failed_casts_name_value_and_type() {
    let cast = |v: Value, to| cast_value(&v, &to).map_err(|e| e.message);
    assert_eq!(
        cast("abc".into(), SqlType::Bigint),
        Err("cannot cast 'abc' to BIGINT".into())
    );
    assert_eq!(
        cast(3_000_000_000i64.into(), SqlType::Integer),
        Err("cannot cast 3000000000 to INTEGER".into())
    );
    assert_eq!(cast(" 12 ".into(), SqlType::Integer), Ok(12.into()));
    assert_eq!(cast((-1.9).into(), SqlType::Bigint), Ok((-1i64).into()));
    let decimal = SqlType::Decimal { precision: 5, scale: 2 };
    assert_eq!(cast("1.005".into(), decimal.clone()), Ok(Decimal::new(101, 2).into()));
    assert_eq!(
        cast("1234.5".into(), decimal),
        Err("cannot cast '1234.5' to DECIMAL(5, 2)".into())
    );
    assert_eq!(cast(1e10.into(), SqlType::String), Ok("1.0E10".into()));
    assert_eq!(cast(0.1.into(), SqlType::String), Ok("0.1".into()));
}

#[test]
fn times_are_read_with_parts_missing() {
    assert_eq!(parse_timestamp("1970-01-01T00:00:01"), Some(1000));
    assert_eq!(parse_timestamp("1970-01-02"), Some(86_400_000));
    assert_eq!(parse_timestamp("1970-01-01 01:00+01:00"), Some(0));
    assert_eq!(parse_timestamp("1970-01-01T00:00:00.5Z"), Some(500));
    assert_eq!(parse_timestamp("1970-13-01"), None);
    assert_eq!(parse_date("1969-12-31"), Some(-1));
    assert_eq!(parse_time("23:59:59.999"), Some(86_399_999));
    assert_eq!(timestamp_to_string(-1), "1969-12-31T23:59:59.999");
}

#[test]
fn exact_numbers_do_not_wrap() {
    let add = |a: Value, b: Value, t| {
        eval(
            &Expr::Arithmetic(ArithmeticOp::Add, lit(a).into(), lit(b).into(), t),
            &[],
        )
        .map_err(|e| e.message)
    };
    assert_eq!(
        add(i32::MAX.into(), 1.into(), SqlType::Integer),
        Err("2147483647 + 1: the result does not fit INTEGER".into())
    );
    assert_eq!(add(Value::Null, 1.into(), SqlType::Integer), Ok(Value::Null));
    assert_eq!(add("a".into(), "b".into(), SqlType::String), Ok("ab".into()));
}

#[test]
fn decimal_results_have_ksqldbs_precision() {
    let decimal = |precision, scale| SqlType::Decimal { precision, scale };
    let result = |op, a, b| arithmetic_type(op, &a, &b).map(|(_, _, t)| t);
    assert_eq!(
        result(ArithmeticOp::Add, decimal(5, 2), decimal(4, 3)),
        Some(decimal(7, 3))
    );
    assert_eq!(
        result(ArithmeticOp::Multiply, decimal(5, 2), SqlType::Integer),
        Some(decimal(16, 2))
    );
    assert_eq!(
        result(ArithmeticOp::Divide, decimal(5, 2), decimal(4, 3)),
        Some(decimal(13, 7))
    );
    assert_eq!(
        result(ArithmeticOp::Multiply, decimal(38, 10), decimal(38, 10)),
        Some(decimal(38, 6))
    );
    assert_eq!(result(ArithmeticOp::Add, SqlType::String, SqlType::Integer), None);
}

#[test]
fn like_patterns() {
    let like = |text: &str, pattern: &str| LikePattern::new(pattern, Some('!')).matches(text);
    assert!(like("abc", "a%"));
    assert!(like("abc", "%b_"));
    assert!(like("a%c", "a!%c"));
    assert!(!like("abc", "a!%c"));
    assert!(like("", "%"));
    assert!(!like("ab", "a"));
    assert!(like("aXbXbc", "a%b_"));
    assert!(!like("", "_"));
}

#[test]
fn an_expression_prints_with_positions() {
    let expr = Expr::And(vec![
        Expr::Compare(CompareOp::Less, Expr::Value(3).into(), lit(1.5).into()),
        Expr::Like(Expr::Key(0).into(), LikePattern::new("it's%", None)),
    ]);
    assert_eq!(expr.to_string(), "((v3 < 1.5) AND (k0 LIKE 'it''s%'))");
}

fn run(name: &str, sql_type: SqlType, rows: &[Value]) -> Result<Value, EvalError> {
    let call = AggregateCall::new(name, vec![(Expr::Value(0), sql_type)]).unwrap();
    let mut state = vec![Value::Null; call.state_len()];
    assert_eq!(call.state_types().len(), state.len());
    call.init(&mut state);
    for row in rows {
        call.add(&mut state, std::slice::from_ref(row))?;
    }
    let after = state.clone();
    if call.can_undo() {
        for row in rows.iter().rev() {
            call.undo(&mut state, std::slice::from_ref(row))?;
        }
        let mut none = state.clone();
        call.init(&mut none);
        assert_eq!(Row::from(state), Row::from(none), "{name} of {rows:?}");
    }
    Ok(call.result(&after))
}

#[test]
fn aggregates_skip_nulls_and_stay_exact() {
    let two: [Value; 3] = [1.into(), Value::Null, 4.into()];
    assert_eq!(run("COUNT", SqlType::Integer, &two), Ok(2i64.into()));
    assert_eq!(run("SUM", SqlType::Integer, &two), Ok(5.into()));
    assert_eq!(run("AVG", SqlType::Integer, &two), Ok(2.5.into()));
    assert_eq!(run("MIN", SqlType::Integer, &two), Ok(1.into()));
    assert_eq!(run("MAX", SqlType::Integer, &two), Ok(4.into()));
    assert_eq!(run("LATEST_BY_OFFSET", SqlType::Integer, &two), Ok(4.into()));
    assert_eq!(run("EARLIEST_BY_OFFSET", SqlType::Integer, &two), Ok(1.into()));
    assert_eq!(run("SUM", SqlType::Integer, &[]), Ok(0.into()));
    assert_eq!(run("AVG", SqlType::Double, &[]), Ok(0.0.into()));
    assert_eq!(run("MAX", SqlType::String, &[]), Ok(Value::Null));
    let tenths = vec![Value::Double(0.1); 10];
    assert_eq!(run("SUM", SqlType::Double, &tenths), Ok(1.0.into()));
    let decimal = SqlType::Decimal { precision: 3, scale: 1 };
    let rows = [Decimal::new(505, 1).into(), Decimal::new(494, 1).into()];
    assert_eq!(run("SUM", decimal.clone(), &rows), Ok(Decimal::new(999, 1).into()));
    let error = run("SUM", decimal, &[rows[0].clone(), rows[0].clone()]).unwrap_err();
    assert_eq!(error.message, "SUM: the sum no longer fits DECIMAL(3, 1) after 50.5");
    assert!(run("SUM", SqlType::Bigint, &[i64::MAX.into(), 1i64.into()]).is_err());
}

#[test]
fn aggregates_say_what_they_take() {
    let error = AggregateCall::new("SUM", vec![(Expr::Value(0), SqlType::String)]).unwrap_err();
    assert_eq!(error, "SUM takes a number, not (STRING)");
}
