//! Merges file, environment and flags into [`Settings`], and collects every problem on the way.

use std::collections::BTreeMap;

use super::file::{self, Entry};
use super::{Kind, SETTINGS, Setting, Settings, setting};
use crate::sql::nearest;

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The table.
    #[default]
    Default,
    /// `file:line:column`.
    File(String),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag,
}

/// One thing that the user has to correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `millstream.toml:3:1`, `MILLSTREAM_HTTP` or `--http`.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// What the three sources say, unchecked.
#[derive(Debug, Default)]
pub struct Raw<'a> {
    /// Name and text of the file, if there is one.
    pub file: Option<(&'a str, &'a str)>,
    /// The environment; only `MILLSTREAM_*` counts.
    pub environment: &'a [(String, String)],
    /// Names of settings and their texts.
    pub flags: &'a [(&'static str, String)],
}

/// Prefix of pass-through properties in the environment.
const PROPERTY_VARIABLE: &str = "MILLSTREAM_KAFKA_PROPERTY_";

/// Merges the sources; the later wins.
///
/// # Errors
/// Every problem of every source.
pub fn load(raw: &Raw<'_>) -> Result<Settings, Vec<Problem>> {
    let mut loader = Loader::default();
    for setting in SETTINGS {
        if let Some(text) = setting.default {
            loader.set(setting, text, Source::Default, || "the table of settings".to_owned());
        }
    }
    if let Some((name, text)) = raw.file {
        loader.file(name, text);
    }
    for (name, text) in raw.environment {
        loader.variable(name, text);
    }
    for (name, text) in raw.flags {
        if let Some(setting) = setting(name) {
            loader.set(setting, text, Source::Flag, || format!("--{name}"));
        }
    }
    if loader.problems.is_empty() {
        Ok(loader.settings)
    } else {
        Err(loader.problems)
    }
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    problems: Vec<Problem>,
}

impl Loader {
    fn problem(&mut self, place: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem {
            place: place.into(),
            message: message.into(),
        });
    }

    fn set(&mut self, setting: &'static Setting, text: &str, source: Source, place: impl Fn() -> String) {
        match setting.kind.read(text) {
            Ok(_) if setting.kind == Kind::Property => {
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                self.settings
                    .kafka_properties
                    .insert(name.trim().to_owned(), value.to_owned());
            }
            Ok(value) => {
                self.settings.values.insert(setting.name, (value, source));
            }
            Err(message) => self.problem(place(), message),
        }
    }

    fn file(&mut self, name: &str, text: &str) {
        let (entries, errors) = file::entries(text);
        for ((line, column), message) in errors {
            self.problem(format!("{name}:{line}:{column}"), message);
        }
        let mut seen = BTreeMap::new();
        for entry in entries {
            let at = |(line, column): (usize, usize)| format!("{name}:{line}:{column}");
            if let Some(first) = seen.insert((entry.section.clone(), entry.key.clone()), entry.key_at) {
                self.problem(
                    at(entry.key_at),
                    format!(
                        "`{}` stands here for the second time (first: line {})",
                        entry.key, first.0
                    ),
                );
                continue;
            }
            match entry.section.as_deref() {
                None => self.file_entry(&entry, at(entry.key_at), at(entry.value_at)),
                Some("kafka-property") => match &entry.value {
                    Ok(value) => {
                        self.settings.kafka_properties.insert(entry.key.clone(), value.clone());
                    }
                    Err(kind) => self.problem(
                        at(entry.value_at),
                        format!("a librdkafka setting cannot be {kind}; quote it, dots included"),
                    ),
                },
                Some(section) => {
                    let hint = hint(section, &["kafka-property"]);
                    self.problem(at(entry.key_at), format!("unknown section [{section}]{hint}"));
                }
            }
        }
    }

    fn file_entry(&mut self, entry: &Entry, key_at: String, value_at: String) {
        let known = setting(&entry.key).filter(|s| s.name != "config" && s.kind != Kind::Property);
        let Some(setting) = known else {
            let names: Vec<&str> = SETTINGS.iter().map(|s| s.name).filter(|n| *n != "config").collect();
            self.problem(
                key_at,
                format!("unknown setting `{}`{}", entry.key, hint(&entry.key, &names)),
            );
            return;
        };
        match &entry.value {
            Ok(text) => self.set(setting, text, Source::File(value_at.clone()), || value_at.clone()),
            Err(kind) => self.problem(value_at, format!("`{}` cannot be {kind}", entry.key)),
        }
    }

    fn variable(&mut self, name: &str, text: &str) {
        if !name.starts_with("MILLSTREAM_") || is_foreign(name) {
            return;
        }
        if let Some(property) = name.strip_prefix(PROPERTY_VARIABLE).filter(|rest| !rest.is_empty()) {
            let property = property.to_lowercase().replace('_', ".");
            self.settings.kafka_properties.insert(property, text.to_owned());
            return;
        }
        match SETTINGS
            .iter()
            .find(|s| s.kind != Kind::Property && s.variable() == name)
        {
            Some(setting) => self.set(setting, text, Source::Environment(name.to_owned()), || name.to_owned()),
            None => {
                let names: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.problem(name, format!("unknown variable{}", hint(name, &names)));
            }
        }
    }
}

/// Variables that others set: Kubernetes gives every container `<SERVICE>_SERVICE_HOST` and `<SERVICE>_PORT_...` of each service, so of one
/// called millstream too; `MILLSTREAM_SHARED` and `MILLSTREAM_FAIL` belong to our own tests.
fn is_foreign(name: &str) -> bool {
    name == "MILLSTREAM_PORT"
        || [
            "MILLSTREAM_PORT_",
            "MILLSTREAM_SERVICE_",
            "MILLSTREAM_FAIL",
            "MILLSTREAM_TEST_",
        ]
        .iter()
        .any(|p| name.starts_with(p))
        || name == "MILLSTREAM_SHARED"
}

fn hint(name: &str, known: &[&str]) -> String {
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None => "; `millstream help` and docs/settings.md list them".to_owned(),
    }
}
