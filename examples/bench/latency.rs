//! End-to-end latency: from the hand-over of a rating to the producer until a reader of committed records sees an output of its movie that is as new.
//!
//! Outputs are compacted on the way (one a key and commit), so a rating is answered by the first output of its movie whose timestamp is not before the
//! rating's: that output contains it. Ratings of the warm-up are sent and answered, but not measured.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::Args;
use super::load::{Ratings, Sink, now_ms, paced};
use super::verify::{consumer, high_watermarks, movie_of};

/// How long the last outputs are waited for: who fell behind catches up, and its latencies say so.
const PATIENCE: Duration = Duration::from_secs(60);
const ZIPF: f64 = 1.1;

/// A rating that was sent.
struct Sent {
    timestamp: i64,
    at: Instant,
}

struct Shared {
    /// By movie, in the order sent.
    waiting: Vec<Mutex<VecDeque<Sent>>>,
    measure_from: Instant,
    answered: AtomicU64,
    stop: AtomicBool,
}

/// Sends and measures.
pub fn latency(args: &Args) {
    let (bootstrap, ratings_topic, rated) = (args.text(0), args.text(1), args.text(2));
    let (movies, schema, rate) = (args.number(3) as usize, args.number(4), args.number(5));
    let (seconds, warm_up) = (args.number(6), args.number(7));
    let shared = Shared {
        waiting: (0..movies).map(|_| Mutex::default()).collect(),
        measure_from: Instant::now() + Duration::from_secs(warm_up),
        answered: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let consumer = from_the_end(bootstrap, rated);
    let count = rate * (seconds + warm_up);
    let mut measured = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read(&consumer, &shared));
        let sink = Sink::new(bootstrap, "1");
        let mut ratings = Ratings::new(movies, ZIPF, schema);
        paced(rate, count, &sink, |_| {
            let (movie, bytes) = ratings.draw();
            let (timestamp, at) = (now_ms(), Instant::now());
            shared.waiting[movie as usize].lock().push_back(Sent { timestamp, at });
            sink.send(ratings_topic, movie, bytes, timestamp);
        });
        sink.finish();
        let end = Instant::now() + PATIENCE;
        while shared.answered.load(SeqCst) < count && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        shared.stop.store(true, SeqCst);
        reader.join().expect("the reader's results")
    });
    measured.sort_unstable();
    let answered = shared.answered.load(SeqCst);
    let at = |part: f64| measured.get((measured.len() as f64 * part) as usize);
    let ms = |part: f64| at(part).map_or(f64::NAN, |d| d.as_secs_f64() * 1e3);
    println!(
        "{{\"sent\":{count},\"answered\":{answered},\"measured\":{},\"p50_ms\":{:.2},\"p90_ms\":{:.2},\"p99_ms\":{:.2},\"p999_ms\":{:.2}}}",
        measured.len(),
        ms(0.5),
        ms(0.9),
        ms(0.99),
        ms(0.999)
    );
    if answered < count {
        std::process::exit(1);
    }
}

fn from_the_end(bootstrap: &str, topic: &str) -> BaseConsumer {
    let consumer = consumer(bootstrap);
    let mut list = TopicPartitionList::new();
    for (partition, end) in (0..).zip(high_watermarks(&consumer, topic)) {
        list.add_partition_offset(topic, partition, Offset::Offset(end))
            .expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

/// Answers what was sent; the latencies of what is measured.
fn read(consumer: &BaseConsumer, shared: &Shared) -> Vec<Duration> {
    let mut measured = Vec::new();
    while !shared.stop.load(SeqCst) {
        let message = match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(_))) | None => continue,
            Some(Err(error)) => panic!("reading outputs: {error}"),
        };
        let (seen, newest) = (Instant::now(), message.timestamp().to_millis().unwrap_or(0));
        let mut waiting = shared.waiting[movie_of(message.key()) as usize].lock();
        while waiting.front().is_some_and(|sent| sent.timestamp <= newest) {
            let Some(sent) = waiting.pop_front() else { break };
            shared.answered.fetch_add(1, SeqCst);
            if sent.at >= shared.measure_from {
                measured.push(seen - sent.at);
            }
        }
    }
    measured
}
