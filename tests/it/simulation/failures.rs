//! What goes wrong outside: offsets and records that are lost, disks, records that are too large, a registry that is away. The topology goes on by
//! itself, or stops and says what to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use millstream::engine::golden::{Case, TopicCodec};
use millstream::engine::{EngineSettings, TopologyStatus};
use millstream::formats::{Compatibility, MemoryRegistry, RegisteredSchema, RegistryError, SchemaSource, SchemaText};
use millstream::log::Log;
use millstream::log::partition_for_key;
use millstream::log::sim::Faults;
use millstream::types::{TopicPartition, Value, encode_row};
use serde_json::json;

use super::plan::{self, MOVIES, RATED, RATINGS};
use super::table;
use super::world::World;

pub(super) const GROUP: &str = "millstream.movies";

fn append(world: &World, topic: &str, key: i64, row: &[Value]) {
    let key = key.to_be_bytes();
    let mut bytes = Vec::new();
    encode_row(row, &mut bytes);
    let tp = TopicPartition::new(topic, partition_for_key(&key, 1));
    world
        .log
        .append(&tp, Some(&key), Some(&bytes), world.log.now())
        .unwrap();
}

pub(super) fn rate(world: &World, movie: i64, rating: f64) {
    append(world, RATINGS, movie, &[movie.into(), rating.into()]);
}

pub(super) fn movie(world: &World, movie: i64, title: &str) {
    append(world, MOVIES, movie, &[title.into(), 1_i64.into()]);
}

/// Commits soon.
pub(super) fn quick() -> EngineSettings {
    EngineSettings {
        commit_interval: Duration::from_millis(20),
        ..EngineSettings::default()
    }
}

/// A topology that has processed two ratings of movie 1.
pub(super) fn settled(seed: u64) -> World {
    settled_as(seed, quick())
}

fn settled_as(seed: u64, settings: EngineSettings) -> World {
    let mut world = World::new(seed, plan::topology(), settings, 1);
    world.log.create_topic(RATINGS, 1, &[]).unwrap();
    world.log.create_topic(MOVIES, 1, &[]).unwrap();
    movie(&world, 1, "one");
    rate(&world, 1, 3.0);
    rate(&world, 1, 4.0);
    world.settle();
    world
}

pub(super) fn rated(world: &World) -> BTreeMap<i64, (i64, f64, String)> {
    let rows = table(&world.records(RATED)).into_iter();
    rows.map(|(key, row)| match (&row[0], &row[1], &row[3]) {
        (Value::Bigint(n), Value::Double(total), Value::String(title)) => (key, (*n, *total, title.to_string())),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn a_group_that_lost_its_offsets_does_not_start_over() {
    let mut world = settled(1);
    world.stop_all();
    world.log.advance(60_000);
    world.log.process().admin().delete_group(GROUP).unwrap();
    world.start_all(0);
    let reason = world.until_failure();
    assert!(
        reason.contains("has lost its offset") || reason.contains("there is state built from it"),
        "{reason}"
    );
    assert!(
        reason.contains("kafka-consumer-groups") && reason.contains("millstream replay movies"),
        "{reason}"
    );
}

#[test]
fn state_from_a_changelog_alone_counts_as_state_too() {
    let mut world = settled(2);
    world.stop_all();
    world.log.advance(60_000);
    world.log.process().admin().delete_group(GROUP).unwrap();
    world.lose_disk(0);
    world.start_all(0);
    let reason = world.until_failure();
    assert!(reason.contains("there is state built from it"), "{reason}");
}

#[test]
fn records_deleted_before_they_were_read_stop_the_topology_with_the_range() {
    let mut world = settled(3);
    world.stop_all();
    rate(&world, 1, 5.0);
    rate(&world, 1, 5.0);
    let tp = TopicPartition::new(RATINGS, 0);
    world.log.process().admin().delete_records(&[(tp, 3)]).unwrap();
    world.start_all(60_000);
    let reason = world.until_failure();
    assert!(
        reason.contains("ratings-0 is offset 2, but the topic holds only offsets 3 to 4"),
        "{reason}"
    );
}

#[test]
fn a_lost_disk_is_restored_and_an_old_one_is_rebuilt() {
    let mut world = settled(4);
    world.stop_all();
    world.lose_disk(0);
    rate(&world, 1, 5.0);
    world.start_all(60_000);
    world.settle();
    assert_eq!(rated(&world)[&1], (3, 12.0, "one".into()));
    super::check_stores(&world);
    // Another instance works while this one is away for eight days; then its store may have missed deletes.
    world.stop_all();
    world.start_all(8 * 24 * 3_600_000);
    rate(&world, 1, 5.0);
    world.settle();
    assert_eq!(rated(&world)[&1], (4, 17.0, "one".into()));
    super::check_stores(&world);
}

#[test]
fn a_damaged_store_is_built_anew() {
    let mut world = settled(9);
    world.stop_all();
    world.damage(0, "movies/g0/1_0");
    rate(&world, 1, 5.0);
    world.start_all(60_000);
    world.settle();
    assert_eq!(rated(&world)[&1], (3, 12.0, "one".into()));
    super::check_stores(&world);
}

/// Commits of a topology with nothing to do: in two seconds, and in the day after them.
fn idle_commits(idle_commit_interval: Duration) -> (u64, u64) {
    let mut world = settled_as(
        5,
        EngineSettings {
            idle_commit_interval,
            ..quick()
        },
    );
    let commits = |world: &World| {
        let published = world.published().next().unwrap().clone();
        published.metrics.commit_time.count()
    };
    let before = commits(&world);
    for _ in 0..100 {
        world.step();
        world.log.advance(20);
    }
    let soon = commits(&world);
    for _ in 0..25 {
        world.log.advance(3_600_000);
        // The members are gone by then; they come back and go on.
        for _ in 0..200 {
            world.step();
            world.log.advance(20);
        }
    }
    (soon - before, commits(&world) - soon)
}

#[test]
fn idle_inputs_are_committed_again_every_day() {
    let day = Duration::from_secs(24 * 60 * 60);
    let (soon, later) = idle_commits(day);
    assert_eq!(soon, 0, "nothing to commit");
    assert!(later > 0, "committed again");
    // it is that, and not the coming and going of members, that commits
    assert_eq!(idle_commits(day * 1_000), (0, 0));
}

/// Reason and place of each dead letter.
pub(super) fn letters(world: &World) -> Vec<(String, String)> {
    let letters = world.records(&world.deployment().names.dead_letters());
    let shown = letters.iter().map(|letter| {
        let text = |name: &str| {
            let headers = letter.headers.as_ref().unwrap();
            let value = headers.iter().find(|(header, _)| &**header == name).unwrap().1.clone();
            String::from_utf8(value.unwrap().to_vec()).unwrap()
        };
        (
            text("millstream.reason"),
            format!("{}@{}", text("millstream.topic"), text("millstream.offset")),
        )
    });
    shown.collect()
}

#[test]
fn a_record_that_the_broker_refuses_is_found_and_put_aside() {
    let sql = "sql\n  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'KAFKA', PARTITIONS = 1);\n  CREATE STREAM loud WITH (KAFKA_TOPIC = 'loud', VALUE_FORMAT = 'KAFKA') AS \
               SELECT id, UCASE(word) AS word FROM words;\nend\n";
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let topology = crate::golden::compile_case("refused", &Case::parse(sql).unwrap(), &schemas).unwrap();
    let mut world = World::with_schemas(8, topology, EngineSettings::default(), 1, schemas);
    // Somebody made the output a compacted topic, which takes no record without key.
    world
        .log
        .create_topic("loud", 1, &[("cleanup.policy", "compact")])
        .unwrap();
    world.settle();
    let words = TopicPartition::new("words", 0);
    for n in 0..10_i64 {
        let key = n.to_be_bytes();
        let key = (n != 6).then_some(&key[..]);
        world
            .log
            .append(&words, key, Some(format!("word {n}").as_bytes()), n)
            .unwrap();
    }
    world.settle();
    assert_eq!(world.records("loud").len(), 9);
    let letters = letters(&world);
    assert_eq!((letters.len(), letters[0].1.as_str()), (1, "words@6"));
    assert!(letters[0].0.starts_with("unwritable"), "{letters:?}");
}

#[test]
fn the_record_whose_results_are_too_large_is_found_and_put_aside() {
    let settings = EngineSettings {
        commit_interval: Duration::from_millis(50),
        ..EngineSettings::default()
    };
    let mut world = World::new(6, plan::topology(), settings, 1);
    world.log.create_topic(RATINGS, 1, &[]).unwrap();
    world.log.create_topic(MOVIES, 1, &[]).unwrap();
    world
        .log
        .create_topic(RATED, 1, &[("max.message.bytes", "600")])
        .unwrap();
    for n in 1..5 {
        movie(&world, n, &format!("movie {n}"));
        rate(&world, n, 3.0);
    }
    world.settle();
    movie(&world, 2, &"long ".repeat(200));
    for n in 1..5 {
        rate(&world, n, 4.0);
    }
    movie(&world, 4, "renamed");
    world.settle();
    let expected = |n: i64, title: &str| (n, (2, 7.0, title.to_string()));
    assert_eq!(
        rated(&world),
        BTreeMap::from([
            expected(1, "movie 1"),
            expected(2, "movie 2"),
            expected(3, "movie 3"),
            expected(4, "renamed")
        ])
    );
    let letters = letters(&world);
    assert_eq!(letters.len(), 1);
    assert!(letters[0].0.starts_with("too-large"), "{letters:?}");
    assert_eq!(letters[0].1, format!("{MOVIES}@4"));
    super::check_stores(&world);
}

/// The record between the tasks of a table carries two rows: one that must go from its group in any case, and one that may be too large.
#[test]
fn a_row_too_large_for_its_new_group_leaves_the_old_one() {
    let sql = "sql\n  CREATE TABLE words (id BIGINT PRIMARY KEY, kind STRING, word STRING) WITH (KAFKA_TOPIC = 'words', \
               KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);\n  CREATE TABLE longest WITH (KAFKA_TOPIC = 'longest', \
               VALUE_FORMAT = 'JSON') AS SELECT kind, COUNT(*) AS n, MAX(word) AS word FROM words GROUP BY kind;\nend\n";
    let schemas: Arc<dyn SchemaSource> = Arc::new(MemoryRegistry::new());
    let topology = crate::golden::compile_case("groups", &Case::parse(sql).unwrap(), &schemas).unwrap();
    let mut world = World::with_schemas(9, topology, EngineSettings::default(), 1, schemas);
    let limit = [("max.message.bytes", "600"), ("cleanup.policy", "compact")];
    world.log.create_topic("longest", 1, &limit).unwrap();
    let say = |world: &World, id: i64, kind: &str, word: &str| {
        let value = json!({"KIND": kind, "WORD": word}).to_string();
        let words = TopicPartition::new("words", 0);
        let log = &world.log;
        log.append(&words, Some(&id.to_be_bytes()), Some(value.as_bytes()), log.now())
            .unwrap();
    };
    world.settle();
    say(&world, 1, "short", "a");
    say(&world, 2, "short", "b");
    say(&world, 3, "long", "c");
    world.settle();
    say(&world, 2, "long", &"long ".repeat(200));
    world.settle();
    let rows = |world: &World| {
        let mut rows = BTreeMap::new();
        for record in world.records("longest") {
            let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8(bytes).unwrap());
            rows.insert(text(record.key).unwrap(), text(record.value));
        }
        rows.retain(|_, value| value.is_some());
        rows
    };
    let left = BTreeMap::from([("short".to_owned(), Some(r#"{"N":1,"WORD":"a"}"#.to_owned()))]);
    assert_eq!(rows(&world), left);
    let found = letters(&world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.starts_with("too-large"), "{found:?}");
    super::check_stores(&world);
    // the group has the row, only its result could not be written: what comes next is right
    say(&world, 2, "long", "b");
    say(&world, 1, "long", "d");
    world.settle();
    let left = BTreeMap::from([("long".to_owned(), Some(r#"{"N":3,"WORD":"d"}"#.to_owned()))]);
    assert_eq!(rows(&world), left);
}

/// A registry that can be away.
struct Moody {
    inner: MemoryRegistry,
    away: AtomicBool,
}

impl Moody {
    fn here(&self) -> Result<(), RegistryError> {
        match self.away.load(SeqCst) {
            true => Err(RegistryError::Unavailable("the registry is away".into())),
            false => Ok(()),
        }
    }
}

impl SchemaSource for Moody {
    fn by_id(&self, id: u32) -> Result<RegisteredSchema, RegistryError> {
        self.here().and_then(|()| self.inner.by_id(id))
    }

    fn latest(&self, subject: &str) -> Result<Option<RegisteredSchema>, RegistryError> {
        self.here().and_then(|()| self.inner.latest(subject))
    }

    fn version(&self, subject: &str, version: i32) -> Result<RegisteredSchema, RegistryError> {
        self.here().and_then(|()| self.inner.version(subject, version))
    }

    fn register(&self, subject: &str, schema: &SchemaText) -> Result<RegisteredSchema, RegistryError> {
        self.here().and_then(|()| self.inner.register(subject, schema))
    }

    fn check(&self, subject: &str, schema: &SchemaText) -> Result<Compatibility, RegistryError> {
        self.here().and_then(|()| self.inner.check(subject, schema))
    }
}

#[test]
fn a_record_waits_for_a_registry_that_is_away() {
    let sql = "sql\n  CREATE TABLE t (id BIGINT PRIMARY KEY, name STRING) WITH (KAFKA_TOPIC = 'in', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'AVRO', PARTITIONS = 1);\n  CREATE TABLE u WITH (KAFKA_TOPIC = 'out', VALUE_FORMAT = 'JSON') AS \
               SELECT id, UCASE(name) AS name FROM t;\nend\n";
    let case = Case::parse(sql).unwrap();
    let moody = Arc::new(Moody {
        inner: MemoryRegistry::new(),
        away: AtomicBool::new(false),
    });
    let schemas: Arc<dyn SchemaSource> = moody.clone();
    let topology = crate::golden::compile_case("waits", &case, &schemas).unwrap();
    let mut world = World::with_schemas(7, topology, EngineSettings::default(), 1, schemas.clone());
    world.settle();
    // The writer's schema is registered, but not known to the topology yet.
    let mut codec = TopicCodec::new(&world.topology, "in", &schemas).unwrap();
    let record = codec.record(&json!(1), &json!({"NAME": "one"}), 1).unwrap();
    moody.away.store(true, SeqCst);
    world
        .log
        .append(
            &TopicPartition::new("in", 0),
            record.key.as_deref(),
            record.value.as_deref(),
            1,
        )
        .unwrap();
    for _ in 0..200 {
        world.step();
        world.log.advance(10);
    }
    let status = world.published().next().unwrap().status();
    assert!(
        matches!(&status, TopologyStatus::Waiting(reason) if reason.contains("away")),
        "{status:?}"
    );
    assert!(world.records("out").is_empty());
    moody.away.store(false, SeqCst);
    world.settle();
    assert_eq!(world.records("out").len(), 1);
    assert!(world.records(&world.deployment().names.dead_letters()).is_empty());
    assert_eq!(world.published().next().unwrap().status(), TopologyStatus::Running);
}

/// It said so and took it back at every step, two lines of the log each time.
#[test]
fn a_commit_that_is_waited_for_says_so_until_it_is_through() {
    let settings = EngineSettings {
        commit_interval: Duration::from_secs(1),
        ..EngineSettings::default()
    };
    let mut world = settled_as(8, settings);
    rate(&world, 1, 5.0);
    // it is taken in; then the brokers answer nothing any more
    (0..50).for_each(|_| world.step());
    world.log.set_faults(Faults {
        lost_request: 1_000,
        ..Faults::default()
    });
    let mut said = Vec::new();
    for _ in 0..60 {
        world.log.advance(80);
        world.step();
        said.push(matches!(
            world.published().next().unwrap().status(),
            TopologyStatus::Waiting(_)
        ));
    }
    let first = said.iter().position(|waits| *waits).expect("it says that it waits");
    assert!(said[first..].iter().all(|waits| *waits), "{said:?}");
    world.log.set_faults(Faults::default());
    world.settle();
    assert_eq!(world.published().next().unwrap().status(), TopologyStatus::Running);
    assert_eq!(rated(&world)[&1].0, 3);
}
