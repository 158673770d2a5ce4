//! `millstream explain`: the plan of SQL files: sub-topologies, operators, stores and internal topics.

use serde_json::{Value, json};

use super::{CommandSpec, Logs, check};
use crate::cli::output::{self, Format};
use crate::cli::{Invocation, Outcome, registry, sql_files};
use crate::engine::Names;
use crate::topology::{explain, explain_json};

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
            let plans: Vec<String> = topologies
                .iter()
                .map(|topology| explain(topology, &names(&topology.name)))
                .collect();
            output::raw(&plans.join("\n"));
        }
        Format::Json => {
            let plans: Vec<Value> = topologies
                .iter()
                .map(|topology| explain_json(topology, &names(&topology.name)))
                .collect();
            output::line(&json!({ "topologies": plans }).to_string());
        }
    }
    Ok(())
}
