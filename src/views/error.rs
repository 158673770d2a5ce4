//! Why a view could not answer; `http` turns each into a status code.

use crate::state::StoreError;

/// A limit that a query can run into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Rows looked at.
    ScannedRows,
    /// Bytes of rows held for the answer.
    ResultBytes,
    /// Time.
    Time,
}

impl Limit {
    /// The setting that raises it.
    pub fn setting(self) -> &'static str {
        match self {
            Self::ScannedRows => "query-max-rows",
            Self::ResultBytes => "query-max-bytes",
            Self::Time => "query-timeout",
        }
    }
}

/// Why a view could not answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// No view has this name.
    #[error("there is no view {name}")]
    UnknownView {
        /// As asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Several topologies have a view of this name.
    #[error("several topologies have a view {name}: {}", topologies.join(", "))]
    AmbiguousView {
        /// As asked for.
        name: String,
        /// The topologies.
        topologies: Vec<String>,
    },
    /// Some of its rows are not here at this moment.
    #[error("view {view} cannot answer now: {}", reasons.join("; "))]
    NotReady {
        /// The view.
        view: String,
        /// What is missing, a task each.
        reasons: Vec<String>,
    },
    /// It does not reflect yet what a token asks for.
    #[error("view {view} has not caught up with the token in time: {}", reasons.join("; "))]
    Behind {
        /// The view.
        view: String,
        /// How far it is, an input each.
        reasons: Vec<String>,
    },
    /// Another instance that holds a part of the rows failed while it sent them.
    #[error("another instance failed while it sent its rows: {0}")]
    Peer(String),
    /// The request is wrong.
    #[error("{message}")]
    BadRequest {
        /// What is wrong.
        message: String,
        /// What would be right.
        hint: String,
    },
    /// A limit was reached before the answer was complete.
    #[error("the query was stopped at {}: {limit}", match which {
        Limit::ScannedRows => "the limit of rows looked at",
        Limit::ResultBytes => "the limit of bytes held for its answer",
        Limit::Time => "the limit of its time (milliseconds)",
    })]
    Limit {
        /// Which one.
        which: Limit,
        /// Its value.
        limit: u64,
    },
    /// The SQL text is wrong; rendered with line and caret.
    #[error("{0}")]
    Sql(String),
    /// A row could not be computed.
    #[error("the row of key {key} cannot be computed: {message}")]
    Row {
        /// The key's values.
        key: String,
        /// What happened.
        message: String,
    },
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ViewError {
    /// A wrong request.
    pub fn bad(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::BadRequest {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownView { known, .. } if known.is_empty() => {
                "No topology has views yet: deploy one with CREATE TABLE ... AS SELECT.".into()
            }
            Self::UnknownView { known, .. } => format!("Known views: {}.", known.join(", ")),
            Self::AmbiguousView { name, topologies } => {
                format!("Name the topology too: {}.{name}", topologies.first().map_or("topology", |t| t))
            }
            Self::NotReady { .. } => "Try again; GET /health/ready says how far it is, GET /v1/instances which instance has what.".into(),
            Self::Behind { .. } => "Ask again with the same token, or give it more time with ?timeout=; GET /v1/topologies shows the lag.".into(),
            Self::Peer(_) => "Try again; the log of that instance may say more.".into(),
            Self::BadRequest { hint, .. } => hint.clone(),
            Self::Limit { which, .. } => format!(
                "Narrow the query by its key (WHERE on the leading key columns) or with LIMIT, or raise the setting {}.",
                which.setting()
            ),
            Self::Sql(_) => "See the SQL reference for what a pull query can say: SELECT ... FROM view WHERE ... ORDER BY ... LIMIT n.".into(),
            Self::Row { .. } => "This row was written under another plan or its expression fails; see the log.".into(),
            Self::Store(_) => "The task may have moved; try again.".into(),
        }
    }
}
