//! The table of commands; one file each.

mod broker;
mod check;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod dev;
mod docs;
mod explain;
mod functions;
mod load;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod pause;
mod query;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod replay;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod run;
mod schemas;
mod test;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod undeploy;

use clap::Command;

use super::{Invocation, Outcome};

/// Where a command's log lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logs {
    /// To standard error.
    Stderr,
    /// The command decides.
    Own,
}

/// A command.
pub struct CommandSpec {
    /// The word on the command line.
    pub name: &'static str,
    /// One line for the list of commands.
    pub about: &'static str,
    /// Examples, printed below its help.
    pub examples: &'static str,
    /// Adds its own arguments; its settings are added by the table of settings.
    pub arguments: fn(Command) -> Command,
    /// Where its logs go.
    pub logs: Logs,
    /// Does it.
    pub run: fn(&Invocation<'_>) -> Outcome,
}

/// All commands, in the order of the help. Without Kafka and RocksDB there is nothing to run topologies with.
pub const COMMANDS: &[CommandSpec] = &[
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    dev::COMMAND,
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    run::COMMAND,
    check::COMMAND,
    explain::COMMAND,
    test::COMMAND,
    functions::COMMAND,
    query::COMMAND,
    load::COMMAND,
    schemas::COMMAND,
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    replay::COMMAND,
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    pause::PAUSE,
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    pause::RESUME,
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    undeploy::COMMAND,
    broker::COMMAND,
    docs::COMMAND,
];
