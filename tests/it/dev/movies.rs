//! The movie job over the real file of movies and ratings: final averages as computed from the file, with several numbers of workers, and never
//! an average that is not the average of a prefix of the ratings (KAFKA-7595).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream::log::kafka::{KafkaLog, KafkaSettings};
use millstream::log::{Fetched, FetcherConfig, Log};
use millstream::types::TopicPartition;
use serde_json::json;

use super::process::{Dev, TempDir, shared};
use crate::patience::eventually;

/// The averages of all prefixes of every movie's ratings, in the file's order.
fn prefix_averages(file: &Path) -> BTreeMap<i64, Vec<f64>> {
    let mut sums: BTreeMap<i64, (f64, Vec<f64>)> = BTreeMap::new();
    for line in std::fs::read_to_string(file).expect("ratings").lines() {
        let parts: Vec<&str> = line.split("::").collect();
        let (sum, averages) = sums.entry(parts[1].parse().expect("a movie")).or_default();
        *sum += parts[2].parse::<f64>().expect("a rating");
        averages.push(*sum / (averages.len() + 1) as f64);
    }
    sums.into_iter()
        .map(|(movie, (_, averages))| (movie, averages))
        .collect()
}

fn titles(file: &Path) -> BTreeMap<i64, String> {
    let text = std::fs::read_to_string(file).expect("movies");
    let parts = text.lines().map(|line| line.split("::").collect::<Vec<_>>());
    parts
        .map(|parts| (parts[0].parse().expect("an id"), parts[1].to_owned()))
        .collect()
}

/// All committed records of `rated-movies`: movie and rating, in the order of their partitions.
fn published(kafka: &str) -> Vec<(i64, f64)> {
    let log = KafkaLog::new(KafkaSettings {
        bootstrap_servers: kafka.to_owned(),
        client_id: "test".into(),
        properties: Vec::new(),
    })
    .expect("settings");
    let info = log.admin().topics(&["rated-movies"]).expect("the broker answers")[0]
        .clone()
        .expect("the topic");
    let config = FetcherConfig {
        committed_only: true,
        buffer_bytes: 1 << 20,
    };
    let mut fetcher = log.fetcher(&config).expect("a fetcher");
    for partition in 0..info.partitions {
        let tp = TopicPartition::new("rated-movies", partition);
        fetcher.assign(partition as u32, &tp, 0).expect("assigned");
    }
    let (mut records, mut ended) = (Vec::new(), vec![false; info.partitions as usize]);
    while ended.contains(&false) {
        let mut sink = |fetched: Fetched<'_>| match fetched {
            Fetched::End { slot } => ended[slot as usize] = true,
            Fetched::Ahead { .. } => {}
            Fetched::Record(record) => {
                let (key, value) = (record.key.expect("a key"), record.value.expect("a value"));
                let movie = i64::from_be_bytes(key.try_into().expect("a BIGINT"));
                // RatedMovie ends with its rating.
                let rating = f64::from_le_bytes(value[value.len() - 8..].try_into().expect("a double"));
                records.push((movie, rating));
            }
        };
        fetcher
            .poll(10_000, Duration::from_millis(100), &mut sink)
            .expect("records");
    }
    records
}

fn movie_job(workers: &str) {
    let (Some(movies), Some(ratings)) = (shared("movies/movies.dat"), shared("movies/ratings.dat")) else {
        return;
    };
    let data = TempDir::new("movies");
    let dev = Dev::start(&data.0, &["--no-sample", "--workers", workers]);
    dev.load("raw_movies", &movies);
    dev.load("raw_ratings", &ratings);
    let expected = prefix_averages(&ratings);
    let titles = titles(&movies);
    let total: usize = expected.values().map(Vec::len).sum();
    eventually("all ratings to be counted", || {
        let rows = dev.try_query("SELECT id, count FROM rating_counts")?;
        let counted: i64 = rows.iter().filter_map(|row| row["COUNT"].as_i64()).sum();
        (counted == total as i64).then_some(())
    });
    let rows = eventually("all movies to be joined", || {
        let rows = dev.try_query("SELECT * FROM rated_movies")?;
        let last =
            |row: &serde_json::Value| Some(row["RATING"].as_f64()? == *expected.get(&row["ID"].as_i64()?)?.last()?);
        (rows.len() == titles.len() && rows.iter().all(|row| last(row) == Some(true))).then_some(rows)
    });
    for row in &rows {
        let id = row["ID"].as_i64().expect("an id");
        assert_eq!(
            (row["MOVIE_ID"].as_i64(), row["TITLE"].as_str()),
            (Some(id), titles.get(&id).map(String::as_str))
        );
    }
    // One of the rated ids is no movie: it has an average, and no rated movie.
    assert_eq!(dev.query("SELECT id FROM average_ratings").len(), titles.len() + 1);

    let mut reached: BTreeMap<i64, usize> = BTreeMap::new();
    for (movie, rating) in published(&dev.kafka) {
        let from = reached.entry(movie).or_default();
        let averages = &expected[&movie][*from..];
        let at = averages.iter().position(|average| *average == rating);
        *from +=
            at.unwrap_or_else(|| panic!("movie {movie}: {rating} is the average of no (later) prefix of its ratings"));
    }
    assert_eq!(reached.len(), titles.len());
    dev.stop();
}

#[test]
fn averages_with_one_worker() {
    movie_job("1");
}

#[test]
fn averages_with_two_workers() {
    movie_job("2");
}

#[test]
fn averages_with_five_workers() {
    movie_job("5");
}

/// Lines that do not parse go to the dead-letter topic, and the others are counted.
#[test]
fn bad_lines_are_dead_letters() {
    let data = TempDir::new("dead");
    let dev = Dev::start(&data.0, &["--no-sample"]);
    let movie = "7::A Film::1999::90::Here::5.0::1::Drama::A|B::C::D::E::F::G";
    dev.post(
        "raw_movies",
        &[json!({ "line": movie }), json!({ "line": "8::No More" })],
    );
    let lines = ["1::7::8", "no rating", "2::7::nine", "2::7::9"];
    dev.post("raw_ratings", &lines.map(|line| json!({ "line": line })));
    let row = eventually("the rated movie", || {
        dev.try_query("SELECT rating FROM rated_movies WHERE id = 7")
            .filter(|rows| rows.len() == 1)
    });
    eventually("the average of both good lines", || {
        (dev.query("SELECT rating FROM rated_movies WHERE id = 7")[0]["RATING"] == json!(8.5)).then_some(())
    });
    assert_eq!(row.len(), 1);

    let log = KafkaLog::new(KafkaSettings {
        bootstrap_servers: dev.kafka.clone(),
        client_id: "test".into(),
        properties: Vec::new(),
    })
    .expect("settings");
    let config = FetcherConfig {
        committed_only: true,
        buffer_bytes: 1 << 20,
    };
    let topic = "millstream.ratings.dead-letters";
    let partitions = log.admin().topics(&[topic]).expect("the broker answers")[0]
        .clone()
        .expect("the topic")
        .partitions;
    let mut fetcher = log.fetcher(&config).expect("a fetcher");
    for partition in 0..partitions {
        fetcher
            .assign(partition as u32, &TopicPartition::new(topic, partition), 0)
            .expect("assigned");
    }
    let mut letters: Vec<(String, String)> = Vec::new();
    eventually("three dead letters", || {
        let mut sink = |fetched: Fetched<'_>| {
            if let Fetched::Record(record) = fetched {
                let headers = record.headers.to_headers();
                let headers = headers.as_deref().map(|list| format!("{list:?}")).unwrap_or_default();
                letters.push((
                    String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
                    headers,
                ));
            }
        };
        fetcher
            .poll(100, Duration::from_millis(100), &mut sink)
            .expect("records");
        (letters.len() >= 3).then_some(())
    });
    letters.sort();
    let texts: Vec<&str> = letters.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(texts, ["2::7::nine", "8::No More", "no rating"]);
    for name in [
        "millstream.topic",
        "millstream.partition",
        "millstream.offset",
        "millstream.reason",
    ] {
        assert!(
            letters.iter().all(|(_, headers)| headers.contains(name)),
            "{name}: {letters:?}"
        );
    }
    dev.stop();
}
