//! `millstream explain`: the plan of SQL files: sub-topologies, operators, stores and internal topics.

use serde_json::{Value, json};

use super::{CommandSpec, Logs, check};
use crate::cli::output::{self, Format};
use crate::cli::{Invocation, Outcome, registry, sql_files};
use crate::engine::Names;
use crate::sql::{Outlined, SourceFile, outline};
use crate::topology::{Topology, explain, explain_json};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "explain",
    about: "Shows the plan of SQL files: sub-topologies, stores and internal topics",
    examples: "\
Examples:
  millstream explain
  millstream explain topologies/orders.sql --output json",
    arguments: check::arguments,
    logs: Logs::Stderr,
    run,
};

fn run(invocation: &Invocation<'_>) -> Outcome {
    let files = check::sources(invocation)?;
    let schemas = registry::connect_or_files(&invocation.settings)?;
    let topologies = sql_files::compile_all(&files, &schemas).map_err(check::away)?;
    let names = |topology: &str| Names::new(invocation.settings.text("application-id"), topology, 0);
    match Format::of(&invocation.settings) {
        Format::Text => {
            let plans: Vec<String> = files
                .iter()
                .zip(&topologies)
                .map(|(file, topology)| text(file, topology, &names(&topology.name)))
                .collect();
            output::raw(&plans.join("\n"));
        }
        Format::Json => {
            let plans: Vec<Value> = files
                .iter()
                .zip(&topologies)
                .map(|(file, topology)| {
                    let mut plan = explain_json(topology, &names(&topology.name));
                    plan["statements"] = outline(file, topology).iter().map(statement_json).collect();
                    plan
                })
                .collect();
            output::line(&json!({ "topologies": plans }).to_string());
        }
    }
    Ok(())
}

/// The plan, and what each statement has to do with it.
fn text(file: &SourceFile, topology: &Topology, names: &Names) -> String {
    let mut text = explain(topology, names);
    text.push_str("\nstatements\n");
    for statement in outline(file, topology) {
        let Outlined {
            line,
            statement,
            meaning,
            ..
        } = statement;
        text.push_str(&format!("  line {line}: {statement}\n      {meaning}\n"));
    }
    text
}

fn statement_json(statement: &Outlined) -> Value {
    json!({
        "line": statement.line,
        "statement": statement.statement,
        "meaning": statement.meaning,
        "idle": statement.idle,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{CompileContext, NoSchemas, compile};

    const FILE: &str = "\
SET 'auto.offset.reset' = 'earliest';
SET 'millstream.empty.groups' = 'keep';
UNSET 'millstream.empty.groups';
DEFINE topic = 'in';
CREATE TYPE place AS STRUCT<x INT>;
ASSERT TOPIC 'in' WITH (PARTITIONS = 1) TIMEOUT 2 SECONDS;
ASSERT NOT EXISTS SCHEMA SUBJECT 's' ID 3;
CREATE STREAM s (id INT KEY, p place, v INT) WITH (KAFKA_TOPIC = '${topic}', VALUE_FORMAT = 'JSON');
ALTER STREAM s ADD COLUMN w INT;
UNDEFINE topic;
DROP TYPE place;
CREATE SOURCE TABLE t (id INT PRIMARY KEY, v INT) WITH (KAFKA_TOPIC = 't', VALUE_FORMAT = 'JSON');
CREATE STREAM unread (v INT) WITH (KAFKA_TOPIC = 'u', VALUE_FORMAT = 'JSON');
CREATE STREAM IF NOT EXISTS s (v INT) WITH (KAFKA_TOPIC = 'u', VALUE_FORMAT = 'JSON');
CREATE TABLE w (k STRING PRIMARY KEY, v INT) WITH (KAFKA_TOPIC = 'w', VALUE_FORMAT = 'JSON', WINDOW_TYPE = 'SESSION');
DROP STREAM IF EXISTS gone;
CREATE STREAM dropped AS SELECT * FROM s;
INSERT INTO dropped SELECT * FROM s;
DROP STREAM dropped;
CREATE STREAM o AS SELECT id, v FROM s;
CREATE OR REPLACE STREAM o AS SELECT id, v, w FROM s;
INSERT INTO o SELECT id, v, 1 AS w FROM s;
CREATE TABLE c WITH (WRITE_TOPIC = FALSE) AS SELECT v, COUNT(*) AS n FROM s GROUP BY v;
CREATE STREAM i (v INT) WITH (KAFKA_TOPIC = 'i', VALUE_FORMAT = 'JSON');
INSERT INTO i (v) VALUES (1);
";

    #[test]
    fn every_kind_of_statement_is_shown_or_said_why_not() {
        let file = SourceFile {
            name: "all.sql".into(),
            text: FILE.into(),
        };
        let topology = compile(&file, &CompileContext { schemas: &NoSchemas }).expect("sound");
        let text = text(&file, &topology, &Names::new("app", "all", 0));
        let (_, statements) = text.split_once("\nstatements\n").expect("a part of its own");
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/commands/explain_statements.txt");
        if std::env::var_os("MILLSTREAM_BLESS").is_some() {
            std::fs::write(golden, statements).expect("writable");
        }
        let expected = std::fs::read_to_string(golden).expect("readable");
        assert_eq!(statements, expected, "MILLSTREAM_BLESS=1 writes it anew");
        assert!(text.contains("keys with SESSION windows"), "{text}");
        let json: Vec<Value> = outline(&file, &topology).iter().map(statement_json).collect();
        assert_eq!(json.len(), FILE.lines().count());
        assert_eq!(json[0]["idle"], true);
    }
}
