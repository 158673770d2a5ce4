//! The WINDOW clause as written.

use std::fmt::{self, Display, Formatter};

use super::diagnostic::Span;

/// A length of time as written: a number and its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duration {
    /// How many.
    pub count: u64,
    /// Of what.
    pub unit: TimeUnit,
    /// Where it is.
    pub span: Span,
}

/// The units of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// 24 hours.
    Days,
    /// 60 minutes.
    Hours,
    /// 60 seconds.
    Minutes,
    /// 1000 milliseconds.
    Seconds,
    /// The smallest.
    Milliseconds,
}

impl TimeUnit {
    /// All of them: the word for one, and milliseconds.
    const ALL: [(Self, &'static str, u64); 5] = [
        (Self::Days, "DAY", 86_400_000),
        (Self::Hours, "HOUR", 3_600_000),
        (Self::Minutes, "MINUTE", 60_000),
        (Self::Seconds, "SECOND", 1000),
        (Self::Milliseconds, "MILLISECOND", 1),
    ];

    /// The words for one of each.
    pub fn words() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(_, word, _)| *word)
    }

    /// The unit that a word names, in the singular or the plural, in any case.
    pub fn named(word: &str) -> Option<Self> {
        let upper = word.to_ascii_uppercase();
        let singular = upper.strip_suffix('S').unwrap_or(&upper);
        let found = Self::ALL.iter().find(|(_, name, _)| *name == singular);
        found.map(|(unit, ..)| *unit)
    }

    fn of(self) -> (&'static str, u64) {
        let found = Self::ALL.iter().find(|(unit, ..)| *unit == self);
        found.map_or(("MILLISECOND", 1), |(_, word, ms)| (word, *ms))
    }
}

impl Duration {
    /// In milliseconds; `None` if that is more than a BIGINT holds.
    pub fn millis(&self) -> Option<i64> {
        self.count.checked_mul(self.unit.of().1)?.try_into().ok()
    }

    /// From a text such as `30 SECONDS`, as `WINDOW_SIZE` has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, span: Span) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(count), Some(unit), None) = (words.next(), words.next(), words.next()) else {
            return Err(format!("'{text}' is no length of time such as '30 SECONDS'"));
        };
        let count = count
            .parse()
            .map_err(|_| format!("'{text}' is no length of time: {count} is no whole number"))?;
        let unit = TimeUnit::named(unit).ok_or_else(|| {
            format!(
                "'{text}' is no length of time: there is no time unit {}",
                unit.to_uppercase()
            )
        })?;
        Ok(Self { count, unit, span })
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "S" };
        write!(f, "{} {}{plural}", self.count, self.unit.of().0)
    }
}

/// What kind of windows, with the lengths that make them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WindowType {
    /// `TUMBLING (SIZE ...)`.
    Tumbling {
        /// SIZE.
        size: Duration,
    },
    /// `HOPPING (SIZE ..., ADVANCE BY ...)`.
    Hopping {
        /// SIZE.
        size: Duration,
        /// ADVANCE BY.
        advance: Duration,
    },
    /// `SESSION (...)`.
    Session {
        /// The gap that ends a session.
        gap: Duration,
    },
}

/// A WINDOW clause.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// The windows.
    pub window: WindowType,
    /// RETENTION.
    pub retention: Option<Duration>,
    /// GRACE PERIOD.
    pub grace: Option<Duration>,
    /// Behind WINDOW, up to the parenthesis that closes it.
    pub span: Span,
}

impl Display for Window {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.window {
            WindowType::Tumbling { size } => write!(f, "TUMBLING (SIZE {size}")?,
            WindowType::Hopping { size, advance } => write!(f, "HOPPING (SIZE {size}, ADVANCE BY {advance}")?,
            WindowType::Session { gap } => write!(f, "SESSION ({gap}")?,
        }
        if let Some(retention) = self.retention {
            write!(f, ", RETENTION {retention}")?;
        }
        if let Some(grace) = self.grace {
            write!(f, ", GRACE PERIOD {grace}")?;
        }
        f.write_str(")")
    }
}
