//! Writes the ratings job's input: movies and ratings in Avro, in Confluent's wire format. The same load in every run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::Args;
use super::avro::{string, zigzag};
use super::nexmark::Random;

/// Between two looks whether records are due.
const TICK: Duration = Duration::from_millis(1);
/// Records between two looks at the delivery reports.
const SERVE_EVERY: u64 = 10_000;
/// Times of ratings that are written at once: ten a millisecond, from here on.
const FIRST_TIME_MS: i64 = 1_000_000;

/// Ends with an exit code.
pub fn ready(args: &Args) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", args.text(0))
        .create()
        .expect("a consumer");
    if consumer.fetch_metadata(None, Duration::from_secs(2)).is_err() {
        std::process::exit(1);
    }
}

/// Makes topics.
pub fn topics(args: &Args) {
    let partitions = i32::try_from(args.number(1)).expect("a number of partitions");
    let names: Vec<&str> = args.text(2).split(',').collect();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", args.text(0))
        .create()
        .expect("an admin client");
    let new = |name| NewTopic::new(name, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
    let topics: Vec<NewTopic<'_>> = names.iter().map(|name| new(name)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let made = runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()));
    for result in made.expect("the broker answers") {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, error)) => panic!("{name}: {error}"),
        }
    }
    println!("{{\"topics\":{}}}", names.len());
}

/// Writes movies.
pub fn movies(args: &Args) {
    let (topic, count, schema) = (args.text(1), args.number(2), args.number(3));
    let sink = Sink::new(args.text(0), "20");
    let mut bytes = Vec::new();
    for id in 0..count as i64 {
        header(schema, &mut bytes);
        zigzag(id, &mut bytes);
        string(&format!("Movie number {id}"), &mut bytes);
        zigzag(1950 + id % 75, &mut bytes);
        string("US", &mut bytes);
        sink.send(topic, id, &bytes, 1000);
    }
    sink.finish();
    println!("{{\"movies\":{count}}}");
}

/// Writes ratings.
pub fn ratings(args: &Args) {
    let (topic, count, movies) = (args.text(1), args.number(2), args.number(3) as usize);
    let (zipf, schema, rate) = (args.number(4) as f64 / 100.0, args.number(5), args.number(6));
    let sink = Sink::new(args.text(0), if rate > 0 { "1" } else { "20" });
    let mut ratings = Ratings::new(movies, zipf, schema);
    if rate > 0 {
        paced(rate, count, &sink, |_| {
            let (movie, bytes) = ratings.draw();
            sink.send(topic, movie, bytes, now_ms());
        });
    } else {
        for i in 0..count {
            let (movie, bytes) = ratings.draw();
            sink.send(topic, movie, bytes, FIRST_TIME_MS + i as i64 / 10);
        }
    }
    sink.finish();
    println!("{{\"ratings\":{count}}}");
}

/// Calls `send` for each record when it is due.
pub fn paced(rate: u64, count: u64, sink: &Sink, mut send: impl FnMut(u64)) {
    let start = Instant::now();
    let mut sent = 0;
    while sent < count {
        let due = (start.elapsed().as_micros() as u64 * rate / 1_000_000).min(count);
        for i in sent..due {
            send(i);
        }
        sent = due.max(sent);
        sink.serve();
        std::thread::sleep(TICK);
    }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock behind 1970").as_millis() as i64
}

/// A producer that waits when its queue is full.
pub struct Sink {
    producer: BaseProducer,
    unserved: std::cell::Cell<u64>,
}

impl Sink {
    /// `linger_ms` as librdkafka takes it.
    pub fn new(bootstrap: &str, linger_ms: &str) -> Self {
        let settings = [
            ("bootstrap.servers", bootstrap),
            ("linger.ms", linger_ms),
            ("compression.type", "lz4"),
            ("batch.size", "262144"),
            ("queue.buffering.max.messages", "1000000"),
            ("partitioner", "murmur2_random"),
        ];
        let mut config = ClientConfig::new();
        for (key, value) in settings {
            config.set(key, value);
        }
        Self {
            producer: config.create().expect("a producer"),
            unserved: std::cell::Cell::new(0),
        }
    }

    /// With a key as Kafka's `LongSerializer` writes it.
    pub fn send(&self, topic: &str, key: i64, payload: &[u8], timestamp: i64) {
        self.send_record(topic, Some(&key.to_be_bytes()), payload, timestamp);
    }

    /// With any key, or none.
    pub fn send_record(&self, topic: &str, key: Option<&[u8]>, payload: &[u8], timestamp: i64) {
        loop {
            let record = BaseRecord::to(topic).payload(payload).timestamp(timestamp);
            let record = match key {
                Some(key) => record.key(key),
                None => record,
            };
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    self.producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{topic}: {error}"),
            }
        }
        self.unserved.set(self.unserved.get() + 1);
        if self.unserved.get() >= SERVE_EVERY {
            self.serve();
        }
    }

    /// Takes delivery reports.
    pub fn serve(&self) {
        self.unserved.set(0);
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until everything is there.
    pub fn finish(&self) {
        let flushed = self.producer.flush(Duration::from_secs(120));
        flushed.expect("everything acknowledged");
    }
}

/// Ratings without end.
pub struct Ratings {
    random: Random,
    movies: usize,
    /// Cumulated probabilities by rank; without them all movies are as likely.
    cumulated: Option<Vec<f64>>,
    schema: u64,
    bytes: Vec<u8>,
}

impl Ratings {
    /// `zipf`: the exponent, 0 for uniform.
    pub fn new(movies: usize, zipf: f64, schema: u64) -> Self {
        Self {
            random: Random(42),
            movies,
            cumulated: zipf_table(movies, zipf),
            schema,
            bytes: Vec::new(),
        }
    }

    /// The movie and the record's value.
    pub fn draw(&mut self) -> (i64, &[u8]) {
        let movie = match &self.cumulated {
            Some(table) => {
                let x = unit(&mut self.random);
                table.partition_point(|p| *p < x).min(self.movies - 1) as i64
            }
            None => self.random.below(self.movies as u64) as i64,
        };
        header(self.schema, &mut self.bytes);
        zigzag(movie, &mut self.bytes);
        let stars = self.random.below(11) as f64;
        self.bytes.extend_from_slice(&stars.to_le_bytes());
        zigzag(self.random.below(1_000_000) as i64, &mut self.bytes);
        (movie, &self.bytes)
    }
}

fn zipf_table(n: usize, exponent: f64) -> Option<Vec<f64>> {
    if exponent == 0.0 {
        return None;
    }
    let mut sum = 0.0;
    let mut table: Vec<f64> = (1..=n)
        .map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        })
        .collect();
    table.iter_mut().for_each(|p| *p /= sum);
    Some(table)
}

/// From 0 to 1, without the 1.
fn unit(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

fn header(schema: u64, out: &mut Vec<u8>) {
    out.clear();
    out.push(0);
    out.extend_from_slice(&(schema as u32).to_be_bytes());
}
