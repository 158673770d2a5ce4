mod trees;

use proptest::prelude::*;

use super::*;

/// Parses, prints and parses again: nothing may change.
fn round_trip(text: &str) -> String {
    let (first, problems) = statements(text);
    assert_eq!(problems, [], "{text}");
    let printed: Vec<_> = first.iter().map(|s| format!("{s};")).collect();
    let printed = printed.join("\n");
    let (second, problems) = statements(&printed);
    assert_eq!(problems, [], "{printed}");
    assert_eq!(first, second, "{printed}");
    printed
}

#[test]
fn statements_survive_printing() {
    let all = [
        "CREATE STREAM s (id BIGINT KEY, `a b` ARRAY<ARRAY<INT>>, m MAP<STRING, STRUCT<x DECIMAL(18, 3), `end` DATE>>) WITH (KAFKA_TOPIC='s', partitions=3);",
        "create or replace table if not exists t (id int primary key, h array<struct<key string, value bytes>> headers, one bytes header('x')) with (format='avro', wrap_single_value=true)",
        "CREATE SOURCE TABLE t WITH (KAFKA_TOPIC='t', VALUE_FORMAT='AVRO');",
        "CREATE TABLE x WITH (replicas=1) AS SELECT a.*, b.c AS d, COUNT(*), sum(x) / count(y) FROM a LEFT OUTER JOIN b AS bb WITHIN 7 DAYS GRACE PERIOD 1 HOUR ON a.id = bb.id FULL JOIN c ON c.i = a.i WINDOW TUMBLING (SIZE 1 HOUR, RETENTION 2 DAYS) WHERE NOT a.x > 1 GROUP BY (a.id, b) HAVING count(*) > 3 EMIT FINAL;",
        "INSERT INTO s SELECT * FROM t PARTITION BY a, b->c EMIT CHANGES LIMIT 3;",
        "INSERT INTO s (a, b) VALUES (1, 'it''s');",
        "DROP STREAM IF EXISTS s DELETE TOPIC; SET 'a'='b'; UNSET 'a';",
        "SELECT x FROM v WHERE k = 1 ORDER BY x DESC, y LIMIT 10",
        "CREATE TYPE address AS STRUCT<street STRING, n INT>; CREATE TYPE IF NOT EXISTS p AS ARRAY<address>; CREATE STREAM s (a address, b p ARRAY) WITH (x=1); DROP TYPE p; DROP TYPE IF EXISTS q;",
        "DEFINE topic = 'orders'; DEFINE n = '3'; CREATE STREAM ${topic} WITH (kafka_topic='${topic}-${x}', partitions=${n}); UNDEFINE n;",
        "ALTER STREAM s ADD COLUMN a INT, ADD b STRING; ALTER TABLE t ADD column INT; ALTER SYSTEM 'a' = 'b';",
        "ASSERT TOPIC `my-topic` WITH (partitions=3, replicas='1') TIMEOUT 10 SECONDS; ASSERT NOT EXISTS SCHEMA SUBJECT 's-value' ID 3; ASSERT SCHEMA ID 1 TIMEOUT 1 MINUTE;",
        "SELECT partition, emit, `order` AS order FROM s AS emit PARTITION BY partition EMIT CHANGES;",
        "CREATE STREAM partition AS SELECT order, DATEADD(DAYS, 1, DATE '2020-01-01'), a || b || 'c', .5 + 1. FROM emit;",
        "INSERT INTO s WITH (query_id='q') SELECT * FROM t;",
        "CREATE TABLE t AS SELECT a, row_number() over (partition by a order by b desc, c asc) AS n FROM s qualify n <= 3 EMIT CHANGES;",
        "CREATE TABLE t AS SELECT a FROM s QUALIFY (1 = ROW_NUMBER() OVER (PARTITION BY a, b ORDER BY c)) EMIT CHANGES;",
    ];
    for text in all {
        round_trip(text);
    }
}

#[test]
fn precedence_is_as_in_sql() {
    let cases = [
        (
            "a OR b AND NOT c = 1 + 2 * -x",
            "(A OR (B AND (NOT (C = (1 + (2 * (- X)))))))",
        ),
        ("a - b - c", "((A - B) - C)"),
        ("a BETWEEN 1 AND 2 AND b", "((A BETWEEN 1 AND 2) AND B)"),
        (
            "x NOT IN (1, -2) OR y IS NOT NULL",
            "((X NOT IN (1, -2)) OR (Y IS NOT NULL))",
        ),
        ("a->b[1]->c['k'] = 1", "(A->B[1]->C['k'] = 1)"),
        ("s LIKE 'a!%' ESCAPE '!'", "(S LIKE 'a!%' ESCAPE '!')"),
        ("a IS NOT DISTINCT FROM b", "(A IS NOT DISTINCT FROM B)"),
        ("count(distinct a, b)", "COUNT(DISTINCT A, B)"),
        ("COUNT(*) FILTER (WHERE a > 1)", "COUNT(*) FILTER (WHERE (A > 1))"),
        ("SUM(DISTINCT a) FILTER(where b)", "SUM(DISTINCT A) FILTER (WHERE B)"),
        (
            "CASE x WHEN 1 THEN 'a' ELSE NULL END",
            "CASE X WHEN 1 THEN 'a' ELSE NULL END",
        ),
        (
            "CAST(split(line, '::')[1] AS BIGINT)",
            "CAST(SPLIT(LINE, '::')[1] AS BIGINT)",
        ),
        ("transform(a, (k, v) => k + v)", "TRANSFORM(A, (K, V) => (K + V))"),
        ("filter(a, x => x > 1)", "FILTER(A, (X) => (X > 1))"),
        ("MAP('a' := 1, 'b' := 2)", "MAP('a' := 1, 'b' := 2)"),
        (
            "STRUCT(a := ARRAY[1, 2], `b` := r.`c`)",
            "STRUCT(A := ARRAY[1, 2], `b` := R.`c`)",
        ),
        ("1e3 + 1.50", "(1e3 + 1.50)"),
        ("a -- a comment\n /* and another */ <> b", "(A <> B)"),
    ];
    for (text, want) in cases {
        let parsed = expression(text).unwrap_or_else(|p| panic!("{text}: {p:?}"));
        assert_eq!(parsed.to_string(), want);
        assert_eq!(expression(want).unwrap(), parsed, "{want}");
    }
}

fn problem(text: &str) -> (String, String) {
    let (_, problems) = statements(text);
    let first = problems
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no problem in {text}"));
    let place = &text[first.span.start..first.span.end];
    (
        place.to_string(),
        first.message + &first.hint.map_or(String::new(), |h| format!(" [{h}]")),
    )
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        (
            "CREATE STREAM s (a INTT) WITH (x=1);",
            "INTT",
            "there is no type INTT [did you mean INT?]",
        ),
        ("CREATE STREAM s (a INT;", ";", "expected ',' or ')', found ';'"),
        (
            "CRATE STREAM s;",
            "CRATE",
            "expected a statement, found CRATE [did you mean CREATE?]",
        ),
        (
            "SELECT a FROM (SELECT b FROM c)",
            "(",
            "not supported yet: a query inside FROM [make it a stream or table of its own with CREATE ... AS SELECT]",
        ),
        (
            "SELECT FROM b",
            "FROM",
            "expected an expression, found FROM [something is missing before FROM]",
        ),
        ("SELECT a b c FROM d", "c", "expected FROM, found c"),
        (
            "CREATE STREAM s (a DECIMAL(3, 4)) WITH (x=1);",
            "3, 4",
            "DECIMAL takes 1 to 38 digits, of which at most all stand after the point",
        ),
        (
            "SHOW STREAMS;",
            "SHOW",
            "SHOW is no part of a SQL file [use the commands of millstream: check, explain, query]",
        ),
        (
            "SELECT 'a FROM b",
            "'",
            "the string that begins here has no end [' ends it; inside of a string a quote is doubled: 'it''s']",
        ),
        (
            "DEFINE a = 'x'; SELECT ${b} FROM c;",
            "${b}",
            "the variable b is not defined [DEFINE b = '...'; before it]",
        ),
        (
            "CREATE TYPE a AS INT; CREATE STREAM s (x ab) WITH (x=1);",
            "ab",
            "there is no type AB",
        ),
        (
            "CREATE TYPE a AS INT; CREATE TYPE a AS INT;",
            "a",
            "the type A exists already [DROP TYPE removes it, IF NOT EXISTS keeps it]",
        ),
        (
            "SELECT 1st FROM b",
            "1st",
            "expected an expression, found '1st' [a name begins with a letter, a number ends with a digit]",
        ),
        (
            "ASSERT VALUES s VALUES (1);",
            "VALUES",
            "expected TOPIC or SCHEMA, found VALUES [ASSERT VALUES, STREAM and TABLE belong to test files, see `millstream test`]",
        ),
    ];
    for (text, place, message) in cases {
        assert_eq!(problem(text), (place.to_string(), message.to_string()), "{text}");
    }
}

#[test]
fn all_errors_of_a_file_are_found() {
    let (good, problems) = statements("CREATE;\nSET 'a'='b';\nSELECT 1;\nDROP STREAM s");
    assert_eq!((good.len(), problems.len()), (2, 2));
}

#[test]
fn depth_is_bounded() {
    for text in [
        "(".repeat(5000),
        "NOT ".repeat(5000),
        "- ".repeat(5000),
        "a + ".repeat(5000),
        "a[".repeat(5000),
    ] {
        assert!(expression(&(text + "a")).is_err());
    }
    let types = "ARRAY<".repeat(5000);
    assert_eq!(
        statements(&format!("CREATE STREAM s (a {types}) WITH (x=1);")).1.len(),
        1
    );
    // names stand for types, which nest, too: in depth and in breadth
    let deeper = |i: usize| format!("CREATE TYPE t{} AS STRUCT<a t{i}>;", i + 1);
    let wider = |i: usize| format!("CREATE TYPE t{} AS STRUCT<a t{i}, b t{i}, c t{i}>;", i + 1);
    for types in [(0..1000).map(deeper).collect::<String>(), (0..30).map(wider).collect()] {
        let (_, problems) = statements(&format!("CREATE TYPE t0 AS INT;{types}"));
        assert!(problems[0].message.contains("parts or"), "{:?}", problems[0]);
    }
    let doubled = |i: usize| format!("DEFINE v{} = '${{v{i}}}${{v{i}}}';", i + 1);
    let (_, problems) = statements(&format!("DEFINE v0 = 'x';{}", (0..60).map(doubled).collect::<String>()));
    assert!(
        problems[0].message.starts_with("variables put more than"),
        "{:?}",
        problems[0]
    );
    // within the bound, printing and parsing again still works
    let deep = format!("{}a{}", "(1 + ".repeat(50), ")".repeat(50));
    assert!(expression(&deep).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        let _: (Vec<Statement>, Vec<Problem>) = statements(&text);
    }

    #[test]
    fn no_words_make_it_panic(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let text = words.join(" ");
        let (all, problems) = statements(&text);
        for problem in problems {
            prop_assert!(problem.span.start <= problem.span.end && problem.span.end <= text.len() + 1);
        }
        for statement in all {
            round_trip(&statement.to_string());
        }
    }
}

const WORDS: &[&str] = &[
    "CREATE",
    "STREAM",
    "TABLE",
    "s",
    "t",
    "(",
    ")",
    ",",
    ";",
    "SELECT",
    "*",
    "FROM",
    "WHERE",
    "a",
    "b",
    ".",
    "->",
    "[",
    "]",
    "1",
    "2.5",
    "'x'",
    "AS",
    "WITH",
    "=",
    "<",
    ">",
    ">>",
    "INT",
    "KEY",
    "GROUP",
    "BY",
    "PARTITION",
    "HAVING",
    "JOIN",
    "LEFT",
    "ON",
    "AND",
    "OR",
    "NOT",
    "IS",
    "NULL",
    "IN",
    "BETWEEN",
    "LIKE",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST",
    "COUNT",
    "-",
    "+",
    ":=",
    "=>",
    "STRUCT",
    "ARRAY",
    "MAP",
    "EMIT",
    "CHANGES",
    "INSERT",
    "INTO",
    "VALUES",
    "`q`",
    "\"d\"",
    "--c\n",
    "é",
    "SUM(x)",
    "SELECT a FROM b",
    "CREATE STREAM c AS SELECT",
    "TYPE",
    "DEFINE v = 'x'",
    "${v}",
    "'${v}'",
    "||",
    "EMIT",
    "ORDER",
    "ALTER",
    "ADD",
    "ASSERT TOPIC",
    "IF NOT EXISTS",
    "->*",
    "DATE '2020-01-01'",
    "DAYS",
];
