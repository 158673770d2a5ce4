//! The workload of the fault tests: numbers by key, counted and summed. What the outputs must be follows from the input topic, which is the truth.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use millstream::log::{Log, LogError, OutRecord, Producer, partition_for_key};
use serde_json::Value;

use super::ground::{Ground, Instance, Read, again};
use crate::patience::until;

/// One statement of each kind: record by record, by the same key, and by another one through a repartition topic.
pub const SQL: &str = "\
CREATE STREAM numbers (id BIGINT KEY, n BIGINT) WITH (KAFKA_TOPIC = 'numbers', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 2);
CREATE STREAM echo WITH (KAFKA_TOPIC = 'echo') AS SELECT id, n FROM numbers;
CREATE TABLE totals WITH (KAFKA_TOPIC = 'totals') AS SELECT id, COUNT(*) AS c, SUM(n) AS s FROM numbers GROUP BY id;
CREATE TABLE digits WITH (KAFKA_TOPIC = 'digits') AS SELECT n % 10 AS d, COUNT(*) AS c, SUM(n) AS s FROM numbers GROUP BY n % 10;
";
/// Each change of an aggregate is given out: one output an input, so that what is lost or doubled is seen.
pub const EVERY_CHANGE: [&str; 2] = ["--emit", "every-change"];

const PARTITIONS: i32 = 2;
const KEYS: i64 = 13;
/// Records between two looks whether they were taken.
const BATCH: i64 = 20;
const BATCH_WAIT: Duration = Duration::from_millis(500);
/// Between two batches of a load: a few hundred records a second, so that looking at all outputs stays quick.
const BREATH: Duration = Duration::from_millis(50);

/// Broker and topic of the workload.
pub fn ground(name: &str) -> Ground {
    let ground = Ground::new(name, SQL);
    ground.topic("numbers", PARTITIONS, &[]);
    ground
}

/// Writes so many numbers from `first` on.
pub fn send(ground: &Ground, first: i64, count: i64) {
    let mut producer = ground.log.producer().expect("a producer");
    hand_over(&mut *producer, first..first + count);
    again("the acknowledgements", || producer.flush(BATCH_WAIT));
}

fn hand_over(producer: &mut dyn Producer, numbers: std::ops::Range<i64>) {
    let topic = producer.topic("numbers").expect("a handle");
    for n in numbers {
        let key = (n * n % KEYS).to_be_bytes();
        let value = format!("{{\"N\":{n}}}");
        let record = OutRecord {
            topic,
            partition: partition_for_key(&key, PARTITIONS),
            key: Some(&key),
            value: Some(value.as_bytes()),
            timestamp: 1_700_000_000_000 + n,
            headers: &None,
        };
        again("room for a record", || producer.send(record));
    }
}

/// Writes numbers until it is told to stop, in batches that the broker has acknowledged; while it takes none, it waits.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Load {
    pub fn start(ground: &Ground) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut producer = ground.log.producer().expect("a producer");
        let thread = std::thread::spawn(move || {
            let mut next = 0;
            while !stopped.load(Ordering::SeqCst) {
                hand_over(&mut *producer, next..next + BATCH);
                next += BATCH;
                // what becomes of a batch is for the topic to tell; `Retry` means that it is still on its way
                while let Err(LogError::Retry(_)) = producer.flush(BATCH_WAIT) {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                }
                std::thread::park_timeout(BREATH);
            }
        });
        Self { stop, thread }
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
        self.thread.join().expect("the load");
    }
}

/// Inputs that are committed so far, of the echo.
pub fn echoed(ground: &Ground) -> usize {
    ground.read("echo").iter().map(Vec::len).sum()
}

/// Waits until more records are echoed than now.
#[track_caller]
pub fn progress(ground: &Ground) {
    let before = echoed(ground);
    until("progress", || echoed(ground) > before);
}

/// Waits until the outputs are what the input says; none more, none less, none else. No record may be put aside, and every transaction ends.
#[track_caller]
pub fn exact(ground: &Ground, instance: &mut Instance) {
    let input = ground.read("numbers");
    let count: usize = input.iter().map(Vec::len).sum();
    assert!(count > 0, "nothing was sent");
    let mut differences = Vec::new();
    let agrees = crate::patience::within(crate::patience::PATIENCE, || {
        instance.process.must_live();
        differences = compare(ground, &input);
        differences.is_empty().then_some(())
    });
    assert!(
        agrees.is_some(),
        "of {count} records:\n{}\n{}",
        differences.join("\n"),
        instance.process.tail()
    );
    let dead = ground.read("faults.faults.dead-letters").concat();
    assert!(dead.is_empty(), "good records were put aside: {dead:?}");
    instance.is_ready();
    ground.all_ended();
    let differences = compare(ground, &input);
    assert!(differences.is_empty(), "afterwards:\n{}", differences.join("\n"));
}

fn compare(ground: &Ground, input: &[Vec<Read>]) -> Vec<String> {
    let mut found = Vec::new();
    let by_partition = |records: Vec<Vec<Read>>| -> Vec<Vec<(i64, Vec<i64>)>> {
        let texts = |records: Vec<Read>| records.iter().map(|r| (number(r.key.as_deref()), columns(r))).collect();
        records.into_iter().map(texts).collect()
    };
    let sent = by_partition(input.to_vec());
    let mut running: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut digits: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut totals: Vec<Vec<(i64, Vec<i64>)>> = Vec::new();
    for records in &sent {
        let mut of_partition = Vec::new();
        for (key, n) in records {
            let of_key = running.entry(*key).or_default();
            *of_key = (of_key.0 + 1, of_key.1 + n[0]);
            of_partition.push((*key, vec![of_key.0, of_key.1]));
            let of_digit = digits.entry(n[0] % 10).or_default();
            *of_digit = (of_digit.0 + 1, of_digit.1 + n[0]);
        }
        totals.push(of_partition);
    }
    for (topic, expected) in [("echo", &sent), ("totals", &totals)] {
        let read = by_partition(ground.read(topic));
        if read != *expected {
            found.push(format!("{topic}: {}", first_difference(&read, expected)));
        }
    }
    let last = by_partition(ground.read("digits")).concat();
    let last: BTreeMap<i64, (i64, i64)> = last.into_iter().map(|(key, row)| (key, (row[0], row[1]))).collect();
    if last != digits {
        found.push(format!("digits: {last:?} instead of {digits:?}"));
    }
    found
}

fn first_difference(read: &[Vec<(i64, Vec<i64>)>], expected: &[Vec<(i64, Vec<i64>)>]) -> String {
    for (partition, expected) in expected.iter().enumerate() {
        let read = read.get(partition).map_or(&[][..], Vec::as_slice);
        let at = (0..expected.len().max(read.len())).find(|at| read.get(*at) != expected.get(*at));
        if let Some(at) = at {
            let (len, of) = (read.len(), expected.len());
            return format!(
                "partition {partition} has {len} records of {of}; at {at} stands {:?} instead of {:?}",
                read.get(at),
                expected.get(at)
            );
        }
    }
    "other partitions".into()
}

fn number(key: Option<&[u8]>) -> i64 {
    i64::from_be_bytes(key.and_then(|key| key.try_into().ok()).expect("a key of eight bytes"))
}

fn columns(record: &Read) -> Vec<i64> {
    let value: Value = serde_json::from_slice(record.value.as_deref().expect("a value")).expect("JSON");
    let fields = value.as_object().expect("an object");
    fields.values().map(|value| value.as_i64().expect("a number")).collect()
}
