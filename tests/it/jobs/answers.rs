//! Keys that hold their answers: key `a-b` receives each of the values a..b once, shuffled among those of other keys, within one window of time. What a table
//! says of it in the end (minimum, maximum, sum, count, average, maximum less minimum, how many keys have as many values) follows from the key alone, and its
//! final window is given out exactly once. The same instances join articles with their comments.

use std::collections::{BTreeMap, BTreeSet};

use millstream::log::{TopicHandle, partition_for_key};
use serde_json::{Value as Json, json};

use super::articles::Articles;
use super::cluster::{Cluster, Read};
use super::fleet::Fleet;
use super::kills;
use super::load::{Load, Sender, Ticks};
use super::random::Random;
use crate::patience::{PATIENCE, until, within};

const BASE_MS: i64 = 1_700_000_000_000 / WINDOW_MS * WINDOW_MS;
const WINDOW_MS: i64 = 60_000;
const PARTITIONS: i32 = 4;
/// Keys of a window, and the most values of one.
const KEYS: usize = 12;
const VALUES: u64 = 40;
const A_TICK: usize = 6;
/// How many differences are told.
const TOLD: usize = 10;

const SQL: &str = "
CREATE STREAM numbers (k STRING KEY, v BIGINT)
  WITH (KAFKA_TOPIC = 'numbers', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'JSON', PARTITIONS = 4);
CREATE TABLE answers WITH (KAFKA_TOPIC = 'answers') AS
  SELECT k, MIN(v) AS lowest, MAX(v) AS highest, SUM(v) AS total, COUNT(*) AS n, AVG(v) AS mean FROM numbers GROUP BY k;
CREATE TABLE spreads WITH (KAFKA_TOPIC = 'spreads') AS SELECT k, highest - lowest AS spread FROM answers;
CREATE TABLE count_of_counts WITH (KAFKA_TOPIC = 'count-of-counts') AS SELECT n, COUNT(*) AS keys FROM answers GROUP BY n;
CREATE TABLE finals WITH (KAFKA_TOPIC = 'finals') AS
  SELECT k, WINDOWSTART AS from_ms, COUNT(*) AS n, SUM(v) AS total
  FROM numbers WINDOW TUMBLING (SIZE 1 MINUTE, GRACE PERIOD 0 SECONDS) GROUP BY k EMIT FINAL;
";

/// What sends the values of one window after the other.
struct Numbers {
    sender: Sender,
    topic: TopicHandle,
    random: Random,
    window: i64,
    next: i64,
    left: Vec<(String, i64)>,
}

impl Numbers {
    fn load(cluster: &Cluster, random: Random) -> Load<Self> {
        let mut sender = Sender::new(cluster);
        let topic = sender.topic(&cluster.topic("numbers"));
        Load::start(Self {
            sender,
            topic,
            random,
            window: -1,
            next: 0,
            left: Vec::new(),
        })
    }

    /// The keys of another window. The time of the one before is over.
    fn refill(&mut self) {
        self.window += 1;
        for _ in 0..KEYS {
            let (first, last) = (self.next, self.next + self.random.skewed(VALUES) as i64);
            self.next = last + 1;
            self.left
                .extend((first..=last).map(|value| (format!("{first}-{last}"), value)));
        }
        self.random.shuffle(&mut self.left);
    }

    fn send(&mut self, partition: i32, key: &str, value: i64) {
        let time = BASE_MS + self.window * WINDOW_MS + self.random.below(WINDOW_MS as u64) as i64;
        let body = json!({ "V": value }).to_string();
        let bytes = Some(body.as_bytes());
        self.sender
            .send(self.topic, partition, time, Some(key.as_bytes()), bytes);
    }

    fn send_some(&mut self, most: usize) {
        for _ in 0..most {
            let Some((key, value)) = self.left.pop() else { break };
            self.send(partition_for_key(key.as_bytes(), PARTITIONS), &key, value);
        }
        self.sender.flush();
    }
}

impl Ticks for Numbers {
    fn tick(&mut self, _: i64) {
        if self.left.is_empty() {
            self.refill();
        }
        self.send_some(A_TICK);
    }

    /// Every key gets all of its values; then a record a partition shows that the time of the last window is over.
    fn finish(&mut self) {
        self.send_some(usize::MAX);
        self.window += 1;
        for partition in 0..PARTITIONS {
            self.send(partition, &format!("end {partition}"), 0);
        }
        self.sender.flush();
    }
}

/// First and last value of a key; none of the records that only let time go on.
fn range(key: &str) -> Option<(i64, i64)> {
    let (first, last) = key.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn expected(key: &str) -> Option<Json> {
    let (first, last) = range(key)?;
    let (n, total) = (last - first + 1, (first + last) * (last - first + 1) / 2);
    let mean = total as f64 / n as f64;
    Some(json!({ "LOWEST": first, "HIGHEST": last, "TOTAL": total, "N": n, "MEAN": mean }))
}

/// Numbers are compared as numbers: 5 and 5.0 are the same.
fn agree(expected: &Json, found: Option<&Json>) -> bool {
    let columns = expected.as_object().expect("a row");
    columns.iter().all(|(name, value)| {
        let there = found.map(|row| &row[name]);
        there.is_some_and(|there| there.as_f64() == value.as_f64() && there.is_number())
    })
}

/// What does not follow from the keys.
fn differences(cluster: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    let keys = sent_keys(cluster);
    let answers = cluster.table("answers", Read::text_key);
    let spreads = cluster.table("spreads", Read::text_key);
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    for (key, row) in &answers {
        match expected(key) {
            Some(expected) if !agree(&expected, Some(row)) => found.push(format!("answers {key}: found {row}")),
            Some(_) => {}
            None => *counts.entry(1).or_default() += 1,
        }
    }
    for key in &keys {
        let (first, last) = range(key).expect("a key of the load");
        *counts.entry(last - first + 1).or_default() += 1;
        if !answers.contains_key(key) {
            found.push(format!("answers {key}: not there"));
        }
        if !agree(&json!({ "SPREAD": last - first }), spreads.get(key)) {
            found.push(format!("spreads {key}: found {:?}", spreads.get(key)));
        }
    }
    let of_counts = cluster.table("count-of-counts", Read::number_key);
    let of_counts: BTreeMap<i64, Option<i64>> = of_counts.iter().map(|(n, row)| (*n, row["KEYS"].as_i64())).collect();
    let wanted: BTreeMap<i64, Option<i64>> = counts.into_iter().map(|(n, keys)| (n, Some(keys))).collect();
    if of_counts != wanted {
        found.push(format!("count of counts: expected {wanted:?}, found {of_counts:?}"));
    }
    found.extend(final_differences(cluster, &keys));
    found.truncate(TOLD);
    found
}

/// Every key's window was given out once, whole.
fn final_differences(cluster: &Cluster, keys: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for record in cluster.read(&cluster.topic("finals")) {
        // the windowed key is the text and, behind it, the window's start
        let bytes = record.key.as_deref().expect("a key");
        let (text, _) = bytes.split_at(bytes.len() - size_of::<i64>());
        let key = String::from_utf8(text.to_vec()).expect("text");
        let row = record.json();
        if !seen.insert((key.clone(), row["FROM_MS"].as_i64())) {
            found.push(format!("finals {key}: given out again: {row}"));
        }
        let wanted = expected(&key).map(|all| json!({ "N": all["N"], "TOTAL": all["TOTAL"] }));
        if !wanted.is_some_and(|wanted| agree(&wanted, Some(&row))) {
            found.push(format!("finals {key}: found {row}"));
        }
    }
    let given: BTreeSet<&String> = seen.iter().map(|(key, _)| key).collect();
    let missing = keys.iter().filter(|key| !given.contains(key));
    found.extend(missing.map(|key| format!("finals {key}: not given out")));
    found
}

/// The keys of the load, each of whose values is there once.
fn sent_keys(cluster: &Cluster) -> BTreeSet<String> {
    let mut values: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for record in cluster.read(&cluster.topic("numbers")) {
        let value = record.json()["V"].as_i64().expect("a number");
        values.entry(record.text_key()).or_default().push(value);
    }
    values.retain(|key, _| range(key).is_some());
    for (key, values) in &mut values {
        values.sort_unstable();
        let (first, last) = range(key).expect("a key of the load");
        assert!(
            values.iter().copied().eq(first..=last),
            "the load has sent {key} wrongly: {values:?}"
        );
    }
    values.into_keys().collect()
}

#[test]
fn answers_follow_from_their_keys_and_comments_from_their_articles() {
    let kills = kills(20, 2).div_ceil(2);
    let cluster = Cluster::new("answers");
    cluster.write_sql("answers.sql", SQL);
    cluster.create_topics(&[("numbers", PARTITIONS)], &[]);
    // nothing is compacted away: each final window is to be seen as often as it was written
    cluster.create_topics(&[("finals", PARTITIONS)], &[("cleanup.policy", "delete")]);
    Articles::prepare(&cluster);
    let instances = if super::on_kafka() { 3 } else { 2 };
    let snapshots = format!("file://{}", cluster.directory.join("snapshots").display());
    // little state is worth a snapshot here, so that a lost disk comes back by one
    let arguments = [
        "--standbys",
        "1",
        "--snapshots",
        &snapshots,
        "--snapshot-interval",
        "2s",
        "--snapshot-min-records",
        "50",
    ];
    let mut fleet = Fleet::new(&cluster, "answers", instances, &arguments).and_disks();
    let numbers = Numbers::load(&cluster, fleet.random().fork());
    let articles = Articles::load(&cluster, fleet.random().fork());

    fleet.suffer(kills);
    fleet.all_up();
    let windows = numbers.stop().window;
    articles.stop();
    for (topology, topic) in [
        ("answers", "numbers"),
        ("articles", "articles"),
        ("articles", "comments"),
    ] {
        until("the input to be read", || {
            fleet.must_live();
            cluster.unread(topology, topic).is_empty()
        });
    }
    // what goes through repartitions is a little behind
    let mut found = Vec::new();
    within(PATIENCE, || {
        fleet.must_live();
        found = differences(&cluster);
        found.extend(Articles::differences(&cluster));
        found.is_empty().then_some(())
    });
    assert!(found.is_empty(), "{found:#?}");
    fleet.all_down();
    cluster.must_end_transactions();
    // nothing came after the looks
    let mut found = differences(&cluster);
    found.extend(Articles::differences(&cluster));
    assert!(found.is_empty(), "after the end: {found:#?}");
    println!(
        "answers: {windows} windows, {}; {:?}",
        Articles::size(&cluster),
        fleet.toll()
    );
    cluster.clean_up();
}
