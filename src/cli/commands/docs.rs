//! `millstream docs`, hidden: prints the reference pages that `make docs` writes.

use clap::{Arg, Command};

use super::{CommandSpec, Logs};
use crate::cli::settings::docs;
use crate::cli::{Failure, Invocation, Outcome, output, sql_docs};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "docs",
    about: "Prints docs/settings.md, or a page of SQL with its tables made anew",
    examples: "",
    arguments,
    logs: Logs::Own,
    run,
};

fn arguments(command: Command) -> Command {
    command
        .hide(true)
        .arg(Arg::new("page").value_name("PAGE").help("docs/sql.md"))
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let Some(path) = invocation.matches.get_one::<String>("page") else {
        output::raw(&docs::markdown());
        return Ok(());
    };
    let page = std::fs::read_to_string(path).map_err(|error| Failure::usage(format!("{path}: {error}")))?;
    let page = sql_docs::with_parts(&page).map_err(|why| Failure::usage(format!("{path}: {why}")))?;
    output::raw(&page);
    Ok(())
}
