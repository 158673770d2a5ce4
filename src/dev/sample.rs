//! The sample that `dev` streams: movies and ratings as text lines, customers, orders that change state, payments.
//!
//! Everything is made up here. What happens at a tick is a function of the tick's number alone, so a restarted sample goes on where it was as
//! soon as it knows the number, and a tick that is sent twice changes nothing in the tables.
//!
//! *Is not*: a load generator. It sends about 60 ratings and 4 orders a second, and its keys are bounded: [`MOVIES`], [`CUSTOMERS`], [`ORDERS`].

use serde_json::{Value, json};

/// Time between two ticks, in milliseconds.
pub const TICK_MS: u64 = 100;
/// Movies.
pub const MOVIES: u64 = 150;
/// Customers.
pub const CUSTOMERS: u64 = 200;
/// Customers who order much more than the others.
const REGULARS: u64 = 10;
/// Order numbers before they begin anew; bounds the tables of orders.
pub const ORDERS: u64 = 20_000;
/// Ratings a tick.
const RATINGS: u64 = 6;
/// One line in so many is no rating, so that the dead-letter topic has something to show.
const BAD_LINE_EVERY: u64 = 2_000;
/// A new order every so many ticks.
const TICKS_AN_ORDER: u64 = 3;
/// Orders that come in between an order's creation and its validation, payment, and end.
const STAGES: [u64; 3] = [4, 8, 20];
/// The skew of ratings: Zipf's exponent.
const ZIPF: f64 = 1.1;

/// A record for a stream or table, by its SQL name; the record's columns by theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleRecord {
    /// The stream or table.
    pub relation: &'static str,
    /// Its columns.
    pub columns: Value,
}

/// A topic that the sample fills, and the settings that keep it small.
#[derive(Clone, Copy, Debug)]
pub struct SampleTopic {
    /// The SQL name of a stream or table that stands on it.
    pub relation: &'static str,
    /// Settings for its creation.
    pub config: &'static [(&'static str, &'static str)],
}

/// A partition of a stream keeps 2 MiB and the segment being written. All topics of the sample stay below 64 MB with these: seven partitions
/// of streams, and sixteen of tables with at most 1 MiB to compact beside their rows. README.md says so.
const STREAM: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "2097152"),
    ("segment.bytes", "1048576"),
];
/// A table's topic keeps the last record a key.
const TABLE: &[(&str, &str)] = &[("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
/// Movie lines are sent once and stay.
const KEPT: &[(&str, &str)] = &[("cleanup.policy", "delete"), ("retention.ms", "-1")];

/// The topics of the sample.
pub const TOPICS: &[SampleTopic] = &[
    SampleTopic {
        relation: "RAW_MOVIES",
        config: KEPT,
    },
    SampleTopic {
        relation: "RAW_RATINGS",
        config: STREAM,
    },
    SampleTopic {
        relation: "MOVIES",
        config: TABLE,
    },
    SampleTopic {
        relation: "RATINGS",
        config: STREAM,
    },
    SampleTopic {
        relation: "CUSTOMERS",
        config: TABLE,
    },
    SampleTopic {
        relation: "ORDERS",
        config: TABLE,
    },
    SampleTopic {
        relation: "PAYMENTS",
        config: TABLE,
    },
    SampleTopic {
        relation: "ORDERS_OF_CUSTOMER",
        config: TABLE,
    },
];

/// The sample, at a tick.
#[derive(Clone, Debug)]
pub struct Sample {
    tick: u64,
    zipf: Vec<f64>,
}

impl Sample {
    /// The sample from a tick on; 0 for a new one.
    pub fn new(tick: u64) -> Self {
        let mut sum = 0.0;
        let zipf = (1..=MOVIES)
            .map(|rank| {
                sum += 1.0 / (rank as f64).powf(ZIPF);
                sum
            })
            .collect();
        Self { tick, zipf }
    }

    /// The tick that [`Self::step`] gives next: what to remember over a restart.
    pub fn tick(&self) -> u64 {
        self.tick
    }

    /// The records of the next tick.
    pub fn step(&mut self) -> Vec<SampleRecord> {
        let tick = self.tick;
        self.tick += 1;
        let mut out = Vec::new();
        if tick == 0 {
            out.extend((1..=MOVIES).map(|id| record("RAW_MOVIES", json!({ "LINE": movie_line(id) }))));
            out.extend((1..=CUSTOMERS).map(|id| customer(id, 0)));
        }
        out.extend(
            (0..RATINGS).map(|i| record("RAW_RATINGS", json!({ "LINE": self.rating_line(tick * RATINGS + i) }))),
        );
        if tick.is_multiple_of(TICKS_AN_ORDER) {
            orders(tick / TICKS_AN_ORDER, &mut out);
        }
        if tick % 50 == 49 {
            out.push(customer(1 + pick(tick, 1, CUSTOMERS), tick));
        }
        out
    }

    /// The n-th rating: `user::movie::rating`.
    fn rating_line(&self, n: u64) -> String {
        if n % BAD_LINE_EVERY == BAD_LINE_EVERY - 1 {
            return format!("this line is no rating ({n})");
        }
        let total = self.zipf.last().copied().unwrap_or(1.0);
        let point = unit(n, 2) * total;
        let rank = self.zipf.partition_point(|sum| *sum < point) as u64;
        // A movie's rank has nothing to do with its number.
        let movie = 1 + (rank * 67 + 13) % MOVIES;
        let rating = (quality(movie) + 3.0 * (unit(n, 3) + unit(n, 4) - 1.0))
            .round()
            .clamp(1.0, 10.0);
        format!("{}::{movie}::{rating}", 1 + pick(n, 5, 1_000))
    }
}

fn record(relation: &'static str, columns: Value) -> SampleRecord {
    SampleRecord { relation, columns }
}

/// How good a movie is, 3 to 9: what its average comes to.
fn quality(movie: u64) -> f64 {
    3.0 + 6.0 * unit(movie, 6)
}

/// What happens with orders when number `k` is created.
fn orders(k: u64, out: &mut Vec<SampleRecord>) {
    out.push(order(k, "CREATED"));
    let earlier = STAGES.map(|stage| k.checked_sub(stage));
    if let Some(j) = earlier[0] {
        out.push(order(j, if is_valid(j) { "VALIDATED" } else { "FAILED" }));
    }
    if let Some(j) = earlier[1].filter(|j| is_paid(*j)) {
        let method = ["card", "invoice", "transfer"][pick(j, 10, 3) as usize];
        let columns = json!({ "ORDER_ID": order_id(j), "PAYMENT_ID": j + 1, "AMOUNT": amount(j), "METHOD": method });
        out.push(record("PAYMENTS", columns));
    }
    if let Some(j) = earlier[2].filter(|j| is_valid(*j)) {
        out.push(order(j, if is_paid(j) { "SHIPPED" } else { "CANCELLED" }));
    }
}

fn order_id(j: u64) -> u64 {
    j % ORDERS + 1
}

fn is_valid(j: u64) -> bool {
    pick(j, 11, 10) != 0
}

fn is_paid(j: u64) -> bool {
    is_valid(j) && pick(j, 12, 9) != 0
}

fn quantity(j: u64) -> u64 {
    1 + pick(j, 13, 5)
}

/// Quantity times price, exact: as text, which JSON readers do not round.
fn amount(j: u64) -> String {
    let thousandths = quantity(j) * (990 + 10 * pick(j, 14, 5_000));
    format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
}

/// Every other order is of one of the regulars, the first [`REGULARS`], so that there is something to see of each soon.
fn buyer(j: u64) -> u64 {
    1 + pick(j, 17, if j.is_multiple_of(2) { REGULARS } else { CUSTOMERS })
}

fn order(j: u64, state: &str) -> SampleRecord {
    let product = format!("{} {}", word(COLOURS, j, 15), word(THINGS, j, 16));
    record(
        "ORDERS",
        json!({
            "ORDER_ID": order_id(j),
            "CUSTOMER_ID": buyer(j),
            "PRODUCT": product,
            "QUANTITY": quantity(j),
            "AMOUNT": amount(j),
            "STATE": state,
        }),
    )
}

fn customer(id: u64, tick: u64) -> SampleRecord {
    let level = ["bronze", "silver", "gold"][if tick == 0 { 0 } else { pick(tick, 18, 3) as usize }];
    record(
        "CUSTOMERS",
        json!({ "CUSTOMER_ID": id, "NAME": person(id, 19), "LEVEL": level }),
    )
}

/// `id::title::year::minutes::country::rating::votes::genres::actors::directors::composers::screenwriters::cinematographer::companies`
fn movie_line(id: u64) -> String {
    // The pair of words is unique: there are more pairs than movies, and each is taken once.
    let title = format!(
        "The {} {}",
        COLOURS[(id % 12) as usize],
        THINGS[(id / 12 % 13) as usize]
    );
    let people = |salt: u64, count: u64| {
        (0..count)
            .map(|i| person(id * 31 + i, salt))
            .collect::<Vec<_>>()
            .join("|")
    };
    let genres = format!("{}|{}", GENRES[(id % 5) as usize], GENRES[(5 + id % 4) as usize]);
    format!(
        "{id}::{title}::{}::{}::{}::{:.1}::{}::{genres}::{}::{}::{}::{}::{}::{} Pictures",
        1950 + pick(id, 20, 75),
        80 + pick(id, 21, 80),
        word(COUNTRIES, id, 22),
        quality(id),
        pick(id, 23, 20_000),
        people(24, 4),
        people(25, 1),
        people(26, 1),
        people(27, 2),
        person(id, 28),
        word(COLOURS, id, 29),
    )
}

fn person(n: u64, salt: u64) -> String {
    format!("{} {}", word(FIRST_NAMES, n, salt), word(LAST_NAMES, n, salt + 100))
}

fn word(words: &[&'static str], n: u64, salt: u64) -> &'static str {
    words[pick(n, salt, words.len() as u64) as usize]
}

/// A number below `below`, by `n` and a salt that tells the uses apart.
fn pick(n: u64, salt: u64, below: u64) -> u64 {
    mix(n, salt) % below
}

/// A number from 0 to 1.
fn unit(n: u64, salt: u64) -> f64 {
    (mix(n, salt) >> 11) as f64 / (1u64 << 53) as f64
}

/// SplitMix64's finish (Steele, Lea, Flood 2014) over number and salt.
fn mix(n: u64, salt: u64) -> u64 {
    let mut z = n
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(salt.wrapping_mul(0xd1b5_4a32_d192_ed03));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const COLOURS: &[&str] = &[
    "Amber", "Silent", "Crooked", "Velvet", "Frozen", "Hollow", "Golden", "Restless", "Distant", "Crimson", "Paper",
    "Borrowed",
];
const THINGS: &[&str] = &[
    "Lantern", "Harbour", "Orchard", "Compass", "Ladder", "Umbrella", "Bridge", "Kettle", "Mirror", "Garden", "Clock",
    "Ferry", "Piano",
];
const GENRES: &[&str] = &[
    "Drama",
    "Comedy",
    "Thriller",
    "Western",
    "Romance",
    "Adventure",
    "Mystery",
    "Musical",
    "Fantasy",
];
const COUNTRIES: &[&str] = &["Norland", "Estmark", "Varelia", "Quindor", "Sollen", "Tamarra"];
const FIRST_NAMES: &[&str] = &[
    "Ada", "Bela", "Cyrus", "Dora", "Emil", "Freya", "Gus", "Hanna", "Ivo", "Juno", "Karel", "Lotte", "Milo", "Nora",
];
const LAST_NAMES: &[&str] = &[
    "Abelson",
    "Brandt",
    "Corvin",
    "Dahl",
    "Eklund",
    "Farrow",
    "Grieg",
    "Holm",
    "Isaksen",
    "Jarvis",
    "Kestrel",
    "Lindqvist",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_sample_goes_on_where_it_was() {
        let mut whole = Sample::new(0);
        let all: Vec<Vec<SampleRecord>> = (0..200).map(|_| whole.step()).collect();
        let mut resumed = Sample::new(100);
        let tail: Vec<Vec<SampleRecord>> = (0..100).map(|_| resumed.step()).collect();
        assert_eq!(all[100..], tail);
        assert_eq!(resumed.tick(), whole.tick());
    }

    #[test]
    fn movie_lines_have_fourteen_parts_and_titles_of_their_own() {
        let lines: Vec<String> = (1..=MOVIES).map(movie_line).collect();
        assert!(lines.iter().all(|line| line.split("::").count() == 14));
        let titles: BTreeSet<&str> = lines.iter().filter_map(|line| line.split("::").nth(1)).collect();
        assert_eq!(titles.len() as u64, MOVIES);
    }

    #[test]
    fn ratings_are_skewed_and_some_lines_are_bad() {
        let sample = Sample::new(0);
        let mut counts = vec![0u32; MOVIES as usize + 1];
        let mut bad = 0;
        for n in 0..20_000 {
            let line = sample.rating_line(n);
            let parts: Vec<&str> = line.split("::").collect();
            match parts[..] {
                [_, movie, rating] => {
                    counts[movie.parse::<usize>().expect("a movie")] += 1;
                    assert!((1.0..=10.0).contains(&rating.parse::<f64>().expect("a number")));
                }
                _ => bad += 1,
            }
        }
        counts.sort_unstable();
        assert_eq!(bad, 10);
        assert!(counts[MOVIES as usize] > 2_000 && counts[1] > 0, "{counts:?}");
    }

    #[test]
    fn orders_end_shipped_failed_or_cancelled() {
        let mut sample = Sample::new(0);
        let mut states = BTreeSet::new();
        for _ in 0..600 {
            for record in sample.step() {
                if record.relation == "ORDERS" {
                    states.insert(record.columns["STATE"].as_str().expect("a text").to_owned());
                }
            }
        }
        assert_eq!(states.len(), 5, "{states:?}");
        assert!(
            (0..40).any(|j| buyer(j) == 7),
            "README.md asks for the orders of customer 7"
        );
        assert_eq!(amount(3).split('.').next_back().map(str::len), Some(3));
    }
}
