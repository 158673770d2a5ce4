//! Replays: a new generation beside the old one, edited plans, inputs with other partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use millstream::engine::deploy::control::StreamOutputs;
use millstream::engine::deploy::operations;
use millstream::engine::golden::Case;
use millstream::engine::{Engine, TopologyStatus, threads};
use millstream::expr::Expr;
use millstream::log::Log;
use millstream::state::memory::MemoryStores;
use millstream::topology::{Op, Topology};
use millstream::types::{TopicPartition, Value, encode_row};

use super::SESSION;
use super::cluster::{Cluster, PARTITIONS, refused, started, status, switched};
use crate::patience::until;
use crate::simulation::plan::{self, RATINGS};

#[test]
fn a_replay_is_built_beside_the_old_state_and_leaves_no_stale_keys() {
    let cluster = Cluster::new();
    for movie in 0..10 {
        cluster.movie(movie);
    }
    for n in 0..50 {
        cluster.rate(n % 10, 1.0);
    }
    let engine = cluster.start(&plan::topology());
    started(&engine);
    until("the result", || {
        cluster.rated().len() == 10 && cluster.rated().values().all(|row| *row == (5, 5.0))
    });
    // The ratings so far are gone: their movies must be gone from the output, too, unless they are rated again.
    let last: Vec<(TopicPartition, i64)> = (0..PARTITIONS)
        .map(|p| TopicPartition::new(RATINGS, p))
        .map(|tp| (tp.clone(), cluster.process.admin().watermarks(&tp).unwrap().1))
        .collect();
    until("commits", || {
        let tps: Vec<_> = last.iter().map(|(tp, _)| tp.clone()).collect();
        let committed = cluster.process.admin().committed("millstream.movies", &tps).unwrap();
        committed
            .iter()
            .zip(&last)
            .all(|(committed, (_, end))| committed.unwrap_or(0) >= *end)
    });
    cluster.process.admin().delete_records(&last).unwrap();
    let topology = Arc::new(plan::topology());
    let plan = cluster
        .context(|context| operations::plan_replay(context, &topology, None))
        .unwrap();
    assert!(plan.stream_outputs.is_empty() && plan.cut.len() == 2, "{plan:?}");
    cluster.rate(3, 2.0);
    let begun = Instant::now();
    let begin = cluster.context(|context| operations::begin_replay(context, &topology, None, None));
    assert_eq!(begin, Ok(1));
    switched(&engine, 1);
    assert!(
        begun.elapsed() < SESSION / 2,
        "it does not wait for the members' sessions"
    );
    until("the right output", || {
        cluster.rated() == BTreeMap::from([(3, (1, 2.0))])
    });
    until("the removal of the old generation", || {
        cluster.topics().iter().all(|topic| {
            !topic.starts_with("millstream.movies.") || topic.contains(".g1.") || topic.ends_with("letters")
        })
    });
    cluster.rate(3, 2.0);
    until("the next result", || cluster.rated() == BTreeMap::from([(3, (2, 4.0))]));
    engine.stop();
    cluster.rate(4, 1.0);
    let engine = cluster.start(&plan::topology());
    until("a restart in the new generation", || {
        cluster.rated().get(&4) == Some(&(1, 1.0))
    });
    assert_eq!(engine.published().topology("movies").unwrap().generation, 1);
    engine.stop();
}

/// The plan with ratings counted double.
fn edited() -> Topology {
    let mut topology = plan::topology();
    for node in &mut topology.nodes {
        if let Op::Repartition(repartition) = &mut node.op
            && &*repartition.name == "AVERAGES"
        {
            repartition.value = vec![Expr::Literal(Value::Double(10.0))];
        }
    }
    topology
}

#[test]
fn an_edited_plan_is_refused_until_it_is_replayed() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    until("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    engine.stop();
    let topics = cluster.topics();
    let engine = cluster.start(&edited());
    let problems = refused(&engine);
    let text = problems[0].to_string();
    assert!(
        text.contains("store AVERAGES has changed") && text.contains("millstream replay movies"),
        "{text}"
    );
    assert_eq!(cluster.topics(), topics, "nothing was changed");
    engine.stop();
    let topology = Arc::new(edited());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, Some(StreamOutputs::None)))
        .unwrap();
    let engine = cluster.start(&topology);
    until("the rebuilt result", || cluster.rated().get(&1) == Some(&(1, 10.0)));
    switched(&engine, 1);
    engine.stop();
}

#[test]
fn an_interrupted_replay_goes_on_and_two_instances_switch_together() {
    let cluster = Cluster::new();
    for movie in 0..5 {
        cluster.movie(movie);
        cluster.rate(movie, 1.0);
    }
    let right = |n: i64| -> BTreeMap<i64, (i64, f64)> { (0..5).map(|movie| (movie, (n, n as f64))).collect() };
    let engine = cluster.start(&plan::topology());
    until("the result", || cluster.rated() == right(1));
    let topology = Arc::new(plan::topology());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap();
    until("the new generation's beginning", || {
        cluster
            .topics()
            .iter()
            .any(|topic| topic.starts_with("millstream.movies.g1."))
    });
    engine.stop();
    let again = cluster.context(|context| operations::begin_replay(context, &topology, None, None));
    assert_eq!(again, Ok(1), "it is under way already");
    (0..5).for_each(|movie| drop(cluster.rate(movie, 1.0)));
    let other = Arc::new(MemoryStores::new());
    let engines = [
        cluster.start(&topology),
        cluster.start_instance(&topology, "two", other),
    ];
    for engine in &engines {
        switched(engine, 1);
    }
    (0..5).for_each(|movie| drop(cluster.rate(movie, 1.0)));
    until("the result", || cluster.rated() == right(3));
    engines.into_iter().for_each(Engine::stop);
}

/// A stream that is copied, uppercased, to another one.
fn copying(cluster: &Cluster) -> Topology {
    let sql = "sql\n  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);\n  CREATE STREAM loud WITH (KAFKA_TOPIC = 'loud', VALUE_FORMAT = 'KAFKA') AS \
               SELECT id, UCASE(word) AS word FROM words;\nend\n";
    crate::golden::compile_case("copying", &Case::parse(sql).unwrap(), &cluster.schemas).unwrap()
}

#[test]
fn stream_outputs_are_not_doubled_without_being_asked() {
    let cluster = Cluster::new();
    let topology = Arc::new(copying(&cluster));
    let engine = cluster.start(&topology);
    started(&engine);
    let say = |word: &str, timestamp: i64| {
        let tp = TopicPartition::new("words", 0);
        cluster
            .log
            .append(&tp, Some(&1_i64.to_be_bytes()), Some(word.as_bytes()), timestamp)
            .unwrap();
    };
    let heard = || -> Vec<String> {
        let read = |p| {
            cluster
                .log
                .read(&TopicPartition::new("loud", p), true)
                .unwrap_or_default()
        };
        (0..2)
            .flat_map(read)
            .map(|r| String::from_utf8(r.value.unwrap()).unwrap())
            .collect()
    };
    say("one", 1_000);
    say("two", 2_000);
    until("the copies", || heard() == ["ONE", "TWO"]);
    let refused = cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap_err();
    assert!(
        refused.to_string().contains("(loud) would hold everything twice"),
        "{refused}"
    );
    let replay = |generation: u32, from: Option<i64>, outputs: StreamOutputs| {
        let begun = cluster.context(|context| operations::begin_replay(context, &topology, from, Some(outputs)));
        assert_eq!(begun, Ok(generation));
        until("the switch", || {
            let shown = engine.published().topology("copying");
            shown.is_some_and(|t| t.generation == generation && t.replay.read().is_none())
        });
    };
    replay(1, None, StreamOutputs::None);
    say("three", 3_000);
    until("the next copy", || heard() == ["ONE", "TWO", "THREE"]);
    replay(2, Some(2_000), StreamOutputs::Append);
    until("the copies from a time on", || {
        heard() == ["ONE", "TWO", "THREE", "TWO", "THREE"]
    });
    engine.stop();
}

#[test]
fn an_input_that_gains_partitions_stops_the_topology_until_it_is_replayed() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 1.0);
    let engine = cluster.start(&plan::topology());
    until("the result", || cluster.rated() == BTreeMap::from([(1, (1, 1.0))]));
    cluster.log.add_partitions(RATINGS, 3).unwrap();
    until("the stop", || matches!(status(&engine), TopologyStatus::Stopped(_)));
    let TopologyStatus::Stopped(reason) = status(&engine) else {
        panic!()
    };
    assert!(
        reason.contains("topic ratings has 3 partitions") && reason.contains("millstream replay movies"),
        "{reason}"
    );
    let topology = Arc::new(plan::topology());
    cluster
        .context(|context| operations::begin_replay(context, &topology, None, None))
        .unwrap();
    switched(&engine, 1);
    assert_eq!(engine.published().topology("movies").unwrap().partitions, [3, 2, 2]);
    assert_eq!(status(&engine), TopologyStatus::Running);
    let tp = TopicPartition::new(RATINGS, 2);
    let mut bytes = Vec::new();
    encode_row(&[1_i64.into(), 2.0.into()], &mut bytes);
    cluster
        .log
        .append(&tp, Some(b"12345678"), Some(&bytes), threads::now())
        .unwrap();
    until("the result from the new partition", || {
        cluster.rated() == BTreeMap::from([(1, (2, 3.0))])
    });
    engine.stop();
}
