//! `millstream broker`: the embedded broker alone.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};

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
        .arg(
            Arg::new("advertise")
                .long("advertise")
                .value_name("HOST:PORT")
                .help("The address that clients are told, where they reach the broker through something else (a proxy, a published port)"),
        )
}

/// Host and port that clients are told.
fn advertised(matches: &ArgMatches) -> Result<(Option<String>, Option<u16>), Failure> {
    let Some(text) = matches.get_one::<String>("advertise") else {
        return Ok((None, None));
    };
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) => Ok((Some(host.to_owned()), Some(port))),
        Some((_, Err(_))) | None => Err(Failure::usage(format!("--advertise {text}: not HOST:PORT"))),
    }
}

fn run(invocation: &Invocation<'_>) -> Outcome {
    let port = invocation.matches.get_one::<u16>("port").copied().unwrap_or_default();
    let (advertised_host, advertised_port) = advertised(invocation.matches)?;
    let config = BrokerConfig {
        listen: ([127, 0, 0, 1], port).into(),
        advertised_host,
        advertised_port,
        data_dir: invocation.matches.get_one::<PathBuf>("dir").cloned(),
        ..BrokerConfig::default()
    };
    run_blocking(config).map_err(Failure::failed)
}
