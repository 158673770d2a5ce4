//! Global tables of processes that live long: their topics grow, are quiet for days, lose records or are made anew. What tasks see never goes back.

use std::time::Duration;

use millstream::engine::{BadRecord, EngineSettings};
use millstream::log::Log;
use millstream::sql::{CompileContext, NoSchemas, SourceFile, compile};
use millstream::types::TopicPartition;
use serde_json::json;

use super::world::World;

const HOUR_MS: i64 = 3_600_000;
const COUNTRIES: &str = "countries";
/// So many that loading them takes longer than two commits.
const MANY: i64 = 6_000;

const SHOP: &str = "
CREATE STREAM orders (id BIGINT KEY, country BIGINT)
  WITH (KAFKA_TOPIC = 'orders', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
CREATE TABLE countries (code BIGINT PRIMARY KEY, name STRING)
  WITH (KAFKA_TOPIC = 'countries', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1, GLOBAL = TRUE);
CREATE STREAM sent WITH (KAFKA_TOPIC = 'sent') AS
  SELECT o.id, c.name AS name FROM orders o LEFT JOIN countries c ON o.country + 0 = c.code;
CREATE TABLE counted WITH (KAFKA_TOPIC = 'counted') AS
  SELECT id, COUNT(*) AS n, LATEST_BY_OFFSET(country) AS country FROM orders GROUP BY id;
CREATE TABLE named WITH (KAFKA_TOPIC = 'named') AS
  SELECT o.id AS id, o.n AS n, c.name AS name FROM counted o LEFT JOIN countries c ON o.country = c.code;
";

/// One process of one worker; the table has `countries` rows and a bad record, which shows how often the topic is read.
fn shop(seed: u64, countries: i64) -> World {
    let file = SourceFile {
        name: "shop.sql".into(),
        text: SHOP.into(),
    };
    let topology = compile(&file, &CompileContext { schemas: &NoSchemas }).unwrap_or_else(|e| panic!("{e:?}"));
    let settings = EngineSettings {
        workers: 1,
        commit_interval: Duration::from_millis(100),
        ..EngineSettings::default()
    };
    let world = World::new(seed, topology, settings, 1);
    world.log.create_topic("orders", 1, &[]).unwrap();
    world.log.create_topic(COUNTRIES, 1, &[]).unwrap();
    fill(&world, countries, "old");
    world
}

fn fill(world: &World, countries: i64, name: &str) {
    append(world, COUNTRIES, 0, "no JSON");
    (0..countries).for_each(|code| country(world, code, name));
}

fn append(world: &World, topic: &str, key: i64, value: &str) {
    let tp = TopicPartition::new(topic, 0);
    let key = key.to_be_bytes();
    let appended = world
        .log
        .append(&tp, Some(&key), Some(value.as_bytes()), world.log.now());
    appended.unwrap();
}

fn country(world: &World, code: i64, name: &str) {
    append(world, COUNTRIES, code, &json!({"NAME": name}).to_string());
}

fn order(world: &World, country: i64) {
    append(world, "orders", 1, &json!({"COUNTRY": country}).to_string());
}

/// An order's name, after all is processed.
fn name_of(world: &mut World, country: i64) -> Option<String> {
    world.settle();
    order(world, country);
    world.settle();
    let last = names(world, "sent").pop().flatten();
    assert_eq!(names(world, "named").pop().flatten(), last, "the two joins");
    last
}

fn names(world: &World, topic: &str) -> Vec<Option<String>> {
    let records = world.records(topic).into_iter().filter_map(|record| record.value);
    let row = |value: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&value).unwrap();
    records
        .map(|value| row(value)["NAME"].as_str().map(str::to_owned))
        .collect()
}

fn letters(world: &World) -> usize {
    world.records(&world.deployment().names.dead_letters()).len()
}

/// The topic of the table is another one from now on.
fn make_anew(world: &World, partitions: i32, countries: i64) {
    world.log.process().admin().delete_topics(&[COUNTRIES]).unwrap();
    world.log.create_topic(COUNTRIES, partitions, &[]).unwrap();
    fill(world, countries, "new");
}

/// A bit more than the time after which topics are looked at again, with orders all the time.
fn pass_minutes(world: &mut World, country: i64) {
    for _ in 0..1_500 {
        order(world, country);
        (0..5).for_each(|_| world.step());
        world.log.advance(40);
    }
}

#[test]
fn a_global_table_that_is_read_anew_is_seen_as_it_was_until_it_is_loaded() {
    for seed in 0..2 {
        let mut world = shop(seed, MANY);
        assert_eq!(name_of(&mut world, MANY - 1).as_deref(), Some("old"));
        make_anew(&world, 2, MANY);
        pass_minutes(&mut world, MANY - 1);
        assert_eq!(name_of(&mut world, MANY - 1).as_deref(), Some("new"));
        for topic in ["sent", "named"] {
            let names = names(&world, topic);
            let first_new = names.iter().position(|name| name.as_deref() == Some("new")).unwrap();
            let (before, after) = names.split_at(first_new);
            let are = |names: &[Option<String>], wanted| names.iter().all(|name| name.as_deref() == Some(wanted));
            assert!(
                are(before, "old") && are(after, "new"),
                "seed {seed}: {topic} has {names:?}"
            );
        }
    }
}

#[test]
fn a_global_topic_that_is_made_anew_is_read_from_its_beginning() {
    for countries in [20, 3, 10] {
        let mut world = shop(7, 10);
        assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
        make_anew(&world, 1, countries);
        pass_minutes(&mut world, 2);
        assert_eq!(name_of(&mut world, 2).as_deref(), Some("new"), "{countries} countries");
        assert_eq!(name_of(&mut world, countries - 1).as_deref(), Some("new"));
        assert_eq!(name_of(&mut world, countries), None);
    }
}

#[test]
fn a_global_topic_that_loses_records_unread_is_read_anew() {
    let mut world = shop(8, 10);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
    fill(&world, 10, "new");
    let before = [(TopicPartition::new(COUNTRIES, 0), 15)];
    world.log.process().admin().delete_records(&before).unwrap();
    pass_minutes(&mut world, 2);
    assert_eq!(name_of(&mut world, 9).as_deref(), Some("new"));
    assert_eq!(name_of(&mut world, 2), None, "what is gone before it was read is gone");
}

#[test]
fn a_global_table_that_was_quiet_for_days_is_read_on_where_it_stands() {
    let mut world = shop(5, 10);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
    world.stop_all();
    world.start_all(50 * HOUR_MS);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
    assert_eq!(letters(&world), 1, "nothing can have been missed");

    // quiet, but it is known that there was nothing
    for _ in 0..30 {
        world.log.advance(HOUR_MS);
        world.settle();
    }
    world.stop_all();
    country(&world, 2, "new");
    world.start_all(HOUR_MS);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("new"));
    assert_eq!(letters(&world), 1, "nothing can have been missed");

    // away for longer than tombstones are kept
    world.stop_all();
    country(&world, 2, "newer");
    world.start_all(50 * HOUR_MS);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("newer"));
    assert_eq!(letters(&world), 2, "it is read anew");
}

#[test]
fn a_global_table_is_on_the_disk_when_its_process_has_stopped() {
    let mut world = shop(6, 10);
    world.settle();
    append(&world, COUNTRIES, 3, "no JSON either");
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
    world.stop_all();
    world.crash_disk(0);
    world.start_all(0);
    assert_eq!(name_of(&mut world, 2).as_deref(), Some("old"));
    assert_eq!(letters(&world), 2, "the bad records are not read again");
}

#[test]
fn a_bad_record_of_a_global_table_that_stops_one_worker_is_not_passed_by_another() {
    for seed in 0..10 {
        let mut world = shop(seed, 10);
        world.settings.workers = 2;
        world.settings.bad_record = BadRecord::Stop;
        for start in 0..3 {
            let reason = world.until_failure();
            assert!(reason.contains("countries"), "seed {seed}, start {start}: {reason}");
        }
    }
}
