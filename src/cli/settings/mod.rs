//! Settings: one table for flags, environment, `millstream.toml`, help and documentation.
//!
//! `table` lists them, `value` reads their texts, `file` finds them in TOML with line and column, `load` merges the sources (file, then
//! environment, then flags: the later wins) and reports *every* problem at once, `docs` prints the reference page.
//!
//! *Invariant*: past [`load::load`] nothing checks configuration; a [`Settings`] holds valid values only.

pub mod docs;
mod file;
pub mod load;
pub mod table;
#[cfg(test)]
mod tests;
pub mod value;

use std::collections::BTreeMap;
use std::time::Duration;

pub use load::{Problem, Source};
pub use table::{SETTINGS, Setting, setting};
pub use value::{Kind, Value};

/// The valid settings of one command, with where each came from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: BTreeMap<&'static str, (Value, Source)>,
    /// librdkafka settings that are passed through, in the order of their names.
    pub kafka_properties: BTreeMap<String, String>,
}

impl Settings {
    /// The value and where it came from; `None` where there is neither a value nor a default.
    ///
    /// # Panics
    /// When the table has no such setting: our own mistake, which the tests of the commands would show.
    pub fn get(&self, name: &str) -> Option<&(Value, Source)> {
        assert!(setting(name).is_some(), "no setting is called {name}");
        self.values.get(name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name).map(|(value, _)| value)
    }

    /// A text, path, choice, address or secret; empty where nothing is set.
    pub fn text(&self, name: &str) -> &str {
        self.optional_text(name).unwrap_or_default()
    }

    /// The same, where "not set" means something.
    pub fn optional_text(&self, name: &str) -> Option<&str> {
        match self.value(name)? {
            Value::Text(text) => Some(text),
            other => panic!("setting {name} is not a text: {other:?}"),
        }
    }

    /// A directory or file.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.text(name).into()
    }

    /// A switch.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> i64 {
        match self.value(name) {
            Some(Value::Integer(n)) => *n,
            other => panic!("setting {name} is not a whole number: {other:?}"),
        }
    }

    /// A length of time.
    pub fn duration(&self, name: &str) -> Duration {
        match self.value(name) {
            Some(Value::Duration(duration)) => *duration,
            other => panic!("setting {name} is not a length of time: {other:?}"),
        }
    }

    /// A number of bytes.
    pub fn bytes(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(Value::Bytes(bytes)) => *bytes,
            other => panic!("setting {name} is not a size: {other:?}"),
        }
    }

    /// Items separated by commas.
    pub fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Some(Value::List(items)) => items,
            None => &[],
            other => panic!("setting {name} is not a list: {other:?}"),
        }
    }
}
