//! What commands print: answers on standard output, complaints on standard error. The only place that writes there.

use std::io::{IsTerminal, Write};

use super::{exit, settings::Settings};
use crate::dev::top::DEFAULT_SIZE;

/// For people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text and tables.
    Text,
    /// JSON.
    Json,
}

impl Format {
    /// As the setting `output` says; `auto` is text on a terminal.
    pub fn of(settings: &Settings) -> Self {
        match settings.text("output") {
            "json" => Self::Json,
            "auto" if !std::io::stdout().is_terminal() => Self::Json,
            _ => Self::Text,
        }
    }
}

/// Prints a line of the answer. A reader that has gone away (`| head`) ends the process quietly, as it does other tools.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        exit::now(0);
    }
}

/// Prints text as it is, without a line end.
pub fn raw(text: &str) {
    let mut out = std::io::stdout().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        exit::now(0);
    }
}

/// Prints a complaint, with the program's name in front.
pub fn error(text: &str) {
    // Where nobody reads standard error there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "millstream: {text}");
}

/// Prints a remark that is not part of the answer.
pub fn note(text: &str) {
    // As in `error`.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Redraws the last line of a terminal: for progress. Nothing where standard error is not a terminal.
pub fn progress(text: &str) {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        // As in `error`.
        let _ = write!(err, "\r\x1b[K{text}").and_then(|()| err.flush());
    }
}

/// Ends the line of [`progress`].
pub fn progress_done() {
    if std::io::stderr().is_terminal() {
        note("");
    }
}

/// Columns and lines of the terminal on standard output.
pub fn terminal_size() -> (usize, usize) {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call writes a `winsize`, which outlives it.
    let asked = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    match (asked, size.ws_col, size.ws_row) {
        (0, columns, lines) if columns > 0 && lines > 0 => (columns.into(), lines.into()),
        _ => DEFAULT_SIZE,
    }
}

/// A table for people: columns padded, numbers to the right.
pub fn table(columns: &[String], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|c| c.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = String::new();
    let header: Vec<Cell> = columns.iter().map(|c| Cell::left(c.clone())).collect();
    push_row(&mut text, &header, &widths);
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    text.push_str(&rule.join("  "));
    text.push('\n');
    for row in rows {
        push_row(&mut text, row, &widths);
    }
    text
}

/// A cell of a [`table`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    right: bool,
}

impl Cell {
    /// Text. Control characters are shown as escapes: data must not steer the terminal.
    pub fn left(text: impl Into<String>) -> Self {
        let text: String = text.into();
        let text = match text.contains(char::is_control) {
            true => text
                .chars()
                .flat_map(|c| {
                    if c.is_control() {
                        c.escape_default().collect::<Vec<_>>()
                    } else {
                        vec![c]
                    }
                })
                .collect(),
            false => text,
        };
        Self { text, right: false }
    }

    /// What is shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many characters wide it is.
    pub fn width(&self) -> usize {
        self.text.chars().count()
    }

    /// A number.
    pub fn right(text: impl Into<String>) -> Self {
        Self {
            right: true,
            ..Self::left(text)
        }
    }

    /// A JSON value as a cell: texts bare, numbers to the right, the rest as JSON.
    pub fn json(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::String(text) => Self::left(text.clone()),
            serde_json::Value::Number(number) => Self::right(number.to_string()),
            serde_json::Value::Null => Self::left("NULL"),
            other => Self::left(other.to_string()),
        }
    }
}

fn push_row(text: &mut String, row: &[Cell], widths: &[usize]) {
    let mut line = String::new();
    for (i, (cell, width)) in row.iter().zip(widths).enumerate() {
        if i > 0 {
            line.push_str("  ");
        }
        let gap = " ".repeat(width.saturating_sub(cell.text.chars().count()));
        match cell.right {
            true => line.extend([gap.as_str(), &cell.text]),
            false => line.extend([cell.text.as_str(), &gap]),
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_safe() {
        let columns = ["ID".to_owned(), "TITLE".to_owned()];
        let rows = [
            vec![Cell::right("7"), Cell::left("Ægir")],
            vec![Cell::right("100"), Cell::left("a\u{1b}[2Jb")],
        ];
        assert_eq!(
            table(&columns, &rows),
            "ID   TITLE\n---  -----------\n  7  Ægir\n100  a\\u{1b}[2Jb\n"
        );
    }
}
