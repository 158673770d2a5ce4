//! The live list of `dev` in the terminal: what the views say, drawn over what was drawn before.
//!
//! Pure: data in, text out. The command reads the views and prints.

use std::fmt::Write as _;

/// What is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// Title, average rating and number of ratings, best first.
    pub movies: Vec<(String, f64, u64)>,
    /// Order states and their counts.
    pub states: Vec<(String, u64)>,
    /// Records processed a second.
    pub records_per_second: f64,
    /// Lines below: addresses, warnings.
    pub footer: Vec<String>,
}

/// Columns and lines that a terminal of unknown size is trusted with.
pub const DEFAULT_SIZE: (usize, usize) = (80, 24);

/// Cells of the longest bar.
const BAR: usize = 20;

impl Top {
    /// The text of the list, for a terminal of so many columns and lines. `drawn` lines of the last drawing are gone over; how many there are
    /// now. What does not fit is left out from below: a list longer than the terminal could not be drawn over.
    pub fn draw(&self, (columns, height): (usize, usize), drawn: usize) -> (String, usize) {
        let mut lines = self.lines(columns.max(20));
        lines.truncate(height.saturating_sub(1).max(1));
        let mut text = String::new();
        if drawn > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, "\x1b[{drawn}A");
        }
        for line in &lines {
            // As above.
            let _ = writeln!(text, "\r\x1b[2K{line}");
        }
        // A shorter list leaves nothing of a longer one behind.
        text.push_str("\x1b[0J");
        (text, lines.len())
    }

    fn lines(&self, width: usize) -> Vec<String> {
        let mut lines = vec![format!(
            "{}  {:.0} records/s",
            bold("rated movies"),
            self.records_per_second
        )];
        let most = self.movies.iter().map(|(_, _, count)| *count).max().unwrap_or(1).max(1);
        let title_width = width.saturating_sub(BAR + 24).clamp(10, 48);
        for (place, (title, rating, count)) in self.movies.iter().enumerate() {
            let title = cut(title, title_width);
            let bar = "▇".repeat((*count as usize * BAR).div_ceil(most as usize).min(BAR));
            let gap = " ".repeat(title_width - title.chars().count());
            lines.push(format!(
                "{:>3}. {title}{gap} {rating:>6.3} {count:>9}  \x1b[36m{bar}\x1b[0m",
                place + 1
            ));
        }
        if self.movies.is_empty() {
            lines.push("  (no rated movie yet)".to_owned());
        }
        if !self.states.is_empty() {
            let states: Vec<String> = self
                .states
                .iter()
                .map(|(state, count)| format!("{state} {count}"))
                .collect();
            lines.push(format!(
                "{}  {}",
                bold("orders"),
                cut(&states.join("  "), width.saturating_sub(8))
            ));
        }
        lines.extend(self.footer.iter().map(|line| cut(line, width)));
        lines
    }
}

fn bold(text: &str) -> String {
    format!("\x1b[1m{text}\x1b[0m")
}

/// At most `width` characters; control characters, which could steer the terminal, become blanks.
fn cut(text: &str, width: usize) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    match text.chars().count() > width {
        true => clean.take(width.saturating_sub(1)).chain(['…']).collect(),
        false => clean.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_goes_over_the_last_one() {
        let top = Top {
            movies: vec![
                ("The Amber\u{1b}[2J Lantern".into(), 8.25, 40),
                ("The Paper Ferry".into(), 7.0, 10),
            ],
            states: vec![("CREATED".into(), 3)],
            records_per_second: 63.7,
            footer: vec!["http://127.0.0.1:8080".into()],
        };
        let (first, lines) = top.draw(DEFAULT_SIZE, 0);
        assert_eq!(lines, 5);
        assert!(first.contains("The Amber [2J Lantern") && first.contains("8.250") && first.contains("CREATED 3"));
        let (second, _) = top.draw(DEFAULT_SIZE, lines);
        assert!(second.starts_with("\x1b[5A"));
        assert_eq!(top.draw((80, 4), 0).1, 3);
    }

    #[test]
    fn long_titles_are_cut() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
