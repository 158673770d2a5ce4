//! Whole topologies on the simulated log: crashes at every step, lost requests and answers, lost disks' tails, moving tasks. Afterwards the
//! outputs must be those that an oracle computes from the inputs, whatever the seed.

mod disk;
mod failures;
mod fan_outs;
mod fault;
mod found;
mod globals;
mod golden;
pub mod plan;
mod random;
mod replaced;
mod standbys;
pub mod world;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use millstream::engine::{EngineSettings, TaskStatus};
use millstream::log::partition_for_key;
use millstream::log::sim::{Faults, Rng, SimRecord};
use millstream::types::{TopicPartition, Value, decode_key, decode_row, encode_row};

use plan::{GENRES, MOVIES, RATED, RATINGS};
use world::World;

/// Seeds in every `make test`.
const SEEDS: u64 = 200;

/// Everything that was put in.
#[derive(Default)]
struct Given {
    /// Ratings by movie.
    ratings: BTreeMap<i64, Vec<f64>>,
    /// Movies: title and genre.
    movies: BTreeMap<i64, (String, i64)>,
    /// Records that cannot be decoded.
    bad: usize,
}

struct Sizes {
    partitions: (i32, i32),
    steps: usize,
}

fn append(world: &World, topic: &str, partitions: i32, key: i64, value: Option<&[u8]>, timestamp: i64) {
    let key = key.to_be_bytes();
    let tp = TopicPartition::new(topic, partition_for_key(&key, partitions));
    world.log.append(&tp, Some(&key), value, timestamp).unwrap();
}

/// One more input record.
fn feed(world: &mut World, given: &mut Given, sizes: &Sizes) {
    let timestamp = world.log.now();
    let movie = world.rng.below(12) as i64;
    let mut bytes = Vec::new();
    match world.rng.below(10) {
        0 if world.rng.chance(200) => {
            append(world, MOVIES, sizes.partitions.1, movie, None, timestamp);
            given.movies.remove(&movie);
        }
        0 | 1 => {
            let (title, genre) = (format!("movie {}", world.rng.below(1_000)), world.rng.below(4) as i64);
            encode_row(&[title.as_str().into(), genre.into()], &mut bytes);
            append(world, MOVIES, sizes.partitions.1, movie, Some(&bytes), timestamp);
            given.movies.insert(movie, (title, genre));
        }
        2 if world.rng.chance(200) => {
            append(world, RATINGS, sizes.partitions.0, 1, Some(b"not a rating"), timestamp);
            given.bad += 1;
        }
        _ => {
            let rating = world.rng.below(11) as f64 / 2.0;
            let user = world.rng.below(50) as i64;
            encode_row(&[movie.into(), rating.into()], &mut bytes);
            append(world, RATINGS, sizes.partitions.0, user, Some(&bytes), timestamp);
            given.ratings.entry(movie).or_default().push(rating);
        }
    }
}

fn world(seed: u64) -> (World, Sizes) {
    let mut rng = Rng::new(seed ^ 0xfeed);
    let settings = EngineSettings {
        workers: 1 + rng.below(3),
        commit_interval: Duration::from_millis(20 + rng.below(150) as u64),
        buffer_bytes: if rng.chance(300) { 2_000 } else { 8 << 20 },
        cache_bytes: 0,
        queue_records: 1 + rng.below(20),
        store_flush_interval: Duration::from_millis(200 + rng.below(3_000) as u64),
        purge_interval: Duration::from_secs(if rng.chance(500) { 1 } else { 1_000_000 }),
        ..EngineSettings::default()
    };
    let sizes = Sizes {
        partitions: (1 + rng.below(3) as i32, 1 + rng.below(3) as i32),
        steps: 250 + rng.below(600),
    };
    let world = World::new(seed, plan::topology(), settings, 1 + rng.below(3));
    world.log.create_topic(RATINGS, sizes.partitions.0, &[]).unwrap();
    world
        .log
        .create_topic(MOVIES, sizes.partitions.1, &[("cleanup.policy", "compact")])
        .unwrap();
    (world, sizes)
}

/// A run under faults, then without until everything is processed; the world and what it was given.
fn run(seed: u64) -> (World, Given) {
    let (mut world, sizes) = world(seed);
    let mut given = Given::default();
    let faults = Faults {
        lost_request: world.rng.below(30) as u32,
        lost_answer: world.rng.below(30) as u32,
        crash: world.rng.below(15) as u32,
        slow_fetch: world.rng.below(600) as u32,
    };
    world.log.set_faults(faults);
    for _ in 0..sizes.steps {
        if world.rng.chance(150) {
            feed(&mut world, &mut given, &sizes);
        }
        if world.rng.chance(3) {
            let at = world.rng.below(world.processes.len());
            world.kill(at);
        }
        if world.rng.chance(3) {
            let at = world.rng.below(world.processes.len());
            world.restart(at);
        }
        if world.rng.chance(3) {
            // Long enough for sessions and transactions to time out, or nearly so.
            let ms = world.rng.below(15_000) as i64;
            world.log.advance(ms);
        }
        world.step();
    }
    world.settle();
    (world, given)
}

fn key_of(record: &SimRecord) -> i64 {
    i64::from_be_bytes(record.key.as_deref().unwrap().try_into().unwrap())
}

/// The rows of a table topic: the last record of each key.
fn table(records: &[SimRecord]) -> BTreeMap<i64, Vec<Value>> {
    let mut rows = BTreeMap::new();
    for record in records {
        match &record.value {
            Some(value) => rows.insert(key_of(record), decode_row(value).unwrap().to_vec()),
            None => rows.remove(&key_of(record)),
        };
    }
    rows
}

fn expected_rated(given: &Given) -> BTreeMap<i64, Vec<Value>> {
    let rated = given.ratings.iter().filter_map(|(movie, ratings)| {
        let (title, genre) = given.movies.get(movie)?;
        let total: f64 = ratings.iter().sum();
        let average = total / ratings.len() as f64;
        let n = ratings.len() as i64;
        Some((
            *movie,
            vec![
                n.into(),
                total.into(),
                average.into(),
                title.as_str().into(),
                (*genre).into(),
            ],
        ))
    });
    rated.collect()
}

fn expected_genres(given: &Given) -> BTreeMap<i64, Vec<Value>> {
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    given
        .movies
        .values()
        .for_each(|(_, genre)| *counts.entry(*genre).or_default() += 1);
    counts.into_iter().map(|(genre, n)| (genre, vec![n.into()])).collect()
}

/// No average that is not of a prefix of the movie's ratings, in the order in which they were re-keyed.
fn check_prefixes(world: &World, given: &Given) {
    let mut orders: HashMap<i64, Vec<f64>> = HashMap::new();
    for record in world.records(&world.deployment().names.repartition("AVERAGES")) {
        let Value::Bigint(movie) = decode_key(record.key.as_deref().unwrap()).unwrap()[0] else {
            panic!()
        };
        let row = decode_row(&record.value.as_deref().unwrap()[1..]).unwrap();
        let Value::Double(rating) = row[0] else { panic!() };
        orders.entry(movie).or_default().push(rating);
    }
    for record in world.records(RATED) {
        let Some(value) = &record.value else { continue };
        let row = decode_row(value).unwrap();
        let (Value::Bigint(n), Value::Double(total), Value::Double(average)) = (&row[0], &row[1], &row[2]) else {
            panic!()
        };
        assert_eq!(total / *n as f64, *average);
        let order = &orders.get(&key_of(&record)).cloned().unwrap_or_default();
        if order.len() == given.ratings.get(&key_of(&record)).map_or(0, Vec::len) {
            let prefix: f64 = order[..*n as usize].iter().sum();
            assert_eq!(
                prefix,
                *total,
                "the sum of the first {n} ratings of {}",
                key_of(&record)
            );
        }
    }
}

/// The owner's store is what the changelog says.
fn check_stores(world: &World) {
    let deployment = world.deployment();
    for task in deployment.tasks() {
        let mut from_log: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (store, target) in &deployment.subs[task.sub].changelogs {
            let tp = TopicPartition::new(target.topic.clone(), task.partition);
            for record in world.log.read(&tp, true).unwrap() {
                let key = [&store.to_be_bytes()[..], &record.key.unwrap()].concat();
                match record.value {
                    Some(value) => from_log.insert(key, value),
                    None => from_log.remove(&key),
                };
            }
        }
        let owners: Vec<_> = world.published().filter_map(|published| published.task(task)).collect();
        assert_eq!(owners.len(), 1, "task {task} has one owner");
        assert_eq!(owners[0].status(), TaskStatus::Running);
        let snapshot = owners[0].reader().unwrap().snapshot().unwrap();
        let mut from_store = BTreeMap::new();
        let end = millstream::state::META_PREFIX.to_be_bytes();
        let collect = &mut |key: &[u8], value: &[u8]| {
            from_store.insert(key.to_vec(), value.to_vec());
            true
        };
        snapshot.scan(&[], Some(&end), false, collect).unwrap();
        assert_eq!(from_store, from_log, "task {task}");
    }
}

fn check(seed: u64) -> (u64, usize) {
    let (world, given) = run(seed);
    assert_eq!(table(&world.records(RATED)), expected_rated(&given), "rated movies");
    assert_eq!(table(&world.records(GENRES)), expected_genres(&given), "genres");
    let letters = world.records(&world.deployment().names.dead_letters());
    assert_eq!(letters.len(), given.bad, "dead letters");
    check_prefixes(&world, &given);
    check_stores(&world);
    assert_eq!(world.log.open_transactions(), Vec::<String>::new());
    (world.log.trace(), world.crashes)
}

/// Runs a part of the seeds; a failure names its seed, which `MILLSTREAM_SEED=n` runs alone.
fn seeds(part: u64, parts: u64) -> usize {
    let only: Option<u64> = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("MILLSTREAM_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(SEEDS);
    let mut crashes = 0;
    for seed in (0..count).filter(|seed| seed % parts == part && only.is_none_or(|only| only == *seed)) {
        let outcome = std::panic::catch_unwind(|| check(seed));
        match outcome {
            Ok((_, crashed)) => crashes += crashed,
            Err(_) => panic!("the simulation fails with seed {seed}; repeat it with MILLSTREAM_SEED={seed}"),
        }
    }
    crashes
}

#[test]
fn outputs_are_exact_whatever_fails_even_seeds() {
    seeds(0, 2);
}

#[test]
fn outputs_are_exact_whatever_fails_odd_seeds() {
    seeds(1, 2);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [3, 4] {
        assert_eq!(check(seed), check(seed), "seed {seed}");
    }
    assert_ne!(check(3).0, check(4).0);
}
