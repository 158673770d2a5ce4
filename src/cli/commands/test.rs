//! `millstream test`: runs test cases of SQL in-process, without a broker.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Command as Process;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::testing::find::{Found, Job, find, triplet};
use crate::cli::testing::report::{Summary, failure};
use crate::cli::testing::{CaseReport, pool};
use crate::cli::{Failure, Invocation, Outcome};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "test",
    about: "Runs test cases of SQL in-process: golden text, ksqlDB's test files, or a case a line",
    examples: "\
Examples:
  millstream test tests/                          all *.case, *.json with `tests`, and triplets below
  millstream test -s statements.sql -i input.json -o output.json
  millstream test joins.json --only 'left join'   cases whose name contains it
  millstream test - < cases.jsonl                 one case object a line in, one result object a line out

Each case runs alone, without a broker: one partition, a record at a time, every change emitted, the clock at 0. A case may take 10 seconds.
Exit status 0 if all cases are as they say, else 1.",
    arguments,
    logs: Logs::Own,
    run,
};

fn arguments(command: Command) -> Command {
    let path = |name: &'static str, short: char, help: &'static str| {
        Arg::new(name)
            .long(name)
            .short(short)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    command
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf))
                .help("Files and directories with cases; `-` reads cases from standard input"),
        )
        .arg(path("statements", 's', "SQL of a triplet"))
        .arg(path("input", 'i', "Records that arrive, of a triplet").requires("statements"))
        .arg(path("expected", 'o', "Records that must come, of a triplet").requires("statements"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("TEXT")
                .help("Runs only cases whose name contains it"),
        )
        .arg(
            Arg::new("child")
                .long("child")
                .action(ArgAction::SetTrue)
                .hide(true)
                .help("Answers jobs on standard input"),
        )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let matches = invocation.matches;
    if matches.get_flag("child") {
        pool::child(std::io::stdin().lock(), std::io::stdout().lock());
        return Ok(());
    }
    let paths: Vec<PathBuf> = matches
        .get_many::<PathBuf>("paths")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if paths.iter().any(|path| path.as_os_str() == "-") {
        return if paths.len() == 1 {
            lines()
        } else {
            Err(Failure::usage(
                "`-` stands alone: cases come from standard input or from paths",
            ))
        };
    }
    let found = collect(matches, &paths)?;
    files(invocation, found)
}

fn collect(matches: &ArgMatches, paths: &[PathBuf]) -> Result<Vec<Found>, Failure> {
    let mut found = find(paths).map_err(Failure::usage)?;
    let path = |name: &str| matches.get_one::<PathBuf>(name).map(PathBuf::as_path);
    if let Some(statements) = path("statements") {
        found.push(triplet(statements, path("input"), path("expected")).map_err(Failure::usage)?);
    }
    if let Some(only) = matches.get_one::<String>("only") {
        for file in &mut found {
            file.jobs.retain(|job| job.name().contains(only.as_str()));
        }
    }
    if found.iter().all(|file| file.jobs.is_empty()) {
        return Err(Failure::usage(
            "there is no case: name files or directories with *.case, *.json (`tests`) or triplets, or `-`",
        ));
    }
    Ok(found)
}

/// What starts a child: this very program.
fn child() -> Process {
    let program = std::env::current_exe().unwrap_or_else(|_| "millstream".into());
    let mut command = Process::new(program);
    command.args(["test", "--child"]);
    command
}

/// Cases from standard input.
fn lines() -> Outcome {
    let mut failed = 0usize;
    let lines = BufReader::new(std::io::stdin()).split(b'\n').map_while(Result::ok);
    let jobs = lines
        .map(|line| String::from_utf8_lossy(&line).trim().to_owned())
        .filter(|line| !line.is_empty())
        .map(Job::Line);
    pool::run(jobs, &child, |report| {
        failed += usize::from(!report.ok);
        output::line(&report.line());
    });
    ended(failed)
}

fn ended(failed: usize) -> Outcome {
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("1 case failed")),
        n => Err(Failure::failed(format!("{n} cases failed"))),
    }
}

/// Cases from files.
fn files(invocation: &Invocation<'_>, found: Vec<Found>) -> Outcome {
    let format = Format::of(&invocation.settings);
    let names: Vec<String> = found
        .iter()
        .flat_map(|file| file.jobs.iter().map(|_| file.file.clone()))
        .collect();
    let jobs = found.into_iter().flat_map(|file| file.jobs);
    let mut summary = Summary::default();
    let mut all = Vec::new();
    let mut notes = std::collections::BTreeMap::<String, usize>::new();
    pool::run(jobs, &child, |report| {
        for note in &report.notes {
            *notes.entry(note.clone()).or_default() += 1;
        }
        let file = &names[summary.all];
        summary.add(&report);
        match format {
            Format::Json => all.push(as_json(file, &report)),
            Format::Text => {
                if !report.ok {
                    output::progress("");
                    output::line(&format!("{}\n", failure(file, &report)));
                }
                output::progress(&format!(
                    "{} of {} cases, {} failed",
                    summary.all,
                    names.len(),
                    summary.failed()
                ));
            }
        }
    });
    match format {
        Format::Json => output::line(&json!({ "summary": summary.json(), "cases": all }).to_string()),
        Format::Text => {
            output::progress("");
            output::line(&summary.text());
            for (note, cases) in notes {
                output::note(&format!("note: {note} (in {cases} of the cases)"));
            }
        }
    }
    ended(summary.failed())
}

fn as_json(file: &str, report: &CaseReport) -> serde_json::Value {
    json!({
        "file": file,
        "name": report.name,
        "ok": report.ok,
        "refused": report.refused,
        "message_matches": report.message_matches,
        "stage": report.stage,
        "error": report.error,
        "notes": report.notes,
    })
}
