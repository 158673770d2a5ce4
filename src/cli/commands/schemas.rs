//! `millstream schemas`: registers Avro schemas, or checks whether the registry would take them.

use std::path::Path;
use std::sync::Arc;

use clap::{Arg, Command};
use serde_json::{Value, json};

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Cell, Format};
use crate::cli::registry;
use crate::cli::schema_files::{SchemaFile, read_dir};
use crate::cli::{Failure, Invocation, Outcome};
use crate::formats::{Compatibility, SchemaSource};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "schemas",
    about: "Registers Avro schemas, or checks whether the registry would take them",
    examples: "\
Examples:
  millstream schemas check --schema-registry http://localhost:8081
  millstream schemas register schemas/movies-value.avsc --schema-registry http://localhost:8081

A file's stem is its subject: movies-value.avsc. Without FILES, all of the directory --schemas are taken.",
    arguments,
    logs: Logs::Stderr,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .arg(
            Arg::new("action")
                .value_name("ACTION")
                .required(true)
                .value_parser(["register", "check"])
                .help("What to do with the schemas"),
        )
        .arg(
            Arg::new("files")
                .value_name("FILES")
                .num_args(0..)
                .help("SUBJECT.avsc files; all of --schemas unless named"),
        )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let named: Vec<&String> = invocation.matches.get_many("files").into_iter().flatten().collect();
    let files = match named.is_empty() {
        true => read_dir(&invocation.settings.path("schemas")),
        false => {
            let read: Vec<Result<SchemaFile, String>> =
                named.iter().map(|name| SchemaFile::read(Path::new(name))).collect();
            let problems: Vec<String> = read.iter().filter_map(|file| file.as_ref().err().cloned()).collect();
            if problems.is_empty() {
                Ok(read.into_iter().flatten().collect())
            } else {
                Err(problems)
            }
        }
    };
    let files = files.map_err(|problems| Failure::usage(problems.join("\n")))?;
    if files.is_empty() {
        let dir = invocation.settings.path("schemas");
        return Err(Failure::usage(format!(
            "{} holds no *.avsc file; name some, or another directory with --schemas",
            dir.display()
        )));
    }
    let source = registry::connect(&invocation.settings)?;
    let register = invocation
        .matches
        .get_one::<String>("action")
        .is_some_and(|action| action == "register");
    let results: Vec<Outcomes> = files.iter().map(|file| treat(&source, file, register)).collect();
    print(&results, Format::of(&invocation.settings));
    match results.iter().filter(|result| result.problem.is_some()).count() {
        0 => Ok(()),
        n => Err(Failure::failed(format!(
            "{n} of {} schemas were refused",
            results.len()
        ))),
    }
}

/// What became of one file.
struct Outcomes {
    subject: String,
    result: String,
    id: Option<u32>,
    problem: Option<String>,
}

fn treat(source: &Arc<dyn SchemaSource>, file: &SchemaFile, register: bool) -> Outcomes {
    let (result, id, problem) = match register {
        true => match source.register(&file.subject, &file.schema) {
            Ok(registered) => ("registered", Some(registered.id), None),
            Err(error) => ("refused", None, Some(error.to_string())),
        },
        false => match source.check(&file.subject, &file.schema) {
            Ok(Compatibility::Compatible) => ("compatible", None, None),
            Ok(Compatibility::Incompatible(messages)) => ("incompatible", None, Some(messages.join("; "))),
            Err(error) => ("refused", None, Some(error.to_string())),
        },
    };
    Outcomes {
        subject: file.subject.clone(),
        result: result.to_owned(),
        id,
        problem,
    }
}

fn print(results: &[Outcomes], format: Format) {
    match format {
        Format::Json => {
            let list: Vec<Value> = results
                .iter()
                .map(|r| json!({ "subject": r.subject, "result": r.result, "id": r.id, "problem": r.problem }))
                .collect();
            output::line(&json!({ "schemas": list }).to_string());
        }
        Format::Text => {
            let columns = ["subject", "result", "id", "problem"].map(str::to_owned);
            let rows: Vec<Vec<Cell>> = results
                .iter()
                .map(|r| {
                    let id = r.id.map(|id| id.to_string()).unwrap_or_default();
                    vec![
                        Cell::left(r.subject.clone()),
                        Cell::left(r.result.clone()),
                        Cell::right(id),
                        Cell::left(r.problem.clone().unwrap_or_default()),
                    ]
                })
                .collect();
            output::raw(&output::table(&columns, &rows));
        }
    }
}
