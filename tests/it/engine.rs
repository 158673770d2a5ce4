//! The engine with its threads, on the simulated log in real time: start, stop, pause, resume, undeployment; replays in `replay`, edited SQL in `edits`.

mod cluster;
mod edits;
mod replay;
mod snapshots;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod standbys;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use millstream::engine::deploy::operations;
use millstream::engine::golden::Case;
use millstream::engine::{Engine, TopologyStatus};
use millstream::formats::SchemaText;
use millstream::log::Log;
use millstream::state::memory::MemoryStores;

use crate::patience::until;
use crate::simulation::plan::{self, MOVIES, RATINGS};
use cluster::{Cluster, paused, refused, started, status};

/// How long a member that is silent keeps its tasks.
const SESSION: Duration = Duration::from_secs(10);

#[test]
fn it_starts_stops_and_goes_on() {
    let cluster = Cluster::new();
    cluster.movie(1);
    cluster.rate(1, 3.0);
    let engine = cluster.start(&plan::topology());
    started(&engine);
    until("the first result", || cluster.rated().get(&1) == Some(&(1, 3.0)));
    let published = engine.published().topology("movies").unwrap();
    until("all tasks", || published.all_running());
    assert_eq!(published.status(), TopologyStatus::Running);
    let begin = Instant::now();
    engine.stop();
    assert!(begin.elapsed() < Duration::from_secs(2), "it stops within two seconds");
    cluster.rate(1, 4.0);
    let engine = cluster.start(&plan::topology());
    until("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    engine.stop();
    assert_eq!(cluster.log.open_transactions(), Vec::<String>::new());
}

#[test]
fn a_pause_keeps_the_views_and_undeployment_removes_everything() {
    let cluster = Cluster::new();
    let engine = paused(&cluster);
    cluster.rate(1, 4.0);
    let begin = cluster.log.now();
    until("ten commit intervals", || cluster.log.now() >= begin + 100);
    assert_eq!(cluster.rated()[&1], (1, 3.0), "nothing is processed");
    let tasks = engine.published().topology("movies").unwrap().tasks();
    assert!(
        tasks
            .iter()
            .any(|task| task.reader().is_some_and(|reader| reader.snapshot().is_ok())),
        "views answer"
    );
    cluster
        .context(|context| operations::resume(context, "movies"))
        .unwrap();
    until("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    let missing = cluster
        .context(|context| operations::pause(context, "other"))
        .unwrap_err();
    assert!(missing.to_string().contains("deployed are: movies"), "{missing}");
    let begin = Instant::now();
    cluster
        .context(|context| operations::undeploy(context, "movies", true))
        .unwrap();
    assert!(
        begin.elapsed() < SESSION / 2,
        "it does not wait for the members' sessions"
    );
    until("the end", || engine.published().topology("movies").is_none());
    assert_eq!(cluster.topics(), ["millstream.control", MOVIES, RATINGS]);
    engine.stop();
}

#[test]
fn a_topology_paused_before_the_start_shows_its_state_and_processes_nothing() {
    let cluster = Cluster::new();
    let engine = paused(&cluster);
    engine.stop();
    cluster.rate(1, 4.0);

    // also with a disk that has nothing: the state comes from the changelogs
    let engine = cluster.start_instance(&plan::topology(), "two", Arc::new(MemoryStores::new()));
    started(&engine);
    let shown = || {
        let topology = engine.published().topology("movies")?;
        let tasks = topology.tasks();
        let all = tasks.len() == topology.partitions.iter().sum::<i32>() as usize;
        (all && tasks.iter().all(|task| task.reader().is_some())).then_some(())
    };
    until("all state to be shown", || shown().is_some());
    assert_eq!(status(&engine), TopologyStatus::Paused);
    let tasks = engine.published().topology("movies").unwrap().tasks();
    let taken: u64 = tasks.iter().map(|task| task.restore.records.load(SeqCst)).sum();
    assert!(taken > 0, "rows were restored");
    assert_eq!(cluster.rated()[&1], (1, 3.0), "nothing is processed");
    cluster
        .context(|context| operations::resume(context, "movies"))
        .unwrap();
    until("the second result", || cluster.rated().get(&1) == Some(&(2, 7.0)));
    assert_eq!(status(&engine), TopologyStatus::Running);
    engine.stop();
}

#[test]
fn what_is_missing_is_said_at_once() {
    let cluster = Cluster::new();
    cluster.process.admin().delete_topics(&[MOVIES]).unwrap();
    let engine = cluster.start(&plan::topology());
    refused(&engine);
    assert_eq!(cluster.topics(), ["millstream.control", RATINGS]);
    engine.stop();
}

/// Both are checked before either is deployed; then the first one makes the topic that the second one would have made with another number of partitions.
#[test]
fn a_topic_that_one_topology_makes_is_seen_by_the_next() {
    let cluster = Cluster::new();
    let topology = |name: &str, statements: &str| {
        let case = Case::parse(&format!("sql\n{statements}end\n")).unwrap();
        Arc::new(crate::golden::compile_case(name, &case, &cluster.schemas).unwrap())
    };
    let formats = "KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA'";
    let writer = topology(
        "a",
        &format!(
            "  CREATE STREAM words (id BIGINT KEY, n BIGINT) WITH (KAFKA_TOPIC = 'words', PARTITIONS = 2, {formats});\n  \
             CREATE STREAM said WITH (KAFKA_TOPIC = 'said', VALUE_FORMAT = 'KAFKA') AS SELECT id, n FROM words;\n"
        ),
    );
    let reader = topology(
        "b",
        &format!(
            "  CREATE STREAM heard (id BIGINT KEY, n BIGINT) WITH (KAFKA_TOPIC = 'said', PARTITIONS = 3, {formats});\n  \
             CREATE TABLE counted WITH (WRITE_TOPIC = FALSE) AS SELECT id, COUNT(*) AS n FROM heard GROUP BY id;\n"
        ),
    );
    let parts = cluster.parts("one", cluster.stores.clone());
    let engine = Engine::start(parts, vec![writer, reader]).unwrap();
    started(&engine);
    assert_eq!(engine.published().topology("b").unwrap().partitions, [2]);
    engine.stop();
}

#[test]
fn an_incompatible_schema_is_refused_before_anything_changes() {
    let cluster = Cluster::new();
    let before =
        SchemaText::avro(r#"{"type": "record", "name": "v", "fields": [{"name": "WORD", "type": "boolean"}]}"#);
    cluster.schemas.register("typed-value", &before).unwrap();
    let sql = "sql\n  CREATE STREAM words (id BIGINT KEY, word STRING) WITH (KAFKA_TOPIC = 'words', KEY_FORMAT = 'KAFKA', \
               VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);\n  CREATE STREAM typed WITH (KAFKA_TOPIC = 'typed', VALUE_FORMAT = 'AVRO') AS \
               SELECT id, LEN(word) AS word FROM words;\nend\n";
    let topology = crate::golden::compile_case("typed", &Case::parse(sql).unwrap(), &cluster.schemas).unwrap();
    let engine = cluster.start(&topology);
    let problems = refused(&engine);
    assert!(problems[0].message.contains("subject typed-value"), "{}", problems[0]);
    assert_eq!(cluster.topics(), ["millstream.control", MOVIES, RATINGS]);
    assert_eq!(cluster.schemas.latest("typed-value").unwrap().unwrap().version, 1);
    engine.stop();
}
