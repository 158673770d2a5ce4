//! `millstream pause`: stops consuming in all instances; state is kept and goes on answering, over restarts, too.

use clap::{Arg, Command};
use serde_json::json;

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::steer::{self, Steering};
use crate::cli::{Invocation, Outcome};
use crate::engine::deploy::operations;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "pause",
    about: "Pauses a topology: its views answer, nothing is consumed",
    examples: "Example:\n  millstream pause orders",
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
    operations::pause(&steering.context(), name).map_err(steer::failure)?;
    match Format::of(&invocation.settings) {
        Format::Text => output::line(&format!("{name}: paused; running instances follow")),
        Format::Json => output::line(&json!({ "topology": name, "done": "pause" }).to_string()),
    }
    Ok(())
}
