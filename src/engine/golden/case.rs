//! Golden cases as text.
//!
//! ```text
//! # what the case shows
//! every-change                          optional: the emission mode of tests
//! schema movies-value {"type": ...}     optional: a registered schema, for statements without columns
//!
//! sql                                   the file, up to `end`
//!   CREATE TABLE ...;
//! end
//!
//! in TOPIC TIMESTAMP KEY VALUE          a record: JSON, or null for none
//! raw TOPIC TIMESTAMP KEY VALUE         a record whose key and value are JSON strings of the very bytes
//! commit                                process what is there, commit; re-keyed records are for the next commit
//! settle                                process and commit until nothing is left
//! abort                                 process, then abort the transaction
//! crash                                 process, then lose everything uncommitted, and recover
//! crash-unapplied                       as commit, but the process dies before the stores hold it; recover
//! restart                               settle, stop and start
//! out TOPIC                             the records since the last `out` of the topic, one an indented line below: KEY VALUE [@TIMESTAMP]
//! final TOPIC                           the last record of each key, in any order; deleted keys are absent
//! view NAME                             the rows of a view, in key order: KEY VALUE [@TIMESTAMP]
//! dead                                  the dead letters since the last `dead`: start of the reason, one an indented line below
//! ```

use std::fmt;

use serde_json::Value as Json;

/// A case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Every change is forwarded at once.
    pub every_change: bool,
    /// Registered before the SQL is compiled: subject and schema.
    pub schemas: Vec<(String, String)>,
    /// The SQL.
    pub sql: String,
    /// What happens.
    pub steps: Vec<(usize, Step)>,
}

/// A record expected or sent, as JSON; [`Json::Null`] stands for none.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseRow {
    /// The key.
    pub key: Json,
    /// The value.
    pub value: Json,
    /// The timestamp; `None` where it does not matter.
    pub timestamp: Option<i64>,
}

/// One step of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A record arrives.
    Input {
        /// The topic.
        topic: String,
        /// The record, with its timestamp.
        row: CaseRow,
        /// Key and value are strings of the very bytes.
        raw: bool,
    },
    /// Process and commit once.
    Commit,
    /// Process and commit until nothing is left.
    Settle,
    /// Process and abort.
    Abort,
    /// Process, crash and recover.
    Crash,
    /// Commit, but crash before the stores hold it, and recover.
    CrashUnapplied,
    /// Settle, stop and start.
    Restart,
    /// Records of a topic since the last look.
    Out(String, Vec<CaseRow>),
    /// The last record of each key of a topic.
    Final(String, Vec<CaseRow>),
    /// The rows of a view.
    View(String, Vec<CaseRow>),
    /// Reasons of dead letters since the last look.
    Dead(Vec<String>),
}

/// Text that is no case: the line, from 1, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseError {
    /// The line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for CaseError {}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, CaseError> {
        let mut case = Self::default();
        let mut lines = text.lines().enumerate().map(|(i, line)| (i + 1, line)).peekable();
        while let Some((at, line)) = lines.next() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let error = |message: String| CaseError { line: at, message };
            if line.trim() == "sql" {
                loop {
                    match lines.next() {
                        Some((_, line)) if line.trim() == "end" => break,
                        Some((_, line)) => {
                            case.sql.push_str(line);
                            case.sql.push('\n');
                        }
                        None => return Err(error("`sql` has no `end`".into())),
                    }
                }
                continue;
            }
            let mut below = Vec::new();
            while let Some((at, line)) = lines.next_if(|(_, line)| line.starts_with([' ', '\t']) || line.is_empty()) {
                if !line.trim().is_empty() {
                    below.push((at, line.trim()));
                }
            }
            case.line(line, at, &below)?;
        }
        Ok(case)
    }

    fn line(&mut self, line: &str, at: usize, below: &[(usize, &str)]) -> Result<(), CaseError> {
        let error = |message: &str| CaseError {
            line: at,
            message: message.into(),
        };
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        let rows = || {
            below
                .iter()
                .map(|(at, line)| expected_row(line, *at))
                .collect::<Result<Vec<_>, _>>()
        };
        let step = match word {
            "every-change" => {
                self.every_change = true;
                return Ok(());
            }
            "schema" => {
                let (subject, schema) = rest.split_once(' ').ok_or_else(|| error("schema SUBJECT JSON"))?;
                let more: String = below.iter().map(|(_, line)| *line).collect();
                self.schemas.push((subject.into(), format!("{schema}{more}")));
                return Ok(());
            }
            "in" | "raw" => input(rest, at, word == "raw")?,
            "commit" => Step::Commit,
            "settle" => Step::Settle,
            "abort" => Step::Abort,
            "crash" => Step::Crash,
            "crash-unapplied" => Step::CrashUnapplied,
            "restart" => Step::Restart,
            "out" => Step::Out(rest.into(), rows()?),
            "final" => Step::Final(rest.into(), rows()?),
            "view" => Step::View(rest.into(), rows()?),
            "dead" => Step::Dead(below.iter().map(|(_, line)| (*line).to_string()).collect()),
            _ => return Err(error(&format!("no such step: {word}"))),
        };
        self.steps.push((at, step));
        Ok(())
    }
}

fn input(rest: &str, at: usize, raw: bool) -> Result<Step, CaseError> {
    let error = |message: String| CaseError { line: at, message };
    let usage = || error("TOPIC TIMESTAMP KEY VALUE".into());
    let (topic, rest) = rest.split_once(' ').ok_or_else(usage)?;
    let (timestamp, rest) = rest.trim_start().split_once(' ').ok_or_else(usage)?;
    let timestamp = timestamp
        .parse()
        .map_err(|e| error(format!("timestamp {timestamp}: {e}")))?;
    let (key, value, rest) = two_values(rest, at)?;
    if !rest.is_empty() {
        return Err(error(format!("after the value: {rest}")));
    }
    Ok(Step::Input {
        topic: topic.into(),
        row: CaseRow {
            key,
            value,
            timestamp: Some(timestamp),
        },
        raw,
    })
}

fn expected_row(line: &str, at: usize) -> Result<CaseRow, CaseError> {
    let (key, value, rest) = two_values(line, at)?;
    let timestamp = match rest.strip_prefix('@') {
        Some(timestamp) => Some(timestamp.parse().map_err(|e| CaseError {
            line: at,
            message: format!("timestamp {timestamp}: {e}"),
        })?),
        None if rest.is_empty() => None,
        None => {
            return Err(CaseError {
                line: at,
                message: format!("after the value: {rest}"),
            });
        }
    };
    Ok(CaseRow { key, value, timestamp })
}

/// Two JSON values and what follows them.
fn two_values(text: &str, at: usize) -> Result<(Json, Json, &str), CaseError> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    let mut next = |what: &str| match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset())),
        Some(Err(e)) => Err(CaseError {
            line: at,
            message: format!("{what}: {e}"),
        }),
        None => Err(CaseError {
            line: at,
            message: format!("{what} is missing"),
        }),
    };
    let (key, _) = next("the key")?;
    let (value, end) = next("the value")?;
    Ok((key, value, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_case_is_read() {
        let case = Case::parse(
            "# about\nevery-change\nschema s-value {\"type\": \n  \"long\"}\nsql\n  SELECT 1;\nend\n\nin s 5 1 {\"A\": 2}\nraw s 6 null \"x\"\nsettle\n\
             out t\n  1 {\"A\": 2} @5\n\n  2 null\ndead\n  value: ...\n",
        )
        .unwrap();
        assert!(case.every_change);
        assert_eq!(case.sql, "  SELECT 1;\n");
        assert_eq!(
            case.schemas,
            [("s-value".to_string(), "{\"type\":\"long\"}".to_string())]
        );
        let row = |key, value, timestamp| CaseRow { key, value, timestamp };
        let input = |row, raw| Step::Input {
            topic: "s".into(),
            row,
            raw,
        };
        let expected = [
            input(row(json!(1), json!({"A": 2}), Some(5)), false),
            input(row(Json::Null, json!("x"), Some(6)), true),
            Step::Settle,
            Step::Out(
                "t".into(),
                vec![row(json!(1), json!({"A": 2}), Some(5)), row(json!(2), Json::Null, None)],
            ),
            Step::Dead(vec!["value: ...".into()]),
        ];
        let steps: Vec<Step> = case.steps.into_iter().map(|(_, step)| step).collect();
        assert_eq!(steps, expected);
    }

    #[test]
    fn what_is_no_case_is_told_with_its_line() {
        for (text, line) in [
            ("\nfoo", 2),
            ("in s x 1 2", 1),
            ("in s 1 {", 1),
            ("sql\nSELECT", 1),
            ("out t\n  1", 2),
        ] {
            assert_eq!(Case::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
