//! Joins with a global table, compared with recomputation after random changes, commits, aborts and crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::join_oracle::{AT, Made};
use super::oracle::{cache, drive, emit, final_rows, history, options, row, steps, view};
use super::*;

/// Changes of the global table, then steps with records of the left side.
type Phase = (Vec<(i64, Option<i64>)>, Vec<super::oracle::Step>);

fn phases(topic: &'static str) -> impl Strategy<Value = Vec<Phase>> {
    let change = (0..4i64, proptest::option::weighted(0.7, 0..100i64));
    let changes = proptest::collection::vec(change, 0..5);
    let left = row(topic, 4, 2).prop_map(|(topic, key, value)| (topic, key, value));
    proptest::collection::vec((changes, steps(left)), 1..4)
}

/// What the left side's first column looks up: of 2 nothing, since its key is NULL.
fn wanted() -> Expr {
    let two = Expr::Compare(
        crate::expr::CompareOp::Equal,
        Box::new(Expr::Value(0)),
        Box::new(Expr::Literal(Value::Bigint(2))),
    );
    Expr::Case(vec![(two, Expr::Literal(Value::Null))], Box::new(Expr::Value(0)))
}

/// A join of `l` with the global table `g`: V0, V1, and g's column.
fn joined(kind: JoinKind, left: RelationKind, options: TaskOptions, partitions: i32) -> Local {
    let mut made = Made::new();
    let l = made.relation("l", left, &["V0", "V1"]);
    let g = made.relation("g", RelationKind::Table, &["G"]);
    let (l, g) = (
        made.0.source(l, TimestampFrom::Record, None),
        made.0.source(g, TimestampFrom::Record, None),
    );
    made.0.make_global(g);
    let width = made.0.schema(l).value.len();
    let join = made.0.global_join(AT, (l, g), kind, vec![wanted()]);
    let schema = RelationSchema {
        key: made.0.schema(join).key.clone(),
        value: ["F", "L", "G"].map(|name| Column::new(name, BIGINT)).to_vec(),
    };
    let values = vec![Expr::Value(0), Expr::Value(1), Expr::Value(width)];
    let three = made.0.project("out", "three", join, schema, values);
    made.run(three, &["F", "L", "G"], options, partitions)
}

/// The joined row, if there is one.
fn expected(kind: JoinKind, global: &BTreeMap<i64, i64>, left: &[i64]) -> Option<Vec<Option<i64>>> {
    let found = global.get(&left[0]).copied().filter(|_| left[0] != 2);
    (kind == JoinKind::Left || found.is_some()).then(|| vec![Some(left[0]), Some(left[1]), found])
}

fn change(run: &mut Local, global: &mut BTreeMap<i64, i64>, changes: &[(i64, Option<i64>)]) {
    for (key, value) in changes {
        run.send("g", *key, value.as_ref().map(std::slice::from_ref), 0);
        match value {
            Some(value) => global.insert(*key, *value),
            None => global.remove(key),
        };
    }
    run.0.process_all().unwrap();
}

fn kind() -> impl Strategy<Value = JoinKind> {
    prop_oneof![Just(JoinKind::Inner), Just(JoinKind::Left)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_stream(phases in phases("l"), kind in kind(), emit in emit(), cache in cache(), partitions in 1..4i32) {
        let mut run = joined(kind, RelationKind::Stream, options(emit, cache), partitions);
        let mut global = BTreeMap::new();
        let mut all: BTreeMap<i64, Vec<_>> = BTreeMap::new();
        for (changes, steps) in &phases {
            change(&mut run, &mut global, changes);
            for ((_, key, value), _) in drive(&mut run, steps) {
                if let Some(row) = value.and_then(|value| expected(kind, &global, &value)) {
                    all.entry(key).or_default().push(Some(row));
                }
            }
        }
        prop_assert_eq!(history(&run, "out"), all);
    }

    /// Each row is joined with the global table as it was when the row changed last.
    #[test]
    fn a_table(phases in phases("l"), kind in kind(), emit in emit(), cache in cache(), partitions in 1..4i32) {
        let mut run = joined(kind, RelationKind::Table, options(emit, cache), partitions);
        let mut global = BTreeMap::new();
        let mut rows = BTreeMap::new();
        for (changes, steps) in &phases {
            change(&mut run, &mut global, changes);
            for ((_, key, value), _) in drive(&mut run, steps) {
                match value.and_then(|value| expected(kind, &global, &value)) {
                    Some(row) => rows.insert(key, row),
                    None => rows.remove(&key),
                };
            }
            prop_assert_eq!(&view(&run, "out"), &rows, "the view");
            prop_assert_eq!(&final_rows(&run, "out"), &rows, "the topic's last record a key");
        }
    }
}
