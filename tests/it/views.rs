//! Views over running tasks: every answer is recomputed from the inputs at the very offsets that it names, while commits, crashes and restarts go
//! on; a feed, replayed by its reader, is the view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use millstream::engine::{EngineSettings, Published};
use millstream::http::{App, AppParts, Control, ControlError, HttpSettings, app};
use millstream::log::partition_for_key;
use millstream::log::sim::{Faults, SimRecord};
use millstream::topology::{TablePlan, Topology, View};
use millstream::types::{Row, TopicPartition, Value, decode_key, decode_row, encode_row};
use millstream::views::{Budget, Feed, FeedError, PageRequest, QueryLimits, RowChange, find_view};
use serde_json::{Value as Json, json};
use tower::ServiceExt;

use crate::simulation::plan::{self, MOVIES, RATINGS};
use crate::simulation::world::World;

/// Runs of each test, a seed each.
const SEEDS: u64 = 6;
const PARTITIONS: i32 = 2;
const REKEYED: &str = "millstream.movies.AVERAGES.repartition";

struct NoControl;

impl Control for NoControl {
    fn pause(&self, topology: &str) -> Result<(), ControlError> {
        Err(ControlError::Unknown(topology.into()))
    }

    fn resume(&self, topology: &str) -> Result<(), ControlError> {
        Err(ControlError::Unknown(topology.into()))
    }
}

/// The simulation's topology with its two tables as views.
fn topology() -> Topology {
    let mut topology = plan::topology();
    for (name, sub) in [("RATED", 1), ("GENRES", 2)] {
        let node = topology
            .nodes
            .iter()
            .rev()
            .find(|n| n.sub == sub && n.schema == topology.relation(name).unwrap().schema);
        let plan = match &node.unwrap().op {
            millstream::topology::Op::Sink(_) => table_of(&topology, sub),
            other => panic!("{other:?}"),
        };
        topology.views.push(View {
            name: name.into(),
            schema: topology.relation(name).unwrap().schema.clone(),
            plan,
            sub,
        });
    }
    topology
}

fn table_of(topology: &Topology, sub: usize) -> TablePlan {
    use millstream::topology::Op;
    let joins = topology.nodes.iter().filter(|n| n.sub == sub);
    let mut plans = joins.filter_map(|n| match &n.op {
        Op::TableTableJoin(join) => {
            let widths = (3, 2);
            Some(TablePlan::Join(
                Box::new(join.left.clone()),
                Box::new(join.right.clone()),
                join.kind,
                widths.0,
                widths.1,
            ))
        }
        Op::Aggregate(aggregate) if aggregate.of_table => Some(TablePlan::Aggregate(aggregate.clone())),
        _ => None,
    });
    plans.next().unwrap()
}

struct Rig {
    world: World,
    published: Arc<Published>,
    router: axum::Router,
    /// Committed records of the repartition topic by partition and offset, kept because the topic is purged behind the commit.
    rekeyed: BTreeMap<(i32, i64), SimRecord>,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let settings = EngineSettings {
            workers: 2,
            commit_interval: Duration::from_millis(50),
            ..EngineSettings::default()
        };
        let world = World::new(seed, topology(), settings, 1);
        world.log.create_topic(RATINGS, PARTITIONS, &[]).unwrap();
        world.log.create_topic(MOVIES, PARTITIONS, &[]).unwrap();
        let published = Arc::new(Published::new());
        let state = App::new(AppParts {
            published: published.clone(),
            ingest: None,
            control: Arc::new(NoControl),
            app_id: "millstream".into(),
            settings: HttpSettings::default(),
        });
        state.set_deployed();
        Self {
            world,
            published,
            router: app(state),
            rekeyed: BTreeMap::new(),
        }
    }

    /// A few steps and perhaps a record, a crash, a restart.
    fn advance(&mut self, crashes: bool) {
        for _ in 0..8 {
            if self.world.rng.chance(250) {
                self.feed();
            }
            self.world.step();
            self.keep_rekeyed();
        }
        if crashes && self.world.rng.chance(15) {
            self.world.kill(0);
        }
        if crashes && self.world.rng.chance(15) {
            self.world.restart(0);
        }
        let now = self.world.published().next().cloned();
        let shown = self.published.topology("movies");
        match now {
            Some(now) if !shown.is_some_and(|shown| Arc::ptr_eq(&shown, &now)) => self.published.insert(now),
            Some(_) => {}
            None => self.published.remove("movies"),
        }
    }

    fn keep_rekeyed(&mut self) {
        for partition in 0..PARTITIONS {
            let tp = TopicPartition::new(REKEYED, partition);
            // not there before the first deployment
            for record in self.world.log.read(&tp, true).unwrap_or_default() {
                self.rekeyed.insert((partition, record.offset), record);
            }
        }
    }

    fn feed(&mut self) {
        let rng = &mut self.world.rng;
        let (movie, mut bytes) = (rng.below(8) as i64, Vec::new());
        let (topic, key) = if rng.chance(250) {
            encode_row(
                &[
                    format!("t{}", rng.below(99)).as_str().into(),
                    (rng.below(3) as i64).into(),
                ],
                &mut bytes,
            );
            (MOVIES, movie)
        } else {
            encode_row(&[movie.into(), (rng.below(11) as f64 / 2.0).into()], &mut bytes);
            (RATINGS, rng.below(20) as i64)
        };
        let delete = topic == MOVIES && self.world.rng.chance(200);
        let key = key.to_be_bytes();
        let tp = TopicPartition::new(topic, partition_for_key(&key, PARTITIONS));
        let value = (!delete).then_some(&bytes[..]);
        self.world
            .log
            .append(&tp, Some(&key), value, self.world.log.now())
            .unwrap();
    }

    async fn query(&self, sql: &str) -> (StatusCode, Json) {
        let body = Body::from(json!({"sql": sql}).to_string());
        let response = self
            .router
            .clone()
            .oneshot(Request::post("/v1/query").body(body).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    /// Records of the topic below the offsets that an answer names.
    fn inputs(&self, position: &Json, topic: &str) -> Vec<SimRecord> {
        let mut records = Vec::new();
        for (partition, end) in position[topic].as_object().unwrap() {
            let (partition, end) = (partition.parse().unwrap(), end.as_i64().unwrap());
            if topic == REKEYED {
                records.extend(
                    self.rekeyed
                        .range((partition, 0)..(partition, end))
                        .map(|(_, r)| r.clone()),
                );
            } else {
                let all = self
                    .world
                    .log
                    .read(&TopicPartition::new(topic, partition), true)
                    .unwrap();
                records.extend(all.into_iter().filter(|r| r.offset < end));
            }
        }
        records
    }

    /// What the view RATED holds when exactly these inputs are processed.
    fn recompute_rated(&self, position: &Json) -> BTreeMap<i64, Json> {
        let mut sums: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
        for record in self.inputs(position, REKEYED) {
            let Value::Bigint(movie) = decode_key(record.key.as_deref().unwrap()).unwrap()[0] else {
                panic!()
            };
            // one byte of flags and four of the old row's length stand before a row where there is an old one; streams have none
            let Value::Double(rating) = decode_row(&record.value.as_deref().unwrap()[1..]).unwrap()[0] else {
                panic!()
            };
            let (n, total) = sums.entry(movie).or_default();
            *n += 1;
            *total += rating;
        }
        let mut movies: BTreeMap<i64, Option<Vec<Value>>> = BTreeMap::new();
        for record in self.inputs(position, MOVIES) {
            let key = i64::from_be_bytes(record.key.as_deref().unwrap().try_into().unwrap());
            movies.insert(key, record.value.map(|v| decode_row(&v).unwrap().to_vec()));
        }
        let joined = sums.into_iter().filter_map(|(movie, (n, total))| {
            let Value::String(title) = &movies.get(&movie)?.as_ref()?[0] else {
                panic!()
            };
            Some((
                movie,
                json!({"MOVIE": movie, "N": n, "TOTAL": total, "TITLE": &**title}),
            ))
        });
        joined.collect()
    }
}

fn by_key(rows: &Json, key: &str) -> BTreeMap<i64, Json> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row[key].as_i64().unwrap(), row.clone())).collect()
}

#[tokio::test]
async fn every_answer_is_what_its_position_says() {
    let mut answers = 0;
    let mut grown = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::new(seed);
        rig.world.log.set_faults(Faults {
            lost_request: 10,
            lost_answer: 10,
            crash: 2,
            slow_fetch: 200,
        });
        for _ in 0..150 {
            rig.advance(true);
            let (status, answer) = rig.query("SELECT movie, n, total, title FROM rated").await;
            if status != StatusCode::OK {
                let code = answer["error"]["code"].as_str().unwrap().to_string();
                assert!(
                    ["not_ready", "unknown_view", "sql"].contains(&code.as_str()),
                    "{answer}"
                );
                continue;
            }
            let expected = rig.recompute_rated(&answer["position"]);
            assert_eq!(
                by_key(&answer["rows"], "MOVIE"),
                expected,
                "seed {seed} at {}",
                answer["position"]
            );
            answers += 1;
            grown += usize::from(!expected.is_empty());
        }
    }
    assert!(
        answers > 150 && grown > 100,
        "too few answers to mean anything: {answers}, {grown}"
    );
}

fn forever() -> bool {
    false
}

/// What a reader of a feed knows.
struct Reader {
    feed: Feed,
    rows: BTreeMap<Row, Row>,
}

impl Reader {
    fn start(published: &Published) -> Option<Self> {
        let view = find_view(published, "RATED").ok()?;
        let feed = Feed::start(view, Box::new(|| {})).ok()?;
        let request = PageRequest {
            limit: 1_000,
            ..PageRequest::default()
        };
        let page = feed
            .snapshot_page(&request, &mut Budget::new(QueryLimits::default(), &forever))
            .unwrap();
        Some(Self {
            feed,
            rows: page.rows.into_iter().map(|row| (row.key, row.value)).collect(),
        })
    }

    fn read(&mut self, published: &Published) -> Result<(), FeedError> {
        self.feed.check(published)?;
        while let Some(batch) = self.feed.next_batch()? {
            for change in batch.changes {
                match change {
                    RowChange::Upsert(row) => {
                        let before = self.rows.insert(row.key.clone(), row.value.clone());
                        assert_ne!(before, Some(row.value), "a change that changes nothing");
                    }
                    RowChange::Delete(key) => assert!(self.rows.remove(&key).is_some(), "deleted twice"),
                }
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_feed_replayed_is_the_view() {
    let mut compared = 0;
    for seed in 0..SEEDS {
        let mut rig = Rig::new(1_000 + seed);
        let mut reader: Option<Reader> = None;
        for _ in 0..150 {
            rig.advance(true);
            let ended = match &mut reader {
                Some(reader) => reader.read(&rig.published).is_err(),
                None => {
                    reader = Reader::start(&rig.published);
                    false
                }
            };
            if ended {
                reader = None;
            }
            // between steps nothing is under way that the feed has not heard of
            let (status, answer) = rig.query("SELECT movie, n FROM rated").await;
            if let (StatusCode::OK, Some(reader)) = (status, &reader) {
                let known: BTreeMap<i64, Json> = reader
                    .rows
                    .iter()
                    .map(|(key, row)| match (&key[0], &row[0]) {
                        (Value::Bigint(movie), Value::Bigint(n)) => (*movie, json!({"MOVIE": movie, "N": n})),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                assert_eq!(known, by_key(&answer["rows"], "MOVIE"), "seed {seed}");
                compared += usize::from(!known.is_empty());
            }
        }
    }
    assert!(compared > 100, "too few comparisons to mean anything: {compared}");
}
