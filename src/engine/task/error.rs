//! Why a record could not be processed, by what the caller does about it.

use crate::formats::FormatError;
use crate::operators::OpError;
use crate::state::StoreError;
use crate::topology::NodeId;

/// Why a record is bad: the word in metrics and at the start of a dead letter's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The key's bytes cannot be read.
    Key,
    /// The value's bytes cannot be read.
    Value,
    /// No usable event time in the column that holds it.
    Timestamp,
    /// A table's record without key.
    NullKey,
    /// An expression cannot be computed.
    Expression,
    /// A result cannot be written in the sink's format or schema.
    Unwritable,
    /// A result is larger than its topic takes.
    TooLarge,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Key,
        Self::Value,
        Self::Timestamp,
        Self::NullKey,
        Self::Expression,
        Self::Unwritable,
        Self::TooLarge,
    ];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Timestamp => "timestamp",
            Self::NullKey => "null-key",
            Self::Expression => "expression",
            Self::Unwritable => "unwritable",
            Self::TooLarge => "too-large",
        }
    }
}

/// A bad record, under the policy to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Topic of the record; a node's name for a row that was forwarded at a flush.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset; -1 for a row that was forwarded at a flush.
    pub offset: i64,
    /// The node that could not go on.
    pub node: NodeId,
    /// Its name.
    pub node_name: String,
    /// The kind of trouble.
    pub reason: Reason,
    /// What is wrong with it.
    pub message: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            topic,
            partition,
            offset,
            node_name,
            reason,
            message,
            ..
        } = self;
        let word = reason.word();
        write!(
            f,
            "bad record {topic}-{partition}@{offset} at {node_name} ({word}): {message}"
        )
    }
}

/// Why a task could not take a record or commit. Nothing of the record stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The schema registry is away: give the record again later.
    #[error("{0}")]
    Retry(String),
    /// The record is bad and the policy is to stop: the topology stops and says why.
    #[error("{0}")]
    Stop(Box<Stopped>),
    /// The disk: drop the task, reopen, restore.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Inside the task: what went wrong, before the policy for bad records is asked.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    Bad { reason: Reason, message: String },
    Retry(String),
    Store(StoreError),
}

impl Failure {
    pub fn bad(reason: Reason, message: impl Into<String>) -> Self {
        Self::Bad {
            reason,
            message: message.into(),
        }
    }

    pub fn of_format(e: FormatError, reason: Reason) -> Self {
        if e.is_retryable() {
            Self::Retry(e.to_string())
        } else {
            Self::bad(reason, e.to_string())
        }
    }
}

impl From<OpError> for Failure {
    fn from(e: OpError) -> Self {
        match e {
            OpError::Store(e) => Self::Store(e),
            OpError::Eval(e) => Self::bad(Reason::Expression, e.message),
            OpError::NullKey => Self::bad(Reason::NullKey, e.to_string()),
        }
    }
}
