//! `millstream test`: cases of three shapes, run in one call stack without a broker.
//!
//! ```text
//! paths --find--> Job (a line of JSON) --pool--> a child process --guard--> a thread --golden | drive--> CaseReport (a line of JSON)
//! ```
//!
//! - [`case`]: a case of ksqlDB's JSON shape, expanded and checked; [`find`] makes them out of files and directories.
//! - [`drive`]: runs one, each query in a driver of its own; [`topics`] turns JSON into the bytes of the topics and back.
//! - [`compare`]: whether what came is what was expected, and the difference for people; [`post`]: names, columns and topics afterwards.
//! - [`guard`] and [`pool`]: no case stops the process, neither by a panic nor by memory, stack or time.
//!
//! *Not here*: golden text, which is `engine::golden`; this room compiles its SQL.

pub mod case;
pub mod compare;
pub mod drive;
pub mod find;
pub mod guard;
mod partitions;
pub mod pool;
pub mod post;
pub mod report;
mod strip;
pub mod topics;

use std::fmt;

use serde::{Deserialize, Serialize};

/// How far a case came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The case or its SQL is no text of its language.
    Parse,
    /// The statements say something that is refused.
    Plan,
    /// A record could not be written or processed.
    Run,
    /// Other records came.
    Compare,
    /// Names, columns or topics are others.
    Post,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parse => "parse",
            Self::Plan => "plan",
            Self::Run => "run",
            Self::Compare => "compare",
            Self::Post => "post",
        })
    }
}

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// It came out as it says.
    pub ok: bool,
    /// The statements were refused.
    pub refused: bool,
    /// Where it ended early, or differs.
    pub stage: Option<Stage>,
    /// What was wrong; of a case that expects a refusal the refusal.
    pub error: Option<String>,
    /// Of a case that expects a refusal with a message: whether the refusal contains it.
    #[serde(default)]
    pub message_matches: Option<bool>,
    /// What was left out of account.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl CaseReport {
    /// A case that came out.
    pub fn passed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ok: true,
            refused: false,
            stage: None,
            error: None,
            message_matches: None,
            notes: Vec::new(),
        }
    }

    /// A case that did not.
    pub fn failed(name: &str, stage: Stage, error: impl fmt::Display) -> Self {
        Self {
            ok: false,
            stage: Some(stage),
            error: Some(error.to_string()),
            ..Self::passed(name)
        }
    }

    /// The object that `millstream test -` answers with.
    pub fn line(&self) -> String {
        serde_json::json!({
            "name": self.name,
            "ok": self.ok,
            "refused": self.refused,
            "stage": self.stage,
            "error": self.error,
        })
        .to_string()
    }
}

/// Something that stops a case, and where.
pub type Stopped = (Stage, String);
