//! What a `.proto` file must keep beyond its grammar: no name, symbol or number twice in one message.

use super::file::{Enum, File, Message, Syntax};

/// Checks a file by itself; names of types are checked when they are resolved.
pub(super) fn file(file: &File) -> Result<(), String> {
    let types = file
        .messages
        .iter()
        .map(|m| &m.name)
        .chain(file.enums.iter().map(|e| &e.name));
    distinct("the file", types)?;
    file.messages.iter().try_for_each(|m| message(m, file.syntax))?;
    file.enums.iter().try_for_each(|e| enumeration(e, file.syntax))
}

fn distinct<'a>(place: &str, names: impl Iterator<Item = &'a String>) -> Result<(), String> {
    let mut seen = rustc_hash::FxHashSet::default();
    for name in names {
        if !seen.insert(name) {
            return Err(format!("{place}: `{name}` is declared twice; rename one"));
        }
    }
    Ok(())
}

fn message(m: &Message, syntax: Syntax) -> Result<(), String> {
    let place = format!("message {}", m.name);
    let names = m.fields.iter().map(|f| &f.name).chain(&m.oneofs);
    let types = m
        .messages
        .iter()
        .map(|m| &m.name)
        .chain(m.enums.iter().map(|e| &e.name));
    distinct(&place, names.chain(types))?;
    let mut numbers = rustc_hash::FxHashSet::default();
    for field in &m.fields {
        let number = i64::from(field.number);
        if !numbers.insert(number) {
            return Err(format!(
                "{place}: the number {number} is used twice; renumber {}",
                field.name
            ));
        }
        if m.reserved.iter().any(|(from, to)| (*from..=*to).contains(&number)) || m.reserved_names.contains(&field.name)
        {
            return Err(format!(
                "{place}: field {} or its number {number} is reserved",
                field.name
            ));
        }
    }
    m.messages.iter().try_for_each(|inner| message(inner, syntax))?;
    m.enums.iter().try_for_each(|e| enumeration(e, syntax))
}

fn enumeration(e: &Enum, syntax: Syntax) -> Result<(), String> {
    distinct(&format!("enum {}", e.name), e.values.iter().map(|(symbol, _)| symbol))?;
    match (syntax, e.values.first()) {
        (Syntax::Proto3, Some((symbol, number))) if *number != 0 => Err(format!(
            "enum {}: the first symbol of a proto3 enum must be 0, {symbol} is {number}",
            e.name
        )),
        _ => Ok(()),
    }
}
