//! Random (key, value) pairs over several partitions; echo, minimum, maximum, sum and count of each key, and all of them over another column, which
//! goes through a repartition. In the mode that emits every change each input has exactly one output, in input order, equal to what is recomputed here.
//!
//! The verifier reads with `read_committed`, and holds the outputs against the inputs up to the committed offsets; it may look while instances die.

use std::collections::BTreeMap;

use millstream::log::{TopicHandle, partition_for_key};
use serde_json::{Value as Json, json};

use super::cluster::{Cluster, Read};
use super::fleet::Fleet;
use super::load::{Load, Sender, Ticks};
use super::random::Random;
use super::timeline::BROKERS_TIME;
use super::{kills, newest_protocol};
use crate::patience::until;

const BASE_MS: i64 = 1_700_000_000_000;
const KEYS: u64 = 50;
const GROUPS: u64 = 8;
const A_TICK: usize = 8;
/// Tables of one key's running aggregate: the topic's name, and what it holds.
const TABLES: [(&str, fn(&State) -> i64); 4] = [
    ("mins", |state| state.lowest),
    ("maxs", |state| state.highest),
    ("sums", |state| state.total),
    ("counts", |state| state.count),
];
/// How many differences are told.
const TOLD: usize = 10;

/// The input, its aggregates, and what is wrong with them.
pub struct Aggregates {
    partitions: i32,
    /// Echo and the repartitioned table, beside the aggregates of the key.
    all: bool,
}

impl Aggregates {
    /// Writes the SQL and creates the topics: all of it, or the aggregates by key only.
    pub fn prepare(cluster: &Cluster, partitions: i32, all: bool) -> Self {
        let input = format!(
            "CREATE STREAM pairs (k STRING KEY, v BIGINT, g STRING)
               WITH (KAFKA_TOPIC = 'pairs', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = {partitions});\n"
        );
        let aggregate = |(table, function): (&str, &str)| {
            format!(
                "CREATE TABLE {table} WITH (KAFKA_TOPIC = '{table}') AS SELECT k, {function} AS v FROM pairs GROUP BY k;\n"
            )
        };
        let tables = [
            ("mins", "MIN(v)"),
            ("maxs", "MAX(v)"),
            ("sums", "SUM(v)"),
            ("counts", "COUNT(*)"),
        ];
        let by_key: String = tables.map(aggregate).concat();
        cluster.write_sql("aggregates.sql", &format!("{input}{by_key}"));
        cluster.create_topics(&[("pairs", partitions)], &[]);
        let topics = TABLES.map(|(name, _)| (name, partitions));
        cluster.create_topics(&topics, &[BROKERS_TIME, ("cleanup.policy", "delete")]);
        if all {
            let echo = "CREATE STREAM echo WITH (KAFKA_TOPIC = 'echo') AS SELECT k, v, g FROM pairs;\n";
            cluster.write_sql("echo.sql", &format!("{input}{echo}"));
            let regrouped = "CREATE TABLE regrouped WITH (KAFKA_TOPIC = 'regrouped') AS
               SELECT g, COUNT(*) AS n, SUM(v) AS total, MIN(v) AS lowest, MAX(v) AS highest FROM pairs GROUP BY g;\n";
            cluster.write_sql("regrouped.sql", &format!("{input}{regrouped}"));
            cluster.create_topics(
                &[("echo", partitions), ("regrouped", partitions)],
                &[("cleanup.policy", "delete")],
            );
        }
        Self { partitions, all }
    }

    /// Sends pairs until it is stopped.
    pub fn load(&self, cluster: &Cluster, random: Random) -> Load<Pairs> {
        let mut sender = Sender::new(cluster);
        let topic = sender.topic(&cluster.topic("pairs"));
        Load::start(Pairs {
            sender,
            topic,
            random,
            partitions: self.partitions,
            sent: 0,
        })
    }

    fn topologies(&self) -> &'static [&'static str] {
        match self.all {
            true => &["aggregates", "echo", "regrouped"],
            false => &["aggregates"],
        }
    }

    /// Waits until everything is read and its results are there.
    pub fn wait(&self, cluster: &Cluster, mut alive: impl FnMut()) {
        for topology in self.topologies() {
            until("the input to be read", || {
                alive();
                cluster.unread(topology, "pairs").is_empty()
            });
        }
        if self.all {
            let repartition = cluster
                .topics()
                .into_iter()
                .find(|topic| topic.ends_with(".repartition"));
            let repartition = repartition.expect("the regrouped pairs go through a topic");
            until("the repartition to be read", || {
                alive();
                cluster.unread_topic("regrouped", &repartition).is_empty()
            });
        }
    }

    /// What differs between the outputs and the input. Outputs may be ahead of `committed` offsets, which were read before, never behind.
    pub fn differences(&self, cluster: &Cluster, finished: bool) -> Vec<String> {
        let committed = |topology: &str| cluster.committed(topology, "pairs");
        let (by_key, echoed) = (committed("aggregates"), self.all.then(|| committed("echo")));
        let outputs: Vec<(&str, BTreeMap<i32, Vec<Read>>)> = TABLES
            .iter()
            .map(|(name, _)| (*name, cluster.read_partitions(name)))
            .collect();
        let echo = self.all.then(|| cluster.read_partitions("echo"));
        let regrouped = self.all.then(|| cluster.read_partitions("regrouped"));
        // read last: it holds at least what the outputs were made of
        let input = cluster.read_partitions("pairs");
        let mut found = Vec::new();
        let none = Vec::new();
        for (partition, pairs) in &input {
            let places = || format!("partition {partition}");
            for ((name, outputs), (_, value)) in outputs.iter().zip(TABLES) {
                let outputs = outputs.get(partition).unwrap_or(&none);
                lengths(
                    name,
                    &places(),
                    read(pairs, by_key[partition]),
                    (outputs.len(), pairs.len()),
                    finished,
                    &mut found,
                );
                running(name, pairs, outputs, value, &mut found);
            }
            if let (Some(echo), Some(echoed)) = (&echo, &echoed) {
                let echo = echo.get(partition).unwrap_or(&none);
                lengths(
                    "echo",
                    &places(),
                    read(pairs, echoed[partition]),
                    (echo.len(), pairs.len()),
                    finished,
                    &mut found,
                );
                same(pairs, echo, &mut found);
            }
        }
        if let Some(regrouped) = regrouped {
            let groups = check_groups(&input, &regrouped, &mut found);
            let inputs: usize = input.values().map(Vec::len).sum();
            if finished && groups != inputs {
                found.push(format!("regrouped: {groups} outputs of {inputs} inputs"));
            }
        }
        found.truncate(TOLD);
        found
    }

    /// How many pairs there are.
    pub fn inputs(&self, cluster: &Cluster) -> usize {
        cluster.read(&cluster.topic("pairs")).len()
    }
}

/// What sends pairs: skewed keys, and values that are never the same twice.
pub struct Pairs {
    sender: Sender,
    topic: TopicHandle,
    random: Random,
    partitions: i32,
    sent: i64,
}

impl Ticks for Pairs {
    fn tick(&mut self, _: i64) {
        for _ in 0..A_TICK {
            self.sent += 1;
            let key = format!("k{}", self.random.skewed(KEYS));
            // the low half is a count, so that a value says which input it is
            let size = (self.random.below(1 << 23) as i64) << 24 | self.sent;
            let value = if self.random.chance(50) { size } else { -size };
            let group = format!("g{}", self.random.below(GROUPS));
            let body = json!({ "V": value, "G": group }).to_string();
            let partition = partition_for_key(key.as_bytes(), self.partitions);
            let time = BASE_MS + self.sent;
            self.sender
                .send(self.topic, partition, time, Some(key.as_bytes()), Some(body.as_bytes()));
        }
        self.sender.flush();
    }
}

/// The aggregates of a key so far.
struct State {
    count: i64,
    total: i64,
    lowest: i64,
    highest: i64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            count: 0,
            total: 0,
            lowest: i64::MAX,
            highest: i64::MIN,
        }
    }
}

impl State {
    fn add(&mut self, value: i64) {
        self.count += 1;
        self.total += value;
        self.lowest = self.lowest.min(value);
        self.highest = self.highest.max(value);
    }
}

fn number(row: &Json, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("no {column} in {row}"))
}

/// How many inputs are in front of a committed offset, which counts the ends of transactions, too.
fn read(inputs: &[Read], committed: i64) -> usize {
    inputs.partition_point(|input| input.offset < committed)
}

/// An input up to the committed offset has its output; at the end each has one.
fn lengths(
    name: &str,
    place: &str,
    committed: usize,
    (outputs, inputs): (usize, usize),
    finished: bool,
    found: &mut Vec<String>,
) {
    let fits = match finished {
        true => outputs == inputs && committed == inputs,
        false => committed <= outputs && outputs <= inputs,
    };
    if !fits {
        found.push(format!(
            "{name} {place}: {outputs} outputs of {inputs} inputs, {committed} committed"
        ));
    }
}

/// Output by output the running aggregate of the input at the same place.
fn running(name: &str, pairs: &[Read], outputs: &[Read], value: fn(&State) -> i64, found: &mut Vec<String>) {
    let mut states: BTreeMap<&[u8], State> = BTreeMap::new();
    for (pair, output) in pairs.iter().zip(outputs) {
        let key = pair.key.as_deref().expect("a key");
        let state = states.entry(key).or_default();
        state.add(number(&pair.json(), "V"));
        let row = output.json();
        if output.key.as_deref() != Some(key) || row["V"].as_i64() != Some(value(state)) {
            let (at, partition, expected) = (pair.offset, pair.partition, value(state));
            found.push(format!(
                "{name} {partition}@{at}: expected {} {expected}, found {} {row}",
                pair.text_key(),
                output.text_key()
            ));
            return;
        }
    }
}

/// Echo is the input, record for record.
fn same(pairs: &[Read], echo: &[Read], found: &mut Vec<String>) {
    let differs = |(pair, echo): &(&Read, &Read)| {
        pair.key != echo.key || pair.timestamp != echo.timestamp || pair.json() != echo.json()
    };
    if let Some((pair, echo)) = pairs.iter().zip(echo).find(differs) {
        found.push(format!(
            "echo {}@{}: expected {} {}, found {} {}",
            pair.partition,
            pair.offset,
            pair.text_key(),
            pair.json(),
            echo.text_key(),
            echo.json()
        ));
    }
}

/// Each output adds one input of its group, those of a partition in their order; how many outputs there are.
fn check_groups(
    input: &BTreeMap<i32, Vec<Read>>,
    regrouped: &BTreeMap<i32, Vec<Read>>,
    found: &mut Vec<String>,
) -> usize {
    // value -> group, partition, offset
    let mut pairs: BTreeMap<i64, (String, i32, i64)> = BTreeMap::new();
    for pair in input.values().flatten() {
        let row = pair.json();
        let group = row["G"].as_str().expect("a group").to_owned();
        let twice = pairs.insert(number(&row, "V"), (group, pair.partition, pair.offset));
        assert!(twice.is_none(), "the load has sent a value twice");
    }
    let mut states: BTreeMap<String, (State, BTreeMap<i32, i64>)> = BTreeMap::new();
    let mut outputs = 0;
    for output in regrouped.values().flatten() {
        outputs += 1;
        let (group, row) = (output.text_key(), output.json());
        let (state, seen) = states.entry(group.clone()).or_default();
        let added = number(&row, "TOTAL") - state.total;
        state.add(added);
        let fits = number(&row, "N") == state.count
            && number(&row, "LOWEST") == state.lowest
            && number(&row, "HIGHEST") == state.highest
            && pairs.get(&added).is_some_and(|(of, partition, offset)| {
                let last = seen.insert(*partition, *offset);
                *of == group && last.is_none_or(|last| last < *offset)
            });
        if !fits {
            found.push(format!(
                "regrouped {}@{}: {group} {row}",
                output.partition, output.offset
            ));
            return outputs;
        }
    }
    outputs
}

#[test]
fn every_input_has_its_one_output_whoever_dies() {
    let kills = kills(20, 2);
    let cluster = Cluster::new("aggregates");
    let aggregates = Aggregates::prepare(&cluster, 4, true);
    let protocol = std::env::var("GROUP_PROTOCOL").unwrap_or_else(|_| newest_protocol().to_owned());
    let instances = if super::on_kafka() { 3 } else { 2 };
    let arguments = ["--emit", "every-change", "--group-protocol", &protocol];
    let mut fleet = Fleet::new(&cluster, "aggregates", instances, &arguments).and_brokers();
    let load = aggregates.load(&cluster, fleet.random().fork());

    // a look while they die, and one at the end
    fleet.suffer(kills / 2);
    cluster.wait_for("aggregates", "pairs", 1);
    let differences = aggregates.differences(&cluster, false);
    assert!(differences.is_empty(), "while they die: {differences:#?}");
    fleet.suffer(kills - kills / 2);
    fleet.all_up();
    load.stop();
    aggregates.wait(&cluster, || fleet.must_live());
    fleet.all_down();
    let differences = aggregates.differences(&cluster, true);
    assert!(differences.is_empty(), "{differences:#?}");
    cluster.must_end_transactions();
    println!(
        "aggregates ({protocol}): {} inputs, each with its output in every table; {:?}",
        aggregates.inputs(&cluster),
        fleet.toll()
    );
    cluster.clean_up();
}
