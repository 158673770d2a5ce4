//! The command line: arguments, settings, one file a command.
//!
//! It is the place where the rooms are put together; nothing else imports it. A command gets an [`Invocation`] (valid settings and its own
//! arguments), prints its answer through [`output`], and ends with an exit code: 0 done, 1 it failed, 2 the user's input was wrong.

mod args;
mod commands;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod dev;
mod exit;
mod http_client;
mod load;
mod logging;
pub mod output;
mod registry;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod running;
mod schema_files;
pub mod settings;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod signals;
mod sql_docs;
mod sql_files;
#[cfg(all(feature = "kafka", feature = "rocksdb"))]
mod steer;
pub mod testing;

use std::io::Write;

use settings::Settings;
use settings::load::{Raw, load};

/// What a command is called with.
pub struct Invocation<'a> {
    /// Its own arguments, beside the settings.
    pub matches: &'a clap::ArgMatches,
    /// The valid settings.
    pub settings: Settings,
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The user's input was wrong: exit code 2. Ready to print, may have several lines.
    Usage(String),
    /// It could not be done: exit code 1.
    Failed(String),
}

impl Failure {
    /// Something could not be done.
    pub fn failed(message: impl std::fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// Something that the user gave is wrong.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self::Usage(message.to_string())
    }
}

/// What a command ends with.
pub type Outcome = Result<(), Failure>;

/// Runs the program with the arguments and environment of the process, and ends it.
pub fn main() -> ! {
    exit::now(run())
}

fn run() -> u8 {
    let arguments = std::env::args_os();
    let matches = match args::program().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are "errors" of clap with exit code 0. A closed pipe is nobody's problem.
            let _ = error.print().and_then(|()| std::io::stdout().flush());
            return u8::try_from(error.exit_code()).unwrap_or(2);
        }
    };
    #[cfg(all(feature = "kafka", feature = "rocksdb"))]
    signals::survive_file_limits();
    match dispatch(&matches) {
        Ok(()) => 0,
        Err(Failure::Failed(message)) => {
            output::error(&message);
            1
        }
        Err(Failure::Usage(message)) => {
            output::error(&message);
            2
        }
    }
}

fn dispatch(matches: &clap::ArgMatches) -> Outcome {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(Failure::usage("no command; `millstream help` lists them"));
    };
    let Some(command) = commands::COMMANDS.iter().find(|command| command.name == name) else {
        return Err(Failure::usage(format!("unknown command {name}")));
    };
    let settings = read_settings(command.name, matches)?;
    if command.logs == commands::Logs::Stderr {
        logging::start(&settings, None)?;
    }
    (command.run)(&Invocation { matches, settings })
}

/// The default settings file, read where it exists.
const SETTINGS_FILE: &str = "millstream.toml";

fn read_settings(command: &str, matches: &clap::ArgMatches) -> Result<Settings, Failure> {
    let flags = args::flags(command, matches);
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let named = flags
        .iter()
        .rev()
        .find(|(name, _)| *name == "config")
        .map(|(_, path)| path.clone());
    let named = named.or_else(|| {
        environment
            .iter()
            .find(|(name, _)| name == "MILLSTREAM_CONFIG")
            .map(|(_, path)| path.clone())
    });
    let path = named.clone().unwrap_or_else(|| SETTINGS_FILE.to_owned());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => None,
        Err(error) => {
            return Err(Failure::usage(format!(
                "{path}: the settings file cannot be read: {error}"
            )));
        }
    };
    let raw = Raw {
        file: text.as_deref().map(|text| (path.as_str(), text)),
        environment: &environment,
        flags: &flags,
    };
    load(&raw).map_err(|problems| {
        let mut message = match problems.len() {
            1 => "the settings have a problem:".to_owned(),
            n => format!("the settings have {n} problems:"),
        };
        for problem in problems {
            message.push_str(&format!("\n  {problem}"));
        }
        Failure::Usage(message)
    })
}
