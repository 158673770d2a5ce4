//! Errors of a SQL file: where, what, and what to do about it.

use std::fmt;
use std::sync::Arc;

/// A range of bytes in the text. Spans take no part in equality: two trees are equal when they say the same.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl PartialEq for Span {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Span {}

impl Span {
    /// From the beginning of one to the end of another.
    pub fn to(self, end: Span) -> Span {
        Span {
            start: self.start,
            end: end.end.max(self.start),
        }
    }
}

/// What is wrong at a place of the text, before the file is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: None,
        }
    }

    /// Valid ksqlDB that we do not have yet.
    pub fn unsupported(span: Span, what: impl fmt::Display) -> Self {
        Self::new(span, format!("not supported yet: {what}"))
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds `did you mean`, if a known name is near.
    pub fn nearest<'a>(self, wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(wanted, known) {
            Some(name) => self.hint(format!("did you mean {name}?")),
            None => self,
        }
    }
}

/// An error with its place: prints as `file:line:column: message`, the line, a caret and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as given.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// How many characters of the line it is about, at least 1.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The line's text.
    pub source_line: String,
}

impl Diagnostic {
    /// Finds line and column of a problem.
    pub fn new(file: &Arc<str>, text: &str, problem: Problem) -> Self {
        let start = floor_boundary(text, problem.span.start);
        let end = floor_boundary(text, problem.span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        Self {
            file: file.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end.min(line_end).max(start)].chars().count().max(1),
            message: problem.message,
            hint: problem.hint,
            source_line: text[line_start..line_end].trim_end_matches('\r').to_string(),
        }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, margin) = (self.line.to_string(), " ".repeat(self.line.to_string().len()));
        // tabs stay tabs before the caret, so that it stands right at any tab width
        let before: String = self
            .source_line
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "{number} | {}", self.source_line)?;
        write!(f, "{margin} | {before}{}", "^".repeat(self.width))?;
        if let Some(hint) = &self.hint {
            write!(f, "\n{margin} = hint: {hint}")?;
        }
        Ok(())
    }
}

/// Longer words are no typos, and comparing them would take time.
const LONGEST_TYPO: usize = 100;

/// The known name with the least edits from a wanted one, if it is near enough to be a typo.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // of one or two letters anything would be near
    let allowed = match wanted.chars().take(LONGEST_TYPO + 1).count() {
        0..=2 => return None,
        n if n > LONGEST_TYPO => return None,
        n => (n / 3).clamp(1, 3),
    };
    let upper = wanted.to_uppercase();
    known
        .into_iter()
        .filter(|name| name.len() <= 2 * LONGEST_TYPO)
        .map(|name| (distance(&upper, &name.to_uppercase()), name))
        .filter(|(d, name)| *d <= allowed && *name != wanted)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and exchanges of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_line_caret_and_hint() {
        let text = "SELECT a,\n\tfoo FROM b;";
        let at = text.find("foo").unwrap();
        let span = Span { start: at, end: at + 3 };
        let problem = Problem::new(span, "there is no column FOO").nearest("FOO", ["FOOD", "BAR"]);
        assert_eq!(
            Diagnostic::new(&"a.sql".into(), text, problem).to_string(),
            "a.sql:2:2: there is no column FOO\n2 | \tfoo FROM b;\n  | \t^^^\n  = hint: did you mean FOOD?"
        );
    }

    #[test]
    fn near_names() {
        assert_eq!(nearest("CUSTOMRE", ["CUSTOMER", "ORDER"]), Some("CUSTOMER"));
        assert_eq!(nearest("X", ["CUSTOMER"]), None);
        assert_eq!(nearest("SPLTI", ["SPLIT", "SPLIT_TO_MAP"]), Some("SPLIT"));
    }
}
