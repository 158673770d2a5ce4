//! Compiled files as text: plans, schemas and errors. `MILLSTREAM_BLESS=1` writes the plans anew.

mod functions;
mod lookups;
mod scripts;
mod windows;
mod write_topic;

use std::path::Path;

use super::*;
use crate::topology::{InternalNames, explain};
use crate::types::SqlType;

struct Plain;

impl InternalNames for Plain {
    fn repartition(&self, name: &str) -> String {
        format!("{name}.repartition")
    }

    fn changelog(&self, store: &str) -> String {
        format!("{store}.changelog")
    }
}

/// Two subjects, for statements without columns.
struct Registry;

impl SchemaLookup for Registry {
    fn columns(&self, subject: &str, _: &SerdeSpec) -> Result<Option<Vec<Column>>, String> {
        Ok(match subject {
            "ratings-value" => Some(vec![
                Column::new("movie_id", SqlType::Bigint),
                Column::new("rating", SqlType::Double),
            ]),
            "ratings-key" => Some(vec![Column::new("id", SqlType::Bigint)]),
            "bad-value" => return Err("it is a union".into()),
            _ => None,
        })
    }
}

fn compiled(name: &str, text: &str) -> Result<Topology, Vec<Diagnostic>> {
    let file = SourceFile {
        name: name.into(),
        text: text.into(),
    };
    compile(&file, &CompileContext { schemas: &Registry })
}

fn topology(text: &str) -> Topology {
    compiled("test.sql", text).unwrap_or_else(|all| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        panic!("{}", all.join("\n"))
    })
}

#[test]
fn the_jobs_have_these_plans() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sql/tests");
    for job in ["ratings", "orders", "joins"] {
        let text = std::fs::read_to_string(dir.join(format!("{job}.sql"))).unwrap();
        let topology = compiled(&format!("topologies/{job}.sql"), &text).unwrap_or_else(|all| panic!("{}", all[0]));
        let plan = explain(&topology, &Plain);
        let golden = dir.join(format!("{job}.plan"));
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            std::fs::write(&golden, &plan).unwrap();
        }
        assert_eq!(
            plan,
            std::fs::read_to_string(&golden).unwrap(),
            "{job}: MILLSTREAM_BLESS=1 writes it anew"
        );
    }
}

/// The schema of the last relation, with its kind and formats.
fn made(text: &str) -> String {
    let topology = topology(text);
    let last = topology.relations.last().unwrap();
    let (key, value) = (last.key_format.format, last.value_format.format);
    format!("{} {} {key}/{value}", last.kind, last.schema)
}

const SOURCES: &str = "
CREATE STREAM s (id INT KEY, name STRING, n BIGINT, x DOUBLE, d DECIMAL(9, 2), a ARRAY<STRING>, m MAP<STRING, INT>,
                 p STRUCT<name STRING, size INT>, t TIMESTAMP) WITH (KAFKA_TOPIC = 's', VALUE_FORMAT = 'JSON');
CREATE STREAM k (v STRING) WITH (KAFKA_TOPIC = 'k', VALUE_FORMAT = 'JSON');
CREATE TABLE t (id INT PRIMARY KEY, name STRING, n BIGINT) WITH (KAFKA_TOPIC = 't', VALUE_FORMAT = 'JSON');
CREATE TABLE u (id INT PRIMARY KEY, color STRING) WITH (KAFKA_TOPIC = 'u', VALUE_FORMAT = 'JSON');
";

#[test]
fn output_names_and_keys_are_ksqldbs() {
    let cases = [
        ("CREATE STREAM o AS SELECT * FROM k", "STREAM V STRING NONE/JSON"),
        (
            "CREATE STREAM o AS SELECT id, n + 1, x / 2 AS half, d * n, name FROM s",
            "STREAM ID INTEGER KEY, KSQL_COL_0 BIGINT, HALF DOUBLE, KSQL_COL_1 DECIMAL(29, 2), NAME STRING KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT name, id AS `key`, AS_VALUE(id) AS id FROM s",
            "STREAM key INTEGER KEY, NAME STRING, ID INTEGER KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT id, p->size, p->name, m['k'], a[1] FROM s",
            "STREAM ID INTEGER KEY, SIZE INTEGER, NAME_1 STRING, KSQL_COL_0 INTEGER, KSQL_COL_1 STRING KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT * FROM s JOIN t ON s.id = t.id",
            "STREAM S_ID INTEGER KEY, S_NAME STRING, S_N BIGINT, S_X DOUBLE, S_D DECIMAL(9, 2), S_A ARRAY<STRING>, S_M MAP<STRING, INTEGER>, S_P STRUCT<NAME STRING, SIZE INTEGER>, S_T TIMESTAMP, T_ID INTEGER, T_NAME STRING, T_N BIGINT KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT t1.id, x, t1.name FROM s LEFT JOIN t AS t1 ON s.id = t1.id PARTITION BY x",
            "STREAM X DOUBLE KEY, T1_ID INTEGER, T1_NAME STRING KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT t1.id, u.id, color FROM t t1 JOIN u ON t1.id = u.id",
            "TABLE T1_ID INTEGER KEY, U_ID INTEGER, COLOR STRING KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT u.id, color FROM t t1 RIGHT JOIN u ON t1.id = u.id",
            "TABLE U_ID INTEGER KEY, COLOR STRING KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT ROWKEY, t.name, color FROM t FULL JOIN u ON t.id = u.id",
            "TABLE ROWKEY INTEGER KEY, NAME STRING, COLOR STRING KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT name, COUNT(*), SUM(n) total FROM s GROUP BY name",
            "TABLE NAME STRING KEY, KSQL_COL_0 BIGINT, TOTAL BIGINT KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT UCASE(name), MAX(d), AVG(n), LATEST_BY_OFFSET(p) AS p FROM s GROUP BY UCASE(name)",
            "TABLE KSQL_COL_0 STRING KEY, KSQL_COL_1 DECIMAL(9, 2), KSQL_COL_2 DOUBLE, P STRUCT<NAME STRING, SIZE INTEGER> KAFKA/JSON",
        ),
        (
            "CREATE TABLE o WITH (KEY_FORMAT = 'JSON') AS SELECT n, CONCAT(name, '!') AS loud, name, COUNT(*) AS c FROM s GROUP BY name, n",
            "TABLE NAME STRING KEY, N BIGINT KEY, LOUD STRING, C BIGINT JSON/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT 'X' AS x, COUNT(*) AS c FROM k GROUP BY 'X'",
            "TABLE X STRING KEY, C BIGINT KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT name, id, n FROM s PARTITION BY name",
            "STREAM NAME STRING KEY, ID INTEGER, N BIGINT KAFKA/JSON",
        ),
        ("CREATE STREAM o AS SELECT * FROM k PARTITION BY v", ""),
        (
            "CREATE STREAM o AS SELECT id, p->* FROM s",
            "STREAM ID INTEGER KEY, NAME STRING, SIZE INTEGER KAFKA/JSON",
        ),
        (
            "CREATE STREAM r (id INT KEY, a STRING, p STRUCT<x INT>, b INT) WITH (KAFKA_TOPIC = 'r', VALUE_FORMAT = 'JSON'); CREATE STREAM o AS SELECT * FROM r PARTITION BY b",
            "STREAM B INTEGER KEY, A STRING, P STRUCT<X INTEGER>, ID INTEGER KAFKA/JSON",
        ),
        (
            "CREATE STREAM r (id INT KEY, a STRING, p STRUCT<x INT>) WITH (KAFKA_TOPIC = 'r', VALUE_FORMAT = 'JSON'); CREATE STREAM o AS SELECT * FROM r PARTITION BY p->x",
            "STREAM X INTEGER KEY, A STRING, P STRUCT<X INTEGER>, ID INTEGER KAFKA/JSON",
        ),
        (
            "CREATE STREAM r (id INT KEY, a STRING) WITH (KAFKA_TOPIC = 'r', VALUE_FORMAT = 'JSON'); CREATE STREAM o AS SELECT * FROM r PARTITION BY LEN(a)",
            "STREAM KSQL_COL_0 INTEGER KEY, A STRING, ID INTEGER KAFKA/JSON",
        ),
        (
            "CREATE STREAM r (id INT KEY, a STRING) WITH (KAFKA_TOPIC = 'r', VALUE_FORMAT = 'JSON'); CREATE STREAM o AS SELECT * FROM r PARTITION BY NULL",
            "STREAM A STRING, ID INTEGER NONE/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT s.id, s.rowtime, t.rowtime, t.rowoffset AS o, t.n FROM s JOIN t ON s.id = t.id WHERE t.rowtime > '2020-01-01'",
            "STREAM S_ID INTEGER KEY, S_ROWTIME BIGINT, T_ROWTIME BIGINT, O BIGINT, T_N BIGINT KAFKA/JSON",
        ),
        (
            "CREATE STREAM h (k INT KEY, all ARRAY<STRUCT<key STRING, value BYTES>> HEADERS, v INT) WITH (KAFKA_TOPIC = 'h', VALUE_FORMAT = 'JSON'); CREATE STREAM o AS SELECT * FROM h",
            "STREAM K INTEGER KEY, V INTEGER, ALL ARRAY<STRUCT<KEY STRING, VALUE BYTES>> KAFKA/JSON",
        ),
        (
            "CREATE OR REPLACE STREAM k (v STRING, w INT) WITH (KAFKA_TOPIC = 'k', VALUE_FORMAT = 'JSON'); ALTER STREAM k ADD COLUMN x INT; DROP STREAM s; CREATE STREAM s AS SELECT * FROM k",
            "STREAM V STRING, W INTEGER, X INTEGER NONE/JSON",
        ),
        (
            "CREATE TYPE a AS STRUCT<x INT>; DEFINE t = 'topic'; CREATE STREAM o (p a, q a ARRAY) WITH (KAFKA_TOPIC = '${t}', VALUE_FORMAT = 'JSON')",
            "STREAM P STRUCT<X INTEGER>, Q ARRAY<STRUCT<X INTEGER>> NONE/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT id, ARRAY[n, '2e1', id, 1.5] AS a, ARRAY[STRUCT(x := 1), STRUCT(y := 'a')] AS b, n IN (1, '2') AS c FROM s",
            "STREAM ID INTEGER KEY, A ARRAY<DECIMAL(20, 1)>, B ARRAY<STRUCT<Y STRING, X INTEGER>>, C BOOLEAN KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT v AS k, AS_VALUE(v) AS v FROM k PARTITION BY v",
            "STREAM K STRING KEY, V STRING KAFKA/JSON",
        ),
        (
            "CREATE STREAM o AS SELECT LEN(v), v FROM k PARTITION BY LEN(v)",
            "STREAM KSQL_COL_0 INTEGER KEY, V STRING KAFKA/JSON",
        ),
        (
            "CREATE TABLE o AS SELECT id, COUNT(*) AS c, COUNT(*) * 2 AS d FROM t GROUP BY id HAVING SUM(n) > 3",
            "TABLE ID INTEGER KEY, C BIGINT, D BIGINT KAFKA/JSON",
        ),
        (
            "CREATE TABLE o WITH (VALUE_FORMAT = 'AVRO') AS SELECT * FROM t WHERE n IS NOT NULL",
            "TABLE ID INTEGER KEY, NAME STRING, N BIGINT KAFKA/AVRO",
        ),
        (
            "CREATE STREAM o WITH (KAFKA_TOPIC = 'ratings', FORMAT = 'AVRO')",
            "STREAM ID BIGINT KEY, MOVIE_ID BIGINT, RATING DOUBLE AVRO/AVRO",
        ),
        (
            "CREATE TABLE o (k BIGINT PRIMARY KEY) WITH (KAFKA_TOPIC = 'ratings', VALUE_FORMAT = 'AVRO')",
            "TABLE K BIGINT KEY, MOVIE_ID BIGINT, RATING DOUBLE KAFKA/AVRO",
        ),
    ];
    for (text, want) in cases {
        if want.is_empty() {
            assert!(compiled("test.sql", &format!("{SOURCES}{text};")).is_err(), "{text}");
        } else {
            assert_eq!(made(&format!("{SOURCES}{text};")), want, "{text}");
        }
    }
}

/// `line:column place: message [hint]` of each error.
fn errors(text: &str) -> Vec<String> {
    let all = compiled("test.sql", &format!("{SOURCES}{text}"))
        .err()
        .unwrap_or_default();
    let lines = SOURCES.matches('\n').count();
    let one = |d: Diagnostic| {
        let place: String = d.source_line.chars().skip(d.column - 1).take(d.width).collect();
        let hint = d.hint.map_or(String::new(), |h| format!(" [{h}]"));
        format!("{}:{} {place}: {}{hint}", d.line - lines, d.column, d.message)
    };
    all.into_iter().map(one).collect()
}

/// A file of cases with the errors of today in place of those that stand there.
fn with_todays_errors(golden: &str) -> String {
    let mut now = String::new();
    for case in golden.split("\n\n").map(str::trim).filter(|c| !c.is_empty()) {
        let text: Vec<&str> = case.lines().filter(|l| !l.starts_with("! ")).collect();
        let statements: Vec<&str> = text.iter().copied().filter(|l| !l.starts_with('#')).collect();
        let found = errors(&statements.join("\n"));
        let found = found.iter().map(|e| format!("! {e}\n")).collect::<String>();
        now += &format!("{}\n{found}\n", text.join("\n"));
    }
    now
}

#[test]
fn errors_name_place_column_and_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sql/tests");
    let files = ["syntax", "statements", "properties", "names_and_types", "queries"];
    let files = files.map(|file| format!("errors/{file}.txt"));
    for file in files.iter().map(String::as_str).chain(["errors.txt"]) {
        let path = dir.join(file);
        let now = with_todays_errors(&std::fs::read_to_string(&path).unwrap());
        let refused = |case: &&str| case.starts_with('#') || case.contains("\n! ");
        let taken = now
            .split("\n\n")
            .map(str::trim)
            .filter(|c| !c.is_empty())
            .find(|c| !refused(c));
        assert!(
            taken.is_none() || file == "errors.txt",
            "{file}: {taken:?} has no error"
        );
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        let differs = golden.lines().zip(now.lines()).find(|(a, b)| a != b);
        assert_eq!(differs, None, "{file}: MILLSTREAM_BLESS=1 writes it anew");
        assert_eq!(golden.len(), now.len(), "{file}");
    }
}

mod random {
    use proptest::prelude::*;

    use super::*;

    const PARTS: &[&str] = &[
        "SELECT",
        "*",
        "FROM s",
        "FROM t",
        "JOIN t ON s.id = t.id",
        "LEFT JOIN u ON s.id = u.id",
        "WHERE",
        "GROUP BY",
        "PARTITION BY",
        "HAVING",
        "id",
        "s.id",
        "t.id",
        "name",
        "n",
        "x",
        "d",
        "a",
        "m",
        "p",
        "t",
        "p->size",
        "a[1]",
        "m['k']",
        "1",
        "1.5",
        "1e3",
        "'x'",
        "NULL",
        "TRUE",
        "+",
        "-",
        "*",
        "/",
        "%",
        "=",
        "<",
        "AND",
        "OR",
        "NOT",
        "IS NULL",
        "(",
        ")",
        ",",
        "AS",
        "y",
        "CASE WHEN",
        "THEN",
        "ELSE",
        "END",
        "IN (1, 2)",
        "COUNT(*)",
        "SUM(n)",
        "MAX(x)",
        "SPLIT(name, ',')",
        "CAST(n AS STRING)",
        "COALESCE(",
        "REQUIRE(name, 'r')",
        "BETWEEN 1 AND 2",
        "LIKE 'a%'",
        "ARRAY[1, 2]",
        "MAP('a' := 1)",
        "STRUCT(f := n)",
        "AS_VALUE(id)",
        "ROWTIME",
        "GROUP BY name",
        "PARTITION BY n",
        ";",
    ];

    proptest! {
        #[test]
        fn no_statement_makes_the_compiler_panic(parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..25)) {
            let body = parts.join(" ");
            for create in ["STREAM", "TABLE"] {
                let _: Result<Topology, Vec<Diagnostic>> =
                    compiled("test.sql", &format!("{SOURCES}CREATE {create} o AS SELECT id, name, {body}"));
            }
        }

        #[test]
        fn expressions_that_compile_run_without_panic(parts in proptest::collection::vec(proptest::sample::select(PARTS), 1..9)) {
            let text = format!("{SOURCES}CREATE STREAM o AS SELECT id, {} AS result FROM s;", parts.join(" "));
            let Ok(topology) = compiled("test.sql", &text) else { return Ok(()) };
            for node in &topology.nodes {
                if let crate::topology::Op::Project(exprs) = &node.op {
                    let nulls = vec![crate::types::Value::Null; 12];
                    for expr in exprs {
                        let row = crate::expr::EvalContext { key: &nulls[..1], value: &nulls, timestamp: 0, now: 0 };
                        let _: Result<crate::types::Value, crate::expr::EvalError> = expr.eval(&row);
                    }
                }
            }
        }
    }
}
