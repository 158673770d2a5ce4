//! `millstream docs`, hidden: prints the reference pages that `make docs` writes.

use clap::Command;

use super::{CommandSpec, Logs};
use crate::cli::settings::docs;
use crate::cli::{Invocation, Outcome, output};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "docs",
    about: "Prints docs/settings.md",
    examples: "",
    arguments,
    logs: Logs::Own,
    run,
};

fn arguments(command: Command) -> Command {
    command.hide(true)
}

fn run(_: &Invocation<'_>) -> Outcome {
    output::raw(&docs::markdown());
    Ok(())
}
