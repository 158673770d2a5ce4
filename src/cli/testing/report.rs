//! How the cases went, for people and for programs.

use serde_json::{Value as Json, json};

use super::CaseReport;

/// Counts over all cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Cases.
    pub all: usize,
    /// That came out.
    pub ok: usize,
    /// That came out by being refused.
    pub refused: usize,
    /// Of these, how many name the text of the refusal.
    pub with_message: usize,
    /// And how many refusals contain it.
    pub message_matches: usize,
}

impl Summary {
    /// Counts a case.
    pub fn add(&mut self, report: &CaseReport) {
        self.all += 1;
        self.ok += usize::from(report.ok);
        self.refused += usize::from(report.ok && report.refused);
        self.with_message += usize::from(report.message_matches.is_some());
        self.message_matches += usize::from(report.message_matches == Some(true));
    }

    /// Cases that did not come out.
    pub fn failed(&self) -> usize {
        self.all - self.ok
    }

    /// One or two lines for people.
    pub fn text(&self) -> String {
        let mut text = format!("{} of {} cases passed", self.ok, self.all);
        if self.failed() > 0 {
            text.push_str(&format!(", {} failed", self.failed()));
        }
        if self.refused > 0 {
            text.push_str(&format!(
                "; {} were refused as they should, {} of {} in the words of the case",
                self.refused, self.message_matches, self.with_message
            ));
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Json {
        json!({
            "cases": self.all,
            "ok": self.ok,
            "failed": self.failed(),
            "refused": self.refused,
            "with_message": self.with_message,
            "message_matches": self.message_matches,
        })
    }
}

/// A case that failed, for people.
pub fn failure(file: &str, report: &CaseReport) -> String {
    let stage = report.stage.map_or(String::new(), |stage| format!(" ({stage})"));
    let error = report.error.as_deref().unwrap_or_default();
    let indented: Vec<String> = error.lines().map(|line| format!("  {line}")).collect();
    format!("FAILED {file}: {}{stage}\n{}", report.name, indented.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Stage;

    #[test]
    fn refusals_and_their_messages_are_counted_apart() {
        let mut summary = Summary::default();
        summary.add(&CaseReport::passed("a"));
        summary.add(&CaseReport::failed("b", Stage::Compare, "x"));
        let refused = CaseReport {
            refused: true,
            message_matches: Some(false),
            ..CaseReport::passed("c")
        };
        summary.add(&refused);
        assert_eq!(
            summary.text(),
            "2 of 3 cases passed, 1 failed; 1 were refused as they should, 0 of 1 in the words of the case"
        );
        assert_eq!(
            failure("f.json", &CaseReport::failed("b", Stage::Compare, "x\ny")),
            "FAILED f.json: b (compare)\n  x\n  y"
        );
    }
}
