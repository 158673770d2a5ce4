//! The table of commands; one file each.

mod broker;
mod docs;
mod load;
mod query;

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

/// All commands, in the order of the help.
pub const COMMANDS: &[CommandSpec] = &[broker::COMMAND, query::COMMAND, load::COMMAND, docs::COMMAND];
