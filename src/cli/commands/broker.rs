//! `millstream broker`: the embedded broker alone.

use std::path::PathBuf;

use clap::{Arg, Command, value_parser};

use super::{CommandSpec, Logs};
use crate::cli::{Failure, Invocation, Outcome};
use crate::dev::broker::{BrokerConfig, run_blocking};

/// The command.
pub const COMMAND: CommandSpec = CommandSpec {
    name: "broker",
    about: "Runs the embedded Kafka broker alone, on loopback",
    examples: "\
Examples:
  millstream broker 9092 .millstream/broker
  kcat -b 127.0.0.1:9092 -L",
    arguments,
    logs: Logs::Stderr,
    run,
};

fn arguments(command: Command) -> Command {
    let port = Arg::new("port").value_name("PORT").required(true);
    let dir = Arg::new("dir").value_name("DIR").required(true);
    command
        .arg(
            port.value_parser(value_parser!(u16))
                .help("Where to listen on 127.0.0.1; 0 takes a free one"),
        )
        .arg(
            dir.value_parser(value_parser!(PathBuf))
                .help("Where the topics are kept"),
        )
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let port = invocation.matches.get_one::<u16>("port").copied().unwrap_or_default();
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], port).into(),
        data_dir: invocation.matches.get_one::<PathBuf>("dir").cloned(),
        ..BrokerConfig::default()
    };
    run_blocking(config).map_err(Failure::failed)
}
