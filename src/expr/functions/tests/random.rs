//! No values make any function panic, and what it gives is of the type that it is declared to give.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::expr::Lambda;
use crate::types::{Decimal, StructField, map_value};

/// Texts that mean something to one function or another.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "añ😀b",
    "hex",
    "base64",
    "utf8",
    "0xAb",
    "X'00'",
    "%41%",
    "a+b",
    "http://u@h.de:80/p?a=b&c#f",
    "mailto:x",
    "//[::1]:9",
    "{\"a\": [1, 2.5, null, {\"b\": \"c\"}]}",
    "[1, {}]",
    "$.a[0]",
    "$[\"a\"]",
    "$..",
    "(a)(b?)",
    "[^\\d&&[a-z]]+",
    "(?<=a)b*+",
    "(x+x+)+y",
    "$1\\$",
    "${n}",
    "yyyy-MM-dd'T'HH:mm:ss[.SSS]XXX",
    "HH:mm",
    "ppyy",
    "[['",
    "2021-08-09",
    "2021-08-09T03:04:05.678Z",
    "12:30",
    "Europe/Paris",
    "+18:30",
    "PST",
    "DESC",
    "miles",
    "LITTLE_ENDIAN",
    "\\u004b\\ud83d",
    "DAY",
    "9999-12-31",
    "NaN",
    "-1",
];

fn texts() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => select(TEXTS).prop_map(Value::from),
        1 => ".{0,12}".prop_map(Value::from),
    ]
}

fn values(sql_type: &SqlType) -> BoxedStrategy<Value> {
    let small = select(vec![
        0i64,
        1,
        -1,
        2,
        3,
        7,
        100,
        -100,
        i64::from(i32::MAX),
        i64::from(i32::MIN),
        i64::MAX,
        i64::MIN,
    ]);
    let known = match sql_type {
        SqlType::Boolean => any::<bool>().prop_map(Value::Boolean).boxed(),
        SqlType::Integer => prop_oneof![any::<i32>(), small.prop_map(|n| n as i32), -5..20i32]
            .prop_map(Value::Integer)
            .boxed(),
        SqlType::Bigint => prop_oneof![any::<i64>(), small, -5..20i64]
            .prop_map(Value::Bigint)
            .boxed(),
        SqlType::Double => prop_oneof![any::<f64>(), -200.0..200.0f64]
            .prop_map(Value::Double)
            .boxed(),
        SqlType::Decimal { precision, scale } => {
            let (most, scale) = (10i128.pow((*precision).into()) - 1, *scale);
            (-most..=most)
                .prop_map(move |n| Value::Decimal(Decimal::new(n, scale)))
                .boxed()
        }
        SqlType::String => texts().boxed(),
        SqlType::Bytes => proptest::collection::vec(any::<u8>(), 0..17)
            .prop_map(|b| Value::Bytes(b.into()))
            .boxed(),
        SqlType::Date => prop_oneof![any::<i32>(), -1000..30_000i32]
            .prop_map(Value::Date)
            .boxed(),
        SqlType::Time => (0..86_400_000i32).prop_map(Value::Time).boxed(),
        SqlType::Timestamp => prop_oneof![any::<i64>(), -62_000_000_000_000..253_000_000_000_000i64]
            .prop_map(Value::Timestamp)
            .boxed(),
        SqlType::Array(item) => proptest::collection::vec(values(item), 0..4)
            .prop_map(|v| Value::Array(v.into()))
            .boxed(),
        SqlType::Map(key, value) => {
            let key = values(key).prop_filter("keys are not NULL", |k| !k.is_null());
            proptest::collection::vec((key, values(value)), 0..4)
                .prop_map(map_value)
                .boxed()
        }
        SqlType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| values(&f.sql_type)).collect();
            fields.prop_map(|v| Value::Struct(v.into())).boxed()
        }
    };
    prop_oneof![9 => known, 1 => Just(Value::Null)].boxed()
}

/// A type for every letter.
pub(super) fn letters() -> Vec<SqlType> {
    let field = |name: &str, sql_type| StructField {
        name: name.into(),
        sql_type,
    };
    vec![
        SqlType::Integer,
        SqlType::String,
        SqlType::Double,
        SqlType::Decimal { precision: 5, scale: 2 },
        SqlType::Timestamp,
        SqlType::Bytes,
        SqlType::Array(SqlType::Bigint.into()),
        SqlType::Struct(vec![field("B", SqlType::Time), field("A", SqlType::Date)].into()),
    ]
}

pub(super) fn typed(ty: &Ty, letter: &SqlType) -> SqlType {
    match ty {
        Ty::Boolean => SqlType::Boolean,
        Ty::Integer => SqlType::Integer,
        Ty::Bigint => SqlType::Bigint,
        Ty::Double => SqlType::Double,
        Ty::Decimal => SqlType::Decimal {
            precision: 38,
            scale: 10,
        },
        Ty::String | Ty::Unit => SqlType::String,
        Ty::Bytes => SqlType::Bytes,
        Ty::Date => SqlType::Date,
        Ty::Time => SqlType::Time,
        Ty::Timestamp => SqlType::Timestamp,
        Ty::Any(_) => letter.clone(),
        Ty::Array(item) => SqlType::Array(typed(item, letter).into()),
        Ty::Map(key, value) => SqlType::Map(typed(key, letter).into(), typed(value, letter).into()),
        Ty::Lambda(_, item) | Ty::Entry(item) => typed(item, letter),
    }
}

pub(super) fn has_type(value: &Value, sql_type: &SqlType) -> bool {
    match (value, sql_type) {
        (Value::Null, _)
        | (Value::Boolean(_), SqlType::Boolean)
        | (Value::Integer(_), SqlType::Integer)
        | (Value::Bigint(_), SqlType::Bigint)
        | (Value::Double(_), SqlType::Double)
        | (Value::String(_), SqlType::String)
        | (Value::Bytes(_), SqlType::Bytes)
        | (Value::Date(_), SqlType::Date)
        | (Value::Timestamp(_), SqlType::Timestamp) => true,
        (Value::Time(ms), SqlType::Time) => (0..86_400_000).contains(ms),
        // rounded up a number may have a digit more, see ROUND
        (Value::Decimal(d), SqlType::Decimal { precision, scale }) => {
            d.scale() == *scale && d.digits() <= precision + 1
        }
        (Value::Array(items), SqlType::Array(item)) => items.iter().all(|v| has_type(v, item)),
        (Value::Map(entries), SqlType::Map(key, value)) => {
            let ordered = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
            ordered && entries.iter().all(|(k, v)| has_type(k, key) && has_type(v, value))
        }
        (Value::Struct(values), SqlType::Struct(fields)) => {
            values.len() == fields.len() && values.iter().zip(fields.iter()).all(|(v, f)| has_type(v, &f.sql_type))
        }
        _ => false,
    }
}

/// A signature with the type of its letters and values for its parameters; more of the last one if it takes more.
fn calls() -> impl Strategy<Value = (&'static Signature, SqlType, Vec<Value>)> {
    let signatures: Vec<_> = all().collect();
    (select(signatures), select(letters()), 0..3usize).prop_flat_map(|(function, letter, more)| {
        let mut params = function.params.to_vec();
        if let (true, Some(last)) = (function.variadic, params.last().copied()) {
            params.extend(std::iter::repeat_n(last, more));
        }
        let args: Vec<BoxedStrategy<Value>> = params
            .iter()
            .map(|ty| match ty {
                Ty::Unit => select(UNITS).prop_map(|(name, _)| Value::from(name)).boxed(),
                ty => values(&typed(ty, &letter)),
            })
            .collect();
        (Just(function), Just(letter), args)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn no_values_make_a_function_panic_and_results_have_their_type((function, letter, values) in calls()) {
        let types: Vec<Arg> = (0..values.len())
            .map(|i| match function.params.get(i).or(function.params.last()) {
                Some(Ty::Lambda(params, _)) => Arg::Lambda(params.len()),
                Some(Ty::Unit) => Arg::Unit,
                Some(ty) => Arg::Value(Some(typed(ty, &letter))),
                None => Arg::Value(None),
            })
            .collect();
        // some types are refused: those without an order have no least item
        let Ok(mut chosen) = choose(&[function], types.clone()) else { return Ok(()) };
        for (at, arg) in types.iter().enumerate() {
            if matches!(arg, Arg::Lambda(_)) {
                let result = typed(&function.params[at], &letter);
                prop_assert!(chosen.lambda_result(at, Some(&result)).is_ok());
            }
        }
        let Ok(resolved) = chosen.finish() else { return Ok(()) };
        let args = values.iter().zip(&types).map(|(value, arg)| match arg {
            Arg::Lambda(params) => Expr::Lambda(Box::new(Lambda {
                params: *params,
                captures: vec![],
                body: Expr::Literal(value.clone()),
            })),
            _ => Expr::Literal(value.clone()),
        });
        let call = FunctionCall::new(resolved, args.collect(), 3);
        let row = EvalContext { key: &[], value: &values, timestamp: 7, now: 1_628_478_245_678 };
        let result = call.eval(&row);
        prop_assert_eq!(&result, &call.eval(&row), "the same twice");
        if let Ok(value) = result {
            prop_assert!(has_type(&value, &call.sql_type), "{} of {:?} is {:?}, not {}", function, values, value, call.sql_type);
        }
    }
}
