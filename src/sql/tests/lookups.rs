//! Look-ups in a table's history and in global tables: what is planned, and what is refused.

use super::*;
use crate::expr::Expr;
use crate::topology::Op;

const TABLES: &str = "
    CREATE TABLE h (id INT PRIMARY KEY, name STRING) WITH (KAFKA_TOPIC='h', VALUE_FORMAT='JSON', HISTORY_RETENTION_MS=1000);
    CREATE TABLE hf AS SELECT id, UCASE(name) AS upper FROM h WHERE name <> 'x';
    CREATE TABLE g (code STRING PRIMARY KEY, color STRING) WITH (KAFKA_TOPIC='g', VALUE_FORMAT='JSON', GLOBAL=TRUE);
    CREATE TABLE n AS SELECT name, COUNT(*) AS n FROM h GROUP BY name;
";

/// The errors behind the sources and tables, each with its hint.
fn refused(statement: &str) -> String {
    let text = format!("{SOURCES}{TABLES}{statement}");
    let all = compiled("test.sql", &text).expect_err("refused");
    let all = all
        .iter()
        .map(|d| format!("{} | {}", d.message, d.hint.as_deref().unwrap_or("")));
    all.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_join_as_of_a_time_looks_into_the_history_of_all_that_its_table_is_made_of() {
    for (table, alias) in [("h", ""), ("h", "AS x"), ("hf", "x")] {
        let by = if alias.is_empty() { table } else { "x" };
        let text = format!(
            "{SOURCES}{TABLES}CREATE STREAM o AS SELECT s.id, n FROM s LEFT JOIN {table} FOR SYSTEM_TIME AS OF s.t {alias} ON s.id = {by}.id;"
        );
        let topology = topology(&text);
        let found = topology.nodes.iter().find_map(|node| match &node.op {
            Op::StreamTableJoin(join) => join.as_of.clone(),
            _ => None,
        });
        let as_of = found.expect("a temporal join");
        assert!(matches!(as_of.time, Expr::Value(_)), "{:?}", as_of.time);
        let histories = as_of.histories.iter().map(|(store, history)| {
            let name = |id: &u16| topology.stores[usize::from(*id)].name.to_string();
            (name(store), name(&history.versions), history.retention_ms)
        });
        assert_eq!(histories.collect::<Vec<_>>(), [("H".into(), "H-history".into(), 1000)]);
        let plan = explain(&topology, &Plain);
        assert!(
            plan.contains("left join of a stream with a table, by key, as the table was at T\n"),
            "{plan}"
        );
        assert!(plan.contains("replaced rows for 1000 ms in store H-history"), "{plan}");
    }
}

#[test]
fn a_look_up_at_a_time_that_cannot_be_is_refused() {
    for (statement, expected) in [
        (
            "CREATE STREAM o AS SELECT s.id, t.name FROM s JOIN t FOR SYSTEM_TIME AS OF s.ROWTIME ON s.id = t.id;",
            "T keeps no history | say how far back it is looked into: CREATE TABLE T ... WITH (..., HISTORY_RETENTION_MS = 86400000)",
        ),
        (
            "CREATE STREAM o AS SELECT s.name, n.n FROM s JOIN n FOR SYSTEM_TIME AS OF s.ROWTIME ON s.name = n.name;",
            "N keeps no history | what is filtered, projected or joined by key of tables WITH (HISTORY_RETENTION_MS = ...) has theirs; of another table, declare its topic as a table with that property in a file of its own",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, h.name FROM s JOIN h FOR SYSTEM_TIME AS OF s.name ON s.id = h.id;",
            "FOR SYSTEM_TIME AS OF takes a TIMESTAMP, or a BIGINT of milliseconds, not STRING | FOR SYSTEM_TIME AS OF S.ROWTIME",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, h.name FROM s JOIN h FOR SYSTEM_TIME AS OF h.ROWTIME ON s.id = h.id;",
            "H is no relation of this query | ",
        ),
        (
            "CREATE TABLE o AS SELECT t.id, h.name FROM t JOIN h FOR SYSTEM_TIME AS OF t.ROWTIME ON t.id = h.id;",
            "FOR SYSTEM_TIME AS OF is for records of a stream: the left side is a table | two tables are joined as they are now; read the left topic as a stream to look back",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, k.v FROM s JOIN k FOR SYSTEM_TIME AS OF s.ROWTIME WITHIN 1 HOUR ON s.name = k.v;",
            "FOR SYSTEM_TIME AS OF looks into a table's history: K is a stream | streams meet near in time: WITHIN 1 HOUR",
        ),
        (
            "CREATE STREAM o AS SELECT id, n FROM s FOR SYSTEM_TIME AS OF s.ROWTIME;",
            "FOR SYSTEM_TIME AS OF belongs to the table that a stream is joined with | FROM stream s JOIN table FOR SYSTEM_TIME AS OF s.ROWTIME ON ...",
        ),
        (
            "CREATE STREAM o (id INT KEY, v INT) WITH (KAFKA_TOPIC='o', VALUE_FORMAT='JSON', HISTORY_RETENTION_MS=1);",
            "HISTORY_RETENTION_MS is for tables: a stream's records are all there | ",
        ),
        (
            "CREATE TABLE o (id INT PRIMARY KEY, v INT) WITH (KAFKA_TOPIC='o', VALUE_FORMAT='JSON', HISTORY_RETENTION_MS=0);",
            "HISTORY_RETENTION_MS takes a whole number from 1 to 9223372036854775807, not 0 | ",
        ),
        (
            "CREATE TABLE o WITH (HISTORY_RETENTION_MS=5) AS SELECT * FROM t;",
            "HISTORY_RETENTION_MS is for declarations: with AS SELECT the query decides | leave it out",
        ),
    ] {
        assert_eq!(refused(statement), expected, "{statement}");
    }
}

#[test]
fn a_join_as_of_a_time_is_printed_as_it_is_read() {
    let text = "CREATE STREAM O AS SELECT * FROM S INNER JOIN H X FOR SYSTEM_TIME AS OF S.T ON (S.ID = X.ID);";
    let (statements, problems) = parse::statements(text);
    assert!(problems.is_empty(), "{problems:?}");
    assert_eq!(format!("{};", statements[0]), text);
}

#[test]
fn a_global_table_is_joined_where_the_other_side_is() {
    let text = format!(
        "{SOURCES}{TABLES}CREATE STREAM o AS SELECT k.v, g.color FROM k LEFT JOIN g ON UCASE(k.v) = g.code;
         CREATE TABLE p AS SELECT t.id, t.name, g.code FROM t JOIN g ON t.name = g.code;"
    );
    let topology = topology(&text);
    let globals: Vec<&str> = topology.globals.iter().map(|global| &*global.source.relation).collect();
    assert_eq!(globals, ["G"]);
    let rekeyed = topology
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Repartition(_)));
    let rekeyed: Vec<&str> = rekeyed.map(|node| &*node.name).collect();
    assert_eq!(rekeyed, ["N-groupby"], "no side of a join is re-keyed");
    assert_eq!(topology.view("G"), None);
    let results: Vec<&str> = topology
        .stores
        .iter()
        .map(|store| &*store.name)
        .filter(|name| name.starts_with("P"))
        .collect();
    assert_eq!(results, ["P-join"]);
    let plan = explain(&topology, &Plain);
    assert!(plan.contains("left join with global table G, by UCASE(V)"), "{plan}");
    assert!(plan.contains("global tables: every process reads all partitions of them\n  G (CODE STRING KEY, COLOR STRING) from topic g"), "{plan}");
}

#[test]
fn what_a_global_table_cannot_do_is_told() {
    for (statement, expected) in [
        (
            "CREATE TABLE o AS SELECT code, color FROM g;",
            "G is a global table: its changes make no results, it can only be joined | put it behind JOIN, or declare its topic once more without GLOBAL: FROM other JOIN G",
        ),
        (
            "CREATE TABLE o AS SELECT t.id, g.color FROM t RIGHT JOIN g ON t.name = g.code;",
            "a join with a global table is INNER or LEFT: only changes of the left side make results | ",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, g.color FROM s JOIN g ON s.name = g.color;",
            "G must be joined on its primary key, CODE | ",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, g.color FROM s JOIN g FOR SYSTEM_TIME AS OF s.ROWTIME ON s.name = g.code;",
            "G is a global table, which keeps no history | leave GLOBAL out and give it HISTORY_RETENTION_MS: it is then joined by the key of its partitions",
        ),
        (
            "CREATE STREAM o (id INT KEY, v INT) WITH (KAFKA_TOPIC='o', VALUE_FORMAT='JSON', GLOBAL=TRUE);",
            "GLOBAL is for tables: a stream is not looked up | ",
        ),
        (
            "CREATE TABLE o (id INT PRIMARY KEY, v INT) WITH (KAFKA_TOPIC='o', VALUE_FORMAT='JSON', GLOBAL=TRUE, HISTORY_RETENTION_MS=5);",
            "a global table keeps no history: what a process has loaded is not synchronised in time | leave GLOBAL or HISTORY_RETENTION_MS out",
        ),
        (
            "CREATE TABLE o (id INT PRIMARY KEY, v INT) WITH (KAFKA_TOPIC='o', VALUE_FORMAT='JSON', GLOBAL=3);",
            "GLOBAL takes TRUE or FALSE, not 3 | ",
        ),
    ] {
        assert_eq!(refused(statement), expected, "{statement}");
    }
}

#[test]
fn a_relation_is_joined_with_itself_under_another_name() {
    for statement in [
        "CREATE STREAM o AS SELECT a.id, a.name, b.name AS other FROM s a JOIN s b WITHIN 1 HOUR ON a.id = b.id;",
        "CREATE TABLE o AS SELECT t.id, t.name, b.name AS other FROM t JOIN t b ON t.id = b.id;",
        "CREATE TABLE o AS SELECT a.id, a.name, b.name AS boss FROM t a LEFT JOIN t b ON CAST(a.n AS INT) = b.id;",
    ] {
        topology(&format!("{SOURCES}{statement}"));
        // ksqlDB has joins of a stream with itself, too
        if statement.starts_with("CREATE STREAM") {
            continue;
        }
        let as_in_ksqldb = format!("SET 'millstream.self.joins' = 'refuse'; {SOURCES}{statement}");
        let all = compiled("test.sql", &as_in_ksqldb).expect_err("refused");
        assert!(
            all[0]
                .message
                .contains("with itself is refused, as millstream.self.joins says"),
            "{}",
            all[0]
        );
    }
    assert_eq!(
        refused("CREATE TABLE o AS SELECT t.id, t.name FROM t JOIN t ON t.id = t.id;"),
        "T is used twice in this query | give one of them another name: JOIN name AS other"
    );
}
