//! What `SET 'name' = 'value'` can set in a file: one table, for the check of names and values and for the manual.
//!
//! Scripts of ksqlDB set many more properties. Those are of the process here, or of nothing: they are taken without effect, and
//! [`without_effect`] says so. Names of our own are checked: a misspelt one is an error.

use super::diagnostic::{Problem, Span, nearest};
use crate::topology::EMPTY_GROUPS;
use crate::types::Format;

use super::plan::{EXPRESSION_ERRORS, INTEGER_OVERFLOW, NULL_COMPARISONS, SELF_JOINS};

/// The beginning of our own names.
const OURS: &str = "millstream.";

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// One of two words.
    OneOf([&'static str; 2]),
    /// A format's name.
    Format,
    /// A number; a negative one is no bound.
    Number,
}

/// A property that a file can set.
#[derive(Clone, Copy, Debug)]
pub struct SettingDoc {
    /// Its name; case means nothing.
    pub name: &'static str,
    /// The value that holds without it, as the manual has it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    takes: Takes,
}

const fn doc(name: &'static str, takes: Takes, default: &'static str, doc: &'static str) -> SettingDoc {
    SettingDoc {
        name,
        default,
        doc,
        takes,
    }
}

/// All of them.
pub const SETTINGS: &[SettingDoc] = &[
    doc(
        "ksql.functions.collect_list.limit",
        Takes::Number,
        "none",
        "The most values that COLLECT_LIST keeps.",
    ),
    doc(
        "ksql.functions.collect_set.limit",
        Takes::Number,
        "none",
        "The most values that COLLECT_SET keeps.",
    ),
    doc(
        "ksql.persistence.default.format.key",
        Takes::Format,
        "KAFKA",
        "KEY_FORMAT where a declaration says none.",
    ),
    doc(
        "ksql.persistence.default.format.value",
        Takes::Format,
        "none",
        "VALUE_FORMAT where a declaration says none.",
    ),
    doc(
        "ksql.persistence.wrap.single.values",
        Takes::OneOf(["true", "false"]),
        "true",
        "WRAP_SINGLE_VALUE where a declaration says nothing and its format knows both ways.",
    ),
    doc(
        "ksql.suppress.enabled",
        Takes::OneOf(["true", "false"]),
        "true",
        "FALSE refuses EMIT FINAL.",
    ),
    doc(
        EMPTY_GROUPS,
        Takes::OneOf(["delete", "keep"]),
        "delete",
        "What becomes of a group of a table when its last row is gone: `keep` leaves it with the results of no rows, as ksqlDB does.",
    ),
    doc(
        EXPRESSION_ERRORS,
        Takes::OneOf(["null", "dead-letter"]),
        "dead-letter",
        "What becomes of a record whose expression fails: a dead letter, or NULL in that column, as in ksqlDB.",
    ),
    doc(
        INTEGER_OVERFLOW,
        Takes::OneOf(["error", "wrap"]),
        "error",
        "What becomes of an INTEGER or BIGINT that is too large: an error of its expression, or it wraps around, as in Java and ksqlDB.",
    ),
    doc(
        NULL_COMPARISONS,
        Takes::OneOf(["null", "false"]),
        "null",
        "What a comparison with NULL gives; in ksqlDB `false`.",
    ),
    doc(
        SELF_JOINS,
        Takes::OneOf(["allow", "refuse"]),
        "allow",
        "Whether a table may be joined with itself; ksqlDB refuses it.",
    ),
];

impl SettingDoc {
    /// What a value must be, in words.
    pub fn values(&self) -> String {
        match self.takes {
            Takes::OneOf([a, b]) => format!("'{a}' or '{b}'"),
            Takes::Format => "a format".into(),
            Takes::Number => "a number".into(),
        }
    }

    fn takes(&self, value: &str) -> bool {
        match self.takes {
            Takes::OneOf(words) => words.iter().any(|word| word.eq_ignore_ascii_case(value)),
            Takes::Format => Format::named(value).is_some(),
            Takes::Number => value.trim().parse::<i64>().is_ok(),
        }
    }
}

fn named(name: &str) -> Option<&'static SettingDoc> {
    SETTINGS.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// Checks `SET 'name' = 'value'`.
///
/// # Errors
/// A value that a known property does not take, or a name of ours that is not known.
pub(super) fn check(name: &str, value: &str, span: Span) -> Result<(), Problem> {
    check_name(name, span)?;
    let Some(known) = named(name) else {
        return Ok(());
    };
    if known.takes(value) {
        return Ok(());
    }
    let problem = Problem::new(span, format!("{} is {}, not '{value}'", known.name, known.values()));
    Err(match known.takes {
        Takes::Format => problem.nearest(
            &value.to_uppercase(),
            Format::ALL.map(|format| format.to_string()).iter().map(String::as_str),
        ),
        Takes::OneOf(words) => problem.nearest(value, words),
        Takes::Number => problem,
    })
}

/// Checks `UNSET 'name'`.
///
/// # Errors
/// A name of ours that is not known.
pub(super) fn check_name(name: &str, span: Span) -> Result<(), Problem> {
    if named(name).is_none() && name.to_ascii_lowercase().starts_with(OURS) {
        let problem = Problem::new(span, format!("there is no property {name}"));
        return Err(match near(name) {
            Some(near) => problem.hint(format!("did you mean {near}?")),
            None => problem.hint(format!("there are {}", ours().join(", "))),
        });
    }
    Ok(())
}

fn ours() -> Vec<&'static str> {
    let all = SETTINGS.iter().map(|known| known.name);
    all.filter(|name| name.starts_with(OURS)).collect()
}

fn near(name: &str) -> Option<&'static str> {
    nearest(name, SETTINGS.iter().map(|known| known.name))
}

/// What to say of a property that is set and means nothing here; `None` for those that do.
pub fn without_effect(name: &str) -> Option<String> {
    if named(name).is_some() {
        return None;
    }
    Some(match near(name) {
        Some(near) => format!("no effect: did you mean {near}?"),
        None => "no effect: a file sets what docs/sql.md lists, the process what docs/settings.md does".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, value: &str) -> String {
        let problem = check(name, value, Span::default()).expect_err("refused");
        format!("{} [{}]", problem.message, problem.hint.unwrap_or_default())
    }

    #[test]
    fn names_are_sorted_and_documented() {
        let names: Vec<_> = SETTINGS.iter().map(|s| s.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert!(SETTINGS.iter().all(|s| s.doc.ends_with('.')));
    }

    #[test]
    fn a_wrong_value_and_a_misspelt_name_of_ours_are_refused() {
        assert_eq!(check("MILLSTREAM.empty.groups", "KEEP", Span::default()), Ok(()));
        assert_eq!(
            message("ksql.persistence.default.format.key", "jsn"),
            "ksql.persistence.default.format.key is a format, not 'jsn' [did you mean JSON?]"
        );
        assert_eq!(
            message("millstream.empty.group", "keep"),
            "there is no property millstream.empty.group [did you mean millstream.empty.groups?]"
        );
        assert!(message("millstream.x", "y").contains("millstream.null.comparisons"));
        assert_eq!(check_name("millstream.empty.groups", Span::default()), Ok(()));
        assert_eq!(check_name("auto.offset.reset", Span::default()), Ok(()));
        let problem = check_name("millstream.empty.grups", Span::default()).expect_err("refused");
        assert_eq!(problem.hint.as_deref(), Some("did you mean millstream.empty.groups?"));
    }

    #[test]
    fn others_are_taken_and_told_of() {
        assert_eq!(check("auto.offset.reset", "earliest", Span::default()), Ok(()));
        assert_eq!(without_effect("millstream.empty.groups"), None);
        let told = without_effect("ksql.functions.colect_list.limit").expect("no effect");
        assert_eq!(told, "no effect: did you mean ksql.functions.collect_list.limit?");
    }
}
