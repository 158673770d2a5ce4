//! Foreign-key joins whose right rows have many subscribers, where results cannot be sent: the telling goes on, and ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream::engine::EngineSettings;
use millstream::engine::golden::Case;
use millstream::formats::{MemoryRegistry, SchemaSource};
use millstream::log::Log;
use millstream::log::partition_for_key;
use millstream::types::TopicPartition;
use serde_json::{Value, json};

use super::failures::letters;
use super::world::World;

const SUBSCRIBERS: i64 = 20;

/// Words, said aloud in a topic that takes no long ones; rows of `l`, each with its row of `r`.
const NAMED: &str = "sql
  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
  CREATE STREAM loud WITH (KAFKA_TOPIC = 'loud') AS SELECT id, UCASE(word) AS word FROM words;
  CREATE TABLE l (id BIGINT PRIMARY KEY, fk BIGINT) WITH (KAFKA_TOPIC = 'l', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
  CREATE TABLE r (id BIGINT PRIMARY KEY, name STRING) WITH (KAFKA_TOPIC = 'r', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
  CREATE TABLE named WITH (KAFKA_TOPIC = 'named') AS SELECT l.id AS id, r.name AS name FROM l JOIN r ON l.fk = r.id;
end
";

/// Rows of `l`, each with the longest word of its kind, which an aggregate over a table finds.
const LONGEST: &str = "sql
  CREATE TABLE words (id BIGINT PRIMARY KEY, kind BIGINT, word STRING) WITH (KAFKA_TOPIC = 'words', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
  CREATE TABLE longest WITH (KAFKA_TOPIC = 'longest') AS SELECT kind, MAX(word) AS word FROM words GROUP BY kind;
  CREATE TABLE l (id BIGINT PRIMARY KEY, fk BIGINT) WITH (KAFKA_TOPIC = 'l', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
  CREATE TABLE named WITH (KAFKA_TOPIC = 'named', VALUE_FORMAT = 'JSON') AS
    SELECT l.id AS id, longest.word AS name FROM l JOIN longest ON l.fk = longest.kind;
end
";

/// The topology on a log where one topic takes only short records, before it starts.
fn fresh(seed: u64, sql: &str, short: &str) -> World {
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let topology = crate::golden::compile_case("fans", &Case::parse(sql).unwrap(), &schemas).unwrap();
    let settings = EngineSettings {
        commit_interval: Duration::from_millis(100),
        fan_out: 2,
        ..EngineSettings::default()
    };
    let world = World::with_schemas(seed, topology, settings, 1, schemas);
    let limit = [("max.message.bytes", "4000")];
    world.log.create_topic(short, 1, &limit).unwrap();
    world
}

/// As [`fresh`], where many rows of `l` ask for row 1.
fn world(seed: u64, sql: &str, short: &str) -> World {
    let mut world = fresh(seed, sql, short);
    world.settle();
    (0..SUBSCRIBERS).for_each(|id| put(&world, "l", id, &json!({"FK": 1})));
    world.settle();
    world
}

fn put(world: &World, topic: &str, key: i64, value: &Value) {
    let key = key.to_be_bytes();
    let tp = TopicPartition::new(topic, partition_for_key(&key, 1));
    let value = value.to_string();
    world
        .log
        .append(&tp, Some(&key), Some(value.as_bytes()), world.log.now())
        .unwrap();
}

fn long() -> String {
    "long ".repeat(2000)
}

/// How many rows of the join have each name.
fn names(world: &World) -> BTreeMap<String, usize> {
    let rows: BTreeMap<_, _> = (world.records("named").into_iter())
        .map(|record| (record.key, record.value))
        .collect();
    let mut names = BTreeMap::new();
    for value in rows.into_values().flatten() {
        let row: Value = serde_json::from_slice(&value).unwrap();
        *names.entry(row["NAME"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    names
}

fn all(name: &str) -> BTreeMap<String, usize> {
    BTreeMap::from([(name.to_owned(), SUBSCRIBERS as usize)])
}

/// A record whose results cannot be sent is looked for; the subscribers of another record of that transaction are still told, though no record comes any more.
#[test]
fn a_record_put_aside_does_not_hold_up_the_telling_of_subscribers() {
    let mut world = world(1, NAMED, "loud");
    put(&world, "r", 1, &json!({"NAME": "old"}));
    world.settle();
    assert_eq!(names(&world), all("old"));
    (0..5).for_each(|id| put(&world, "words", id, &json!({"WORD": "short"})));
    put(&world, "words", 7, &json!({"WORD": long()}));
    put(&world, "r", 1, &json!({"NAME": "new"}));
    world.settle();
    assert_eq!(names(&world), all("new"));
    let found = letters(&world);
    assert_eq!((found.len(), found[0].1.as_str()), (1, "words@5"), "{found:?}");
}

/// They move no input: without offsets the coordinator would let an owner commit that the group has replaced.
#[test]
fn pieces_of_the_telling_are_refused_of_who_has_lost_the_task() {
    let mut world = fresh(4, NAMED, "loud");
    // so that pieces are committed by themselves
    world.settings.commit_interval = Duration::from_millis(1);
    world.settle();
    (0..SUBSCRIBERS).for_each(|id| put(&world, "l", id, &json!({"FK": 1})));
    world.settle();
    put(&world, "r", 1, &json!({"NAME": "told"}));
    world.settle();
    assert_eq!(names(&world), all("told"));
    world.check_fences();
}

/// One record a transaction is slow: it ends behind the records of the transaction that failed, however far offsets are apart.
#[test]
fn records_come_together_again_once_the_one_that_cannot_be_sent_is_put_aside() {
    let mut world = fresh(2, NAMED, "loud");
    world.log.create_topic("words", 1, &[]).unwrap();
    (0..500).for_each(|id| put(&world, "words", id, &json!({"WORD": "gone"})));
    let gone = (TopicPartition::new("words", 0), 500);
    world.log.process().admin().delete_records(&[gone]).unwrap();
    put(&world, "words", 7, &json!({"WORD": long()}));
    world.settle();
    assert_eq!(letters(&world).len(), 1);
    let commits = |world: &World| world.published().next().unwrap().metrics.commit_time.count();
    let before = commits(&world);
    (0..100).for_each(|id| put(&world, "words", id, &json!({"WORD": "short"})));
    world.settle();
    let after = commits(&world) - before;
    assert!(after < 20, "{after} commits for 100 records");
}

/// Answers that are too large for their topic are found only when the subscribers of a row are told; the row itself has been taken.
#[test]
fn answers_too_large_for_their_topic_end_in_letters_and_the_telling_goes_on() {
    let answers = "millstream.fans.NAMED-join-answers.repartition";
    let mut world = world(3, LONGEST, answers);
    assert!(
        world.records(answers).len() >= SUBSCRIBERS as usize,
        "the topic of the answers"
    );
    put(&world, "words", 1, &json!({"KIND": 1, "WORD": "a"}));
    world.settle();
    assert_eq!(names(&world), all("a"));
    put(&world, "words", 1, &json!({"KIND": 1, "WORD": long()}));
    world.settle();
    assert_eq!(names(&world), all("a"), "the rows before");
    let found = letters(&world);
    assert_eq!(found.len(), SUBSCRIBERS as usize, "{found:?}");
    assert!(
        found
            .iter()
            .all(|(reason, place)| reason.starts_with("too-large") && place.ends_with("@-1")),
        "{found:?}"
    );
    // the next record has no letter of theirs, and all is told
    put(&world, "words", 1, &json!({"KIND": 1, "WORD": "b"}));
    world.settle();
    assert_eq!(names(&world), all("b"));
    assert_eq!(letters(&world).len(), SUBSCRIBERS as usize);
    super::check_stores(&world);
}
