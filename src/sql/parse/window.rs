//! The WINDOW clause, and lengths of time.

use super::{Parsed, Parser};
use crate::sql::ast::{Duration, TimeUnit, Window, WindowType};
use crate::sql::diagnostic::Problem;
use crate::sql::lex::Kind;

impl Parser<'_> {
    /// `TUMBLING (SIZE 1 HOUR, ...)`, up to the closing parenthesis.
    pub(super) fn window(&mut self) -> Parsed<Window> {
        let start = self.span();
        // ksqlDB lets windows have a name, which nothing can use
        if !self.is_window_type() && matches!(self.ahead(1), Kind::Word(w) if is_window_type(w)) {
            self.any_name("the name of the window")?;
        }
        if !self.is_window_type() {
            return Err(self.expected("TUMBLING, HOPPING or SESSION"));
        }
        let kind = self.any_name("TUMBLING, HOPPING or SESSION")?;
        self.expect_symbol("(")?;
        let window = match &*kind.text {
            "SESSION" if self.is_word("SIZE") => {
                let problem = self.expected("a whole number and a unit of time");
                return Err(problem.hint("a session has no SIZE: SESSION (30 MINUTES) says after what gap it ends"));
            }
            "SESSION" => WindowType::Session { gap: self.duration()? },
            "TUMBLING" => {
                self.expect_word("SIZE")?;
                WindowType::Tumbling { size: self.duration()? }
            }
            _ => {
                self.expect_word("SIZE")?;
                let size = self.duration()?;
                if !self.take_symbol(",") {
                    return Err(self.expected("',' and ADVANCE BY"));
                }
                self.expect_word("ADVANCE")?;
                self.expect_word("BY")?;
                WindowType::Hopping {
                    size,
                    advance: self.duration()?,
                }
            }
        };
        let (mut retention, mut grace) = (None, None);
        while self.take_symbol(",") {
            if retention.is_none() && self.take_word("RETENTION") {
                retention = Some(self.duration()?);
            } else if grace.is_none() && self.take_words(&["GRACE", "PERIOD"]) {
                grace = Some(self.duration()?);
            } else {
                let problem = self.expected("RETENTION or GRACE PERIOD");
                return Err(match self.peek() {
                    Kind::Word(word) if word.eq_ignore_ascii_case("ADVANCE") => {
                        problem.hint("only HOPPING windows have ADVANCE BY")
                    }
                    Kind::Word(word) if word.eq_ignore_ascii_case("GRACE") => problem.hint("GRACE PERIOD 1 HOUR"),
                    _ => problem,
                });
            }
        }
        self.expect_close(")")?;
        Ok(Window {
            window,
            retention,
            grace,
            span: start.to(self.last_span()),
        })
    }

    fn is_window_type(&self) -> bool {
        matches!(self.peek(), Kind::Word(w) if is_window_type(w))
    }

    /// `30 SECONDS`.
    pub(super) fn duration(&mut self) -> Parsed<Duration> {
        let start = self.span();
        let count = match self.peek() {
            Kind::Number(n) => n.parse().ok(),
            _ => None,
        };
        let Some(count) = count else {
            return Err(self.expected("a whole number and a unit of time"));
        };
        self.advance();
        let unit = match self.peek() {
            Kind::Word(word) => TimeUnit::named(word),
            _ => None,
        };
        let Some(unit) = unit else {
            let problem = self.expected("DAYS, HOURS, MINUTES, SECONDS or MILLISECONDS");
            return Err(match self.peek() {
                Kind::Word(word) => problem.nearest(&word.to_uppercase(), TimeUnit::words()),
                _ => problem,
            });
        };
        self.advance();
        let duration = Duration {
            count,
            unit,
            span: start.to(self.last_span()),
        };
        if duration.millis().is_none() {
            return Err(Problem::new(
                duration.span,
                format!("{duration} is longer than time can be counted"),
            ));
        }
        Ok(duration)
    }
}

fn is_window_type(word: &str) -> bool {
    ["TUMBLING", "HOPPING", "SESSION"]
        .iter()
        .any(|kind| word.eq_ignore_ascii_case(kind))
}
