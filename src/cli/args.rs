//! The command tree for clap, built from the tables of commands and settings.

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::commands::COMMANDS;
use super::settings::{Kind, SETTINGS, Setting};

const ABOUT: &str = "SQL files in, exactly-once materialized views out: a stream processor beside Kafka";

const EPILOGUE: &str = "\
Start with `millstream dev`: it needs no Kafka. Every flag is also a key of millstream.toml and a variable MILLSTREAM_*; docs/settings.md lists them.
Exit codes: 0 done, 1 failed, 2 the command, a setting or a file given to it is wrong.";

/// The program's arguments.
pub fn program() -> Command {
    let styles = Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold());
    let mut program = Command::new("millstream")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(EPILOGUE)
        .styles(styles)
        .max_term_width(120)
        .subcommand_required(true)
        .arg_required_else_help(true);
    for spec in COMMANDS {
        let mut command = Command::new(spec.name).about(spec.about).after_help(spec.examples);
        for setting in SETTINGS.iter().filter(|setting| setting.commands.contains(&spec.name)) {
            command = command.arg(flag(setting));
        }
        program = program.subcommand((spec.arguments)(command));
    }
    program
}

/// A setting as a flag. Texts are read by the settings' own rules, so that all problems come at once.
fn flag(setting: &'static Setting) -> Arg {
    let mut help = setting.help.to_owned();
    if let Kind::Choice(words) = setting.kind {
        let missing: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !setting.help.contains(word))
            .collect();
        if !missing.is_empty() {
            help.push_str(&format!(" [values: {}]", words.join(", ")));
        }
    }
    if let Some(default) = setting.default.filter(|_| setting.kind != Kind::Flag) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value_name)
        .help(help)
        .help_heading("Settings");
    match setting.kind {
        Kind::Flag => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .action(ArgAction::Append),
        _ => arg.action(ArgAction::Append),
    }
}

/// The settings given as flags, in the order in which the table has them; of a repeated one the last counts.
pub fn flags(command: &str, matches: &ArgMatches) -> Vec<(&'static str, String)> {
    SETTINGS
        .iter()
        .filter(|setting| setting.commands.contains(&command))
        .flat_map(|setting| {
            let values = matches.get_many::<String>(setting.name).into_iter().flatten();
            values.map(|value| (setting.name, value.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        program().debug_assert();
    }

    #[test]
    fn flags_are_collected_with_their_texts() {
        let given = |arguments: &[&str]| {
            let mut command = Command::new("dev");
            for setting in SETTINGS.iter().filter(|setting| setting.commands.contains(&"dev")) {
                command = command.arg(flag(setting));
            }
            flags("dev", &command.try_get_matches_from(arguments).expect("valid"))
        };
        assert_eq!(
            given(&[
                "dev",
                "--no-sample",
                "--http",
                "127.0.0.1:0",
                "--quiet=false",
                "--http",
                "x"
            ]),
            [
                ("http", "127.0.0.1:0".to_owned()),
                ("http", "x".to_owned()),
                ("no-sample", "true".to_owned()),
                ("quiet", "false".to_owned())
            ]
        );
    }
}
