//! Reads topics to their ends and compares what is there with what must be.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rustc_hash::FxHashMap;

use super::Args;

/// How long the broker may take to answer.
pub const WAIT: Duration = Duration::from_secs(10);

/// A consumer of committed records, without a group, that is assigned nothing yet.
pub fn consumer(bootstrap: &str) -> BaseConsumer {
    let settings = [
        ("bootstrap.servers", bootstrap),
        ("group.id", "bench-reader"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("fetch.queue.backoff.ms", "5"),
        ("queued.min.messages", "200000"),
        ("check.crcs", "false"),
        ("fetch.wait.max.ms", "50"),
        ("enable.partition.eof", "true"),
    ];
    let mut config = ClientConfig::new();
    for (key, value) in settings {
        config.set(key, value);
    }
    config.create().expect("a consumer")
}

/// The ends of a topic's partitions. The leader of one that is new may not be known yet.
pub fn high_watermarks(consumer: &BaseConsumer, topic: &str) -> Vec<i64> {
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).expect("metadata");
    let partitions = metadata.topics()[0].partitions().len() as i32;
    let end = |partition| {
        let until = Instant::now() + WAIT;
        loop {
            match consumer.fetch_watermarks(topic, partition, WAIT) {
                Ok((_, end)) => return end,
                Err(error) if Instant::now() > until => panic!("{topic}-{partition}: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    };
    (0..partitions).map(end).collect()
}

/// A consumer of a whole topic.
pub fn reader(bootstrap: &str, topic: &str) -> BaseConsumer {
    let consumer = consumer(bootstrap);
    let metadata = consumer.fetch_metadata(Some(topic), WAIT).expect("metadata");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

/// Reads a topic to its end, committed records only.
fn each_committed(bootstrap: &str, topic: &str, mut each: impl FnMut(Option<&[u8]>, Option<&[u8]>)) {
    let consumer = reader(bootstrap, topic);
    let partitions = consumer.assignment().expect("an assignment").count();
    let mut ended = 0;
    while ended < partitions {
        match consumer.poll(WAIT) {
            Some(Ok(m)) => each(m.key(), m.payload()),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => panic!("{topic}: no answer within {WAIT:?}"),
        }
    }
}

/// Prints the sum of the ends; 0 for a topic that is not there.
pub fn ends(args: &Args) {
    let sum: i64 = high_watermarks(&consumer(args.text(0)), args.text(1)).iter().sum();
    println!("{{\"end\":{sum}}}");
}

/// Prints how many records are committed.
pub fn count(args: &Args) {
    let mut records = 0u64;
    each_committed(args.text(0), args.text(1), |_, _| records += 1);
    println!("{{\"records\":{records}}}");
}

fn read_zigzag(bytes: &[u8], at: &mut usize) -> i64 {
    let mut z = 0u64;
    for shift in (0..64).step_by(7) {
        let b = bytes[*at];
        *at += 1;
        z |= u64::from(b & 0x7f) << shift;
        if b < 0x80 {
            break;
        }
    }
    (z >> 1) as i64 ^ -((z & 1) as i64)
}

/// The key of a movie.
pub fn movie_of(key: Option<&[u8]>) -> i64 {
    let bytes = key.and_then(|key| key.try_into().ok());
    i64::from_be_bytes(bytes.expect("a key of 8 bytes"))
}

/// The last averages (a double as the value's last field) against those computed from the ratings themselves.
pub fn verify(args: &Args) {
    let (bootstrap, ratings, rated) = (args.text(0), args.text(1), args.text(2));
    let mut sums: FxHashMap<i64, (u64, f64)> = FxHashMap::default();
    each_committed(bootstrap, ratings, |key, value| {
        let value = value.expect("a rating");
        let mut at = 5;
        read_zigzag(value, &mut at);
        let rating = f64::from_le_bytes(value[at..at + 8].try_into().expect("8 bytes"));
        let entry = sums.entry(movie_of(key)).or_default();
        *entry = (entry.0 + 1, entry.1 + rating);
    });
    let mut averages: FxHashMap<i64, f64> = FxHashMap::default();
    each_committed(bootstrap, rated, |key, value| {
        let value = value.expect("an average");
        let average = f64::from_le_bytes(value[value.len() - 8..].try_into().expect("8 bytes"));
        averages.insert(movie_of(key), average);
    });
    let right = |(movie, (n, sum)): &(&i64, &(u64, f64))| averages.get(*movie) == Some(&(sum / *n as f64));
    let wrong = sums.iter().filter(|entry| !right(entry)).count();
    let ratings: u64 = sums.values().map(|(n, _)| n).sum();
    println!(
        "{{\"movies\":{},\"ratings\":{ratings},\"averages\":{},\"wrong\":{wrong}}}",
        sums.len(),
        averages.len()
    );
    if wrong > 0 || sums.len() != averages.len() {
        std::process::exit(1);
    }
}
