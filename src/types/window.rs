//! Windows in keys: which kind, and the two columns that a windowed key row ends with.
//!
//! The key row of a windowed stream or table is its declared key columns, then WINDOWSTART and WINDOWEND (BIGINT, milliseconds since the epoch).
//! A relation's schema lists the declared ones only; the schemas of plan nodes and views have them all.

use serde::{Deserialize, Serialize};

use super::{Column, SqlType};

/// The kinds of windows, by the names of `WINDOW_TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowKind {
    /// One after the other, of one size.
    Tumbling,
    /// Of one size, each beginning a step after the one before.
    Hopping,
    /// From a key's first to its last record, with no gap of more than a given time between them.
    Session,
}

impl std::fmt::Display for WindowKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tumbling => "TUMBLING",
            Self::Hopping => "HOPPING",
            Self::Session => "SESSION",
        })
    }
}

/// What a windowed relation's keys hold beside its key columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WindowInfo {
    /// The kind of windows.
    pub kind: WindowKind,
    /// The size of time windows, whose ends the keys' bytes do not hold; `None` for sessions.
    pub size_ms: Option<i64>,
}

impl WindowInfo {
    /// Whether the window's start and end are both in the key's bytes.
    pub fn is_session(&self) -> bool {
        self.kind == WindowKind::Session
    }

    /// How many bytes stand behind those of the key columns.
    pub fn suffix_bytes(&self) -> usize {
        if self.is_session() { 16 } else { 8 }
    }
}

/// The names of the two columns at the end of a windowed key row.
pub const WINDOW_COLUMNS: [&str; 2] = ["WINDOWSTART", "WINDOWEND"];

/// The two columns at the end of a windowed key row.
pub fn window_columns() -> [Column; 2] {
    WINDOW_COLUMNS.map(|name| Column::new(name, SqlType::Bigint))
}
