//! One value of a row.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Decimal;

/// A value. Its type is known from the schema, so a value carries no names.
///
/// Equality, order and hash are total (a double by `total_cmp`, NULL first), as keys need; SQL's three-valued logic lives in `expr`.
#[derive(Clone, Debug, Default)]
pub enum Value {
    /// NULL of any type.
    #[default]
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// INTEGER.
    Integer(i32),
    /// BIGINT.
    Bigint(i64),
    /// DOUBLE.
    Double(f64),
    /// DECIMAL.
    Decimal(Decimal),
    /// STRING.
    String(Arc<str>),
    /// BYTES.
    Bytes(Arc<[u8]>),
    /// DATE: days since 1970-01-01.
    Date(i32),
    /// TIME: milliseconds of the day.
    Time(i32),
    /// TIMESTAMP: milliseconds since the epoch.
    Timestamp(i64),
    /// ARRAY.
    Array(Arc<[Value]>),
    /// MAP: entries sorted by key, keys unique (see [`map_value`]).
    Map(Arc<[(Value, Value)]>),
    /// STRUCT: the fields in the order of the type.
    Struct(Arc<[Value]>),
}

const _: () = assert!(std::mem::size_of::<Value>() == 24);

/// A MAP from entries in any order; of equal keys the last one stays.
pub fn map_value(mut entries: Vec<(Value, Value)>) -> Value {
    entries.reverse();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|later, first| later.0 == first.0);
    Value::Map(entries.into())
}

impl Value {
    /// A STRING.
    pub fn string(s: impl Into<Arc<str>>) -> Self {
        Self::String(s.into())
    }

    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Bytes on the heap beside the value itself, for memory bounds (an estimate: shared parts count fully).
    pub fn heap_bytes(&self) -> usize {
        const ARC: usize = 16;
        match self {
            Self::String(s) => ARC + s.len(),
            Self::Bytes(b) => ARC + b.len(),
            Self::Array(items) | Self::Struct(items) => {
                ARC + items.iter().map(|v| size_of::<Value>() + v.heap_bytes()).sum::<usize>()
            }
            Self::Map(entries) => {
                let entry = |(k, v): &(Value, Value)| 2 * size_of::<Value>() + k.heap_bytes() + v.heap_bytes();
                ARC + entries.iter().map(entry).sum::<usize>()
            }
            _ => 0,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 1,
            Self::Integer(_) => 2,
            Self::Bigint(_) => 3,
            Self::Double(_) => 4,
            Self::Decimal(_) => 5,
            Self::String(_) => 6,
            Self::Bytes(_) => 7,
            Self::Date(_) => 8,
            Self::Time(_) => 9,
            Self::Timestamp(_) => 10,
            Self::Array(_) => 11,
            Self::Map(_) => 12,
            Self::Struct(_) => 13,
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Boolean(a), Self::Boolean(b)) => a.cmp(b),
            (Self::Integer(a), Self::Integer(b)) | (Self::Date(a), Self::Date(b)) | (Self::Time(a), Self::Time(b)) => {
                a.cmp(b)
            }
            (Self::Bigint(a), Self::Bigint(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Decimal(a), Self::Decimal(b)) => a.cmp(b),
            (Self::String(a), Self::String(b)) => a.cmp(b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Array(a), Self::Array(b)) | (Self::Struct(a), Self::Struct(b)) => a.cmp(b),
            (Self::Map(a), Self::Map(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Null => state.write_u8(0),
            Self::Boolean(b) => b.hash(state),
            Self::Integer(n) | Self::Date(n) | Self::Time(n) => n.hash(state),
            Self::Bigint(n) | Self::Timestamp(n) => n.hash(state),
            Self::Double(x) => x.to_bits().hash(state),
            Self::Decimal(d) => d.hash(state),
            Self::String(s) => s.hash(state),
            Self::Bytes(b) => b.hash(state),
            Self::Array(items) | Self::Struct(items) => items.hash(state),
            Self::Map(entries) => entries.hash(state),
        }
    }
}

macro_rules! from_primitive {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Value {
            fn from(x: $from) -> Self {
                Self::$variant(x)
            }
        }
    )*};
}
from_primitive!(bool => Boolean, i32 => Integer, i64 => Bigint, f64 => Double, Decimal => Decimal, Arc<str> => String);

impl From<&str> for Value {
    fn from(s: &str) -> Self {
        Self::String(s.into())
    }
}

impl From<String> for Value {
    fn from(s: String) -> Self {
        Self::String(s.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_sorted_and_the_last_of_equal_keys_stays() {
        let map = map_value(vec![
            ("b".into(), 1.into()),
            ("a".into(), 2.into()),
            ("b".into(), 3.into()),
        ]);
        assert_eq!(
            map,
            Value::Map(vec![("a".into(), 2.into()), ("b".into(), 3.into())].into())
        );
    }

    #[test]
    fn doubles_have_a_total_order() {
        let mut values = [
            Value::Double(f64::NAN),
            Value::Double(1.0),
            Value::Double(-1.0),
            Value::Null,
        ];
        values.sort();
        assert!(values[0].is_null());
        assert_eq!(values[1], Value::Double(-1.0));
        assert_eq!(Value::Double(f64::NAN), Value::Double(f64::NAN));
    }
}
