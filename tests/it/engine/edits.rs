//! SQL that is edited over existing state: what is not concerned goes on from what it has.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use millstream::engine::Engine;
use millstream::engine::golden::Case;
use millstream::topology::Topology;
use millstream::types::TopicPartition;

use super::cluster::{Cluster, refused, started};
use crate::patience::until;

/// Counts of the values of some streams, each in a topic of its own.
fn counts(cluster: &Cluster, of: &[&str]) -> Topology {
    let statement = |name: &&str| {
        format!(
            "CREATE STREAM {name} (k BIGINT KEY, v BIGINT) WITH (KAFKA_TOPIC = '{name}', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA', \
             PARTITIONS = 2);\nCREATE TABLE {name}_by_v WITH (KAFKA_TOPIC = '{name}-by-v', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA') \
             AS SELECT v, COUNT(*) AS n FROM {name} GROUP BY v;\n"
        )
    };
    let sql: String = of.iter().map(statement).collect();
    let case = Case::parse(&format!("sql\n{sql}end\n")).unwrap();
    crate::golden::compile_case("fruit", &case, &cluster.schemas).unwrap()
}

fn say(cluster: &Cluster, topic: &str, value: i64) {
    let tp = TopicPartition::new(topic, (value % 2) as i32);
    let bytes = value.to_be_bytes();
    let log = &cluster.log;
    log.append(&tp, Some(&bytes), Some(&bytes), log.now()).unwrap();
}

/// The newest count of each value.
fn counted(cluster: &Cluster, topic: &str) -> BTreeMap<i64, i64> {
    let mut counts = BTreeMap::new();
    for partition in 0..2 {
        let tp = TopicPartition::new(format!("{topic}-by-v"), partition);
        for record in cluster.log.read(&tp, true).unwrap_or_default() {
            let number = |bytes: Option<Vec<u8>>| i64::from_be_bytes(bytes.unwrap().try_into().unwrap());
            counts.insert(number(record.key), number(record.value));
        }
    }
    counts
}

fn restored(engine: &Engine) -> u64 {
    let tasks = engine.published().topology("fruit").unwrap().tasks();
    tasks.iter().map(|task| task.restore.records.load(SeqCst)).sum()
}

#[test]
fn a_statement_put_between_others_leaves_their_state_alone() {
    let cluster = Cluster::new();
    let engine = cluster.start(&counts(&cluster, &["apples", "plums"]));
    started(&engine);
    for value in [1, 1, 2] {
        say(&cluster, "apples", value);
        say(&cluster, "plums", value);
    }
    let three = BTreeMap::from([(1, 2), (2, 1)]);
    until("counts", || {
        ["apples", "plums"]
            .iter()
            .all(|topic| counted(&cluster, topic) == three)
    });
    engine.stop();

    let engine = cluster.start(&counts(&cluster, &["apples", "pears", "plums"]));
    started(&engine);
    for topic in ["apples", "pears", "plums"] {
        say(&cluster, topic, 2);
    }
    let four = BTreeMap::from([(1, 2), (2, 2)]);
    until("counts that go on", || {
        ["apples", "plums"].iter().all(|topic| counted(&cluster, topic) == four)
    });
    until("the new count", || {
        counted(&cluster, "pears") == BTreeMap::from([(2, 1)])
    });
    assert_eq!(restored(&engine), 0, "the state was there");
    engine.stop();

    // and again, whatever the order in the file
    let engine = cluster.start(&counts(&cluster, &["plums", "pears", "apples"]));
    started(&engine);
    say(&cluster, "pears", 2);
    until("the next count", || {
        counted(&cluster, "pears") == BTreeMap::from([(2, 2)])
    });
    assert_eq!(restored(&engine), 0, "the state was there");
    engine.stop();

    let engine = cluster.start(&counts(&cluster, &["apples", "plums"]));
    let problems = refused(&engine);
    assert!(
        problems[0].message.contains("PEARS") && problems[0].hint.contains("replay fruit"),
        "{problems:?}"
    );
    engine.stop();
}

#[test]
fn a_store_whose_inputs_were_read_is_refused_alone() {
    let cluster = Cluster::new();
    let engine = cluster.start(&counts(&cluster, &["apples", "plums"]));
    started(&engine);
    engine.stop();
    let mut sql =
        String::from("CREATE TABLE twice WITH (KAFKA_TOPIC = 'twice', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA') ");
    sql.push_str("AS SELECT v, COUNT(*) AS n FROM apples GROUP BY v;\n");
    let streams = "CREATE STREAM apples (k BIGINT KEY, v BIGINT) WITH (KAFKA_TOPIC = 'apples', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA', \
                   PARTITIONS = 2);\nCREATE STREAM plums (k BIGINT KEY, v BIGINT) WITH (KAFKA_TOPIC = 'plums', KEY_FORMAT = 'KAFKA', \
                   VALUE_FORMAT = 'KAFKA', PARTITIONS = 2);\n";
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name}_by_v WITH (KAFKA_TOPIC = '{name}-by-v', KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'KAFKA') AS SELECT v, \
             COUNT(*) AS n FROM {name} GROUP BY v;\n"
        )
    };
    let case = Case::parse(&format!(
        "sql\n{streams}{}{sql}{}end\n",
        table("apples"),
        table("plums")
    ))
    .unwrap();
    let edited = crate::golden::compile_case("fruit", &case, &cluster.schemas).unwrap();
    let engine = cluster.start(&edited);
    let problems = refused(&engine);
    let message = &problems[0].message;
    assert!(
        message.contains("TWICE") && message.contains("have been read already"),
        "{message}"
    );
    assert!(
        !message.contains("PLUMS") && !message.contains("APPLES_BY_V"),
        "{message}"
    );
    engine.stop();
}
