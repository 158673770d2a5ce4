//! Pressure: hot keys, one session of 100,000 records, a list of 100,000 elements, and rows that grow past what a broker takes.

use std::collections::BTreeMap;

use millstream::log::{Log, OutRecord, partition_for_key};
use serde_json::Value;

use super::ground::{Ground, Instance, again};
use super::long;
use crate::patience::until;

const SQL: &str = "\
CREATE STREAM clicks (id BIGINT KEY, page STRING) WITH (KAFKA_TOPIC = 'clicks', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 2);
CREATE TABLE sessions WITH (KAFKA_TOPIC = 'sessions') AS SELECT id, COUNT(*) AS n FROM clicks WINDOW SESSION (1 HOUR) GROUP BY id;
CREATE TABLE lists WITH (KAFKA_TOPIC = 'lists') AS SELECT id, COUNT(*) AS n, COLLECT_LIST(page) AS pages FROM clicks GROUP BY id;
CREATE TABLE counts WITH (KAFKA_TOPIC = 'counts') AS SELECT id, COUNT(*) AS n FROM clicks GROUP BY id;
";
/// The key that has nearly everything.
const HOT: i64 = 7;
/// What a broker takes by default is a mebibyte; a dead letter keeps less.
const ROOMY: &str = "33554432";

/// Commits that are far apart: each gives the whole list out.
const SELDOM: [&str; 4] = ["--commit-interval", "10s", "--buffer-bytes", "256MiB"];

fn ground(name: &str, lists_take: &str) -> Ground {
    let ground = Ground::new(name, SQL);
    ground.topic("clicks", 2, &[]);
    ground.topic(
        "lists",
        2,
        &[("max.message.bytes", lists_take), ("cleanup.policy", "compact")],
    );
    ground
}

/// So many clicks of the hot key, and one of another key after each tenth.
fn click(ground: &Ground, count: i64, page: &str) {
    let mut producer = ground.log.producer().expect("a producer");
    let topic = producer.topic("clicks").expect("a handle");
    for n in 0..count + count / 10 {
        let key = if n % 11 == 10 { n % 5 } else { HOT }.to_be_bytes();
        let value = format!("{{\"PAGE\":\"{page}{n}\"}}");
        let record = OutRecord {
            topic,
            partition: partition_for_key(&key, 2),
            key: Some(&key),
            value: Some(value.as_bytes()),
            timestamp: 1_700_000_000_000 + n,
            headers: &None,
        };
        again("room for a record", || producer.send(record));
    }
    again("the acknowledgements", || {
        producer.flush(std::time::Duration::from_secs(1))
    });
}

/// The last row a key; the beginning of a session's key is the key.
fn last(ground: &Ground, topic: &str) -> BTreeMap<i64, Value> {
    let mut rows = BTreeMap::new();
    for record in ground.read(topic).concat() {
        let key = record.key.expect("a key");
        let key = i64::from_be_bytes(key[..8].try_into().expect("eight bytes"));
        match record.value {
            Some(value) => drop(rows.insert(key, serde_json::from_slice(&value).expect("JSON"))),
            None => drop(rows.remove(&key)),
        }
    }
    rows
}

fn number(rows: &BTreeMap<i64, Value>, key: i64) -> i64 {
    rows.get(&key).and_then(|row| row["N"].as_i64()).unwrap_or(0)
}

fn total(rows: &BTreeMap<i64, Value>) -> i64 {
    rows.keys().map(|key| number(rows, *key)).sum()
}

fn counted(ground: &Ground, instance: &mut Instance, hot: i64, all: i64) {
    for topic in ["counts", "sessions"] {
        until(topic, || {
            instance.process.must_live();
            let rows = last(ground, topic);
            number(&rows, HOT) == hot && total(&rows) == all
        });
    }
}

#[test]
fn a_hot_key_a_long_session_and_a_long_list_are_exact() {
    if !long("a session and a list of 100,000 records") {
        return;
    }
    let ground = ground("pressure", ROOMY);
    let mut instance = ground.start("one", &SELDOM);
    click(&ground, 100_000, "/p/");
    counted(&ground, &mut instance, 100_000, 110_000);
    until("the list", || {
        instance.process.must_live();
        let rows = last(&ground, "lists");
        rows.get(&HOT)
            .is_some_and(|row| row["PAGES"].as_array().is_some_and(|pages| pages.len() == 100_000))
    });
    assert_eq!(ground.read("faults.faults.dead-letters").concat(), []);
    // and the rows are taken over as they are
    instance.process.kill();
    let mut instance = ground.start("one", &SELDOM);
    click(&ground, 100, "/p/");
    counted(&ground, &mut instance, 100_100, 110_110);
    instance.process.stop();
}

/// A list that grows past what its topic takes: the records that make it so are put aside, one by one, and everything else goes on.
#[test]
fn a_row_that_outgrows_its_topic_puts_its_records_aside_and_nothing_else() {
    let ground = ground("outgrown", "20000");
    let mut instance = ground.start("one", &[]);
    let page = "x".repeat(1_000);
    click(&ground, 30, &page);
    let letters = || ground.read("faults.faults.dead-letters").concat();
    until("every record to be in a list or aside", || {
        instance.process.must_live();
        let rows = last(&ground, "lists");
        letters().len() as i64 + total(&rows) == 33
    });
    for letter in letters() {
        let reason = letter.headers.iter().find(|(name, _)| name == "millstream.reason");
        assert!(
            reason.is_some_and(|(_, reason)| reason.starts_with("too-large")),
            "{letter:?}"
        );
    }
    let rows = last(&ground, "lists");
    assert!((15..20).contains(&number(&rows, HOT)), "{}", number(&rows, HOT));
    assert_eq!(total(&rows) - number(&rows, HOT), 3);
    instance.is_ready();
    instance.process.stop();
}
