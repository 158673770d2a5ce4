//! Load and limits for `make bench`: `generate`, `limit` and `verify` against any Kafka broker, and a Schema Registry in memory.
//!
//! It speaks to the client library directly, so that the limit is the library's and not ours.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use millstream::dev::registry::{EmbeddedRegistry, MemoryLog, serve};
use rdkafka::ClientConfig;
use rdkafka::Message;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

const USAGE: &str = "bench ready BOOTSTRAP              exit code 0 once the broker answers
bench registry PORT                a Schema Registry that keeps its schemas in memory
bench generate BOOTSTRAP RECORDS MOVIES ZIPF_PERCENT SUFFIX MOVIE_SCHEMA_ID RATING_SCHEMA_ID
bench limit BOOTSTRAP TOPIC RECORDS        consume a topic and do nothing with the records
bench verify BOOTSTRAP SUFFIX TOPIC          compare the last average a movie in TOPIC (a double as the last field) with the ratings";
const PARTITIONS: i32 = 6;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["ready", bootstrap] => ready(bootstrap),
        ["registry", port] => registry(number(port) as u16),
        [
            "generate",
            bootstrap,
            records,
            movies,
            zipf,
            suffix,
            movie_id,
            rating_id,
        ] => generate(
            bootstrap,
            number(records),
            number(movies) as usize,
            number(zipf) as f64 / 100.0,
            suffix,
            (number(movie_id) as u32, number(rating_id) as u32),
        ),
        ["limit", bootstrap, topic, records] => limit(bootstrap, topic, number(records)),
        ["verify", bootstrap, suffix, topic] => verify(bootstrap, suffix, topic),
        _ => {
            eprintln!("{USAGE}");
            std::process::exit(2);
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| {
        eprintln!("not a number: {word}\n{USAGE}");
        std::process::exit(2)
    })
}

fn ready(bootstrap: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .create()
        .expect("a consumer");
    if consumer.fetch_metadata(None, Duration::from_secs(2)).is_err() {
        std::process::exit(1);
    }
}

fn registry(port: u16) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
            .await
            .expect("a free port");
        let registry = EmbeddedRegistry::open(Box::new(MemoryLog::default())).expect("an empty registry");
        let handle = serve(listener, registry).expect("a server");
        println!("{}", handle.address());
        std::future::pending::<()>().await;
    });
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the struct that it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// SplitMix64: the same load in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn zigzag(n: i64, out: &mut Vec<u8>) {
    let mut z = ((n << 1) ^ (n >> 63)) as u64;
    while z >= 0x80 {
        out.push(z as u8 | 0x80);
        z >>= 7;
    }
    out.push(z as u8);
}

fn string(s: &str, out: &mut Vec<u8>) {
    zigzag(s.len() as i64, out);
    out.extend_from_slice(s.as_bytes());
}

fn header(schema: u32, out: &mut Vec<u8>) {
    out.clear();
    out.push(0);
    out.extend_from_slice(&schema.to_be_bytes());
}

fn generate(bootstrap: &str, records: u64, movies: usize, zipf: f64, suffix: &str, (movie_id, rating_id): (u32, u32)) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("linger.ms", "20")
        .set("compression.type", "lz4");
    config
        .set("batch.size", "262144")
        .set("queue.buffering.max.messages", "1000000")
        .set("partitioner", "murmur2_random");
    let (movie_topic, rating_topic) = (format!("movies{suffix}"), format!("ratings{suffix}"));
    create_topics(&config, &[&movie_topic, &rating_topic]);
    let producer: BaseProducer = config.create().expect("a producer");
    let send = |topic: &str, key: i64, payload: &[u8], timestamp: i64| {
        let key = key.to_be_bytes();
        loop {
            match producer.send(BaseRecord::to(topic).key(&key).payload(payload).timestamp(timestamp)) {
                Ok(()) => return,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => panic!("{topic}: {error}"),
            }
        }
    };
    let mut bytes = Vec::new();
    for id in 0..movies as i64 {
        header(movie_id, &mut bytes);
        zigzag(id, &mut bytes);
        string(&format!("Movie number {id}"), &mut bytes);
        zigzag(1950 + id % 75, &mut bytes);
        string("US", &mut bytes);
        send(&movie_topic, id, &bytes, 1000);
    }
    let mut random = Random(42);
    let cumulated = zipf_table(movies, zipf);
    for i in 0..records {
        let id = match &cumulated {
            Some(table) => {
                let x = random.unit();
                table.partition_point(|p| *p < x).min(movies - 1) as i64
            }
            None => random.below(movies as u64) as i64,
        };
        header(rating_id, &mut bytes);
        zigzag(id, &mut bytes);
        bytes.extend_from_slice(&(random.below(11) as f64).to_le_bytes());
        zigzag(random.below(1_000_000) as i64, &mut bytes);
        send(&rating_topic, id, &bytes, 1_000_000 + i as i64 / 10);
        if i % 10_000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer
        .flush(Duration::from_secs(120))
        .expect("everything acknowledged");
    println!("{{\"movies\":{movies},\"ratings\":{records}}}");
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

fn create_topics(config: &ClientConfig, names: &[&str]) {
    let admin: AdminClient<DefaultClientContext> = config.create().expect("an admin client");
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1)).set("retention.ms", "-1"))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for result in runtime
        .block_on(admin.create_topics(&topics, &AdminOptions::new()))
        .expect("the broker answers")
    {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => panic!("topic {name}: {code}"),
        }
    }
}

fn reader(bootstrap: &str, topic: &str) -> BaseConsumer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "bench-reader")
        .set("enable.auto.commit", "false");
    config
        .set("isolation.level", "read_committed")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.min.messages", "200000");
    config
        .set("check.crcs", "false")
        .set("fetch.wait.max.ms", "50")
        .set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(10))
        .expect("metadata");
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        list.add_partition_offset(topic, partition.id(), Offset::Beginning)
            .expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    consumer
}

/// What the client library costs when nothing is done with the records: nothing built on it can be cheaper.
fn limit(bootstrap: &str, topic: &str, records: u64) {
    let consumer = reader(bootstrap, topic);
    let mut started: Option<(Instant, f64)> = None;
    let (mut seen, mut sum) = (0u64, 0u64);
    // SAFETY: the queue belongs to the consumer, which outlives it; each message is destroyed once, after its last use.
    unsafe {
        let queue = sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr());
        let mut batch: Vec<*mut sys::rd_kafka_message_t> = vec![std::ptr::null_mut(); 4096];
        while seen < records {
            let n = sys::rd_kafka_consume_batch_queue(queue, 20, batch.as_mut_ptr(), batch.len());
            for message in &batch[..n.max(0) as usize] {
                let m = &**message;
                if m.err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    started.get_or_insert_with(|| (Instant::now(), cpu_seconds()));
                    seen += 1;
                    if m.len > 6 {
                        sum += u64::from(*m.payload.cast::<u8>().add(6));
                    }
                }
                sys::rd_kafka_message_destroy(*message);
            }
        }
        sys::rd_kafka_queue_destroy(queue);
    }
    let (wall, cpu) = started.map_or((0.0, 0.0), |(t, c)| (t.elapsed().as_secs_f64(), cpu_seconds() - c));
    println!("{{\"records\":{seen},\"wall_s\":{wall:.3},\"cpu_s\":{cpu:.3},\"check\":{sum}}}");
}

/// Reads a topic to its end, committed records only.
fn each_committed(bootstrap: &str, topic: &str, mut each: impl FnMut(&[u8], &[u8])) {
    let consumer = reader(bootstrap, topic);
    let partitions = consumer.assignment().expect("an assignment").count();
    let mut ended = 0;
    while ended < partitions {
        match consumer.poll(Duration::from_secs(10)) {
            Some(Ok(m)) => {
                if let (Some(key), Some(value)) = (m.key(), m.payload()) {
                    each(key, value);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => panic!("{topic}: no answer within 10 s"),
        }
    }
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

/// The last averages in `topic` (a double as the value's last field) against those computed from the ratings themselves.
fn verify(bootstrap: &str, suffix: &str, topic: &str) {
    let mut sums: HashMap<Vec<u8>, (u64, f64)> = HashMap::new();
    each_committed(bootstrap, &format!("ratings{suffix}"), |key, value| {
        let mut at = 5;
        read_zigzag(value, &mut at);
        let rating = f64::from_le_bytes(value[at..at + 8].try_into().expect("8 bytes"));
        let entry = sums.entry(key.to_vec()).or_default();
        *entry = (entry.0 + 1, entry.1 + rating);
    });
    let mut averages: HashMap<Vec<u8>, f64> = HashMap::new();
    each_committed(bootstrap, topic, |key, value| {
        let average = f64::from_le_bytes(value[value.len() - 8..].try_into().expect("8 bytes"));
        averages.insert(key.to_vec(), average);
    });
    let wrong = sums
        .iter()
        .filter(|(key, (n, sum))| averages.get(*key) != Some(&(sum / *n as f64)))
        .count();
    println!(
        "{{\"movies\":{},\"averages\":{},\"wrong\":{wrong}}}",
        sums.len(),
        averages.len()
    );
    if wrong > 0 || sums.len() != averages.len() {
        std::process::exit(1);
    }
}
