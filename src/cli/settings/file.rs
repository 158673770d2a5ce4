//! `millstream.toml`: finds keys and values with line and column. Meaning is `load`'s business.

use toml::de::{DeTable, DeValue};

/// Line and column, from 1.
pub type Place = (usize, usize);

/// A key of the file, its value as text, and where each stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The section, `None` at the top.
    pub section: Option<String>,
    /// The key.
    pub key: String,
    /// The value as the environment would give it, or what kind of value cannot be one.
    pub value: Result<String, &'static str>,
    /// Line and column of the key, from 1.
    pub key_at: Place,
    /// Line and column of the value.
    pub value_at: Place,
}

/// All entries in the order of the file, and the places where it is not TOML.
pub fn entries(text: &str) -> (Vec<Entry>, Vec<(Place, String)>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let errors = errors
        .iter()
        .map(|e| {
            (
                position(text, e.span().map_or(0, |span| span.start)),
                e.message().to_owned(),
            )
        })
        .collect();
    let mut entries = Vec::new();
    walk(text, table.get_ref(), None, &mut entries);
    entries.sort_by_key(|entry| entry.key_at);
    (entries, errors)
}

fn walk(text: &str, table: &DeTable<'_>, section: Option<&str>, out: &mut Vec<Entry>) {
    for (key, value) in table {
        if let (DeValue::Table(inner), None) = (value.get_ref(), section) {
            walk(text, inner, Some(key.get_ref()), out);
            continue;
        }
        out.push(Entry {
            section: section.map(str::to_owned),
            key: key.get_ref().to_string(),
            value: scalar(value.get_ref()),
            key_at: position(text, key.span().start),
            value_at: position(text, value.span().start),
        });
    }
}

/// A value as one text; lists of texts are joined by commas, as the environment writes them.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Integer(n) => Ok(n.to_string()),
        DeValue::Float(n) => Ok(n.to_string()),
        DeValue::Array(items) => {
            let texts: Result<Vec<String>, _> = items.iter().map(|item| scalar(item.get_ref())).collect();
            Ok(texts?.join(","))
        }
        DeValue::Datetime(_) => Err("a date"),
        DeValue::Table(_) => Err("a section"),
    }
}

/// Line and column (in characters) of a byte offset, from 1.
fn position(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
