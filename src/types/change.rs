//! Rows and the one event between operators.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use super::Value;

/// Milliseconds since the epoch, as Kafka's record timestamps.
pub type Timestamp = i64;

/// The headers of the record that caused a change: name and bytes, in order; `None` for none at all.
pub type Headers = Option<Arc<Vec<(Arc<str>, Option<Arc<[u8]>>)>>>;

/// The values of a key or of a value, in the order of the schema's columns. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row(Arc<[Value]>);

impl Row {
    /// A row without columns.
    pub fn empty() -> Self {
        static EMPTY: LazyLock<Row> = LazyLock::new(|| Row(Arc::from([])));
        EMPTY.clone()
    }

    /// Takes the values out of `scratch` with a single allocation; `scratch` keeps its capacity.
    pub fn take(scratch: &mut Vec<Value>) -> Self {
        Self(scratch.drain(..).collect())
    }

    /// The values for writing: in place when this is the only handle, else a copy is made first.
    pub fn make_mut(&mut self) -> &mut [Value] {
        Arc::make_mut(&mut self.0)
    }

    /// Bytes it takes on the heap (an estimate: shared parts count fully).
    pub fn heap_bytes(&self) -> usize {
        16 + self
            .0
            .iter()
            .map(|v| size_of::<Value>() + v.heap_bytes())
            .sum::<usize>()
    }

    /// Whether any value is NULL.
    pub fn has_null(&self) -> bool {
        self.0.iter().any(Value::is_null)
    }
}

impl Deref for Row {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

impl From<Arc<[Value]>> for Row {
    fn from(values: Arc<[Value]>) -> Self {
        Self(values)
    }
}

impl From<Vec<Value>> for Row {
    fn from(values: Vec<Value>) -> Self {
        Self(values.into())
    }
}

impl<const N: usize> From<[Value; N]> for Row {
    fn from(values: [Value; N]) -> Self {
        Self(Arc::from(values))
    }
}

impl FromIterator<Value> for Row {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// What happened to one key. A stream's record has no old value; a table's change has the value before, if there was one.
///
/// `new` is `None` for a delete of a table (a tombstone), and for a stream record whose value is null.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key's values; an empty row for a record without key columns.
    pub key: Row,
    /// The row before, for tables.
    pub old: Option<Row>,
    /// The row after.
    pub new: Option<Row>,
    /// The event time.
    pub timestamp: Timestamp,
    /// The event time of the old row, so that what was computed from it can be computed again; means nothing without one.
    pub old_timestamp: Timestamp,
    /// Headers of the causing record, passed through.
    pub headers: Headers,
}

impl Change {
    /// A stream's record.
    pub fn record(key: Row, value: Option<Row>, timestamp: Timestamp) -> Self {
        Self {
            key,
            old: None,
            new: value,
            timestamp,
            old_timestamp: timestamp,
            headers: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_changed_in_place_only_when_it_is_not_shared() {
        let mut row = Row::from([Value::Bigint(1)]);
        let seen = row.clone();
        row.make_mut()[0] = Value::Bigint(2);
        assert_eq!(seen[0], Value::Bigint(1));
        let before = row.as_ptr();
        row.make_mut()[0] = Value::Bigint(3);
        drop(seen);
        assert_eq!((row.as_ptr(), row[0].clone()), (before, Value::Bigint(3)));
    }
}
