//! `millstream resume`: lets a paused topology go on from its last commit.

use clap::{Arg, Command};
use serde_json::json;

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::steer::{self, Steering};
use crate::cli::{Invocation, Outcome};
use crate::engine::deploy::operations;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "resume",
    about: "Lets a paused topology go on",
    examples: "Example:\n  millstream resume orders",
    arguments,
    logs: Logs::Stderr,
    run,
};

fn arguments(command: Command) -> Command {
    command.arg(
        Arg::new("topology")
            .value_name("TOPOLOGY")
            .required(true)
            .help("The topology: its file's name without .sql"),
    )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let name = invocation
        .matches
        .get_one::<String>("topology")
        .map_or("", String::as_str);
    let steering = Steering::new(&invocation.settings)?;
    operations::resume(&steering.context(), name).map_err(steer::failure)?;
    match Format::of(&invocation.settings) {
        Format::Text => output::line(&format!("{name}: resumed; running instances follow")),
        Format::Json => output::line(&json!({ "topology": name, "done": "resume" }).to_string()),
    }
    Ok(())
}
