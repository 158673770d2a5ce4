//! Writes Nexmark's events.

use super::Args;
use super::load::Sink;

#[path = "../../bench/nexmark/generator.rs"]
mod generator;

pub use generator::Random;
use generator::{Generator, Settings};

/// 10,000 events a second of event time: a window of 10 seconds holds 100,000.
const SETTINGS: Settings = Settings {
    seed: 1,
    base_ms: 1_700_000_000_000,
    gap_us: 100,
};

/// Writes events and prints how many went to each topic.
pub fn events(args: &Args) {
    let (count, sink) = (args.number(1) as usize, Sink::new(args.text(0), "20"));
    let (mut persons, mut auctions, mut bids) = (0u64, 0u64, 0u64);
    for event in Generator::new(SETTINGS).take(count) {
        let counter = match event.topic {
            generator::Topic::Person => &mut persons,
            generator::Topic::Auction => &mut auctions,
            generator::Topic::Bid => &mut bids,
        };
        *counter += 1;
        let key = event.key.map(|key| (key as i64).to_be_bytes());
        let (key, time) = (key.as_ref().map(|key| &key[..]), event.written_ms as i64);
        sink.send_record(event.topic.name(), key, event.value.as_bytes(), time);
    }
    sink.finish();
    println!("{{\"person\":{persons},\"auction\":{auctions},\"bid\":{bids}}}");
}
