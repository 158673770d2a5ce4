//! Joins with state of their own, compared with recomputation from scratch after random changes, commits, aborts and crashes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::oracle::{cache, drive, emit, final_rows, history, options, steps, tables, view};
use super::*;

const MINUTE: i64 = 60_000;

/// A builder as SQL uses it, over topics in our own codec.
pub(super) struct Made(pub(super) crate::topology::Builder);

impl Made {
    pub(super) fn new() -> Self {
        Self(crate::topology::Builder::new("t"))
    }

    pub(super) fn relation(&mut self, name: &str, kind: RelationKind, columns: &[&str]) -> RelationRef {
        self.relation_over(name, name, kind, columns)
    }

    pub(super) fn relation_over(
        &mut self,
        topic: &str,
        name: &str,
        kind: RelationKind,
        columns: &[&str],
    ) -> RelationRef {
        let column = |name: &&str| Column::new(*name, BIGINT);
        self.0.relation(Relation {
            name: name.into(),
            kind,
            schema: RelationSchema {
                key: vec![Column::new("K", BIGINT)],
                value: columns.iter().map(column).collect(),
            },
            topic: TopicSpec {
                name: topic.into(),
                partitions: None,
                replicas: None,
                retention_ms: None,
                compacted: kind == RelationKind::Table,
            },
            key_format: key_spec(),
            value_format: value_spec(),
            derived: false,
            headers: Vec::new(),
            window: None,
            sql: "".into(),
        })
    }

    pub(super) fn table(&mut self, name: &str) -> NodeRef {
        let relation = self.relation(name, RelationKind::Table, &["V0", "V1"]);
        self.0.source(relation, TimestampFrom::Record, None)
    }

    /// Writes to the topic `out`, and is a view of this name if it is a table.
    pub(super) fn run(mut self, node: NodeRef, columns: &[&str], options: TaskOptions, partitions: i32) -> Local {
        let kind = self.0.kind(node);
        let relation = self.relation("out", kind, columns);
        let schema = self.0.relation_of(relation).schema.clone();
        let values = (0..columns.len()).map(Expr::Value).collect();
        let node = self.0.project("out", "project", node, schema, values);
        self.0.sink("out", node, relation);
        if kind == RelationKind::Table {
            self.0.view(relation, node);
        }
        let topology = Arc::new(self.0.build().unwrap());
        let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        Local(LocalRun::new(topology, options, &schemas, &BTreeMap::new(), partitions).unwrap())
    }
}

pub(super) const AT: JoinStep<'static> = JoinStep {
    relation: "out",
    step: "join",
};

fn kind() -> impl Strategy<Value = JoinKind> {
    prop_oneof![
        Just(JoinKind::Inner),
        Just(JoinKind::Left),
        Just(JoinKind::Right),
        Just(JoinKind::Full)
    ]
}

/// A record of the left (V0 = 1) or the right stream (V0 = 0), a number, and its time in half minutes: most near each other, some far off.
fn timed() -> impl Strategy<Value = (&'static str, i64, Option<Vec<i64>>)> {
    let time = prop_oneof![8 => 0..10i64, 3 => 10..30i64, 1 => 30..3000i64];
    (0..3i64, 0..2i64, 0..100i64, time)
        .prop_map(|(key, side, number, time)| ("s", key, Some(vec![side, number, time * MINUTE / 2])))
}

/// What is given out of records in this order: key, left number, right number, in the order given.
struct Reference {
    kind: JoinKind,
    window: JoinWindow,
    odd_only: bool,
    /// Key, side, time, number; whether it waits.
    kept: Vec<(i64, usize, i64, i64, bool)>,
    time: [i64; 2],
    out: BTreeMap<i64, Vec<Vec<Option<i64>>>>,
}

impl Reference {
    fn outer(&self, side: usize) -> bool {
        self.kind == JoinKind::Full || self.kind == [JoinKind::Left, JoinKind::Right][side]
    }

    fn live(&self, side: usize, time: i64) -> bool {
        let oldest = self.time[side].saturating_sub(self.window.retention());
        time.div_euclid(self.window.segment()) >= oldest.div_euclid(self.window.segment())
    }

    fn closes(&self, side: usize, time: i64) -> i64 {
        time + [self.window.after, self.window.before][side] + self.window.grace.unwrap_or(0)
    }

    fn give(&mut self, key: i64, side: usize, own: i64, other: Option<i64>) {
        let row = if side == 0 {
            vec![Some(own), other]
        } else {
            vec![other, Some(own)]
        };
        self.out.entry(key).or_default().push(row);
    }

    fn record(&mut self, key: i64, side: usize, time: i64, number: i64) {
        self.time[side] = self.time[side].max(time);
        let now = self.time[0].max(self.time[1]);
        let mut closed: Vec<usize> = (0..self.kept.len())
            .filter(|i| self.kept[*i].4 && self.closes(self.kept[*i].1, self.kept[*i].2) < now)
            .collect();
        closed.sort_by_key(|i| (self.kept[*i].2, 1 - self.kept[*i].1, self.kept[*i].0, *i));
        for i in closed {
            let (key, side, _, number, _) = self.kept[i];
            self.kept[i].4 = false;
            self.give(key, side, number, None);
        }
        let (before, after) = (self.window.before, self.window.after);
        let near = |left: i64, right: i64| (left - before..=left + after).contains(&right);
        let mut met: Vec<usize> = (0..self.kept.len())
            .filter(|i| {
                let (k, s, t, n, _) = self.kept[*i];
                let (left, right) = if side == 0 { (time, t) } else { (t, time) };
                let fits = !self.odd_only || (n + number) % 2 == 1;
                k == key && s != side && self.live(s, t) && near(left, right) && fits
            })
            .collect();
        met.sort_by_key(|i| (self.kept[*i].2, *i));
        for i in &met {
            self.kept[*i].4 = false;
            self.give(key, side, number, Some(self.kept[*i].3));
        }
        let alone = met.is_empty() && self.outer(side);
        let waits = alone && self.window.grace.is_some() && self.closes(side, time) >= now;
        if alone && !waits {
            self.give(key, side, number, None);
        }
        if self.live(side, time) {
            self.kept.push((key, side, time, number, waits));
        }
    }
}

fn window() -> impl Strategy<Value = JoinWindow> {
    let halves = |n: std::ops::Range<i64>| n.prop_map(|n| n * MINUTE / 2);
    (halves(0..4), halves(0..4), proptest::option::of(halves(0..5))).prop_map(|(before, after, grace)| JoinWindow {
        before,
        after,
        grace,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Two streams, filtered out of one topic, so that the order in which they meet is known.
    #[test]
    fn two_streams(
        steps in steps(timed()),
        kind in kind(),
        window in window(),
        odd_only in any::<bool>(),
        emit in emit(),
        cache in cache(),
    ) {
        let mut made = Made::new();
        let relation = made.relation("s", RelationKind::Stream, &["SIDE", "NUMBER", "TIME"]);
        let source = made.0.source(relation, TimestampFrom::Column(2), None);
        let is = |side: i64| {
            let side = Expr::Literal(Value::Bigint(side));
            Expr::Compare(crate::expr::CompareOp::Equal, Box::new(Expr::Value(0)), Box::new(side))
        };
        let (left, right) = (made.0.filter("l", source, is(1)), made.0.filter("r", source, is(0)));
        let width = made.0.schema(left).value.len();
        let odd = {
            let plus = Expr::Arithmetic(
                crate::expr::ArithmeticOp::Add,
                Box::new(Expr::Value(1)),
                Box::new(Expr::Value(width + 1)),
                BIGINT,
            );
            let two = Box::new(Expr::Literal(Value::Bigint(2)));
            let rest = Expr::Arithmetic(crate::expr::ArithmeticOp::Modulo, Box::new(plus), two, BIGINT);
            Expr::Compare(crate::expr::CompareOp::Equal, Box::new(rest), Box::new(Expr::Literal(Value::Bigint(1))))
        };
        let join = made.0.stream_stream_join(AT, (left, right), kind, window, odd_only.then_some(odd));
        let schema = RelationSchema {
            key: made.0.schema(join).key.clone(),
            value: vec![Column::new("L", BIGINT), Column::new("R", BIGINT)],
        };
        let both = made.0.project("out", "both", join, schema, vec![Expr::Value(1), Expr::Value(width + 1)]);
        let mut run = made.run(both, &["L", "R"], options(emit, cache), 1);
        let sent = drive(&mut run, &steps);
        let mut reference = Reference {
            kind,
            window,
            odd_only,
            kept: Vec::new(),
            time: [i64::MIN; 2],
            out: BTreeMap::new(),
        };
        for ((_, key, value), _) in &sent {
            let value = value.as_ref().unwrap();
            reference.record(*key, usize::from(value[0] == 0), value[2], value[1]);
        }
        let given: BTreeMap<i64, Vec<Vec<Option<i64>>>> = history(&run, "out")
            .into_iter()
            .map(|(key, rows)| (key, rows.into_iter().flatten().collect()))
            .collect();
        prop_assert_eq!(given, reference.out);
    }

    /// l.V0 is the key of r. Rows change their foreign key, lose it (0 is nobody's key), vanish and come back.
    #[test]
    fn a_foreign_key(
        steps in steps(prop_oneof![pairs("l", 6), pairs("r", 3)]),
        left_join in any::<bool>(),
        emit in emit(),
        cache in cache(),
        partitions in 1..3i32,
        fan_out in prop_oneof![Just(1), Just(2), Just(1000)],
    ) {
        let options = TaskOptions { fan_out, ..options(emit, cache) };
        let kind = if left_join { JoinKind::Left } else { JoinKind::Inner };
        let mut made = Made::new();
        let (l, r) = (made.table("l"), made.table("r"));
        let null_if_two = {
            let two = Expr::Compare(
                crate::expr::CompareOp::Equal,
                Box::new(Expr::Value(0)),
                Box::new(Expr::Literal(Value::Bigint(2))),
            );
            Expr::Case(vec![(two, Expr::Literal(Value::Null))], Box::new(Expr::Value(0)))
        };
        let width = made.0.schema(l).value.len();
        let join = made.0.foreign_key_join(AT, (l, r), kind, vec![null_if_two]);
        let schema = RelationSchema {
            key: made.0.schema(join).key.clone(),
            value: ["F", "L", "R"].map(|name| Column::new(name, BIGINT)).to_vec(),
        };
        let values = vec![Expr::Value(0), Expr::Value(1), Expr::Value(width + 1)];
        let three = made.0.project("out", "three", join, schema, values);
        let mut run = made.run(three, &["F", "L", "R"], options, partitions);
        let sent = drive(&mut run, &steps);
        let mut tables = tables(&sent);
        let (left, right) = (tables.remove("l").unwrap_or_default(), tables.remove("r").unwrap_or_default());
        let row = |(key, row): (&i64, &Vec<i64>)| {
            let found = right.get(&row[0]).filter(|_| row[0] != 2).map(|r| r[1]);
            (left_join || found.is_some()).then(|| (*key, vec![Some(row[0]), Some(row[1]), found]))
        };
        let expected: BTreeMap<i64, Vec<Option<i64>>> = left.iter().filter_map(row).collect();
        prop_assert_eq!(&view(&run, "out"), &expected, "the view");
        prop_assert_eq!(&final_rows(&run, "out"), &expected, "the topic's last record a key");
    }

    /// t.V0 is a key of t itself: a row and the one that it points to change at once.
    #[test]
    fn a_foreign_key_to_the_table_itself(
        steps in steps(pairs("t", 4)),
        left_join in any::<bool>(),
        emit in emit(),
        cache in cache(),
        partitions in 1..3i32,
        fan_out in prop_oneof![Just(1), Just(1000)],
    ) {
        let options = TaskOptions { fan_out, ..options(emit, cache) };
        let kind = if left_join { JoinKind::Left } else { JoinKind::Inner };
        let mut made = Made::new();
        let t = made.table("t");
        let width = made.0.schema(t).value.len();
        let join = made.0.foreign_key_join(AT, (t, t), kind, vec![Expr::Value(0)]);
        let schema = RelationSchema {
            key: made.0.schema(join).key.clone(),
            value: ["F", "L", "R"].map(|name| Column::new(name, BIGINT)).to_vec(),
        };
        let values = vec![Expr::Value(0), Expr::Value(1), Expr::Value(width + 1)];
        let three = made.0.project("out", "three", join, schema, values);
        let mut run = made.run(three, &["F", "L", "R"], options, partitions);
        let sent = drive(&mut run, &steps);
        let table = tables(&sent).remove("t").unwrap_or_default();
        let row = |(key, row): (&i64, &Vec<i64>)| {
            let found = table.get(&row[0]).map(|right| right[1]);
            (left_join || found.is_some()).then(|| (*key, vec![Some(row[0]), Some(row[1]), found]))
        };
        let expected: BTreeMap<i64, Vec<Option<i64>>> = table.iter().filter_map(row).collect();
        prop_assert_eq!(&view(&run, "out"), &expected, "the view");
        prop_assert_eq!(&final_rows(&run, "out"), &expected, "the topic's last record a key");
    }

    /// Both sides from one store, one of them filtered, and a count of it by what the row holds: what is taken back is what was given out.
    #[test]
    fn a_table_joined_with_itself(
        steps in steps(pairs("t", 5)),
        kind in kind(),
        emit in emit(),
        cache in cache(),
    ) {
        let mut made = Made::new();
        let t = made.table("t");
        let width = made.0.schema(t).value.len();
        let some = made.0.filter("some", t, greater(1, 0));
        let join = made.0.join("out", "join", t, some, kind);
        let by = RelationSchema {
            key: vec![Column::new("K", BIGINT)],
            value: vec![Column::new("L", BIGINT), Column::new("R", BIGINT)],
        };
        let columns = (by, vec![Expr::Value(0)], vec![Expr::Value(1), Expr::Value(width + 1)]);
        let again = made.0.repartition("out", "out-groupby".into(), join, columns, None);
        let node = made.0.aggregate("sums", again, vec![count(), sum(0), sum(1)]);
        let mut run = made.run(node, &["N", "L", "R"], options(emit, cache), 2);
        let sent = drive(&mut run, &steps);
        let table = tables(&sent).remove("t").unwrap_or_default();
        let mut groups: BTreeMap<i64, Vec<Option<i64>>> = BTreeMap::new();
        for row in table.values() {
            let right = (row[1] > 0).then_some(row[1]);
            // the left side has whatever the right one has
            if right.is_none() && matches!(kind, JoinKind::Inner | JoinKind::Right) {
                continue;
            }
            let group = groups.entry(row[0]).or_insert_with(|| vec![Some(0), Some(0), Some(0)]);
            for (at, add) in [(0, 1), (1, row[1]), (2, right.unwrap_or(0))] {
                group[at] = group[at].map(|sum| sum + add);
            }
        }
        prop_assert_eq!(&view(&run, "out"), &groups, "the view");
        prop_assert_eq!(&final_rows(&run, "out"), &groups, "the topic's last record a key");
    }

    /// A count of a foreign-key join by what the right row holds: the old rows that it takes back are those that it gave out.
    #[test]
    fn a_count_of_a_foreign_key_join(
        steps in steps(prop_oneof![pairs("l", 6), pairs("r", 3)]),
        emit in emit(),
        cache in cache(),
        fan_out in prop_oneof![Just(1), Just(1000)],
    ) {
        let options = TaskOptions { fan_out, ..options(emit, cache) };
        let mut made = Made::new();
        let (l, r) = (made.table("l"), made.table("r"));
        let width = made.0.schema(l).value.len();
        let join = made.0.foreign_key_join(AT, (l, r), JoinKind::Inner, vec![Expr::Value(0)]);
        let by = RelationSchema {
            key: vec![Column::new("K", BIGINT)],
            value: vec![Column::new("L", BIGINT)],
        };
        let columns = (by, vec![Expr::Value(width + 1)], vec![Expr::Value(1)]);
        let again = made.0.repartition("out", "out-groupby".into(), join, columns, None);
        let node = made.0.aggregate("counts", again, vec![count(), sum(0)]);
        let mut run = made.run(node, &["N", "S"], options, 2);
        let sent = drive(&mut run, &steps);
        let mut tables = tables(&sent);
        let (left, right) = (tables.remove("l").unwrap_or_default(), tables.remove("r").unwrap_or_default());
        let mut groups: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in left.values() {
            if let Some(right) = right.get(&row[0]) {
                let group = groups.entry(right[1]).or_default();
                *group = (group.0 + 1, group.1 + row[1]);
            }
        }
        let expected: BTreeMap<i64, Vec<Option<i64>>> =
            groups.into_iter().map(|(key, (n, s))| (key, vec![Some(n), Some(s)])).collect();
        prop_assert_eq!(&view(&run, "out"), &expected, "the view");
        prop_assert_eq!(&final_rows(&run, "out"), &expected, "the topic's last record a key");
    }
}

/// A row whose first column is one of the right table's keys, or no key at all.
fn pairs(topic: &'static str, keys: i64) -> impl Strategy<Value = (&'static str, i64, Option<Vec<i64>>)> {
    let value = proptest::option::weighted(0.8, (0..4i64, 0..3i64).prop_map(|(a, b)| vec![a, b]));
    (0..keys, value).prop_map(move |(key, value)| (topic, key, value))
}

#[test]
fn a_late_record_is_counted() {
    let mut made = Made::new();
    let l = made.relation("l", RelationKind::Stream, &["V"]);
    let r = made.relation("r", RelationKind::Stream, &["V"]);
    let (l, r) = (
        made.0.source(l, TimestampFrom::Record, None),
        made.0.source(r, TimestampFrom::Record, None),
    );
    let window = JoinWindow {
        before: MINUTE,
        after: MINUTE,
        grace: Some(0),
    };
    let join = made.0.stream_stream_join(AT, (l, r), JoinKind::Inner, window, None);
    let mut run = made.run(join, &["V"], options(Emit::EveryChange, usize::MAX), 1);
    run.put("l", 1, Some(&[1]), 100 * MINUTE);
    run.put("l", 1, Some(&[2]), 5 * MINUTE);
    run.commit();
    let dropped: Vec<_> = run
        .0
        .tasks()
        .flat_map(|task| {
            task.metrics()
                .dropped()
                .map(|(_, reason, d)| (reason, d.count, d.last.map(|l| l.2)))
        })
        .collect();
    assert_eq!(dropped, [(crate::operators::DropReason::Late, 1, Some(1))]);
}
