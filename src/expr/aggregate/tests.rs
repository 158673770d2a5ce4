//! Every function over random rows that come and go, compared with the rows that are left.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::elements::MemoryElements;
use super::*;
use crate::types::{Row, map_value};

/// The columns of the rows.
fn columns() -> Vec<(Expr, SqlType)> {
    let types = [SqlType::Bigint, SqlType::String, SqlType::Double];
    types
        .into_iter()
        .enumerate()
        .map(|(i, t)| (Expr::Value(i), t))
        .collect()
}

fn constant(value: impl Into<Value>, sql_type: SqlType) -> (Expr, SqlType) {
    (Expr::Literal(value.into()), sql_type)
}

/// A call over some of the columns, then constants.
fn call(name: &str, over: &[usize], constants: &[i32]) -> AggregateCall {
    let columns = columns();
    let args = over.iter().map(|i| columns[*i].clone());
    let constants = constants.iter().map(|n| constant(*n, SqlType::Integer));
    AggregateCall::new(name, args.chain(constants).collect()).unwrap()
}

struct Group {
    call: AggregateCall,
    state: Vec<Value>,
    elements: MemoryElements,
}

impl Group {
    fn new(call: AggregateCall) -> Self {
        let mut state = vec![Value::Boolean(true); call.state_len()];
        assert_eq!(call.state_types().len(), state.len());
        call.init(&mut state);
        Self {
            call,
            state,
            elements: MemoryElements::default(),
        }
    }

    fn args(&self, row: &Row) -> Vec<Value> {
        let context = EvalContext {
            key: &[],
            value: row,
            timestamp: 0,
            now: 0,
        };
        self.call.args.iter().map(|arg| arg.eval(&context).unwrap()).collect()
    }

    fn add(&mut self, row: &Row, timestamp: Timestamp) {
        let args = self.args(row);
        let elements = &mut self.elements;
        self.call
            .add_with(3, &mut self.state, &args, timestamp, elements)
            .unwrap();
    }

    fn undo(&mut self, row: &Row, timestamp: Timestamp) {
        let args = self.args(row);
        let elements = &mut self.elements;
        self.call
            .undo_with(3, &mut self.state, &args, timestamp, elements)
            .unwrap();
    }

    fn result(&mut self) -> Value {
        self.call.result_with(3, &self.state, &mut self.elements).unwrap()
    }
}

fn value(values: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![1 => Just(Value::Null), 4 => values]
}

fn row() -> impl Strategy<Value = Row> {
    let number = value((-4..4i64).prop_map(Value::from));
    let text = value("[ab\u{0}]{0,2}".prop_map(Value::from));
    let double = value((-4..4i32).prop_map(|n| Value::Double(f64::from(n) / 3.0)));
    (number, text, double).prop_map(|(a, b, c)| Row::from([a, b, c]))
}

/// Rows by key that come (again) and go.
fn changes() -> impl Strategy<Value = Vec<(u8, Option<Row>, Timestamp)>> {
    proptest::collection::vec((0..6u8, proptest::option::weighted(0.7, row()), -3..3i64), 0..40)
}

fn not_null(rows: &[(Row, Timestamp)], column: usize) -> Vec<Value> {
    let values = rows.iter().map(|(row, _)| row[column].clone());
    values.filter(|v| !v.is_null()).collect()
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort();
    values
}

fn array(values: Vec<Value>) -> Value {
    Value::Array(values.into())
}

fn different(values: &[Value]) -> Vec<Value> {
    let mut values = sorted(values.to_vec());
    values.dedup();
    values
}

fn close(a: &Value, b: f64) -> bool {
    matches!(a, Value::Double(a) if (a - b).abs() < 1e-9 || (a.is_nan() && b.is_nan()))
}

/// The rows in the order of event time, equal times by value.
fn by_time(rows: &[(Row, Timestamp)], column: usize, nulls: bool) -> Vec<Value> {
    let mut all: Vec<(Timestamp, Value)> = rows.iter().map(|(row, t)| (*t, row[column].clone())).collect();
    all.retain(|(_, v)| nulls || !v.is_null());
    all.sort();
    all.into_iter().map(|(_, v)| v).collect()
}

fn naive_variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

fn doubles(values: &[Value]) -> Vec<f64> {
    let double = |v: &Value| match v {
        Value::Double(x) => Some(*x),
        Value::Bigint(n) => Some(*n as f64),
        _ => None,
    };
    values.iter().filter_map(double).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn results_over_a_table_are_those_of_the_rows_that_are_left(changes in changes()) {
        let names: [(&str, &[usize], &[i32]); 15] = [
            ("COUNT_DISTINCT", &[1], &[]), ("MIN", &[0], &[]), ("MAX", &[1], &[]), ("TOPK", &[0], &[3]), ("TOPKDISTINCT", &[1], &[2]),
            ("TOPK", &[0, 1], &[2]), ("COLLECT_LIST", &[0], &[]), ("COLLECT_SET", &[1], &[]), ("HISTOGRAM", &[1], &[]), ("ATTR", &[1], &[]),
            ("LATEST_BY_OFFSET", &[0], &[]), ("EARLIEST_BY_OFFSET", &[1], &[2]), ("LATEST_BY_OFFSET", &[0], &[3]), ("STDDEV_SAMPLE", &[2], &[]), ("CORRELATION", &[0, 2], &[]),
        ];
        let mut groups: Vec<Group> = names.iter().map(|(name, over, constants)| Group::new(call(name, over, constants).over(true))).collect();
        let mut table: BTreeMap<u8, (Row, Timestamp)> = BTreeMap::new();
        for (key, new, timestamp) in changes {
            let old = table.remove(&key);
            for group in &mut groups {
                if let Some((row, timestamp)) = &old {
                    group.undo(row, *timestamp);
                }
                if let Some(row) = &new {
                    group.add(row, timestamp);
                }
            }
            if let Some(row) = new {
                table.insert(key, (row, timestamp));
            }
            let rows: Vec<(Row, Timestamp)> = table.values().cloned().collect();
            let results: Vec<Value> = groups.iter_mut().map(Group::result).collect();
            let (numbers, texts) = (not_null(&rows, 0), not_null(&rows, 1));
            prop_assert_eq!(&results[0], &Value::Bigint(different(&texts).len() as i64));
            prop_assert_eq!(&results[1], &sorted(numbers.clone()).first().cloned().unwrap_or_default());
            prop_assert_eq!(&results[2], &sorted(texts.clone()).last().cloned().unwrap_or_default());
            let top = sorted(numbers.clone()).into_iter().rev().take(3).collect();
            prop_assert_eq!(&results[3], &array(top));
            prop_assert_eq!(&results[4], &array(different(&texts).into_iter().rev().take(2).collect()));
            let mut pairs: Vec<&Row> = rows.iter().map(|(row, _)| row).filter(|row| !row[0].is_null()).collect();
            pairs.sort_by(|a, b| b[0].cmp(&a[0]).then_with(|| a[1].cmp(&b[1])));
            let pairs = pairs.into_iter().take(2).map(|row| Value::Struct([row[0].clone(), row[1].clone()].into()));
            prop_assert_eq!(&results[5], &array(pairs.collect()));
            let Value::Array(list) = &results[6] else { panic!("no list") };
            prop_assert_eq!(sorted(list.to_vec()), sorted(rows.iter().map(|(row, _)| row[0].clone()).collect()));
            let Value::Array(set) = &results[7] else { panic!("no set") };
            let all: Vec<Value> = rows.iter().map(|(row, _)| row[1].clone()).collect();
            prop_assert_eq!(sorted(set.to_vec()), different(&all));
            let bins = different(&texts).into_iter().map(|v| (v.clone(), Value::Bigint(texts.iter().filter(|t| **t == v).count() as i64)));
            prop_assert_eq!(&results[8], &map_value(bins.collect()));
            let single = if different(&all).len() == 1 { all[0].clone() } else { Value::Null };
            prop_assert_eq!(&results[9], &single);
            // of equal times the least value counts as the last one, too
            let times = rows.iter().map(|(_, t)| *t);
            let latest = rows.iter().filter(|(row, _)| !row[0].is_null()).map(|(row, t)| (*t, row[0].clone()));
            let newest = latest.clone().map(|(t, _)| t).max();
            let expected = latest.filter(|(t, _)| Some(*t) == newest).map(|(_, v)| v).min().unwrap_or_default();
            prop_assert_eq!(&results[10], &expected);
            prop_assert_eq!(&results[11], &array(by_time(&rows, 1, false).into_iter().take(2).collect()));
            let Value::Array(last) = &results[12] else { panic!("no last ones") };
            prop_assert_eq!(last.len(), numbers.len().min(3), "of {} rows", times.count());
            prop_assert!(close(&results[13], naive_variance(&doubles(&not_null(&rows, 2))).sqrt()), "{:?} of {:?}", results[13], rows);
        }
        for (key, (row, timestamp)) in table {
            for group in &mut groups {
                group.undo(&row, timestamp);
            }
            let _of_no_interest = key;
        }
        for group in &groups {
            prop_assert_eq!(group.elements.bytes(), 0, "{} leaves elements behind", group.call);
        }
    }

    #[test]
    fn two_groups_merged_are_as_one(rows in proptest::collection::vec(row(), 0..12), cut in 0..12usize) {
        let names: [(&str, &[usize], &[i32]); 17] = [
            ("COUNT", &[0], &[]), ("SUM", &[0], &[]), ("SUM", &[2], &[]), ("AVG", &[0], &[]), ("MIN", &[1], &[]), ("MAX", &[0], &[]),
            ("COUNT_DISTINCT", &[1], &[]), ("TOPK", &[0], &[3]), ("TOPKDISTINCT", &[1], &[2]), ("TOPK", &[0, 1], &[2]), ("COLLECT_LIST", &[0], &[]),
            ("COLLECT_SET", &[1], &[]), ("HISTOGRAM", &[1], &[]), ("ATTR", &[1], &[]), ("LATEST_BY_OFFSET", &[0], &[]),
            ("EARLIEST_BY_OFFSET", &[1], &[2]), ("STDDEV_SAMPLE", &[2], &[]),
        ];
        let cut = cut.min(rows.len());
        for (name, over, constants) in names {
            let mut groups = [(); 3].map(|()| Group::new(call(name, over, constants)));
            for (i, row) in rows.iter().enumerate() {
                groups[0].add(row, 0);
                groups[if i < cut { 1 } else { 2 }].add(row, 0);
            }
            let [whole, earlier, later] = &mut groups;
            let mut of_later = Vec::new();
            later.elements.scan(3, &[], &mut |key, row| {
                of_later.push((key.to_vec(), row.iter().cloned().collect()));
                true
            }).unwrap();
            let merged = earlier.call.merge_with(3, &mut earlier.state, &later.state, &of_later, &mut earlier.elements);
            prop_assert_eq!(merged, Ok(()));
            match (earlier.result(), whole.result()) {
                (Value::Double(a), Value::Double(b)) => prop_assert!((a - b).abs() < 1e-9, "{name}: {a} is not {b}"),
                (a, b) => prop_assert_eq!(a, b, "{}", name),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// ORDER BY number DESC, text: over a table equal rows are in the order of what goes along, over a stream in that of their arrival.
    #[test]
    fn the_first_rows_of_an_order_are_those_of_the_rows_that_are_left(changes in changes(), k in 1..4i64) {
        let call = AggregateCall::top_rows(k, &[true, false], columns()).unwrap();
        let (mut of_table, mut of_stream) = (Group::new(call.clone().over(true)), Group::new(call));
        let mut table: BTreeMap<u8, Row> = BTreeMap::new();
        let mut stream: Vec<Row> = Vec::new();
        for (key, new, timestamp) in changes {
            if let Some(old) = table.remove(&key) {
                of_table.undo(&old, timestamp);
            }
            if let Some(row) = new {
                of_table.add(&row, timestamp);
                of_stream.add(&row, timestamp);
                table.insert(key, row.clone());
                stream.push(row);
            }
            let first = |rows: &[Row]| {
                array(rows.iter().take(k as usize).map(|row| Value::Struct(row.to_vec().into())).collect())
            };
            let mut rows: Vec<Row> = table.values().cloned().collect();
            rows.sort_by(|a, b| b[0].cmp(&a[0]).then_with(|| a[1..].cmp(&b[1..])));
            prop_assert_eq!(of_table.result(), first(&rows));
            let mut rows = stream.clone();
            rows.sort_by(|a, b| b[0].cmp(&a[0]).then_with(|| a[1].cmp(&b[1])));
            prop_assert_eq!(of_stream.result(), first(&rows));
        }
        for row in table.values() {
            of_table.undo(row, 0);
        }
        prop_assert_eq!(of_table.elements.bytes(), 0);
        prop_assert_eq!(of_table.result(), array(Vec::new()));
    }
}

#[test]
fn first_rows_say_their_order_and_what_they_take() {
    let call = AggregateCall::top_rows(3, &[true, false], columns()).unwrap();
    assert_eq!(call.to_string(), "TOP_ROWS(v0, v1, v2, 3 BY DESC ASC)");
    assert_eq!(
        call.sql_type.to_string(),
        "ARRAY<STRUCT<C0 BIGINT, C1 STRING, C2 DOUBLE>>"
    );
    assert!(AggregateCall::top_rows(0, &[true], columns()).is_err());
    assert!(AggregateCall::top_rows(10_001, &[true], columns()).is_err());
    assert!(AggregateCall::top_rows(1, &[true; 33], vec![columns()[0].clone(); 33]).is_err());
}

#[test]
fn of_equal_values_the_first_to_come_stays_first_in_a_stream() {
    let mut group = Group::new(call("TOPK", &[0, 1], &[3]));
    for (n, name) in [(0, "zero"), (100, "one"), (99, "two"), (7, "three"), (100, "four")] {
        group.add(&Row::from([Value::Bigint(n), name.into(), Value::Null]), 0);
    }
    let item = |n: i64, name: &str| Value::Struct([n.into(), name.into()].into());
    assert_eq!(
        group.result(),
        array(vec![item(100, "one"), item(100, "four"), item(99, "two")])
    );
    let SqlType::Array(item) = group.call.sql_type else {
        panic!("no array")
    };
    assert_eq!(item.to_string(), "STRUCT<`sort_col` BIGINT, `col0` STRING>");
}

#[test]
fn offsets_take_a_number_and_whether_nulls_count() {
    let options = |options: Vec<(Expr, SqlType)>| {
        let args = [columns()[..1].to_vec(), options].concat();
        AggregateCall::new("LATEST_BY_OFFSET", args)
    };
    let no = constant(false, SqlType::Boolean);
    let two = constant(2, SqlType::Integer);
    let rows: [Value; 4] = [1i64.into(), Value::Null, 3i64.into(), Value::Null];
    let result = |call: AggregateCall| {
        let mut group = Group::new(call);
        for value in &rows {
            group.add(&Row::from([value.clone(), Value::Null, Value::Null]), 0);
        }
        group.result()
    };
    assert_eq!(result(options(vec![]).unwrap()), 3i64.into());
    assert_eq!(result(options(vec![no.clone()]).unwrap()), Value::Null);
    assert_eq!(
        result(options(vec![two.clone()]).unwrap()),
        array(vec![1i64.into(), 3i64.into()])
    );
    let both = options(vec![two, no]).unwrap();
    assert_eq!(both.to_string(), "LATEST_BY_OFFSET(v0, 2, FALSE)");
    assert_eq!(result(both), array(vec![3i64.into(), Value::Null]));
    assert!(options(vec![constant(0, SqlType::Integer)]).is_err());
}

#[test]
fn collections_end_at_their_limit() {
    let rows: Vec<Row> = [3i64, 1, 3, 2]
        .map(|n| Row::from([n.into(), Value::Null, Value::Null]))
        .to_vec();
    for table in [false, true] {
        let mut list = Group::new(call("COLLECT_LIST", &[0], &[]).limited(2, 2).over(table));
        let mut set = Group::new(call("COLLECT_SET", &[0], &[]).limited(2, 2).over(table));
        for row in &rows {
            list.add(row, 0);
            set.add(row, 0);
        }
        assert_eq!(list.result(), array(vec![3i64.into(), 1i64.into()]));
        assert_eq!(set.result(), array(vec![3i64.into(), 1i64.into()]));
        if table {
            // what the limit hid shows once there is room
            list.undo(&rows[1], 0);
            set.undo(&rows[1], 0);
            assert_eq!(list.result(), array(vec![3i64.into(), 3i64.into()]));
            assert_eq!(set.result(), array(vec![3i64.into(), 2i64.into()]));
        }
    }
}

#[test]
fn deviations_survive_large_numbers() {
    let of = |name: &str, values: &[i64]| {
        let mut group = Group::new(call(name, &[0], &[]));
        for n in values {
            group.add(&Row::from([(*n).into(), Value::Null, Value::Null]), 0);
        }
        group.result()
    };
    assert!(close(&of("STDDEV_SAMP", &[0, 10]), 50.0));
    assert!(close(&of("STDDEV_SAMPLE", &[0, 10, 7]), 5.131601439446884));
    assert!(close(
        &of("STDDEV_SAMPLE", &[1_000_000_000_000_001, 1_000_000_000_000_002]),
        0.5f64.sqrt()
    ));
    assert!(close(&of("STDDEV_SAMPLE", &[5]), 0.0));
}

#[test]
fn functions_say_what_they_take() {
    let error = |name: &str, over: &[usize]| {
        let args = over.iter().map(|i| columns()[*i].clone()).collect();
        AggregateCall::new(name, args).unwrap_err()
    };
    assert_eq!(error("HISTOGRAM", &[0]), "HISTOGRAM takes a STRING, not (BIGINT)");
    assert_eq!(
        error("TOPK", &[0, 0]),
        "the last argument of TOPK says how many: a constant from 1 to 10000"
    );
    assert_eq!(
        error("CORRELATION", &[0]),
        "CORRELATION takes two numbers, not (BIGINT)"
    );
    let error = AggregateCall::distinct_of("SUM", columns()[..1].to_vec()).unwrap_err();
    assert_eq!(error, "DISTINCT goes with COUNT, not with SUM");
}
