//! Windows with random and late records, commits, aborts and crashes, compared with recomputation from scratch.
//!
//! A record's event time is its second value column, so that records come in any order of time; they are processed in the order in which they were sent.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::oracle::{Input, Step, cache, drive, emit, numbers, options, steps};
use super::*;
use crate::operators::DropReason;

const KEYS: i64 = 3;

impl Builder {
    /// A stream whose records have their time in the second value column.
    fn timed_stream(&mut self, name: &str) -> NodeId {
        let stream = self.stream(0, name, &[BIGINT, BIGINT]);
        self.source_mut(stream).timestamp = TimestampFrom::Column(1);
        stream
    }

    /// COUNT, SUM of the first column, in windows.
    fn windows(&mut self, input: NodeId, name: &str, spec: WindowSpec, emit_final: bool) -> NodeId {
        let calls = vec![count(), sum(0)];
        let state: Vec<SqlType> = calls.iter().flat_map(AggregateCall::state_types).collect();
        let sub = self.topology.nodes[input].sub;
        let plan = WindowAggregate {
            aggregate: Aggregate {
                calls,
                of_table: false,
                store: self.store(name, &state, sub),
                elements: None,
                keep_empty: false,
            },
            spec,
            time: self.store(&format!("{name}-time"), &[BIGINT, BIGINT, BIGINT], sub),
            ends: self.store(&format!("{name}-ends"), &[], sub),
            open: emit_final.then(|| self.store(&format!("{name}-open"), &state, sub)),
        };
        let rows = TablePlan::Aggregate(plan.aggregate.clone());
        let op = Op::WindowAggregate(plan);
        let id = self.after(input, name, op, RelationKind::Table, &[BIGINT, BIGINT]);
        self.windowed(id);
        self.plans[id] = Some(rows);
        id
    }

    fn windowed(&mut self, node: NodeId) {
        self.topology.nodes[node].schema.key.extend(window_columns());
    }

    fn windowed_sink(&mut self, input: NodeId, name: &str) {
        let sink = self.sink(input, name);
        self.windowed(sink);
    }
}

/// A window of a key: key, start, end.
type Window = (i64, i64, i64);
/// Count, sum.
type Totals = (i64, i64);

/// What records make of windows, one record at a time, and everything that is said about it.
#[derive(Default)]
struct Model {
    stream_time: i64,
    /// What is closed takes part in nothing any more.
    emit_final: bool,
    rows: BTreeMap<Window, (Totals, Timestamp)>,
    /// Changes in order: window and its new row.
    said: Vec<(Window, Option<Totals>, Timestamp)>,
    /// Windows as they close, by (end, key).
    closed: Vec<(Window, Totals, Timestamp)>,
    late: u64,
}

impl Model {
    fn of(sent: &[(Input, Timestamp)], spec: &WindowSpec, emit_final: bool) -> Self {
        let mut model = Self {
            stream_time: i64::MIN,
            emit_final,
            ..Self::default()
        };
        for ((_, key, value), _) in sent {
            let Some(value) = value else { continue };
            let (amount, time) = (value[0], value[1]);
            model.stream_time = model.stream_time.max(time);
            match spec.windows {
                Windows::Tumbling { size_ms } => model.time(spec, *key, amount, time, (size_ms, size_ms)),
                Windows::Hopping { size_ms, advance_ms } => {
                    model.time(spec, *key, amount, time, (size_ms, advance_ms));
                }
                Windows::Session { gap_ms } => model.session(spec, *key, amount, time, gap_ms),
            }
            model.close(spec);
        }
        model
    }

    fn add(&mut self, window: Window, amount: i64, time: i64) {
        let (totals, timestamp) = self.rows.entry(window).or_insert(((0, 0), time));
        *totals = (totals.0 + 1, totals.1 + amount);
        *timestamp = time.max(*timestamp);
        self.said.push((window, Some(*totals), *timestamp));
    }

    fn time(&mut self, spec: &WindowSpec, key: i64, amount: i64, time: i64, (size, advance): (i64, i64)) {
        let mut late = false;
        for start in (0..=time).filter(|start| start % advance == 0 && time < start + size) {
            let end = start + size;
            if end + spec.grace_ms <= self.stream_time {
                late = true;
            } else {
                self.add((key, start, end), amount, time);
            }
        }
        self.late += u64::from(late);
    }

    fn session(&mut self, spec: &WindowSpec, key: i64, amount: i64, time: i64, gap: i64) {
        let mut gone = self.stream_time - spec.joinable_ms;
        if self.emit_final {
            gone = gone.max(spec.closed_end(self.stream_time));
        }
        let near: Vec<Window> = self
            .rows
            .keys()
            .filter(|(k, start, end)| *k == key && *end >= time - gap && *start <= time + gap && *end > gone)
            .copied()
            .collect();
        let start = near.iter().map(|(_, start, _)| *start).chain([time]).min().unwrap();
        let end = near.iter().map(|(_, _, end)| *end).chain([time]).max().unwrap();
        if end + gap + spec.grace_ms < self.stream_time {
            self.late += 1;
            return;
        }
        let merged = (key, start, end);
        let mut totals = (0, 0);
        if start == end && !near.is_empty() {
            totals = self.rows[&merged].0;
        } else {
            for window in near {
                let ((n, sum), timestamp) = self.rows.remove(&window).unwrap();
                totals = (totals.0 + n, totals.1 + sum);
                self.said.push((window, None, timestamp));
            }
        }
        totals = (totals.0 + 1, totals.1 + amount);
        self.rows.insert(merged, (totals, end));
        self.said.push((merged, Some(totals), end));
    }

    fn close(&mut self, spec: &WindowSpec) {
        let closed = spec.closed_end(self.stream_time);
        let known = |window: &Window, model: &Self| model.closed.iter().any(|(known, ..)| known == window);
        let mut now: Vec<Window> = self
            .rows
            .keys()
            .filter(|w| w.2 <= closed && !known(w, self))
            .copied()
            .collect();
        now.sort_by_key(|(key, start, end)| (*end, *key, *start));
        for window in now {
            let (totals, timestamp) = self.rows[&window];
            self.closed.push((window, totals, timestamp));
        }
    }

    /// The rows that have not expired.
    fn kept(&self, spec: &WindowSpec) -> BTreeMap<Window, Totals> {
        let expired = spec.expired_end(self.stream_time);
        let kept = self.rows.iter().filter(|((_, _, end), _)| *end > expired);
        kept.map(|(window, (totals, _))| (*window, *totals)).collect()
    }
}

fn window(key: &Row) -> Window {
    let key = numbers(key);
    (key[0].unwrap(), key[1].unwrap(), key[2].unwrap())
}

fn totals(row: &Row) -> Totals {
    let row = numbers(row);
    (row[0].unwrap(), row[1].unwrap())
}

fn written(run: &Local, topic: &str) -> Vec<(Window, Option<Totals>, Timestamp)> {
    let rows = run.read_rows(topic).into_iter();
    rows.map(|(key, value, timestamp)| (window(&key), value.as_ref().map(totals), timestamp))
        .collect()
}

fn last_rows(run: &Local, topic: &str) -> BTreeMap<Window, (Totals, Timestamp)> {
    let mut rows = BTreeMap::new();
    for (window, totals, timestamp) in written(run, topic) {
        match totals {
            Some(totals) => rows.insert(window, (totals, timestamp)),
            None => rows.remove(&window),
        };
    }
    rows
}

fn view_rows(run: &Local, name: &str) -> BTreeMap<Window, Totals> {
    let rows = run.0.view(name).unwrap();
    rows.iter().map(|(key, row, _)| (window(key), totals(row))).collect()
}

fn late(run: &Local) -> u64 {
    let tasks = run.0.tasks();
    let dropped = tasks.flat_map(|task| task.metrics().dropped());
    dropped
        .filter(|(_, reason, _)| *reason == DropReason::Late)
        .map(|(.., d)| d.count)
        .sum()
}

/// Records around a time that goes on, with some far ahead and some far behind.
fn records() -> impl Strategy<Value = Input> {
    let time = prop_oneof![6 => 0..60i64, 1 => 60..120i64, 1 => 0..300i64];
    let value = proptest::option::weighted(0.9, (-3..4i64, time).prop_map(|(v, t)| vec![v, t]));
    (0..KEYS, value).prop_map(|(key, value)| ("s", key, value))
}

fn spec() -> impl Strategy<Value = WindowSpec> {
    let windows = prop_oneof![
        Just(Windows::Tumbling { size_ms: 10 }),
        Just(Windows::Hopping {
            size_ms: 10,
            advance_ms: 4
        }),
        (1..12i64).prop_map(|gap_ms| Windows::Session { gap_ms }),
    ];
    (windows, 0..40i64, 0..30i64, any::<bool>()).prop_map(|(windows, grace_ms, more, long)| {
        let length = match windows {
            Windows::Tumbling { size_ms } | Windows::Hopping { size_ms, .. } => size_ms,
            Windows::Session { gap_ms } => gap_ms,
        };
        let joinable_ms = length + grace_ms + more;
        WindowSpec {
            windows,
            grace_ms,
            retention_ms: if long { 10_000 } else { joinable_ms },
            joinable_ms,
        }
    })
}

fn crashes(steps: &[Step]) -> bool {
    steps.iter().any(|step| matches!(step, Step::Abort | Step::Crash))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    /// EMIT CHANGES: the last row a window is the recomputed one, in every change mode the whole sequence is; what has not expired is shown.
    #[test]
    fn windows_of_a_stream(steps in steps(records()), spec in spec(), emit in emit(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.timed_stream("s");
        let w = b.windows(s, "W", spec, false);
        b.windowed_sink(w, "out");
        let mut run = b.run_with(options(emit, cache), 1);
        let sent = drive(&mut run, &steps);
        let model = Model::of(&sent, &spec, false);
        prop_assert_eq!(&last_rows(&run, "out"), &model.rows, "the last row a window");
        if emit == Emit::EveryChange {
            prop_assert_eq!(&written(&run, "out"), &model.said, "the sequence");
        }
        let shown = view_rows(&run, "out");
        for (window, totals) in model.kept(&spec) {
            prop_assert_eq!(shown.get(&window), Some(&totals), "{:?} is kept", window);
        }
        for (window, totals) in shown {
            prop_assert_eq!(model.rows.get(&window).map(|(t, _)| *t), Some(totals), "{:?} is shown", window);
        }
        if !crashes(&steps) {
            prop_assert_eq!(late(&run), model.late, "late records are counted");
        }
    }

    /// EMIT FINAL: each closed window once, in the order in which they close, whatever commits and crashes.
    #[test]
    fn closed_windows_of_a_stream(steps in steps(records()), spec in spec(), emit in emit(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.timed_stream("s");
        let w = b.windows(s, "W", spec, true);
        b.windowed_sink(w, "out");
        let mut run = b.run_with(options(emit, cache), 1);
        let sent = drive(&mut run, &steps);
        let model = Model::of(&sent, &spec, true);
        let expected: Vec<_> = model.closed.iter().map(|(w, totals, t)| (*w, Some(*totals), *t)).collect();
        prop_assert_eq!(&written(&run, "out"), &expected);
        let closed: BTreeMap<Window, Totals> = model.closed.iter().map(|(w, totals, _)| (*w, *totals)).collect();
        for (window, totals) in view_rows(&run, "out") {
            prop_assert_eq!(closed.get(&window), Some(&totals), "an open window is shown");
        }
        let expired = spec.expired_end(model.stream_time);
        let kept = closed.keys().filter(|(_, _, end)| *end > expired).count();
        prop_assert!(view_rows(&run, "out").len() >= kept, "a closed window is missing before it has expired");
    }

    /// A table of windows grouped again by their start: windows that vanish (sessions that became others) are taken back.
    #[test]
    fn windows_grouped_again(steps in steps(records()), spec in spec(), emit in emit(), cache in cache()) {
        let mut b = Builder::new();
        let s = b.timed_stream("s");
        let w = b.windows(s, "W", spec, false);
        let starts = b.repartition(w, 1, "R", Expr::Key(1));
        let again = b.aggregate(starts, "A", vec![count(), sum(1)]);
        b.sink(again, "out");
        let mut run = b.run_with(options(emit, cache), 1);
        let sent = drive(&mut run, &steps);
        let mut expected: BTreeMap<i64, Totals> = BTreeMap::new();
        for ((_, start, _), ((_, sum), _)) in Model::of(&sent, &spec, false).rows {
            let group = expected.entry(start).or_default();
            *group = (group.0 + 1, group.1 + sum);
        }
        let rows = run.0.view("out").unwrap();
        let shown: BTreeMap<i64, Totals> = rows.iter().map(|(k, row, _)| (numbers(k)[0].unwrap(), totals(row))).collect();
        prop_assert_eq!(shown, expected);
    }
}

/// The row of 12 has expired when the session of 11 to 20 begins before it; it must not be in the way of the record of 19.
#[test]
fn a_session_that_began_before_an_expired_one_was_not_found() {
    let mut b = Builder::new();
    let s = b.timed_stream("s");
    let spec = WindowSpec {
        windows: Windows::Session { gap_ms: 10 },
        grace_ms: 0,
        retention_ms: 10_000,
        joinable_ms: 10,
    };
    let w = b.windows(s, "W", spec, false);
    b.windowed_sink(w, "out");
    let mut run = b.run(Emit::EveryChange);
    for (i, (key, time)) in [(1, 12), (2, 25), (1, 20), (1, 11), (1, 19)].into_iter().enumerate() {
        run.put("s", key, Some(&[1, time]), i as i64);
    }
    run.commit();
    let rows: Vec<(Window, Totals)> = last_rows(&run, "out")
        .into_iter()
        .map(|(window, (totals, _))| (window, totals))
        .collect();
    assert_eq!(
        rows,
        [((1, 11, 20), (3, 3)), ((1, 12, 12), (1, 1)), ((2, 25, 25), (1, 1))]
    );
}

#[test]
fn a_late_record_is_counted_with_its_place() {
    let mut b = Builder::new();
    let s = b.timed_stream("s");
    let spec = WindowSpec {
        windows: Windows::Tumbling { size_ms: 10 },
        grace_ms: 0,
        retention_ms: 100,
        joinable_ms: 100,
    };
    let w = b.windows(s, "W", spec, false);
    b.windowed_sink(w, "out");
    let mut run = b.run(Emit::EveryChange);
    for (i, time) in [5, 20, 6, 21, 9].into_iter().enumerate() {
        run.put("s", 1, Some(&[1, time]), i as i64);
    }
    let task = run.0.tasks().next().unwrap();
    let dropped: Vec<_> = task
        .metrics()
        .dropped()
        .map(|(node, reason, d)| (node, reason, *d))
        .collect();
    let [(node, DropReason::Late, dropped)] = dropped.as_slice() else {
        panic!("{dropped:?}");
    };
    assert_eq!((*node, dropped.count, dropped.last), (w, 2, Some((s, 0, 4))));
}
