//! What a record costs in a task, in instructions: `make bench-cost` runs it under callgrind, which counts only what happens in [`processing`] and
//! [`committing`].
//!
//! The ratings job of `bench/topologies/bench.sql` over a store in memory, without Kafka: decoding, aggregates, joins, encoding, changelog records.

#[path = "shared/avro.rs"]
mod avro;

use std::hint::black_box;
use std::sync::Arc;

use millstream::engine::golden::sink_schemas;
use millstream::engine::task::{InputRecord, Task, TaskOptions, TaskPlan};
use millstream::formats::{MemoryRegistry, SchemaSource, SchemaText, columns_of};
use millstream::log::HeadersRef;
use millstream::sql::{CompileContext, SchemaLookup, SourceFile, compile};
use millstream::state::StorePosition;
use millstream::state::memory::MemoryStore;
use millstream::topology::{NodeId, Topology};
use millstream::types::{Column, SerdeSpec};

use avro::{string, zigzag};

const MOVIE: &str = r#"{"type":"record","name":"Movie","fields":[{"name":"movie_id","type":"long"},{"name":"title","type":"string"},
    {"name":"release_year","type":"long"},{"name":"country","type":"string"}]}"#;
const RATING: &str = r#"{"type":"record","name":"Rating","fields":[{"name":"movie_id","type":"long"},{"name":"rating","type":"double"},
    {"name":"user_id","type":"long"}]}"#;
const RECORDS: u64 = 100_000;
const COMMITS: usize = 4;

fn main() {
    let shape = std::env::args().nth(1).unwrap_or_default();
    // hot: each key many times a commit; cold: each key about once
    let movies: i64 = match shape.as_str() {
        "hot" => 1_000,
        "cold" => 1_000_000,
        _ => {
            eprintln!("cost hot|cold");
            std::process::exit(2);
        }
    };
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let register = |subject: &str, text: &str| {
        let registered = schemas.register(subject, &SchemaText::avro(text.to_owned()));
        registered.expect("a schema").id
    };
    let (movie, rating) = (register("movies-value", MOVIE), register("ratings-value", RATING));
    let (mut task, topology) = task(&schemas);
    let (of_movies, of_ratings) = (source(&topology, "MOVIES"), source(&topology, "RATINGS"));
    let known = movies.min(RECORDS as i64);
    let batch: Vec<Input> = (0..known).map(|id| Input::movie(id, movie)).collect();
    feed(&mut task, of_movies, &batch);
    commit(&mut task);
    let before = task.metrics().changelog_out;
    let mut seed = 42;
    let batch: Vec<Input> = (0..RECORDS)
        .map(|i| Input::rating((random(&mut seed) % known as u64) as i64, i, rating))
        .collect();
    for _ in 0..COMMITS {
        processing(&mut task, of_ratings, &batch);
        committing(&mut task);
    }
    println!(
        "{{\"records\":{},\"keys\":{}}}",
        RECORDS * COMMITS as u64,
        task.metrics().changelog_out - before
    );
}

/// Records into the task.
#[inline(never)]
fn processing(task: &mut Task, source: NodeId, batch: &[Input]) {
    feed(task, source, batch);
}

/// What was held back forward, and encoded.
#[inline(never)]
fn committing(task: &mut Task) {
    commit(task);
}

fn feed(task: &mut Task, source: NodeId, batch: &[Input]) {
    for (offset, input) in batch.iter().enumerate() {
        let record = InputRecord {
            topic: "bench",
            partition: 0,
            offset: offset as i64,
            timestamp: input.timestamp,
            key: Some(&input.key),
            value: Some(&input.value),
            headers: HeadersRef::None,
        };
        task.process(source, &record, 0).expect("a good record");
    }
}

fn commit(task: &mut Task) {
    task.prepare_commit(0).expect("a commit");
    black_box(task.frozen().map(|outbox| outbox.len()));
    task.committed(&StorePosition::default()).expect("a store in memory");
}

fn task(schemas: &Arc<dyn SchemaSource>) -> (Task, Arc<Topology>) {
    let file = SourceFile {
        name: "bench.sql".into(),
        text: include_str!("../bench/topologies/bench.sql").replace("SUFFIX", ""),
    };
    let compiled = compile(
        &file,
        &CompileContext {
            schemas: &Lookup(schemas),
        },
    );
    let topology = Arc::new(compiled.unwrap_or_else(|problems| panic!("{problems:?}")));
    let sinks = sink_schemas(&topology, schemas).expect("schemas of the sinks");
    let plan = TaskPlan::new(topology.clone(), 0, TaskOptions::default(), schemas.clone(), sinks).expect("a plan");
    let task = Task::new(plan, 0, Box::new(MemoryStore::detached())).expect("a task");
    (task, topology)
}

/// The registry as the compiler sees it.
struct Lookup<'a>(&'a Arc<dyn SchemaSource>);

impl SchemaLookup for Lookup<'_> {
    fn columns(&self, subject: &str, spec: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        let schema = self.0.latest(subject).map_err(|e| e.to_string())?;
        let columns = schema.map(|schema| columns_of(&schema, spec, subject.ends_with("-key")));
        columns.transpose().map_err(|e| e.to_string())
    }
}

fn source(topology: &Topology, relation: &str) -> NodeId {
    let name = format!("{relation}/source");
    let node = topology.nodes.iter().find(|node| *node.name == *name);
    node.expect("a source").id
}

/// A record as a producer writes it: the key in format KAFKA, the value in the registry's Avro.
struct Input {
    key: [u8; 8],
    value: Vec<u8>,
    timestamp: i64,
}

impl Input {
    fn new(id: i64, schema: u32, timestamp: i64) -> Self {
        let mut value = vec![0];
        value.extend(schema.to_be_bytes());
        zigzag(id, &mut value);
        Self {
            key: id.to_be_bytes(),
            value,
            timestamp,
        }
    }

    fn movie(id: i64, schema: u32) -> Self {
        let mut movie = Self::new(id, schema, 1_000);
        string(&format!("Movie number {id}"), &mut movie.value);
        zigzag(1950 + id % 75, &mut movie.value);
        string("US", &mut movie.value);
        movie
    }

    fn rating(id: i64, number: u64, schema: u32) -> Self {
        let mut rating = Self::new(id, schema, 1_000_000 + number as i64 / 10);
        rating.value.extend(((number % 11) as f64).to_le_bytes());
        zigzag((number * 7919 % 1_000_000) as i64, &mut rating.value);
        rating
    }
}

/// xorshift64
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
