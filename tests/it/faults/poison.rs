//! Records that cannot be processed, over a real broker: each goes to the dead-letter topic with its reason, its bytes and its position, once, and
//! what comes behind it is processed. Never is it met again and again.

use std::collections::BTreeMap;

use millstream::log::{Log, OutRecord};
use serde_json::json;

use super::ground::{Ground, Instance, Read, again};
use crate::patience::{PATIENCE, until, within};

/// A statement for each reason.
const SQL: &str = "\
CREATE STREAM words (id BIGINT KEY, n INTEGER, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
CREATE STREAM sums WITH (KAFKA_TOPIC = 'sums') AS SELECT id, n + 1 AS n FROM words;
CREATE STREAM copies WITH (KAFKA_TOPIC = 'copies') AS SELECT id, word FROM words;
CREATE STREAM dated (id BIGINT KEY, at STRING) WITH (KAFKA_TOPIC = 'dated', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1, TIMESTAMP = 'AT', TIMESTAMP_FORMAT = 'yyyy-MM-dd');
CREATE STREAM dates WITH (KAFKA_TOPIC = 'dates') AS SELECT id, at FROM dated;
CREATE TABLE rows (id BIGINT PRIMARY KEY, word STRING) WITH (KAFKA_TOPIC = 'rows', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
CREATE TABLE kept WITH (KAFKA_TOPIC = 'kept') AS SELECT id, word FROM rows;
CREATE STREAM keyless (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'keyless', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
CREATE STREAM refused WITH (KAFKA_TOPIC = 'refused') AS SELECT id, word FROM keyless;
CREATE STREAM long_words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'long_words', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 1);
CREATE TABLE latest WITH (WRITE_TOPIC = FALSE) AS SELECT id, LATEST_BY_OFFSET(word) AS word FROM long_words GROUP BY id;
";
const INPUTS: [&str; 5] = ["words", "dated", "rows", "keyless", "long_words"];
const LETTERS: &str = "faults.faults.dead-letters";
/// Larger than a changelog takes by default, and than a dead letter keeps.
const LONG: usize = 1_500_000;

fn ground(name: &str) -> Ground {
    let ground = Ground::new(name, SQL);
    for input in INPUTS {
        ground.topic(input, 1, &[("max.message.bytes", "4000000")]);
    }
    ground.topic("copies", 1, &[("max.message.bytes", "600")]);
    // somebody made it a compacted one, which takes no record without key
    ground.topic("refused", 1, &[("cleanup.policy", "compact")]);
    ground
}

/// Writes records, one after the other, to partition 0.
fn write(ground: &Ground, topic: &str, records: &[(Option<&[u8]>, &[u8])]) {
    let mut producer = ground.log.producer().expect("a producer");
    let handle = producer.topic(topic).expect("a handle");
    for (key, value) in records {
        let record = OutRecord {
            topic: handle,
            partition: 0,
            key: *key,
            value: Some(value),
            timestamp: 1_700_000_000_000,
            headers: &None,
        };
        again("room for a record", || producer.send(record));
    }
    again("the acknowledgements", || {
        producer.flush(std::time::Duration::from_secs(1))
    });
}

fn header<'a>(letter: &'a Read, name: &str) -> &'a str {
    let found = letter.headers.iter().find(|(header, _)| header == name);
    found.map_or("", |(_, value)| value)
}

/// Reason by place.
fn letters(ground: &Ground) -> BTreeMap<String, Vec<String>> {
    let mut letters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for letter in ground.read(LETTERS).concat() {
        let place = format!(
            "{}@{}",
            header(&letter, "millstream.topic"),
            header(&letter, "millstream.offset")
        );
        let reason = header(&letter, "millstream.reason");
        let word = reason.split(':').next().unwrap_or_default().to_owned();
        letters.entry(place).or_default().push(word);
    }
    letters
}

fn count(ground: &Ground, topic: &str) -> usize {
    ground.read(topic).concat().len()
}

#[test]
fn every_reason_puts_its_record_aside_once_and_the_others_are_processed() {
    let ground = ground("poison");
    let mut instance = ground.start("one", &[]);
    let key = |n: i64| n.to_be_bytes();
    let (one, two) = (key(1), key(2));
    let good = json!({"N": 1, "WORD": "short", "AT": "2024-02-29"}).to_string();
    let good = (Some(&one[..]), good.as_bytes());
    let largest = json!({"N": i32::MAX, "WORD": "w"}).to_string();
    let wide = json!({"N": 1, "WORD": "wide ".repeat(200)}).to_string();
    write(
        &ground,
        "words",
        &[
            good,
            (Some(b"odd"), good.1),
            (Some(&one), b"{\"N\": "),
            (Some(&one), largest.as_bytes()),
            (Some(&one), wide.as_bytes()),
            good,
        ],
    );
    write(&ground, "dated", &[good, (Some(&one), b"{\"AT\": \"someday\"}"), good]);
    write(&ground, "rows", &[good, (None, good.1), good]);
    write(&ground, "keyless", &[good, (None, good.1), good, (None, good.1), good]);
    let long = json!({"WORD": "x".repeat(LONG)}).to_string();
    // alone: of a key's rows in one commit only the last is written
    write(&ground, "long_words", &[good, (Some(&two), long.as_bytes())]);

    let expected: BTreeMap<String, Vec<String>> = [
        ("words@1", "key"),
        ("words@2", "value"),
        ("words@3", "expression"),
        ("words@4", "too-large"),
        ("dated@1", "timestamp"),
        ("rows@1", "null-key"),
        ("keyless@1", "unwritable"),
        ("keyless@3", "unwritable"),
        ("long_words@1", "too-large"),
    ]
    .map(|(place, reason)| (place.to_owned(), vec![reason.to_owned()]))
    .into();
    within(PATIENCE, || {
        instance.process.must_live();
        (letters(&ground).len() >= expected.len()).then_some(())
    });
    assert_eq!(letters(&ground), expected);
    // what comes behind each of them is processed
    for (topic, records) in [("sums", 2), ("copies", 2), ("dates", 2), ("refused", 3)] {
        until(topic, || count(&ground, topic) == records);
    }
    write(&ground, "long_words", &[(Some(&two), good.1)]);
    until("the table", || !ground.read("kept").concat().is_empty());
    latest_words(&mut instance);
    instance.is_ready();
    for (_, reason) in expected.iter() {
        let label = format!("reason=\"{}\"", reason[0]);
        let wanted = expected.values().filter(|other| *other == reason).count();
        assert_eq!(
            instance.metric("millstream_dead_letters_total", &[&label]),
            wanted as f64,
            "{label}"
        );
    }
    cut_letter(&ground, long.as_bytes());
    // they are met once: a restart does not come back to them
    instance.process.kill();
    let mut instance = ground.start("one", &[]);
    INPUTS.iter().for_each(|input| write(&ground, input, &[good]));
    until("what came after", || {
        count(&ground, "refused") == 4 && count(&ground, "dates") == 3
    });
    assert_eq!(letters(&ground), expected);
    instance.process.stop();
}

/// The key whose row was too large has the row after it.
fn latest_words(instance: &mut Instance) {
    let body = json!({"sql": "SELECT * FROM latest"});
    until("the rows", || {
        let (status, answer) = crate::dev::process::ask(&instance.http, "/v1/query", Some(&body));
        let rows = answer["rows"].as_array().cloned().unwrap_or_default();
        status == 200 && rows.len() == 2 && rows.iter().all(|row| row["WORD"] == "short")
    });
}

/// A dead letter that would be too large itself is cut; length and checksum of the original say what is missing, and its position where it is.
fn cut_letter(ground: &Ground, original: &[u8]) {
    let letters = ground.read(LETTERS).concat();
    let cut = letters
        .iter()
        .find(|letter| header(letter, "millstream.topic") == "long_words");
    let cut = cut.expect("the letter");
    let kept = cut.value.as_deref().expect("its beginning");
    assert!(kept.len() < original.len() && original.starts_with(kept));
    assert_eq!(header(cut, "millstream.value.length"), original.len().to_string());
    let crc = format!("{:08x}", crc32c::crc32c(original));
    assert_eq!(header(cut, "millstream.value.crc32c"), crc);
}
