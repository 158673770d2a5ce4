//! WINDOW, EMIT FINAL and windowed sources: what is planned, and what is refused.

use super::*;
use crate::topology::{Op, WindowSpec, Windows};
use crate::types::{WindowInfo, WindowKind};

const STREAMS: &str = "
    CREATE STREAM s (k STRING KEY, v BIGINT) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON');
    CREATE TABLE t (k STRING PRIMARY KEY, v BIGINT) WITH (KAFKA_TOPIC='t', VALUE_FORMAT='JSON');
    CREATE STREAM w (k STRING KEY, v BIGINT) WITH (KAFKA_TOPIC='w', VALUE_FORMAT='JSON', WINDOW_TYPE='Tumbling', WINDOW_SIZE='30 seconds');
    CREATE TABLE wt (k STRING PRIMARY KEY, v BIGINT) WITH (KAFKA_TOPIC='wt', VALUE_FORMAT='JSON', WINDOW_TYPE='HOPPING', WINDOW_SIZE='30 seconds');
    CREATE TABLE sess (k STRING PRIMARY KEY, v BIGINT) WITH (KAFKA_TOPIC='sess', VALUE_FORMAT='JSON', WINDOW_TYPE='SESSION');
";

fn with(statement: &str) -> Result<Topology, String> {
    compiled("test.sql", &format!("{STREAMS}{statement}")).map_err(|all| {
        let all: Vec<_> = all
            .iter()
            .map(|d| format!("{} | {}", d.message, d.hint.as_deref().unwrap_or("")))
            .collect();
        all.join("\n")
    })
}

fn spec_of(clause: &str) -> WindowSpec {
    let topology = with(&format!(
        "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW {clause};"
    ))
    .unwrap();
    let spec = topology.nodes.iter().find_map(|node| match &node.op {
        Op::WindowAggregate(windows) => Some(windows.spec),
        _ => None,
    });
    spec.expect("a windowed aggregation")
}

#[test]
fn windows_have_their_lengths_grace_and_retention() {
    let day = 86_400_000;
    let tumbling = spec_of("TUMBLING (SIZE 1 HOUR) GROUP BY k");
    assert_eq!(tumbling.windows, Windows::Tumbling { size_ms: 3_600_000 });
    assert_eq!((tumbling.grace_ms, tumbling.joinable_ms), (day - 3_600_000, day));
    let hopping =
        spec_of("hopping (size 10 seconds, advance by 1 second, retention 2 days, grace period 1 minute) GROUP BY k");
    assert_eq!(
        hopping.windows,
        Windows::Hopping {
            size_ms: 10_000,
            advance_ms: 1000
        }
    );
    assert_eq!((hopping.grace_ms, hopping.retention_ms), (60_000, 2 * day));
    let session = spec_of("SESSION (5 MINUTES, GRACE PERIOD 0 MILLISECONDS) GROUP BY k EMIT FINAL");
    assert_eq!(session.windows, Windows::Session { gap_ms: 300_000 });
    assert_eq!((session.grace_ms, session.joinable_ms), (0, 300_000));
    assert_eq!(spec_of("TUMBLING (SIZE 1 DAY) GROUP BY k EMIT FINAL").grace_ms, 0);
    assert_eq!(spec_of("TUMBLING (SIZE 2 DAYS) GROUP BY k").grace_ms, 0);
}

#[test]
fn the_bounds_are_no_columns_of_the_relation_but_of_its_view() {
    let topology = with(
        "CREATE TABLE a AS SELECT k, WINDOWSTART AS ws, s.WINDOWEND / 2 AS half, COUNT(*) * WINDOWEND FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k;
         CREATE STREAM b AS SELECT * FROM w WHERE WINDOWSTART = WINDOWEND;",
    )
    .unwrap();
    let a = topology.relation("A").unwrap();
    assert_eq!(
        a.schema.to_string(),
        "K STRING KEY, WS BIGINT, HALF BIGINT, KSQL_COL_0 BIGINT"
    );
    let second = WindowInfo {
        kind: WindowKind::Tumbling,
        size_ms: Some(1000),
    };
    assert_eq!(a.window, Some(second));
    let view = topology
        .view("A")
        .unwrap()
        .schema
        .key
        .iter()
        .map(|c| c.name.to_string());
    assert_eq!(view.collect::<Vec<_>>(), ["K", "WINDOWSTART", "WINDOWEND"]);
    let b = topology.relation("B").unwrap();
    assert_eq!(
        (b.schema.to_string().as_str(), b.window.map(|w| w.size_ms)),
        ("K STRING KEY, V BIGINT", Some(Some(30_000)))
    );
}

#[test]
fn windowed_sources_are_joined_by_their_windows_and_grouped_without_them() {
    for query in [
        "CREATE STREAM a AS SELECT * FROM w LEFT JOIN wt ON w.k = wt.k;",
        "CREATE STREAM a AS SELECT w.k AS k, w.WINDOWSTART AS ws FROM w JOIN wt ON wt.k = w.k AND w.WINDOWSTART = wt.WINDOWSTART;",
    ] {
        let topology = with(query).unwrap();
        let a = topology.relation("A").unwrap();
        assert_eq!(a.window.map(|w| w.kind), Some(WindowKind::Tumbling), "{query}");
        assert_eq!(a.schema.key.len(), 1, "{query}");
        let rekeyed = topology.nodes.iter().any(|node| matches!(node.op, Op::Repartition(_)));
        assert!(!rekeyed, "{query}");
    }
    let topology = with("CREATE TABLE a AS SELECT k, COUNT(*) AS n, MAX(v) AS v FROM wt GROUP BY k;").unwrap();
    assert_eq!(topology.relation("A").unwrap().window, None);
}

#[test]
fn what_windows_cannot_do_is_told() {
    for (statement, message) in [
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s GROUP BY k EMIT FINAL;",
            "EMIT FINAL is for aggregations with a WINDOW",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM s EMIT FINAL;",
            "EMIT FINAL is for aggregations with a WINDOW",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM s WINDOW TUMBLING (SIZE 1 SECOND);",
            "WINDOW needs GROUP BY",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM t WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k;",
            "WINDOW is for aggregations of a stream",
        ),
        (
            "CREATE TABLE a AS SELECT k, v FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k;",
            "GROUP BY needs an aggregate function",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW HOPPING (SIZE 1 SECOND, ADVANCE BY 2 SECONDS) GROUP BY k;",
            "ADVANCE BY must be longer than zero and no longer than SIZE",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW HOPPING (SIZE 1 SECOND, ADVANCE BY 0 SECONDS) GROUP BY k;",
            "ADVANCE BY must be longer than zero",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW HOPPING (SIZE 1000 DAYS, ADVANCE BY 1 SECOND) GROUP BY k;",
            "each record would be in 86400000 windows",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 0 SECONDS) GROUP BY k;",
            "the SIZE of a window must be longer than zero",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 10 SECONDS, RETENTION 5 SECONDS, GRACE PERIOD 0 SECONDS) GROUP BY k;",
            "RETENTION must be no shorter",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 SECND) GROUP BY k;",
            "expected DAYS, HOURS, MINUTES, SECONDS or MILLISECONDS, found SECND | did you mean SECOND?",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW ROLLING (SIZE 1 SECOND) GROUP BY k;",
            "expected TUMBLING, HOPPING or SESSION",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 SECOND) WHERE WINDOWEND < 5 GROUP BY k;",
            "there is no column WINDOWEND",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k, WINDOWSTART;",
            "WINDOWSTART can only be used in the SELECT clause of a windowed aggregation",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k HAVING windowEnd > 5;",
            "WINDOWEND can only be used in the SELECT clause of a windowed aggregation",
        ),
        (
            "CREATE TABLE a AS SELECT k, MIN(WINDOWSTART) AS n FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k;",
            "WINDOWSTART can only be used in the SELECT clause of a windowed aggregation",
        ),
        (
            "CREATE TABLE a AS SELECT k, COUNT(*) AS n, WINDOWSTART FROM s WINDOW TUMBLING (SIZE 1 SECOND) GROUP BY k;",
            "WINDOWSTART is the name of a pseudo column",
        ),
        (
            "CREATE TABLE a AS SELECT k, WINDOWSTART AS ws, COUNT(*) AS n FROM s GROUP BY k;",
            "there is no column WINDOWSTART",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM w PARTITION BY v;",
            "PARTITION BY another key than that of a windowed stream",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM w JOIN t ON w.k = t.k;",
            "the left side has TUMBLING windows in its keys, the right side has none",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM s JOIN wt ON s.k = wt.k;",
            "the right side has HOPPING windows in its keys, the left side has none",
        ),
        (
            "CREATE STREAM a AS SELECT * FROM w JOIN sess ON w.k = sess.k;",
            "the left side has TUMBLING windows, the right side SESSION windows",
        ),
        (
            "CREATE STREAM x (v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_TYPE='SESSION');",
            "needs a key column",
        ),
        (
            "CREATE STREAM x (k INT KEY, v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_TYPE='TUMBLING');",
            "TUMBLING windows need WINDOW_SIZE",
        ),
        (
            "CREATE STREAM x (k INT KEY, v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_TYPE='SESSION', WINDOW_SIZE='1 SECOND');",
            "WINDOW_SIZE must not be set for SESSION windows",
        ),
        (
            "CREATE STREAM x (k INT KEY, v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_SIZE='1 SECOND');",
            "WINDOW_SIZE needs WINDOW_TYPE",
        ),
        (
            "CREATE STREAM x (k INT KEY, v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_TYPE='HOPPING', WINDOW_SIZE='30 bobs');",
            "WINDOW_SIZE: '30 bobs' is no length of time: there is no time unit BOBS",
        ),
        (
            "CREATE STREAM x (k INT KEY, v INT) WITH (KAFKA_TOPIC='x', VALUE_FORMAT='JSON', WINDOW_TYPE='ROLLING');",
            "WINDOW_TYPE takes TUMBLING, HOPPING or SESSION",
        ),
        (
            "CREATE STREAM a WITH (WINDOW_TYPE='SESSION') AS SELECT * FROM s;",
            "WINDOW_TYPE",
        ),
    ] {
        let told = with(statement).expect_err(statement);
        assert!(told.contains(message), "{statement}\n{told}");
    }
}

#[test]
fn what_is_keyed_from_a_keyless_stream_has_its_key_format() {
    let topology = with(
        "CREATE STREAM x (a DECIMAL(4, 2)) WITH (KAFKA_TOPIC='x', FORMAT='JSON');
         CREATE TABLE y AS SELECT a, COUNT(*) AS n FROM x WINDOW SESSION (30 SECONDS) GROUP BY a;",
    )
    .unwrap();
    assert_eq!(
        topology.relation("Y").unwrap().key_format.format,
        crate::types::Format::Json
    );
}
