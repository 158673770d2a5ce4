//! `millstream replay`: rebuilds state and outputs of a topology from its input topics, as a new generation beside the one that answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command};
use serde_json::{Value, json};

use super::{CommandSpec, Logs, check};
use crate::cli::http_client::Client;
use crate::cli::output::{self, Format};
use crate::cli::steer::{self, Steering};
use crate::cli::{Failure, Invocation, Outcome, sql_files};
use crate::engine::deploy::control::StreamOutputs;
use crate::engine::deploy::operations;
use crate::topology::Topology;
use crate::types::Timestamp;

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "replay",
    about: "Rebuilds a topology from its input topics, while its views go on answering",
    examples: "\
Examples:
  millstream replay ratings
  millstream replay orders --from 2026-11-01T00:00:00Z --outputs none

State and outputs are built anew by the running instances, beside what answers now; the views switch when that has caught up, and keys that
were not made again leave the output tables. The command shows the progress; interrupted, the replay goes on, and the command shows it again.",
    arguments,
    logs: Logs::Stderr,
    run,
};

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(500);
/// Cells of the progress bar.
const BAR: usize = 30;

fn arguments(command: Command) -> Command {
    command
        .arg(steer::topology_argument())
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("TIME")
                .default_value("earliest")
                .help("earliest, or the time of the first records: 2026-11-01T00:00:00Z, or milliseconds since 1970"),
        )
        .arg(
            Arg::new("stream-outputs")
                .long("outputs")
                .value_name("WHAT")
                .value_parser(["append", "none"])
                .help("What happens to streams that it writes, whose readers would see everything twice"),
        )
        .arg(
            Arg::new("yes")
                .long("yes")
                .action(ArgAction::SetTrue)
                .help("Go on although input has been deleted by retention"),
        )
        .arg(
            Arg::new("no-wait")
                .long("no-wait")
                .action(ArgAction::SetTrue)
                .help("Begin it and return"),
        )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let text = |name: &str| invocation.matches.get_one::<String>(name).map(String::as_str);
    let name = steer::topology(invocation);
    let from = read_time(text("from").unwrap_or_default())?;
    let outputs = text("stream-outputs").map(|what| match what {
        "append" => StreamOutputs::Append,
        _ => StreamOutputs::None,
    });
    let steering = Steering::new(&invocation.settings)?;
    let topology = find(invocation, &steering, name)?;
    let context = steering.context();
    let plan = operations::plan_replay(&context, &topology, from).map_err(steer::failure)?;
    if !plan.cut.is_empty() {
        let cut = plan.cut.join("\n  ");
        if !invocation.matches.get_flag("yes") {
            return Err(Failure::usage(format!(
                "input that the topology has seen is gone, so the replay would not equal what is there now:\n  {cut}\n--yes replays what is left"
            )));
        }
        output::note(&format!("replaying what is left:\n  {cut}"));
    }
    let generation = operations::begin_replay(&context, &topology, from, outputs).map_err(steer::failure)?;
    if invocation.matches.get_flag("no-wait") {
        return done(invocation, name, generation, "begun");
    }
    watch(invocation, &steering, name, generation)?;
    done(invocation, name, generation, "done")
}

fn done(invocation: &Invocation<'_>, name: &str, generation: u32, what: &str) -> Outcome {
    match Format::of(&invocation.settings) {
        Format::Json => {
            output::line(&json!({ "topology": name, "generation": generation, "replay": what }).to_string())
        }
        Format::Text => output::line(&format!("{name}: replay {what}, generation {generation}")),
    }
    Ok(())
}

/// The topology as its file says now.
fn find(invocation: &Invocation<'_>, steering: &Steering, name: &str) -> Result<Arc<Topology>, Failure> {
    let dir = invocation.settings.path("topologies");
    let files = sql_files::read(&dir, &[dir.join(format!("{name}.sql"))])?;
    let compiled = sql_files::compile_all(&files, steering.schemas()).map_err(check::away)?;
    compiled
        .into_iter()
        .next()
        .ok_or_else(|| Failure::usage(format!("there is no topology {name}")))
}

/// `earliest`, an ISO time or milliseconds.
fn read_time(text: &str) -> Result<Option<Timestamp>, Failure> {
    if text == "earliest" {
        return Ok(None);
    }
    if let Ok(milliseconds) = text.parse::<i64>() {
        return Ok(Some(milliseconds));
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        Failure::usage(format!(
            "--from: `{text}` is neither earliest, nor 2026-11-01T00:00:00Z, nor milliseconds"
        ))
    })?;
    Ok(Some(time.as_millisecond()))
}

/// Shows the progress until the generation answers.
fn watch(invocation: &Invocation<'_>, steering: &Steering, name: &str, generation: u32) -> Result<(), Failure> {
    let mut client = Client::new(&invocation.settings.list("url")[0])?;
    let (begun, mut said) = (Instant::now(), false);
    loop {
        let record = operations::record(&steering.context(), name).map_err(steer::failure)?;
        if record.generation == generation {
            output::progress("");
            return Ok(());
        }
        if record
            .replay
            .as_ref()
            .is_none_or(|replay| replay.generation != generation)
        {
            return Err(Failure::failed(format!(
                "{name}: the replay was given up (undeployed, or another one was begun)"
            )));
        }
        match client
            .send("GET", &format!("/v1/topologies/{name}"), &[])
            .and_then(|answer| answer.json())
        {
            Ok(described) => output::progress(&describe(&described, begun.elapsed())),
            Err(Failure::Failed(reason) | Failure::Usage(reason)) if !said => {
                said = true;
                output::note(&format!(
                    "the replay is begun, but its progress cannot be shown: {reason}"
                ));
            }
            Err(_) => {}
        }
        std::thread::sleep(LOOK);
    }
}

/// A line: bar, share, records a second, time left.
fn describe(topology: &Value, elapsed: Duration) -> String {
    if let Some(reason) = topology.get("reason").and_then(Value::as_str) {
        return format!("waiting: {reason}");
    }
    let Some(replay) = topology.get("replay").filter(|replay| replay.is_object()) else {
        return format!("preparing, {} s", elapsed.as_secs());
    };
    let number = |name: &str| replay.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (done, total, rate) = (number("done"), number("total").max(1), number("per_second"));
    let filled = (done.min(total) as usize * BAR) / total as usize;
    let left = total
        .saturating_sub(done)
        .checked_div(rate)
        .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s"));
    format!(
        "[{}{}] {:3} %  {done} of {total} records, {rate} a second, {left} left",
        "=".repeat(filled),
        " ".repeat(BAR - filled),
        done.min(total) * 100 / total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(read_time("earliest"), Ok(None));
        assert_eq!(read_time("1700000000000"), Ok(Some(1_700_000_000_000)));
        assert_eq!(read_time("1970-01-01T00:00:01Z"), Ok(Some(1_000)));
        assert!(read_time("yesterday").is_err());
    }

    #[test]
    fn progress_has_rate_and_time_left() {
        let body =
            json!({ "status": "running", "replay": { "generation": 1, "done": 50, "total": 200, "per_second": 10 } });
        let line = describe(&body, Duration::ZERO);
        assert!(
            line.contains(" 25 %") && line.contains("10 a second, 15 s left"),
            "{line}"
        );
        assert!(describe(&json!({}), Duration::from_secs(3)).contains("preparing"));
    }
}
