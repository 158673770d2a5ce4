//! `millstream undeploy`: removes what a topology has made: internal topics, consumer group, state; with `--outputs` its results, too.

use clap::{Arg, ArgAction, Command};
use serde_json::json;

use super::{CommandSpec, Logs};
use crate::cli::output::{self, Format};
use crate::cli::steer::{self, Steering};
use crate::cli::{Invocation, Outcome, registry};
use crate::engine::deploy::operations;
use crate::formats::subject_of;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "undeploy",
    about: "Removes a topology: internal topics, consumer group and state",
    examples: "\
Examples:
  millstream undeploy orders
  millstream undeploy orders --outputs

Running instances stop the topology and delete its local state. Its input topics stay in any case. Take its file out of --topologies, too:
the next start would deploy it anew. Interrupted, the command can be repeated.",
    arguments,
    logs: Logs::Stderr,
    run,
};

fn arguments(command: Command) -> Command {
    command.arg(steer::topology_argument()).arg(
        Arg::new("outputs")
            .long("outputs")
            .action(ArgAction::SetTrue)
            .help("Also delete the topics that it wrote, and their subjects in the schema registry"),
    )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let name = steer::topology(invocation);
    let outputs = invocation.matches.get_flag("outputs");
    let steering = Steering::new(&invocation.settings)?;
    let context = steering.context();
    let record = operations::record(&context, name).map_err(steer::failure)?;
    operations::undeploy(&context, name, outputs).map_err(steer::failure)?;
    let (mut topics, mut subjects) = (Vec::new(), Vec::new());
    if outputs || record.delete_outputs {
        topics.extend(record.outputs.iter().map(|output| output.topic.clone()));
        let names: Vec<String> = topics
            .iter()
            .flat_map(|topic| [subject_of(topic, true), subject_of(topic, false)])
            .collect();
        subjects = registry::delete_subjects(&invocation.settings, &names)?;
    }
    match Format::of(&invocation.settings) {
        Format::Json => output::line(
            &json!({ "topology": name, "done": "undeploy", "topics": topics, "subjects": subjects }).to_string(),
        ),
        Format::Text => {
            output::line(&format!(
                "{name}: internal topics, consumer group and state are removed"
            ));
            match topics.is_empty() {
                true => output::line("the topics that it wrote are still there (--outputs deletes them)"),
                false => output::line(&format!("deleted topics {}", topics.join(", "))),
            }
            if !subjects.is_empty() {
                output::line(&format!("deleted subjects {}", subjects.join(", ")));
            }
        }
    }
    Ok(())
}
