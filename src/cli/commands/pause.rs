//! `millstream pause` and `resume`: stop consuming in all instances, over restarts, too, while state goes on answering; and go on from the last commit.

use clap::Command;
use serde_json::json;

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::steer::{self, Steering};
use crate::cli::{Invocation, Outcome};
use crate::engine::deploy::{DeployContext, DeployError, operations};

/// `pause`.
pub const PAUSE: CommandSpec = CommandSpec {
    name: "pause",
    about: "Pauses a topology: its views answer, nothing is consumed",
    examples: "Example:\n  millstream pause orders",
    arguments,
    logs: Logs::Stderr,
    run: |invocation| run(invocation, operations::pause, ("pause", "paused")),
};

/// `resume`.
pub const RESUME: CommandSpec = CommandSpec {
    name: "resume",
    about: "Lets a paused topology go on",
    examples: "Example:\n  millstream resume orders",
    arguments,
    logs: Logs::Stderr,
    run: |invocation| run(invocation, operations::resume, ("resume", "resumed")),
};

fn arguments(command: Command) -> Command {
    command.arg(steer::topology_argument())
}

type Operation = fn(&DeployContext<'_>, &str) -> Result<(), DeployError>;

fn run(invocation: &Invocation<'_>, operation: Operation, (word, done): (&str, &str)) -> Outcome {
    let name = steer::topology(invocation);
    let steering = Steering::new(&invocation.settings)?;
    operation(&steering.context(), name).map_err(steer::failure)?;
    match Format::of(&invocation.settings) {
        Format::Text => output::line(&format!("{name}: {done}; running instances follow")),
        Format::Json => output::line(&json!({ "topology": name, "done": word }).to_string()),
    }
    Ok(())
}
