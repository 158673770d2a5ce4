//! `millstream check`: compiles SQL files and shows every error with file, line, column and hint. Nothing runs, nothing is deployed.

use std::path::PathBuf;

use clap::{Arg, Command, value_parser};
use serde_json::{Value, json};

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::sql_files::{self, CompileFailure};
use crate::cli::{Failure, Invocation, Outcome, registry};
use crate::sql::{Diagnostic, SourceFile, outline};
use crate::topology::Topology;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "check",
    about: "Checks SQL files: every error with file, line, column and hint",
    examples: "\
Examples:
  millstream check
  millstream check topologies/orders.sql --schema-registry http://localhost:8081

Columns that a statement does not list come from --schema-registry, or without one from the files of --schemas.",
    arguments,
    logs: Logs::Stderr,
    run,
};

/// Arguments of `check` and `explain`.
pub fn arguments(command: Command) -> Command {
    command.arg(
        Arg::new("files")
            .value_name("FILES")
            .num_args(0..)
            .value_parser(value_parser!(PathBuf))
            .help("SQL files; all of --topologies unless named"),
    )
}

/// The named files, or those of the directory.
pub fn sources(invocation: &Invocation<'_>) -> Result<Vec<SourceFile>, Failure> {
    let files: Vec<PathBuf> = invocation
        .matches
        .get_many::<PathBuf>("files")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    sql_files::read(&invocation.settings.path("topologies"), &files)
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let files = sources(invocation)?;
    let schemas = registry::connect_or_files(&invocation.settings)?;
    let outcomes = sql_files::compile_each(&files, &schemas).map_err(away)?;
    let problems: usize = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .map(Vec::len)
        .sum();
    match Format::of(&invocation.settings) {
        Format::Json => {
            let list: Vec<Value> = files
                .iter()
                .zip(&outcomes)
                .map(|(file, outcome)| as_json(file, outcome))
                .collect();
            output::line(&json!({ "ok": problems == 0, "files": list }).to_string());
        }
        Format::Text => {
            for (file, outcome) in files.iter().zip(&outcomes) {
                match outcome {
                    Ok(topology) => {
                        output::line(&format!("{}: ok, {}", file.name, summary(topology)));
                        notes(file, topology).iter().for_each(|(_, text)| output::line(text));
                    }
                    Err(diagnostics) => diagnostics
                        .iter()
                        .for_each(|diagnostic| output::line(&format!("{diagnostic}\n"))),
                }
            }
        }
    }
    match problems {
        0 => Ok(()),
        1 => Err(Failure::usage("1 problem")),
        n => Err(Failure::usage(format!("{n} problems"))),
    }
}

/// A registry that is away is no mistake of the files.
pub fn away(failure: CompileFailure) -> Failure {
    match failure {
        CompileFailure::RegistryAway(reason) => Failure::failed(format!("the schema registry is away: {reason}")),
        CompileFailure::Diagnostics(all) => {
            Failure::usage(all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))
        }
    }
}

fn summary(topology: &Topology) -> String {
    let count = |n: usize, one: &str, many: &str| (n > 0).then(|| format!("{n} {}", if n == 1 { one } else { many }));
    let always = |n: usize, one: &str, many: &str| count(n, one, many).or_else(|| Some(format!("0 {many}")));
    let parts = [
        always(topology.relations.len(), "relation", "relations"),
        always(topology.subs.len(), "sub-topology", "sub-topologies"),
        always(topology.stores.len(), "store", "stores"),
        always(topology.views.len(), "view", "views"),
        count(topology.inserts.len(), "record to insert", "records to insert"),
        count(topology.asserts.len(), "assertion", "assertions"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Statements without effect: their lines, and what there is to say.
fn notes(file: &SourceFile, topology: &Topology) -> Vec<(usize, String)> {
    let idle = outline(file, topology).into_iter().filter(|statement| statement.idle);
    idle.map(|s| {
        (
            s.line,
            format!("{}:{}: note: {}: {}", file.name, s.line, s.statement, s.meaning),
        )
    })
    .collect()
}

fn as_json(file: &SourceFile, outcome: &Result<std::sync::Arc<Topology>, Vec<Diagnostic>>) -> Value {
    let errors: Vec<Value> = outcome.as_ref().err().into_iter().flatten().map(error_json).collect();
    let notes = outcome
        .as_ref()
        .map(|topology| notes(file, topology))
        .unwrap_or_default();
    let notes: Vec<Value> = notes
        .into_iter()
        .map(|(line, text)| json!({ "line": line, "message": text }))
        .collect();
    json!({ "file": &*file.name, "ok": errors.is_empty(), "errors": errors, "notes": notes })
}

fn error_json(error: &Diagnostic) -> Value {
    json!({
        "file": &*error.file,
        "line": error.line,
        "column": error.column,
        "width": error.width,
        "message": error.message,
        "hint": error.hint,
        "source": error.source_line,
    })
}
