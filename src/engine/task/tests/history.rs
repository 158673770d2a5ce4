//! Look-ups in a table's history, compared with the rows as they were in the order of their times.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::join_oracle::{AT, Made};
use super::oracle::{Step, cache, drive, emit, history, options, steps, view};
use super::*;
use crate::operators::DropReason;

const RETENTION: i64 = 40;

/// A record of the topic that is read as a table and as a stream: a number, when the stream looks, the time. Deletions have the time of their step.
fn input() -> impl Strategy<Value = (&'static str, i64, Option<Vec<i64>>)> {
    let time = || prop_oneof![6 => 0..60i64, 2 => 60..120i64, 1 => 120..400i64];
    let value = (0..100i64, time(), time()).prop_map(|(number, looks, time)| vec![number, looks, time]);
    (0..3i64, proptest::option::weighted(0.8, value)).prop_map(|(key, value)| ("x", key, value))
}

/// The rows of each key by time, and what no longer counts.
#[derive(Default)]
struct Reference {
    versions: BTreeMap<(i64, i64), Option<i64>>,
    stream_time: Option<i64>,
    late: u64,
}

impl Reference {
    fn horizon(&self) -> i64 {
        self.stream_time.map_or(i64::MIN, |time| time - RETENTION)
    }

    fn table(&mut self, key: i64, row: Option<i64>, time: i64) {
        if time < self.horizon() {
            self.late += 1;
            return;
        }
        self.stream_time = self.stream_time.max(Some(time));
        self.versions.insert((key, time), row);
    }

    fn newest(&self, key: i64) -> Option<(i64, Option<i64>)> {
        let mut of_key = self.versions.range((key, i64::MIN)..=(key, i64::MAX));
        of_key.next_back().map(|((_, time), row)| (*time, *row))
    }

    fn at(&mut self, key: i64, time: i64) -> Option<i64> {
        if let Some((since, Some(row))) = self.newest(key)
            && since <= time
        {
            return Some(row);
        }
        if time < self.horizon() {
            self.late += 1;
            return None;
        }
        let mut before = self.versions.range((key, i64::MIN)..=(key, time));
        before.next_back().and_then(|(_, row)| *row)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever order the table's rows come in, each record of the stream sees the row of the time that it asks for; and the table is what the newest rows say.
    #[test]
    fn a_record_sees_the_row_of_its_time(
        steps in steps(input()),
        left_join in any::<bool>(),
        emit in emit(),
        cache in cache(),
    ) {
        let kind = if left_join { JoinKind::Left } else { JoinKind::Inner };
        let columns = ["NUMBER", "LOOKS", "TIME"];
        let mut made = Made::new();
        let s = made.relation_over("x", "s", RelationKind::Stream, &columns);
        let t = made.relation_over("x", "t", RelationKind::Table, &columns);
        let s = made.0.source(s, TimestampFrom::Column(2), None);
        let node = made.0.source(t, TimestampFrom::Column(2), None);
        made.0.keep_history(node, RETENTION);
        made.0.view(t, node);
        // of rows below 20 the stream sees nothing, though the table has them
        let least = Box::new(Expr::Literal(Value::Bigint(20)));
        let enough = Expr::Compare(crate::expr::CompareOp::GreaterOrEqual, Box::new(Expr::Value(0)), least);
        let filtered = made.0.filter("enough", node, enough);
        let width = made.0.schema(s).value.len();
        let join = made.0.temporal_join(AT, (s, filtered), kind, Expr::Value(1));
        let schema = RelationSchema {
            key: made.0.schema(join).key.clone(),
            value: ["L", "LOOKS", "R"].map(|name| Column::new(name, BIGINT)).to_vec(),
        };
        let values = vec![Expr::Value(0), Expr::Value(1), Expr::Value(width)];
        let three = made.0.project("out", "three", join, schema, values);
        let mut run = made.run(three, &["L", "LOOKS", "R"], options(emit, cache), 1);
        let mut reference = Reference::default();
        let mut expected: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for ((_, key, value), at) in drive(&mut run, &steps) {
            if let Some(value) = &value {
                let found = reference.at(key, value[1]).filter(|number| *number >= 20);
                if left_join || found.is_some() {
                    let row = vec![Some(value[0]), Some(value[1]), found];
                    expected.entry(key).or_default().push(Some(row));
                }
            }
            let time = value.as_ref().map_or(at, |value| value[2]);
            reference.table(key, value.map(|value| value[0]), time);
        }
        prop_assert_eq!(history(&run, "out"), expected);
        let newest = (0..3).filter_map(|key| Some((key, reference.newest(key)?.1?)));
        let table: BTreeMap<i64, i64> = view(&run, "t").into_iter().map(|(key, row)| (key, row[0].unwrap())).collect();
        prop_assert_eq!(table, newest.collect::<BTreeMap<i64, i64>>());
        let disturbed = steps.iter().any(|step| matches!(step, Step::Crash | Step::Abort));
        let late = dropped(&run, DropReason::Late);
        prop_assert!(disturbed || late == reference.late, "{} late, {} counted", reference.late, late);
    }
}

/// How many records were passed over for a reason.
fn dropped(run: &Local, why: DropReason) -> u64 {
    let all = run.0.tasks().flat_map(|task| task.metrics().dropped());
    all.filter(|(_, reason, _)| *reason == why)
        .map(|(_, _, dropped)| dropped.count)
        .sum()
}

/// A task with a history of 100 ms, and the rows that its three stores hold in the end.
fn stored(records: &[(i64, Option<i64>, i64)]) -> (Local, usize) {
    let mut made = Made::new();
    let t = made.relation("t", RelationKind::Table, &["V"]);
    let t = made.0.source(t, TimestampFrom::Record, None);
    made.0.keep_history(t, 100);
    let mut run = made.run(t, &["V"], options(Emit::EveryChange, usize::MAX), 1);
    for (key, value, time) in records {
        run.put("t", *key, value.as_ref().map(std::slice::from_ref), *time);
        run.commit();
    }
    let task = run.0.tasks().next().unwrap();
    let snapshot = task.store().reader().snapshot().unwrap();
    let mut rows = 0;
    for store in 1..=2u16 {
        let (from, to) = (store.to_be_bytes(), (store + 1).to_be_bytes());
        snapshot
            .scan(&from, Some(&to), false, &mut |_, _| {
                rows += 1;
                true
            })
            .unwrap();
    }
    (run, rows)
}

#[test]
fn what_the_history_no_longer_needs_is_deleted() {
    let mut records: Vec<(i64, Option<i64>, i64)> =
        (0..50).map(|i| (i % 3, (i % 5 != 0).then_some(i), 10 * i)).collect();
    records.push((9, Some(1), 10_000));
    // one record deletes 64 versions at most
    records.push((9, Some(2), 10_001));
    records.push((9, Some(3), 10_101));
    let (_, rows) = stored(&records);
    // of key 9 what was replaced at 10101, and its end; the one replaced at 10001 ends where the history begins
    assert_eq!(rows, 2);
}

#[test]
fn a_late_row_of_the_table_is_counted() {
    let (mut run, _) = stored(&[(1, Some(1), 1000), (1, Some(2), 899), (2, None, 900)]);
    assert_eq!(run.view("out"), ["1=1@1000"]);
    assert_eq!(dropped(&run, DropReason::Late), 1);
    run.put("t", 1, None, 1001);
    run.put("t", 1, Some(&[5]), 1001);
    run.commit();
    assert_eq!(run.view("out"), ["1=5@1001"]);
}
