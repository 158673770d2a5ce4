use super::super::*;

const SOURCES: &str =
    "CREATE TABLE movies (id BIGINT PRIMARY KEY, title STRING) WITH (KAFKA_TOPIC='movies', VALUE_FORMAT='JSON');
CREATE STREAM ratings (id BIGINT KEY, rating DOUBLE) WITH (KAFKA_TOPIC='ratings', VALUE_FORMAT='JSON');
";

fn compiled(statements: &str) -> Result<Topology, Vec<Diagnostic>> {
    let file = SourceFile {
        name: "t.sql".into(),
        text: format!("{SOURCES}{statements}"),
    };
    compile(&file, &CompileContext { schemas: &NoSchemas })
}

#[test]
fn an_unwritten_table_is_read_and_queried_but_has_no_sink() {
    let topology = compiled(
        "CREATE TABLE averages WITH (WRITE_TOPIC=FALSE) AS SELECT id, SUM(rating) / COUNT(*) AS rating FROM ratings GROUP BY id;
         CREATE TABLE rated AS SELECT m.id, m.title, a.rating FROM averages a JOIN movies m ON a.id = m.id;",
    )
    .expect("it compiles");
    let sinks: Vec<&str> = topology
        .nodes
        .iter()
        .filter_map(|node| match &node.op {
            crate::topology::Op::Sink(sink) => Some(&*sink.relation),
            _ => None,
        })
        .collect();
    assert_eq!(sinks, ["RATED"]);
    assert!(topology.views.iter().any(|view| &*view.name == "AVERAGES"));
}

#[test]
fn an_unwritten_table_with_a_topic_is_refused() {
    let problems = compiled(
        "CREATE TABLE c WITH (WRITE_TOPIC=FALSE, KAFKA_TOPIC='c') AS SELECT id, COUNT(*) AS n FROM ratings GROUP BY id;",
    )
    .expect_err("a contradiction");
    assert!(
        problems[0].to_string().contains("WRITE_TOPIC is FALSE"),
        "{}",
        problems[0]
    );
}

#[test]
fn a_declared_stream_has_its_topic() {
    let problems =
        compiled("CREATE STREAM s (id BIGINT KEY) WITH (KAFKA_TOPIC='s', VALUE_FORMAT='JSON', WRITE_TOPIC=FALSE);")
            .expect_err("nothing to write");
    let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(all.iter().any(|p| p.contains("AS SELECT only")), "{all:?}");
}
