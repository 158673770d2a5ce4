//! Aggregates that keep elements: random changes, commits, aborts and crashes, compared with recomputation from scratch.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::oracle::*;
use super::*;

fn call(name: &str, column: usize, sql_type: &SqlType) -> AggregateCall {
    AggregateCall::new(name, vec![(Expr::Value(column), sql_type.clone())]).unwrap()
}

fn top(column: usize, k: i32) -> AggregateCall {
    let k = (Expr::Literal(Value::Integer(k)), SqlType::Integer);
    AggregateCall::new("TOPK", vec![(Expr::Value(column), BIGINT), k]).unwrap()
}

fn array(values: impl IntoIterator<Item = i64>) -> Value {
    Value::Array(values.into_iter().map(Value::Bigint).collect())
}

type Rows = BTreeMap<i64, Row>;

fn key_of(key: &Row) -> i64 {
    match key[0] {
        Value::Bigint(n) => n,
        _ => panic!("a key that is no number"),
    }
}

/// The view and the last record of each key in the topic must be these rows.
fn assert_rows(run: &Local, name: &str, expected: &Rows) -> Result<(), TestCaseError> {
    let view = run.0.view(name).unwrap();
    let view: Rows = view.into_iter().map(|(key, row, _)| (key_of(&key), row)).collect();
    prop_assert_eq!(&view, expected, "the view {}", name);
    let mut topic = Rows::new();
    for (key, value, _) in run.read_rows(name) {
        match value {
            Some(value) => topic.insert(key_of(&key), value),
            None => topic.remove(&key_of(&key)),
        };
    }
    prop_assert_eq!(&topic, expected, "the topic {}", name);
    Ok(())
}

/// What a table's groups have collected: a value that goes takes the last of its equals with it.
fn collected(sent: &[(Input, Timestamp)]) -> BTreeMap<i64, Vec<i64>> {
    let mut rows: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for ((_, key, value), _) in sent {
        let old = match value {
            Some(value) => rows.insert(*key, value.clone()),
            None => rows.remove(key),
        };
        if let Some(old) = old {
            let list = lists.entry(old[0]).or_default();
            let last = list.iter().rposition(|v| *v == old[1]).unwrap();
            list.remove(last);
        }
        if let Some(new) = value {
            lists.entry(new[0]).or_default().push(new[1]);
        }
    }
    lists.retain(|_, list| !list.is_empty());
    lists
}

/// What the aggregation of one group gives for its list.
fn results(list: &[i64]) -> Row {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let different: BTreeSet<i64> = list.iter().copied().collect();
    let single = match different.len() {
        1 => Value::Bigint(list[0]),
        _ => Value::Null,
    };
    Row::from([
        Value::Bigint(sorted[0]),
        Value::Bigint(sorted[sorted.len() - 1]),
        Value::Bigint(different.len() as i64),
        array(sorted.iter().rev().take(2).copied()),
        array(list.iter().copied()),
        single,
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// SELECT V0, MIN(V1), MAX(V1), COUNT(DISTINCT V1), TOPK(V1, 2), COLLECT_LIST(V1), ATTR(V1) FROM t GROUP BY V0; what comes out is grouped once more,
    /// by functions that need the old row as it was sent.
    #[test]
    fn a_table_whose_groups_keep_elements(steps in steps(row("t", 6, 2)), emit in emit(), cache in cache()) {
        let list_type = SqlType::Array(BIGINT.into());
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT, BIGINT]);
        let t = b.repartition(t, 1, "R", Expr::Value(0));
        let distinct = AggregateCall::distinct_of("COUNT", vec![(Expr::Value(1), BIGINT)]).unwrap();
        let calls = vec![
            call("MIN", 1, &BIGINT), call("MAX", 1, &BIGINT), distinct, top(1, 2), call("COLLECT_LIST", 1, &BIGINT), call("ATTR", 1, &BIGINT),
        ];
        let a = b.aggregate(t, "A", calls);
        b.sink(a, "groups");
        let again = b.repartition(a, 2, "R2", Expr::Literal(Value::Bigint(0)));
        let lists = AggregateCall::distinct_of("COUNT", vec![(Expr::Value(4), list_type)]).unwrap();
        let all = b.aggregate(again, "ALL", vec![lists, call("MAX", 1, &BIGINT), count()]);
        b.sink(all, "all");
        let mut run = b.run_with(options(emit, cache), 1);
        let sent = drive(&mut run, &steps);
        let lists = collected(&sent);
        let groups: Rows = lists.iter().map(|(group, list)| (*group, results(list))).collect();
        assert_rows(&run, "groups", &groups)?;
        let different: BTreeSet<&Vec<i64>> = lists.values().collect();
        let greatest = lists.values().flatten().max().map(|n| Value::Bigint(*n));
        let all = greatest.map(|greatest| (0, Row::from([(different.len() as i64).into(), greatest, (lists.len() as i64).into()])));
        assert_rows(&run, "all", &all.into_iter().collect())?;
    }

    /// SELECT K, COLLECT_LIST(V0), COLLECT_SET(V0), COUNT(DISTINCT V0), SUM(V0) FROM s GROUP BY K: in the order of arrival.
    #[test]
    fn a_stream_whose_groups_keep_elements(steps in steps(row("s", 4, 1)), emit in emit(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.stream(0, "s", &[BIGINT]);
        let distinct = AggregateCall::distinct_of("COUNT", vec![(Expr::Value(0), BIGINT)]).unwrap();
        let calls = vec![call("COLLECT_LIST", 0, &BIGINT), call("COLLECT_SET", 0, &BIGINT), distinct, sum(0)];
        let a = b.aggregate(s, "A", calls);
        b.sink(a, "out");
        let mut run = b.run_with(options(emit, cache), 2);
        let sent = drive(&mut run, &steps);
        let mut lists: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for ((_, key, value), _) in &sent {
            if let Some(value) = value {
                lists.entry(*key).or_default().push(value[0]);
            }
        }
        let row = |list: &Vec<i64>| {
            let mut firsts: Vec<i64> = Vec::new();
            list.iter().for_each(|n| if !firsts.contains(n) { firsts.push(*n) });
            let n = firsts.len() as i64;
            Row::from([array(list.iter().copied()), array(firsts), n.into(), list.iter().sum::<i64>().into()])
        };
        assert_rows(&run, "out", &lists.iter().map(|(key, list)| (*key, row(list))).collect())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// The two greatest V1 of each V0, a row each: places move, vanish and come back, at partitions of their own.
    #[test]
    fn a_row_for_each_place(steps in steps(row("t", 6, 2)), emit in emit(), cache in cache(), partitions in 1..3i32) {
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT, BIGINT]);
        let t = b.repartition(t, 1, "R", Expr::Value(0));
        let call = AggregateCall::top_rows(2, &[true], vec![(Expr::Value(1), BIGINT)]).unwrap();
        let a = b.aggregate(t, "A", vec![call]);
        let ranks = b.rank(a, 2, "RANK", &[BIGINT]);
        b.sink(ranks, "out");
        let mut run = b.run_with(options(emit, cache), partitions);
        let sent = drive(&mut run, &steps);
        let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for row in tables(&sent).remove("t").unwrap_or_default().values() {
            groups.entry(row[0]).or_default().push(row[1]);
        }
        let mut expected: BTreeMap<Row, Row> = BTreeMap::new();
        for (group, points) in &mut groups {
            points.sort_unstable_by(|a, b| b.cmp(a));
            let places = (1i64..).zip(points.iter().take(2));
            expected.extend(places.map(|(place, n)| (Row::from([(*group).into(), place.into()]), Row::from([(*n).into()]))));
        }
        let view: BTreeMap<Row, Row> = run.0.view("out").unwrap().into_iter().map(|(key, row, _)| (key, row)).collect();
        prop_assert_eq!(&view, &expected, "the view");
        let mut topic: BTreeMap<Row, Row> = BTreeMap::new();
        for (key, value, _) in run.read_rows("out") {
            match value {
                Some(value) => topic.insert(key, value),
                None => topic.remove(&key),
            };
        }
        prop_assert_eq!(&topic, &expected, "the topic");
    }
}

/// A filter that only some calls have, over a table: rows that do not pass count for the others alone.
#[test]
fn a_filter_is_asked_for_the_old_row_and_the_new() {
    let mut b = Builder::new();
    let t = b.table(0, "t", &[BIGINT, BIGINT]);
    let t = b.repartition(t, 1, "R", Expr::Value(0));
    let positive = |call: AggregateCall| AggregateCall {
        filter: Some(greater(1, 0)),
        ..call
    };
    let calls = vec![count(), positive(sum(1)), positive(call("MAX", 1, &BIGINT))];
    let a = b.aggregate(t, "A", calls);
    b.sink(a, "out");
    let mut run = b.run(Emit::EveryChange);
    run.put("t", 1, Some(&[7, 5]), 1);
    run.put("t", 2, Some(&[7, -9]), 2);
    run.put("t", 1, Some(&[7, -5]), 3);
    run.put("t", 2, Some(&[7, 4]), 4);
    run.0.settle().unwrap();
    let rows = run.read("out");
    let expected = [
        "7=1,5,5@1",
        "7=2,5,5@2",
        "7=1,0,null@3",
        "7=2,0,null@3",
        "7=1,0,null@4",
        "7=2,4,4@4",
    ];
    assert_eq!(rows, expected);
}
