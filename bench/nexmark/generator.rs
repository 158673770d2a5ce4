//! Nexmark's events: persons, auctions and bids as 1 : 3 : 46, from a seed. Equal settings give equal events.
//!
//! After Nexmark's published parameters: ids grow from 1000, most bids go to a few hot auctions and come from a few hot bidders, most auctions
//! from hot sellers; an auction or a bid may name a person or an auction that comes a little later; prices are spread over six powers of ten;
//! an auction lasts until about so many others were opened. Not a port: names and random numbers are our own.
//!
//! It is shared by the test of the queries and by load generators, so it needs nothing but the standard library.

use std::fmt::Write as _;

/// Events of a round: 1 person, 3 auctions, 46 bids.
const ROUND: u64 = 50;
const AUCTIONS_A_ROUND: u64 = 3;
/// Ids and categories begin here.
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;
/// The auctions that are open at a time, about.
const IN_FLIGHT: u64 = 100;
/// The persons that are active at a time.
const ACTIVE_PERSONS: u64 = 1000;
/// How far ahead a bid or an auction may name what is not there yet.
const LEAD: u64 = 10;
/// One of so many is hot.
const HOT_EVERY: u64 = 100;
const CHANNELS: u64 = 10_000;
/// Events of so many places come in another order than their times.
const SHUFFLED: u64 = 20;

const FIRST_NAMES: [&str; 8] = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hana"];
const LAST_NAMES: [&str; 6] = ["Abel", "Berg", "Costa", "Dorn", "Eames", "Falk"];
const PLACES: [(&str, &str); 8] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Seattle", "WA"),
    ("Cheyenne", "WY"),
];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// What the events are like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Where the random numbers begin.
    pub seed: u64,
    /// The time of the first event, in milliseconds since the epoch.
    pub base_ms: u64,
    /// The time between two events, in microseconds.
    pub gap_us: u64,
}

/// Which topic an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Keyed by the person's id.
    Person,
    /// Keyed by the auction's id.
    Auction,
    /// Without key.
    Bid,
}

impl Topic {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }
}

/// An event as a record of its topic.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where it goes.
    pub topic: Topic,
    /// The id of a person or an auction.
    pub key: Option<u64>,
    /// The value as JSON, without the key.
    pub value: String,
    /// When it was written: the record's timestamp. The event's own time is in the value.
    pub written_ms: u64,
}

/// All events, without end. Those of a number are the same whichever came before, so generators can share the work.
#[derive(Clone, Debug)]
pub struct Generator {
    settings: Settings,
    next: u64,
}

/// SplitMix64: the same load in every run.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of the first `n` numbers.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// 1.00 to 1,000,000.00 in hundredths, each power of ten as likely.
    fn price(&mut self) -> u64 {
        let exponent = self.below(6_000_000) as f64 / 1_000_000.0;
        (10f64.powf(exponent) * 100.0).round() as u64
    }

    fn letters(&mut self, text: &mut String, n: usize) {
        for _ in 0..n {
            text.push(char::from(b'a' + self.below(26) as u8));
        }
    }
}

impl Generator {
    /// Begins with event 0.
    pub fn new(settings: Settings) -> Self {
        Self { settings, next: 0 }
    }

    /// The event of a number.
    pub fn event(&self, number: u64) -> Event {
        let mut random = Random(self.settings.seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
        random.next();
        let (round, place) = (number / ROUND, number % ROUND);
        let time = self.time(shuffled(number));
        let mut value = String::with_capacity(200);
        let (topic, key) = match place {
            0 => (Topic::Person, Some(person(&mut random, &mut value, round, time))),
            1..=AUCTIONS_A_ROUND => (
                Topic::Auction,
                Some(self.auction(&mut random, &mut value, number, time)),
            ),
            _ => {
                bid(&mut random, &mut value, number, time);
                (Topic::Bid, None)
            }
        };
        Event {
            topic,
            key,
            value,
            written_ms: self.time(number),
        }
    }

    fn time(&self, number: u64) -> u64 {
        self.settings.base_ms + number * self.settings.gap_us / 1000
    }

    fn auction(&self, random: &mut Random, value: &mut String, number: u64, time: u64) -> u64 {
        let id = FIRST_ID + last_auction(number);
        let rounds = number / ROUND;
        let seller = match random.below(4) {
            0 => FIRST_ID + among_active(random, rounds),
            _ => FIRST_ID + rounds / HOT_EVERY * HOT_EVERY,
        };
        let first_bid = random.price();
        let reserve = first_bid + random.price();
        let ahead = IN_FLIGHT * ROUND / AUCTIONS_A_ROUND;
        let horizon = (ahead * self.settings.gap_us / 1000).max(1);
        let expires = time + 1 + random.below(horizon * 2);
        let category = FIRST_CATEGORY + random.below(CATEGORIES);
        let _ = write!(value, "{{\"itemName\":\"");
        random.letters(value, 20);
        value.push_str("\",\"description\":\"");
        random.letters(value, 100);
        let _ = write!(
            value,
            "\",\"initialBid\":{first_bid},\"reserve\":{reserve},\"dateTime\":{time},\"expires\":{expires},\"seller\":{seller},\
             \"category\":{category},\"extra\":\""
        );
        random.letters(value, 200);
        value.push_str("\"}");
        id
    }
}

impl Iterator for Generator {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next += 1;
        Some(self.event(self.next - 1))
    }
}

/// Another number of the same few, each number once.
fn shuffled(number: u64) -> u64 {
    let first = number / SHUFFLED * SHUFFLED;
    first + number % SHUFFLED * 7 % SHUFFLED
}

/// The number of the last auction that is opened up to an event.
fn last_auction(number: u64) -> u64 {
    let (round, place) = (number / ROUND, number % ROUND);
    (round * AUCTIONS_A_ROUND + place.min(AUCTIONS_A_ROUND)).saturating_sub(1)
}

/// One of the persons that are active, or come soon.
fn among_active(random: &mut Random, last: u64) -> u64 {
    let active = last.min(ACTIVE_PERSONS);
    last - active + random.below(active + LEAD)
}

fn person(random: &mut Random, value: &mut String, round: u64, time: u64) -> u64 {
    let (first, last) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
    let (city, state) = random.pick(&PLACES);
    let card = random.below(10_000_000_000_000_000);
    let _ = write!(value, "{{\"name\":\"{first} {last}\",\"emailAddress\":\"");
    random.letters(value, 7);
    value.push('@');
    random.letters(value, 5);
    let _ = write!(
        value,
        ".com\",\"creditCard\":\"{card:016}\",\"city\":\"{city}\",\"state\":\"{state}\",\"dateTime\":{time},\"extra\":\""
    );
    random.letters(value, 50);
    value.push_str("\"}");
    FIRST_ID + round
}

fn bid(random: &mut Random, value: &mut String, number: u64, time: u64) {
    let last = last_auction(number);
    let auction = match random.below(2) {
        0 => last / HOT_EVERY * HOT_EVERY,
        _ => last.saturating_sub(IN_FLIGHT) + random.below(last.min(IN_FLIGHT) + 1 + LEAD),
    };
    let rounds = number / ROUND;
    let bidder = match random.below(4) {
        0 => among_active(random, rounds),
        _ => rounds / HOT_EVERY * HOT_EVERY + 1,
    };
    let price = random.price();
    let (auction, bidder) = (FIRST_ID + auction, FIRST_ID + bidder);
    let _ = write!(
        value,
        "{{\"auction\":{auction},\"bidder\":{bidder},\"price\":{price},\"channel\":\""
    );
    let channel = random.below(CHANNELS);
    match random.below(2) {
        0 => value.push_str(random.pick(&HOT_CHANNELS)),
        _ => {
            let _ = write!(value, "channel-{channel}");
        }
    }
    value.push_str("\",\"url\":\"https://www.nexmark.com/");
    for _ in 0..3 {
        random.letters(value, 4);
        value.push('/');
    }
    value.push_str("item.htm?query=1");
    if random.below(10) > 0 {
        let _ = write!(value, "&channel_id={channel}");
    }
    let _ = write!(value, "\",\"dateTime\":{time},\"extra\":\"");
    random.letters(value, 20);
    value.push_str("\"}");
}
