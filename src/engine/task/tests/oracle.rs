//! Random changes, commits, aborts and crashes, compared with recomputation from scratch.
//!
//! Final rows must be the recomputed ones in both emission modes; in `every change` mode the whole sequence a key must be that of a
//! computation without any commit.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::expr::CompareOp;

/// A change of a table, or a record of a stream: topic, key, value columns.
pub(super) type Input = (&'static str, i64, Option<Vec<i64>>);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Send(Input),
    Process(usize),
    Prepare,
    Publish,
    Apply,
    Abort,
    Crash,
}

pub(super) fn steps(input: impl Strategy<Value = Input> + 'static) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => input.prop_map(Step::Send),
        6 => (1..6usize).prop_map(Step::Process),
        3 => Just(Step::Prepare),
        3 => Just(Step::Publish),
        3 => Just(Step::Apply),
        1 => Just(Step::Abort),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Runs the steps, as far as each is allowed where it stands, and then to the end. The inputs in the order sent.
pub(super) fn drive(run: &mut Local, steps: &[Step]) -> Vec<(Input, Timestamp)> {
    let mut sent = Vec::new();
    let (mut prepared, mut published) = (false, false);
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Send(input) => {
                let (topic, key, value) = input;
                run.send(topic, *key, value.as_deref(), at as i64);
                sent.push((input.clone(), at as i64));
            }
            Step::Process(n) => {
                run.0.process_some(*n).unwrap();
            }
            Step::Prepare if !prepared => {
                run.0.prepare().unwrap();
                prepared = true;
            }
            Step::Publish if prepared && !published => {
                run.0.publish();
                published = true;
            }
            Step::Apply if published => {
                run.0.apply().unwrap();
                (prepared, published) = (false, false);
            }
            Step::Abort if !published => {
                run.0.abort();
                prepared = false;
            }
            Step::Crash => {
                run.0.crash().unwrap();
                (prepared, published) = (false, false);
            }
            Step::Prepare | Step::Publish | Step::Apply | Step::Abort => {}
        }
    }
    if prepared && !published {
        run.0.publish();
    }
    if prepared {
        run.0.apply().unwrap();
    }
    run.0.settle().unwrap();
    sent
}

pub(super) type Rows = BTreeMap<i64, Vec<Option<i64>>>;

pub(super) fn numbers(row: &Row) -> Vec<Option<i64>> {
    let number = |v: &Value| match v {
        Value::Bigint(n) => Some(*n),
        _ => None,
    };
    row.iter().map(number).collect()
}

pub(super) fn view(run: &Local, name: &str) -> Rows {
    let rows = run.0.view(name).unwrap();
    rows.iter()
        .map(|(key, row, _)| (numbers(key)[0].unwrap(), numbers(row)))
        .collect()
}

/// Every record of a topic, by key.
pub(super) fn history(run: &Local, topic: &str) -> BTreeMap<i64, Vec<Option<Vec<Option<i64>>>>> {
    let mut all: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for (key, value, _) in run.read_rows(topic) {
        let key = numbers(&key)[0].unwrap();
        all.entry(key).or_default().push(value.as_ref().map(numbers));
    }
    all
}

/// What a reader of the compacted topic ends up with.
pub(super) fn final_rows(run: &Local, topic: &str) -> Rows {
    let last = history(run, topic).into_iter();
    last.filter_map(|(key, values)| Some((key, values.last()?.clone()?)))
        .collect()
}

pub(super) fn tables(sent: &[(Input, Timestamp)]) -> BTreeMap<&'static str, BTreeMap<i64, Vec<i64>>> {
    let mut tables: BTreeMap<_, BTreeMap<i64, Vec<i64>>> = BTreeMap::new();
    for ((topic, key, value), _) in sent {
        let table = tables.entry(*topic).or_default();
        match value {
            Some(value) => table.insert(*key, value.clone()),
            None => table.remove(key),
        };
    }
    tables
}

pub(super) fn options(emit: Emit, cache_bytes: usize) -> TaskOptions {
    TaskOptions {
        emit,
        cache_bytes,
        ..TaskOptions::default()
    }
}

pub(super) fn emit() -> impl Strategy<Value = Emit> {
    prop_oneof![Just(Emit::HoldUntilCommit), Just(Emit::EveryChange)]
}

/// No cache at all, a small one, or one for everything.
pub(super) fn cache() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(2000), Just(usize::MAX)]
}

pub(super) fn row(topic: &'static str, keys: i64, columns: usize) -> impl Strategy<Value = Input> {
    let value = proptest::option::weighted(0.8, proptest::collection::vec(-3..4i64, columns));
    (0..keys, value).prop_map(move |(key, value)| (topic, key, value))
}

/// Rows of one of two groups whose sums come near the ends of BIGINT, and beyond.
fn extreme_row() -> impl Strategy<Value = Input> {
    let amount = prop_oneof![3 => -3..4i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN), 1 => Just(i64::MAX - 2)];
    let value = proptest::option::weighted(0.8, (0..2i64, amount).prop_map(|(group, amount)| vec![group, amount]));
    (0..5i64, value).prop_map(|(key, value)| ("t", key, value))
}

fn assert_final(run: &Local, topic: &str, expected: &Rows) -> Result<(), TestCaseError> {
    prop_assert_eq!(&view(run, topic), expected, "the view");
    prop_assert_eq!(&final_rows(run, topic), expected, "the topic's last record a key");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// SELECT V0, COUNT(*), SUM(V1) FROM t GROUP BY V0: rows move between groups, vanish and come back.
    #[test]
    fn a_grouped_table(steps in steps(row("t", 6, 2)), emit in emit(), cache in cache(), partitions in 1..3i32) {
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT, BIGINT]);
        let t = b.repartition(t, 1, "R", Expr::Value(0));
        let a = b.aggregate(t, "A", vec![count(), sum(1)]);
        b.sink(a, "out");
        let mut run = b.run_with(options(emit, cache), partitions);
        let sent = drive(&mut run, &steps);
        let mut expected: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in tables(&sent).remove("t").unwrap_or_default().values() {
            let group = expected.entry(row[0]).or_default();
            *group = (group.0 + 1, group.1 + row[1]);
        }
        let expected = expected.into_iter().map(|(k, (n, s))| (k, vec![Some(n), Some(s)])).collect();
        assert_final(&run, "out", &expected)?;
        if emit == Emit::EveryChange && partitions == 1 {
            prop_assert_eq!(history(&run, "out"), grouped_history(&sent));
        }
    }

    /// SELECT V0, COUNT(*), SUM(picky V1) FROM t GROUP BY V0, with sums that overflow and arguments that cannot be computed: the first hide a group
    /// while they last, the second keep a row out of its group, and neither is ever taken out of a sum that it is not in.
    #[test]
    fn a_grouped_table_with_rows_that_fail(
        steps in steps(extreme_row()), emit in emit(), cache in cache(), partitions in 1..3i32,
    ) {
        let fails = Expr::Cast(Box::new(Expr::Literal("x".into())), BIGINT);
        let bad = Expr::Compare(CompareOp::Equal, Box::new(Expr::Value(1)), Box::new(Expr::Literal(Value::Bigint(2))));
        let picky = Expr::Case(vec![(bad, fails)], Box::new(Expr::Value(1)));
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT, BIGINT]);
        let t = b.repartition(t, 1, "R", Expr::Value(0));
        let total = AggregateCall::new("SUM", vec![(picky, BIGINT)]).unwrap();
        let a = b.aggregate(t, "A", vec![count(), total]);
        b.sink(a, "out");
        // what stands behind such a group follows it
        let again = b.repartition(a, 2, "R2", Expr::Value(0));
        let sizes = b.aggregate(again, "S", vec![count()]);
        b.sink(sizes, "sizes");
        let mut run = b.run_with(options(emit, cache), partitions);
        let sent = drive(&mut run, &steps);
        let mut groups: BTreeMap<i64, (i64, i128)> = BTreeMap::new();
        for row in tables(&sent).remove("t").unwrap_or_default().values().filter(|row| row[1] != 2) {
            let group = groups.entry(row[0]).or_default();
            *group = (group.0 + 1, group.1 + i128::from(row[1]));
        }
        let shown = groups.into_iter().filter_map(|(k, (n, sum))| Some((k, vec![Some(n), Some(i64::try_from(sum).ok()?)])));
        let shown: Rows = shown.collect();
        assert_final(&run, "out", &shown)?;
        let mut sizes = BTreeMap::new();
        for row in shown.values() {
            *sizes.entry(row[0].unwrap_or_default()).or_insert(0) += 1;
        }
        let sizes = sizes.into_iter().map(|(n, groups)| (n, vec![Some(groups)])).collect();
        assert_final(&run, "sizes", &sizes)?;
    }

    /// SELECT K, COUNT(*), SUM(V0) FROM s GROUP BY K.
    #[test]
    fn a_grouped_stream(steps in steps(row("s", 4, 1)), emit in emit(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.stream(0, "s", &[BIGINT]);
        let a = b.aggregate(s, "A", vec![count(), sum(0)]);
        b.sink(a, "out");
        let mut run = b.run_with(options(emit, cache), 2);
        let sent = drive(&mut run, &steps);
        let mut all: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for ((_, key, value), _) in &sent {
            let Some(value) = value else { continue };
            let states = all.entry(*key).or_default();
            let (n, s) = states.last().copied().unwrap_or_default();
            states.push((n + 1, s + value[0]));
        }
        let row = |(n, s): (i64, i64)| vec![Some(n), Some(s)];
        let expected = all.iter().map(|(k, states)| (*k, row(states[states.len() - 1]))).collect();
        assert_final(&run, "out", &expected)?;
        if emit == Emit::EveryChange {
            let expected = all.iter().map(|(k, states)| (*k, states.iter().map(|s| Some(row(*s))).collect()));
            prop_assert_eq!(history(&run, "out"), expected.collect::<BTreeMap<_, _>>());
        }
    }

    /// Two tables, one of them filtered, with every kind of join.
    #[test]
    fn joined_tables(
        steps in steps(prop_oneof![row("l", 4, 1), row("r", 4, 1)]),
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left), Just(JoinKind::Right), Just(JoinKind::Full)],
        emit in emit(),
        cache in cache(),
    ) {
        let mut b = Builder::new();
        let l = b.table(0, "l", &[BIGINT]);
        let r = b.table(0, "r", &[BIGINT]);
        let r = b.filter(r, greater(0, 0));
        let j = b.table_table_join(l, r, kind);
        b.sink(j, "out");
        let mut run = b.run_with(options(emit, cache), 2);
        let sent = drive(&mut run, &steps);
        assert_final(&run, "out", &joined(&sent, kind))?;
    }

    /// A table joined with an aggregate of a stream, then grouped again: everything behind the aggregate is held back.
    #[test]
    fn a_table_joined_with_an_aggregate(
        steps in steps(prop_oneof![row("t", 4, 1), row("s", 4, 1)]),
        kind in prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left), Just(JoinKind::Full)],
        emit in emit(),
        cache in cache(),
    ) {
        let mut b = Builder::new();
        let t = b.table(0, "t", &[BIGINT]);
        let s = b.stream(0, "s", &[BIGINT]);
        let a = b.aggregate(s, "A", vec![sum(0)]);
        let j = b.table_table_join(t, a, kind);
        b.sink(j, "out");
        let again = b.repartition(j, 1, "R", Expr::Value(0));
        let total = b.aggregate(again, "T", vec![count(), sum(1)]);
        b.sink(total, "totals");
        let mut run = b.run_with(options(emit, cache), 2);
        let sent = drive(&mut run, &steps);
        let left = tables(&sent).remove("t").unwrap_or_default();
        let mut sums: BTreeMap<i64, i64> = BTreeMap::new();
        for ((topic, key, value), _) in &sent {
            if let ("s", Some(value)) = (*topic, value) {
                *sums.entry(*key).or_default() += value[0];
            }
        }
        let keys = 0..4;
        let rows: Rows = keys.filter_map(|key| {
            let row = vec![left.get(&key).map(|v| v[0]), sums.get(&key).copied()];
            keeps(kind, row[0].is_some(), row[1].is_some()).then_some((key, row))
        }).collect();
        assert_final(&run, "out", &rows)?;
        let mut totals: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in rows.values() {
            if let Some(group) = row[0] {
                let total = totals.entry(group).or_default();
                *total = (total.0 + 1, total.1 + row[1].unwrap_or(0));
            }
        }
        let totals = totals.into_iter().map(|(k, (n, s))| (k, vec![Some(n), Some(s)])).collect();
        assert_final(&run, "totals", &totals)?;
    }

    /// Rows behind an aggregate that cannot be computed for some counts are not in the tables made of it, until they can be again.
    #[test]
    fn rows_that_fail_at_the_flush(steps in steps(row("s", 4, 1)), cache in cache()) {
        let mut b = Builder::new();
        let s = b.stream(0, "s", &[BIGINT]);
        let a = b.aggregate(s, "A", vec![count()]);
        let is = |n| Expr::Compare(CompareOp::Equal, Box::new(Expr::Value(0)), Box::new(Expr::Literal(Value::Bigint(n))));
        let fails = Expr::Cast(Box::new(Expr::Literal("x".into())), BIGINT);
        let picky = Expr::Case(vec![(Expr::Or(vec![is(2), is(3), is(5)]), fails)], Box::new(Expr::Value(0)));
        let p = b.project(a, vec![picky], &[BIGINT]);
        b.sink(a, "counts");
        b.sink(p, "picky");
        let again = b.repartition(p, 1, "R", Expr::Value(0));
        let sizes = b.aggregate(again, "S", vec![count()]);
        b.sink(sizes, "sizes");
        let mut run = b.run_with(options(Emit::HoldUntilCommit, cache), 2);
        let sent = drive(&mut run, &steps);
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for ((_, key, value), _) in &sent {
            *counts.entry(*key).or_default() += i64::from(value.is_some());
        }
        counts.retain(|_, n| *n > 0);
        let rows = |counts: &BTreeMap<i64, i64>| counts.iter().map(|(k, n)| (*k, vec![Some(*n)])).collect::<Rows>();
        assert_final(&run, "counts", &rows(&counts))?;
        counts.retain(|_, n| ![2, 3, 5].contains(n));
        assert_final(&run, "picky", &rows(&counts))?;
        let mut sizes = BTreeMap::new();
        for n in counts.values() {
            *sizes.entry(*n).or_default() += 1;
        }
        assert_final(&run, "sizes", &rows(&sizes))?;
    }

    /// The movie job's shape, and the one that KAFKA-7595 got wrong: whatever commits, aborts and crashes, only averages of prefixes appear.
    #[test]
    fn no_average_that_is_not_of_a_prefix(steps in steps(row("ratings", 3, 1)), diamond in any::<bool>(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.stream(0, "ratings", &[BIGINT]);
        let averages = if diamond {
            let n = b.aggregate(s, "N", vec![count()]);
            let total = b.aggregate(s, "S", vec![sum(0)]);
            b.table_table_join(n, total, JoinKind::Inner)
        } else {
            b.aggregate(s, "A", vec![count(), sum(0)])
        };
        b.sink(averages, "averages");
        let mut run = b.run_with(options(Emit::HoldUntilCommit, cache), 2);
        let sent = drive(&mut run, &steps);
        let mut prefixes: BTreeMap<i64, Vec<Vec<Option<i64>>>> = BTreeMap::new();
        for ((_, key, value), _) in &sent {
            let Some(value) = value else { continue };
            let of_key = prefixes.entry(*key).or_default();
            let last = of_key.last().cloned().unwrap_or_else(|| vec![Some(0), Some(0)]);
            of_key.push(vec![last[0].map(|n| n + 1), last[1].map(|s| s + value[0])]);
        }
        for (key, rows) in history(&run, "averages") {
            let mut at = 0;
            for row in rows {
                let row = row.expect("no group is deleted");
                let found = prefixes[&key][at..].iter().position(|prefix| *prefix == row);
                prop_assert!(found.is_some(), "{row:?} of {key} is of no prefix, or came twice: {:?}", prefixes[&key]);
                at += found.unwrap_or_default() + 1;
            }
            prop_assert_eq!(at, prefixes[&key].len(), "the last row of {} is of all ratings", key);
        }
    }
}

fn keeps(kind: JoinKind, left: bool, right: bool) -> bool {
    match kind {
        JoinKind::Inner => left && right,
        JoinKind::Left => left,
        JoinKind::Right => right,
        JoinKind::Full => left || right,
    }
}

fn joined(sent: &[(Input, Timestamp)], kind: JoinKind) -> Rows {
    let mut tables = tables(sent);
    let left = tables.remove("l").unwrap_or_default();
    let mut right = tables.remove("r").unwrap_or_default();
    right.retain(|_, row| row[0] > 0);
    let keys: std::collections::BTreeSet<i64> = left.keys().chain(right.keys()).copied().collect();
    let row = |key| {
        let row = vec![left.get(&key).map(|v| v[0]), right.get(&key).map(|v| v[0])];
        keeps(kind, row[0].is_some(), row[1].is_some()).then_some((key, row))
    };
    keys.into_iter().filter_map(row).collect()
}

/// Each step of each group, taking out before putting in.
fn grouped_history(sent: &[(Input, Timestamp)]) -> BTreeMap<i64, Vec<Option<Vec<Option<i64>>>>> {
    let mut rows: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut history: BTreeMap<i64, Vec<_>> = BTreeMap::new();
    for ((_, key, value), _) in sent {
        let old = match value {
            Some(value) => rows.insert(*key, value.clone()),
            None => rows.remove(key),
        };
        for (row, sign) in [(old.as_ref(), -1), (value.as_ref(), 1)] {
            let Some(row) = row else { continue };
            let group = groups.entry(row[0]).or_default();
            *group = (group.0 + sign, group.1 + sign * row[1]);
            let state = (group.0 > 0).then(|| vec![Some(group.0), Some(group.1)]);
            history.entry(row[0]).or_default().push(state);
        }
    }
    history
}
