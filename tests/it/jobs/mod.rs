//! The real `millstream run` under load, started, stopped and killed with `kill -9`; then its outputs are compared with its input.
//!
//! - `sample`: the jobs of `topologies/`, one instance, every third kill at a fail point;
//! - `aggregates`: echo, minimum, maximum, sum and count in the mode that emits every change: one output an input, in its order;
//! - `answers`: keys that say what every result must be, and final windows, each given out once;
//! - `articles`: foreign-key joins with hot keys;
//! - `moves`: what an instance that joins, leaves, restarts or dies does to the tasks of the others.
//!
//! They run against Apache Kafka where `MILLSTREAM_TEST_KAFKA=HOST:PORT` names one (`make test-kafka` starts it, `make test-kafka-long` three nodes), else
//! in a small form against the embedded broker. `KILLS` is how often instances are killed; `SEED` makes the same choices again, though not the same run.
//!
//! *Invariant*: no test asserts how long something took. Everything waits for events; times are measured and printed.

mod aggregates;
mod answers;
mod articles;
mod brokers;
mod cluster;
mod crashes;
mod fleet;
mod load;
mod moves;
mod process;
mod random;
#[cfg(feature = "failpoints")]
mod sample;
mod timeline;

/// Whether a real Kafka was named.
fn on_kafka() -> bool {
    std::env::var_os("MILLSTREAM_TEST_KAFKA").is_some()
}

/// How often to kill: what `KILLS` says on Kafka (or `usual`), a few times on the embedded broker.
fn kills(usual: usize, embedded: usize) -> usize {
    if !on_kafka() {
        return embedded;
    }
    let wanted = std::env::var("KILLS").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or(usual)
}

/// The group protocol of KIP-848 where it can be relied on, else the classic one.
fn newest_protocol() -> &'static str {
    match lacks_consumer_protocol() {
        None => "consumer",
        Some(_) => "classic",
    }
}

/// Why KIP-848 is not used here.
fn lacks_consumer_protocol() -> Option<&'static str> {
    let version = std::env::var("MILLSTREAM_TEST_KAFKA_VERSION").unwrap_or_default();
    if version.starts_with("3.") {
        return Some("KIP-848 is a preview in this Kafka");
    }
    // RELIABILITY.md, "Known limits"
    let several = brokers::Brokers::of_environment().are_several();
    several.then_some("librdkafka 2.12 may run a task twice under KIP-848 while the group's coordinator moves")
}
