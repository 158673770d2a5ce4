//! Nexmark: the queries of `bench/nexmark` over generated events, against SQLite's answers to the same questions (`tests/nexmark/oracle.py`, Python's
//! own sqlite3 module). Events come out of order, topics have several partitions, and there are commits and crashes in between: once in one call stack,
//! once deployed on the simulated log, with real workers, lost requests and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::EngineSettings;
use millstream::engine::golden::{LocalRecord, LocalRun, TopicCodec, sink_schemas};
use millstream::engine::task::TaskOptions;
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::partition_for_key;
use millstream::log::sim::Faults;
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::topology::{InternalNames, Relation, Topology, explain};
use millstream::types::{RelationKind, TopicPartition, Value, encode_key};
use serde_json::{Map, Value as Json, json};

// load generators use what they need of it
#[path = "../../bench/nexmark/generator.rs"]
mod generator;

use crate::simulation::world::World;
use generator::{Event, Generator, Settings, Topic};

const EVENTS: usize = 5000;
const PARTITIONS: i32 = 2;
/// Events between two commits or crashes.
const BATCH: usize = 230;
/// Events of the simulation, and how many come at once; the times of these are within the windows' grace period.
const SIMULATED: usize = 1200;
const AT_ONCE: usize = 240;
/// PARTITIONS of the queries' topics.
const DECLARED_PARTITIONS: i32 = 4;

/// Rows as text, sorted.
type Rows = Vec<String>;

/// How the plan calls internal topics does not matter here.
struct Plain;

impl InternalNames for Plain {
    fn repartition(&self, name: &str) -> String {
        name.into()
    }

    fn changelog(&self, store: &str) -> String {
        store.into()
    }
}

/// A record of a topic, where it goes, and the event as the oracle wants it.
struct Sent {
    topic: &'static str,
    spread_by: i64,
    record: LocalRecord,
    line: String,
}

fn sent(number: usize, event: Event) -> Sent {
    let mut columns: Map<String, Json> = serde_json::from_str(&event.value).expect("JSON");
    columns.insert("topic".into(), event.topic.name().into());
    columns.insert("written".into(), event.written_ms.into());
    if let Some(id) = event.key {
        columns.insert("id".into(), id.into());
    }
    Sent {
        topic: event.topic.name(),
        spread_by: event.key.map_or(number as i64, |id| id as i64),
        record: LocalRecord {
            key: event.key.map(|id| id.to_be_bytes().to_vec()),
            value: Some(event.value.into_bytes()),
            timestamp: event.written_ms as i64,
            headers: None,
        },
        line: Json::Object(columns).to_string(),
    }
}

/// A row of the table that q13 looks up; keys that 3 divides have none.
fn side_input(key: i64) -> Sent {
    let value = format!("value-{key}");
    Sent {
        topic: "side_input",
        spread_by: key,
        record: LocalRecord {
            key: Some(key.to_be_bytes().to_vec()),
            value: Some(json!({"value": &value}).to_string().into_bytes()),
            timestamp: 0,
            headers: None,
        },
        line: json!({"topic": "side_input", "written": 0, "key": key, "value": value}).to_string(),
    }
}

fn events(settings: Settings, count: usize) -> Vec<Sent> {
    let side = (0..3000).filter(|key| key % 3 != 0).map(side_input);
    let events = Generator::new(settings).take(count).enumerate();
    side.chain(events.map(|(number, event)| sent(number, event))).collect()
}

/// The queries by their names.
fn queries() -> BTreeMap<String, Topology> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/nexmark");
    let files = std::fs::read_dir(&folder)
        .expect("the queries")
        .map(|entry| entry.expect("a file").path());
    let mut queries = BTreeMap::new();
    for path in files.filter(|path| path.extension().is_some_and(|e| e == "sql")) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let file = SourceFile {
            name: format!("{name}.sql").into(),
            text: std::fs::read_to_string(&path).expect("SQL"),
        };
        let compiled = compile(&file, &CompileContext { schemas: &NoSchemas });
        let topology = compiled.unwrap_or_else(|problems| {
            let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
            panic!("{}", all.join("\n"))
        });
        queries.insert(name, topology);
    }
    queries
}

/// What the oracle says of each query; `None` where there is no Python.
fn expected(events: &[Sent]) -> Option<BTreeMap<String, Vec<Map<String, Json>>>> {
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nexmark/oracle.py");
    let started = Command::new("python3")
        .arg(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match started {
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        started => started.expect("the oracle starts"),
    };
    let mut input = child.stdin.take().expect("a pipe");
    for event in events {
        writeln!(input, "{}", event.line).expect("the oracle reads");
    }
    drop(input);
    let output = child.wait_with_output().expect("the oracle ends");
    assert!(output.status.success(), "the oracle failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let answer = |line: &str| {
        let mut answer: Json = serde_json::from_str(line).expect("an object a line");
        let rows = serde_json::from_value(answer["rows"].take()).expect("rows");
        (answer["query"].as_str().expect("a name").to_owned(), rows)
    };
    Some(text.lines().map(answer).collect())
}

fn run(topology: &Arc<Topology>, events: &[Sent], schemas: &Arc<dyn SchemaSource>) -> LocalRun {
    let sinks = sink_schemas(topology, schemas).expect("sinks");
    let mut run =
        LocalRun::new(topology.clone(), TaskOptions::default(), schemas, &sinks, PARTITIONS).expect("a topology");
    let read = run.source_topics();
    let wanted = events
        .iter()
        .filter(|event| read.iter().any(|topic| **topic == *event.topic));
    for (number, event) in wanted.enumerate() {
        let mut spread_by = Vec::new();
        encode_key(&[Value::Bigint(event.spread_by)], &mut spread_by);
        run.send(event.topic, Some(&spread_by), event.record.clone());
        if number % BATCH == 0 {
            run.process_all().expect("records");
            match number / BATCH % 3 {
                0 => run.crash(),
                _ => run.commit(),
            }
            .expect("a commit or a recovery");
        }
    }
    run.settle().expect("records");
    run
}

/// The same by real workers on the simulated log.
fn simulate(topology: Topology, events: &[Sent], schemas: &Arc<dyn SchemaSource>, seed: u64) -> World {
    let settings = EngineSettings {
        workers: 2,
        commit_interval: Duration::from_millis(50),
        ..EngineSettings::default()
    };
    let read: BTreeSet<Arc<str>> = topology
        .relations
        .iter()
        .map(|relation| relation.topic.name.clone())
        .collect();
    let mut world = World::with_schemas(seed, topology, settings, 2, schemas.clone());
    world.settle();
    let (side, events): (Vec<&Sent>, Vec<&Sent>) = (events.iter())
        .filter(|event| read.contains(event.topic))
        .partition(|event| event.topic == "side_input");
    for batch in std::iter::once(&side[..]).chain(events.chunks(AT_ONCE)) {
        for event in batch {
            let spread_by = event.spread_by.to_be_bytes();
            let tp = TopicPartition::new(event.topic, partition_for_key(&spread_by, DECLARED_PARTITIONS));
            let (key, value) = (event.record.key.as_deref(), event.record.value.as_deref());
            let appended = world.log.append(&tp, key, value, event.record.timestamp);
            appended.expect("a topic that was deployed");
        }
        world.log.set_faults(Faults {
            lost_request: 10,
            lost_answer: 10,
            crash: 5,
            slow_fetch: 100,
        });
        (0..60).for_each(|_| world.step());
        if world.rng.chance(300) {
            world.kill(0);
        }
        world.settle();
    }
    world
}

/// The rows of a record as a map of columns.
fn columns(relation: &Relation, key: &str, value: &str) -> Map<String, Json> {
    let key: Json = serde_json::from_str(key).expect("JSON");
    let mut row = match key {
        Json::Object(key) => key,
        Json::Null => Map::new(),
        bare => Map::from_iter([(relation.schema.key[0].name.to_string(), bare)]),
    };
    let value: Map<String, Json> = serde_json::from_str(value).expect("JSON");
    row.extend(value);
    row
}

/// The relation that a query is about.
fn result<'a>(name: &str, topology: &'a Topology) -> &'a Relation {
    let named = |relation: &&Relation| *relation.name == *name.to_uppercase();
    let found = topology.relations.iter().find(named);
    found.expect("a result of the query's name")
}

/// What came out of a query: all records of a stream, the last one a key of a table.
fn outcome(
    relation: &Relation,
    records: impl Iterator<Item = LocalRecord>,
    topology: &Topology,
    schemas: &Arc<dyn SchemaSource>,
) -> Vec<Map<String, Json>> {
    let mut codec = TopicCodec::new(topology, &relation.topic.name, schemas).expect("its formats");
    let mut table = BTreeMap::new();
    let mut rows = Vec::new();
    for record in records {
        let (key, value) = codec.show(&record).expect("a record of its formats");
        let row = record.value.as_ref().map(|_| columns(relation, &key, &value));
        match (relation.kind, row) {
            (RelationKind::Stream, row) => rows.extend(row),
            (RelationKind::Table, Some(row)) => {
                table.insert(key, row);
            }
            (RelationKind::Table, None) => {
                table.remove(&key);
            }
        }
    }
    rows.extend(table.into_values());
    rows
}

/// Rows of these columns as text; a number is as good as its text.
fn texts(rows: Vec<Map<String, Json>>, columns: &BTreeSet<String>) -> Rows {
    let text = |row: Map<String, Json>| {
        let strange = row
            .keys()
            .find(|name| !columns.contains(*name) && !name.starts_with("WINDOW"));
        assert_eq!(strange, None, "a column too many, of {columns:?}");
        let column = |name: &String| match row.get(name) {
            Some(Json::String(text)) => format!("{name}={text}"),
            Some(other) => format!("{name}={other}"),
            None => format!("{name} is missing"),
        };
        columns.iter().map(column).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Rows = rows.into_iter().map(text).collect();
    rows.sort();
    rows
}

/// The first rows that only one of two lists has; nothing if they are equal.
fn difference(name: &str, ours: &Rows, expected: &Rows) -> Option<String> {
    if ours == expected {
        return None;
    }
    let only = |a: &Rows, b: &Rows| {
        let b: BTreeSet<&String> = b.iter().collect();
        let first: Vec<String> = a.iter().filter(|row| !b.contains(row)).take(3).cloned().collect();
        first.join("\n    ")
    };
    Some(format!(
        "{name}: {} rows, expected {}\n  only ours:\n    {}\n  only expected:\n    {}",
        ours.len(),
        expected.len(),
        only(ours, expected),
        only(expected, ours)
    ))
}

/// The answers of SQLite; where there are none, it says so.
fn answers(events: &[Sent]) -> Option<BTreeMap<String, Vec<Map<String, Json>>>> {
    let expected = expected(events);
    if expected.is_none() {
        std::io::stderr()
            .write_all(b"skipped: there is no python3 to compute Nexmark's answers\n")
            .expect("standard error");
    }
    expected
}

fn check(settings: Settings) {
    let events = events(settings, EVENTS);
    let Some(expected) = answers(&events) else { return };
    let queries = queries();
    assert!(queries.keys().eq(expected.keys()), "the oracle has other queries");
    let mut failures = Vec::new();
    for (name, topology) in queries {
        let topology = Arc::new(topology);
        assert!(explain(&topology, &Plain).contains("sub-topology 0"), "{name}");
        let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        let run = run(&topology, &events, &schemas);
        assert_eq!(run.topic(&run.dead_letters()).count(), 0, "{name}: dead letters");
        let relation = result(&name, &topology);
        let records = run.topic(&relation.topic.name).cloned();
        let ours = outcome(relation, records, &topology, &schemas);
        let expected = expected[&name].clone();
        assert!(
            !expected.is_empty(),
            "{name} gives nothing: the events are no test of it"
        );
        let names: BTreeSet<String> = expected[0].keys().cloned().collect();
        failures.extend(difference(&name, &texts(ours, &names), &texts(expected, &names)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// 21 minutes around midnight.
#[test]
fn queries_give_what_sqlite_gives() {
    check(Settings {
        seed: 1,
        base_ms: 1_436_918_400_000 - 480_000,
        gap_us: 100_000,
    });
}

/// Into the morning, where q14 tells the times of day apart; events are nearer to each other.
#[test]
fn queries_give_what_sqlite_gives_in_the_morning() {
    check(Settings {
        seed: 20_261_121,
        base_ms: 1_436_918_400_000 + 8 * 3_600_000 - 60_000,
        gap_us: 40_000,
    });
}

/// Deployed, with crashes: nothing is lost, and nothing is there twice.
#[test]
fn queries_give_what_sqlite_gives_under_faults() {
    let settings = Settings {
        seed: 3,
        base_ms: 1_436_918_400_000,
        gap_us: 100_000,
    };
    let events = events(settings, SIMULATED);
    let Some(expected) = answers(&events) else { return };
    let mut failures = Vec::new();
    for (seed, (name, topology)) in (0..).zip(queries()) {
        let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
        let world = simulate(topology, &events, &schemas, seed);
        let letters = world.records(&world.deployment().names.dead_letters()).len();
        assert_eq!(letters, 0, "{name}: dead letters");
        let relation = result(&name, &world.topology);
        let records = world
            .records(&relation.topic.name)
            .into_iter()
            .map(|record| LocalRecord {
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: record.headers,
            });
        let ours = outcome(relation, records, &world.topology, &schemas);
        let expected = expected[&name].clone();
        let names: BTreeSet<String> = expected.first().into_iter().flat_map(Map::keys).cloned().collect();
        failures.extend(difference(&name, &texts(ours, &names), &texts(expected, &names)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn events_are_in_nexmarks_proportions_and_the_same_for_a_seed() {
    let settings = Settings {
        seed: 7,
        base_ms: 0,
        gap_us: 10_000,
    };
    let events: Vec<Event> = Generator::new(settings).take(500).collect();
    let of = |topic: Topic| events.iter().filter(|event| event.topic == topic).count();
    assert_eq!([Topic::Person, Topic::Auction, Topic::Bid].map(of), [10, 30, 460]);
    let again = Generator::new(settings);
    let same = (0..500).all(|n| again.event(n as u64).value == events[n].value);
    assert!(same, "an event depends on its number alone");
    let other = Generator::new(Settings { seed: 8, ..settings });
    assert_ne!(other.event(4).value, events[4].value);
}
