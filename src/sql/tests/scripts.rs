//! Statements whose meaning is in others of the file: replaced ones, and what stands above and below them.

use super::*;
use crate::topology::Op;

fn file(text: &str) -> SourceFile {
    SourceFile {
        name: "test.sql".into(),
        text: format!("{SOURCES}{text}"),
    }
}

/// What `outline` says of the last statements.
fn meanings(text: &str, last: usize) -> Vec<String> {
    let file = file(text);
    let all = outline(&file, &topology(&file.text));
    let all = all[all.len() - last..].iter();
    all.map(|s| format!("{}: {}", s.statement, s.meaning)).collect()
}

#[test]
fn an_insert_into_a_relation_that_is_dropped_and_made_again_is_dropped_with_it() {
    let told = meanings(
        "CREATE STREAM o (id INT KEY, n INT) WITH (KAFKA_TOPIC = 'o', VALUE_FORMAT = 'JSON');
         INSERT INTO o (id, n) VALUES (1, 2);
         DROP STREAM o;
         CREATE STREAM o (id INT KEY, n INT) WITH (KAFKA_TOPIC = 'o', VALUE_FORMAT = 'JSON');
         INSERT INTO o (id, n) VALUES (3, 4);",
        4,
    );
    assert_eq!(told[0], "INSERT INTO O VALUES: dropped again with O");
    assert_eq!(
        told[3],
        "INSERT INTO O VALUES: a record of topic o, written once, when the file is first deployed"
    );
}

#[test]
fn what_does_nothing_is_told_once() {
    let told = meanings(
        "SET 'auto.offset.reset' = 'earliest'; UNSET 'auto.offset.reset'; DROP STREAM IF EXISTS q;",
        3,
    );
    assert!(
        told[0].starts_with("SET 'auto.offset.reset' = 'earliest': no effect: a file sets "),
        "{told:?}"
    );
    assert_eq!(told[1], "UNSET 'auto.offset.reset': no effect, as SET has none");
    assert_eq!(told[2], "DROP STREAM Q: nothing above makes it: nothing to do");
}

#[test]
fn a_replaced_query_has_the_properties_that_are_set_where_it_is_written() {
    for reader in ["", "CREATE STREAM p AS SELECT * FROM o;"] {
        let text = format!(
            "{SOURCES}CREATE STREAM o AS SELECT id, n FROM s WHERE NOT (n = 1);
             {reader}
             SET 'millstream.null.comparisons' = 'false';
             CREATE OR REPLACE STREAM o AS SELECT id, n, name FROM s WHERE NOT (n = 1);
             UNSET 'millstream.null.comparisons';
             CREATE STREAM q AS SELECT id, n FROM s WHERE NOT (n = 2);"
        );
        let plan = explain(&topology(&text), &Plain);
        let same = format!(
            "{SOURCES}SET 'millstream.null.comparisons' = 'false';
             CREATE STREAM o AS SELECT id, n, name FROM s WHERE NOT (n = 1);
             UNSET 'millstream.null.comparisons';
             {reader}
             CREATE STREAM q AS SELECT id, n FROM s WHERE NOT (n = 2);"
        );
        assert_eq!(plan, explain(&topology(&same), &Plain), "{reader}");
    }
}

#[test]
fn an_insert_gives_null_to_columns_that_statements_below_it_add() {
    let added = [
        "CREATE STREAM o AS SELECT id, n FROM s;
         INSERT INTO o SELECT id, n FROM s;
         CREATE OR REPLACE STREAM o AS SELECT id, n, name FROM s;",
        "CREATE STREAM o (id INT KEY, n BIGINT) WITH (KAFKA_TOPIC = 'o', VALUE_FORMAT = 'JSON');
         INSERT INTO o SELECT id, n FROM s;
         ALTER STREAM o ADD COLUMN name STRING;",
    ];
    for text in added {
        let topology = topology(&format!("{SOURCES}{text}"));
        let sinks = topology.nodes.iter().filter(|node| matches!(&node.op, Op::Sink(_)));
        assert!(sinks.count() > 0, "{text}");
        assert!(explain(&topology, &Plain).contains("NULL"), "{text}");
    }
    let before = "CREATE STREAM o AS SELECT id, n, name FROM s; INSERT INTO o SELECT id, n FROM s;";
    assert!(errors(before)[0].contains("the query gives (ID INTEGER KEY, N BIGINT), but O has"));
}
