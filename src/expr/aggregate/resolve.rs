//! From a call's name and arguments to the function, with what the function takes as the error.

use super::{AggregateCall, AggregateFunction};
use crate::expr::{CompareOp, Expr, comparable};
use crate::types::{SqlType, StructField, Value};

/// The most rows that TOPK and the like keep of a group in its row of state.
const MOST_KEPT: i64 = 10_000;

/// A call by its SQL name, in upper case.
pub(super) fn resolve(name: &str, distinct: bool, args: Vec<(Expr, SqlType)>) -> Result<AggregateCall, String> {
    let given = || {
        let given: Vec<_> = args.iter().map(|(_, t)| t.to_string()).collect();
        given.join(", ")
    };
    let takes = |what: &str| format!("{name} takes {what}, not ({})", given());
    let types: Vec<&SqlType> = args.iter().map(|(_, t)| t).collect();
    if distinct && name != "COUNT" {
        return Err(format!("DISTINCT goes with COUNT, not with {name}"));
    }
    let number = |t: &SqlType| t.is_numeric();
    let ordered = |t: &SqlType| comparable(t, CompareOp::Less);
    let array = |t: &SqlType| SqlType::Array(t.clone().into());
    let (function, inputs, sql_type) = match (name, types.as_slice()) {
        ("COUNT", []) if !distinct => (AggregateFunction::CountAll, 0, SqlType::Bigint),
        ("COUNT", [_]) if !distinct => (AggregateFunction::Count, 1, SqlType::Bigint),
        ("COUNT", all) if distinct && !all.is_empty() => (AggregateFunction::CountDistinct, all.len(), SqlType::Bigint),
        ("COUNT_DISTINCT", [_]) => (AggregateFunction::CountDistinct, 1, SqlType::Bigint),
        ("SUM", [of]) if number(of) => (AggregateFunction::Sum, 1, (*of).clone()),
        ("AVG", [of]) if number(of) => (AggregateFunction::Avg, 1, SqlType::Double),
        ("SUM_LIST", [SqlType::Array(of)]) if number(of) => (AggregateFunction::SumList, 1, (**of).clone()),
        ("STDDEV_SAMPLE", [of]) if number(of) => (AggregateFunction::StddevSample, 1, SqlType::Double),
        ("STDDEV_SAMP", [of]) if number(of) => (AggregateFunction::StddevSamp, 1, SqlType::Double),
        ("CORRELATION", [x, y]) if number(x) && number(y) => (AggregateFunction::Correlation, 2, SqlType::Double),
        ("MIN", [of]) if ordered(of) => (AggregateFunction::Min, 1, (*of).clone()),
        ("MAX", [of]) if ordered(of) => (AggregateFunction::Max, 1, (*of).clone()),
        ("ATTR", [of]) => (AggregateFunction::Attr, 1, (*of).clone()),
        ("COLLECT_LIST", [of]) => (AggregateFunction::CollectList { limit: i64::MAX }, 1, array(of)),
        ("COLLECT_SET", [of]) => (AggregateFunction::CollectSet { limit: i64::MAX }, 1, array(of)),
        ("HISTOGRAM", [SqlType::String]) => {
            let map = SqlType::Map(SqlType::String.into(), SqlType::Bigint.into());
            (AggregateFunction::Histogram, 1, map)
        }
        ("TOPK", [of, .., _]) if ordered(of) => {
            let k = last_constant(name, &args)?;
            let inputs = args.len() - 1;
            (
                AggregateFunction::TopK { k },
                inputs,
                array(&top_type(&types[..inputs])),
            )
        }
        ("TOPKDISTINCT", [of, _]) if ordered(of) => {
            let k = last_constant(name, &args)?;
            (AggregateFunction::TopKDistinct { k }, 1, array(of))
        }
        ("LATEST_BY_OFFSET" | "EARLIEST_BY_OFFSET", [of, options @ ..]) if options.len() < 3 => {
            let (n, ignore_nulls) = offset_options(&args[1..]).ok_or_else(|| {
                takes("a value, optionally how many (at least 1), and optionally TRUE or FALSE for whether NULLs are ignored")
            })?;
            let sql_type = if n.is_some() { array(of) } else { (*of).clone() };
            let function = match name {
                "LATEST_BY_OFFSET" => AggregateFunction::LatestByOffset { n, ignore_nulls },
                _ => AggregateFunction::EarliestByOffset { n, ignore_nulls },
            };
            (function, 1, sql_type)
        }
        _ => return Err(wrong(name, &takes)),
    };
    let (args, arg_types) = args.into_iter().take(inputs).unzip();
    Ok(AggregateCall {
        function,
        args,
        arg_types,
        sql_type,
        filter: None,
        retracts: false,
    })
}

/// The most columns of ROW_NUMBER's ORDER BY.
const MOST_ORDERED: usize = 32;

/// The first `k` rows in the order of the first arguments (TRUE: that one goes down), with the others along.
pub(super) fn top_rows(k: i64, order: &[bool], args: Vec<(Expr, SqlType)>) -> Result<AggregateCall, String> {
    let k = usize::try_from(k).ok().filter(|k| (1..=MOST_KEPT as usize).contains(k));
    let k = k.ok_or_else(|| format!("QUALIFY keeps from 1 to {MOST_KEPT} rows of a group"))?;
    if order.len() > MOST_ORDERED || order.len() > args.len() {
        return Err(format!("ORDER BY takes at most {MOST_ORDERED} columns"));
    }
    if let Some((_, of)) = args
        .iter()
        .take(order.len())
        .find(|(_, of)| !comparable(of, CompareOp::Less))
    {
        return Err(format!("{of} has no order: ORDER BY does not take it"));
    }
    let field = |(i, (_, sql_type)): (usize, &(Expr, SqlType))| StructField {
        name: format!("C{i}").into(),
        sql_type: sql_type.clone(),
    };
    let row = SqlType::Struct(args.iter().enumerate().map(field).collect());
    let descending = order.iter().enumerate().map(|(i, down)| u64::from(*down) << i);
    let function = AggregateFunction::TopRows {
        k,
        order: order.len() as u8,
        descending: descending.sum(),
    };
    let (args, arg_types) = args.into_iter().unzip();
    Ok(AggregateCall {
        function,
        args,
        arg_types,
        sql_type: SqlType::Array(row.into()),
        filter: None,
        retracts: false,
    })
}

fn wrong(name: &str, takes: &dyn Fn(&str) -> String) -> String {
    takes(match name {
        "COUNT" => "* or one argument, or DISTINCT and any number of them",
        "SUM" | "AVG" | "STDDEV_SAMP" | "STDDEV_SAMPLE" => "a number",
        "CORRELATION" => "two numbers",
        "SUM_LIST" => "an ARRAY of numbers",
        "MIN" | "MAX" => "a value of a type that has an order",
        "HISTOGRAM" => "a STRING",
        "TOPK" => "a value of a type that has an order, optionally others that go with it, and a constant INTEGER",
        "TOPKDISTINCT" => "a value of a type that has an order and a constant INTEGER",
        "ATTR" | "COLLECT_LIST" | "COLLECT_SET" | "COUNT_DISTINCT" => "one argument",
        "LATEST_BY_OFFSET" | "EARLIEST_BY_OFFSET" => "one to three arguments",
        _ => return format!("{name} is not an aggregate function"),
    })
}

/// The items of TOPK: of one column themselves, of several a STRUCT, whose fields are named as ksqlDB's.
fn top_type(types: &[&SqlType]) -> SqlType {
    match types {
        [one] => (*one).clone(),
        many => {
            let field = |(i, t): (usize, &&SqlType)| StructField {
                name: match i {
                    0 => "sort_col".into(),
                    _ => format!("col{}", i - 1).into(),
                },
                sql_type: (*t).clone(),
            };
            SqlType::Struct(many.iter().enumerate().map(field).collect())
        }
    }
}

fn constant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(Value::Integer(n)) => Some(i64::from(*n)),
        Expr::Literal(Value::Bigint(n)) => Some(*n),
        _ => None,
    }
}

fn last_constant(name: &str, args: &[(Expr, SqlType)]) -> Result<usize, String> {
    let k = args.last().and_then(|(expr, _)| constant(expr));
    let k = k
        .filter(|k| (1..=MOST_KEPT).contains(k))
        .and_then(|k| usize::try_from(k).ok());
    k.ok_or_else(|| format!("the last argument of {name} says how many: a constant from 1 to {MOST_KEPT}"))
}

/// `[n] [, ignore_nulls]`; NULLs are ignored unless it says otherwise.
fn offset_options(options: &[(Expr, SqlType)]) -> Option<(Option<usize>, bool)> {
    let n = |expr: &Expr| {
        let n = constant(expr).filter(|n| (1..=MOST_KEPT).contains(n))?;
        usize::try_from(n).ok()
    };
    match options {
        [] => Some((None, true)),
        [(Expr::Literal(Value::Boolean(ignore)), _)] => Some((None, *ignore)),
        [(expr, _)] => Some((Some(n(expr)?), true)),
        [(expr, _), (Expr::Literal(Value::Boolean(ignore)), _)] => Some((Some(n(expr)?), *ignore)),
        _ => None,
    }
}
