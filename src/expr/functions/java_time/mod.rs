//! Dates and times as text by the patterns of Java's `DateTimeFormatter`, which is what ksqlDB's functions take: `yyyy-MM-dd''T''HH:mm:ss[.SSS]XXX`.
//!
//! A pattern is compiled once into items ([`pattern`]); a moment is written by them ([`format`]) or read into fields ([`parse`]), from which a date, a
//! time or a timestamp follows as Java's smart resolver has it ([`fields`]). Names of months and days are English.

mod fields;
mod format;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;
mod zone;

use std::rc::Rc;

pub(super) use format::Moment;
pub(super) use pattern::Pattern;
pub(super) use zone::Zone;

use super::EvalError;
use super::memo::Memo;

thread_local! {
    static PATTERNS: Memo<Pattern> = Memo::new();
    static ZONES: Memo<Zone> = Memo::new();
}

/// The compiled pattern of a text.
pub(super) fn pattern(text: &str) -> Result<Rc<Pattern>, EvalError> {
    let make = || Pattern::new(text).map_err(|why| EvalError::new(format!("the pattern '{text}': {why}")));
    PATTERNS.with(|known| known.get(text, make))
}

/// The time zone of an id.
pub(super) fn zone(id: &str) -> Result<Rc<Zone>, EvalError> {
    let make = || Zone::new(id).ok_or_else(|| EvalError::new(format!("there is no time zone '{id}'")));
    ZONES.with(|known| known.get(id, make))
}
