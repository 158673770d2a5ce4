//! `WITHIN ... [GRACE PERIOD ...]`: how near in time the records of two joined streams must be.

use crate::sql::ast::Raw;
use crate::sql::diagnostic::Problem;
use crate::topology::JoinWindow;

/// Milliseconds of the units, each also without its S.
const UNITS: [(&str, i64); 5] = [
    ("MILLISECONDS", 1),
    ("SECONDS", 1_000),
    ("MINUTES", 60_000),
    ("HOURS", 3_600_000),
    ("DAYS", 86_400_000),
];

/// Reads the clause.
pub(super) fn join_window(within: &Raw) -> Result<JoinWindow, Problem> {
    let mut words = Words {
        words: within.text.split_whitespace().collect(),
        at: 0,
    };
    let read = words.window();
    read.map_err(|expected| {
        let problem = Problem::new(within.span, format!("WITHIN {}: expected {expected}", within.text));
        problem.hint("WITHIN 1 HOUR, or WITHIN (10 MINUTES, 1 HOUR) for before and after; then GRACE PERIOD 1 DAY")
    })
}

struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
}

type Read<T> = Result<T, String>;

impl Words<'_> {
    fn window(&mut self) -> Read<JoinWindow> {
        let (before, after) = if self.take("(") {
            let before = self.duration()?;
            self.expect(",")?;
            let after = self.duration()?;
            self.expect(")")?;
            (before, after)
        } else {
            let both = self.duration()?;
            (both, both)
        };
        let grace = if self.take("GRACE") {
            self.expect("PERIOD")?;
            Some(self.duration()?)
        } else {
            None
        };
        match self.words.get(self.at) {
            None => Ok(JoinWindow { before, after, grace }),
            Some(_) if grace.is_none() => Err("GRACE PERIOD or ON".into()),
            Some(_) => Err("ON".into()),
        }
    }

    fn duration(&mut self) -> Read<i64> {
        let number = self.words.get(self.at).and_then(|word| word.parse::<i64>().ok());
        let Some(number) = number.filter(|n| *n >= 0) else {
            return Err("a number".into());
        };
        self.at += 1;
        let known = |word: &&str| {
            UNITS
                .iter()
                .find(|(unit, _)| word == unit || Some(*word) == unit.strip_suffix('S'))
        };
        let Some((_, of_unit)) = self.words.get(self.at).and_then(known) else {
            return Err(format!(
                "a unit after {number}: MILLISECONDS, SECONDS, MINUTES, HOURS or DAYS"
            ));
        };
        self.at += 1;
        number.checked_mul(*of_unit).ok_or_else(|| "a shorter time".into())
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, word: &str) -> Read<()> {
        if self.take(word) {
            Ok(())
        } else {
            Err(format!("'{word}'"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::diagnostic::Span;

    fn read(text: &str) -> Result<JoinWindow, String> {
        let raw = Raw {
            text: text.into(),
            span: Span::default(),
        };
        join_window(&raw).map_err(|problem| problem.message)
    }

    #[test]
    fn a_window_has_one_size_or_two_and_may_have_a_grace_period() {
        let window = |before, after, grace| Ok(JoinWindow { before, after, grace });
        assert_eq!(read("1 HOUR"), window(3_600_000, 3_600_000, None));
        assert_eq!(read("( 0 SECONDS , 2 DAYS )"), window(0, 172_800_000, None));
        assert_eq!(
            read("10 MILLISECONDS GRACE PERIOD 1 MINUTE"),
            window(10, 10, Some(60_000))
        );
    }

    #[test]
    fn what_is_no_window_is_told() {
        for (text, expected) in [
            ("", "a number"),
            ("1", "a unit"),
            ("1 YEAR", "a unit"),
            ("- 1 HOUR", "a number"),
            ("9223372036854775807 DAYS", "a shorter time"),
            ("( 1 HOUR )", "','"),
            ("1 HOUR GRACE 1 HOUR", "'PERIOD'"),
            ("1 HOUR 2", "GRACE PERIOD or ON"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(&format!("expected {expected}")), "{message}");
        }
    }
}
