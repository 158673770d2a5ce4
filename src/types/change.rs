//! Rows and the one event between operators.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::Value;

/// Milliseconds since the epoch, as Kafka's record timestamps.
pub type Timestamp = i64;

/// The headers of the record that caused a change: name and bytes, in order; `None` for none at all.
pub type Headers = Option<Arc<Vec<(Arc<str>, Option<Arc<[u8]>>)>>>;

/// The values of a key or of a value, in the order of the schema's columns. Cheap to clone.
///
/// Keys nearly always have one column, and so do many values once unused columns are left out: such a row is no allocation.
#[derive(Clone, Debug)]
pub struct Row(Values);

#[derive(Clone, Debug)]
enum Values {
    None,
    One(Value),
    /// Never one.
    Many(Arc<[Value]>),
}

const _: () = assert!(size_of::<Option<Row>>() == size_of::<Value>());

impl Row {
    /// A row without columns.
    pub fn empty() -> Self {
        Self(Values::None)
    }

    /// Takes the values out of `scratch`, which keeps its capacity.
    #[inline]
    pub fn take(scratch: &mut Vec<Value>) -> Self {
        Self(match scratch.len() {
            0 => Values::None,
            1 => scratch.pop().map_or(Values::None, Values::One),
            _ => Values::Many(scratch.drain(..).collect()),
        })
    }

    /// The values for writing: in place when this is the only handle, else a copy is made first.
    #[inline]
    pub fn make_mut(&mut self) -> &mut [Value] {
        match &mut self.0 {
            Values::None => &mut [],
            Values::One(value) => std::slice::from_mut(value),
            Values::Many(values) => Arc::make_mut(values),
        }
    }

    /// Bytes it takes on the heap (an estimate: shared parts count fully).
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Values::None => 0,
            Values::One(value) => value.heap_bytes(),
            Values::Many(values) => {
                let value_bytes = |value: &Value| size_of::<Value>() + value.heap_bytes();
                16 + values.iter().map(value_bytes).sum::<usize>()
            }
        }
    }

    /// Whether any value is NULL.
    pub fn has_null(&self) -> bool {
        self.iter().any(Value::is_null)
    }
}

impl Deref for Row {
    type Target = [Value];

    #[inline]
    fn deref(&self) -> &[Value] {
        match &self.0 {
            Values::None => &[],
            Values::One(value) => std::slice::from_ref(value),
            Values::Many(values) => values,
        }
    }
}

impl PartialEq for Row {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Values::One(a), Values::One(b)) => a == b,
            (Values::Many(a), Values::Many(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => **self == **other,
        }
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        self.deref().cmp(other)
    }
}

impl Hash for Row {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // no length before them: all keys of a map have the same columns
        self.iter().for_each(|value| value.hash(state));
    }
}

impl From<Arc<[Value]>> for Row {
    fn from(values: Arc<[Value]>) -> Self {
        Self(match &*values {
            [] => Values::None,
            [value] => Values::One(value.clone()),
            _ => Values::Many(values),
        })
    }
}

impl From<Vec<Value>> for Row {
    fn from(mut values: Vec<Value>) -> Self {
        Self::take(&mut values)
    }
}

impl<const N: usize> From<[Value; N]> for Row {
    fn from(values: [Value; N]) -> Self {
        values.into_iter().collect()
    }
}

impl FromIterator<Value> for Row {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        let mut values = values.into_iter();
        match values.size_hint() {
            (_, Some(0 | 1)) => Self(values.next().map_or(Values::None, Values::One)),
            _ => Self::from(values.collect::<Arc<[Value]>>()),
        }
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
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn a_row_is_changed_in_place_only_when_it_is_not_shared() {
        let mut row = Row::from([Value::Bigint(1), Value::Null]);
        let seen = row.clone();
        row.make_mut()[0] = Value::Bigint(2);
        assert_eq!(seen[0], Value::Bigint(1));
        let before = row.as_ptr();
        row.make_mut()[0] = Value::Bigint(3);
        drop(seen);
        assert_eq!((row.as_ptr(), row[0].clone()), (before, Value::Bigint(3)));
    }

    #[test]
    fn rows_are_the_same_however_they_were_made() {
        let hash = |row: &Row| rustc_hash::FxBuildHasher.hash_one(row);
        for width in 0..4 {
            let values: Vec<Value> = (0..width).map(Value::Bigint).collect();
            let mut scratch = values.clone();
            let others = [
                Row::from(values.clone()),
                Row::from(Arc::<[Value]>::from(values.clone())),
                values.iter().cloned().collect(),
                values.iter().filter(|_| true).cloned().collect(),
            ];
            let row = Row::take(&mut scratch);
            assert_eq!((&*row, scratch.len()), (&values[..], 0));
            for other in others {
                assert_eq!((&other, hash(&other)), (&row, hash(&row)));
            }
            let mut changed = row.clone();
            changed.make_mut().fill(Value::Null);
            assert_eq!(changed.cmp(&row), vec![Value::Null; values.len()].cmp(&values));
            assert_eq!(&*row, &values[..]);
        }
    }
}
