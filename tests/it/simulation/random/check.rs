//! What must hold when a scenario is over: outputs are the oracle's, one result an input where that is the contract, every bad record has its dead
//! letter, every store is its changelog, every transaction has ended.

use std::collections::{BTreeMap, BTreeSet};

use millstream::engine::golden::{LocalRecord, TopicCodec};
use millstream::log::sim::SimRecord;
use serde_json::{Value as Json, json};

use super::model::{Rec, Relation, aggregate, evaluate};
use super::plan::{Agg, Col, Op, Query};
use super::run::{Run, row};
use super::scenario::{CLOSING_TS, Event, Payload, Scenario, What};
use crate::simulation::check_stores;

/// A record as text: key and value; a value of `None` deletes.
type Shown = (String, Option<String>);

pub fn all(run: &Run<'_>) {
    let scenario = run.scenario;
    // windows are still open where no record came behind them
    let closes = scenario.events.iter().any(Event::is_closing);
    let closed_before = if closes { CLOSING_TS - 24 * 3_600_000 } else { i64::MIN };
    let relations = evaluate(&scenario.plan, scenario.inputs(), closed_before);
    for query in &scenario.plan.queries {
        let records = run.world.records(&query.name);
        let shown = show(run, &query.name, &records);
        compare(run, query, &relations[&query.name], &shown);
        if let Op::Group { from, by: Col::K, a, b } = &query.op
            && scenario.plan.input(from).is_some_and(|input| !input.is_table)
        {
            check_steps(run, (&query.name, from), (*a, *b), &shown);
        }
        if let Op::Map { from, .. } = &query.op
            && scenario.plan.input(from).is_some_and(|input| !input.is_table)
        {
            check_order(run, query, &relations[&query.name], &shown);
        }
    }
    check_letters(run);
    check_stores(&run.world);
    assert_eq!(
        run.world.log.open_transactions(),
        Vec::<String>::new(),
        "open transactions"
    );
}

fn codec(run: &Run<'_>, topic: &str) -> TopicCodec {
    TopicCodec::new(&run.world.topology, topic, &run.schemas).unwrap()
}

fn show(run: &Run<'_>, topic: &str, records: &[SimRecord]) -> Vec<Shown> {
    let mut codec = codec(run, topic);
    let shown = records.iter().map(|record| {
        let local = LocalRecord {
            key: record.key.clone(),
            value: record.value.clone(),
            timestamp: record.timestamp,
            headers: None,
        };
        let (key, value) = codec.show(&local).unwrap();
        (key, record.value.is_some().then_some(value))
    });
    shown.collect()
}

fn compare(run: &Run<'_>, query: &Query, expected: &Relation, shown: &[Shown]) {
    let mut codec = codec(run, &query.name);
    let mut normal = |key: Json, (a, b): (Option<i64>, Option<i64>)| codec.normal(&key, &row(a, b)).unwrap();
    let name = &query.name;
    match expected {
        Relation::Stream(records) => {
            let expected = records.iter().map(|rec| normal(json!(rec.k), (rec.a, rec.b)));
            let mut expected: Vec<Shown> = expected.map(|(key, value)| (key, Some(value))).collect();
            let mut shown = shown.to_vec();
            expected.sort();
            shown.sort();
            assert_eq!(shown, expected, "records of stream {name}");
        }
        Relation::Table(rows) => {
            let expected: BTreeMap<_, _> = rows.iter().map(|(key, values)| normal(json!(key), *values)).collect();
            assert_eq!(table(shown), expected, "rows of table {name}");
        }
        Relation::Windows(windows) => {
            let key = |(key, start, end): (i64, i64, i64)| json!({"K": key, "WINDOWSTART": start, "WINDOWEND": end});
            let rows = windows.iter().map(|(bounds, values)| normal(key(*bounds), *values));
            let expected: BTreeMap<_, _> = rows.collect();
            assert_eq!(table(shown), expected, "windows of {name}");
            if matches!(query.op, Op::Window { last: true, .. }) {
                assert_eq!(shown.len(), expected.len(), "each window of {name} is given out once");
            }
        }
    }
}

fn table(shown: &[Shown]) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (key, value) in shown {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    table
}

fn by_key(shown: &[Shown]) -> BTreeMap<&str, Vec<Option<&str>>> {
    let mut keys: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
    for (key, value) in shown {
        keys.entry(key).or_default().push(value.as_deref());
    }
    keys
}

/// Records of a stream by key, in order.
fn given(scenario: &Scenario, from: &str) -> BTreeMap<i64, Vec<Rec>> {
    let mut keys: BTreeMap<i64, Vec<Rec>> = BTreeMap::new();
    for event in &scenario.events {
        if let What::Record { to, key, value, ts } = &event.what
            && let (Some(key), Payload::Row(a, b)) = (key, value)
            && to == from
        {
            keys.entry(*key).or_default().push(Rec {
                k: Some(*key),
                a: *a,
                b: *b,
                ts: *ts,
            });
        }
    }
    keys
}

/// An aggregate that stays in its partition: where every change is given out, each input has one result, in order; else results are those of longer and
/// longer prefixes.
fn check_steps(run: &Run<'_>, (name, from): (&str, &str), (a, b): (Agg, Agg), shown: &[Shown]) {
    let mut codec = codec(run, name);
    let keys = by_key(shown);
    for (key, records) in given(run.scenario, from) {
        let step = |n: usize| {
            let prefix = &records[..n];
            row(aggregate(a, prefix.iter()), aggregate(b, prefix.iter()))
        };
        let steps: Vec<_> = (1..=records.len())
            .map(|n| codec.normal(&json!(key), &step(n)).unwrap())
            .collect();
        let results = keys.get(steps[0].0.as_str()).cloned().unwrap_or_default();
        if run.scenario.every_change {
            let expected: Vec<_> = steps.iter().map(|(_, value)| Some(value.as_str())).collect();
            assert_eq!(results, expected, "one result an input: key {key} of {name}");
            continue;
        }
        let mut rest = steps.iter();
        for result in results {
            let found = rest.any(|(_, value)| Some(value.as_str()) == result);
            assert!(
                found,
                "key {key} of {name} has {result:?}, which is of no longer prefix"
            );
        }
    }
}

/// A stream that stays in its partition keeps the order of a key.
fn check_order(run: &Run<'_>, query: &Query, expected: &Relation, shown: &[Shown]) {
    let Relation::Stream(records) = expected else { return };
    let mut codec = codec(run, &query.name);
    let records = records.iter().filter(|rec| rec.k.is_some());
    let expected: Vec<Shown> = records
        .map(|rec| codec.normal(&json!(rec.k), &row(rec.a, rec.b)).unwrap())
        .map(|(key, value)| (key, Some(value)))
        .collect();
    let shown: Vec<Shown> = shown.iter().filter(|(key, _)| key != "null").cloned().collect();
    assert_eq!(by_key(&shown), by_key(&expected), "order of stream {}", query.name);
}

/// Every bad record has its dead letters: one from each source that reads it, however often it was tried.
fn check_letters(run: &Run<'_>) {
    let letters = run.world.records(&run.world.deployment().names.dead_letters());
    let header = |letter: &SimRecord, wanted: &str| {
        let headers = letter.headers.iter().flat_map(|headers| headers.iter());
        let value = headers
            .filter(|(name, _)| &**name == wanted)
            .find_map(|(_, value)| value.clone());
        String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
    };
    let mut counts: BTreeMap<(String, String), BTreeMap<String, usize>> = BTreeMap::new();
    for letter in &letters {
        let topic = header(letter, "millstream.topic");
        let place = (topic, header(letter, "millstream.partition"));
        let offsets = counts.entry(place).or_default();
        *offsets.entry(header(letter, "millstream.offset")).or_default() += 1;
    }
    let mut expected: BTreeMap<(String, String), usize> = BTreeMap::new();
    for tp in &run.bad {
        let readers = sources(run, &tp.topic);
        if readers > 0 {
            *expected
                .entry((tp.topic.to_string(), tp.partition.to_string()))
                .or_default() += 1;
        }
    }
    let found: BTreeMap<_, _> = counts
        .iter()
        .map(|(place, offsets)| (place.clone(), offsets.len()))
        .collect();
    assert_eq!(found, expected, "records with dead letters");
    for ((topic, _), offsets) in &counts {
        let times: BTreeSet<usize> = offsets.values().copied().collect();
        assert_eq!(
            times.len(),
            1,
            "a dead letter of {topic} was written twice: {offsets:?}"
        );
    }
}

fn sources(run: &Run<'_>, topic: &str) -> usize {
    let inputs = run.world.deployment().subs.iter().flat_map(|sub| &sub.inputs);
    let here = inputs.filter(|input| &*input.topic == topic);
    here.map(|input| input.sources.len()).sum()
}
