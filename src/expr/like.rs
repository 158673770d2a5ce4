//! LIKE patterns: `%` is any text, `_` one character, the escape character takes the next one literally.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Char(char),
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LikePattern {
    text: String,
    escape: Option<char>,
    parts: Vec<Part>,
}

impl LikePattern {
    /// Compiles; an escape character at the end stands for itself.
    pub fn new(text: &str, escape: Option<char>) -> Self {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                c if Some(c) == escape => Part::Char(chars.next().unwrap_or(c)),
                '%' if parts.last() == Some(&Part::Any) => continue,
                '%' => Part::Any,
                '_' => Part::One,
                c => Part::Char(c),
            });
        }
        Self {
            text: text.to_string(),
            escape,
            parts,
        }
    }

    /// Whether the whole text matches. Greedy with one point to go back to: time is at most length times pattern.
    pub fn matches(&self, text: &str) -> bool {
        let (mut at, mut rest) = (0, text.chars());
        let mut back = None;
        loop {
            let before = rest.clone();
            match (self.parts.get(at), rest.next()) {
                (Some(Part::Any), _) => {
                    at += 1;
                    rest = before.clone();
                    back = Some((at, before));
                }
                (Some(Part::One), Some(_)) => at += 1,
                (Some(Part::Char(want)), Some(c)) if *want == c => at += 1,
                (None, None) => return true,
                (_, next) => {
                    let Some((part, from)) = &mut back else {
                        return false;
                    };
                    if next.is_none() || from.next().is_none() {
                        return false;
                    }
                    (at, rest) = (*part, from.clone());
                }
            }
        }
    }
}

impl fmt::Display for LikePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.text.replace('\'', "''"))?;
        match self.escape {
            Some(c) => write!(f, " ESCAPE '{c}'"),
            None => Ok(()),
        }
    }
}
