//! The event time of a record where a column holds it: TIMESTAMP and TIMESTAMP_FORMAT of a source or a sink.

use crate::expr::{EvalContext, Expr};
use crate::topology::TimestampFrom;
use crate::types::{Timestamp, Value};

use super::error::{Failure, Reason};

/// How a column's value becomes the time.
#[derive(Clone, Debug)]
pub(super) struct EventTime {
    /// The column.
    pub column: usize,
    /// Whether it is one of the key.
    pub of_key: bool,
    parse: Option<Expr>,
}

impl EventTime {
    /// `None`: the record's own time counts.
    pub fn new(from: &TimestampFrom) -> Option<Self> {
        let (column, parse) = match from {
            TimestampFrom::Record => return None,
            TimestampFrom::Column(column) | TimestampFrom::Key(column) => (*column, None),
            TimestampFrom::Parsed(column, parse) | TimestampFrom::ParsedKey(column, parse) => {
                (*column, Some((**parse).clone()))
            }
        };
        Some(Self {
            column,
            of_key: matches!(from, TimestampFrom::Key(_) | TimestampFrom::ParsedKey(..)),
            parse,
        })
    }

    /// The time that a value of the column is.
    pub fn of(&self, value: &Value) -> Result<Timestamp, Failure> {
        let Some(parse) = &self.parse else { return time(value) };
        let row = EvalContext {
            key: &[],
            value: std::slice::from_ref(value),
            timestamp: 0,
            now: 0,
        };
        let parsed = parse
            .eval(&row)
            .map_err(|e| Failure::bad(Reason::Timestamp, e.message))?;
        time(&parsed)
    }
}

fn time(value: &Value) -> Result<Timestamp, Failure> {
    match value {
        Value::Bigint(n) | Value::Timestamp(n) if *n >= 0 => Ok(*n),
        Value::Bigint(n) | Value::Timestamp(n) => Err(Failure::bad(
            Reason::Timestamp,
            format!("the timestamp column holds {n}, which is before 1970"),
        )),
        Value::Null => Err(Failure::bad(Reason::Timestamp, "the timestamp column is NULL")),
        _ => Err(Failure::bad(Reason::Timestamp, "the timestamp column holds no time")),
    }
}
